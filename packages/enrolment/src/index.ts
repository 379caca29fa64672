export {
  EnrolmentAuthority,
  type AgentCall,
  type EnrolmentAuthorityDeps,
  type EnrolmentAuthorityOptions,
} from './enrolment-authority.ts';
