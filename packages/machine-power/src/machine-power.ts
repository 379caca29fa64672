import { delay, type LeaseContext, type StopReason } from '@drover/lease-kit';
import { platformPowerCommand, thisPlatform, type PowerChange } from './power-command.ts';
import { readPowerRecord, writePowerRecord, type PowerRecord } from './power-record.ts';
import { runPowerCommand } from './run-power-command.ts';
import { isSameBoot } from './same-boot.ts';

/** How a machine is restarted or switched off. */
export interface MachinePowerOptions {
  readonly change: PowerChange;
  /** Program and arguments, without a shell. Default: the platform's own. Empty: this machine does it for nobody. */
  readonly command?: readonly string[];
  /** How long the command may take. Default 1 min. */
  readonly commandLimitMs?: number;
  /** How long the machine may take to go down after the command. Default 5 min. */
  readonly downWithinMs?: number;
}

/** Why a machine did not go down. `code` begins with RESTART or SHUTDOWN. */
export interface PowerFailure {
  readonly kind: 'failed' | 'cancelled' | 'timed-out';
  readonly code: string;
  readonly message: string;
}

/** What became of a machine. */
export type PowerOutcome =
  | PowerFailure
  | {
      /** It has started anew. */
      readonly kind: 'started-anew';
      readonly bootIdBefore: string;
      readonly bootIdAfter: string;
      /** Since the command was given, by the machine's clock; absent if it never was. */
      readonly tookMs?: number;
    };

/** Takes a machine down on behalf of attempts. */
export interface MachinePower {
  /** Why it cannot, or undefined. */
  refusal(): { readonly code: string; readonly message: string } | undefined;
  /**
   * Keeps the machine's boot id in the attempt's folder, says that it goes down, runs the command and waits to be ended. It
   * resolves only if the machine does not go down.
   */
  goDown(context: LeaseContext): Promise<PowerFailure>;
  /**
   * Takes up what an earlier process left: does what it had not come to, tells that the machine has started anew, or waits
   * until it should have gone down. With `restart`, a machine that has started anew before the command was given is what was
   * wanted; with `shutdown` it is a failure, since someone has just switched it on.
   */
  takeUp(context: LeaseContext): Promise<PowerOutcome>;
}

/** Makes what takes this machine down. */
export function createMachinePower(options: MachinePowerOptions): MachinePower {
  return new PlatformPower(options);
}

const words = {
  restart: { prefix: 'RESTART', noun: 'restart' },
  shutdown: { prefix: 'SHUTDOWN', noun: 'shutdown' },
} as const;

class PlatformPower implements MachinePower {
  readonly #change: PowerChange;
  readonly #command: readonly string[];
  readonly #commandLimitMs: number;
  readonly #downWithinMs: number;

  constructor(options: MachinePowerOptions) {
    this.#change = options.change;
    this.#command = options.command ?? platformPowerCommand(options.change, thisPlatform());
    this.#commandLimitMs = options.commandLimitMs ?? 60_000;
    this.#downWithinMs = options.downWithinMs ?? 300_000;
  }

  refusal(): ReturnType<MachinePower['refusal']> {
    if (this.#command.length > 0) return undefined;
    return { code: this.#code('DISABLED'), message: `its configuration says that this machine does no ${this.#noun}` };
  }

  async goDown(context: LeaseContext): Promise<PowerFailure> {
    await writePowerRecord(context.attemptDir, { bootId: context.bootId });
    return this.#goOn(context);
  }

  async takeUp(context: LeaseContext): Promise<PowerOutcome> {
    const record = await readPowerRecord(context.attemptDir);
    // The earlier process had not come so far as to do anything.
    if (record === undefined) return this.goDown(context);
    if (!isSameBoot(record.bootId, context.bootId)) return this.#startedAnew(record, context);
    if (record.commandedAtMs === undefined) return this.#goOn(context);
    const passedMs = context.clock.wallMs() - record.commandedAtMs;
    context.progress(75, 'the agent was started again; the machine may still be going down');
    // A clock that was set meanwhile must neither shorten nor lengthen it beyond reason.
    return this.#awaitEnd(context, Math.min(this.#downWithinMs, Math.max(0, this.#downWithinMs - passedMs)));
  }

  get #noun(): string {
    return words[this.#change].noun;
  }

  #code(what: string): string {
    return `${words[this.#change].prefix}_${what}`;
  }

  #startedAnew({ bootId, commandedAtMs }: PowerRecord, context: LeaseContext): PowerOutcome {
    if (commandedAtMs === undefined && this.#change === 'shutdown') {
      return {
        kind: 'failed',
        code: this.#code('NOT_COMMANDED'),
        message: 'the machine was started anew before it was told to shut down; it was left running',
      };
    }
    const ids = { bootIdBefore: bootId, bootIdAfter: context.bootId };
    if (commandedAtMs === undefined) return { kind: 'started-anew', ...ids };
    return { kind: 'started-anew', ...ids, tookMs: Math.max(0, context.clock.wallMs() - commandedAtMs) };
  }

  async #goOn(context: LeaseContext): Promise<PowerFailure> {
    const { signal, clock, attemptDir, bootId } = context;
    context.progress(25, 'the server is told that the machine goes down');
    try {
      await context.goingDown(signal);
    } catch (error) {
      if (signal.aborted) return this.#stopped(signal, 'before the command was given');
      throw error;
    }
    if (signal.aborted) return this.#stopped(signal, 'before the command was given');
    // From here on nobody can say whether the command was given, unless it is on disk that it may have been.
    await writePowerRecord(attemptDir, { bootId, commandedAtMs: clock.wallMs() });
    context.progress(50, `\`${this.#command.join(' ')}\``);
    const log = context.log(this.#change);
    await log.write(`$ ${this.#command.join(' ')}\n`);
    const end = await runPowerCommand({
      command: this.#command,
      outputPath: log.path,
      limitMs: this.#commandLimitMs,
      clock,
    });
    if (end.kind === 'failed') {
      if (signal.aborted) return this.#stopped(signal, 'while the command ran');
      return { kind: 'failed', code: this.#code(`COMMAND_${end.code}`), message: end.message };
    }
    context.progress(75, 'the machine is going down');
    return this.#awaitEnd(context, this.#downWithinMs);
  }

  /** Waits for the end of this process; what comes after is a failure. */
  async #awaitEnd({ clock, signal }: LeaseContext, waitMs: number): Promise<PowerFailure> {
    await delay(clock, waitMs, signal);
    if (signal.aborted) return this.#stopped(signal, 'after the command was given');
    return {
      kind: 'failed',
      code: this.#code('NOT_HAPPENED'),
      message: `the command was given, and ${Math.round(this.#downWithinMs / 1_000)} s later the machine still runs`,
    };
  }

  #stopped(signal: AbortSignal, when: string): PowerFailure {
    const { code, message } = signal.reason as StopReason;
    const kind = code === 'timed-out' ? 'timed-out' : 'cancelled';
    return { kind, code: this.#code('STOPPED'), message: `${message}; it was stopped ${when}` };
  }
}
