export { type ContentServiceDeps, type ContentServiceLimits } from './content-service-options.ts';
export { registerContentService } from './register-content-service.ts';
export { type ContentServiceErrorCode } from './service-errors.ts';
