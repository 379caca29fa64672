import type { GetSignInResponse } from '@drover/control-api';
import { DroverError, messageOf } from '@drover/lease-kit';
import { setTimeout as delay } from 'node:timers/promises';
import type { Configuration } from 'openid-client';
import type { StoredCredential } from './credentials-file.ts';

type Tokens = {
  readonly access_token: string;
  readonly id_token?: string | undefined;
  readonly refresh_token?: string | undefined;
  readonly expires_in?: number | undefined;
};

/**
 * Signs a person in by OAuth's device authorization grant (RFC 8628): a browser anywhere says yes, so that it works over ssh
 * and in containers too. `show` tells the person where to go. Throws `SIGN_IN_FAILED`, `ISSUER_UNAVAILABLE`.
 */
export async function signInOnDevice(
  { issuer, clientId, audience, scopes }: GetSignInResponse,
  show: (place: { readonly url: string; readonly code: string }) => void,
  signal: AbortSignal,
): Promise<StoredCredential> {
  const openid = await import('openid-client');
  const config = await configurationOf(issuer, clientId);
  if (config.serverMetadata().device_authorization_endpoint === undefined) {
    throw failed(`${issuer} offers no device authorization; ask an administrator for a token ("drover tokens create")`);
  }
  try {
    const scope = scopes.join(' ');
    const wanted = { scope, ...(audience === '' ? {} : { audience }) };
    const device = await openid.initiateDeviceAuthorization(config, wanted);
    show({ url: device.verification_uri_complete ?? device.verification_uri, code: device.user_code });
    const tokens = await openid.pollDeviceAuthorizationGrant(config, device, undefined, { signal });
    return credentialFrom(tokens, issuer, clientId);
  } catch (error) {
    signal.throwIfAborted();
    throw failed(`${issuer} did not sign you in: ${reasonOf(error)}`, error);
  }
}

/** A fresh credential for one that expires; undefined if its issuer does not let it go on. */
export async function refreshed(
  { refresh }: StoredCredential,
  signal: AbortSignal,
): Promise<StoredCredential | undefined> {
  if (refresh === undefined) return undefined;
  const { issuer, clientId, token } = refresh;
  const config = await configurationOf(issuer, clientId);
  const openid = await import('openid-client');
  try {
    return credentialFrom(await openid.refreshTokenGrant(config, token), issuer, clientId, token);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof openid.ResponseBodyError) return undefined;
    throw unavailable(issuer, error);
  }
}

async function configurationOf(issuer: string, clientId: string): Promise<Configuration> {
  const openid = await import('openid-client');
  // The server's operator configured it: in cleartext it can only be on loopback.
  const execute = new URL(issuer).protocol === 'http:' ? [openid.allowInsecureRequests] : [];
  const discover = () =>
    openid.discovery(new URL(issuer), clientId, undefined, openid.None(), { execute, timeout: 10 });
  try {
    // An issuer that restarts is asked once more.
    return await discover().catch(() => delay(500).then(discover));
  } catch (error) {
    throw unavailable(issuer, error);
  }
}

function credentialFrom(tokens: Tokens, issuer: string, clientId: string, refreshToken?: string): StoredCredential {
  // Some issuers give access tokens that only they can read; then the identity token says who it is.
  const isReadable = tokens.access_token.split('.').length === 3;
  const token = isReadable ? tokens.access_token : (tokens.id_token ?? tokens.access_token);
  const next = tokens.refresh_token ?? refreshToken;
  return {
    token,
    ...(tokens.expires_in === undefined ? {} : { expiresAtMs: Date.now() + tokens.expires_in * 1_000 }),
    ...(next === undefined ? {} : { refresh: { token: next, issuer, clientId } }),
  };
}

function reasonOf(error: unknown): string {
  const { error: code, error_description: description } = error as { error?: string; error_description?: string };
  return [code, description].filter((text) => text !== undefined).join(': ') || messageOf(error);
}

function failed(message: string, cause?: unknown): DroverError {
  return new DroverError({ code: 'SIGN_IN_FAILED', advice: 'denied', message, cause });
}

function unavailable(issuer: string, cause: unknown): DroverError {
  return new DroverError({
    code: 'ISSUER_UNAVAILABLE',
    advice: 'unavailable',
    message: `the issuer ${issuer} cannot be reached: ${reasonOf(cause)}`,
    cause,
  });
}
