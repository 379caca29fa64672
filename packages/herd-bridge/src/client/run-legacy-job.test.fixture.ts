import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { HerdTaskSchema } from '@drover/herd-protocol';
import { isDroverError } from '@drover/lease-kit';
import fc from 'fast-check';
import { expect } from 'vitest';
import { stoppedText } from '../wire/index.ts';
import { runLegacyJob, type AgentConnection } from './run-legacy-job.ts';
import { StagedOutputs } from './staged-outputs.ts';

/** A connection to an agent that says these bytes, in these pieces, and hangs up. */
function connectionTo(pieces: readonly Uint8Array[]): AgentConnection {
  let tail = '';
  return {
    isStopped: false,
    get saidStopped() {
      return tail.includes(stoppedText);
    },
    write: () => Promise.resolve(),
    onSent: () => undefined,
    async *bytes() {
      for (const piece of pieces) {
        await Promise.resolve();
        tail = (tail + Buffer.from(piece).toString('latin1')).slice(-256);
        yield piece;
      }
    },
    [Symbol.dispose]: () => undefined,
  };
}

/** What an agent says of a job with the pipes `a` and `b`, and a task without. */
export const transcript =
  '<a><Progress>12.5</Progress></a>\0<b><Message>x</Message></b><><End>Ok</End></><a><End>Ok</End></a>' +
  '<b><End>Error</End></b><Internal>Job finished correctly</Internal><Job Name="Job #0">' +
  '<Output Name="out/a" Size="12">RES</Output></Output><Output Name="out/b" Size="0"></Output></Job>';

const tasks = ['a', 'b', ''].map((pipe) => ({
  task: create(HerdTaskSchema, { name: pipe }),
  pipe,
  exe: 'x',
  tag: Buffer.from('<Task/>'),
  outputs: new Map<string, string>(),
}));

/** Runs the job to its end; fails for anything but results and the error that says that the agent is lost. */
export async function runAgainst(pieces: readonly Uint8Array[], staged: StagedOutputs): Promise<string> {
  const job = { name: 'x', inputs: [], tasks, outputs: new Set(['out/a', 'out/b']) };
  const signs = runLegacyJob(job, connectionTo(pieces), staged);
  try {
    for (;;) {
      const step = await signs.next();
      if (step.done !== true) continue;
      const sizes = [...step.value.outputs].map(([name, { digest }]) => `${name} ${digest.sizeBytes}`);
      return [step.value.end, ...step.value.tasks.values(), ...sizes].join(' ');
    }
  } catch (error) {
    if (isDroverError(error, 'AGENT_LOST')) return 'lost';
    throw error;
  }
}

/** A text in pieces. */
export function cutAt(text: string, cuts: readonly number[]): Uint8Array[] {
  const at = [...new Set([0, ...cuts.map((cut) => cut % text.length), text.length])].sort(
    (left, right) => left - right,
  );
  return at.slice(1).map((end, index) => Buffer.from(text.slice(at[index], end), 'latin1'));
}

/** Has an agent say a transcript with mistakes in it, in pieces; each time the reader comes to an end, and it leaves no file. */
export async function expectToReadAnything(numRuns: number): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'run-legacy-job-'));
  const staged = await StagedOutputs.open(folder);
  const edit = fc.record({
    at: fc.nat(),
    remove: fc.nat({ max: 20 }),
    insert: fc.oneof(
      fc.string({ maxLength: 8 }),
      fc.constantFrom(
        '<',
        '>',
        '</a>',
        '<a>',
        '<>',
        '</>',
        '<Internal>',
        '</Job>',
        '"',
        '\n',
        '\0',
        ' Size="9999999999"',
        '<Output Name="/etc/x" Size="1">',
        'x'.repeat(9000),
      ),
    ),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(edit, { maxLength: 6 }), fc.array(fc.nat(), { maxLength: 4 }), async (edits, cuts) => {
      const text = edits.reduce((before, { at, remove, insert }) => {
        const start = at % (before.length + 1);
        return before.slice(0, start) + insert + before.slice(start + remove);
      }, transcript);
      await runAgainst(text === '' ? [] : cutAt(text, cuts), staged);
    }),
    { numRuns },
  );
  await staged[Symbol.asyncDispose]();
  expect(await readdir(folder)).toEqual([]);
  await rm(folder, { recursive: true });
}
