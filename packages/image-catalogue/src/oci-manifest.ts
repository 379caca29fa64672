import { arch as machineArch } from 'node:process';
import { z } from 'zod';
import { hexOfDigest } from './image-digest.ts';
import { imageFault } from './image-fault.ts';
import type { Compression } from './layer-bytes.ts';

const indexTypes = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
];
const manifestTypes = [
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
];
const configTypes = ['application/vnd.oci.image.config.v1+json', 'application/vnd.docker.container.image.v1+json'];
const layerTypes: Readonly<Record<string, Compression>> = {
  'application/vnd.oci.image.layer.v1.tar': 'none',
  'application/vnd.oci.image.layer.v1.tar+gzip': 'gzip',
  'application/vnd.oci.image.layer.v1.tar+zstd': 'zstd',
  'application/vnd.docker.image.rootfs.diff.tar': 'none',
  'application/vnd.docker.image.rootfs.diff.tar.gzip': 'gzip',
  'application/vnd.docker.image.rootfs.diff.tar.zstd': 'zstd',
};

/** The kinds of manifests that are read, in the order of preference. */
export const acceptedManifestTypes: readonly string[] = [...indexTypes, ...manifestTypes];

const descriptor = z.object({
  mediaType: z.string().max(255),
  digest: z.string().max(200),
  size: z.int().min(0),
});
const indexShape = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  manifests: z
    .array(
      descriptor.extend({
        platform: z.object({ os: z.string(), architecture: z.string(), variant: z.string().optional() }).optional(),
      }),
    )
    .max(1_000),
});
const manifestShape = z.object({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  artifactType: z.string().optional(),
  config: descriptor,
  layers: z.array(descriptor).min(1),
});
const configShape = z.object({
  os: z.string(),
  architecture: z.string(),
  rootfs: z.object({ type: z.literal('layers'), diff_ids: z.array(z.string()) }),
});

/** Names bytes of an image. */
export type Descriptor = z.infer<typeof descriptor>;

/** One layer of an image, in order. */
export interface OciLayer extends Descriptor {
  readonly compression: Compression;
}

/** What an index or a manifest says. */
export type OciManifest =
  | { readonly kind: 'index'; readonly chosen: Descriptor }
  | { readonly kind: 'manifest'; readonly config: Descriptor; readonly layers: readonly OciLayer[] };

/** What images call this machine's processor; undefined where they have no programs for it. */
export const imageArchitecture: string | undefined = { x64: 'amd64', arm64: 'arm64' }[machineArch as string];

/**
 * Reads an index or a manifest (OCI image-spec 1.1, Docker schema 2); of an index, the manifest for Linux on this machine's
 * processor is chosen. Throws `IMAGE_INVALID`, `IMAGE_UNSUPPORTED`.
 */
export function parseManifest(bytes: Uint8Array, architecture: string | undefined, layersMax: number): OciManifest {
  const json = parseJson(bytes, 'manifest');
  const { mediaType, schemaVersion, manifests } = json as {
    mediaType?: unknown;
    schemaVersion?: unknown;
    manifests?: unknown;
  };
  if (schemaVersion === 1) {
    throw imageFault(
      'IMAGE_UNSUPPORTED',
      'the image has a manifest of Docker’s schema 1, which no longer is taken; push it again',
    );
  }
  if (mediaType !== undefined && !acceptedManifestTypes.includes(String(mediaType))) {
    throw imageFault(
      'IMAGE_UNSUPPORTED',
      `the manifest is a ${JSON.stringify(mediaType)}; allowed are ${acceptedManifestTypes.join(', ')}`,
    );
  }
  const isIndex = mediaType === undefined ? manifests !== undefined : indexTypes.includes(String(mediaType));
  return isIndex
    ? chooseFrom(checked(indexShape, json, 'index'), architecture)
    : layersOf(checked(manifestShape, json, 'manifest'), layersMax);
}

/**
 * Reads an image's configuration. Answers the digests of its layers once unpacked. Throws `IMAGE_INVALID`, and
 * `IMAGE_UNSUPPORTED` for another system or processor.
 */
export function parseImageConfig(
  bytes: Uint8Array,
  architecture: string | undefined,
  layers: number,
): readonly string[] {
  const config = checked(configShape, parseJson(bytes, 'configuration'), 'configuration');
  if (config.os !== 'linux' || config.architecture !== architecture) {
    throw imageFault(
      'IMAGE_UNSUPPORTED',
      `the image is for ${config.os}/${config.architecture}; this machine runs linux/${architecture ?? '(none)'}`,
    );
  }
  const diffIds = config.rootfs.diff_ids;
  if (diffIds.length !== layers) {
    throw imageFault('IMAGE_INVALID', `the image has ${layers} layers, and its configuration names ${diffIds.length}`);
  }
  for (const digest of diffIds) hexOfDigest(digest);
  return diffIds;
}

function chooseFrom({ manifests }: z.infer<typeof indexShape>, architecture: string | undefined): OciManifest {
  const fitting = manifests.find(
    ({ platform }) =>
      platform?.os === 'linux' &&
      platform.architecture === architecture &&
      (platform.variant === undefined || platform.variant === (architecture === 'arm64' ? 'v8' : 'v1')),
  );
  // An index of one image may say nothing of its platform: the configuration does.
  const chosen = fitting ?? (manifests.length === 1 && manifests[0]!.platform === undefined ? manifests[0] : undefined);
  if (chosen === undefined) {
    const names = manifests.map(({ platform }) =>
      platform === undefined ? 'unnamed' : `${platform.os}/${platform.architecture}`,
    );
    throw imageFault(
      'IMAGE_UNSUPPORTED',
      `the image is not made for linux/${architecture ?? '(this processor)'}, but for ${names.slice(0, 20).join(', ') || 'nothing'}`,
    );
  }
  if (!acceptedManifestTypes.includes(chosen.mediaType)) {
    throw imageFault(
      'IMAGE_UNSUPPORTED',
      `the index names a ${JSON.stringify(chosen.mediaType)}; allowed are ${acceptedManifestTypes.join(', ')}`,
    );
  }
  return { kind: 'index', chosen };
}

function layersOf({ config, layers, artifactType }: z.infer<typeof manifestShape>, layersMax: number): OciManifest {
  if (!configTypes.includes(config.mediaType)) {
    throw imageFault(
      'IMAGE_UNSUPPORTED',
      `the manifest is of no image, but of a ${JSON.stringify(artifactType ?? config.mediaType)}`,
    );
  }
  if (layers.length > layersMax)
    throw imageFault('IMAGE_TOO_LARGE', `the image has ${layers.length} layers; at most ${layersMax} are allowed`);
  return {
    kind: 'manifest',
    config,
    layers: layers.map((layer) => {
      const compression = layerTypes[layer.mediaType];
      if (compression === undefined) {
        throw imageFault(
          'IMAGE_UNSUPPORTED',
          `a layer is a ${JSON.stringify(layer.mediaType)}; allowed are ${Object.keys(layerTypes).join(', ')}`,
        );
      }
      return { ...layer, compression };
    }),
  };
}

function parseJson(bytes: Uint8Array, what: string): unknown {
  try {
    const json: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    if (typeof json === 'object' && json !== null) return json;
  } catch {
    // Said below.
  }
  throw imageFault('IMAGE_INVALID', `the ${what} of the image is no JSON object`);
}

function checked<Shape extends z.ZodType>(shape: Shape, json: unknown, what: string): z.infer<Shape> {
  const result = shape.safeParse(json);
  if (result.success) return result.data;
  const { path, message } = result.error.issues[0]!;
  throw imageFault('IMAGE_INVALID', `the ${what} of the image is wrong at "${path.join('.')}": ${message}`);
}
