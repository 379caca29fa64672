import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { buildBundle, generateSigningKey, parseTrustedKey, signBundle } from '@drover/agent-bundles';
import { installFirstVersion, openSupervisedHome } from '@drover/agent-supervisor';
import { createMemoryContentStore, digestToWire, type Digest } from '@drover/content-store';
import { leaseHandlerCompliance } from '@drover/lease-kit/testing';
import { BlobDigestSchema } from '@drover/lease-protocol';
import { describe, test } from 'vitest';
import { UpgradeSchema } from '../gen/drover/upgrade/v1/upgrade_pb.ts';
import { createUpgradeHandler } from './upgrade-handler.ts';

leaseHandlerCompliance({
  describe,
  test: (name, body) => void test(name, body),
  make: async () => {
    const dir = mkdtempSync(join(tmpdir(), 'drover-upgrade-'));
    const key = generateSigningKey();
    const content = createMemoryContentStore();
    const digests: Digest[] = [];
    for (const name of ['one', 'two']) {
      mkdirSync(join(dir, name));
      writeFileSync(join(dir, name, 'run.mjs'), name);
      const output = join(dir, `${name}.tar.gz`);
      const { digest } = await buildBundle({
        folder: join(dir, name),
        version: '1.0.0',
        platform: 'any',
        entry: 'run.mjs',
        output,
      });
      await content.write(digest, readFileSync(output));
      digests.push(digest);
    }
    const home = join(dir, 'home');
    const name = await installFirstVersion(home, { version: '1.0.0', bundle: digests[0]!.hash }, async () => ({
      entry: 'run.mjs',
    }));
    writeFileSync(join(home, 'start.json'), JSON.stringify({ start: 's', version: name }));
    const supervisor = await openSupervisedHome({ home, start: 's' });
    const payload = (digest: Digest) =>
      create(UpgradeSchema, {
        version: '1.0.0',
        bundle: create(BlobDigestSchema, digestToWire(digest)),
        signature: signBundle({ version: '1.0.0', platform: 'any', digest }, key.privateKeyPem),
      });
    return {
      handler: createUpgradeHandler({ keys: [parseTrustedKey(key.publicKey)] }, { content, supervisor, stateDir: dir }),
      // The bundle runs already.
      quick: payload(digests[0]!),
      // It waits for the end of its process, which does not come here.
      endless: payload(digests[1]!),
      [Symbol.asyncDispose]: async () => rmSync(dir, { recursive: true, force: true }),
    };
  },
});
