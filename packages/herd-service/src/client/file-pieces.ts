import { open } from 'node:fs/promises';

const pieceSizeBytesMax = 512 * 1024;

/**
 * What a file holds, piece by piece. All pieces stand in one buffer, so each is good only until the next is asked for: a new one
 * for each would cost more in garbage than the reading. `sizeBytes` is how large the file is believed to be; it need not be right.
 */
export async function* filePieces(path: string, sizeBytes: number): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const file = await open(path, 'r');
  try {
    // One more than it should have: a read that gives less has found the end.
    const buffer = Buffer.allocUnsafeSlow(Math.min(pieceSizeBytesMax, sizeBytes + 1));
    for (let at = 0; ;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
      at += bytesRead;
      if (bytesRead > 0) yield buffer.subarray(0, bytesRead);
      if (bytesRead === 0 || (bytesRead < buffer.length && at === sizeBytes)) return;
    }
  } finally {
    await file.close();
  }
}
