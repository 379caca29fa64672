export { sandboxCases, type SandboxCase, type SandboxSubject } from './sandbox-cases.ts';
export { selfTest, type SelfTestResult } from './self-test.ts';
