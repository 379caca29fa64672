import { pipeElements, pipeItemFrom, type PipeElement, type PipeItem } from './pipe-item.ts';

/** Bounds of a {@link PipeItemReader}. */
export interface PipeItemReaderOptions {
  /** Longest item, in characters, its tags included; a longer one is left out. Default 16,384. */
  readonly itemLengthMax?: number;
  /** Items come as they were written, those of unknown tags as well. Default false. */
  readonly raw?: boolean;
}

interface Tag {
  readonly name: string;
  readonly open: string;
  readonly close: string;
}

const tagOf = (name: string): Tag => ({ name, open: `<${name}>`, close: `</${name}>` });
const tags = pipeElements.map(tagOf);
const openLengthMax = Math.max(...tags.map(({ open }) => open.length));
const rawOpen = /<([A-Za-z][A-Za-z0-9_.-]{0,63})>/y;
const rawBeginning = /^<([A-Za-z][A-Za-z0-9_.-]{0,63})?$/;

/**
 * Finds items in bytes that come in any pieces: `<Progress>12.5</Progress>` and the like, each perhaps followed by a NUL.
 * Whatever stands between them is skipped, newlines are part of a text, and an item that is never closed hides at most
 * its own length of what follows it. It keeps no more than one item.
 */
export class PipeItemReader {
  readonly #itemLengthMax: number;
  readonly #raw: boolean;
  readonly #decoder = new TextDecoder();
  /** Begins with what may be an item, or is empty. */
  #rest = '';
  /** The close tag of the item that `#rest` begins with is not before this. */
  #looked = 0;
  #hasEnded = false;
  /** Items that were too long. */
  tooLong = 0;

  constructor({ itemLengthMax = 16_384, raw = false }: PipeItemReaderOptions = {}) {
    this.#itemLengthMax = itemLengthMax;
    this.#raw = raw;
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
      const tag = this.#tagAt(text, at);
      if (tag === undefined) {
        if (!isLast && this.#isBeginning(text, at)) break;
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
      const item = this.#itemFrom(tag, text.slice(at + tag.open.length, close));
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

  #tagAt(text: string, at: number): Tag | undefined {
    if (!this.#raw) return tags.find(({ open }) => text.startsWith(open, at));
    rawOpen.lastIndex = at;
    const name = rawOpen.exec(text)?.[1];
    return name === undefined ? undefined : tagOf(name);
  }

  /** True if the text ends in what may become the open tag of an item. */
  #isBeginning(text: string, at: number): boolean {
    if (this.#raw) return text.length - at <= 65 && rawBeginning.test(text.slice(at));
    return text.length - at < openLengthMax && tags.some(({ open }) => open.startsWith(text.slice(at)));
  }

  #itemFrom({ name, open, close }: Tag, text: string): PipeItem | undefined {
    if (!this.#raw) return pipeItemFrom(name as PipeElement, text);
    if (name === 'End' && text === '') return { kind: 'end' };
    return { kind: 'raw', text: `${open}${text.replaceAll('\0', '')}${close}` };
  }
}
