export { supervise } from '@drover/agent-supervisor';
