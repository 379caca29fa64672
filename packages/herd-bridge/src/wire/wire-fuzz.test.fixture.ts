import { isDroverError } from '@drover/lease-kit';
import fc from 'fast-check';
import { expect } from 'vitest';
import { transcript } from '../transcript.test.fixture.ts';
import { discoveryAnswerBytes, parseDiscoveryAnswer } from './index.ts';
import { inPieces, itemBytesMax, readAsAgent, readAsClient, type ReadStream } from './read-stream.test.fixture.ts';

const clientSays = ['client-job', 'client-job-any-order', 'client-stop'].map(transcript);
const agentSays = ['agent-job', 'agent-job-any-order', 'agent-noise', 'agent-nothing', 'agent-stopped'].map(transcript);
const answers = ['discovery-answer', 'discovery-answer-busy', 'discovery-answer-old'].map(transcript);

/** What a reader might trip over. */
const fragments = [
  '<',
  '>',
  '</',
  '/>',
  '\n',
  '\0',
  '<Internal>',
  '</Internal>',
  '<Job Name="',
  '<Input Name="a/b" Size="',
]
  .concat([
    '5">',
    '</Input>',
    '</Output>',
    '</Job>',
    '"',
    '<a>',
    '</a>',
    '<a><b>',
    ' ',
    'Size="2147483647">',
    '\xff',
    '<>',
    '</>',
  ])
  .map((text) => Buffer.from(text, 'latin1'));

type Change = (bytes: Buffer) => Buffer;

/** A change of a transcript: cut, repeated, overwritten, or with something put in. */
const change: fc.Arbitrary<Change> = fc
  .record({
    kind: fc.constantFrom('cut', 'remove', 'repeat', 'insert', 'overwrite', 'append'),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    length: fc.nat({ max: 300 }),
    times: fc.nat({ max: 9 }),
    bytes: fc.oneof(fc.constantFrom(...fragments, ...clientSays, ...agentSays), fc.uint8Array({ maxLength: 20 })),
  })
  .map(({ kind, at, length, times, bytes }) => (before) => {
    const from = Math.floor(at * before.length);
    const head = before.subarray(0, from);
    const part = before.subarray(from, from + length);
    const tail = before.subarray(from + length);
    switch (kind) {
      case 'cut':
        return head;
      case 'remove':
        return Buffer.concat([head, tail]);
      case 'repeat':
        return Buffer.concat([head, ...Array.from({ length: times }, () => part), tail]);
      case 'insert':
        return Buffer.concat([head, bytes, part, tail]);
      case 'overwrite':
        return Buffer.concat([head, bytes, part.subarray(bytes.length), tail]);
      default:
        return Buffer.concat([before, bytes]);
    }
  });

function changed(transcripts: readonly Buffer[]): fc.Arbitrary<Buffer> {
  return fc
    .tuple(fc.constantFrom(...transcripts), fc.array(change, { maxLength: 6 }))
    .map(([bytes, changes]) => changes.reduce((before, apply) => apply(before).subarray(0, 2_000), bytes));
}

const soup = fc
  .array(fc.oneof(fc.constantFrom(...fragments), fc.uint8Array({ maxLength: 8 })), { maxLength: 60 })
  .map((parts) => Buffer.concat(parts));
const sizes = fc.oneof(
  { weight: 1, arbitrary: fc.constant([1]) },
  { weight: 9, arbitrary: fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 10 }) },
);

/** A stream of a client, and where it is split. */
export const clientStream = fc.tuple(fc.oneof({ weight: 4, arbitrary: changed(clientSays) }, soup), sizes);
/** A stream of an agent, and where it is split. */
export const agentStream = fc.tuple(fc.oneof({ weight: 4, arbitrary: changed(agentSays) }, soup), sizes);

/** No stream crashes the reader, has it go on for ever, or has it hold more than it may. */
export async function readerStands(numRuns: number): Promise<void> {
  for (const [streams, read] of [
    [clientStream, readAsAgent],
    [agentStream, readAsClient],
  ] as const) {
    await fc.assert(
      fc.asyncProperty(streams, async ([bytes, pieces]) => check(await read(inPieces(bytes, pieces)), bytes)),
      { numRuns },
    );
  }
}

function check({ said, heldBytesMax, error }: ReadStream, bytes: Buffer): void {
  if (error !== undefined && !(isDroverError(error) && error.code.startsWith('HERD_WIRE_'))) throw error;
  expect(heldBytesMax).toBeLessThanOrEqual(itemBytesMax);
  // Each thing takes some bytes, and none is said twice.
  expect(said.join('').length).toBeLessThanOrEqual(bytes.length * 6 + 64);
}

/** Messages are those that the original programs' regular expression finds in the whole text, one after the other. */
export async function messagesAreThoseOfTheOriginal(numRuns: number): Promise<void> {
  const text = fc
    .array(fc.constantFrom('<', '>', '</', 'a', 'b', '<a>', '</a>', '<b>', '</b>', '\n', '\0', '<>', '</>', ' ', '/'), {
      maxLength: 40,
    })
    .map((parts) => parts.join(''));
  await fc.assert(
    fc.asyncProperty(text, async (all) => {
      const bytes = Buffer.from(all, 'latin1');
      const { said, error } = await readItems(bytes);
      expect(error).toBeUndefined();
      const expected = [...all.matchAll(/<((?!\/)[^<>\n]*)>([^\n]*?)<\/\1>/g)].map(
        ([, tag, content]) => `${tag}=${content}`,
      );
      expect(said).toEqual(expected);
    }),
    { numRuns },
  );
}

async function readItems(bytes: Buffer): Promise<{ said: string[]; error: unknown }> {
  const { WireReader } = await import('./wire-reader.ts');
  const said: string[] = [];
  try {
    const reader = new WireReader(inPieces(bytes, [bytes.length]));
    for (let item = await reader.nextItem({ isEager: true }); item !== undefined;) {
      said.push(`${item.tag}=${item.text}`);
      item = await reader.nextItem({ isEager: true });
    }
    return { said, error: undefined };
  } catch (error) {
    return { said, error };
  }
}

/** No datagram crashes discovery, and what is understood can be said again. */
export function datagramsStand(numRuns: number): void {
  fc.assert(
    fc.property(fc.oneof({ weight: 4, arbitrary: changed(answers) }, soup), (datagram) => {
      const answer = parseDiscoveryAnswer(datagram);
      if (answer === undefined) return;
      expect(Object.keys(answer.extra).length).toBeLessThanOrEqual(64);
      expect(parseDiscoveryAnswer(discoveryAnswerBytes({ ...answer, extra: {} }))).toBeDefined();
    }),
    { numRuns },
  );
}
