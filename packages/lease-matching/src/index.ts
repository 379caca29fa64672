export type { AgentOffer, FreeCapacity } from './agent-offer.ts';
export { capacityFor } from './capacity-for.ts';
export {
  conditionDepthMax,
  conditionKeys,
  conditionLengthMax,
  type ComparisonCondition,
  type Condition,
  type ConditionOperator,
  type ConditionValue,
  type JunctionCondition,
  type NotCondition,
  type PresenceCondition,
} from './condition.ts';
export { evaluateCondition } from './evaluate-condition.ts';
export { explainCondition, type ConditionExplanation } from './explain-condition.ts';
export { linearPattern, patternInstructionsMax, patternLengthMax, type LinearPattern } from './linear-pattern.ts';
export {
  fitMismatch,
  match,
  mismatchCodes,
  type MatchAllowances,
  type MatchResult,
  type Mismatch,
  type MismatchCode,
} from './match.ts';
export { parseCondition } from './parse-condition.ts';
export { definePools, effectivePools, poolNameLengthMax, poolsMax } from './pools.ts';
export type { DefinedPool, PoolDefinition, PoolMember, Pools } from './pools.ts';
export { canonicalCondition, printCondition } from './print-condition.ts';
export {
  propertiesFrom,
  propertiesMax,
  propertyKeyLengthMax,
  propertyLines,
  propertyValueLengthMax,
  type Properties,
} from './properties.ts';
export { requirementsText } from './requirements-text.ts';
export {
  checkRequirements,
  poolKey,
  requirementsKey,
  resourceNameLengthMax,
  resourcesMax,
  type Requirements,
  type Resources,
} from './requirements.ts';
