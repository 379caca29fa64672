import { z } from 'zod';
import { imageFault } from './image-fault.ts';
import type { RegistryOptions } from './registry-source.ts';
import { readAnswer, registryRequest } from './registry-request.ts';

const answerBytesMax = 1024 * 1024;
const tokenShape = z.object({
  token: z.string().max(65_536).optional(),
  access_token: z.string().max(65_536).optional(),
});

/** What a registry asks for, by WWW-Authenticate (RFC 9110, distribution token authentication). */
export type Challenge =
  | { readonly scheme: 'basic' }
  | { readonly scheme: 'bearer'; readonly realm: URL; readonly service: string | undefined };

/** Reads the first challenge that can be met; undefined for none. */
export function parseChallenge(header: string | undefined): Challenge | undefined {
  if (header === undefined || header.length > 8_192) return undefined;
  const bearer = /(?:^|,)\s*bearer\s+(.+)/is.exec(header)?.[1];
  if (bearer !== undefined) {
    const values = new Map(
      [...bearer.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, value]) => [key!.toLowerCase(), value!]),
    );
    const realm = values.get('realm');
    if (realm === undefined || !URL.canParse(realm)) return undefined;
    return { scheme: 'bearer', realm: new URL(realm), service: values.get('service') };
  }
  return /(?:^|,)\s*basic\b/i.test(header) ? { scheme: 'basic' } : undefined;
}

/**
 * The Authorization that meets a challenge. The password goes to the registry itself and to the hosts that its configuration names
 * for tokens, and nowhere else. Throws `IMAGE_SOURCE_DENIED`, `IMAGE_SOURCE_UNAVAILABLE`.
 */
export async function meetChallenge(
  challenge: Challenge,
  registry: RegistryOptions,
  repository: string,
  signal: AbortSignal,
): Promise<string> {
  const { host, credentials, tokenHosts = [] } = registry;
  if (challenge.scheme === 'basic') {
    if (credentials === undefined)
      throw imageFault(
        'IMAGE_SOURCE_DENIED',
        `the registry ${host} asks for a user name and a password, and none are configured`,
      );
    return basic(credentials);
  }
  const { realm, service } = challenge;
  if (realm.host !== host && !tokenHosts.includes(realm.host)) {
    throw imageFault(
      'IMAGE_SOURCE_DENIED',
      `the registry ${host} sends to ${realm.host} for a token, which its configuration does not name`,
    );
  }
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set('service', service);
  // Of our own, not of the challenge: no more is asked for than is needed.
  url.searchParams.set('scope', `repository:${repository}:pull`);
  const headers: Record<string, string> = credentials === undefined ? {} : { authorization: basic(credentials) };
  const response = await registryRequest(
    { url, headers, authorities: registry.authorities, plainHttp: registry.plainHttp ?? false },
    signal,
  );
  const text = await readAnswer(response, answerBytesMax);
  const status = response.statusCode ?? 0;
  if (status === 401 || status === 403)
    throw imageFault('IMAGE_SOURCE_DENIED', `${realm.host} gives no token for ${host}/${repository}: status ${status}`);
  const token = status === 200 ? tokenOf(text) : undefined;
  if (token === undefined)
    throw imageFault('IMAGE_SOURCE_UNAVAILABLE', `${realm.host} answers with status ${status} and no token`);
  return `Bearer ${token}`;
}

function tokenOf(text: string): string | undefined {
  try {
    const { token, access_token } = tokenShape.parse(JSON.parse(text));
    return token ?? access_token;
  } catch {
    return undefined;
  }
}

function basic({ username, password }: NonNullable<RegistryOptions['credentials']>): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}
