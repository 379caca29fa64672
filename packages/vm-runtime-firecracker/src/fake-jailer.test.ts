import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { makeFakePrograms } from './fake-programs.test.fixture.ts';
import { jailerArguments } from './jailer-command.ts';

const folder = mkdtempSync(join(tmpdir(), 'drover-jailer-'));
const guest = { kind: 'namespaces', bubblewrap: '/none', agent: '/none', root: '/none' } as const;
const { jailer, firecracker } = makeFakePrograms(folder, guest);
const good = jailerArguments({
  ...{ id: 'fc-1', firecracker, uid: 900_000, jailsFolder: folder, cgroupVersion: 'v1', cgroupParent: 'drover' },
  ...{ cgroupSettings: [], fileBytesMax: 1, apiSocket: '/run/api.sock' },
});
const changed = (name: string, value: string): string[] =>
  good.map((word, index) => (good[index - 1] === name ? value : word));

const refusal = (args: readonly string[]): Promise<string> =>
  new Promise((resolve) => execFile(jailer, args, (error, _stdout, stderr) => resolve(error === null ? '' : stderr)));

describe('the fake of the jailer', () => {
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.concurrent.each<[string, readonly string[], RegExp]>([
    ['an id with an underscore', changed('--id', 'a_b'), /Invalid char \(_\) at position 1/],
    ['an id that is too long', changed('--id', 'a'.repeat(65)), /Invalid len \(65\)/],
    ['root', changed('--uid', '0'), /refuses uid 0/],
    ['a name for a group', changed('--gid', 'kvm'), /Invalid gid: kvm/],
    ['a program that is not there', changed('--exec-file', '/none'), /ENOENT/],
    ['a base that is not there', changed('--chroot-base-dir', '/none'), /ENOENT/],
    ['a parent group that leaves', changed('--parent-cgroup', '../up'), /Parent cgroup path is invalid/],
    ['a third version of groups', changed('--cgroup-version', '3'), /invalid cgroup version/],
    ['a limit of something else', changed('--resource-limit', 'cpu=1'), /Invalid resource argument: cpu/],
    ['no user', good.filter((word, index) => word !== '--uid' && good[index - 1] !== '--uid'), /'uid' required/],
    ['what it does not know', ['--network', 'none', ...good], /Found argument '--network'/],
  ])('refuses %s', { timeout: 30_000 }, async (_, args, why) => {
    expect(await refusal(args)).toMatch(why);
  });
});
