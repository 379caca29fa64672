import { DroverError } from '@drover/lease-kit';
import type { Digest } from './digest.ts';

const shown = (digest: Digest): string => `${digest.hash}/${digest.sizeBytes}`;
const facts = (digest: Digest): { hash: string; sizeBytes: number } => ({ ...digest });

/** Codes of the errors that a content store throws as `DroverError`. */
export type ContentErrorCode =
  | 'BLOB_NOT_FOUND'
  | 'BLOB_TOO_LARGE'
  | 'CONTENT_STORE_CLOSED'
  | 'CONTENT_STORE_FULL'
  | 'DIGEST_INVALID'
  | 'DIGEST_MISMATCH'
  | 'PATH_ESCAPES'
  | 'PIN_LIMIT'
  | 'RANGE_INVALID'
  | 'SYMLINK_ESCAPES'
  | 'TREE_ENTRY_UNSUPPORTED'
  | 'TREE_FILE_CHANGED'
  | 'TREE_INVALID'
  | 'TREE_TOO_LARGE'
  | 'UPLOAD_LIMIT'
  | 'UPLOAD_TAKEN_OVER';

function contentError(
  code: ContentErrorCode,
  advice: DroverError['advice'],
  message: string,
  details: DroverError['details'] = {},
  cause?: unknown,
): DroverError {
  return new DroverError({ code, advice, message, details, cause });
}

/** `DIGEST_INVALID`: not 64 lower case hexadecimal digits and a size. */
export function digestInvalid(text: string): DroverError {
  const message = `"${text.slice(0, 200)}" is no digest: 64 lower case hexadecimal digits, a slash and a size in bytes are`;
  return contentError('DIGEST_INVALID', 'fix-input', message);
}

/** `DIGEST_MISMATCH`: the bytes are not those that the digest names; nothing was kept. */
export function digestMismatch(expected: Digest, actual: Digest | { readonly sizeBytes: number }): DroverError {
  const got = 'hash' in actual ? shown(actual) : `${actual.sizeBytes} bytes or more`;
  return contentError(
    'DIGEST_MISMATCH',
    'fix-input',
    `the bytes do not match their digest: said ${shown(expected)}, got ${got}`,
    facts(expected),
  );
}

/** `BLOB_NOT_FOUND`: the store does not have the blob (any more). */
export function blobNotFound(digest: Digest): DroverError {
  return contentError('BLOB_NOT_FOUND', 'not-found', `the store has no blob ${shown(digest)}`, facts(digest));
}

/** `BLOB_TOO_LARGE`: above the largest blob that the store takes. */
export function blobTooLarge(digest: Digest, sizeBytesMax: number): DroverError {
  return contentError(
    'BLOB_TOO_LARGE',
    'fix-input',
    `a blob of ${digest.sizeBytes} bytes is too large: at most ${sizeBytesMax} are allowed`,
    { ...facts(digest), sizeBytesMax },
  );
}

/** `RANGE_INVALID`: the part asked for does not lie in the blob. */
export function rangeInvalid(digest: Digest, offset: number, limit: number | undefined): DroverError {
  const message = `offset ${offset}${limit === undefined ? '' : ` with limit ${limit}`} is not in a blob of ${digest.sizeBytes} bytes: 0 to ${digest.sizeBytes} is, with a limit of at least 0`;
  return contentError('RANGE_INVALID', 'fix-input', message, facts(digest));
}

/** `CONTENT_STORE_FULL`: no room, and nothing more that may be removed. Nothing of the blob was kept. */
export function contentStoreFull(neededBytes: number, why: string, cause?: unknown): DroverError {
  return contentError(
    'CONTENT_STORE_FULL',
    'exhausted',
    `no room for ${neededBytes} bytes: ${why}`,
    { neededBytes },
    cause,
  );
}

/** `CONTENT_STORE_CLOSED`: used after it was disposed of. */
export function contentStoreClosed(): DroverError {
  return contentError('CONTENT_STORE_CLOSED', 'unavailable', 'the content store is closed');
}

/** `UPLOAD_LIMIT`: too many uploads are open or kept for resuming. */
export function uploadLimit(uploadsMax: number): DroverError {
  return contentError('UPLOAD_LIMIT', 'exhausted', `${uploadsMax} uploads are under way, which is the most allowed`, {
    uploadsMax,
  });
}

/** `UPLOAD_TAKEN_OVER`: someone opened the same upload again, or ended it; this handle may do nothing more. */
export function uploadTakenOver(): DroverError {
  return contentError('UPLOAD_TAKEN_OVER', 'conflict', 'the upload was opened again elsewhere, ended or expired');
}

/** `PIN_LIMIT`: too many owners hold pins. */
export function pinLimit(ownersMax: number): DroverError {
  return contentError('PIN_LIMIT', 'exhausted', `${ownersMax} owners hold pins, which is the most allowed`, {
    ownersMax,
  });
}

/** `PATH_ESCAPES`: a path that is absolute, leaves its folder, or is no plain relative path. */
export function pathEscapes(path: string, why: string): DroverError {
  return contentError(
    'PATH_ESCAPES',
    'fix-input',
    `path "${path}" ${why}: a relative path inside the folder is allowed, with "/" between its parts and without ".."`,
    { path },
  );
}

/** `SYMLINK_ESCAPES`: a symbolic link that leads, or could lead, out of its tree. */
export function symlinkEscapes(path: string, target: string, why: string): DroverError {
  return contentError(
    'SYMLINK_ESCAPES',
    'fix-input',
    `symbolic link "${path}" to "${target}" ${why}: a relative target inside the tree is allowed, with ".." only at its start`,
    { path, target },
  );
}

/** `TREE_ENTRY_UNSUPPORTED`: something that is no file, folder or symbolic link, or a path where one can't be put. */
export function treeEntryUnsupported(path: string, why: string): DroverError {
  return contentError('TREE_ENTRY_UNSUPPORTED', 'fix-input', `"${path}" ${why}`, { path });
}

/** `TREE_FILE_CHANGED`: a file changed while it was being stored. */
export function treeFileChanged(path: string, cause: unknown): DroverError {
  return contentError('TREE_FILE_CHANGED', 'conflict', `"${path}" changed while it was being stored`, { path }, cause);
}

/** `TREE_INVALID`: a blob that should be a Directory message is none, or not a canonical one. */
export function treeInvalid(digest: Digest, why: string, cause?: unknown): DroverError {
  return contentError('TREE_INVALID', 'fix-input', `directory ${shown(digest)} ${why}`, facts(digest), cause);
}

/** `TREE_TOO_LARGE`: above one of the bounds of `TreeLimits`, which is named. */
export function treeTooLarge(limit: string, max: number): DroverError {
  return contentError('TREE_TOO_LARGE', 'exhausted', `the tree is too large: ${limit} is ${max}`, { limit, max });
}
