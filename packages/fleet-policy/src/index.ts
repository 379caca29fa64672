export { downtimeMoment, nextDowntimes, timeZoneProblem, type DowntimeMoment } from './downtime-moment.ts';
export { createFleetPolicy, type FleetPolicyDeps, type FleetPolicyOptions } from './create-fleet-policy.ts';
export { openPolicy, type AgentPolicy, type FleetPolicy, type LiveFleetPolicy } from './fleet-policy.ts';
