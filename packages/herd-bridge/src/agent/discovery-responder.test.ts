import { silentLogger, systemClock } from '@drover/lease-kit';
import { createSocket } from 'node:dgram';
import { afterEach, expect, test } from 'vitest';
import { transcript } from '../transcript.test.fixture.ts';
import { parseDiscoveryAnswer } from '../wire/index.ts';
import { clientNetworks } from './client-networks.ts';
import { openDiscoveryResponder } from './discovery-responder.ts';

let stack = new AsyncDisposableStack();
afterEach(async () => {
  await stack.disposeAsync();
  stack = new AsyncDisposableStack();
});

/** Sends datagrams one after another, and gives what comes back until `resultsMax` results were counted. */
async function ask(
  networks: string,
  datagrams: readonly Uint8Array[],
): Promise<{ answers: Buffer[]; results: string[] }> {
  const answer = parseDiscoveryAnswer(transcript('discovery-answer'))!;
  const results: string[] = [];
  const answers: Buffer[] = [];
  const done = Promise.withResolvers<void>();
  const endIfDone = (): void => {
    const answered = results.filter((result) => result === 'answered').length;
    if (results.length === datagrams.length && answers.length === answered) done.resolve();
  };
  const responder = await openDiscoveryResponder('127.0.0.1', 0, {
    networks: clientNetworks([networks]),
    answer: async () => answer,
    clock: systemClock,
    logger: silentLogger,
    datagrams: {
      add(_, labels) {
        results.push(String(labels?.['result']));
        endIfDone();
      },
    },
  });
  stack.use(responder);
  const socket = createSocket('udp4');
  stack.defer(() => void socket.close());
  socket.on('message', (bytes) => {
    answers.push(bytes);
    endIfDone();
  });
  for (const datagram of datagrams) {
    await new Promise((resolve) => socket.send(datagram, responder.port, '127.0.0.1', resolve));
  }
  await done.promise;
  return { answers, results };
}

test('the request is answered byte for byte as a genuine agent does', async () => {
  const { answers } = await ask('127.0.0.0/8', [transcript('discovery-request')]);
  expect(answers).toEqual([transcript('discovery-answer')]);
});

test('nothing but exactly the request is answered', async () => {
  const request = transcript('discovery-request');
  const others = [
    request.subarray(1),
    Buffer.concat([request, Buffer.of(0)]),
    Buffer.from('slaves, show yourselves!'),
    Buffer.alloc(0),
  ];
  const { answers, results } = await ask('127.0.0.0/8', others);
  expect(answers).toEqual([]);
  expect(results).toEqual(others.map(() => 'not-understood'));
});

test('who is not allowed is not answered, and nobody more often than so many times', async () => {
  expect((await ask('10.0.0.0/8', [transcript('discovery-request')])).results).toEqual(['not-allowed']);
  const flood = Array.from({ length: 60 }, () => transcript('discovery-request'));
  const { results } = await ask('127.0.0.0/8', flood);
  expect(results.filter((result) => result === 'answered').length).toBeLessThan(30);
});
