import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { DroverError, systemClock, type Clock } from '@drover/lease-kit';
import { drawCharacters, drawPairingCode, pairingCodeFrom } from '../proof/pairing-code.ts';
import { filesOf, openPrivateFolder, readPrivately, writePrivately } from '../private-files.ts';

/** A code that lets one client in. */
export interface PairingCode {
  readonly codeId: string;
  /** `XXXX-XXXX`. */
  readonly code: string;
  /** By the wall clock, as all times here. */
  readonly openedAtMs: number;
  readonly expiresAtMs: number;
  /** Proofs that fitted no open code. */
  readonly failures: number;
}

/** How long codes may be open. */
export const codeLifetimeMsMax = 3_600_000;
const codesMax = 3;
const failuresMax = 5;
/** How long it is remembered that a code has ended, so that whoever comes late is told. */
const rememberedMs = 600_000;
const codeIdLength = 10;

/**
 * The codes that are open, a file each in the agent's state folder: who opens one needs to reach that folder, and nothing of the
 * agent's process. The agent counts wrong proofs in it, and removes it when it has let somebody in.
 */
export class PairingCodes {
  readonly #path: string;
  readonly #clock: Clock;

  constructor(dir: string, deps: { readonly clock?: Clock | undefined } = {}) {
    this.#path = join(dir, 'codes');
    this.#clock = deps.clock ?? systemClock;
    openPrivateFolder(dir);
    openPrivateFolder(this.#path);
  }

  /** Opens a code. Throws `CODES_TOO_MANY` while as many as are allowed are open. */
  open(lifetimeMs: number): PairingCode {
    if (this.current().length >= codesMax) {
      throw new DroverError({
        code: 'CODES_TOO_MANY',
        advice: 'exhausted',
        message: `${codesMax} pairing codes are open, which is the most: use one, or wait until one has ended`,
      });
    }
    const nowMs = this.#clock.wallMs();
    const code: PairingCode = {
      codeId: drawCharacters(codeIdLength).toLowerCase(),
      code: drawPairingCode(),
      openedAtMs: nowMs,
      expiresAtMs: nowMs + Math.min(lifetimeMs, codeLifetimeMsMax),
      failures: 0,
    };
    this.#write(code);
    return code;
  }

  /** Those that let somebody in now, the oldest first. Forgets those that ended long ago. */
  current(): PairingCode[] {
    return this.#all().filter((code) => this.#isOpen(code));
  }

  /** As {@link current}. Throws `CODE_EXPIRED` or `CODE_CLOSED` where there is none. */
  require(): PairingCode[] {
    const all = this.#all();
    const open = all.filter((code) => this.#isOpen(code));
    if (open.length > 0) return open;
    const last = all.at(-1);
    if (last !== undefined && last.failures < failuresMax) throw codeExpired();
    throw last === undefined ? noCode() : codeClosed();
  }

  /** Takes a code up: it lets nobody in after this. False if it is not open any more. */
  use({ codeId }: PairingCode): boolean {
    const kept = this.#read(codeId);
    if (kept === undefined || !this.#isOpen(kept)) return false;
    rmSync(this.#fileOf(codeId));
    return true;
  }

  /** Counts a wrong proof against every code that is open. Answers how many more proofs the last one takes. */
  countFailure(): number {
    let left = 0;
    for (const code of this.current()) {
      const failures = code.failures + 1;
      this.#write({ ...code, failures });
      left = Math.max(left, failuresMax - failures);
    }
    return left;
  }

  #all(): PairingCode[] {
    const forgottenMs = this.#clock.wallMs() - rememberedMs;
    const codes: PairingCode[] = [];
    for (const codeId of filesOf(this.#path)) {
      const code = this.#read(codeId);
      if (code !== undefined && code.expiresAtMs > forgottenMs) codes.push(code);
      else rmSync(this.#fileOf(codeId), { force: true });
    }
    return codes.sort((a, b) => a.openedAtMs - b.openedAtMs);
  }

  #isOpen({ openedAtMs, expiresAtMs, failures }: PairingCode): boolean {
    const nowMs = this.#clock.wallMs();
    // A clock that was put back would leave a code open for long.
    return failures < failuresMax && nowMs < expiresAtMs && nowMs >= openedAtMs - codeLifetimeMsMax;
  }

  #read(codeId: string): PairingCode | undefined {
    return readPrivately(this.#fileOf(codeId), (value) => codeFrom(codeId, value));
  }

  #write(code: PairingCode): void {
    writePrivately(this.#fileOf(code.codeId), code);
  }

  #fileOf(codeId: string): string {
    return join(this.#path, `${codeId}.json`);
  }
}

function codeFrom(codeId: string, value: unknown): PairingCode | undefined {
  const { code, openedAtMs, expiresAtMs, failures } = value as Partial<PairingCode>;
  if (typeof code !== 'string' || ![openedAtMs, expiresAtMs, failures].every(Number.isFinite)) return undefined;
  pairingCodeFrom(code);
  return { ...(value as PairingCode), codeId };
}

function noCode(): DroverError {
  return new DroverError({
    code: 'CODE_CLOSED',
    advice: 'denied',
    message: 'No pairing code is open on this agent: "drover herd code" on its machine opens one.',
  });
}

function codeClosed(): DroverError {
  return new DroverError({
    code: 'CODE_CLOSED',
    advice: 'denied',
    message: `The pairing code was closed after ${failuresMax} wrong proofs: "drover herd code" on the agent's machine opens another.`,
  });
}

function codeExpired(): DroverError {
  return new DroverError({
    code: 'CODE_EXPIRED',
    advice: 'denied',
    message: 'The pairing code has expired: "drover herd code" on the agent\'s machine opens another.',
  });
}
