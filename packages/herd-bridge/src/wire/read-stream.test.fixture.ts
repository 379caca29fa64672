import { WireReader, type WireTag } from './index.ts';

/** What was read, in order: `Internal=Stop`, `job Job #0`, `input a/b 3 bytes "RES"`, and at last how it ended. */
export interface ReadStream {
  readonly said: readonly string[];
  /** The most that the reader held beyond the pieces that it was given. */
  readonly heldBytesMax: number;
  readonly error: unknown;
}

export const itemBytesMax = 512;

/** Bytes in pieces of these sizes, in turn; the last size goes on. */
export async function* inPieces(bytes: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  let at = 0;
  for (let index = 0; at < bytes.byteLength; index++) {
    const size = Math.max(1, sizes[Math.min(index, sizes.length - 1)] ?? bytes.byteLength);
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

/** Reads as an agent does: messages are looked for eagerly, then a job, then messages again. */
export function readAsAgent(source: AsyncIterable<Uint8Array>): Promise<ReadStream> {
  return read(source, async (reader, say) => {
    const first = await reader.nextItem({ isEager: true });
    if (first === undefined) return;
    say(`${first.tag}=${first.text}`);
    await readJob(reader, say);
    for (let item = await reader.nextItem({ isEager: true }); item !== undefined;) {
      say(`${item.tag}=${item.text}`);
      item = await reader.nextItem({ isEager: true });
    }
  });
}

/** Reads as a client does: messages up to one of the protocol's own, then the results. */
export function readAsClient(source: AsyncIterable<Uint8Array>): Promise<ReadStream> {
  return read(source, async (reader, say) => {
    for (let item = await reader.nextItem(); item !== undefined; item = await reader.nextItem()) {
      say(`${item.tag}=${item.text}`);
      if (item.tag === 'Internal') return await readJob(reader, say);
    }
  });
}

async function readJob(reader: WireReader, say: (what: string) => void): Promise<void> {
  const job = await reader.nextJob();
  if (job === undefined) return;
  say(`job ${job.name}`);
  for (let tag = await reader.nextTag(); tag !== undefined; tag = await reader.nextTag()) {
    let text = textOf(tag);
    if ('sizeBytes' in tag && tag.sizeBytes !== undefined) {
      const pieces: Uint8Array[] = [];
      for await (const piece of reader.content()) pieces.push(piece);
      text += ` ${JSON.stringify(Buffer.concat(pieces).toString('latin1'))}`;
    }
    say(text);
    if (tag.kind === 'job-end') return;
  }
}

function textOf(tag: WireTag): string {
  const { kind, ...rest } = tag;
  return `${kind} ${Object.values(rest)
    .filter((value) => value !== undefined)
    .join(' | ')}`.trim();
}

async function read(
  source: AsyncIterable<Uint8Array>,
  play: (reader: WireReader, say: (what: string) => void) => Promise<void>,
): Promise<ReadStream> {
  let heldBytesMax = 0;
  let pieceBytes = 0;
  const watched = async function* (): AsyncGenerator<Uint8Array> {
    for await (const piece of source) {
      look();
      pieceBytes = piece.byteLength;
      yield piece;
      look();
    }
  };
  const reader = new WireReader(watched(), { itemBytesMax, junkBytesMax: 1_024 });
  const look = (): void => {
    heldBytesMax = Math.max(heldBytesMax, reader.heldBytes - pieceBytes);
  };
  const said: string[] = [];
  try {
    await play(reader, (what) => {
      said.push(what);
      look();
    });
    return { said, heldBytesMax, error: undefined };
  } catch (error) {
    return { said, heldBytesMax, error };
  }
}
