export { decideHealth, type AgentHealth, type CanaryEnd, type HealthInput } from './decide-health.ts';
export { defaultHealthRules, evidenceMax, type HealthRules } from './health-rules.ts';
export { judgeAgents, type Evidence, type Suspicion } from './judge-agents.ts';
export type { BadEnd, KindSuccesses, LeaseFacts } from './lease-facts.ts';
export { quarantineCaps, wholeFleetPool, type QuarantineMax } from './quarantine-cap.ts';
