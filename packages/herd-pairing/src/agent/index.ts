export { parseNetworks, type AddressNetworks } from './address-networks.ts';
export { createHerdAudit, type HerdAudit } from './herd-audit.ts';
export {
  herdClientPrefix,
  HerdClients,
  type HerdClient,
  type HerdClientsDeps,
  type IssuedCertificate,
  type ListedHerdClient,
} from './herd-clients.ts';
export {
  createHerdGate,
  herdCallerFrom,
  herdCallTable,
  type ArrivingHerdCall,
  type HerdCaller,
  type HerdCallers,
  type HerdCallTable,
  type HerdGate,
  type HerdGateDeps,
} from './herd-gate.ts';
export {
  HerdIdentity,
  type AgentCertificate,
  type HerdIdentityDeps,
  type HerdIdentityOptions,
} from './herd-identity.ts';
export { codeLifetimeMsMax, PairingCodes, type PairingCode } from './pairing-codes.ts';
export { PairingTokens, type ListedPairingToken, type PairingToken } from './pairing-tokens.ts';
export {
  registerPairingService,
  type PairingServiceDeps,
  type PairingServiceOptions,
} from './register-pairing-service.ts';
