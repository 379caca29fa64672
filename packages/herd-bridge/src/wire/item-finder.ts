import type { ByteWindow } from './byte-window.ts';
import { textFromBytes } from './wire-text.ts';

/** A message: `<tag>text</tag>`. */
export interface WireItem {
  /** Empty for the end of a task that has no pipe. */
  readonly tag: string;
  readonly text: string;
}

/** What a search came to. */
export interface ItemSearch {
  /** Absent: none is complete. */
  readonly item?: WireItem;
  /** Bytes that were dropped without being a message. */
  readonly junkBytes: number;
}

/** A tag that a message may begin with. Offsets count from the first byte of the stream. */
interface Opening {
  readonly tag: string;
  readonly at: number;
  readonly textAt: number;
  /** Where the closing tag begins, if it has come. */
  closeAt: number | undefined;
}

const lessThan = 0x3c;
const greaterThan = 0x3e;
const newline = 0x0a;

/** Tags of one line that were begun and not ended; with more, nothing that makes sense is sent, and all are given up. */
const openingsMax = 4_096;

/**
 * Finds the first message, as the regular expression `<([^>]*)>.*?</(\1)>` of the original programs does, whose `.` is anything but a
 * newline. It would also take tags with `<` or a newline in them, or a slash before them, which nobody sends. Each byte is looked
 * at once, in however small pieces they come.
 *
 * The original programs search whatever has come so far, and so take the inner message of one whose end is still under way.
 * That is `eager`. With `patient`, a tag that may still be ended by what comes hides what stands behind it. With `whole`, nothing
 * more comes.
 */
export class ItemFinder {
  readonly #window: ByteWindow;
  /** The first of each tag in this line, in their order. */
  readonly #openings = new Map<string, Opening>();
  /** The first one that is closed. */
  #closed: Opening | undefined;
  /** Bytes of the stream before the window. */
  #base = 0;
  /** Up to where tags were looked for. */
  #scanned = 0;
  /** Up to where there is no newline. */
  #line = 0;

  constructor(window: ByteWindow) {
    this.#window = window;
  }

  /** Forgets what it knows of the window, after somebody else has dropped bytes of it. */
  reset(): void {
    this.#openings.clear();
    this.#closed = undefined;
    this.#base = 0;
    this.#scanned = 0;
    this.#line = 0;
  }

  /** Looks at what has come; drops the message, what stands before it, and what can belong to none. */
  search(mode: 'eager' | 'patient' | 'whole'): ItemSearch {
    let junkBytes = 0;
    for (;;) {
      const lineEnd = this.#window.indexOf(newline, this.#line - this.#base);
      const end = lineEnd < 0 ? this.#window.sizeBytes : lineEnd;
      this.#line = this.#base + end;
      this.#scan(end);
      const isWhole = lineEnd >= 0 || mode === 'whole';
      const [first] = this.#openings.values();
      const opening = isWhole || mode === 'eager' || first === this.#closed ? this.#closed : undefined;
      if (opening !== undefined) {
        junkBytes += opening.at - this.#base;
        return { item: this.#take(opening), junkBytes };
      }
      // No message goes beyond the end of its line.
      const keptAt = isWhole ? this.#line + (lineEnd < 0 ? 0 : 1) : (first?.at ?? this.#scanned);
      junkBytes += keptAt - this.#base;
      if (isWhole) this.#forgetLine(keptAt);
      this.#window.drop(keptAt - this.#base);
      this.#base = keptAt;
      if (lineEnd < 0) return { junkBytes };
    }
  }

  /** Takes in the tags up to `end`, an offset in the window. */
  #scan(end: number): void {
    const view = this.#window.view(0, end);
    for (;;) {
      const at = view.indexOf(lessThan, this.#scanned - this.#base);
      if (at < 0) {
        this.#scanned = this.#base + end;
        return;
      }
      const tagEnd = view.indexOf(greaterThan, at + 1);
      const tag = view.subarray(at + 1, tagEnd < 0 ? end : tagEnd);
      const inner = tag.lastIndexOf(lessThan);
      this.#scanned = this.#base + at + (inner < 0 ? 0 : inner + 1);
      if (tagEnd < 0) return;
      if (inner >= 0) continue;
      this.#scanned = this.#base + tagEnd + 1;
      this.#note(textFromBytes(tag), this.#base + at);
      // The first of all cannot be outdone: what follows is for the next search.
      const [first] = this.#openings.values();
      if (first !== undefined && first === this.#closed) return;
    }
  }

  #note(tag: string, at: number): void {
    if (!tag.startsWith('/')) {
      if (this.#openings.size === openingsMax) this.#forgetLine(this.#scanned);
      const opening = { tag, at, textAt: this.#scanned, closeAt: undefined };
      if (!this.#openings.has(tag)) this.#openings.set(tag, opening);
      return;
    }
    const opening = this.#openings.get(tag.slice(1));
    if (opening === undefined || opening.closeAt !== undefined) return;
    opening.closeAt = at;
    if (this.#closed === undefined || opening.at < this.#closed.at) this.#closed = opening;
  }

  #forgetLine(scanned: number): void {
    this.#openings.clear();
    this.#closed = undefined;
    this.#scanned = scanned;
    this.#line = Math.max(this.#line, scanned);
  }

  #take({ tag, textAt, closeAt }: Opening): WireItem {
    const text = textFromBytes(this.#window.view(textAt - this.#base, closeAt! - this.#base));
    this.#window.drop(closeAt! - this.#base + tag.length + 3);
    this.reset();
    return { tag, text };
  }
}

/** The first message of a text, which is whole. */
export function itemInText(text: string): WireItem | undefined {
  const match = /<((?!\/)[^<>\n]*)>([^\n]*?)<\/\1>/.exec(text);
  return match === null ? undefined : { tag: match[1]!, text: match[2]! };
}
