import { EvaluationSchema, TaskItemSchema, type TaskItem } from '@drover/herd-protocol';
import { create } from '@bufbuild/protobuf';
import { itemInText } from '../wire/index.ts';

/** What stands in an item of a task, or that its process has exited. */
export type TaskNews =
  | { readonly kind: 'item'; readonly item: TaskItem['item'] }
  /** `isOk` is the agent's word: true for every exit code that is not negative. */
  | { readonly kind: 'end'; readonly isOk: boolean };

/** Reads the inside of `<PIPE>…</PIPE>`; undefined for tags that the original clients pass over, and for numbers that are none. */
export function taskNewsFrom(text: string): TaskNews | undefined {
  const inner = itemInText(text);
  if (inner === undefined) return undefined;
  switch (inner.tag) {
    case 'End':
      return { kind: 'end', isOk: inner.text === 'Ok' };
    case 'Progress': {
      const value = numberFrom(inner.text);
      return value === undefined
        ? undefined
        : { kind: 'item', item: { case: 'progress', value: Math.min(Math.max(value, 0), 100) } };
    }
    case 'Message':
      return { kind: 'item', item: { case: 'message', value: inner.text } };
    case 'Error':
      return { kind: 'item', item: { case: 'error', value: inner.text } };
    case 'Evaluation': {
      const [x, y, ...more] = inner.text.split(',').map(numberFrom);
      if (x === undefined || y === undefined || more.length > 0) return undefined;
      return { kind: 'item', item: { case: 'evaluation', value: create(EvaluationSchema, { x, y }) } };
    }
    default:
      return undefined;
  }
}

/** An item of a task. */
export function taskItem(task: string, item: TaskItem['item']): TaskItem {
  return create(TaskItemSchema, { task, item });
}

function numberFrom(text: string): number | undefined {
  const value = Number(text.trim());
  return text.trim() === '' || !Number.isFinite(value) ? undefined : value;
}
