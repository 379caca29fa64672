import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  chmodSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { buildBundle, generateSigningKey, ownPlatform, parseTrustedKey, signBundle } from '@drover/agent-bundles';
import { installFirstVersion, openSupervisedHome } from '@drover/agent-supervisor';
import { createMemoryContentStore, digestOfBytes, digestToWire } from '@drover/content-store';
import { createTestLeaseContext } from '@drover/lease-kit/testing';
import { BlobDigestSchema } from '@drover/lease-protocol';
import { describe, expect, test, vi } from 'vitest';
import { UpgradeSchema, type Upgrade } from '../gen/drover/upgrade/v1/upgrade_pb.ts';
import { createUpgradeHandler } from './upgrade-handler.ts';

const ours = generateSigningKey();
const theirs = generateSigningKey();
const leaseId = '00000000-0000-4000-8000-000000000001';

/** A machine whose supervisor has started version 1.0.0, and a content store. */
async function machine() {
  const dir = mkdtempSync(join(tmpdir(), 'drover-upgrade-'));
  const home = join(dir, 'home');
  const stateDir = join(dir, 'state');
  mkdirSync(stateDir);
  const first = await installFirstVersion(home, { version: '1.0.0', bundle: '1'.repeat(64) }, async (folder) => {
    writeFileSync(join(folder, 'run'), '');
    return { entry: 'run' };
  });
  const runs = (version: string): void =>
    writeFileSync(join(home, 'start.json'), JSON.stringify({ start: 's', version }));
  runs(first);
  const content = createMemoryContentStore();
  const open = async (options: { downgrade?: 'never' } = {}) => {
    const supervisor = await openSupervisedHome({ home, start: 's' });
    const keys = [parseTrustedKey(ours.publicKey)];
    return createUpgradeHandler({ keys, ...options }, { content, supervisor, stateDir });
  };
  const bundle = async (version: string, more: { key?: typeof ours; platform?: string; says?: string } = {}) => {
    const { key = ours, platform = 'any', says = version } = more;
    const folder = join(dir, `build-${version}`);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'run'), version);
    chmodSync(join(folder, 'run'), 0o755);
    const output = join(dir, 'bundle.tar.gz');
    await buildBundle({ folder, version, platform, entry: 'run', output });
    const bytes = readFileSync(output);
    const digest = digestOfBytes(bytes);
    await content.write(digest, bytes);
    const signature = signBundle({ version: says, platform, digest }, key.privateKeyPem);
    const wire = create(BlobDigestSchema, digestToWire(digest));
    return create(UpgradeSchema, { version: says, bundle: wire, signature, channel: 'stable' });
  };
  const switchTo = (record: object): void =>
    writeFileSync(join(home, 'switch.json'), JSON.stringify({ id: `${leaseId}/1`, from: first, ...record }));
  return {
    home,
    stateDir,
    first,
    content,
    open,
    bundle,
    runs,
    switchTo,
    versions: () => readdirSync(join(home, 'versions')).sort(),
    wish: () => JSON.parse(readFileSync(join(home, 'wish.json'), 'utf8')) as { id: string; to: string },
    hasWish: () => existsSync(join(home, 'wish.json')),
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  };
}

describe('an upgrade', () => {
  test('stands complete beside the running version when the agent goes down for it', async () => {
    using on = await machine();
    await using run = await createTestLeaseContext();
    const running = (await on.open()).run(await on.bundle('1.1.0'), run.context);
    await vi.waitUntil(() => run.leaving === 'handing-over');
    const { id, to } = on.wish();
    expect(id).toBe(`${leaseId}/1`);
    expect(on.versions()).toEqual([on.first, to]);
    expect(readFileSync(join(on.home, 'versions', to, 'bundle/run'), 'utf8')).toBe('1.1.0');
    expect(readdirSync(on.stateDir)).toEqual([]);
    run.stop({ code: 'going-down', message: 'the agent ends' });
    await expect(running).rejects.toMatchObject({ code: 'going-down' });
    expect(on.hasWish()).toBe(true);
  });

  test('that is cancelled before the process has ended leaves no wish', async () => {
    using on = await machine();
    await using run = await createTestLeaseContext();
    const running = (await on.open()).run(await on.bundle('1.1.0'), run.context);
    await vi.waitUntil(() => run.leaving === 'handing-over');
    run.stop({ code: 'cancelled', message: 'not wanted' });
    await expect(running).rejects.toMatchObject({ code: 'cancelled' });
    expect(on.hasWish()).toBe(false);
  });

  test.each<[string, string, (on: Awaited<ReturnType<typeof machine>>) => Promise<Upgrade>]>([
    ['signed by a key that is not trusted', 'BUNDLE_KEY_UNKNOWN', (on) => on.bundle('1.1.0', { key: theirs })],
    [
      'with a signature of another',
      'BUNDLE_SIGNATURE_WRONG',
      async (on) => {
        const upgrade = await on.bundle('1.1.0');
        const envelope = JSON.parse(upgrade.signature);
        envelope.signatures[0].sig = Buffer.alloc(64).toString('base64');
        return { ...upgrade, signature: JSON.stringify(envelope) };
      },
    ],
    [
      'without a signature',
      'BUNDLE_SIGNATURE_INVALID',
      async (on) => ({ ...(await on.bundle('1.1.0')), signature: '' }),
    ],
    [
      'of another version than the lease says',
      'BUNDLE_VERSION_WRONG',
      async (on) => ({ ...(await on.bundle('1.1.0')), version: '1.2.0' }),
    ],
    ['of another version than was signed', 'BUNDLE_VERSION_WRONG', (on) => on.bundle('1.1.0', { says: '1.2.0' })],
    [
      'with another digest than was signed',
      'BUNDLE_DIGEST_WRONG',
      async (on) => ({ ...(await on.bundle('1.1.0')), bundle: (await on.bundle('1.3.0')).bundle! }),
    ],
    [
      'for another platform',
      'BUNDLE_PLATFORM_WRONG',
      (on) => on.bundle('1.1.0', { platform: ownPlatform === 'linux-x64' ? 'darwin-arm64' : 'linux-x64' }),
    ],
    ['that is older', 'BUNDLE_DOWNGRADE', (on) => on.bundle('0.9.0')],
    [
      'that is not in the store',
      'BUNDLE_UNAVAILABLE',
      async (on) => {
        const upgrade = await on.bundle('1.1.0');
        const digest = digestOfBytes(Buffer.from('nowhere'));
        const signature = signBundle({ version: '1.1.0', platform: 'any', digest }, ours.privateKeyPem);
        return { ...upgrade, signature, bundle: create(BlobDigestSchema, digestToWire(digest)) };
      },
    ],
    [
      'that has no time to prove itself',
      'UPGRADE_INVALID',
      async (on) => ({ ...(await on.bundle('1.1.0')), healthyWithin: durationFromMs(1) }),
    ],
  ])('%s is refused, and nothing is left of it', async (_, code, make) => {
    using on = await machine();
    await using run = await createTestLeaseContext();
    await expect((await on.open()).run(await make(on), run.context)).rejects.toMatchObject({ code });
    expect(run.leaving).toBe('no');
    expect(on.hasWish()).toBe(false);
    expect(on.versions().filter((name) => !name.startsWith('.'))).toEqual([on.first]);
  });

  test('to an older version is done where lease and machine allow it', async () => {
    using on = await machine();
    await using run = await createTestLeaseContext();
    const upgrade = { ...(await on.bundle('0.9.0')), allowDowngrade: true };
    await expect((await on.open({ downgrade: 'never' })).run(upgrade, run.context)).rejects.toMatchObject({
      code: 'BUNDLE_DOWNGRADE',
    });
    const running = (await on.open()).run(upgrade, run.context);
    await vi.waitUntil(() => run.leaving === 'handing-over');
    run.stop({ code: 'going-down', message: 'the agent ends' });
    await running.catch(() => undefined);
    expect(on.wish().to).toMatch(/^0\.9\.0-/);
  });
});

describe('an upgrade that is resumed', () => {
  test('completes in the version that was declared healthy, and not before', async () => {
    using on = await machine();
    await using run = await createTestLeaseContext();
    const upgrade = await on.bundle('1.1.0');
    on.switchTo({ to: '1.1.0-x', phase: 'proving' });
    mkdirSync(join(on.home, 'versions/1.1.0-x'));
    writeFileSync(
      join(on.home, 'versions/1.1.0-x/version.json'),
      JSON.stringify({ version: '1.1.0', bundle: upgrade.bundle!.hash, entry: 'run' }),
    );
    on.runs('1.1.0-x');
    const resumed = (await on.open()).resume!(upgrade, run.context);
    await vi.waitUntil(() => run.progress.length > 0);
    on.switchTo({ to: '1.1.0-x', phase: 'healthy' });
    expect(await resumed).toMatchObject({ kind: 'completed', output: { version: '1.1.0', unchanged: false } });
  });

  test('fails with the supervisor’s reason in the version that it went back to', async () => {
    using on = await machine();
    await using run = await createTestLeaseContext();
    const reason = { code: 'VERSION_ENDED_AT_START', message: 'exit code 3' };
    on.switchTo({ to: '1.1.0-x', phase: 'rolled-back', reason });
    const result = await (await on.open()).resume!(await on.bundle('1.1.0'), run.context);
    expect(result).toMatchObject({ kind: 'failed', code: reason.code });
    expect(result).toMatchObject({ message: expect.stringContaining('exit code 3') });
  });

  test('does not complete in a version that was declared healthy and does not run', async () => {
    using on = await machine();
    await using run = await createTestLeaseContext();
    on.switchTo({ to: '1.1.0-x', phase: 'healthy' });
    const result = await (await on.open()).resume!(await on.bundle('1.1.0'), run.context);
    expect(result).toMatchObject({ kind: 'failed', code: 'UPGRADE_REPLACED' });
  });

  test('begins again where the power went before the wish, and is done where the bundle runs already', async () => {
    using on = await machine();
    await using run = await createTestLeaseContext();
    const running = (await on.open()).resume!(await on.bundle('1.1.0'), run.context);
    await vi.waitUntil(() => run.leaving === 'handing-over');
    run.stop({ code: 'going-down', message: 'the agent ends' });
    await running.catch(() => undefined);
    const { to } = on.wish();
    on.runs(to);
    await using again = await createTestLeaseContext();
    const result = await (await on.open()).run(await on.bundle('1.1.0'), again.context);
    expect(result).toMatchObject({ kind: 'completed', output: { unchanged: true } });
  });
});
