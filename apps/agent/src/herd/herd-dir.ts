import { join, resolve } from 'node:path';
import type { AgentConfig } from '../agent-config.ts';

/** Where an agent keeps what is the herd's: who is let in, contents, jobs. */
export function herdDirOf({ state }: Pick<AgentConfig, 'state'>): string {
  return join(resolve(state.dir), 'herd');
}
