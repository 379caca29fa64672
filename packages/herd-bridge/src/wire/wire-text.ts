/** Text of bytes as the original programs read it: ASCII, with `?` for each other byte. */
export function textFromBytes(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // `ascii` of Node takes the highest bit away, which would turn one byte into another.
  return buffer.toString('latin1').replace(notAscii, '?');
}

/** Bytes of a text as the original programs write it: ASCII, with `?` for each other character. */
export function bytesFromText(text: string): Buffer {
  return Buffer.from(text.replace(notAscii, '?'), 'latin1');
}

/** True if every character is ASCII, so that the other end reads what was meant. */
export function isAscii(text: string): boolean {
  return text.search(notAscii) < 0;
}

const notAscii = /[\u{80}-\u{10ffff}]/gu;
