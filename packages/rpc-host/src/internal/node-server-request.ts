import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';

/** A request of either HTTP version. */
export type NodeServerRequest = IncomingMessage | Http2ServerRequest;
/** A response of either HTTP version. */
export type NodeServerResponse = ServerResponse | Http2ServerResponse;

/**
 * Answers without a body or with a whole one. The two versions' responses have the same methods, with overloads that TypeScript
 * can not unite. A response whose caller has gone is left alone.
 */
export function respond(
  response: NodeServerResponse,
  status: number,
  headers: Readonly<Record<string, string | number>> = {},
  body = '',
): void {
  const answer = response as ServerResponse;
  if (answer.destroyed || answer.writableEnded) return;
  answer.writeHead(status, headers);
  answer.end(body);
}
