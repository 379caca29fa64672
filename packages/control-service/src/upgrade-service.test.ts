import { createClient, createRouterTransport } from '@connectrpc/connect';
import { generateSigningKey, signBundle } from '@drover/agent-bundles';
import { createMemoryContentStore, digestOfBytes } from '@drover/content-store';
import { RolloutState, UpgradeService } from '@drover/control-api';
import { createMemoryStore } from '@drover/lease-store';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import { describe, expect, test } from 'vitest';
import { registerUpgradeService } from './upgrade-service.ts';

const { privateKeyPem } = generateSigningKey();

function signed(version: string, platform = 'any', content = version): { bytes: Buffer; signature: string } {
  const bytes = Buffer.from(content);
  return { bytes, signature: signBundle({ version, platform, digest: digestOfBytes(bytes) }, privateKeyPem) };
}

function setUp() {
  const store = createMemoryStore();
  const blobs = createMemoryContentStore();
  const client = createClient(
    UpgradeService,
    createRouterTransport((router) => {
      registerUpgradeService(router, { store, blobs, principalOf: () => ({ kind: 'user', id: 'ann' }) });
    }),
  );
  const put = async (version: string, platform?: string): Promise<string> => {
    const { bytes, signature } = signed(version, platform, `${version}${platform ?? ''}`);
    await blobs.write(digestOfBytes(bytes), bytes);
    return signature;
  };
  const complete = async (): Promise<void> => {
    const context = { principal: { kind: 'service', id: 'test' } } as const;
    const { revision } = (await store.rollouts.rollout('stable', context))!;
    await store.rollouts.changeRollout('stable', revision, { kind: 'complete' }, context);
  };
  return { client, put, complete };
}

async function codeOf(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => 'none',
    (error: unknown) => droverErrorFromConnect(error).code,
  );
}

describe('a roll-out', () => {
  test('is started, halted, resumed and taken back by name of its channel', async () => {
    const { client, put, complete } = setUp();
    const channel = 'stable';
    await client.startRollout({ channel, signatures: [await put('1.0.0')] });
    await complete();
    const signatures = [await put('2.0.0', 'linux-x64'), await put('2.0.0', 'linux-arm64')];
    const { rollout } = await client.startRollout({ channel, signatures, rings: [5, 100], atOnceMax: 2 });
    expect(rollout).toMatchObject({
      ...{ version: '2.0.0', state: RolloutState.ROLLING, rings: [5, 100], ring: 1, atOnceMax: 2 },
      ...{ previousVersion: '1.0.0', startedBy: 'user:ann' },
    });
    expect(rollout!.bundles.map(({ platform }) => platform)).toEqual(['linux-x64', 'linux-arm64']);
    expect((await client.haltRollout({ channel, reason: 'it smells' })).rollout).toMatchObject({
      ...{ state: RolloutState.HALTED, reasonCode: 'HALTED_BY_OPERATOR', reason: 'it smells' },
    });
    expect(await codeOf(client.haltRollout({ channel }))).toBe('ROLLOUT_STATE');
    expect((await client.resumeRollout({ channel })).rollout?.state).toBe(RolloutState.ROLLING);
    const back = (await client.rollBackRollout({ channel })).rollout;
    expect(back).toMatchObject({ version: '1.0.0', allowDowngrade: true, rings: [100] });
    expect((await client.listRollouts({})).rollouts).toHaveLength(1);
    expect((await client.listRolloutAgents({ channel })).agents).toEqual([]);
  });

  test('that cannot be is refused, with what is wrong', async () => {
    const { client, put } = setUp();
    const channel = 'stable';
    const good = [await put('1.0.0')];
    const start = (request: Parameters<typeof client.startRollout>[0]) => codeOf(client.startRollout(request));
    expect(await start({ channel, signatures: [] })).toBe('ROLLOUT_INVALID');
    expect(await start({ channel, signatures: ['{}'] })).toBe('BUNDLE_SIGNATURE_INVALID');
    expect(await start({ channel, signatures: [signed('1.0.0', 'any', 'nowhere').signature] })).toBe('BUNDLE_MISSING');
    expect(await start({ channel, signatures: [...good, await put('1.1.0', 'linux-x64')] })).toBe('ROLLOUT_INVALID');
    expect(await start({ channel: 'No!', signatures: good })).toBe('ROLLOUT_INVALID');
    expect(await start({ channel, signatures: good, rings: [50, 20] })).toBe('ROLLOUT_INVALID');
    expect(await codeOf(client.haltRollout({ channel }))).toBe('ROLLOUT_NOT_FOUND');
    await client.startRollout({ channel, signatures: good });
    expect(await codeOf(client.haltRollout({ channel, reason: 'x'.repeat(2_000) }))).toBe('INVALID_REASON');
    expect(await codeOf(client.rollBackRollout({ channel }))).toBe('ROLLOUT_NO_PREVIOUS');
    expect(await codeOf(client.listRolloutAgents({ channel, pageSize: 2_000 }))).toBe('INVALID_PAGE_SIZE');
  });
});
