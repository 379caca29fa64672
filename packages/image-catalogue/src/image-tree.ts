import type { ImageEntry } from '@drover/vm-runtime';
import {
  chmodSync,
  chownSync,
  closeSync,
  fchmodSync,
  fchownSync,
  futimesSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeSync,
} from 'node:fs';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { imageFault } from './image-fault.ts';
import type { ImageLimits } from './image-limits.ts';
import { RootFolder } from './root-folder.ts';
import { tarEntries, type TarEntry, type TarHeader } from './tar-entries.ts';

/** How a tree is made. */
export interface ImageTreeOptions {
  /** An empty folder that nobody else writes to. */
  readonly folder: string;
  readonly limits: ImageLimits;
  /** True if owners are given to the files themselves; default: if this process is root's. */
  readonly owns?: boolean;
  /** Told before so many bytes more are written; may wait, and throw. */
  readonly onBytes?: (bytes: number) => void | Promise<void>;
}

/** Whose and what an entry is. */
type Ownership = Omit<ImageEntry, 'path'>;

const whiteout = '.wh.';
const opaque = '.wh..wh.opq';
const metadata = '.wh..wh.';
/** What sandboxes have of their own: an image's is dropped. */
const droppedFolders = new Set(['.drover', '.hpcc']);
/** What sandboxes mount something on: a real folder, whatever the image has there. */
const mountPoints = { proc: 0o755, sys: 0o755, dev: 0o755, run: 0o755, tmp: 0o1777 };
/** Larger files are written without holding up others. */
const atOnceBytesMax = 1024 * 1024;
const blockBytes = 4_096;
const idMax = 2 ** 32 - 2;
const fileFlags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/**
 * A root file system that layers are unpacked into, one upon the other, as the OCI image specification 1.1 says (layer.md).
 *
 * - Nothing is written outside of the folder: absolute names and names with `..` end it, links lead to places in it.
 * - Devices, named pipes, extended attributes, and the bits for setuid and setgid are dropped.
 * - Owners and permissions are given to the files by root; another user's files keep what that user needs to read them, and
 *   {@link finish} names what the image says.
 */
export class ImageTree {
  readonly #root: RootFolder;
  readonly #limits: ImageLimits;
  readonly #owns: boolean;
  readonly #onBytes: ((bytes: number) => void | Promise<void>) | undefined;
  /** Only where files cannot have their owners. */
  readonly #ownerships = new Map<string, Ownership>();
  /** Of the layer that is unpacked: what it made, and the folders on the way there. */
  #touched = new Set<string>();
  #dropped = new Set<string>();
  #entries = 0;
  #bytes = 0;
  #namesBytes = 0;

  constructor({ folder, limits, owns = process.getuid?.() === 0, onBytes }: ImageTreeOptions) {
    this.#root = new RootFolder(folder, limits);
    this.#limits = limits;
    this.#owns = owns;
    this.#onBytes = onBytes;
  }

  /** Unpacks one layer on top of those before. Throws `IMAGE_INVALID`, `IMAGE_UNSUPPORTED`, `IMAGE_TOO_LARGE`; an abort, its reason. */
  async add(layer: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
    this.#touched = new Set();
    this.#dropped = new Set();
    for await (const entry of tarEntries(layer, signal)) {
      if (++this.#entries > this.#limits.entriesMax)
        throw tooLarge(`the image has over ${this.#limits.entriesMax} entries`);
      await this.#apply(entry, signal);
    }
  }

  /** Makes the folders that sandboxes need, and says what there is. */
  finish(): { readonly entries: readonly ImageEntry[]; readonly sizeBytes: number } {
    for (const [name, mode] of Object.entries(mountPoints)) {
      if (this.#root.stat([name])?.isDirectory() !== true) {
        rmSync(this.#root.at([name]), { force: true });
        mkdirSync(this.#root.at([name]));
      }
      this.#ownFolder([name], { uid: 0, gid: 0, mode });
    }
    return this.#measure();
  }

  async #apply({ header, content }: TarEntry, signal: AbortSignal): Promise<void> {
    const isFolder =
      header.type === 'directory' || (header.type === 'file' && header.name.endsWith('/') && header.size === 0);
    const parts = this.#root.partsOf(header.name);
    const ownership = ownershipOf(header);
    if (parts.length === 0) {
      if (!isFolder)
        throw imageFault('IMAGE_INVALID', 'an entry of the image has the name of its root and is no folder');
      this.#ownFolder([], ownership);
      return;
    }
    const name = parts.at(-1)!;
    const folder = this.#root.resolve(parts.slice(0, -1));
    if (isDropped([...folder, name])) {
      this.#drop([...folder, name]);
      return;
    }
    if (parts.slice(0, -1).some((part) => part.startsWith(whiteout))) {
      throw imageFault(
        'IMAGE_INVALID',
        `the path ${header.name} of the image lies below the sign that something was removed`,
      );
    }
    if (name.startsWith(whiteout)) {
      this.#removeLower(folder, name);
      return;
    }
    const place = [...folder, name];
    switch (isFolder ? 'directory' : header.type) {
      case 'directory':
        this.#makeFolder(place, ownership);
        return;
      case 'file':
      case 'contiguous-file':
        await this.#writeFile(place, header, content, ownership, signal);
        return;
      case 'symlink':
        this.#makeSymlink(place, header, ownership);
        return;
      case 'link':
        this.#makeHardLink(place, header);
        return;
      case 'character-device':
      case 'block-device':
      case 'fifo':
        this.#drop(place);
        return;
      default:
        throw imageFault(
          'IMAGE_UNSUPPORTED',
          `the entry ${header.name} of the image is of a kind that is not taken (sparse, multi-volume or unknown): files, folders, links, devices and pipes are`,
        );
    }
  }

  #makeFolder(place: readonly string[], ownership: Ownership): void {
    this.#prepareFolders(place.slice(0, -1));
    const found = this.#root.stat(place);
    if (found?.isDirectory() !== true) {
      if (found !== undefined) this.#remove(place);
      mkdirSync(this.#root.at(place), { mode: 0o700 });
    }
    this.#touch(place);
    this.#ownFolder(place, ownership);
  }

  async #writeFile(
    place: readonly string[],
    header: TarHeader,
    content: AsyncIterable<Uint8Array>,
    ownership: Ownership,
    signal: AbortSignal,
  ): Promise<void> {
    if (Object.keys(header.pax ?? {}).some((key) => key.startsWith('GNU.sparse.'))) {
      throw imageFault(
        'IMAGE_UNSUPPORTED',
        `the file ${header.name} of the image is sparse in GNU tar’s way; make the archive without --sparse`,
      );
    }
    const size = header.size ?? 0;
    if (size > this.#limits.fileBytesMax) {
      throw tooLarge(
        `the file ${header.name} of the image has ${size} bytes; at most ${this.#limits.fileBytesMax} are allowed`,
      );
    }
    this.#bytes += size;
    if (this.#bytes > this.#limits.unpackedBytesMax)
      throw tooLarge(`the image unpacks to over ${this.#limits.unpackedBytesMax} bytes`);
    await this.#onBytes?.(size + blockBytes);
    this.#place(place);
    const path = this.#root.at(place);
    const { uid, gid, mode } = ownership;
    const shownMode = this.#owns ? mode : mode | 0o600;
    const seconds = timeOf(header);
    if (size <= atOnceBytesMax) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of content) chunks.push(chunk);
      const file = openSync(path, fileFlags, 0o600);
      try {
        for (const chunk of chunks) writeWhole(file, chunk);
        if (this.#owns) fchownSync(file, uid, gid);
        fchmodSync(file, shownMode);
        futimesSync(file, seconds, seconds);
      } finally {
        closeSync(file);
      }
    } else {
      const file = await open(path, fileFlags, 0o600);
      try {
        for await (const chunk of content) {
          signal.throwIfAborted();
          await file.writeFile(chunk);
        }
        if (this.#owns) await file.chown(uid, gid);
        await file.chmod(shownMode);
        await file.utimes(seconds, seconds);
      } finally {
        await file.close();
      }
    }
    this.#own(place, ownership);
  }

  #makeSymlink(place: readonly string[], { name, linkname }: TarHeader, { uid, gid }: Ownership): void {
    const target = linkname ?? '';
    if (target === '' || /[\0\uFFFD]/.test(target) || Buffer.byteLength(target) > this.#limits.pathBytesMax) {
      throw imageFault(
        'IMAGE_INVALID',
        `the link ${name} of the image leads to no path of at most ${this.#limits.pathBytesMax} bytes`,
      );
    }
    this.#place(place);
    symlinkSync(target, this.#root.at(place));
    if (this.#owns) lchownSync(this.#root.at(place), uid, gid);
    this.#own(place, { uid, gid, mode: 0o777 });
  }

  #makeHardLink(place: readonly string[], { name, linkname }: TarHeader): void {
    const parts = this.#root.partsOf(linkname ?? '');
    const target = parts.length === 0 ? [] : [...this.#root.resolve(parts.slice(0, -1)), parts.at(-1)!];
    if (isDropped(target) || this.#dropped.has(target.join('/'))) {
      this.#drop(place);
      return;
    }
    const found = this.#root.stat(target);
    if (found?.isFile() !== true && found?.isSymbolicLink() !== true) {
      throw imageFault(
        'IMAGE_INVALID',
        `the hard link ${name} of the image leads to ${linkname}, which is no file of it`,
      );
    }
    if (target.join('/') === place.join('/')) return;
    this.#place(place);
    // Another look: what was in its place may have been the folder of the target.
    if (this.#root.stat(target) === undefined) {
      throw imageFault('IMAGE_INVALID', `the hard link ${name} of the image takes the place of what it leads to`);
    }
    linkSync(this.#root.at(target), this.#root.at(place));
    const ownership = this.#ownerships.get(target.join('/'));
    if (ownership !== undefined) this.#own(place, ownership);
  }

  /** What a whiteout says: lower layers' things go, this layer's stay, wherever in it they stand. */
  #removeLower(folder: readonly string[], name: string): void {
    if (name === opaque) {
      if (this.#root.stat(folder) === undefined) return;
      for (const child of readdirSync(this.#root.at(folder))) this.#removeUntouched([...folder, child]);
      return;
    }
    // Notes of aufs.
    if (name.startsWith(metadata)) return;
    const hidden = name.slice(whiteout.length);
    if (hidden === '' || hidden === '.' || hidden === '..') {
      throw imageFault(
        'IMAGE_INVALID',
        `the name ${[...folder, name].join('/')} of the image removes nothing that has a name`,
      );
    }
    this.#removeUntouched([...folder, hidden]);
  }

  #removeUntouched(place: readonly string[]): void {
    if (!this.#touched.has(place.join('/'))) this.#remove(place);
    else if (this.#root.stat(place)?.isDirectory() === true) {
      for (const child of readdirSync(this.#root.at(place))) this.#removeUntouched([...place, child]);
    }
  }

  /** Clears a place for something new. */
  #place(place: readonly string[]): void {
    this.#prepareFolders(place.slice(0, -1));
    this.#remove(place);
    this.#touch(place);
  }

  #prepareFolders(folder: readonly string[]): void {
    this.#root.makeFolders(folder, (made) => this.#ownFolder(made, { uid: 0, gid: 0, mode: 0o755 }));
  }

  #remove(place: readonly string[]): void {
    rmSync(this.#root.at(place), { recursive: true, force: true });
  }

  #drop(place: readonly string[]): void {
    this.#count(place.join('/'));
    this.#dropped.add(place.join('/'));
  }

  #touch(place: readonly string[]): void {
    for (let length = place.length; length > 0; length--) {
      const path = place.slice(0, length).join('/');
      if (this.#touched.has(path)) return;
      this.#count(path);
      this.#touched.add(path);
    }
  }

  #count(path: string): void {
    this.#namesBytes += path.length;
    if (this.#namesBytes > this.#limits.namesBytesMax)
      throw tooLarge(`all paths of the image have over ${this.#limits.namesBytesMax} bytes`);
  }

  #ownFolder(place: readonly string[], ownership: Ownership): void {
    const path = this.#root.at(place);
    if (this.#owns) chownSync(path, ownership.uid, ownership.gid);
    chmodSync(path, this.#owns ? ownership.mode : ownership.mode | 0o700);
    this.#own(place, ownership);
  }

  #own(place: readonly string[], ownership: Ownership): void {
    if (!this.#owns && place.length > 0) this.#ownerships.set(place.join('/'), ownership);
  }

  #measure(): { readonly entries: readonly ImageEntry[]; readonly sizeBytes: number } {
    const entries: ImageEntry[] = [];
    const linked = new Set<number>();
    let sizeBytes = 0;
    const visit = (folder: string): void => {
      for (const name of readdirSync(join(this.#root.path, folder)).sort()) {
        const path = posix.join(folder, name);
        const found = lstatSync(join(this.#root.path, path));
        const ownership = this.#ownerships.get(path);
        if (ownership !== undefined) entries.push({ path, ...ownership });
        if (found.nlink === 1 || found.isDirectory() || !linked.has(found.ino)) {
          // As they take room on a drive.
          sizeBytes += Math.max(1, Math.ceil(found.size / blockBytes)) * blockBytes;
        }
        if (found.isDirectory()) visit(path);
        else if (found.nlink > 1) linked.add(found.ino);
      }
    };
    visit('');
    return { entries, sizeBytes };
  }
}

function isDropped(place: readonly string[]): boolean {
  return place[0] !== undefined && droppedFolders.has(place[0]);
}

function ownershipOf({ name, pax, ...header }: TarHeader): Ownership {
  const uid = pax?.['uid'] === undefined ? (header.uid ?? 0) : Number(pax['uid']);
  const gid = pax?.['gid'] === undefined ? (header.gid ?? 0) : Number(pax['gid']);
  const mode = header.mode ?? 0o644;
  if (
    ![uid, gid].every((id) => Number.isInteger(id) && id >= 0 && id <= idMax) ||
    !Number.isInteger(mode) ||
    mode < 0
  ) {
    throw imageFault(
      'IMAGE_INVALID',
      `the owner or the permissions of ${name} in the image are no numbers that Linux has`,
    );
  }
  // Only folders keep a bit beside these: the one of /tmp.
  return { uid, gid, mode: mode & (header.type === 'directory' ? 0o1777 : 0o777) };
}

function timeOf({ mtime, pax }: TarHeader): number {
  const seconds = pax?.['mtime'] === undefined ? (mtime?.getTime() ?? 0) / 1_000 : Number(pax['mtime']);
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0), 2 ** 33) : 0;
}

function writeWhole(file: number, chunk: Uint8Array): void {
  for (let offset = 0; offset < chunk.byteLength;) offset += writeSync(file, chunk, offset);
}

function tooLarge(message: string): Error {
  return imageFault('IMAGE_TOO_LARGE', message);
}
