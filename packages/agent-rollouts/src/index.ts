export { checkRollout, rolloutLimits, type RolloutWish } from './check-rollout.ts';
export { decideRollout, type RolloutDecision } from './decide-rollout.ts';
export {
  bundleProperty,
  channelProperty,
  rolloutGroup,
  type Rollout,
  type RolloutAgent,
  type RolloutBundle,
} from './rollout.ts';
export { bundleFor, canTake, hasArrived, ringsOf, rolloutPercentile } from './rollout-rings.ts';
export { rolloutStanding, type RolloutStanding } from './rollout-standing.ts';
