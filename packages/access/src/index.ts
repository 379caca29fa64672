export { poolOutOfScope, principalUnknown, roleMissing, tokenExpired, tokenRevoked } from './access-errors.ts';
export {
  createAccessGate,
  type AccessGate,
  type AccessGateDeps,
  type ArrivingCall,
  type CredentialVerifier,
} from './access-gate.ts';
export { callerFrom, callerKey, seesPool, type Caller } from './caller.ts';
export { changeFrom } from './pending-change.ts';
export { isRole, roleAllows, roles, type Role } from './role.ts';
export { ruleOf, type RpcRule, type RpcTable } from './rpc-rule.ts';
export { rpcTable } from './rpc-table.ts';
