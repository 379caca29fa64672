import { Code, ConnectError, type ConnectRouter } from '@connectrpc/connect';
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from '@connectrpc/connect-node';
import type { Logger } from '@drover/lease-kit';
import { callValues } from '../principal.ts';
import { respond, type NodeServerRequest, type NodeServerResponse } from './node-server-request.ts';

/** What the listener of all requests needs. */
export interface RequestListenerDeps {
  readonly handlers: ConnectRouter['handlers'];
  readonly logger: Logger;
  /** Longest header block, counted as HTTP/2 does. */
  readonly headerSizeBytesMax: number;
  /** Answers what is no RPC; false if it does not know the path either. */
  readonly answerOther: (request: NodeServerRequest, response: NodeServerResponse) => boolean;
}

/**
 * Hands requests to their RPC handlers. Unlike Connect's own adapter it answers a request that makes no URL (HTTP/1.0 without
 * a host, a broken authority) with 400, where an exception would end the process, and writes to the logger.
 */
export function createRequestListener({ handlers, logger, headerSizeBytesMax, answerOther }: RequestListenerDeps) {
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

/** Size of a header list: names, values and 32 for each field (RFC 9113, 6.5.2). */
function headerSize(rawHeaders: readonly string[]): number {
  return rawHeaders.reduce((size, text) => size + text.length + 16, 0);
}
