import { zstdAvailable, type Digest } from '@drover/content-store';
import { serviceError } from './service-errors.ts';
import { digestFromWire } from './wire-digest.ts';

/** What a ByteStream resource name of the Remote Execution API names. */
export interface BlobResource {
  /** Empty for the default instance; may have several segments. All instances share the store. */
  readonly instanceName: string;
  readonly digest: Digest;
  readonly compressor: 'identity' | 'zstd';
  /** The client's id of an upload; absent in the name of a blob to read. */
  readonly uploadId: string | undefined;
}

const nameMaxLength = 2048;
const keywords = ['blobs', 'compressed-blobs', 'uploads'];
/** Digest functions that the standard writes into the name; the others are told by the hash's length. */
const namedFunctions = [
  'sha256tree',
  'blake3',
  'gitsha1',
  'murmur3',
  'sha256',
  'sha1',
  'md5',
  'vso',
  'sha384',
  'sha512',
];

/**
 * Reads `{instance}/blobs/{hash}/{size}`, `{instance}/compressed-blobs/{compressor}/{hash}/{size}`, and the same behind
 * `{instance}/uploads/{id}/`. What follows the size of an upload is the client's own and ignored. Throws
 * `RESOURCE_NAME_INVALID`, `DIGEST_INVALID`, `DIGEST_FUNCTION_UNSUPPORTED`, `COMPRESSOR_UNSUPPORTED`.
 */
export function parseResourceName(name: string, kind: 'read' | 'write'): BlobResource {
  const form = `{instance}/${kind === 'write' ? 'uploads/{uuid}/' : ''}[compressed-blobs/zstd|blobs]/{hash}/{size}`;
  const invalid = (why: string): Error =>
    serviceError('RESOURCE_NAME_INVALID', `resource name "${name.slice(0, 300)}" ${why}: ${form} is allowed`);
  if (name.length > nameMaxLength) throw invalid(`is longer than ${nameMaxLength} characters`);

  const segments = name.split('/');
  const start = segments.findIndex((segment) => keywords.includes(segment));
  if (start < 0) throw invalid('names no blob');
  const instanceName = segments.slice(0, start).join('/');
  let rest = segments.slice(start);
  let uploadId: string | undefined;
  if (rest[0] === 'uploads') {
    if (rest[1] === undefined || rest[1] === '' || rest[1].length > 128) throw invalid('has no upload id');
    uploadId = rest[1];
    rest = rest.slice(2);
  }
  if ((uploadId !== undefined) !== (kind === 'write')) throw invalid(`is not one to ${kind}`);

  let compressor: BlobResource['compressor'] = 'identity';
  if (rest[0] === 'compressed-blobs') {
    if (rest[1] !== 'zstd' || !zstdAvailable) {
      throw serviceError('COMPRESSOR_UNSUPPORTED', `compressor "${rest[1] ?? ''}" is not supported: zstd is`);
    }
    compressor = 'zstd';
    rest = rest.slice(2);
  } else if (rest[0] === 'blobs') {
    rest = rest.slice(1);
  } else {
    throw invalid('names no blob');
  }
  if (namedFunctions.includes(rest[0] ?? '')) {
    throw serviceError(
      'DIGEST_FUNCTION_UNSUPPORTED',
      `digest function ${rest[0]!} is not supported: SHA256 is, unnamed`,
    );
  }
  const [hash, sizeText, ...more] = rest;
  if (hash === undefined || sizeText === undefined || !/^(0|[1-9][0-9]{0,15})$/.test(sizeText)) {
    throw invalid('has no digest');
  }
  if (kind === 'read' && more.length > 0) throw invalid('has something behind the size');
  return { instanceName, digest: digestFromWire({ hash, sizeBytes: BigInt(sizeText) }), compressor, uploadId };
}
