import { isDroverError } from '@drover/lease-kit';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { InstalledPackages, leaseTypeCode, partCode } from './installed-packages.test.fixture.ts';
import { conditionsOf } from './installed-package.ts';
import { loadAgentPart, loadLeaseType, loadServerPart } from './load-lease-type.ts';

const packageName = '@acme/lease-type-nap';
const refused = (code: string, text: RegExp) => (error: unknown) =>
  isDroverError(error, code) && error.advice === 'fix-input' && text.test(error.message);

describe('a lease type by the name of its package', () => {
  test('comes from the first folder that has it, or from one above', async () => {
    using first = new InstalledPackages();
    using second = new InstalledPackages();
    second.add(packageName, { '.': `export const leaseType = ${leaseTypeCode('second')};` });
    const from = [join(first.dir, 'app', 'dist'), second.dir];
    expect(await loadLeaseType({ packageName, from })).toMatchObject({ packageName, type: { name: 'second' } });
    first.add(packageName, { '.': `export const leaseType = ${leaseTypeCode('first')};` });
    expect(await loadLeaseType({ packageName, from })).toMatchObject({ type: { name: 'first' } });
    first.add(packageName, { '.': `export const leaseType = ${leaseTypeCode('nearest')};` }, 'app');
    expect(await loadLeaseType({ packageName, from })).toMatchObject({ type: { name: 'nearest' } });
  });

  test('is submitted by its payload, or by the message that the package names', async () => {
    using there = new InstalledPackages();
    const from = [there.dir];
    const leaseType = `export const leaseType = ${leaseTypeCode('nap', 'test.Nap')};`;
    there.add(packageName, { '.': leaseType });
    expect((await loadLeaseType({ packageName, from })).submission.typeName).toBe('test.Nap');
    there.add('other', { '.': `${leaseType} export const submission = { kind: 'message', typeName: 'test.Naps' };` });
    expect((await loadLeaseType({ packageName: 'other', from })).submission.typeName).toBe('test.Naps');
    there.add('wrong', { '.': `${leaseType} export const submission = 'test.Naps';` });
    await expect(loadLeaseType({ packageName: 'wrong', from })).rejects.toSatisfy(
      refused('LEASE_TYPE_PACKAGE_INVALID', /"submission" of "\." must be the descriptor of a message/),
    );
  });

  test('is loaded for one side without the other', async () => {
    using there = new InstalledPackages();
    const throwing = 'throw new Error("the wrong half was loaded");';
    const from = [there.dir];
    const server = partCode('server', { name: 'nap', create: '{}' });
    const agent = partCode('agent', { name: 'nap', create: '{}' });
    there.add('for-server', { '.': throwing, './task-source': server, './lease-handler': throwing });
    there.add('for-agent', { '.': throwing, './task-source': throwing, './lease-handler': agent });
    expect(await loadServerPart({ packageName: 'for-server', from })).toMatchObject({ version: '1.2.3' });
    expect(await loadAgentPart({ packageName: 'for-agent', from })).toMatchObject({ version: '1.2.3' });
  });
});

describe('a package that is wrong', () => {
  const load = async (code: Readonly<Record<string, string>>): Promise<unknown> => {
    using there = new InstalledPackages();
    there.add(packageName, code);
    return await loadServerPart({ packageName, from: [there.dir] });
  };

  test('is not installed: says where it was looked for', async () => {
    using app = new InstalledPackages();
    using cwd = new InstalledPackages();
    for (const folder of [app, cwd]) folder.add('other', {});
    const places = `${app.dir}/node_modules, then in ${cwd.dir}/node_modules`;
    await expect(loadServerPart({ packageName, from: [app.dir, cwd.dir] })).rejects.toSatisfy(
      refused('LEASE_TYPE_NOT_INSTALLED', new RegExp(`${packageName}: there is no such package in ${places}`)),
    );
  });

  test('is no name of a package', async () => {
    using there = new InstalledPackages();
    there.add('nap', { './task-source': partCode('server', { name: 'nap', create: '{}' }) });
    for (const name of ['../node_modules/nap', './nap', '/etc', '', 'nap/../nap']) {
      await expect(loadServerPart({ packageName: name, from: [there.dir] })).rejects.toSatisfy(
        refused('LEASE_TYPE_NOT_INSTALLED', /there is no such package/),
      );
    }
  });

  test('has no such subpath', async () => {
    await expect(load({ '.': '' })).rejects.toSatisfy(
      refused('LEASE_TYPE_PACKAGE_INVALID', /"exports" of .*package\.json has no "\.\/task-source"/),
    );
  });

  test('was not built', async () => {
    using there = new InstalledPackages();
    there.add(packageName, {});
    const exports = { './task-source': './dist/task-source.js' };
    const manifest = { name: packageName, version: '1.0.0', exports };
    writeFileSync(join(there.dir, 'node_modules', packageName, 'package.json'), JSON.stringify(manifest));
    await expect(loadServerPart({ packageName, from: [there.dir] })).rejects.toSatisfy(
      refused('LEASE_TYPE_PACKAGE_INVALID', /dist\/task-source\.js, which is not there: was the package built/),
    );
  });

  test('has a manifest that cannot be read', async () => {
    using there = new InstalledPackages();
    there.add(packageName, {});
    writeFileSync(join(there.dir, 'node_modules', packageName, 'package.json'), '{');
    await expect(loadServerPart({ packageName, from: [there.dir] })).rejects.toSatisfy(
      refused('LEASE_TYPE_PACKAGE_INVALID', /package\.json cannot be read/),
    );
  });

  test.each([
    ['nothing', 'export {};', /does not export "serverPart" .*it exports nothing/],
    ['another name', 'export const part = 1, more = 2;', /does not export "serverPart" .*it exports more, part/],
    ['something else', 'export const serverPart = { needs: [] };', /"serverPart" of .* must be what defineServerPart/],
    [
      'the other side',
      partCode('agent', { name: 'n', create: '{}' }).replace('agentPart', 'serverPart'),
      /and not a part for the agent/,
    ],
  ])('exports %s', async (_, code, text) => {
    await expect(load({ './task-source': code })).rejects.toSatisfy(refused('LEASE_TYPE_PACKAGE_INVALID', text));
  });

  test('was made for another lease-kit', async () => {
    const code = (contract: number) => ({ './task-source': partCode('server', { name: 'n', create: '{}', contract }) });
    await expect(load(code(2))).rejects.toSatisfy(
      refused('LEASE_TYPE_CONTRACT_MISMATCH', /1\.2\.3 was made for contract 2 .* this app has 1: install a newer app/),
    );
    await expect(load(code(0))).rejects.toSatisfy(
      refused('LEASE_TYPE_CONTRACT_MISMATCH', /contract 0 .*: install a newer version of it/),
    );
  });

  test('throws while it is loaded', async () => {
    await expect(load({ './task-source': 'import "left-pad-of-nobody";' })).rejects.toSatisfy(
      refused('LEASE_TYPE_FAILED', /"\.\/task-source" cannot be loaded: .*left-pad-of-nobody/),
    );
  });
});

test('the conditions of the process count', () => {
  expect(conditionsOf(['--conditions=a', '-C', 'b', '--conditions', 'c', '--flag'])).toEqual(['a', 'b', 'c']);
});
