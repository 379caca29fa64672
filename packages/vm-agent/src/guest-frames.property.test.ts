import { isDroverError } from '@drover/lease-kit';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { encodeFrame, FrameReader, payloadBytesMax } from './guest-frames.ts';

const frame = fc.record({
  type: fc.integer({ min: 0, max: 255 }),
  channel: fc.integer({ min: 0, max: 0xffff_ffff }),
  payload: fc.uint8Array({ maxLength: 300 }),
});

test('frames come out as they went in, however they are cut', () => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 20 }), fc.array(fc.integer({ min: 1, max: 200 })), (frames, cuts) => {
      const bytes = Buffer.concat(frames.map(({ type, channel, payload }) => encodeFrame(type, channel, payload)));
      const reader = new FrameReader();
      const found: typeof frames = [];
      for (let at = 0, n = 0; at < bytes.length; n += 1) {
        const size = cuts[n] ?? bytes.length;
        for (const { type, channel, payload } of reader.take(bytes.subarray(at, at + size))) {
          found.push({ type, channel, payload: new Uint8Array(payload) });
        }
        at += size;
      }
      expect(found).toEqual(frames);
    }),
  );
});

test('a frame that is too large is refused on both ways', () => {
  expect(() => encodeFrame(1, 1, new Uint8Array(payloadBytesMax + 1))).toThrow(RangeError);
  const header = Buffer.from([0, 0, 2, 0, 1, 0, 0, 0, 0]);
  expect(() => [...new FrameReader().take(header)]).toThrow(
    expect.toSatisfy((error: unknown) => isDroverError(error, 'GUEST_PROTOCOL')),
  );
});
