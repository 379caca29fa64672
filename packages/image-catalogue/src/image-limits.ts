/** Bounds of what is pulled and unpacked. Sizes in bytes, times in milliseconds. */
export interface ImageLimits {
  /** All that is downloaded of one image. Default 20 GiB. */
  readonly downloadBytesMax: number;
  /** All that the layers of one image write, what a later layer removes included. Default 20 GiB. */
  readonly unpackedBytesMax: number;
  /** One file. Default 8 GiB. */
  readonly fileBytesMax: number;
  /** Entries of all layers together. Default 1,000,000. */
  readonly entriesMax: number;
  /** One path. Default 4,095, what Linux takes. */
  readonly pathBytesMax: number;
  /** Folders above a file. Default 128. */
  readonly depthMax: number;
  /** All paths together, which are remembered while an image is unpacked. Default 128 MiB. */
  readonly namesBytesMax: number;
  /** Bytes that one compressed byte may become, counted from the first 16 MiB on. Default 200. */
  readonly ratioMax: number;
  /** Default 256. */
  readonly layersMax: number;
  /** An index, a manifest or a configuration. Default 4 MiB. */
  readonly manifestBytesMax: number;
  /** From the first byte to the last of a pull. Default 1 hour. */
  readonly pullMsMax: number;
  /** Without a byte of a source. Default 60 s. */
  readonly stalledMsMax: number;
  /** Pulls at once. Default 2. */
  readonly pullsMax: number;
  /** Pulls that wait for their turn. Default 256. */
  readonly pullsWaitingMax: number;
}

const gibibyte = 1024 ** 3;

export const defaultImageLimits: ImageLimits = {
  downloadBytesMax: 20 * gibibyte,
  unpackedBytesMax: 20 * gibibyte,
  fileBytesMax: 8 * gibibyte,
  entriesMax: 1_000_000,
  pathBytesMax: 4_095,
  depthMax: 128,
  namesBytesMax: 128 * 1024 * 1024,
  ratioMax: 200,
  layersMax: 256,
  manifestBytesMax: 4 * 1024 * 1024,
  pullMsMax: 3_600_000,
  stalledMsMax: 60_000,
  pullsMax: 2,
  pullsWaitingMax: 256,
};
