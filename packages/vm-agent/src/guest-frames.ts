import { DroverError } from '@drover/lease-kit';

/** Types of frames; PROTOCOL.md says what they carry. */
export const frameType = {
  hello: 0x01,
  exec: 0x10,
  stdin: 0x12,
  signal: 0x13,
  grant: 0x14,
  put: 0x20,
  putData: 0x21,
  get: 0x22,
  remove: 0x23,
  makeFolder: 0x24,
  cancelGet: 0x25,
  statistics: 0x30,
  restored: 0x31,
  ping: 0x32,
  helloAnswer: 0x81,
  output: 0x90,
  file: 0x91,
  fileData: 0x92,
  exit: 0x93,
  stdinGrant: 0x94,
  done: 0x95,
  failed: 0x96,
  statisticsAnswer: 0x97,
} as const;

/** One frame as it arrived. */
export interface GuestFrame {
  readonly type: number;
  readonly channel: number;
  /** A view of what arrived: copied by whoever keeps it. */
  readonly payload: Buffer;
}

const headerBytes = 9;
/** Largest payload of a frame. */
export const payloadBytesMax = 65_536;

/** One frame as bytes. Throws a RangeError for a payload that is too large. */
export function encodeFrame(type: number, channel: number, ...parts: readonly Uint8Array[]): Buffer {
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  if (size > payloadBytesMax) throw new RangeError(`a frame of ${size} bytes; at most ${payloadBytesMax}`);
  const header = Buffer.allocUnsafe(headerBytes);
  header.writeUInt32LE(size, 0);
  header.writeUInt8(type, 4);
  header.writeUInt32LE(channel, 5);
  return Buffer.concat([header, ...parts], headerBytes + size);
}

/** Cuts a stream of bytes into frames. It holds less than one frame. */
export class FrameReader {
  #partial: Buffer = Buffer.alloc(0);

  /** The frames that are whole now. Throws `GUEST_PROTOCOL` for bytes that are no frame. */
  *take(chunk: Buffer): Generator<GuestFrame> {
    let bytes = this.#partial.length === 0 ? chunk : Buffer.concat([this.#partial, chunk]);
    this.#partial = Buffer.alloc(0);
    while (bytes.length >= headerBytes) {
      const size = bytes.readUInt32LE(0);
      if (size > payloadBytesMax) {
        throw new DroverError({
          code: 'GUEST_PROTOCOL',
          advice: 'conflict',
          message: `the sandbox sent a frame of ${size} bytes; at most ${payloadBytesMax} are allowed`,
        });
      }
      if (bytes.length < headerBytes + size) break;
      const payload = bytes.subarray(headerBytes, headerBytes + size);
      yield { type: bytes.readUInt8(4), channel: bytes.readUInt32LE(5), payload };
      bytes = bytes.subarray(headerBytes + size);
    }
    if (bytes.length > 0) this.#partial = Buffer.from(bytes);
  }
}

/** A number as the protocol has it. */
export function uint32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** A path as the protocol has it. */
export function pathBytes(path: string): Buffer {
  return Buffer.from(`${path}\0`);
}
