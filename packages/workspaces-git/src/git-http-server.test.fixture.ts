import { spawn } from 'node:child_process';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Repositories of a folder over http, by git's own backend. */
export interface GitHttpServer extends AsyncDisposable {
  readonly url: string;
  /** From now on each answer of a fetch stops after so many bytes and hangs; undefined: no more. */
  stallAfter(bytes: number | undefined): void;
  /** Resolves when an answer hangs. */
  stalled(): Promise<void>;
  /** From now on each request is answered with this status; undefined: no more. */
  failWith(status: number | undefined): void;
}

/** Serves the repositories below a folder on loopback. */
export async function startGitHttpServer(dir: string): Promise<GitHttpServer> {
  let stallBytes: number | undefined;
  let status: number | undefined;
  let hangs = Promise.withResolvers<void>();
  const server = createServer((request, response) => {
    if (status !== undefined) return void response.writeHead(status).end();
    const { pathname, search } = new URL(request.url ?? '/', 'http://localhost');
    const backend = spawn('git', ['http-backend'], {
      env: {
        PATH: process.env['PATH'] ?? '',
        GIT_PROJECT_ROOT: dir,
        GIT_HTTP_EXPORT_ALL: '1',
        GIT_CONFIG_COUNT: '1',
        GIT_CONFIG_KEY_0: 'safe.directory',
        GIT_CONFIG_VALUE_0: '*',
        REQUEST_METHOD: request.method ?? 'GET',
        PATH_INFO: decodeURIComponent(pathname),
        QUERY_STRING: search.slice(1),
        CONTENT_TYPE: request.headers['content-type'] ?? '',
        HTTP_CONTENT_ENCODING: request.headers['content-encoding'] ?? '',
        GIT_PROTOCOL: String(request.headers['git-protocol'] ?? ''),
        ...(request.headers['content-length'] === undefined
          ? {}
          : { CONTENT_LENGTH: request.headers['content-length'] }),
      },
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    backend.stdin.on('error', () => undefined);
    request.pipe(backend.stdin);
    response.on('close', () => backend.kill());
    const isFetch = request.method === 'POST';
    const chunks: Buffer[] = [];
    backend.stdout.on('data', (bytes: Buffer) => chunks.push(bytes));
    backend.on('close', () => answer(response, Buffer.concat(chunks), isFetch ? stallBytes : undefined));
  });
  const answer = (response: ServerResponse, output: Buffer, bytesMax: number | undefined): void => {
    const end = output.indexOf('\r\n\r\n');
    for (const line of output.toString('latin1', 0, Math.max(0, end)).split('\r\n')) {
      const at = line.indexOf(':');
      const [name, value] = [line.slice(0, at), line.slice(at + 1).trim()];
      if (name.toLowerCase() === 'status') response.statusCode = Number.parseInt(value, 10);
      else if (at > 0) response.setHeader(name, value);
    }
    const body = output.subarray(end + 4);
    if (bytesMax === undefined || body.length <= bytesMax) return void response.end(body);
    response.write(body.subarray(0, bytesMax), () => hangs.resolve());
  };
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stallAfter(bytes) {
      stallBytes = bytes;
      hangs = Promise.withResolvers<void>();
    },
    stalled: () => hangs.promise,
    failWith(code) {
      status = code;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
