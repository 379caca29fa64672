import { pipeElements, pipeItemFrom, type PipeElement, type PipeItem } from './pipe-item.ts';

/** Bounds of a {@link PipeItemReader}. */
export interface PipeItemReaderOptions {
  /** Longest item, in characters, its tags included; a longer one is left out. Default 16,384. */
  readonly itemLengthMax?: number;
}

const tags = pipeElements.map((name) => ({ name, open: `<${name}>`, close: `</${name}>` }));
const openLengthMax = Math.max(...tags.map(({ open }) => open.length));

/**
 * Finds items in bytes that come in any pieces: `<Progress>12.5</Progress>` and the like, each perhaps followed by a NUL.
 * Whatever stands between them is skipped, newlines are part of a text, and an item that is never closed hides at most
 * its own length of what follows it. It keeps no more than one item.
 */
export class PipeItemReader {
  readonly #itemLengthMax: number;
  readonly #decoder = new TextDecoder();
  /** Begins with what may be an item, or is empty. */
  #rest = '';
  /** The close tag of the item that `#rest` begins with is not before this. */
  #looked = 0;
  #hasEnded = false;
  /** Items that were too long. */
  tooLong = 0;

  constructor({ itemLengthMax = 16_384 }: PipeItemReaderOptions = {}) {
    this.#itemLengthMax = itemLengthMax;
  }

  /** The items that these bytes complete. */
  push(bytes: Uint8Array): PipeItem[] {
    if (this.#hasEnded) return [];
    this.#rest += this.#decoder.decode(bytes, { stream: true });
    return this.#items(false);
  }

  /** The items that were hidden by one that was not closed. */
  end(): PipeItem[] {
    return this.#hasEnded ? [] : this.#items(true);
  }

  #items(isLast: boolean): PipeItem[] {
    const items: PipeItem[] = [];
    const text = this.#rest;
    let at = 0;
    for (;;) {
      const begin = text.indexOf('<', at);
      if (begin < 0) {
        at = text.length;
        break;
      }
      if (begin > at) this.#looked = 0;
      at = begin;
      const tag = tags.find(({ open }) => text.startsWith(open, at));
      if (tag === undefined) {
        if (!isLast && text.length - at < openLengthMax && isBeginning(text.slice(at))) break;
        at += 1;
        continue;
      }
      const from = Math.max(at + tag.open.length, at + this.#looked - tag.close.length);
      const close = text.indexOf(tag.close, from);
      const length = (close < 0 ? text.length : close + tag.close.length) - at;
      if (length > this.#itemLengthMax || (close < 0 && isLast)) {
        if (length > this.#itemLengthMax) this.tooLong += 1;
        at += tag.open.length;
        this.#looked = 0;
        continue;
      }
      if (close < 0) {
        this.#looked = text.length - at;
        break;
      }
      const item = pipeItemFrom(tag.name as PipeElement, text.slice(at + tag.open.length, close));
      at = close + tag.close.length;
      this.#looked = 0;
      if (item === undefined) continue;
      items.push(item);
      if (item.kind !== 'end') continue;
      this.#hasEnded = true;
      at = text.length;
      break;
    }
    // A copy: a slice would keep all that was ever read in memory.
    this.#rest = at === text.length ? '' : Buffer.from(text.slice(at)).toString();
    return items;
  }
}

function isBeginning(text: string): boolean {
  return tags.some(({ open }) => open.startsWith(text));
}
