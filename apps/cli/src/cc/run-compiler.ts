import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { constants as machine } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { launcherRequestBytes } from '@drover/compile-service/client';
import { UsageError, type CommandContext } from '../command-context.ts';
import { ccFolder } from './cc-config.ts';

/** Compiles by the daemon if one runs, else here; answers the compiler's exit code. The launcher does the same, sooner. */
export async function runCompiler(name: string, words: readonly string[], context: CommandContext): Promise<number> {
  const compiler = findProgram(name, context.env);
  const reply = await askDaemon(compiler, words, context).catch(() => 'L');
  if (reply === 'D') return 0;
  if (reply.length > 1) context.stderr.write(`${reply.slice(1)}\n`);
  const child = spawn(compiler, words, { stdio: 'inherit', argv0: compiler });
  const onAbort = (): void => void child.kill('SIGTERM');
  context.signal.addEventListener('abort', onAbort, { once: true });
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  context.signal.removeEventListener('abort', onAbort);
  return code ?? 128 + (signal === null ? 0 : machine.signals[signal]);
}

async function askDaemon(compiler: string, words: readonly string[], { env }: CommandContext): Promise<string> {
  const folder = ccFolder(env);
  const token = readFileSync(join(folder, 'token'), 'utf8');
  const socket = connect(join(folder, 'socket'));
  await once(socket, 'connect');
  const environment = Object.fromEntries(Object.entries(env).map(([key, value]) => [key, value ?? '']));
  const request = {
    token,
    workingFolder: process.cwd(),
    umask: process.umask(),
    compiler,
    arguments: words,
    environment,
  };
  socket.write(launcherRequestBytes(request));
  const answer = await buffer(socket);
  return answer.length > 4 ? answer.subarray(4).toString() : 'L';
}

function findProgram(name: string, env: CommandContext['env']): string {
  if (name.includes('/')) return resolve(name);
  const folders = (env['PATH'] ?? '').split(':').filter((folder) => isAbsolute(folder));
  const found = folders.map((folder) => join(folder, name)).find(isProgram);
  if (found === undefined) throw new UsageError(`there is no program ${JSON.stringify(name)} on PATH`);
  return found;
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
