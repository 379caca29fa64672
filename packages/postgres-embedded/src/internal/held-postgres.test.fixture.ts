import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** What `hold-postgres.test.child.ts` reported, and the process. */
export interface HeldPostgres {
  readonly url?: string;
  readonly dataDir?: string;
  readonly code?: string;
  readonly message?: string;
  readonly pid: number;
  /** Kills the process with SIGKILL and waits until it is gone. */
  kill(): Promise<void>;
}

/** Starts another process that holds an embedded Postgres, as the user `ids` if given. */
export async function holdPostgres(
  dataDir: string,
  options: { readonly relocationDir?: string; readonly ids?: { uid: number; gid: number } } = {},
): Promise<HeldPostgres> {
  const script = join(import.meta.dirname, 'hold-postgres.test.child.ts');
  const child: ChildProcess = spawn(
    process.execPath,
    ['--conditions=@drover/source', script, dataDir, options.relocationDir ?? ''],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      cwd: '/',
      env: { PATH: process.env['PATH'], HOME: dataDir },
      ...options.ids,
    },
  );
  const ended = once(child, 'exit');
  const lines = createInterface({ input: child.stdout! });
  const [line] = (await once(lines, 'line')) as [string];
  lines.close();
  return {
    ...(JSON.parse(line) as Pick<HeldPostgres, 'url' | 'dataDir' | 'code' | 'message'>),
    pid: child.pid!,
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
