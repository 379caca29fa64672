import type { Clock, LogFields, Logger } from '@drover/lease-kit';

/**
 * What an agent's log says of who was let in, who was not, and who had what done: lines with `security: true` and a stable
 * `event`.
 */
export interface HerdAudit {
  /** Something was done. */
  note(event: string, fields: LogFields, message: string): void;
  /** Something was refused. Anybody on the network can have that written, so there are at most 60 lines a minute. */
  refused(event: string, fields: LogFields, message: string): void;
}

const refusalsMax = 60;
const windowMs = 60_000;

/** Writes them to a log. */
export function createHerdAudit({ logger, clock }: { readonly logger: Logger; readonly clock: Clock }): HerdAudit {
  let windowAtMs = -Infinity;
  let written = 0;
  let leftOut = 0;
  return {
    note: (event, fields, message) => logger.info({ ...fields, security: true, event }, message),
    refused(event, fields, message) {
      const nowMs = clock.monotonicMs();
      if (nowMs - windowAtMs >= windowMs) {
        if (leftOut > 0) {
          logger.warn({ security: true, event: 'herd.refusals-left-out', leftOut }, 'more was refused than is written');
        }
        windowAtMs = nowMs;
        written = 0;
        leftOut = 0;
      }
      if (written >= refusalsMax) {
        leftOut += 1;
        return;
      }
      written += 1;
      logger.warn({ ...fields, security: true, event }, message);
    },
  };
}
