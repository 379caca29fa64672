// A fake of Firecracker's jailer: takes what docs/jailer.md says that the real one takes, refuses what that refuses, makes the same
// folders, groups and limits, and starts the program as its own child. It makes no mounts, device files and process namespace.
import { spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fakeVersion } from './fake-programs.test.fixture.ts';

const single = ['id', 'exec-file', 'uid', 'gid', 'chroot-base-dir', 'cgroup-version', 'parent-cgroup', 'netns'];
const multiple = ['cgroup', 'resource-limit'];
const flags = ['daemonize', 'new-pid-ns', 'version', 'help'];

interface Arguments {
  readonly values: ReadonlyMap<string, readonly string[]>;
  readonly extra: readonly string[];
}

function parse(words: readonly string[]): Arguments {
  const values = new Map<string, string[]>();
  const end = words.includes('--') ? words.indexOf('--') : words.length;
  for (let at = 0; at < end; at += 1) {
    const name = words[at]!.startsWith('--') ? words[at]!.slice(2) : '';
    if (flags.includes(name)) {
      values.set(name, []);
      continue;
    }
    if (!single.includes(name) && !multiple.includes(name)) {
      throw new Error(
        `Failed to parse arguments: Found argument '${words[at]}' which wasn't expected, or isn't valid in this context.`,
      );
    }
    if (values.has(name) && single.includes(name)) {
      throw new Error(`Failed to parse arguments: The argument '${name}' was provided more than once.`);
    }
    at += 1;
    if (at >= end)
      throw new Error(`Failed to parse arguments: The argument '${name}' requires a value, but none was supplied.`);
    values.set(name, [...(values.get(name) ?? []), words[at]!]);
  }
  return { values, extra: words.slice(end + 1) };
}

function groupOf(version: string, file: string, parent: string, id: string): string {
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(' '));
  const controller = file.split('.')[0]!;
  if (!file.includes('.')) throw new Error(`Cgroup invalid file: ${file}`);
  const found = mounts.find(([, , kind, options]) =>
    version === '2' ? kind === 'cgroup2' : kind === 'cgroup' && options!.split(',').includes(controller),
  );
  if (found === undefined) throw new Error(`Controller ${controller} is unavailable`);
  if (
    version === '2' &&
    !readFileSync(join(found[1]!, 'cgroup.controllers'), 'utf8').trim().split(' ').includes(controller)
  ) {
    throw new Error(`Controller ${controller} is unavailable`);
  }
  return join(found[1]!, parent, id);
}

async function main(words: readonly string[]): Promise<void> {
  const { values, extra } = parse(words);
  const value = (name: string): string => {
    const [found] = values.get(name) ?? [];
    if (found === undefined) throw new Error(`Failed to parse arguments: Argument '${name}' required, but not found.`);
    return found;
  };
  if (values.has('version')) {
    console.log(`Jailer v${fakeVersion}\n`);
    return;
  }
  const id = value('id');
  if (id.length < 1 || id.length > 64)
    throw new Error(`Invalid instance ID: Invalid len (${id.length});  the length must be between 1 and 64`);
  const bad = [...id].findIndex((char) => !/[\p{L}\p{N}-]/u.test(char));
  if (bad >= 0) throw new Error(`Invalid instance ID: Invalid char (${id[bad]}) at position ${bad}`);
  const exec = realpathSync(value('exec-file'));
  if (!value('exec-file').startsWith('/'))
    throw new Error(`this fake wants an absolute exec-file: ${value('exec-file')}`);
  if (!statSync(exec).isFile()) throw new Error(`${exec} is not a file`);
  const base = realpathSync(values.get('chroot-base-dir')?.[0] ?? '/srv/jailer');
  if (!statSync(base).isDirectory()) throw new Error(`${base} is not a directory`);
  const [uid, gid] = ['uid', 'gid'].map((name) => {
    const number = Number(value(name));
    if (!Number.isInteger(number) || number < 0 || number > 0xffff_ffff)
      throw new Error(`Invalid ${name}: ${value(name)}`);
    // The real one would run it as root; nobody should.
    if (number === 0) throw new Error(`this fake refuses ${name} 0`);
    return number;
  }) as [number, number];
  const version = values.get('cgroup-version')?.[0] ?? '1';
  if (!['1', '2'].includes(version)) throw new Error(`${version} is an invalid cgroup version specifier`);
  const parent = values.get('parent-cgroup')?.[0] ?? basename(exec);
  if (parent.startsWith('/') || parent.split('/').some((part) => ['.', '..', ''].includes(part))) {
    throw new Error("Parent cgroup path is invalid. Path should not be absolute or contain '..' or '.'");
  }
  const settings = (values.get('cgroup') ?? []).map((setting) => {
    const [file, content, ...rest] = setting.split('=');
    if (content === undefined || content === '' || rest.length > 0)
      throw new Error(`Invalid format for cgroups: ${setting}`);
    return { group: groupOf(version, file!, parent, id), file: file!, content };
  });
  const limits: Record<string, number> = { 'no-file': 2048 };
  for (const limit of values.get('resource-limit') ?? []) {
    const [name, content] = limit.split('=');
    if (content === undefined) throw new Error(`Invalid format for resources limits: ${limit}`);
    if (!/^\d+$/.test(content)) throw new Error(`Invalid limit value for resource: ${content}`);
    if (name !== 'fsize' && name !== 'no-file') throw new Error(`Invalid resource argument: ${name}`);
    limits[name] = Number(content);
  }
  const root = join(base, basename(exec), id, 'root');
  mkdirSync(root, { recursive: true });
  const program = join(root, basename(exec));
  copyFileSync(exec, program);
  if (statSync(program).nlink > 1) throw new Error(`Detected hard link at: ${program}`);
  for (const { group } of settings) mkdirSync(group, { recursive: true });
  for (const { group, file, content } of settings) {
    if (version === '1' && !existsSync(join(dirname(group), file)))
      throw new Error(`Failed to read file ${join(dirname(group), file)} into a string`);
    writeFileSync(join(group, file), `${content}\n`);
  }
  for (const group of new Set(settings.map((setting) => setting.group))) {
    writeFileSync(join(group, version === '1' ? 'tasks' : 'cgroup.procs'), String(process.pid));
  }
  for (const folder of ['/', '/dev', '/dev/net', '/run']) {
    mkdirSync(join(root, folder), { recursive: true });
    chmodSync(join(root, folder), 0o700);
    chownSync(join(root, folder), uid, gid);
  }
  const child = spawn(
    program,
    ['--id', id, '--start-time-us', '1', '--start-time-cpu-us', '1', '--parent-cpu-time-us', '1', ...extra],
    {
      stdio: 'inherit',
      cwd: root,
      // The real one leaves none: this is how the fake program knows whose jail it is in.
      env: { FAKE_JAIL: JSON.stringify({ root, uid, gid, fileBytesMax: limits['fsize'] ?? null }) },
    },
  );
  await new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject));
  writeFileSync(`${program}.pid`, String(child.pid), { flag: 'wx' });
  if (values.has('new-pid-ns')) process.exit(0);
  child.once('exit', (code) => process.exit(code ?? 1));
}

main(process.argv.slice(2)).catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
});
