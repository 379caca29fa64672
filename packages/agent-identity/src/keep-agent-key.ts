import { chmodSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { agentKeyFromJwk, newAgentKeyJwk, type AgentKey } from '@drover/enrolment-protocol';
import { DroverError } from '@drover/lease-kit';

/**
 * The agent's key: drawn when the file is not there, and kept in it for its owner alone (0600). It never leaves the machine.
 * Throws `AGENT_KEY_EXPOSED` for a file that others may read, and `AGENT_KEY_INVALID` for one that holds no key.
 */
export async function keepAgentKey(path: string): Promise<AgentKey> {
  const kept = readIfThere(path);
  if (kept !== undefined) return agentKeyFromJwk(parsed(path, kept));
  const jwk = await newAgentKeyJwk();
  writePrivately(path, JSON.stringify(jwk));
  return agentKeyFromJwk(jwk);
}

/** Writes a file that its owner alone can read, whole or not at all. */
export function writePrivately(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(`${path}.next`, `${text}\n`, { mode: 0o600, flush: true });
  // The mode counts only where the file is new.
  chmodSync(`${path}.next`, 0o600);
  renameSync(`${path}.next`, path);
}

/** The text of a file; undefined if there is none. Throws `AGENT_KEY_EXPOSED` where others may read it. */
export function readIfThere(path: string): string | undefined {
  try {
    const { mode } = statSync(path);
    if ((mode & 0o077) !== 0 && process.platform !== 'win32') throw exposed(path, mode);
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function parsed(path: string, text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    throw new DroverError({
      code: 'AGENT_KEY_INVALID',
      advice: 'fix-input',
      message: `${path} holds no key. Without it the machine has to be enrolled anew: remove the file.`,
      cause: error,
    });
  }
}

function exposed(path: string, mode: number): DroverError {
  const shown = (mode & 0o777).toString(8);
  return new DroverError({
    code: 'AGENT_KEY_EXPOSED',
    advice: 'fix-input',
    message: `${path} has mode ${shown}, so that others may have read it; allowed is 600. If they have not, chmod it; else remove it, revoke the agent and enrol it anew.`,
  });
}
