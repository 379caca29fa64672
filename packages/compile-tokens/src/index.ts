export { newTaskTokenKey, privateKeyOf, publicKeyBytes, type TaskTokenKeyPair } from './task-token-key.ts';
export { signTaskToken } from './sign-task-token.ts';
export { checkTaskToken, type TaskTokenChecks } from './check-task-token.ts';
export type { TaskTokenClaims } from './task-token-claims.ts';
export { TaskTokenKeys } from './task-token-keys.ts';
export { TaskTokenReplayGuard, type TaskTokenReplayGuardOptions } from './task-token-replay-guard.ts';
