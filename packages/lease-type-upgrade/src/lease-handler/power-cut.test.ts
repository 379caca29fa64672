import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, toJsonString } from '@bufbuild/protobuf';
import { buildBundle, generateSigningKey, signBundle } from '@drover/agent-bundles';
import { installFirstVersion, supervise } from '@drover/agent-supervisor';
import { digestToWire } from '@drover/content-store';
import { BlobDigestSchema } from '@drover/lease-protocol';
import { expect, test, vi } from 'vitest';
import { UpgradeSchema } from '../gen/drover/upgrade/v1/upgrade_pb.ts';

const key = generateSigningKey();
const child = join(import.meta.dirname, 'killed-upgrade.test.child.ts');

/** An agent that says it is healthy and stays. */
const script = (home: string, version: string): string => `#!/bin/sh
echo ${version} >> ${home}/agents
printf '{"start":"%s"}' "$DROVER_AGENT_SUPERVISOR_START" > ${home}/healthy.json.$$
mv ${home}/healthy.json.$$ ${home}/healthy.json
exec sleep 60
`;

/** Runs the agent's half until it kills itself at `step`; false if it came to its end. */
async function upgradeUntil(step: number, args: readonly string[]): Promise<boolean> {
  const flags = ['--conditions=@drover/source', '--disable-warning=ExperimentalWarning'];
  const agent = spawn(process.execPath, [...flags, child, ...args, String(step)], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const [code, signal] = (await once(agent, 'exit')) as [number | null, string | null];
  expect(code === 0 || signal === 'SIGKILL').toBe(true);
  return signal === 'SIGKILL';
}

async function cutAt(step: number): Promise<boolean> {
  const dir = mkdtempSync(join(tmpdir(), 'drover-upgrade-cut-'));
  const home = join(dir, 'home');
  const drain = new AbortController();
  try {
    const write = (folder: string, version: string): void => {
      writeFileSync(join(folder, 'run'), script(home, version));
      chmodSync(join(folder, 'run'), 0o755);
    };
    const first = await installFirstVersion(home, { version: '1.0.0', bundle: '1'.repeat(64) }, async (folder) => {
      write(folder, '1.0.0');
      return { entry: 'run' };
    });
    writeFileSync(join(home, 'start.json'), JSON.stringify({ start: 's', version: first }));
    for (const name of ['state', 'build']) mkdirSync(join(dir, name));
    write(join(dir, 'build'), '2.0.0');
    const archive = join(dir, 'bundle.tar.gz');
    const built = await buildBundle({
      folder: join(dir, 'build'),
      version: '2.0.0',
      platform: 'any',
      entry: 'run',
      output: archive,
    });
    const signature = signBundle({ version: '2.0.0', platform: 'any', digest: built.digest }, key.privateKeyPem);
    const bundle = create(BlobDigestSchema, digestToWire(built.digest));
    const upgrade = toJsonString(UpgradeSchema, create(UpgradeSchema, { version: '2.0.0', bundle, signature }));
    const request = join(dir, 'request.json');
    writeFileSync(request, JSON.stringify({ key: key.publicKey, upgrade }));

    const args = [home, join(dir, 'state'), archive, request];
    const wasKilled = await upgradeUntil(step, args);
    // The agent moves nothing: what ran is what would be started.
    expect(readlinkSync(join(home, 'current'))).toBe(`versions/${first}`);
    if (wasKilled) expect(await upgradeUntil(0, args)).toBe(false);
    const supervised = supervise(
      { home, args: [], timing: { lookMs: 50, killAfterMs: 500 } },
      { say: () => undefined, drain: drain.signal, cancel: new AbortController().signal },
    );
    await vi.waitUntil(
      () => {
        try {
          return (JSON.parse(readFileSync(join(home, 'switch.json'), 'utf8')) as { phase: string }).phase === 'healthy';
        } catch {
          return false;
        }
      },
      { timeout: 10_000, interval: 10 },
    );
    expect(readFileSync(join(home, 'agents'), 'utf8')).toBe('2.0.0\n');
    drain.abort();
    await supervised;
    return wasKilled;
  } finally {
    drain.abort();
    rmSync(dir, { recursive: true, force: true });
  }
}

test('whatever step of the agent the power goes at, the upgrade is done after it', { timeout: 60_000 }, async () => {
  let steps = 0;
  for (let step = 1; ; step += 3) {
    const killed = await Promise.all([cutAt(step), cutAt(step + 1), cutAt(step + 2)]);
    steps += killed.filter(Boolean).length;
    if (killed.includes(false)) break;
  }
  expect(steps).toBeGreaterThan(12);
});
