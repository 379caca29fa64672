export { poolOutOfScope, principalUnknown, roleMissing, tokenExpired, tokenRevoked } from './access-errors.ts';
export {
  createAccessGate,
  type AccessGate,
  type AccessGateDeps,
  type ArrivingCall,
  type CredentialVerifier,
} from './access-gate.ts';
export { registerAccessService, type AccessServiceDeps, type SignInOptions } from './access-service.ts';
export { auditInterceptor } from './audit-interceptor.ts';
export type { AuditWriterDeps } from './audit-writer.ts';
export { bearerOf } from './bearer.ts';
export { callerFrom, callerKey, seesPool, type Caller } from './caller.ts';
export { endWithCredential } from './end-with-credential.ts';
export { FailedSignIns, type FailedSignInsOptions } from './failed-sign-ins.ts';
export { changeFrom } from './pending-change.ts';
export { isRole, roleAllows, roles, type Role } from './role.ts';
export type { RpcRule, RpcTable } from './rpc-rule.ts';
export { rpcTable } from './rpc-table.ts';
export {
  createTokenVerifier,
  type TokenVerifier,
  type TokenVerifierDeps,
  type TokenVerifierOptions,
} from './token-verifier.ts';
