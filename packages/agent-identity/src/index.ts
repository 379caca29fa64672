export { type AgentKey } from '@drover/enrolment-protocol';
