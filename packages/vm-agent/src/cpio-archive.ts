/** A file or a folder of an archive. */
export interface CpioEntry {
  /** Without a leading slash. */
  readonly name: string;
  /** Type and permissions, as in stat(2). */
  readonly mode: number;
  readonly content?: Uint8Array;
}

/** An archive in the form that Linux reads its first file system from: `newc`, Documentation/driver-api/early-userspace/buffer-format. */
export function cpioArchive(entries: readonly CpioEntry[]): Buffer {
  const parts: Buffer[] = [];
  const add = (name: string, mode: number, index: number, content: Uint8Array): void => {
    const numbers = [index, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, Buffer.byteLength(name) + 1, 0];
    const head = `070701${numbers.map((number) => number.toString(16).padStart(8, '0')).join('')}${name}\0`;
    parts.push(padded(Buffer.from(head)), padded(Buffer.from(content)));
  };
  entries.forEach(({ name, mode, content = new Uint8Array(0) }, index) => add(name, mode, index + 1, content));
  add('TRAILER!!!', 0, 0, new Uint8Array(0));
  return Buffer.concat(parts);
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}
