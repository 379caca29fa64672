/**
 * Bytes that came in and are not understood yet, up to a bound. Offsets count from the first byte that was not dropped.
 */
export class ByteWindow {
  readonly sizeBytesMax: number;
  #buffer = Buffer.alloc(0);
  #start = 0;
  #end = 0;

  constructor(sizeBytesMax: number) {
    this.sizeBytesMax = sizeBytesMax;
  }

  get sizeBytes(): number {
    return this.#end - this.#start;
  }

  /** What it holds in memory, at most `sizeBytesMax`. */
  get capacityBytes(): number {
    return this.#buffer.byteLength;
  }

  /** Takes as much of the front of `chunk` as there is room for, and says how much that was. */
  append(chunk: Uint8Array): number {
    const taken = Math.min(chunk.byteLength, this.sizeBytesMax - this.sizeBytes);
    if (this.#end + taken > this.#buffer.byteLength) this.#makeRoom(taken);
    this.#buffer.set(chunk.subarray(0, taken), this.#end);
    this.#end += taken;
    return taken;
  }

  /** Forgets the first `count` bytes. */
  drop(count: number): void {
    this.#start += count;
    if (this.#start === this.#end) this.#start = this.#end = 0;
  }

  /** Offset of the first `what` at or behind `from`; -1: none. */
  indexOf(what: number | Uint8Array, from: number): number {
    return this.view().indexOf(what, from);
  }

  /** The bytes from `from` to before `to`, valid until the next `append`. */
  view(from = 0, to: number = this.sizeBytes): Buffer {
    return this.#buffer.subarray(this.#start + from, this.#start + to);
  }

  #makeRoom(count: number): void {
    const kept = this.sizeBytes;
    const needed = kept + count;
    // Moves what is kept to the front; doubles, so that bytes that come one by one are not copied each time.
    const target =
      needed * 2 <= this.#buffer.byteLength || this.#buffer.byteLength === this.sizeBytesMax
        ? this.#buffer
        : Buffer.alloc(Math.min(this.sizeBytesMax, Math.max(needed, this.#buffer.byteLength * 2, 1024)));
    this.#buffer.copy(target, 0, this.#start, this.#end);
    this.#buffer = target;
    this.#start = 0;
    this.#end = kept;
  }
}
