import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

interface Request {
  readonly id: number;
  readonly method: string;
  readonly argument: unknown;
}

interface Response {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

/** What a process of a benchmark answers to the one that started it, by method. */
export type ChildMethods = Readonly<Record<string, (argument: never) => unknown>>;

type Answer<Method> = Method extends (...args: never[]) => infer R ? Awaited<R> : never;

/** A process that takes part in a benchmark. */
export interface Child<Methods extends ChildMethods> extends AsyncDisposable {
  readonly pid: number;
  /** Calls a method of the process. Rejects when it fails or when the process ends. */
  call<Name extends keyof Methods & string>(
    name: Name,
    ...argument: Parameters<Methods[Name]>
  ): Promise<Answer<Methods[Name]>>;
  /** Ends it at once, as a crash does, and waits for that. */
  kill(): Promise<void>;
}

/** How a process is started. */
export interface ChildOptions {
  /** The file that it runs, as a URL. */
  readonly entry: URL;
  /** Flags of Node beside the condition that makes it run from source. */
  readonly nodeFlags?: readonly string[];
}

/**
 * Starts a process that calls {@link serveParent}. It ends with this one, however this one ends. Its standard error is
 * ours; its standard output goes there as well, so that ours stays what the benchmark prints.
 */
export function startChild<Methods extends ChildMethods>(options: ChildOptions): Child<Methods> {
  const child = fork(fileURLToPath(options.entry), [], {
    execArgv: ['--conditions=@drover/source', ...(options.nodeFlags ?? []), ...extraFlags()],
    serialization: 'advanced',
    stdio: ['ignore', process.stderr, 'inherit', 'ipc'],
  });
  const waiting = new Map<number, PromiseWithResolvers<unknown>>();
  let nextId = 1;
  const exited = new Promise<void>((resolve) => {
    child.once('exit', (status, signal) => {
      const error = new Error(`the process ${options.entry.pathname} has ended with ${signal ?? status}`);
      for (const call of waiting.values()) call.reject(error);
      waiting.clear();
      resolve();
    });
  });
  child.on('error', (error) => {
    for (const call of waiting.values()) call.reject(error);
    waiting.clear();
  });
  child.on('message', (message: Response) => {
    const call = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.error === undefined) call?.resolve(message.result);
    else call?.reject(new Error(message.error));
  });
  const end = async (): Promise<void> => {
    if (child.connected) child.disconnect();
    const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
    await exited;
    clearTimeout(timer);
  };
  return {
    pid: child.pid ?? 0,
    call(name, ...argument) {
      const call = Promise.withResolvers<unknown>();
      const id = nextId++;
      waiting.set(id, call);
      child.send({ id, method: name, argument: argument[0] } satisfies Request, (error) => {
        if (error && waiting.delete(id)) call.reject(error);
      });
      return call.promise as Promise<never>;
    },
    async kill() {
      child.kill('SIGKILL');
      await exited;
    },
    [Symbol.asyncDispose]: end,
  };
}

/** Flags for every process of the benchmark, e.g. `--cpu-prof`, from DROVER_BENCH_NODE_FLAGS. */
function extraFlags(): readonly string[] {
  return (process.env['DROVER_BENCH_NODE_FLAGS'] ?? '').split(' ').filter((flag) => flag !== '');
}

/**
 * Answers the process that started this one, until it lets go. Then `close` has 8 s to end everything, so that connections
 * are closed and profiles are written.
 */
export function serveParent(methods: ChildMethods, close: () => Promise<void>): void {
  process.on('message', (request: Request) => {
    void (async () => {
      let response: Response;
      try {
        const method = methods[request.method] as ((argument: unknown) => unknown) | undefined;
        if (!method) throw new Error(`no method ${request.method}`);
        response = { id: request.id, result: await method(request.argument) };
      } catch (error) {
        response = { id: request.id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
      }
      if (process.connected) process.send?.(response);
    })();
  });
  process.once('disconnect', () => {
    const impatient = setTimeout(() => process.exit(1), 8_000);
    void close()
      .catch((error: unknown) => console.error(error))
      .finally(() => {
        clearTimeout(impatient);
        process.exit();
      });
  });
  // Ctrl+C reaches the whole group: the parent decides.
  process.on('SIGINT', () => undefined);
}
