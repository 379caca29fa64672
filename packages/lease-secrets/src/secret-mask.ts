/** Values that are shorter are not masked: they would blot out what has nothing to do with them. */
export const maskedBytesMin = 4;

const star = '*'.charCodeAt(0);

/** What became of a piece. */
export interface BlottedPiece {
  /** How many of its bytes, from the start, can be shown. */
  readonly shown: number;
  /** How many of those behind belong to a secret that ends there, whatever follows. */
  readonly hidden: number;
}

/**
 * Blots secrets out of bytes that are carried piece by piece: each of its lines, and the base64 of the whole, by as many stars
 * as it has bytes, so that every offset stays what it is. What may be the start of a secret is held back until it is seen
 * whether it is one.
 */
export class SecretMask {
  /** Longest first: one that holds another is blotted out as a whole. */
  readonly #patterns: readonly Buffer[];

  /** Values of less than {@link maskedBytesMin} bytes are left out. */
  constructor(values: Iterable<Uint8Array>) {
    const patterns = new Map<string, Buffer>();
    for (const value of values) {
      const whole = Buffer.from(value);
      const lines = whole.toString('latin1').split(/\r?\n/);
      const spellings = [...lines.map((line) => Buffer.from(line, 'latin1')), Buffer.from(whole.toString('base64'))];
      for (const pattern of spellings) {
        if (pattern.length >= maskedBytesMin) patterns.set(pattern.toString('latin1'), pattern);
      }
    }
    this.#patterns = [...patterns.values()].sort((a, b) => b.length - a.length);
  }

  /**
   * Blots out what is in `bytes`, in place. Unless nothing follows (`isEnd`), a tail that may be the start of a secret is to be
   * held back and given again with what follows. `hidden` is the answer for the piece before; 0 for the first.
   */
  blot(bytes: Uint8Array, isEnd: boolean, hidden = 0): BlottedPiece {
    const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    // Looked for before anything is blotted out, so that secrets which overlap are all found.
    const found = this.#patterns.flatMap((pattern) =>
      placesOf(view, pattern).map((at) => ({ at, end: at + pattern.length })),
    );
    const shown = isEnd ? view.length : view.length - this.#tailOf(view);
    view.fill(star, 0, Math.min(hidden, view.length));
    for (const { at, end } of found) view.fill(star, at, end);
    // One that lies in the tail as a whole is found there again.
    const cut = found.filter(({ at }) => at < shown);
    const hiddenUntil = cut.reduce((until, { end }) => Math.max(until, end), hidden);
    return { shown, hidden: Math.max(0, hiddenUntil - shown) };
  }

  /** {@link blot} for a whole text. */
  blotText(text: string): string {
    const bytes = Buffer.from(text);
    this.blot(bytes, true);
    return bytes.toString();
  }

  /** Length of the longest tail that a secret starts with, and that is not all of it. */
  #tailOf(view: Buffer): number {
    let longest = 0;
    for (const pattern of this.#patterns) {
      for (let size = Math.min(pattern.length - 1, view.length); size > longest; size -= 1) {
        if (view.compare(pattern, 0, size, view.length - size) === 0) longest = size;
      }
    }
    return longest;
  }
}

function placesOf(view: Buffer, pattern: Buffer): number[] {
  const places: number[] = [];
  // One byte on after each: a secret may overlap itself.
  for (let at = view.indexOf(pattern); at >= 0; at = view.indexOf(pattern, at + 1)) places.push(at);
  return places;
}
