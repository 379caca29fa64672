import { DroverError } from '@drover/lease-kit';
import type { Rollout } from './rollout.ts';

/** Bounds of a roll-out. */
export const rolloutLimits = {
  channelPattern: /^[a-z][a-z0-9-]{0,31}$/,
  ringsMax: 20,
  bundlesMax: 16,
  soakMsMax: 14 * 86_400_000,
  atOnceMax: 1_000,
  healthyWithinMsMin: 1_000,
  healthyWithinMsMax: 3_600_000,
  signatureBytesMax: 8 * 1024,
} as const;

/** What {@link checkRollout} looks at. */
export type RolloutWish = Pick<Rollout, 'channel' | 'version' | 'bundles' | 'rings' | 'soakMs' | 'atOnceMax'> & {
  readonly healthyWithinMs: number;
};

/** Throws `ROLLOUT_INVALID` for a roll-out that cannot be: what is wrong, and what is allowed. */
export function checkRollout(wish: RolloutWish): void {
  const { channel, bundles, rings, soakMs, atOnceMax, healthyWithinMs } = wish;
  const limits = rolloutLimits;
  const refuse = (where: string, value: unknown, allowed: string): never => {
    throw new DroverError({
      code: 'ROLLOUT_INVALID',
      advice: 'fix-input',
      message: `${where} is ${JSON.stringify(value)}; allowed: ${allowed}.`,
      details: { where },
    });
  };
  const whole = (value: number, min: number, max: number): boolean =>
    Number.isSafeInteger(value) && value >= min && value <= max;
  if (!limits.channelPattern.test(channel)) {
    refuse('channel', channel, 'lower-case letters, digits and dashes, at most 32, a letter first');
  }
  if (bundles.length < 1 || bundles.length > limits.bundlesMax) {
    refuse('bundles', bundles.length, `1 to ${limits.bundlesMax}, one for each platform`);
  }
  const platforms = bundles.map(({ platform }) => platform);
  if (new Set(platforms).size < platforms.length) refuse('bundles', platforms, 'one for each platform');
  for (const { signature } of bundles) {
    if (signature === '' || Buffer.byteLength(signature) > limits.signatureBytesMax) {
      refuse('signature', signature.length, `1 to ${limits.signatureBytesMax} bytes`);
    }
  }
  const ascends = rings.every((percent, index) => percent > (rings[index - 1] ?? 0));
  if (rings.length < 1 || rings.length > limits.ringsMax || !ascends || rings.at(-1) !== 100) {
    refuse('rings', rings, `1 to ${limits.ringsMax} percentages above 0 that ascend, the last one 100`);
  }
  if (!whole(soakMs, 0, limits.soakMsMax)) refuse('soak', soakMs, `0 to ${limits.soakMsMax} ms`);
  if (!whole(atOnceMax, 1, limits.atOnceMax)) refuse('at once', atOnceMax, `1 to ${limits.atOnceMax}`);
  if (!whole(healthyWithinMs, limits.healthyWithinMsMin, limits.healthyWithinMsMax)) {
    refuse('healthy within', healthyWithinMs, `${limits.healthyWithinMsMin} to ${limits.healthyWithinMsMax} ms`);
  }
}
