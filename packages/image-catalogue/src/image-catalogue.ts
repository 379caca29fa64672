import type { PreparedImage } from '@drover/vm-runtime';

/** An image that somebody asks for. */
export interface ImageWanted {
  /** `sha256:` and 64 lower-case hexadecimal digits: of an index, of a manifest, or of an archive that has neither. */
  readonly digest: string;
  /**
   * Where a registry has it, e.g. `registry.example:5000/tools/gcc:12`; what stands after the name is ignored, the digest decides.
   * Absent: only sources that know images by their digest alone are asked.
   */
  readonly reference?: string | undefined;
}

/** A place that an image has in the catalogue for as long as somebody uses it. */
export interface ImageUse extends Disposable {
  readonly image: PreparedImage;
  /** Lets it go; its last use is now. Idempotent. */
  release(): void;
}

/** An image that is ready on the disk. */
export interface HeldImage {
  readonly digest: string;
  /** With what the driver made of it. */
  readonly sizeBytes: number;
  /** Milliseconds since the Unix epoch. */
  readonly lastUsedMs: number;
  /** It is advertised, and stays. */
  readonly pinned: boolean;
  /** Those that use it now. */
  readonly uses: number;
}

/** Images by digest: pulled once for any number of callers, checked, unpacked, prepared by the driver, kept within bounds. */
export interface ImageCatalogue extends AsyncDisposable {
  /**
   * Makes an image ready, or waits until it is; one pull serves all callers. An abort throws the signal's reason and leaves the
   * others alone; a pull that nobody wants any more ends and leaves nothing. Throws `IMAGE_DIGEST_INVALID`, `IMAGE_NOT_FOUND`,
   * `IMAGE_INVALID`, `IMAGE_UNSUPPORTED`, `IMAGE_TOO_LARGE`, `IMAGE_DIGEST_WRONG`, `IMAGE_SOURCE_DENIED`,
   * `IMAGE_SOURCE_UNAVAILABLE`, `IMAGE_CATALOGUE_FULL`, `IMAGE_CATALOGUE_CLOSED` and what the driver throws.
   */
  ensure(wanted: ImageWanted, signal: AbortSignal): Promise<PreparedImage>;
  /** The same, and keeps it from being removed until it is released. */
  use(wanted: ImageWanted, signal: AbortSignal): Promise<ImageUse>;
  /** Those that are ready now, in the order of their digests. */
  held(): readonly HeldImage[];
  /** The digests that were pinned last, held or not. */
  advertised(): readonly string[];
  /** Images that are never removed once they are here; replaces those pinned before, and pulls nothing. At most 1,024. */
  pin(digests: readonly string[]): void;
}
