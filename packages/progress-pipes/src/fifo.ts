import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { Socket } from 'node:net';
import { BytePace, type BytePaceDeps } from './byte-pace.ts';
import { pipeError } from './pipe-name.ts';
import type { PipeBytes } from './progress-pipes.ts';

const chunkBytes = 64 * 1024;
/** What is read at most after the end: a FIFO holds 64 KiB, and what a straggler goes on writing is not waited for. */
const lastBytesMax = 1024 * 1024;

/**
 * Reads a FIFO. It is opened for reading and writing, which Linux and the BSDs allow: the opening waits for nobody, a process
 * that opens it for writing does not wait either, and there is no end of file when a writer goes and another comes. The end
 * is told by who knows that the process has ended.
 */
export function openFifo(path: string, deps: BytePaceDeps): PipeBytes {
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  if (!fstatSync(fd).isFIFO()) {
    closeSync(fd);
    throw pipeError('PIPE_FAILED', 'unavailable', `${path} is no FIFO`);
  }
  const socket = new Socket({ fd, readable: true, writable: false });
  const pace = new BytePace(socket, deps);
  socket.on('error', () => undefined);
  return {
    async end() {
      pace.stop();
      if (socket.destroyed) return;
      let left = lastBytesMax;
      const buffer = Buffer.alloc(chunkBytes);
      for (let read = readNow(fd, buffer); read > 0 && left > 0; read = readNow(fd, buffer)) {
        deps.onBytes(buffer.subarray(0, read));
        left -= read;
      }
      await new Promise<void>((resolve) => {
        socket.once('close', () => resolve());
        socket.destroy();
      });
    },
  };
}

/** 0 when nothing is there now. */
function readNow(fd: number, buffer: Buffer): number {
  try {
    return readSync(fd, buffer);
  } catch {
    return 0;
  }
}
