import { tailSpool } from '@drover/process-runner';

/** Puts the progress of a batch's steps together: each step counts the same. */
export class BatchProgress {
  readonly #stepCount: number;
  readonly #report: (percent: number, message: string) => void;
  readonly #running = new Map<string, number>();
  #ended = 0;

  constructor(stepCount: number, report: (percent: number, message: string) => void) {
    this.#stepCount = stepCount;
    this.#report = report;
  }

  /** A step is `percent` of its way; `message` says what it does. */
  update(step: string, percent: number, message?: string): void {
    this.#running.set(step, Math.min(100, Math.max(0, percent)));
    this.#tell(message === undefined || message === '' ? step : `${step}: ${message}`);
  }

  /** A step has ended, or will never start. */
  end(step: string, message: string): void {
    this.#running.delete(step);
    this.#ended += 1;
    this.#tell(`${step} ${message}`);
  }

  #tell(message: string): void {
    let parts = this.#ended * 100;
    for (const percent of this.#running.values()) parts += percent;
    this.#report(Math.floor(parts / this.#stepCount), message);
  }
}

const lineLengthMax = 1_024;

/** One line of a progress file: a number from 0 to 100, and what the step does. Undefined for any other line. */
export function progressLine(line: string): { readonly percent: number; readonly message: string } | undefined {
  const parts = /^\s*(\d{1,3}(?:\.\d+)?)\s*%?(?:\s+(.*))?$/.exec(line.slice(0, lineLengthMax));
  const percent = Number(parts?.[1]);
  if (parts === null || percent > 100) return undefined;
  return { percent, message: parts[2]?.trim() ?? '' };
}

/** Follows a step's progress file until the step has ended and every line of it was read. */
export async function followProgress(
  path: string,
  ended: Promise<unknown>,
  onLine: (percent: number, message: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of tailSpool(path, { ended, signal })) {
    const lines = (rest + decoder.decode(chunk.bytes, { stream: true })).split('\n');
    rest = (lines.pop() ?? '').slice(-lineLengthMax);
    for (const line of lines) {
      const progress = progressLine(line);
      if (progress) onLine(progress.percent, progress.message);
    }
  }
}
