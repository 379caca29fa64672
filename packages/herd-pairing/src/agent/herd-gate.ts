import { createContextKey, type ContextValues } from '@connectrpc/connect';
import { DroverError, messageOf, isDroverError, type Principal } from '@drover/lease-kit';
import type { AddressNetworks } from './address-networks.ts';
import type { HerdAudit } from './herd-audit.ts';
import { herdClientPrefix, type HerdClients } from './herd-clients.ts';

/** Who may call one method: anybody; clients that are paired; those, and others of allowed networks. */
export type HerdCallers = 'anybody' | 'paired' | 'allowed';

/** For each service by its full name, for each method by its name in the proto, who may call it. */
export type HerdCallTable = Readonly<Record<string, Readonly<Record<string, HerdCallers>>>>;

/** Who calls an agent of the herd. */
export interface HerdCaller {
  readonly kind: 'paired' | 'unpaired';
  /** Absent for who is not paired. */
  readonly clientId?: string;
  /** As the client called itself; empty for who is not paired. */
  readonly name: string;
  readonly address: string;
}

/** A call before its body is read. */
export interface ArrivingHerdCall {
  readonly service: string;
  readonly method: string;
  readonly peer: {
    readonly remoteAddress: string;
    /** Names in the client certificate that TLS has checked; absent: none was shown. */
    readonly certificateNames?: readonly string[] | undefined;
  };
  readonly values: ContextValues;
}

/** Who works together in a gate. */
export interface HerdGateDeps {
  readonly table: HerdCallTable;
  readonly clients: HerdClients;
  readonly audit: HerdAudit;
  /** Networks from which work is taken of who is not paired. */
  readonly unpaired: AddressNetworks;
}

/** Lets calls in, or says why not. */
export interface HerdGate {
  /**
   * The principal of a call. Throws `NOT_PAIRED`, `CLIENT_REVOKED`, `CLIENT_UNKNOWN`, `CERTIFICATE_EXPIRED`,
   * `RPC_WITHOUT_ROW`.
   */
  enter(call: ArrivingHerdCall): Principal;
  /** Throws `RPC_WITHOUT_ROW` for methods that the table does not know. */
  checkMethods(methods: readonly { readonly service: string; readonly method: string }[]): void;
}

const nobody: HerdCaller = { kind: 'unpaired', name: '', address: '' };
const callerKey = createContextKey<HerdCaller>(nobody, { description: 'drover herd caller' });

/** Who makes a call that a gate has let in. */
export function herdCallerFrom(values: ContextValues): HerdCaller {
  return values.get(callerKey);
}

/**
 * Who may call what on an agent's herd port: the one table. An agent does not start with a method that has no row. Whatever
 * asks for `allowed` runs work or carries its files.
 */
export const herdCallTable: HerdCallTable = {
  'drover.herd.v1.PairingService': {
    BeginPairing: 'anybody',
    FinishPairing: 'anybody',
    PairWithToken: 'anybody',
    RenewCertificate: 'paired',
  },
  'drover.herd.v1.HerdService': {
    GetAgent: 'allowed',
    RunJob: 'allowed',
    ListJobs: 'allowed',
    CancelJob: 'allowed',
  },
  'build.bazel.remote.execution.v2.ContentAddressableStorage': {
    FindMissingBlobs: 'allowed',
    BatchUpdateBlobs: 'allowed',
    BatchReadBlobs: 'allowed',
    GetTree: 'allowed',
  },
  'build.bazel.remote.execution.v2.Capabilities': { GetCapabilities: 'allowed' },
  'google.bytestream.ByteStream': { Read: 'allowed', Write: 'allowed', QueryWriteStatus: 'allowed' },
  // Asks for nobody: a probe has no certificate.
  'grpc.health.v1.Health': { Check: 'anybody', Watch: 'anybody', List: 'anybody' },
  'grpc.reflection.v1.ServerReflection': { ServerReflectionInfo: 'paired' },
  'grpc.reflection.v1alpha.ServerReflection': { ServerReflectionInfo: 'paired' },
};

/** Makes the gate that every call on an agent's herd port passes. */
export function createHerdGate({ table, clients, audit, unpaired }: HerdGateDeps): HerdGate {
  const callerOf = ({ peer }: ArrivingHerdCall): HerdCaller => {
    const address = peer.remoteAddress;
    const shown = peer.certificateNames;
    if (shown === undefined) return { kind: 'unpaired', name: '', address };
    // The authority signs one name in a client's certificate.
    const [name = ''] = shown;
    const { clientId, name: clientName } = clients.check(
      name.startsWith(herdClientPrefix) ? name.slice(herdClientPrefix.length) : name,
    );
    return { kind: 'paired', clientId, name: clientName, address };
  };
  return {
    enter(call) {
      const { service, method, peer } = call;
      const needs = rowOf(table, service, method);
      if (needs === undefined) throw rpcWithoutRow([`${service}/${method}`]);
      try {
        const caller = callerOf(call);
        const mayCall =
          needs === 'anybody' || caller.kind === 'paired' || (needs === 'allowed' && unpaired.has(peer.remoteAddress));
        if (!mayCall) throw notPaired();
        call.values.set(callerKey, caller);
        return principalOf(caller);
      } catch (error) {
        const code = isDroverError(error) ? error.code : '';
        const fields = { method: `${service}/${method}`, address: peer.remoteAddress, code };
        audit.refused('herd.call-refused', fields, messageOf(error));
        throw error;
      }
    },
    checkMethods(methods) {
      const missing = methods.filter(({ service, method }) => rowOf(table, service, method) === undefined);
      if (missing.length > 0) throw rpcWithoutRow(missing.map(({ service, method }) => `${service}/${method}`));
    },
  };
}

function principalOf({ clientId, address }: HerdCaller): Principal {
  return { kind: 'user', id: clientId === undefined ? `unpaired@${address}` : `${herdClientPrefix}${clientId}` };
}

function rowOf(table: HerdCallTable, service: string, method: string): HerdCallers | undefined {
  const rows = Object.hasOwn(table, service) ? table[service] : undefined;
  return rows !== undefined && Object.hasOwn(rows, method) ? rows[method] : undefined;
}

function notPaired(): DroverError {
  return new DroverError({
    code: 'NOT_PAIRED',
    advice: 'denied',
    message:
      'This agent runs nothing for who is not paired with it: "drover herd code" on its machine shows a code, "drover herd pair" takes it.',
  });
}

function rpcWithoutRow(missing: readonly string[]): DroverError {
  return new DroverError({
    code: 'RPC_WITHOUT_ROW',
    advice: 'internal',
    message: `Nothing says who may call ${missing.join(', ')}: a row in herdCallTable (packages/herd-pairing/src/agent/herd-gate.ts) does.`,
  });
}
