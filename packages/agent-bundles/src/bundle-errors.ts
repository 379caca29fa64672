import { DroverError, type ErrorDetails } from '@drover/lease-kit';

/** A bundle, or what is said of it, that is refused: what was wrong, where, and what is allowed. */
export function bundleRefused(code: BundleFault, message: string, details: ErrorDetails = {}): DroverError {
  return new DroverError({ code, advice: advices[code] ?? 'fix-input', message, details });
}

/** Every way in which a bundle is refused. */
export type BundleFault =
  /** No bundle, or one whose manifest says something that is not allowed. */
  | 'BUNDLE_INVALID'
  /** It ends before it is complete. */
  | 'BUNDLE_TRUNCATED'
  /** Other bytes than those that were signed or asked for. */
  | 'BUNDLE_DIGEST_WRONG'
  /** A file with other bytes than the manifest says, or one that is missing or not in the manifest. */
  | 'BUNDLE_FILE_WRONG'
  /** A path that is absolute or leaves its folder. */
  | 'BUNDLE_PATH_ESCAPES'
  /** A symbolic link that is absolute or leads out of the bundle. */
  | 'BUNDLE_SYMLINK_ESCAPES'
  /** A device, a hard link or something else that is neither file nor symbolic link. */
  | 'BUNDLE_ENTRY_UNSUPPORTED'
  /** Above one of the bounds of `BundleLimits`. */
  | 'BUNDLE_TOO_LARGE'
  /** The signature document is none. */
  | 'BUNDLE_SIGNATURE_INVALID'
  /** Signed, but by none of the keys that are trusted. */
  | 'BUNDLE_KEY_UNKNOWN'
  /** A trusted key is named and the signature is not its own. */
  | 'BUNDLE_SIGNATURE_WRONG'
  /** Made for another platform. */
  | 'BUNDLE_PLATFORM_WRONG'
  /** Another version than was asked for. */
  | 'BUNDLE_VERSION_WRONG'
  /** An older version than the one that runs. */
  | 'BUNDLE_DOWNGRADE'
  /** A key that is none. */
  | 'BUNDLE_KEY_INVALID';

const advices: Partial<Record<BundleFault, 'denied' | 'exhausted'>> = {
  BUNDLE_KEY_UNKNOWN: 'denied',
  BUNDLE_SIGNATURE_WRONG: 'denied',
  BUNDLE_DOWNGRADE: 'denied',
  BUNDLE_TOO_LARGE: 'exhausted',
};
