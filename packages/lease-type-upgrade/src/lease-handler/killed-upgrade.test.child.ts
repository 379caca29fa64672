// Upgrades as the agent of a supervisor and kills itself at a step: `killed-upgrade HOME STATE ARCHIVE UPGRADE STEP`.
import { readFileSync } from 'node:fs';
import { fromJsonString } from '@bufbuild/protobuf';
import { parseTrustedKey } from '@drover/agent-bundles';
import { machineFiles, openSupervisedHome, type DurableFiles } from '@drover/agent-supervisor';
import type { ContentStore } from '@drover/content-store';
import { createTestLeaseContext } from '@drover/lease-kit/testing';
import { UpgradeSchema } from '../gen/drover/upgrade/v1/upgrade_pb.ts';
import { createUpgradeHandler } from './upgrade-handler.ts';

const [home, stateDir, archive, request, step] = process.argv.slice(2) as [string, string, string, string, string];
const { key, upgrade } = JSON.parse(readFileSync(request, 'utf8')) as { key: string; upgrade: string };
let steps = 0;

function count(): void {
  steps += 1;
  if (steps === Number(step)) process.kill(process.pid, 'SIGKILL');
}

const files = Object.fromEntries(
  Object.entries(machineFiles).map(([name, act]) => [
    name,
    (...given: string[]) => {
      count();
      return (act as (...of: string[]) => Promise<void>)(...given);
    },
  ]),
) as unknown as DurableFiles;
const content = {
  async *read() {
    const bytes = readFileSync(archive);
    const half = Math.floor(bytes.byteLength / 2);
    for (const part of [bytes.subarray(0, half), bytes.subarray(half)]) {
      count();
      yield part;
    }
  },
} as unknown as ContentStore;
const supervisor = await openSupervisedHome({ home, start: 's' }, { files });
const handler = createUpgradeHandler({ keys: [parseTrustedKey(key)] }, { content, supervisor, stateDir });
const run = await createTestLeaseContext({
  handOver() {
    count();
    process.exit(0);
  },
});
await handler.resume!(fromJsonString(UpgradeSchema, upgrade), run.context);
