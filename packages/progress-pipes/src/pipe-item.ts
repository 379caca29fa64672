/** What a process says of itself through its progress pipe. */
export type PipeItem =
  /** Percent, 0 to 100. */
  | { readonly kind: 'progress'; readonly percent: number }
  /** One point of a plot. */
  | { readonly kind: 'evaluation'; readonly x: number; readonly y: number }
  | { readonly kind: 'message'; readonly text: string }
  | { readonly kind: 'error'; readonly text: string }
  /** As the process wrote it, its tags included, without NUL characters; in place of all others where that was asked for. */
  | { readonly kind: 'raw'; readonly text: string }
  /** Nothing more follows: what comes after it is not looked at. */
  | { readonly kind: 'end' };

/** The item of an element; undefined for one that says nothing, such as a progress that is no number. */
export function pipeItemFrom(name: PipeElement, text: string): PipeItem | undefined {
  const plain = text.replaceAll('\0', '');
  switch (name) {
    case 'Progress': {
      const percent = numberFrom(plain);
      return percent === undefined ? undefined : { kind: 'progress', percent: Math.min(100, Math.max(0, percent)) };
    }
    case 'Evaluation': {
      const [x, y, ...more] = plain.split(',').map(numberFrom);
      return x === undefined || y === undefined || more.length > 0 ? undefined : { kind: 'evaluation', x, y };
    }
    case 'Message':
      return { kind: 'message', text: plain };
    case 'Error':
      return { kind: 'error', text: plain };
    case 'End':
      return { kind: 'end' };
  }
}

/** Names of the elements that items are. */
export const pipeElements = ['Progress', 'Evaluation', 'Message', 'Error', 'End'] as const;

/** Name of an element that an item is. */
export type PipeElement = (typeof pipeElements)[number];

function numberFrom(text: string): number | undefined {
  const trimmed = text.trim();
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(trimmed)) return undefined;
  const value = Number(trimmed);
  return Number.isFinite(value) ? value : undefined;
}
