import { createDecoder, type Decoder } from './decode-world.ts';
import { createEncoder, type Encoder } from './encode-world.ts';
import type { Setting } from './world.ts';

/** Writes worlds of one setting as rows of bytes, alike for worlds that go on alike, and reads them. */
export interface Codec extends Encoder {
  readonly decode: Decoder;
}

/** The codec of a setting. */
export function createCodec(setting: Setting): Codec {
  return { ...createEncoder(setting), decode: createDecoder(setting) };
}
