/**
 * Codes of refusals that pass by themselves: the agent had no room just then, or it is stopping, busy or unhealthy. They exclude the
 * agent from nothing; the lease waits {@link passingRefusalDelayMs} and goes to whoever fits, this agent included.
 */
export const passingRefusalCodes: readonly string[] = [
  'RESOURCE_TAKEN',
  'SLOTS_TAKEN',
  'MACHINE_NOT_IDLE',
  'MACHINE_RESERVED',
  'AGENT_STOPPING',
  'AGENT_BUSY',
  'AGENT_UNHEALTHY',
];

/** How long a lease waits after a refusal that passes, so that the same agent is not asked in a circle. */
export const passingRefusalDelayMs = 1_000;
