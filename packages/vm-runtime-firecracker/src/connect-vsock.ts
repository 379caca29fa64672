import { connectSocket } from '@drover/vm-agent';
import type { Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';

const answerBytesMax = 32;
const retryMs = 10;

/**
 * Connects to a port in a machine through the Unix socket of its vsock, as soon as somebody listens there: docs/vsock.md of
 * Firecracker, `CONNECT port` and `OK port`. An abort throws the signal's reason; what is no answer throws.
 */
export async function connectVsock(path: string, port: number, signal: AbortSignal): Promise<Socket> {
  for (;;) {
    const socket = await connectSocket(path, signal);
    const answer = await handshake(socket, port, signal);
    if (answer === 'ok') return socket;
    socket.destroy();
    signal.throwIfAborted();
    if (answer !== 'closed') throw new Error(`the machine's vsock answered ${JSON.stringify(answer)}`);
    // Nobody listens yet.
    await wait(retryMs, undefined, { signal });
  }
}

/** `ok`, `closed`, or what it said instead. */
async function handshake(socket: Socket, port: number, signal: AbortSignal): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let said = Buffer.alloc(0);
  const onReadable = (): void => {
    for (let chunk: Buffer | null; (chunk = socket.read() as Buffer | null) !== null;) {
      said = Buffer.concat([said, chunk]);
      const end = said.indexOf(0x0a);
      if (end < 0 && said.length < answerBytesMax) continue;
      const line = said.toString('latin1', 0, end < 0 ? answerBytesMax : end);
      if (end < 0 || !/^OK \d{1,10}$/.test(line)) return resolve(line);
      // What follows is the agent's.
      if (end + 1 < said.length) socket.unshift(said.subarray(end + 1));
      return resolve('ok');
    }
  };
  const onClosed = (): void => resolve('closed');
  socket.on('readable', onReadable);
  for (const event of ['end', 'close', 'error']) socket.on(event, onClosed);
  signal.addEventListener('abort', onClosed, { once: true });
  socket.write(`CONNECT ${port}\n`);
  try {
    return await promise;
  } finally {
    signal.removeEventListener('abort', onClosed);
    socket.off('readable', onReadable);
    for (const event of ['end', 'close', 'error']) socket.off(event, onClosed);
    // Without somebody who takes errors, one would end the process.
    socket.on('error', () => undefined);
  }
}
