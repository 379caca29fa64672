import type { Compile } from '@drover/compile-protocol';
import { messageOf } from '@drover/lease-kit';
import type { FileToPut } from '@drover/vm-runtime';
import { constants, zstdCompress, zstdDecompress } from 'node:zlib';
import { blake3Of } from '../blake3.ts';
import { compileError } from './worker-errors.ts';

/** Most bytes of a source, and of what comes of it. */
export const sourceBytesMax = 256 * 1_024 ** 2;
const windowLogMax = 27;
const sourcePath = /^(?!.*(?:^|\/)\.{1,2}(?:\/|$))[^/\0][^\0]{0,1000}$/;

/** Preprocessed source as a file below /src. Throws `COMPILE_INVALID`, `COMPILE_SOURCE_DIGEST_WRONG`. */
export async function readPreprocessed(
  compile: Compile,
): Promise<{ readonly files: readonly FileToPut[]; readonly digest: Uint8Array }> {
  if (compile.source.case !== 'preprocessed') {
    throw compileError('COMPILE_INVALID', 'the compile has no source; allowed is preprocessed source');
  }
  const { content, digest, sizeBytes, path } = compile.source.value;
  if (!sourcePath.test(path)) {
    throw compileError(
      'COMPILE_INVALID',
      `${JSON.stringify(path)} is no path of a source; allowed is a relative one below /src`,
    );
  }
  if (sizeBytes > BigInt(sourceBytesMax)) {
    throw compileError('COMPILE_INVALID', `the source has ${sizeBytes} bytes; allowed are ${sourceBytesMax}`);
  }
  const bytes = await decompress(content, Number(sizeBytes));
  if (bytes.byteLength !== Number(sizeBytes) || !Buffer.from(blake3Of(bytes)).equals(digest)) {
    throw compileError('COMPILE_SOURCE_DIGEST_WRONG', 'the source is not what its size and digest say');
  }
  return { files: [{ path: `/src/${path}`, mode: 0o600, content: bytes }], digest };
}

/** One zstd frame. */
export function compressed(bytes: Uint8Array): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const params = { [constants.ZSTD_c_compressionLevel]: 1 };
    zstdCompress(bytes, { params, pledgedSrcSize: bytes.byteLength }, (error, result) =>
      error ? reject(error) : resolve(result),
    );
  });
}

function decompress(content: Uint8Array, sizeBytes: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    // A byte more, so that what is larger than it says is seen; never more than that.
    const options = { maxOutputLength: sizeBytes + 1, params: { [constants.ZSTD_d_windowLogMax]: windowLogMax } };
    zstdDecompress(content, options, (error, result) =>
      error
        ? reject(
            compileError('COMPILE_SOURCE_DIGEST_WRONG', `the source is not what it says: ${messageOf(error)}`, error),
          )
        : resolve(result),
    );
  });
}
