import { randomBytes, randomUUID, type KeyObject } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { ConnectRouter } from '@connectrpc/connect';
import { ClientCertificateSchema, PairedAgentSchema, PairingService } from '@drover/herd-protocol';
import { DroverError, messageOf, systemClock, type Clock } from '@drover/lease-kit';
import { clientKeyFrom } from '../proof/client-key.ts';
import { pairingCodeFrom } from '../proof/pairing-code.ts';
import { codeProof, keyOfCode, proofBytes, proofsEqual, type CodeTranscript } from '../proof/pairing-proofs.ts';
import { AttemptLimiter } from './attempt-limiter.ts';
import type { HerdAudit } from './herd-audit.ts';
import type { HerdClients, IssuedCertificate } from './herd-clients.ts';
import { herdCallerFrom } from './herd-gate.ts';
import type { HerdIdentity } from './herd-identity.ts';
import type { PairingCode, PairingCodes } from './pairing-codes.ts';
import type { PairingTokens } from './pairing-tokens.ts';

/** Bounds on who asks to be let in. */
export interface PairingServiceOptions {
  /** How long a client's certificate is valid. Default 24 hours. */
  readonly clientLifetimeMs?: number | undefined;
}

/** Who works together in the service. */
export interface PairingServiceDeps {
  readonly identity: HerdIdentity;
  readonly codes: PairingCodes;
  readonly tokens: PairingTokens;
  readonly clients: HerdClients;
  readonly audit: HerdAudit;
  /** Default: that of the process. */
  readonly clock?: Clock | undefined;
}

/** What was agreed in BeginPairing. */
interface Begun {
  readonly transcript: Omit<CodeTranscript, 'certificateSha256'>;
  readonly salt: Uint8Array;
  readonly key: KeyObject;
  readonly name: string;
  readonly address: string;
  readonly untilMs: number;
}

const dayMs = 86_400_000;
const begunMax = 64;
const begunPerAddressMax = 8;
/** As long as a code may be open by default; who takes longer begins anew. */
const begunMs = 300_000;
const clientKeyBytesMax = 512;
const clientNameLengthMax = 128;
/** Tries of one address: as many as people and scripts need, and far too few for guessing. */
const limits = { burst: 20, refillMs: 3_000 };
const printable = /^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$/;

/**
 * Adds PairingService to a router whose calls pass a gate of `createHerdGate`. Codes are derived one at a time, so that nobody
 * can keep the machine busy with them.
 */
export function registerPairingService(
  router: ConnectRouter,
  deps: PairingServiceDeps,
  options: PairingServiceOptions = {},
): void {
  const { identity, codes, tokens, clients, audit, clock = systemClock } = deps;
  const lifetimeMs = options.clientLifetimeMs ?? dayMs;
  const limiter = new AttemptLimiter(limits, clock);
  const begun = new Map<string, Begun>();
  let turn: Promise<unknown> = Promise.resolve();

  /** Whoever is refused stands in the log, with why. */
  const audited = async <T>(address: string, name: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : '';
      audit.refused(
        'herd.pairing-refused',
        { address, name: name.slice(0, clientNameLengthMax), code },
        messageOf(error),
      );
      throw error;
    }
  };
  const forget = (): void => {
    const nowMs = clock.monotonicMs();
    for (const [id, { untilMs }] of begun) if (untilMs <= nowMs) begun.delete(id);
  };
  const admit = async (client: Parameters<HerdClients['admit']>[0]) => {
    const issued = await clients.admit(client, identity, lifetimeMs);
    const { name, by, address } = client;
    audit.note(
      'herd.client-paired',
      { client: issued.clientId, name, by, address, notAfter: new Date(issued.notAfterMs).toISOString() },
      'a client was let in',
    );
    return answerOf(identity, issued);
  };
  /** The open code that a proof fits, and what it was made over. */
  const matching = async ({ transcript, salt }: Begun, proof: Uint8Array) => {
    for (const code of codes.require()) {
      const key = await keyOfCode(pairingCodeFrom(code.code), transcript.clientNonce, salt);
      for (const sha256 of identity.shownSha256s) {
        const whole = { ...transcript, certificateSha256: Buffer.from(sha256, 'hex') };
        if (proofsEqual(proof, codeProof(key, 'client', whole))) {
          return { code, agentProof: codeProof(key, 'agent', whole) };
        }
      }
    }
    return undefined;
  };
  const finish = async (
    pairingId: string,
    proof: Uint8Array,
  ): Promise<{ code: PairingCode; agentProof: Buffer; pairing: Begun }> => {
    forget();
    const pairing = begun.get(pairingId);
    if (pairing === undefined) throw pairingUnknown();
    // Once: a proof that was wrong, or heard, is of no use a second time.
    begun.delete(pairingId);
    const found = await matching(pairing, proof);
    if (found === undefined) throw codeWrong(codes.countFailure());
    // Somebody may have been let in by it while the key was derived.
    if (!codes.use(found.code)) throw codeUsed();
    return { ...found, pairing };
  };

  router.service(PairingService, {
    beginPairing: ({ clientNonce, clientKey, clientName }, { values }) => {
      const { address } = herdCallerFrom(values);
      return audited(address, clientName, async () => {
        limiter.take(address);
        const key = checkClient(clientNonce, clientKey, clientName);
        codes.require();
        forget();
        const ofAddress = [...begun.values()].filter((one) => one.address === address).length;
        if (begun.size >= begunMax || ofAddress >= begunPerAddressMax) throw pairingsTooMany();
        const [agentNonce, salt] = [randomBytes(proofBytes), randomBytes(proofBytes)];
        const pairingId = randomUUID();
        const transcript = { clientNonce, agentNonce, clientKey, pairingId };
        const untilMs = clock.monotonicMs() + begunMs;
        begun.set(pairingId, { transcript, salt, key, name: clientName, address, untilMs });
        return { pairingId, agentNonce, salt };
      });
    },
    finishPairing: ({ pairingId, clientProof }, { values }) => {
      const { address } = herdCallerFrom(values);
      return audited(address, begun.get(pairingId)?.name ?? '', async () => {
        limiter.take(address);
        const mine = turn.catch(() => undefined).then(() => finish(pairingId, clientProof));
        turn = mine;
        const { agentProof, pairing } = await mine;
        const { key, name } = pairing;
        return { agentProof, ...(await admit({ key, name, by: 'code', address })) };
      });
    },
    pairWithToken: ({ clientNonce, clientKey, clientName, tokenId, clientProof }, { values }) => {
      const { address } = herdCallerFrom(values);
      return audited(address, clientName, async () => {
        limiter.take(address);
        const key = checkClient(clientNonce, clientKey, clientName);
        const transcripts = identity.shownSha256s.map((sha256) => ({
          clientNonce,
          clientKey,
          certificateSha256: Buffer.from(sha256, 'hex'),
        }));
        const agentProof = tokens.use(tokenId, clientProof, transcripts);
        return { agentProof, ...(await admit({ key, name: clientName, by: `token:${tokenId}`, address })) };
      });
    },
    renewCertificate: async (_, { values }) => {
      // The gate has let in nobody but paired clients.
      const { clientId = '' } = herdCallerFrom(values);
      const issued = await clients.renew(clientId, identity, lifetimeMs);
      return { certificate: answerOf(identity, issued).certificate };
    },
  });
}

function answerOf(identity: HerdIdentity, { certificate, notAfterMs }: IssuedCertificate) {
  const { agentId, name, publicKey, authority } = identity;
  return {
    agent: create(PairedAgentSchema, { agentId, name, key: publicKey, authority }),
    certificate: create(ClientCertificateSchema, { certificate, notAfter: timestampFromMs(notAfterMs) }),
  };
}

function checkClient(nonce: Uint8Array, spki: Uint8Array, name: string): KeyObject {
  if (nonce.length !== proofBytes) throw invalid(`client_nonce has ${nonce.length} bytes; allowed are ${proofBytes}`);
  if (name.length > clientNameLengthMax || !printable.test(name)) {
    throw invalid(`client_name: allowed are ${clientNameLengthMax} printable characters`);
  }
  const key = spki.length <= clientKeyBytesMax ? clientKeyFrom(spki) : undefined;
  if (key === undefined) throw invalid('client_key: allowed is an EC P-256 key, SubjectPublicKeyInfo in DER');
  return key;
}

function invalid(message: string): DroverError {
  return new DroverError({ code: 'PAIRING_INVALID', advice: 'fix-input', message });
}

function pairingUnknown(): DroverError {
  return new DroverError({
    code: 'PAIRING_UNKNOWN',
    advice: 'not-found',
    message: 'There is no such pairing under way: it was finished once, or has taken too long. Begin anew.',
  });
}

function pairingsTooMany(): DroverError {
  return new DroverError({
    code: 'PAIRINGS_TOO_MANY',
    advice: 'exhausted',
    message: `As many pairings are under way as this agent takes: ${begunMax}, ${begunPerAddressMax} from one address.`,
    retryAfterMs: 10_000,
  });
}

function codeWrong(left: number): DroverError {
  const what = left > 0 ? `it may be tried ${left} more times` : 'it is closed now: "drover herd code" opens another';
  return new DroverError({
    code: 'CODE_WRONG',
    advice: 'denied',
    message: `The pairing code is wrong, or somebody sits between; ${what}.`,
    details: { left },
  });
}

function codeUsed(): DroverError {
  return new DroverError({
    code: 'CODE_CLOSED',
    advice: 'denied',
    message: 'The pairing code has let somebody in already: "drover herd code" on the agent\'s machine opens another.',
  });
}
