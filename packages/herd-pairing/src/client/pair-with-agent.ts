import { randomBytes, X509Certificate } from 'node:crypto';
import { createClient, type CallOptions } from '@connectrpc/connect';
import { PairingService, type AgentAddress, type ClientCertificate, type PairedAgent } from '@drover/herd-protocol';
import { DroverError } from '@drover/lease-kit';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import { pairingCodeFrom } from '../proof/pairing-code.ts';
import {
  codeProof,
  keyOfCode,
  keyOfToken,
  proofBytes,
  proofsEqual,
  sha256,
  tokenProof,
} from '../proof/pairing-proofs.ts';
import { unpairedTls } from './agent-tls.ts';
import { createAgentTransport } from './agent-transport.ts';
import type { HerdTrust, TrustedAgent } from './herd-trust.ts';

/** With what, and where, a client asks to be let in. */
export interface PairOptions {
  readonly address: AgentAddress;
  /** A code as a person typed it, or a token, `id.secret`. */
  readonly secret: { readonly code: string } | { readonly token: string };
  /** Who it is, for the agent's people; at most 128 characters. */
  readonly clientName: string;
  /** The agent may take the place of another that is known by its id. Default: it may not. */
  readonly replace?: boolean | undefined;
}

const callTimeoutMs = 15_000;

/**
 * Pairs with the agent at an address, and keeps what it gave in `trust`. Throws `CODE_INVALID`, `CODE_WRONG`, `CODE_EXPIRED`,
 * `CODE_CLOSED`, `TOKEN_INVALID`, `TOKEN_WRONG`, `TOKEN_REVOKED`, `TOKEN_EXPIRED`, `TOKEN_USED`, `PAIRING_RATE_LIMITED`,
 * `AGENT_NOT_PROVEN` where the other end does not know the code or the token, `AGENT_ID_TAKEN`, and
 * `PAIRING_ANSWER_INVALID`.
 */
export async function pairWithAgent(
  options: PairOptions,
  trust: HerdTrust,
  signal: AbortSignal,
): Promise<TrustedAgent> {
  const { address, secret, clientName, replace } = options;
  const pair = 'code' in secret ? pairByCode(secret.code) : pairByToken(secret.token);
  const clientKey = trust.clientKey();
  using calls = createAgentTransport(address, unpairedTls);
  const client = createClient(PairingService, calls.transport);
  const call: CallOptions = { signal, timeoutMs: callTimeoutMs };
  try {
    // The proofs are over the certificate that the connection shows.
    await calls.connect(AbortSignal.any([signal, AbortSignal.timeout(callTimeoutMs)]));
    const { agent, certificate } = await pair({
      client,
      call,
      clientKey,
      clientName,
      certificateSha256: sha256(calls.shownCertificate ?? new Uint8Array()),
    });
    if (agent === undefined || certificate === undefined) throw notProven();
    const { agentId, name, key, authority } = agent;
    const shown = new X509Certificate(calls.shownCertificate ?? new Uint8Array());
    // It would be refused from the next call on.
    if (!shown.verify(new X509Certificate(authority).publicKey)) throw notProven();
    return trust.keep({ agentId, name, key, authority, certificate: certificate.certificate, address }, { replace });
  } catch (error) {
    signal.throwIfAborted();
    throw droverErrorFromConnect(error);
  }
}

interface Pairing {
  readonly client: ReturnType<typeof createClient<typeof PairingService>>;
  readonly call: CallOptions;
  readonly clientKey: Uint8Array;
  readonly clientName: string;
  /** Of the agent, as the connection showed it. A further connection that shows another one makes the proofs differ. */
  readonly certificateSha256: Uint8Array;
}

interface Answer {
  readonly agent?: PairedAgent | undefined;
  readonly certificate?: ClientCertificate | undefined;
}

function pairByCode(typed: string): (pairing: Pairing) => Promise<Answer> {
  const code = pairingCodeFrom(typed);
  return async ({ client, call, clientKey, clientName, certificateSha256 }) => {
    const clientNonce = randomBytes(proofBytes);
    const { pairingId, agentNonce, salt } = await client.beginPairing({ clientNonce, clientKey, clientName }, call);
    if (agentNonce.length !== proofBytes || salt.length !== proofBytes) throw notProven();
    const key = await keyOfCode(code, clientNonce, salt);
    const transcript = { clientNonce, agentNonce, clientKey, certificateSha256, pairingId };
    const clientProof = codeProof(key, 'client', transcript);
    const answer = await client.finishPairing({ pairingId, clientProof }, call);
    if (!proofsEqual(answer.agentProof, codeProof(key, 'agent', transcript))) throw notProven();
    return answer;
  };
}

function pairByToken(token: string): (pairing: Pairing) => Promise<Answer> {
  const [, tokenId, secret] = /^([0-9a-z]{10})\.([\w-]{43})$/.exec(token.trim()) ?? [];
  if (tokenId === undefined || secret === undefined) throw tokenInvalid();
  return async ({ client, call, clientKey, clientName, certificateSha256 }) => {
    const key = keyOfToken(tokenId, secret);
    const clientNonce = randomBytes(proofBytes);
    const transcript = { clientNonce, clientKey, certificateSha256 };
    const clientProof = tokenProof(key, 'client', transcript);
    const answer = await client.pairWithToken({ clientNonce, clientKey, clientName, tokenId, clientProof }, call);
    if (!proofsEqual(answer.agentProof, tokenProof(key, 'agent', transcript))) throw notProven();
    return answer;
  };
}

function tokenInvalid(): DroverError {
  return new DroverError({
    code: 'TOKEN_INVALID',
    advice: 'fix-input',
    message: 'the token is none; allowed is ID.SECRET, as "drover herd token create" prints it',
  });
}

function notProven(): DroverError {
  return new DroverError({
    code: 'AGENT_NOT_PROVEN',
    advice: 'denied',
    message:
      'The other end has not proven that it is the agent with this code or token: somebody may sit between, and nothing was kept',
  });
}
