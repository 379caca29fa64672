export {
  file_drover_enrolment_v1_enrolment_service,
  CredentialSchema,
  EnrolRequestSchema,
  EnrolResponseSchema,
  EnrolmentService,
  PendingEnrolmentSchema,
  RenewCredentialRequestSchema,
  RenewCredentialResponseSchema,
  type Credential,
  type EnrolRequest,
  type EnrolResponse,
  type PendingEnrolment,
  type RenewCredentialRequest,
  type RenewCredentialResponse,
} from './gen/drover/enrolment/v1/enrolment_service_pb.ts';
export { agentKeyFromJwk, newAgentKeyJwk, type AgentKey, type KeyJwk } from './agent-key.ts';
export { createProver, type ProvedCall, type Prover } from './create-prover.ts';
export { proofInvalid, proofStale } from './proof-errors.ts';
export { proofHeader, proofWindowMs, verifyProof, type ExpectedCall, type VerifiedProof } from './verify-proof.ts';
