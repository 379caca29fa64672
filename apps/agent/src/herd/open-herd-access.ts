import { duration, loadAppConfig } from '@drover/app-config';
import { HerdClients, PairingCodes, PairingTokens } from '@drover/herd-pairing/agent';
import { DroverError } from '@drover/lease-kit';
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { agentConfig } from '../agent-config.ts';
import { herdDirOf } from './herd-dir.ts';
import { readHerdHost } from './herd-host-file.ts';

/** Which agent of this machine is meant. */
export interface HerdAccessOptions {
  /** Absent: as the configuration has it. */
  readonly stateDir?: string | undefined;
  /** The agent's TOML file. Absent: what the environment names, or none. */
  readonly config?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
}

/** A column of a table. */
export interface AccessColumn<Row> {
  readonly head: string;
  readonly cell: (row: Row) => string;
}

/** Who is let in by an agent, as its files say. */
export interface HerdAccess {
  readonly codes: PairingCodes;
  readonly tokens: PairingTokens;
  readonly clients: HerdClients;
  /** What its configuration says of codes. */
  readonly codeLifetimeMs: number;
  /** Where it listens; undefined while it does not run. */
  readonly host: { readonly hostName: string; readonly port: number } | undefined;
  /** A duration of an option, above nothing and at most `max`. Throws `OPTION_INVALID`. */
  durationOf(option: string, text: string, max: string): number;
  /** A whole number of an option from 1. Throws `OPTION_INVALID`. */
  countOf(option: string, text: string, max: number): number;
  tableOf<Row>(columns: readonly AccessColumn<Row>[], rows: readonly Row[], empty: string): string;
}

/** Throws `AGENT_STATE_MISSING` where there is no agent's state folder, and what reading the configuration throws. */
export function openHerdAccess({ stateDir, config, env, cwd }: HerdAccessOptions): HerdAccess {
  const { DROVER_AGENT_CONFIG: named, ...variables } = env;
  const file = config ?? named;
  const { value } = loadAppConfig(agentConfig, {
    env: variables,
    cwd,
    flags: stateDir === undefined ? {} : { 'state.dir': stateDir },
    ...(file === undefined || file === '' ? {} : { file }),
  });
  if (!existsSync(value.state.dir)) {
    throw new DroverError({
      code: 'AGENT_STATE_MISSING',
      advice: 'not-found',
      message: `there is no state folder of an agent at ${JSON.stringify(value.state.dir)}: give --state-dir, or --config, as the agent has it`,
    });
  }
  const dir = herdDirOf(value);
  const host = readHerdHost(dir);
  return {
    codes: new PairingCodes(dir),
    tokens: new PairingTokens(dir),
    clients: new HerdClients(dir),
    codeLifetimeMs: value.herd.code_lifetime,
    host: host && { hostName: hostname(), port: host.port },
    durationOf,
    countOf,
    tableOf,
  };
}

function durationOf(option: string, text: string, max: string): number {
  const parsed = duration({ minMs: 1_000, maxMs: duration().parse(max) }).safeParse(text);
  if (parsed.success) return parsed.data;
  throw optionInvalid(`${option}: ${JSON.stringify(text)} ${parsed.error.issues[0]!.message}`);
}

function countOf(option: string, text: string, max: number): number {
  const count = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (count >= 1 && count <= max) return count;
  throw optionInvalid(`${option}: ${JSON.stringify(text)} is no count; allowed are whole numbers from 1 to ${max}`);
}

function optionInvalid(message: string): DroverError {
  return new DroverError({ code: 'OPTION_INVALID', advice: 'fix-input', message });
}

function tableOf<Row>(columns: readonly AccessColumn<Row>[], rows: readonly Row[], empty: string): string {
  if (rows.length === 0) return empty;
  const lines = [columns.map(({ head }) => head), ...rows.map((row) => columns.map(({ cell }) => cell(row)))];
  const widths = columns.map((_, at) => Math.max(...lines.map((line) => line[at]!.length)));
  return lines
    .map((line) =>
      line
        .map((text, at) => text.padEnd(widths[at]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
