/** A set of byte rows of one length, a multiple of 4, numbered from 0 in the order in which they were added. Grows as needed. */
export interface WorldSet {
  /** How many rows there are. */
  readonly count: () => number;
  /** The bytes of all rows; replaced when it grows. */
  readonly bytes: () => Uint8Array;
  /** The number of the row that starts `row`, added if it is new. */
  readonly add: (row: Uint8Array) => number;
}

/** An empty set for rows of `size` bytes. */
export function createWorldSet(size: number): WorldSet {
  const length = size / 4;
  let bytes = new Uint8Array(size * 4096);
  let words = new Int32Array(bytes.buffer);
  // The row in question, so that it can be read four bytes at a time.
  const asked = new Uint8Array(size);
  const askedWords = new Int32Array(asked.buffer);
  let slots = new Int32Array(8192);
  let hashes = new Int32Array(4096);
  let count = 0;

  const hashOf = (): number => {
    let hash = 0x811c9dc5;
    for (let n = 0; n < length; n += 1) {
      hash = Math.imul(hash ^ askedWords[n]!, 0x2c1b3c6d);
      hash ^= hash >>> 15;
    }
    hash = Math.imul(hash, 0x297a2d39);
    return hash ^ (hash >>> 13);
  };
  const equals = (index: number): boolean => {
    const start = index * length;
    for (let n = 0; n < length; n += 1) if (words[start + n] !== askedWords[n]) return false;
    return true;
  };
  /** The slot that holds the row, or the free one where it belongs. */
  const slotOf = (hash: number): number => {
    const mask = slots.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const index = slots[slot]! - 1;
      if (index < 0 || (hashes[index] === hash && equals(index))) return slot;
    }
  };
  const grow = (): void => {
    if ((count + 1) * size > bytes.length) {
      const larger = new Uint8Array(bytes.length * 2);
      larger.set(bytes);
      bytes = larger;
      words = new Int32Array(bytes.buffer);
      const more = new Int32Array(hashes.length * 2);
      more.set(hashes);
      hashes = more;
    }
    if ((count + 1) * 2 <= slots.length) return;
    slots = new Int32Array(slots.length * 2);
    const mask = slots.length - 1;
    for (let index = 0; index < count; index += 1) {
      let slot = hashes[index]! & mask;
      while (slots[slot] !== 0) slot = (slot + 1) & mask;
      slots[slot] = index + 1;
    }
  };

  return {
    count: () => count,
    bytes: () => bytes,
    add: (row) => {
      asked.set(row);
      const hash = hashOf();
      const slot = slotOf(hash);
      const found = slots[slot]!;
      if (found > 0) return found - 1;
      slots[slot] = ++count;
      hashes[count - 1] = hash;
      bytes.set(row, (count - 1) * size);
      grow();
      return count - 1;
    },
  };
}
