import { messageOf } from '@drover/lease-kit';
import { Agent as HttpAgent, request as requestHttp, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import { isIP } from 'node:net';
import { imageFault } from './image-fault.ts';

/** A GET. */
export interface RegistryRequest {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** Certificates that are trusted beside the system's, PEM. */
  readonly authorities?: readonly string[] | undefined;
  /** Http is allowed to what is not this machine, too. */
  readonly plainHttp: boolean;
}

const headersMsMax = 60_000;

/**
 * Asks once and answers when the headers are there; redirects are the caller's. No connection is kept: a pull makes few requests.
 * Throws `IMAGE_SOURCE_DENIED` for http to another machine, `IMAGE_SOURCE_UNAVAILABLE`; an abort, its reason.
 */
export async function registryRequest(
  { url, headers, authorities, plainHttp }: RegistryRequest,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  signal.throwIfAborted();
  const isPlain = url.protocol === 'http:';
  if (!isPlain && url.protocol !== 'https:')
    throw imageFault('IMAGE_SOURCE_DENIED', `${url.protocol} is no way to a registry: https is`);
  if (isPlain && !plainHttp && !isLoopback(url.hostname)) {
    throw imageFault(
      'IMAGE_SOURCE_DENIED',
      `${url.host} would be asked by http; allow it in the configuration, or use https`,
    );
  }
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const options = {
    headers: { 'accept-encoding': 'identity', 'user-agent': 'drover', ...headers },
    signal,
    timeout: headersMsMax,
  };
  const call = isPlain
    ? requestHttp(url, { ...options, agent: new HttpAgent({ keepAlive: false }) }, resolve)
    : requestHttps(
        url,
        {
          ...options,
          agent: new HttpsAgent({ keepAlive: false, ...(authorities === undefined ? {} : { ca: [...authorities] }) }),
        },
        resolve,
      );
  call.once('timeout', () => call.destroy(new Error('it does not answer')));
  call.once('error', reject);
  call.end();
  try {
    return await promise;
  } catch (error) {
    signal.throwIfAborted();
    throw imageFault(
      'IMAGE_SOURCE_UNAVAILABLE',
      `the registry ${url.host} cannot be reached: ${messageOf(error)}`,
      error,
    );
  }
}

/** The whole of a small answer. Throws `IMAGE_SOURCE_UNAVAILABLE` for a longer one. */
export async function readAnswer(response: IncomingMessage, bytesMax: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    bytes += (chunk as Uint8Array).byteLength;
    if (bytes > bytesMax)
      throw imageFault('IMAGE_SOURCE_UNAVAILABLE', `the registry answers with over ${bytesMax} bytes`);
    chunks.push(chunk as Uint8Array);
  }
  return Buffer.concat(chunks).toString();
}

function isLoopback(hostname: string): boolean {
  const plain = hostname.replaceAll(/[[\]]/g, '');
  return plain === 'localhost' || plain === '::1' || (isIP(plain) === 4 && plain.startsWith('127.'));
}
