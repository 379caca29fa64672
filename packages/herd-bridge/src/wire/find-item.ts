import type { ByteWindow } from './byte-window.ts';
import { textFromBytes } from './wire-text.ts';

/** A message: `<tag>text</tag>`. */
export interface WireItem {
  /** Empty for the end of a task that has no pipe. */
  readonly tag: string;
  readonly text: string;
}

/** What {@link findItem} saw. */
export interface ItemSearch {
  /** Absent: none is complete. */
  readonly item?: WireItem;
  /** Bytes of the front that are done with: the item and what stood before it, or what can belong to none. */
  readonly doneBytes: number;
}

const lessThan = 0x3c;
const greaterThan = 0x3e;
const newline = 0x0a;
const slash = 0x2f;

/** Tags that were begun and not ended, within one window; more mean that the other end does not send messages. */
const openTagsMax = 1024;

/**
 * Finds the first message, as the regular expression `<([^>]*)>.*?</(\1)>` of the original programs does, whose `.` is
 * anything but a newline.
 *
 * The original programs search whatever has come so far, and so take the inner message of one whose end is still under way.
 * That is `eager`. With `patient`, a tag that may still be ended by what comes hides what stands behind it. With `whole`, nothing
 * more comes.
 */
export function findItem(window: ByteWindow, mode: 'eager' | 'patient' | 'whole'): ItemSearch {
  let doneBytes = 0;
  let isDone = true;
  let openTags = 0;
  let from = 0;
  for (;;) {
    const open = window.indexOf(lessThan, from);
    if (open < 0) return { doneBytes: isDone ? window.sizeBytes : doneBytes };
    if (isDone) doneBytes = open;
    const tagEnd = window.indexOf(greaterThan, open + 1);
    if (tagEnd < 0) return { doneBytes };
    const tag = window.view(open + 1, tagEnd);
    const lineEnd = window.indexOf(newline, tagEnd + 1);
    const closing = Buffer.concat([Buffer.from('</'), tag, Buffer.from('>')]);
    const searchEnd = lineEnd < 0 ? window.sizeBytes : Math.min(window.sizeBytes, lineEnd + closing.byteLength - 1);
    const close = window.view(tagEnd + 1, searchEnd).indexOf(closing);
    if (close >= 0) {
      const textEnd = tagEnd + 1 + close;
      return {
        item: { tag: textFromBytes(tag), text: textFromBytes(window.view(tagEnd + 1, textEnd)) },
        doneBytes: textEnd + closing.byteLength,
      };
    }
    if (searchEnd === window.sizeBytes && mode !== 'whole') {
      if (mode === 'patient' && mayBeSent(tag)) return { doneBytes };
      isDone = false;
    }
    // More would make each search long: a flood of tags is no message.
    if (++openTags > openTagsMax) return { doneBytes: window.sizeBytes };
    from = open + 1;
  }
}

/** The first message of a text, which is whole. */
export function itemInText(text: string): WireItem | undefined {
  const match = /<([^>]*)>([^\n]*?)<\/\1>/.exec(text);
  return match === null ? undefined : { tag: match[1]!, text: match[2]! };
}

/** Whether somebody may mean it as a message's tag; others, such as the end of something that was skipped, hide nothing. */
function mayBeSent(tag: Buffer): boolean {
  return tag[0] !== slash && !tag.includes(lessThan) && !tag.includes(newline);
}
