/** A root file system that the catalogue has unpacked and checked. */
export interface UnpackedImage {
  /** `sha256:` and 64 hexadecimal digits: the manifest's. */
  readonly digest: string;
  /** Absolute path of the folder; read-only from here on. */
  readonly folder: string;
  /** Owners, modes and device files that an ordinary user cannot make, in the order of the paths. */
  readonly entries: readonly ImageEntry[];
  /** All files together. */
  readonly sizeBytes: number;
}

/** What the file system of the host may not show as the image has it. */
export interface ImageEntry {
  /** Relative to the root. */
  readonly path: string;
  readonly uid: number;
  readonly gid: number;
  /** Permission bits. */
  readonly mode: number;
}

/** What a driver made of an image. */
export interface PreparedImage {
  readonly digest: string;
  /** Name of the driver that made it. */
  readonly driver: string;
  /** On disk, all that was made. */
  readonly sizeBytes: number;
}
