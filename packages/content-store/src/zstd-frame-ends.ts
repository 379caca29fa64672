/** Why bytes are no zstd frames; `code` starts with `ZSTD_` as zlib's own codes do. */
class ZstdFrameError extends Error {
  readonly code = 'ZSTD_FRAME_INVALID';
}

/** What is read next, and how many bytes of it are still to come. */
type Step = 'magic' | 'descriptor' | 'header' | 'block' | 'content' | 'checksum' | 'skippable-size' | 'skippable';

const dictionaryIdBytes = [0, 1, 2, 4] as const;
const contentSizeBytes = [0, 2, 4, 8] as const;

/**
 * Cuts a zstd stream (RFC 8878) so that no chunk reaches over the end of a frame: Node's decompressor drops what follows a
 * frame within one chunk, and senders may put several frames in one blob. Rejects if the bytes are no frames, or end inside
 * one.
 */
export async function* cutAtZstdFrameEnds(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const scan = new FrameScan();
  for await (const chunk of source) {
    let from = 0;
    while (from < chunk.byteLength) {
      const end = scan.advance(chunk, from);
      yield chunk.subarray(from, end);
      from = end;
    }
  }
  if (!scan.isBetweenFrames) throw new ZstdFrameError('the zstd data ends inside a frame');
}

class FrameScan {
  #step: Step = 'magic';
  #missing = 4;
  /** Little-endian value of the bytes of a fixed field read so far, and how many those are. */
  #value = 0;
  #seen = 0;
  #hasChecksum = false;
  #isLastBlock = false;

  get isBetweenFrames(): boolean {
    return this.#step === 'magic' && this.#seen === 0;
  }

  /** Reads on from `from`, up to the end of the frame or of the chunk, and returns where that is. */
  advance(chunk: Uint8Array, from: number): number {
    let at = from;
    while (at < chunk.byteLength) {
      const took = Math.min(this.#missing, chunk.byteLength - at);
      if (this.#isField()) {
        for (let i = 0; i < took; i++) this.#value += chunk[at + i]! * 2 ** (8 * this.#seen++);
      }
      at += took;
      this.#missing -= took;
      // Some parts are empty, so one byte may complete several.
      while (this.#missing === 0) if (this.#complete()) return at;
    }
    return at;
  }

  #isField(): boolean {
    return ['magic', 'descriptor', 'block', 'skippable-size'].includes(this.#step);
  }

  #begin(step: Step, missing: number): false {
    this.#step = step;
    this.#missing = missing;
    this.#value = 0;
    this.#seen = 0;
    return false;
  }

  /** Acts on a part that is complete; true at the end of a frame. */
  #complete(): boolean {
    const value = this.#value;
    switch (this.#step) {
      case 'magic':
        if (value === 0xfd2fb528) return this.#begin('descriptor', 1);
        if (value >= 0x184d2a50 && value <= 0x184d2a5f) return this.#begin('skippable-size', 4);
        throw new ZstdFrameError('the data is no zstd frame');
      case 'descriptor': {
        const isSingleSegment = (value & 0x20) !== 0;
        this.#hasChecksum = (value & 0x04) !== 0;
        const sizeFlag = value >> 6;
        const sizeBytes = sizeFlag === 0 && isSingleSegment ? 1 : contentSizeBytes[sizeFlag as 0 | 1 | 2 | 3];
        return this.#begin(
          'header',
          (isSingleSegment ? 0 : 1) + dictionaryIdBytes[(value & 3) as 0 | 1 | 2 | 3] + sizeBytes,
        );
      }
      case 'header':
        return this.#begin('block', 3);
      case 'block': {
        const type = (value >> 1) & 3;
        if (type === 3) throw new ZstdFrameError('the zstd data has a block of a reserved type');
        this.#isLastBlock = (value & 1) === 1;
        return this.#begin('content', type === 1 ? 1 : value >> 3);
      }
      case 'content':
        if (!this.#isLastBlock) return this.#begin('block', 3);
        return this.#begin('checksum', this.#hasChecksum ? 4 : 0);
      case 'skippable-size':
        return this.#begin('skippable', value);
      case 'checksum':
      case 'skippable':
        this.#begin('magic', 4);
        return true;
    }
  }
}
