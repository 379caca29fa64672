export { checkSecrets, secretBounds } from './secret-bounds.ts';
export { SecretMask, type BlottedPiece } from './secret-mask.ts';
export {
  createSecretSealer,
  generateSecretKey,
  secretKeysFrom,
  type SecretKey,
  type SecretSealer,
} from './secret-sealer.ts';
