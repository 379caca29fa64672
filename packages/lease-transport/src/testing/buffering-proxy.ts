import { once } from 'node:events';
import { connect, createServer, type ServerHttp2Session } from 'node:http2';
import type { AddressInfo } from 'node:net';

/** An HTTP/2 proxy on loopback that passes a request on when it is whole and an answer back when it is whole. */
export interface BufferingProxy extends AsyncDisposable {
  readonly port: number;
  /** Paths of the requests that it passed on. */
  readonly passed: readonly string[];
}

/** Starts a proxy to a port of loopback: unary calls get through, a stream's messages never do. */
export async function startBufferingProxy(targetPort: number): Promise<BufferingProxy> {
  const passed: string[] = [];
  const sessions = new Set<ServerHttp2Session>();
  const upstream = connect(`http://127.0.0.1:${targetPort}`);
  upstream.on('error', () => undefined);
  const server = createServer();
  server.on('session', (session) => {
    sessions.add(session);
    session.on('error', () => undefined);
    session.on('close', () => sessions.delete(session));
  });
  server.on('stream', (stream, headers) => {
    const chunks: Buffer[] = [];
    stream.on('error', () => undefined);
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => {
      if (stream.destroyed || stream.aborted) return;
      passed.push(headers[':path']!);
      const onward = upstream.request({ ...headers, ':authority': `127.0.0.1:${targetPort}` });
      const answer: Buffer[] = [];
      stream.on('close', () => onward.close());
      onward.on('error', () => stream.close());
      onward.on('response', (answerHeaders) => {
        onward.on('data', (chunk: Buffer) => answer.push(chunk));
        onward.on('end', () => {
          if (stream.destroyed) return;
          stream.respond(answerHeaders);
          stream.end(Buffer.concat(answer));
        });
      });
      onward.end(Buffer.concat(chunks));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    passed,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      upstream.destroy();
      for (const session of sessions) session.destroy();
      await closed;
    },
  };
}
