import { execFile } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { debianProgram, type DebianProgram } from './debian-programs.ts';

const run = promisify(execFile);
const native = resolve(import.meta.dirname, '../../vm-agent/native');

/** The agent as its source is now, built once and kept; undefined where there is no musl-gcc and none can be had. */
export async function builtAgent(signal: AbortSignal): Promise<string | undefined> {
  const sources = readdirSync(native).sort();
  const hash = createHash('sha256');
  for (const name of sources) hash.update(name).update(readFileSync(join(native, name)));
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'drover', 'vm-agent');
  const built = join(cache, hash.digest('hex').slice(0, 16));
  if (existsSync(built)) return built;
  const compiler = await muslCompiler(cache, signal);
  if (compiler === undefined) return undefined;
  const making = join(cache, `.new-${randomUUID()}`);
  await run(process.execPath, [join(native, 'build.mjs'), '--out', making, '--compiler', compiler.path], {
    signal,
    env: { ...process.env, ...compiler.env },
  });
  renameSync(making, built);
  return built;
}

/** Debian's musl-gcc, or the same made of packages that are unpacked and not installed: what it says of paths is corrected. */
async function muslCompiler(cache: string, signal: AbortSignal): Promise<DebianProgram | undefined> {
  mkdirSync(cache, { recursive: true });
  const wrapper = await debianProgram('musl-gcc', 'musl-tools', signal);
  if (wrapper === undefined || wrapper.path.startsWith('/usr/')) return wrapper;
  const gcc = await debianProgram('gcc', 'gcc', signal);
  if (gcc === undefined) return undefined;
  const root = wrapper.path.slice(0, -'/usr/bin/musl-gcc'.length);
  const libraries = readdirSync(join(root, 'usr/lib')).find((name) => name.endsWith('-linux-musl'))!;
  const specs = join(cache, 'musl-gcc.specs');
  const text = readFileSync(join(root, 'usr/lib', libraries, 'musl-gcc.specs'), 'utf8');
  writeFileSync(specs, text.replaceAll(/(?<![\w/])\/(usr\/(?:lib|include)\/[\w]+-linux-musl)/g, `${root}/$1`));
  const path = join(cache, 'musl-gcc');
  writeFileSync(path, `#!/bin/sh\nexec '${gcc.path}' "$@" -specs '${specs}'\n`, { mode: 0o755 });
  // What assembles and links stands beside an unpacked compiler.
  return { path, env: { ...gcc.env, PATH: `${dirname(gcc.path)}:${process.env['PATH'] ?? ''}` } };
}
