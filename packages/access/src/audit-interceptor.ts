import type { Interceptor, StreamResponse, UnaryResponse } from '@connectrpc/connect';
import { principalName } from '@drover/lease-kit';
import type { AuditDraft } from '@drover/lease-store';
import { AuditWriter, type AuditWriterDeps } from './audit-writer.ts';
import { changeKey, type PendingChange } from './pending-change.ts';

/**
 * A server interceptor that writes what people and programs change, before they are answered: what the handler noted, or at
 * least that the call was made, unless the store has written of it with the change. A call that fails has changed
 * nothing but what its handler noted before.
 */
export function auditInterceptor(deps: AuditWriterDeps): Interceptor {
  const writer = new AuditWriter(deps);
  return (next) => async (request) => {
    const change = request.contextValues.get(changeKey);
    if (change === undefined) return next(request);
    let response: UnaryResponse | StreamResponse;
    try {
      response = await next(request);
    } catch (error) {
      if (change.notes.length > 0) await writer.append(linesOf(change));
      throw error;
    }
    if (!response.stream) {
      await writer.append(linesOf(change));
      return response;
    }
    const { message } = response;
    return {
      ...response,
      message: (async function* () {
        yield* message;
        await writer.append(linesOf(change));
      })(),
    };
  };
}

function linesOf(change: PendingChange): AuditDraft[] {
  const { action, address, credential, notes, notesLeftOut, caller, isWritten } = change;
  const common = { who: principalName(caller.principal), action, address, credential };
  const lines: AuditDraft[] = notes.map((note) => ({ ...common, ...note }));
  if (notesLeftOut > 0) lines.push({ ...common, subject: '', after: { notesLeftOut } });
  return lines.length > 0 || isWritten ? lines : [{ ...common, subject: '' }];
}
