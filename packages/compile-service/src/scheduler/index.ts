export { registerCompileAdminService, type CompileAdminServiceDeps } from './compile-admin-service.ts';
export {
  CompileScheduler,
  type CompileSchedulerDeps,
  type CompileSchedulerOptions,
  type IssuedPlace,
} from './compile-scheduler.ts';
export { registerSchedulerService, type FailedCalls, type SchedulerServiceDeps } from './register-scheduler-service.ts';
export { SchedulerVerifier, type SchedulerVerifierDeps, type TenantIssuer } from './scheduler-verifier.ts';
