import { ByteWindow } from './byte-window.ts';
import { ItemFinder, type WireItem } from './item-finder.ts';
import { parseTag, type WireTag } from './parse-tag.ts';
import { wireCutShort, wireInvalid, wireTooLarge } from './wire-error.ts';
import { textFromBytes } from './wire-text.ts';

/** Bounds of a {@link WireReader}. */
export interface WireReaderOptions {
  /**
   * The most bytes of one message, or of one tag, with what is skipped before it is there. Default 131,072: the whole buffer of
   * an original program on Linux, which waits for ever when one does not fit.
   */
  readonly itemBytesMax?: number | undefined;
  /** The most bytes that belong to nothing, between two things that do. Default 1 MiB. */
  readonly junkBytesMax?: number | undefined;
}

/** How {@link WireReader.nextItem} looks for a message. */
export interface NextItemOptions {
  /**
   * True: takes a message as soon as it is complete, even if an earlier tag could still be ended around it: for an agent, whose
   * clients send nothing nested. Default false.
   */
  readonly isEager?: boolean | undefined;
}

/**
 * Reads the original Herd protocol from a stream, in whatever pieces it comes: messages, then the tags of a job, then messages
 * again, as its caller asks. It holds at most `itemBytesMax` and one piece; the content of files passes through.
 *
 * Each call rejects with what the source throws, with `HERD_WIRE_TOO_LARGE`, or with `HERD_WIRE_INVALID`; nothing may be asked
 * after that. Calls must not overlap. To stop one that waits, end the source.
 */
export class WireReader {
  readonly #window: ByteWindow;
  readonly #finder: ItemFinder;
  readonly #junkBytesMax: number;
  readonly #source: AsyncIterator<Uint8Array>;
  /** What of the last piece did not fit yet. */
  #rest: Uint8Array = new Uint8Array(0);
  #hasEnded = false;
  #junkBytes = 0;
  /** What is left of a file that was not read to its end. */
  #content: { readonly end: 'input-end' | 'output-end'; leftBytes: number } | undefined;

  constructor(source: AsyncIterable<Uint8Array>, options: WireReaderOptions = {}) {
    this.#window = new ByteWindow(options.itemBytesMax ?? 131_072);
    this.#finder = new ItemFinder(this.#window);
    this.#junkBytesMax = options.junkBytesMax ?? 1024 * 1024;
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Bytes in memory, beside the source's: for tests of the bound. */
  get heldBytes(): number {
    return this.#window.capacityBytes + this.#rest.byteLength;
  }

  /** The next message, wherever it stands; absent at the end of the stream. */
  async nextItem(options: NextItemOptions = {}): Promise<WireItem | undefined> {
    this.#junkBytes = 0;
    this.#finder.reset();
    for (;;) {
      const isFull = this.#window.sizeBytes === this.#window.sizeBytesMax;
      const isWhole = isFull || (this.#hasEnded && this.#rest.byteLength === 0);
      const { item, junkBytes } = this.#finder.search(
        isWhole ? 'whole' : options.isEager === true ? 'eager' : 'patient',
      );
      if (item !== undefined) return item;
      this.#countJunk(junkBytes);
      if (!(await this.#more('a message')) && isWhole) return undefined;
    }
  }

  /** The next `<Job Name="…">`; others are skipped. Absent at the end of the stream. */
  async nextJob(): Promise<{ readonly name: string } | undefined> {
    this.#junkBytes = 0;
    for (;;) {
      const text = await this.#tagText();
      if (text === undefined) return undefined;
      const tag = parseTag(text);
      if (tag.kind === 'job') return tag;
      this.#countJunk(text.length + 2);
    }
  }

  /**
   * The next tag within a job. What is unread of a file before it is skipped. Absent at the end of the stream; throws
   * `HERD_WIRE_CUT_SHORT` at one within a file.
   */
  async nextTag(): Promise<WireTag | undefined> {
    if (this.#content !== undefined) for await (const _ of this.content());
    this.#junkBytes = 0;
    const text = await this.#tagText();
    if (text === undefined) return undefined;
    const tag = parseTag(text);
    if (tag.kind === 'input' || (tag.kind === 'output' && tag.sizeBytes !== undefined)) {
      this.#content = { end: `${tag.kind}-end`, leftBytes: tag.sizeBytes! };
    }
    return tag;
  }

  /**
   * The bytes of the file whose tag came last, in pieces that are the consumer's until it asks for the next; then its end tag has
   * been read. Throws `HERD_WIRE_CUT_SHORT`, and `HERD_WIRE_INVALID` if something else follows the bytes.
   */
  async *content(): AsyncGenerator<Uint8Array, void, undefined> {
    const content = this.#content;
    if (content === undefined) return;
    while (content.leftBytes > 0) {
      const piece = this.#takeUpTo(content.leftBytes);
      if (piece === undefined) {
        if (!(await this.#nextPiece())) throw wireCutShort(`a file, ${content.leftBytes} bytes before its end`);
        continue;
      }
      content.leftBytes -= piece.byteLength;
      yield piece;
    }
    const text = await this.#tagText();
    if (text === undefined) throw wireCutShort('the end tag of a file');
    if (parseTag(text).kind !== content.end) {
      throw wireInvalid(`<${text.slice(0, 128)}> stands where the end tag of a file is due`);
    }
    this.#content = undefined;
  }

  /** Text of the next tag, which stands anywhere. */
  async #tagText(): Promise<string | undefined> {
    for (;;) {
      const open = this.#window.indexOf(0x3c, 0);
      const junkBytes = open < 0 ? this.#window.sizeBytes : open;
      this.#countJunk(junkBytes);
      this.#window.drop(junkBytes);
      const end = this.#window.indexOf(0x3e, 0);
      if (end >= 0) {
        const text = textFromBytes(this.#window.view(1, end));
        this.#window.drop(end + 1);
        return text;
      }
      if (!(await this.#more('a tag'))) return undefined;
    }
  }

  /** Up to `count` bytes, from the window first; absent: there are none here. */
  #takeUpTo(count: number): Uint8Array | undefined {
    const held = Math.min(count, this.#window.sizeBytes);
    if (held > 0) {
      const piece = Uint8Array.from(this.#window.view(0, held)); // the window moves its bytes
      this.#window.drop(held);
      return piece;
    }
    if (this.#rest.byteLength === 0) return undefined;
    const piece = this.#rest.subarray(0, count);
    this.#rest = this.#rest.subarray(piece.byteLength);
    return piece;
  }

  /** Puts at least one more byte into the window; false: the stream has ended. */
  async #more(what: string): Promise<boolean> {
    if (this.#window.sizeBytes === this.#window.sizeBytesMax) throw wireTooLarge(what, this.#window.sizeBytesMax);
    if (this.#rest.byteLength === 0 && !(await this.#nextPiece())) return false;
    this.#rest = this.#rest.subarray(this.#window.append(this.#rest));
    return true;
  }

  /** Has the source give a piece that is not empty; false: it has ended. Only called when `#rest` is empty. */
  async #nextPiece(): Promise<boolean> {
    while (!this.#hasEnded) {
      const step = await this.#source.next();
      if (step.done === true) this.#hasEnded = true;
      else if (step.value.byteLength > 0) {
        this.#rest = step.value;
        return true;
      }
    }
    return false;
  }

  #countJunk(count: number): void {
    this.#junkBytes += count;
    if (this.#junkBytes > this.#junkBytesMax) throw wireTooLarge('what belongs to nothing', this.#junkBytesMax);
  }
}
