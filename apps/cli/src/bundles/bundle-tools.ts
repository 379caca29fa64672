// Loaded by the commands that work on bundles, so that the others need not wait for it.
export {
  buildBundle,
  checkBundleStatement,
  generateSigningKey,
  ownPlatform,
  parseTrustedKey,
  signBundle,
  unpackBundle,
  verifyBundleSignature,
} from '@drover/agent-bundles';
export { installFirstVersion } from '@drover/agent-supervisor';
