import { Logger } from 'graphile-worker';

/** A logger that writes errors and warnings alone, and those to standard error: printing each job would slow the peer down. */
export function silentGraphileLogger(): Logger {
  return new Logger(() => (level, message) => {
    if (level === 'error' || level === 'warning') console.error(`graphile-worker: ${message}`);
  });
}
