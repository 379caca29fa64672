import type { ImageWanted } from './image-catalogue.ts';

/** Bytes of an image, by their digest. */
export interface ContentWanted {
  readonly digest: string;
  /** `manifest`: an index or a manifest. `blob`: a configuration, a layer, or an archive. */
  readonly kind: 'manifest' | 'blob';
}

/** How an image is read from the source that has it. */
export interface ImageContent extends AsyncDisposable {
  /**
   * What the digest that was asked for names: an index or a manifest, or a tar archive that has neither (the files of a root, or
   * what `docker save` made without manifests).
   */
  readonly form: 'manifest' | 'archive';
  /**
   * Bytes from an offset on. They are checked by who asks. Throws `IMAGE_NOT_FOUND`, `IMAGE_SOURCE_DENIED`, and
   * `IMAGE_SOURCE_UNAVAILABLE` for what may go on later from where it was cut; an abort throws the signal's reason.
   */
  read(wanted: ContentWanted, fromByte: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
}

/** What a source may use while it gives an image. */
export interface ImageSourceContext {
  /** A folder for its own files, which is removed afterwards. */
  readonly scratchDir: string;
  readonly signal: AbortSignal;
}

/** Something that has images. */
export interface ImageSource {
  /** For people, e.g. `layout /srv/images`. */
  readonly name: string;
  /**
   * Resolves with undefined if it surely has no such image. What it gives is believed by its digest alone. Throws as
   * {@link ImageContent.read} does.
   */
  open(wanted: ImageWanted, context: ImageSourceContext): Promise<ImageContent | undefined>;
}
