import { crc32 } from 'node:zlib';
import type { AttemptKey } from '@drover/reconciler-state-machine';

/** One fact about an attempt, as the journal keeps it. */
export type JournalRecord =
  /** The attempt was taken. `work` is its ServerLease, kept only for types that can be resumed. */
  | {
      readonly kind: 'accepted';
      readonly key: AttemptKey;
      readonly cutOff: 'stop' | 'go-on';
      readonly work?: Uint8Array;
    }
  /** The handler has returned; logs may still be on their way. `report` is the AgentLease that will tell it. */
  | { readonly kind: 'ended'; readonly key: AttemptKey; readonly report: Uint8Array }
  /** The end may be told. Without `report` it is that of the `ended` record. */
  | { readonly kind: 'finished'; readonly key: AttemptKey; readonly report?: Uint8Array }
  /** Nothing of the attempt is needed any more. */
  | { readonly kind: 'dropped'; readonly key: AttemptKey };

const kinds = ['accepted', 'ended', 'finished', 'dropped'] as const;
const headerSize = 8;
const fixedSize = 8;
/** Largest body of one record; what is larger is damage. */
const bodySizeBytesMax = 64 * 1024 * 1024;

/** First bytes of a journal: its format, so that a later one is told apart. */
export const journalMagic = Buffer.from('DROVERJ1', 'latin1');

/**
 * Records as bytes, each: length and CRC-32 of the body, four bytes each, then the body: kind, flags, length of the lease id
 * (2), attempt (4), lease id, and the rest. All numbers are little-endian.
 */
export function encodeRecords(records: readonly JournalRecord[]): Buffer {
  let size = 0;
  for (const record of records) {
    size += headerSize + fixedSize + Buffer.byteLength(record.key.leaseId) + restOf(record).length;
  }
  // One piece of memory for all: an agent with hundreds of short attempts writes thousands of records a second.
  const bytes = Buffer.allocUnsafe(size);
  let at = 0;
  for (const record of records) at = encodeRecord(bytes, at, record);
  return bytes;
}

/** Writes a record at a place, and answers the next one. */
function encodeRecord(bytes: Buffer, start: number, record: JournalRecord): number {
  const body = start + headerSize;
  const rest = restOf(record);
  const idLength = bytes.write(record.key.leaseId, body + fixedSize);
  const end = body + fixedSize + idLength + rest.length;
  bytes[body] = kinds.indexOf(record.kind);
  bytes[body + 1] = record.kind === 'accepted' && record.cutOff === 'stop' ? 1 : 0;
  bytes.writeUInt16LE(idLength, body + 2);
  bytes.writeUInt32LE(record.key.attempt, body + 4);
  if (rest.length > 0) bytes.set(rest, end - rest.length);
  bytes.writeUInt32LE(end - body, start);
  bytes.writeUInt32LE(crc32(bytes.subarray(body, end)), start + 4);
  return end;
}

const nothing = new Uint8Array(0);

function restOf(record: JournalRecord): Uint8Array {
  if (record.kind === 'accepted') return record.work ?? nothing;
  return record.kind === 'dropped' ? nothing : (record.report ?? nothing);
}

/** The records of a journal, and where the readable part ends: a crash in the middle of a write leaves a torn tail. */
export function decodeRecords(bytes: Buffer): {
  readonly records: readonly JournalRecord[];
  readonly readableBytes: number;
} {
  const records: JournalRecord[] = [];
  let at = journalMagic.length;
  if (!bytes.subarray(0, at).equals(journalMagic)) return { records, readableBytes: 0 };
  while (at + headerSize + fixedSize <= bytes.length) {
    const size = bytes.readUInt32LE(at);
    const end = at + headerSize + size;
    if (size < fixedSize || size > bodySizeBytesMax || end > bytes.length) break;
    const body = bytes.subarray(at + headerSize, end);
    if (crc32(body) !== bytes.readUInt32LE(at + 4)) break;
    const record = decodeBody(body);
    if (!record) break;
    records.push(record);
    at = end;
  }
  return { records, readableBytes: at };
}

function decodeBody(body: Buffer): JournalRecord | undefined {
  const kind = kinds[body[0]!];
  const idEnd = fixedSize + body.readUInt16LE(2);
  if (kind === undefined || idEnd > body.length) return undefined;
  const key = { leaseId: body.toString('utf8', fixedSize, idEnd), attempt: body.readUInt32LE(4) };
  // Copied: a view would keep the whole file in memory.
  const rest = Uint8Array.from(body.subarray(idEnd));
  switch (kind) {
    case 'accepted': {
      const cutOff = body[1] === 1 ? 'stop' : 'go-on';
      return rest.length === 0 ? { kind, key, cutOff } : { kind, key, cutOff, work: rest };
    }
    case 'ended':
      return { kind, key, report: rest };
    case 'finished':
      return rest.length === 0 ? { kind, key } : { kind, key, report: rest };
    case 'dropped':
      return { kind, key };
  }
}
