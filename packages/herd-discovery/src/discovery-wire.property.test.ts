import { create, fromBinary } from '@bufbuild/protobuf';
import { AgentAnnouncementSchema } from '@drover/herd-protocol';
import fc from 'fast-check';
import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { readAnnouncement } from './check-reply.ts';
import { decodeReply, decodeRequest, encodeReply, encodeRequest } from './discovery-wire.ts';
import { fitAnnouncement } from './fit-announcement.ts';
import { testDescription } from './test-agent.fixture.ts';

test('a request is padded to 1,200 bytes and read back as it was', () => {
  const nonce = randomBytes(16);
  for (const spreadMs of [0, 1, 127, 128, 1_000]) {
    const datagram = encodeRequest(nonce, spreadMs);
    expect(datagram).toHaveLength(1_200);
    expect(datagram.subarray(0, 7).toString('latin1')).toBe('DRVHRD\u0001');
    const request = decodeRequest(datagram)!;
    expect(nonce.equals(request.nonce)).toBe(true);
    expect(request).toMatchObject({ protocols: [1], spreadMs });
  }
});

test('whatever arrives is read without a throw, and nothing but ours is taken', () => {
  const ours = fc
    .tuple(fc.constantFrom(1, 2, 3), fc.uint8Array({ maxLength: 1_300 }))
    .map(([type, body]) => Buffer.concat([Buffer.from('DRVHRD'), Uint8Array.of(type), body]));
  fc.assert(
    fc.property(fc.oneof(ours, fc.uint8Array({ maxLength: 5_000 })), (datagram) => {
      const request = decodeRequest(datagram);
      if (request !== undefined) expect(request.nonce).toHaveLength(16);
      const reply = decodeReply(datagram);
      if (reply !== undefined) readAnnouncement(reply);
      if (datagram[6] === 1) expect(reply).toBeUndefined();
      if (datagram[6] === 2) expect(request).toBeUndefined();
    }),
    { numRuns: 2_000 },
  );
});

test('a torn or changed reply is read without a throw', () => {
  const announcement = fitAnnouncement(create(AgentAnnouncementSchema, testDescription('a')), 1_000)!;
  const whole = encodeReply({ nonce: randomBytes(16), announcement, signature: new Uint8Array(64) });
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), (at, value, length) => {
      const changed = Buffer.from(whole);
      changed[at] = value;
      const reply = decodeReply(changed.subarray(0, length));
      if (reply !== undefined) readAnnouncement(reply);
    }),
    { numRuns: 2_000 },
  );
});

test('an announcement fits, or there is none; what reaches and proves the agent is kept', () => {
  const texts = fc.array(fc.string({ unit: 'binary', maxLength: 200 }), { maxLength: 60 });
  fc.assert(
    fc.property(
      texts,
      texts,
      fc.string({ maxLength: 300 }),
      fc.integer({ min: 10, max: 1_200 }),
      (gpus, pools, name, sizeBytesMax) => {
        const whole = create(AgentAnnouncementSchema, {
          ...testDescription('agent-1', { gpus, pools, name }),
          protocol: 1,
          key: new Uint8Array(32).fill(1),
        });
        const fitted = fitAnnouncement(whole, sizeBytesMax);
        if (sizeBytesMax >= 400) expect(fitted).toBeDefined();
        if (fitted === undefined) return;
        expect(fitted.length).toBeLessThanOrEqual(sizeBytesMax);
        const read = fromBinary(AgentAnnouncementSchema, fitted);
        const { agentId, port, certificateSha256, key, slotsFree, availability } = whole;
        expect(read).toMatchObject({ agentId, port, certificateSha256, key, slotsFree, availability });
        // From the front, each cut by characters at most.
        for (const [index, pool] of read.pools.entries()) expect(pools[index]!.startsWith(pool)).toBe(true);
        for (const [index, gpu] of read.gpus.entries()) expect(gpus[index]!.startsWith(gpu)).toBe(true);
      },
    ),
    { numRuns: 300 },
  );
});
