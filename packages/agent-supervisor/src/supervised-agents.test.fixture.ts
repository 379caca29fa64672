import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vi } from 'vitest';
import { machineProcesses, startTimeOf } from './agent-process.ts';
import { replaceFile, machineFiles } from './durable-files.ts';
import { installFirstVersion } from './supervised-home.ts';
import { supervisorFolder } from './supervisor-folder.ts';
import { readStart } from './switch-record.ts';
import { installVersion, type VersionId } from './version-folders.ts';

/** What the agent of a version does: reports healthy and stays, ends at once, or stays without a word. */
export type Behaviour = 'good' | 'crashes' | 'mute';

const bodies: Readonly<Record<Behaviour, string>> = {
  good: `printf '{"start":"%s"}' "$DROVER_AGENT_SUPERVISOR_START" > "$home/healthy.json.$$"
mv "$home/healthy.json.$$" "$home/healthy.json"
exec sleep 60`,
  crashes: 'exit 9',
  mute: 'exec sleep 60',
};

/** The folder of a supervisor with agents that are shell scripts; each notes its pid and its version. */
export class TestHome implements AsyncDisposable {
  readonly path = mkdtempSync(join(tmpdir(), 'drover-supervisor-'));
  readonly folder = supervisorFolder(this.path);

  /** A version that is complete and current. */
  async first(version = '1.0.0', behaviour: Behaviour = 'good'): Promise<string> {
    return installFirstVersion(this.path, idOf(version), (into) => this.#fill(into, version, behaviour));
  }

  /** A version beside it. */
  async beside(version: string, behaviour: Behaviour): Promise<string> {
    return installVersion(this.folder, machineFiles, idOf(version), (into) => this.#fill(into, version, behaviour));
  }

  /** What an agent would ask for. */
  async wish(to: string, healthyWithinMs = 5_000): Promise<void> {
    await replaceFile(machineFiles, this.folder.wish, JSON.stringify({ id: 'lease/1', to, healthyWithinMs }));
  }

  /** Versions of the agents that live, one entry each. */
  running(): string[] {
    return this.#agents()
      .filter(({ pid }) => startTimeOf(pid) !== undefined)
      .map(({ version }) => version);
  }

  /** Versions of all agents that were ever started. */
  started(): string[] {
    return this.#agents().map(({ version }) => version);
  }

  /** Ends every agent at once, as a power cut does: also one that was started and has not begun. Resolves when all are gone. */
  async killAgents(): Promise<void> {
    const started = await readStart(this.folder);
    const held = started === undefined ? undefined : machineProcesses.find(started);
    const pids = [...this.#agents(), ...(held === undefined ? [] : [held.name])].map(({ pid }) => pid);
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended.
      }
    }
    await vi.waitUntil(() => pids.every((pid) => startTimeOf(pid) === undefined), { timeout: 5_000, interval: 2 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.killAgents();
    rmSync(this.path, { recursive: true, force: true });
  }

  async #fill(into: string, version: string, behaviour: Behaviour): Promise<{ entry: string }> {
    mkdirSync(into, { recursive: true });
    const script = `#!/bin/sh\nhome=${this.path}\necho "$$ ${version}" >> "$home/agents"\n${bodies[behaviour]}\n`;
    writeFileSync(join(into, 'run'), script);
    chmodSync(join(into, 'run'), 0o755);
    return { entry: 'run' };
  }

  #agents(): { pid: number; version: string }[] {
    try {
      const lines = readFileSync(join(this.path, 'agents'), 'utf8').trimEnd().split('\n');
      return lines.map((line) => ({ pid: Number.parseInt(line, 10), version: line.split(' ')[1]! }));
    } catch {
      return [];
    }
  }
}

function idOf(version: string): VersionId {
  return { version, bundle: version.replaceAll('.', '').padEnd(64, '0') };
}
