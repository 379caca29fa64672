import type { AgentReady } from '@drover/agent';
import type { JobStatus } from '@drover/control-api';
import { createTestDatabase } from '@drover/postgres-embedded/testing';
import type { ServerListening } from '@drover/server';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, vi } from 'vitest';
import { createFleetClient, type FleetClient } from '../fleet-client.ts';
import { jobHasEnded } from '../output/words.ts';
import { submitJobFile } from '../submit/submit-job-file.ts';
import { DroverProcess, type EndedProcess } from './drover-process.fixture.ts';

/** A server that listens. */
export interface ServerProcess {
  readonly process: DroverProcess;
  readonly url: string;
  readonly port: number;
  readonly client: FleetClient;
}

/** An agent that had a session. */
export interface AgentProcess {
  readonly process: DroverProcess;
  readonly stateDir: string;
}

/** What a server is started with, beside a short heartbeat. */
export interface ServerProcessOptions {
  readonly port?: number;
  /** Default: the fleet's own database. `null` means the embedded one. */
  readonly databaseUrl?: string | null;
  readonly stateDir?: string;
  readonly flags?: readonly string[];
  /** What Node runs instead of `drover server`. */
  readonly entry?: string;
  readonly nodeFlags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** What an agent is started with. */
export interface AgentProcessOptions {
  /** Also the name of its state folder. */
  readonly id?: string;
  readonly flags?: readonly string[];
  /** What Node runs instead of `drover agent`. */
  readonly entry?: string;
  readonly nodeFlags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** One step of a job file: a line for a shell. */
export type ShellSteps = Readonly<Record<string, string>>;

/** A batch of a job file, as far as tests set it. */
export interface TestBatch {
  readonly steps: ShellSteps;
  readonly [key: string]: unknown;
}

// Real processes start slowly on a busy machine; a wait within a test gives up before.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

// A busy machine must not make an agent look dead.
const timings = ['--sessions-heartbeat=500ms', '--sessions-timeout=20s', '--sessions-takeover-grace=20s'];

/**
 * Servers, agents and commands as processes of their own, with a database and a folder that are gone with it. Processes end
 * before it is disposed of, in the order agents, servers.
 */
export class TestFleet implements AsyncDisposable {
  readonly dir = mkdtempSync(join(tmpdir(), 'drover-e2e-'));
  readonly databaseUrl: string;
  readonly #parts = new AsyncDisposableStack();
  #count = 0;

  private constructor(databaseUrl: string) {
    this.databaseUrl = databaseUrl;
    // Root gives an embedded Postgres to another user, who must be able to pass through.
    chmodSync(this.dir, 0o711);
  }

  static async create(): Promise<TestFleet> {
    const database = await createTestDatabase();
    const fleet = new TestFleet(database.url);
    fleet.#parts.use(database);
    fleet.#parts.defer(() => rmSync(fleet.dir, { recursive: true, force: true }));
    return fleet;
  }

  /** A path below the fleet's folder. */
  path(name: string): string {
    return join(this.dir, name);
  }

  /** Lets steps that wait for the gate go on. */
  open(gate: string): void {
    writeFileSync(this.path(gate), '');
  }

  /** A line for a shell that waits until a gate is open, and gives up when the fleet is gone. */
  waitFor(gate: string): string {
    return `while [ -d ${this.dir} ] && [ ! -e ${this.path(gate)} ]; do sleep 0.05; done`;
  }

  /** Whether a step has made a file. */
  async made(name: string): Promise<void> {
    await until(() => expect(existsSync(this.path(name)), `${name} is there`).toBe(true));
  }

  /** A process that ends with the fleet. */
  start(args: readonly string[], options: ConstructorParameters<typeof DroverProcess>[1] = {}): DroverProcess {
    return this.#parts.use(new DroverProcess(args, { cwd: this.dir, ...options }));
  }

  async server(options: ServerProcessOptions = {}): Promise<ServerProcess> {
    const stateDir = options.stateDir ?? this.path(`server-${++this.#count}`);
    const { databaseUrl = this.databaseUrl } = options;
    const { entry, nodeFlags = [], flags = [] } = options;
    const env = { ...(databaseUrl === null ? {} : { DATABASE_URL: databaseUrl }), ...options.env };
    const access = flags.some((flag) => flag.startsWith('--access-')) ? [] : ['--access-development'];
    const given = [`--listen-port=${options.port ?? 0}`, `--state-dir=${stateDir}`, ...access, ...timings, ...flags];
    const process = this.start(entry === undefined ? ['server', ...given] : given, {
      env,
      nodeFlags,
      ...(entry === undefined ? {} : { entry }),
    });
    const { url } = await process.message<ServerListening>('listening');
    const client = this.#parts.use(createFleetClient({ url: url }));
    return { process, url, port: Number(new URL(url).port), client };
  }

  async agent(servers: ServerProcess | readonly ServerProcess[], options: AgentProcessOptions = {}) {
    const { process, stateDir } = this.startAgent(servers, options);
    await process.message<AgentReady>('ready');
    return { process, stateDir };
  }

  /** An agent that may not get a session. */
  startAgent(servers: ServerProcess | readonly ServerProcess[], options: AgentProcessOptions = {}): AgentProcess {
    const { id = 'agent-1', entry, env = {}, nodeFlags = [], flags = [] } = options;
    const stateDir = this.path(id);
    const urls = [servers].flat().flatMap(({ url }) => ['--server-urls', url]);
    const given = [...urls, `--state-dir=${stateDir}`, `--agent-id=${id}`, '--resources-cores=4', ...flags];
    const process = this.start(entry === undefined ? ['agent', ...given] : given, {
      env,
      nodeFlags,
      ...(entry === undefined ? {} : { entry }),
    });
    return { process, stateDir };
  }

  /** Runs a command to its end. */
  async drover(...args: readonly string[]): Promise<EndedProcess> {
    return await this.start(args).exited;
  }

  /** Writes a job file of shell steps, each of which needs the one before. */
  jobFile(name: string, ...batches: readonly TestBatch[]): string {
    const file = this.path(`${name}.yaml`);
    mkdirSync(this.dir, { recursive: true });
    const job = {
      name,
      batches: batches.map(({ steps, ...rest }, i) => ({ name: `batch-${i + 1}`, ...rest, steps: stepsOf(steps) })),
    };
    // JSON is YAML.
    writeFileSync(file, JSON.stringify(job, null, 2));
    return file;
  }

  /** Submits a job file as the command line does, without a process of its own; answers the job's id. */
  submit({ client }: ServerProcess, file: string): Promise<string> {
    const options = { file, vars: {}, note: () => undefined, env: {} };
    return submitJobFile(client, options, AbortSignal.timeout(60_000));
  }

  /** Ends everything. Idempotent. */
  dispose(): Promise<void> {
    return this.#parts.disposeAsync();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

function stepsOf(steps: ShellSteps): unknown[] {
  return Object.entries(steps).map(([name, line], i, all) => ({
    name,
    exe: '/bin/sh',
    args: ['-c', line],
    ...(i === 0 ? {} : { needs: [all[i - 1]![0]] }),
  }));
}

/** Looks again until `check` does not throw. */
export function until<Found>(check: () => Found | Promise<Found>): Promise<Found> {
  return vi.waitFor(check, { timeout: 40_000, interval: 50 });
}

/** The job as a server knows it now. */
export async function jobOf(server: ServerProcess, jobId: string): Promise<JobStatus> {
  const { job } = await server.client.jobs.getJob({ jobId });
  return job!;
}

/** The job once it has ended, however it did. */
export function jobEnded(server: ServerProcess, jobId: string): Promise<JobStatus> {
  return until(async () => {
    const job = await jobOf(server, jobId);
    expect(jobHasEnded(job.state)).toBe(true);
    return job;
  });
}

/** The bytes of a log of the first lease of a job, as text. */
export async function logOf(server: ServerProcess, jobId: string, log: string, attempt = 0): Promise<string> {
  const job = await jobOf(server, jobId);
  const decoder = new TextDecoder();
  let text = '';
  for await (const { data } of server.client.jobs.readLog({ leaseId: job.leases[0]!.leaseId, attempt, log })) {
    text += decoder.decode(data, { stream: true });
  }
  return text;
}
