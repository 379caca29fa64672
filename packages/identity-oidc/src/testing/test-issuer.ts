import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose';
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What a token says, beside what the issuer always says; a value of undefined leaves a claim out. */
export type TokenClaims = Readonly<Record<string, unknown>>;

interface SigningKey {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: CryptoKey;
  readonly jwk: JWK;
}

interface DeviceRequest {
  readonly claims: TokenClaims;
  isApproved: boolean;
}

/** An OpenID Connect issuer on loopback that is strict about what it is asked, for tests. */
export interface TestIssuer extends AsyncDisposable {
  readonly issuer: string;
  /** Requests by their path. */
  readonly requests: ReadonlyMap<string, number>;
  /** Signs a token that expires in 5 minutes, with the newest key. */
  sign(claims?: TokenClaims, header?: Readonly<Record<string, unknown>>): Promise<string>;
  /** Signs with a new key from now on; the old ones are forgotten if asked. */
  rotate(options?: { readonly forget?: boolean; readonly alg?: string }): Promise<void>;
  /** What the discovery document says otherwise. */
  describe(changes: Readonly<Record<string, unknown>>): void;
  /** Every answer is 503 until it is called with false. */
  fail(fails: boolean): void;
  /** Whoever signs in from now on is this. */
  signsIn(claims: TokenClaims): void;
  /** The person at the browser says yes to the request with this code. */
  approve(userCode: string): void;
}

/** Starts an issuer with the client `drover-cli` and the audience `drover`. */
export async function startTestIssuer(): Promise<TestIssuer> {
  const issuer = new HttpTestIssuer();
  await issuer.start();
  return issuer;
}

const client = 'drover-cli';

class HttpTestIssuer implements TestIssuer {
  readonly requests = new Map<string, number>();
  readonly #server: Server = createServer((request, response) => void this.#answer(request, response));
  readonly #devices = new Map<string, DeviceRequest>();
  readonly #codes = new Map<string, string>();
  readonly #refreshes = new Map<string, TokenClaims>();
  #keys: SigningKey[] = [];
  #changes: Readonly<Record<string, unknown>> = {};
  #claims: TokenClaims = { sub: 'ada' };
  #fails = false;

  get issuer(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    await this.rotate();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  async rotate({ forget = false, alg = 'ES256' } = {}): Promise<void> {
    const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
    const kid = randomUUID();
    const key = { kid, alg, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: 'sig' } };
    this.#keys = [key, ...(forget ? [] : this.#keys)];
  }

  describe(changes: Readonly<Record<string, unknown>>): void {
    this.#changes = changes;
  }

  fail(fails: boolean): void {
    this.#fails = fails;
  }

  signsIn(claims: TokenClaims): void {
    this.#claims = claims;
  }

  approve(userCode: string): void {
    const device = this.#devices.get(this.#codes.get(userCode) ?? '');
    if (device === undefined) throw new Error(`nobody asked with the code ${userCode}`);
    device.isApproved = true;
  }

  async sign(claims: TokenClaims = {}, header: Readonly<Record<string, unknown>> = {}): Promise<string> {
    const { kid, alg, privateKey } = this.#keys[0]!;
    const nowS = Math.floor(Date.now() / 1_000);
    const all = { iss: this.issuer, aud: 'drover', sub: 'ada', iat: nowS, exp: nowS + 300, ...claims };
    return new SignJWT(all).setProtectedHeader({ alg, kid, typ: 'JWT', ...header }).sign(privateKey);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = new URL(request.url ?? '/', this.issuer).pathname;
    this.requests.set(path, (this.requests.get(path) ?? 0) + 1);
    const send = (status: number, body: object): void => {
      response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
      response.end(JSON.stringify(body));
    };
    if (this.#fails) return send(503, { error: 'temporarily_unavailable' });
    if (request.method === 'GET' && path === '/.well-known/openid-configuration') return send(200, this.#document());
    if (request.method === 'GET' && path === '/keys') return send(200, { keys: this.#keys.map(({ jwk }) => jwk) });
    if (request.method !== 'POST') return send(404, {});
    const form = new URLSearchParams(await textOf(request));
    if (request.headers['content-type']?.startsWith('application/x-www-form-urlencoded') !== true) {
      return send(400, { error: 'invalid_request' });
    }
    if (form.get('client_id') !== client) return send(401, { error: 'invalid_client' });
    if (path === '/device') return send(200, this.#device());
    if (path !== '/token') return send(404, {});
    const claims = this.#granted(form);
    if (typeof claims === 'string') return send(400, { error: claims });
    const refresh = randomUUID();
    this.#refreshes.set(refresh, claims);
    const access = await this.sign(claims);
    send(200, { access_token: access, token_type: 'Bearer', expires_in: 300, refresh_token: refresh });
  }

  #document(): object {
    const { issuer } = this;
    return {
      issuer,
      jwks_uri: `${issuer}/keys`,
      authorization_endpoint: `${issuer}/authorize`,
      token_endpoint: `${issuer}/token`,
      device_authorization_endpoint: `${issuer}/device`,
      response_types_supported: ['code'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['ES256'],
      ...this.#changes,
    };
  }

  #device(): object {
    const deviceCode = randomUUID();
    const userCode = randomUUID().slice(0, 8).toUpperCase();
    this.#devices.set(deviceCode, { claims: this.#claims, isApproved: false });
    this.#codes.set(userCode, deviceCode);
    const verification = `${this.issuer}/activate`;
    return {
      device_code: deviceCode,
      user_code: userCode,
      verification_uri: verification,
      verification_uri_complete: `${verification}?code=${userCode}`,
      expires_in: 60,
      interval: 1,
    };
  }

  /** The claims that a grant gives, or the error that it ends with. Device codes and refresh tokens are used once. */
  #granted(form: URLSearchParams): TokenClaims | string {
    if (form.get('grant_type') === 'urn:ietf:params:oauth:grant-type:device_code') {
      const device = this.#devices.get(form.get('device_code') ?? '');
      if (device === undefined) return 'invalid_grant';
      if (!device.isApproved) return 'authorization_pending';
      this.#devices.delete(form.get('device_code')!);
      return device.claims;
    }
    if (form.get('grant_type') !== 'refresh_token') return 'unsupported_grant_type';
    const token = form.get('refresh_token') ?? '';
    const claims = this.#refreshes.get(token);
    this.#refreshes.delete(token);
    return claims ?? 'invalid_grant';
  }
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of request) {
    text += String(chunk);
    if (text.length > 100_000) throw new Error('the request is too large');
  }
  return text;
}
