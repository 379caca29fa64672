import { createMemoryContentStore } from '@drover/content-store';
import fc from 'fast-check';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { transcript } from '../transcript.test.fixture.ts';
import { clientStream } from '../wire/wire-fuzz.test.fixture.ts';
import { createHerdBridge } from './herd-bridge.ts';
import { RawClient } from './raw-client.test.fixture.ts';
import { strictRunner } from './strict-runner.test.fixture.ts';

/** Whatever clients send before they go: the agent answers nothing that is not of its protocol, ends each, and takes the next job. */
export async function agentStands(numRuns: number): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const dir = await mkdtemp(join(tmpdir(), 'herd-fuzz-'));
  stack.defer(() => rm(dir, { recursive: true }));
  const content = stack.use(createMemoryContentStore());
  const runner = strictRunner(content, async ({ name }, { say, files }) => {
    if (name === 'unit-a') say('<Progress>12.5</Progress>');
    files.set('conf/out.bin', Buffer.from('RES'));
    return undefined;
  });
  const bridge = stack.use(
    await createHerdBridge(
      {
        networks: ['127.0.0.1'],
        host: '127.0.0.1',
        spoolFolder: dir,
        discoveryPort: 0,
        jobPort: 0,
        halfClosedMs: 1_000,
        lingerMs: 1_000,
      },
      {
        runner,
        content,
        describe: () => ({ processors: 1, architecture: 'N/A', loadPercent: 0, memoryBytes: 0 }),
      },
    ),
  );
  const talk = async (bytes: Uint8Array): Promise<string> => {
    await using client = await RawClient.connect(bridge.jobPort, true);
    client.socket.end(bytes);
    return (await client.toEnd()).toString('latin1');
  };
  await fc.assert(
    fc.asyncProperty(clientStream, async ([bytes]) => {
      const said = await talk(bytes);
      if (said !== '' && said !== 'Error running job') expect(said).toMatch(trailer);
    }),
    { numRuns },
  );
  expect(await talk(transcript('client-job'))).toBe(transcript('agent-job').toString('latin1'));
  expect(await readdir(dir)).toEqual([]);
}

const trailer =
  /<Internal>Job finished correctly<\/Internal><Job Name="[^">]*">(?:.*<\/Output>)?<\/Job>$|Error running job$/s;
