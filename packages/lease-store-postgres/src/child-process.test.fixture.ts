import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** Starts a `*.fixture.ts` file beside this one as a process of its own that runs from source. */
export function startFixture(name: string, args: readonly string[]): ChildProcess {
  return fork(new URL(name, import.meta.url), args, {
    execArgv: ['--conditions=@drover/source'],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
}

/** The next message of a process; rejects if it ends before it sends one. */
export async function nextMessage<Message>(child: ChildProcess): Promise<Message> {
  const stop = new AbortController();
  const ended = once(child, 'exit', { signal: stop.signal }).then(([code, signal]) => {
    throw new Error(`the process ended with ${String(code ?? signal)} before it answered`);
  });
  ended.catch(() => undefined);
  try {
    const [message] = (await Promise.race([once(child, 'message', { signal: stop.signal }), ended])) as [Message];
    return message;
  } finally {
    stop.abort();
  }
}
