export type { OidcOptions } from './oidc-options.ts';
export { createOidcVerifier, type OidcVerifierDeps } from './oidc-verifier.ts';
