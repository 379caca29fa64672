/** Byte strings of many rows as one binary parameter: an array of bytea would cross the wire as hexadecimal text. */
export interface PackedBytes {
  readonly bytes: Buffer;
  /** Offsets, counted from 1 as SQL's substring does; 0 where there is no value. */
  readonly offsets: readonly number[];
  readonly lengths: readonly number[];
}

/** Packs the values; undefined stays apart from an empty one. */
export function packBytes(values: readonly (Uint8Array | undefined)[]): PackedBytes {
  const offsets: number[] = [];
  const lengths: number[] = [];
  let size = 0;
  for (const value of values) {
    offsets.push(value ? size + 1 : 0);
    lengths.push(value?.length ?? 0);
    size += value?.length ?? 0;
  }
  const present = values.filter((value) => value !== undefined);
  return { bytes: Buffer.concat(present, size), offsets, lengths };
}
