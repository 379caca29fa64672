/** The header in which an agent of a benchmark names itself to its server. */
export const agentIdHeader = 'drover-agent-id';
