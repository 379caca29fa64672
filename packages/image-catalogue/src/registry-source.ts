import type { IncomingMessage } from 'node:http';
import { imageFault } from './image-fault.ts';
import type { ContentWanted, ImageContent, ImageSource, ImageSourceContext } from './image-source.ts';
import { parseImageReference } from './image-reference.ts';
import type { ImageWanted } from './image-catalogue.ts';
import { acceptedManifestTypes } from './oci-manifest.ts';
import { meetChallenge, parseChallenge } from './registry-credentials.ts';
import { registryRequest } from './registry-request.ts';

/** A registry that images may come from. */
export interface RegistryOptions {
  /** With its port, if it is not https's own: `registry.example:5000`. */
  readonly host: string;
  /** By http rather than https; default: to loopback addresses alone. */
  readonly plainHttp?: boolean | undefined;
  readonly credentials?: { readonly username: string; readonly password: string } | undefined;
  /** Other hosts, with their ports, that it may send to for tokens. They get the password. Default none. */
  readonly tokenHosts?: readonly string[] | undefined;
  /** Certificates that it is trusted by, PEM; default: the system's. */
  readonly authorities?: readonly string[] | undefined;
}

/** Registries by their hosts. */
export interface RegistrySourceOptions {
  /** References to other hosts are denied: whoever asks for an image does not choose what this machine connects to. */
  readonly registries: readonly RegistryOptions[];
}

const redirectsMax = 5;

/** Images of OCI registries (distribution-spec 1.1), by reference. */
export function createRegistrySource({ registries }: RegistrySourceOptions): ImageSource {
  const known = new Map(registries.map((registry) => [registry.host.toLowerCase(), registry]));
  return {
    name: `registries ${[...known.keys()].join(', ')}`,
    async open({ digest, reference }: ImageWanted, { signal }: ImageSourceContext) {
      if (reference === undefined) return undefined;
      const { host, repository } = parseImageReference(reference);
      const registry = known.get(host);
      if (registry === undefined) {
        throw imageFault(
          'IMAGE_SOURCE_DENIED',
          `the registry ${host} is not one that images may come from; ${[...known.keys()].join(', ') || 'none'} are`,
        );
      }
      const content = new RegistryContent(registry, repository);
      return (await content.has(digest, signal)) ? content : undefined;
    },
  };
}

class RegistryContent implements ImageContent {
  readonly form = 'manifest';
  readonly #registry: RegistryOptions;
  readonly #repository: string;
  readonly #origin: string;
  #authorization: string | undefined;

  constructor(registry: RegistryOptions, repository: string) {
    this.#registry = registry;
    this.#repository = repository;
    this.#origin = `${isPlain(registry) ? 'http' : 'https'}://${registry.host}`;
  }

  async has(digest: string, signal: AbortSignal): Promise<boolean> {
    const response = await this.#get({ digest, kind: 'manifest' }, 0, signal);
    response.destroy();
    return response.statusCode !== 404;
  }

  async *read(wanted: ContentWanted, fromByte: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const response = await this.#get(wanted, fromByte, signal);
    try {
      const { statusCode } = response;
      if (statusCode === 404)
        throw imageFault('IMAGE_NOT_FOUND', `${this.#name} has no ${wanted.kind} ${wanted.digest}`);
      // Not every registry takes ranges: then it begins anew, and what is here already is passed over.
      let skip = statusCode === 206 ? 0 : fromByte;
      for await (const chunk of response as AsyncIterable<Uint8Array>) {
        if (skip >= chunk.byteLength) skip -= chunk.byteLength;
        else {
          yield skip > 0 ? chunk.subarray(skip) : chunk;
          skip = 0;
        }
      }
    } finally {
      response.destroy();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Connections end with their requests.
  }

  get #name(): string {
    return `${this.#registry.host}/${this.#repository}`;
  }

  /** An answer of status 200, 206 or 404. */
  async #get({ digest, kind }: ContentWanted, fromByte: number, signal: AbortSignal): Promise<IncomingMessage> {
    const url = new URL(`${this.#origin}/v2/${this.#repository}/${kind}s/${digest}`);
    const headers = {
      ...(kind === 'manifest' ? { accept: acceptedManifestTypes.join(', ') } : {}),
      ...(fromByte > 0 ? { range: `bytes=${fromByte}-` } : {}),
    };
    let response = await this.#follow(url, headers, signal);
    if (response.statusCode === 401) {
      response.destroy();
      const challenge = parseChallenge(response.headers['www-authenticate']);
      if (challenge === undefined)
        throw imageFault(
          'IMAGE_SOURCE_DENIED',
          `the registry ${this.#registry.host} asks for a proof that is not known here`,
        );
      this.#authorization = await meetChallenge(challenge, this.#registry, this.#repository, signal);
      response = await this.#follow(url, headers, signal);
    }
    const status = response.statusCode ?? 0;
    if (status === 200 || status === 404 || (status === 206 && isRangeFrom(response, fromByte))) return response;
    response.destroy();
    if (status === 401 || status === 403)
      throw imageFault('IMAGE_SOURCE_DENIED', `${this.#name} is not given: status ${status}`);
    throw imageFault(
      'IMAGE_SOURCE_UNAVAILABLE',
      `the registry answers with status ${status} for ${kind} ${digest} of ${this.#name}`,
    );
  }

  async #follow(first: URL, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<IncomingMessage> {
    const { authorities, plainHttp = false } = this.#registry;
    let url = first;
    for (let redirects = 0; ; redirects++) {
      // To the registry alone: where the blobs are kept is another's.
      const authorization =
        url.origin === first.origin && this.#authorization !== undefined ? { authorization: this.#authorization } : {};
      const response = await registryRequest(
        { url, headers: { ...headers, ...authorization }, authorities, plainHttp },
        signal,
      );
      const { location } = response.headers;
      if (![301, 302, 303, 307, 308].includes(response.statusCode ?? 0) || location === undefined) return response;
      response.destroy();
      if (redirects === redirectsMax)
        throw imageFault('IMAGE_SOURCE_UNAVAILABLE', `${first.host} redirects over ${redirectsMax} times`);
      const next = URL.canParse(location, url.href) ? new URL(location, url) : undefined;
      if (next === undefined || (url.protocol === 'https:' && next.protocol !== 'https:')) {
        throw imageFault(
          'IMAGE_SOURCE_DENIED',
          `${url.host} redirects to where it may not: from https to https is allowed`,
        );
      }
      url = next;
    }
  }
}

function isRangeFrom(response: IncomingMessage, fromByte: number): boolean {
  return (response.headers['content-range'] ?? '').startsWith(`bytes ${fromByte}-`);
}

/** Http without being told so, where nobody is in between. */
function isPlain({ host, plainHttp }: RegistryOptions): boolean {
  return plainHttp ?? /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::|$)/.test(host);
}
