import { respond, type NodeServerRequest, type NodeServerResponse } from './internal/node-server-request.ts';
import type { Logger } from '@drover/lease-kit';

/** Whether the process should get traffic. */
export interface Readiness {
  readonly ready: boolean;
  /** Why not, or a remark, for the operator. Anybody who reaches the port can read it: no secrets. */
  readonly reason?: string | undefined;
}

/**
 * Asked at each `GET /readyz`; what it throws, and no answer within {@link readinessTimeoutMs}, is "not ready". What it throws
 * goes to the log, and is not told to whoever asks.
 */
export type IsReady = (signal: AbortSignal) => Readiness | Promise<Readiness>;

/** How long a readiness check may take. */
export const readinessTimeoutMs = 5000;

/**
 * Answers `GET` (and `HEAD`) `/healthz`, which says that the process is alive, and `/readyz`, which says whether it should get
 * traffic: 200 or 503 with a JSON object. False for every other path.
 */
export function answerOperator(
  request: NodeServerRequest,
  response: NodeServerResponse,
  isReady: () => Promise<Readiness>,
): boolean {
  const path = (request.url ?? '').split('?', 1)[0];
  if (path !== '/healthz' && path !== '/readyz') return false;
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    respond(response, 405, { allow: 'GET, HEAD' });
  } else if (path === '/healthz') {
    send(request, response, 200, { alive: true });
  } else {
    void isReady().then((readiness) => send(request, response, readiness.ready ? 200 : 503, readiness));
  }
  return true;
}

/** Asks with a bound on time and turns every failure into "not ready"; strangers learn no more of it than that. */
export async function boundedReadiness(isReady: IsReady, logger: Logger): Promise<Readiness> {
  const signal = AbortSignal.timeout(readinessTimeoutMs);
  const late = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
  try {
    return await Promise.race([isReady(signal), late]);
  } catch (error) {
    logger.warn({ err: error }, 'the readiness check failed');
    const why = signal.aborted ? `there was no answer within ${readinessTimeoutMs} ms` : 'the log says why';
    return { ready: false, reason: `The readiness check failed: ${why}.` };
  }
}

function send(request: NodeServerRequest, response: NodeServerResponse, status: number, body: object): void {
  const text = `${JSON.stringify(body)}\n`;
  const headers = {
    'content-type': 'application/json',
    'cache-control': 'no-store',
    'content-length': Buffer.byteLength(text),
  };
  respond(response, status, headers, request.method === 'HEAD' ? '' : text);
}
