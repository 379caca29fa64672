import { acquireText, fileSizeBytesMax, finishedText, internalTag, stopText, stoppedText } from './herd-texts.ts';
import type { WireTask } from './parse-tag.ts';
import { notSendable } from './wire-error.ts';
import { bytesFromText, isAscii } from './wire-text.ts';

/** The most bytes of a tag or message that are sent: original programs on Windows hold 8,192 at a time. */
const sentItemBytesMax = 8_000;

/** The first write of a client; an original agent looks for it in what one read brings. */
export const acquireBytes: Uint8Array = itemBytes(internalTag, acquireText);
/** How a client cancels. */
export const stopBytes: Uint8Array = itemBytes(internalTag, stopText);
/** What an agent says before the results. Nothing else of it may have this tag. */
export const finishedBytes: Uint8Array = itemBytes(internalTag, finishedText);
/** What an agent says when it was stopped; no tag is around it. */
export const stoppedBytes: Uint8Array = bytesFromText(stoppedText);

export const jobEndBytes: Uint8Array = bytesFromText('</Job>');
export const inputEndBytes: Uint8Array = bytesFromText('</Input>');
export const outputEndBytes: Uint8Array = bytesFromText('</Output>');

/** `<Job Name="…">`. Characters beyond ASCII become `?`. */
export function jobTagBytes(name: string): Buffer {
  return tagBytes(`<Job Name="${freeText('name of the job', name)}">`, name);
}

/** `<Task …/>`. Throws `HERD_WIRE_NOT_SENDABLE`. */
export function taskTagBytes(task: WireTask): Buffer {
  const { name, exe, pipe } = task;
  const token = task.authenticationToken;
  const more = token === undefined ? '' : ` AuthenticationToken="${exactText('token', token)}"`;
  return tagBytes(
    `<Task Name="${exactText('task', name)}" Exe="${exactText('exe', exe)}" ` +
      `Arguments="${exactText('arguments', task.arguments)}" Pipe="${exactText('pipe', pipe)}"${more}/>`,
    name,
  );
}

/** `<Input Name="…" Size="…">`; then follow as many bytes, and {@link inputEndBytes}. Throws `HERD_WIRE_NOT_SENDABLE`. */
export function inputTagBytes(name: string, sizeBytes: number): Buffer {
  return tagBytes(`<Input Name="${exactText('input', name)}" Size="${sizeText(name, sizeBytes)}">`, name);
}

/** `<Output Name="…"/>`: a client wants this file. Throws `HERD_WIRE_NOT_SENDABLE`. */
export function wantedOutputTagBytes(name: string): Buffer {
  return tagBytes(`<Output Name="${exactText('output', name)}"/>`, name);
}

/** `<Output Name="…" Size="…">`; then follow as many bytes, and {@link outputEndBytes}. Throws `HERD_WIRE_NOT_SENDABLE`. */
export function outputTagBytes(name: string, sizeBytes: number): Buffer {
  return tagBytes(`<Output Name="${exactText('output', name)}" Size="${sizeText(name, sizeBytes)}">`, name);
}

/**
 * What an agent tells of a task: an item, such as `<Progress>12.5</Progress>`, within the task's pipe name. Newlines, at which the
 * reader would lose it, become spaces; an item that is too long is left out, and absent is returned.
 */
export function taskItemBytes(pipe: string, item: string): Buffer | undefined {
  const text = item.replace(/[\r\n]+/g, ' ');
  // Ended early by its own text, the item would be cut and the rest of it taken for another one.
  const bytes = itemBytes(pipe, text.replaceAll(`</${pipe}>`, `< /${pipe}>`));
  return bytes.byteLength > sentItemBytesMax ? undefined : bytes;
}

/** `<PIPE><End>Ok</End></PIPE>`: the task's process has exited. */
export function taskEndBytes(pipe: string, end: 'Ok' | 'Error'): Buffer {
  return itemBytes(pipe, `<End>${end}</End>`);
}

function itemBytes(tag: string, text: string): Buffer {
  return bytesFromText(`<${tag}>${text}</${tag}>`);
}

function tagBytes(tag: string, name: string): Buffer {
  const bytes = bytesFromText(tag);
  if (bytes.byteLength > sentItemBytesMax) {
    throw notSendable(
      'the tag of',
      name,
      `it would have ${bytes.byteLength} bytes, at most ${sentItemBytesMax} are allowed`,
    );
  }
  return bytes;
}

function freeText(field: string, value: string): string {
  if (!/[">\r\n]/.test(value)) return value;
  throw notSendable(field, value, 'there is no escape for ", > and newlines');
}

function exactText(field: string, value: string): string {
  if (!isAscii(value)) throw notSendable(field, value, 'only ASCII arrives as it was sent');
  return freeText(field, value);
}

function sizeText(name: string, sizeBytes: number): string {
  if (Number.isSafeInteger(sizeBytes) && sizeBytes >= 0 && sizeBytes <= fileSizeBytesMax) return String(sizeBytes);
  throw notSendable('file', name, `it has ${sizeBytes} bytes, at most ${fileSizeBytesMax} are allowed`);
}
