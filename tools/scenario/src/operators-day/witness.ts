import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** What the files say about who ran what. */
export interface Testimony {
  /** Jobs whose file has exactly one line. */
  readonly once: number;
  /** Names of jobs that left no line. */
  readonly never: readonly string[];
  /** Names of jobs with more than one line, with their lines. */
  readonly repeated: ReadonlyMap<string, readonly string[]>;
  /** Lines by the agent that wrote them. */
  readonly byAgent: ReadonlyMap<string, number>;
}

/**
 * A folder with a file for each job, to which the job itself appends one line when it runs. What ran is counted here, by
 * what the machines did and not by what Drover says.
 */
export class Witness {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
    mkdirSync(dir, { recursive: true });
  }

  /** A line for a shell by which a job testifies. One short write to a file in append mode is never torn. */
  command(job: string): string {
    return `echo "$DROVER_AGENT_ID $DROVER_LEASE_ID $DROVER_ATTEMPT" >> ${join(this.#dir, job)}`;
  }

  /** Reads all files. `jobs` are the names of those that should have run. */
  hear(jobs: readonly string[]): Testimony {
    const seen = new Map(
      readdirSync(this.#dir).map((name) => [name, readFileSync(join(this.#dir, name), 'utf8').trim().split('\n')]),
    );
    const byAgent = new Map<string, number>();
    for (const line of [...seen.values()].flat()) {
      const agent = line.split(' ')[0] ?? '';
      byAgent.set(agent, (byAgent.get(agent) ?? 0) + 1);
    }
    return {
      once: jobs.filter((job) => seen.get(job)?.length === 1).length,
      never: jobs.filter((job) => !seen.has(job)),
      repeated: new Map([...seen].filter(([, lines]) => lines.length > 1)),
      byAgent,
    };
  }
}
