import { DroverError } from '@drover/lease-kit';

/** What a client does about it is to have the tasks without an end run elsewhere. */
export function lost(why: string, cause?: unknown): DroverError {
  return new DroverError({ code: 'AGENT_LOST', advice: 'unavailable', message: why, cause });
}
