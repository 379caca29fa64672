export { sandboxCases, type SandboxCase, type SandboxSubject } from './sandbox-cases.ts';
