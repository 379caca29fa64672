import { rmSync } from 'node:fs';
import { readIfThere, writePrivately } from './keep-agent-key.ts';

/** A credential as the agent keeps it, so that its next process need not ask at once. */
export interface KeptCredential {
  readonly agentId: string;
  readonly token: string;
  /** By the agent's wall clock. */
  readonly expiresAtMs: number;
}

/** Reads it; undefined if there is none, or none for this agent. */
export function readCredential(path: string, agentId: string): KeptCredential | undefined {
  const text = readIfThere(path);
  if (text === undefined) return undefined;
  try {
    const kept = JSON.parse(text) as Partial<KeptCredential>;
    const { token, expiresAtMs } = kept;
    if (kept.agentId !== agentId || typeof token !== 'string' || typeof expiresAtMs !== 'number') return undefined;
    return { agentId, token, expiresAtMs };
  } catch {
    // A torn file costs one call.
    return undefined;
  }
}

/** Keeps it. */
export function writeCredential(path: string, credential: KeptCredential): void {
  writePrivately(path, JSON.stringify(credential));
}

/** Forgets it. */
export function removeCredential(path: string): void {
  rmSync(path, { force: true });
}
