import { imageFault } from './image-fault.ts';

/** Where a registry has an image. */
export interface ImageReference {
  /** With its port, if one is named. */
  readonly host: string;
  readonly repository: string;
}

const hostName = /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,252}[a-zA-Z0-9])?|\[[0-9a-fA-F:]{2,45}\])(?::\d{1,5})?$/;
const repositoryName = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;

/**
 * Reads `host[:port]/repository[:tag][@digest]`. The host must be named, since no registry is everybody's; tag and digest are
 * passed over. Throws `IMAGE_REFERENCE_INVALID`.
 */
export function parseImageReference(text: string): ImageReference {
  const [, host, repository] =
    /^([^/]{1,260})\/([^@]{1,500}?)(?::[\w][\w.-]{0,127})?(?:@[\w:+.-]{1,200})?$/.exec(text) ?? [];
  if (
    host === undefined ||
    repository === undefined ||
    !hostName.test(host) ||
    repository.length > 255 ||
    !repositoryName.test(repository)
  ) {
    throw imageFault(
      'IMAGE_REFERENCE_INVALID',
      `${JSON.stringify(text.slice(0, 200))} is no reference of an image: HOST[:PORT]/REPOSITORY[:TAG] is, with the host always`,
    );
  }
  return { host: host.toLowerCase(), repository };
}
