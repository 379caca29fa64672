import { createMemoryContentStore } from '@drover/content-store';
import { createResourceLedger } from '@drover/resource-ledger';
import { createHerdJobRunner } from './create-herd-job-runner.ts';

/** An agent of one job, to be killed: `herd-agent.test.child.ts STATE_DIR SCRIPT`. */
const [stateDir = '', script = ''] = process.argv.slice(2);
const { signal } = new AbortController();
const runner = await createHerdJobRunner(
  { stateDir, slots: 1 },
  {
    content: createMemoryContentStore({ sizeBytesMax: 1e6 }),
    ledger: createResourceLedger({ total: { cores: 1 }, leasesMax: 1 }),
  },
);
const session = await runner.begin({ jobId: 'job-1' }, { principal: { kind: 'user', id: 'ada' }, signal });
for await (const { message } of session.responses(0n, signal)) {
  if (message.case === 'credits') {
    session.add({ tasks: [{ name: 'a', exe: 'sh', arguments: ['-c', script], pipe: { name: 'p' } }] });
  }
}
