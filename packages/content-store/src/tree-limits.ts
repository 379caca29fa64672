import { treeTooLarge } from './content-errors.ts';

/** Bounds of a tree that is stored or materialized. */
export interface TreeLimits {
  /** The most files, folders and symbolic links together. Default 100,000. */
  readonly entriesMax?: number;
  /** The most bytes of all files together. Default 64 GiB. */
  readonly sizeBytesMax?: number;
  /** The most folders inside one another. Default 100. */
  readonly depthMax?: number;
  /** The largest encoded Directory message. Default 4 MiB. */
  readonly directoryBytesMax?: number;
}

/** How large a tree is. */
export interface TreeFigures {
  readonly fileCount: number;
  /** Without the root. */
  readonly directoryCount: number;
  readonly symlinkCount: number;
  /** Of all files, each counted as often as it stands in the tree. */
  readonly sizeBytes: number;
}

/** Counts a tree while it is walked and throws `TREE_TOO_LARGE` at the first bound that is passed. */
export class TreeCount implements TreeFigures {
  fileCount = 0;
  directoryCount = 0;
  symlinkCount = 0;
  sizeBytes = 0;
  readonly limits: Required<TreeLimits>;

  constructor(limits: TreeLimits = {}) {
    this.limits = resolveTreeLimits(limits);
  }

  file(sizeBytes: number): void {
    this.fileCount++;
    this.sizeBytes += sizeBytes;
    if (this.sizeBytes > this.limits.sizeBytesMax) throw treeTooLarge('sizeBytesMax', this.limits.sizeBytesMax);
    this.#entry();
  }

  directory(depth: number): void {
    this.directoryCount++;
    if (depth > this.limits.depthMax) throw treeTooLarge('depthMax', this.limits.depthMax);
    this.#entry();
  }

  symlink(): void {
    this.symlinkCount++;
    this.#entry();
  }

  figures(): TreeFigures {
    const { fileCount, directoryCount, symlinkCount, sizeBytes } = this;
    return { fileCount, directoryCount, symlinkCount, sizeBytes };
  }

  #entry(): void {
    if (this.fileCount + this.directoryCount + this.symlinkCount > this.limits.entriesMax) {
      throw treeTooLarge('entriesMax', this.limits.entriesMax);
    }
  }
}

/** `limits` with the defaults filled in. */
export function resolveTreeLimits(limits: TreeLimits = {}): Required<TreeLimits> {
  return {
    entriesMax: limits.entriesMax ?? 100_000,
    sizeBytesMax: limits.sizeBytesMax ?? 64 * 1024 ** 3,
    depthMax: limits.depthMax ?? 100,
    directoryBytesMax: limits.directoryBytesMax ?? 4 * 1024 * 1024,
  };
}
