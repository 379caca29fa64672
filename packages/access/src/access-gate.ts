import type { ContextValues } from '@connectrpc/connect';
import { DroverError, type Principal } from '@drover/lease-kit';
import { poolOutOfScope, roleMissing } from './access-errors.ts';
import { callerKey, type Caller } from './caller.ts';
import { changeKey, PendingChange } from './pending-change.ts';
import { roleAllows, type Role } from './role.ts';
import { ruleOf, type RpcRule, type RpcTable } from './rpc-rule.ts';

/** A call before its body is read, as a credential is looked for in it. */
export interface ArrivingCall {
  /** Full name of the service. */
  readonly service: string;
  /** Name of the method as in the proto. */
  readonly method: string;
  readonly header: Headers;
  /** HOST:PORT that the caller called; absent: not known. */
  readonly authority?: string;
  readonly peer: {
    readonly remoteAddress: string;
    readonly encrypted: boolean;
    /** Names in the client certificate that TLS has checked; absent: none was shown. */
    readonly certificateNames?: readonly string[] | undefined;
  };
  /** Aborted when the caller goes away. */
  readonly signal: AbortSignal;
}

/**
 * One way to prove who calls. Undefined: the call shows no credential of this kind, and the next way is asked. A credential
 * of this kind that is not right throws a DroverError with advice `denied`.
 */
export interface CredentialVerifier {
  verify(call: ArrivingCall): Caller | undefined | Promise<Caller | undefined>;
}

/** Who works together in a gate. */
export interface AccessGateDeps {
  readonly table: RpcTable;
  /** Asked in order. */
  readonly verifiers: readonly CredentialVerifier[];
}

/** Lets calls in, or says why not. */
export interface AccessGate {
  /**
   * The principal of a call, which also finds its `Caller` in `values`. Undefined: the call shows no credential. Throws
   * `ROLE_MISSING`, `POOL_OUT_OF_SCOPE`, `RPC_WITHOUT_ROW` and what the verifiers throw.
   */
  enter(call: ArrivingCall & { readonly values: ContextValues }): Promise<Principal | undefined>;
  /** Throws `RPC_WITHOUT_ROW` for methods that the table does not know. */
  checkMethods(methods: readonly { readonly service: string; readonly method: string }[]): void;
}

/** Makes the gate that every call of a server passes. */
export function createAccessGate({ table, verifiers }: AccessGateDeps): AccessGate {
  return {
    async enter(call) {
      const { service, method } = call;
      const rule = ruleOf(table, service, method);
      if (rule === undefined) throw rpcWithoutRow([`${service}/${method}`]);
      if (rule.needs === 'anyone') {
        const principal: Principal = { kind: 'service', id: 'anyone' };
        call.values.set(callerKey, { principal, address: call.peer.remoteAddress, credential: 'none' });
        return principal;
      }
      for (const verifier of verifiers) {
        const found = verifier.verify(call);
        const caller = found instanceof Promise ? await found : found;
        if (caller === undefined) continue;
        checkRule(rule, rule.needs ?? 'agent', caller, `${service}/${method}`);
        call.values.set(callerKey, caller);
        if (rule.action !== undefined) call.values.set(changeKey, new PendingChange(rule.action, caller));
        return caller.principal;
      }
      return undefined;
    },
    checkMethods(methods) {
      const missing = methods.filter(({ service, method }) => ruleOf(table, service, method) === undefined);
      if (missing.length > 0) throw rpcWithoutRow(missing.map(({ service, method }) => `${service}/${method}`));
    },
  };
}

/** Throws for a caller that may not call a method. */
function checkRule(rule: RpcRule, needs: Role | 'agent', caller: Caller, what: string): void {
  if (caller.principal.kind === 'agent' && rule.agents) return;
  const has = caller.role ?? (caller.principal.kind === 'agent' ? 'agent' : 'none');
  if (needs === 'agent' || has === 'agent' || has === 'none' || !roleAllows(has, needs)) {
    throw roleMissing(what, needs, has);
  }
  if (caller.pools !== undefined && !rule.scoped) {
    throw poolOutOfScope(`${what} concerns the whole fleet`, caller.pools);
  }
}

function rpcWithoutRow(missing: readonly string[]): DroverError {
  return new DroverError({
    code: 'RPC_WITHOUT_ROW',
    advice: 'internal',
    message: `Nothing says who may call ${missing.join(', ')}: a row in the table of RPCs (packages/access/src/rpc-table.ts) does.`,
  });
}
