import { delay } from '@drover/lease-kit';
import { chmodSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { BytePace, type BytePaceDeps } from './byte-pace.ts';
import type { PipeBytes } from './progress-pipes.ts';

const connectionsMax = 8;
/** How long the last bytes of connections are waited for, whose other end may be held open by a straggler. */
const lastBytesMs = 500;

/** Listens on a Unix socket, or a named pipe of Windows, and reads what anybody writes who connects. */
export async function openPipeServer(path: string, deps: BytePaceDeps): Promise<PipeBytes> {
  const connections = new Map<Socket, BytePace>();
  let onEmpty = (): void => undefined;
  const server = createServer((socket) => {
    if (connections.size >= connectionsMax) return socket.destroy();
    connections.set(socket, new BytePace(socket, deps));
    socket.on('error', () => undefined);
    socket.once('close', () => {
      connections.delete(socket);
      if (connections.size === 0) onEmpty();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  server.on('error', () => undefined);
  if (process.platform !== 'win32') chmodSync(path, 0o600);
  return {
    async end() {
      // Who connected just before it ended waits to be accepted: a turn for that, one for its bytes.
      await nextTurn();
      await nextTurn();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      if (connections.size > 0) {
        const late = new AbortController();
        const empty = new Promise<void>((resolve) => (onEmpty = resolve));
        await Promise.race([empty, delay(deps.clock, lastBytesMs, late.signal)]);
        late.abort();
      }
      for (const [socket, pace] of connections) {
        pace.stop();
        socket.destroy();
      }
      await closed;
    },
  };
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
