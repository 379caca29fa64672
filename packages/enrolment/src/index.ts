export { EnrolmentAdmission, type AdmittedSessions, type EnrolmentAdmissionOptions } from './enrolment-admission.ts';
export { registerEnrolmentAdminService, type EnrolmentAdminServiceDeps } from './enrolment-admin-service.ts';
export {
  EnrolmentAuthority,
  type AgentApplicationCall,
  type AgentCall,
  type EnrolmentAuthorityDeps,
  type EnrolmentAuthorityOptions,
  type IssuedCredential,
} from './enrolment-authority.ts';
export { registerEnrolmentService, type EnrolmentServiceDeps } from './enrolment-service.ts';
export { openSealed, sealText } from './key-seal.ts';
