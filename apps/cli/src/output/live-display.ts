import { createLogUpdate } from 'log-update';

/** Lines that scroll, above lines that stay. */
export interface LiveDisplay {
  /** Adds lines that stay where they are and scroll away. */
  print(lines: readonly string[]): void;
  /** Replaces the lines at the bottom. */
  status(lines: readonly string[]): void;
  /** Takes the lines at the bottom away. */
  end(): void;
}

/**
 * A display on a terminal redraws its status in place. Elsewhere a status is a line when it says something new, at most
 * one a second, so that a log of a build stays readable.
 */
export function createLiveDisplay(stream: NodeJS.WriteStream, nowMs: () => number = Date.now): LiveDisplay {
  return stream.isTTY ? terminalDisplay(stream) : plainDisplay(stream, nowMs);
}

function terminalDisplay(stream: NodeJS.WriteStream): LiveDisplay {
  const update = createLogUpdate(stream);
  let shown: readonly string[] = [];
  const draw = (): void => (shown.length === 0 ? update.clear() : update(shown.join('\n')));
  return {
    print(lines) {
      update.clear();
      stream.write(`${lines.join('\n')}\n`);
      draw();
    },
    status(lines) {
      shown = lines;
      draw();
    },
    end() {
      shown = [];
      update.clear();
      update.done();
    },
  };
}

const plainIntervalMs = 1_000;

function plainDisplay(stream: NodeJS.WriteStream, nowMs: () => number): LiveDisplay {
  let last = '';
  let lastMs = Number.NEGATIVE_INFINITY;
  return {
    print: (lines) => void stream.write(`${lines.join('\n')}\n`),
    status(lines) {
      const text = lines.join('\n');
      if (text === last || nowMs() - lastMs < plainIntervalMs) return;
      last = text;
      lastMs = nowMs();
      stream.write(`${text}\n`);
    },
    end: () => undefined,
  };
}
