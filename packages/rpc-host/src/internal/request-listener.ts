import { Code, ConnectError, type ConnectRouter } from '@connectrpc/connect';
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from '@connectrpc/connect-node';
import type { Clock, Logger } from '@drover/lease-kit';
import { constants } from 'node:http2';
import { callValues } from '../principal.ts';
import { respond, type NodeServerRequest, type NodeServerResponse } from './node-server-request.ts';

/** What the listener of all requests needs. */
export interface RequestListenerDeps {
  readonly handlers: ConnectRouter['handlers'];
  readonly logger: Logger;
  readonly clock: Clock;
  /** Longest header block, counted as HTTP/2 does. */
  readonly headerSizeBytesMax: number;
  /** Answers what is no RPC; false if it does not know the path either. */
  readonly answerOther: (request: NodeServerRequest, response: NodeServerResponse) => boolean;
}

/**
 * Hands requests to their RPC handlers. Unlike Connect's own adapter it answers a request that makes no URL (HTTP/1.0 without
 * a host, a broken authority) with 400, where an exception would end the process, and writes to the logger.
 */
export function createRequestListener(deps: RequestListenerDeps) {
  const { handlers, logger, clock, headerSizeBytesMax, answerOther } = deps;
  const byPath = new Map(handlers.map((handler) => [handler.requestPath, handler]));

  return (request: NodeServerRequest, response: NodeServerResponse): void => {
    // Node enforces the bound itself for HTTP/1.1, and for HTTP/2 only after the client has acknowledged the settings.
    if (request.httpVersionMajor >= 2 && headerSize(request.rawHeaders) > headerSizeBytesMax) {
      respond(response, 431);
      return;
    }
    const handler = byPath.get((request.url ?? '').split('?', 1)[0] ?? '');
    if (handler === undefined) {
      if (!answerOther(request, response)) respond(response, 404);
      return;
    }
    let universal: ReturnType<typeof universalRequestFromNodeRequest>;
    try {
      universal = universalRequestFromNodeRequest(request, response, undefined, callValues(request.socket));
    } catch {
      respond(response, 400);
      return;
    }
    discardUnread(request, clock);
    handler(universal)
      .then((answer) => universalResponseToNodeResponse(answer, response))
      .catch((error: unknown) => {
        const { code } = ConnectError.from(error);
        // The caller went away while the answer was written: nobody is left to tell, and nothing is wrong here.
        if (code === Code.Aborted || code === Code.Canceled) return;
        logger.warn({ err: error, rpc: handler.requestPath }, 'RPC answer could not be written');
        response.destroy();
      });
  };
}

/** How long a caller may go on sending a request that was answered before its end. */
const unreadMs = 10_000;

/**
 * Throws away what a caller still sends after the answer, e.g. because a message is over the limit. Nobody else would read
 * it, and flow control would hold the caller and its stream for ever. Node does the same for HTTP/1.1. The stream is not
 * reset at once, though RFC 9113, 8.1 allows it: some clients then lose the answer.
 */
function discardUnread(request: NodeServerRequest, clock: Clock): void {
  if (!('stream' in request)) return;
  const { stream } = request;
  stream.once('finish', () => {
    if (request.complete || stream.closed) return;
    // Node's request object pauses the stream as long as nobody reads it.
    stream.removeAllListeners('data').resume();
    const cut = clock.schedule(unreadMs, () => stream.close(constants.NGHTTP2_NO_ERROR));
    stream.once('close', () => cut.cancel());
  });
}

/** Size of a header list: names, values and 32 for each field (RFC 9113, 6.5.2). */
function headerSize(rawHeaders: readonly string[]): number {
  return rawHeaders.reduce((size, text) => size + text.length + 16, 0);
}
