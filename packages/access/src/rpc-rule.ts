import type { Role } from './role.ts';

/** Who may call one method. */
export interface RpcRule {
  /** The role of people and programs; `anyone` asks for no credential at all; absent: none of them. */
  readonly needs?: Role | 'anyone';
  /** Agents may call it too. */
  readonly agents: boolean;
  /** The method itself keeps to the pools of its caller's scope. Else a caller with a scope is refused. */
  readonly scoped: boolean;
  /** What the audit says that a call did, e.g. `token.create`. Absent: it changes nothing, and is not written. */
  readonly action?: string;
}

/** What a row may say beside the role. */
export interface RpcRuleOptions {
  /** Agents may call it too. Default: they may not. */
  readonly agents?: boolean;
  /** The method keeps to the pools of its caller's scope. Default: a caller with a scope is refused. */
  readonly scoped?: boolean;
}

/** A row for a method that changes nothing. */
export function read(needs: Role, { agents = false, scoped = false }: RpcRuleOptions = {}): RpcRule {
  return { needs, agents, scoped };
}

/** A row for a method that changes something; `action` names the change in the audit: `<noun>.<verb>`. */
export function change(
  needs: Role,
  action: string,
  { agents = false, scoped = false }: RpcRuleOptions = {},
): RpcRule & { readonly action: string } {
  return { needs, agents, scoped, action };
}

/** A row for a method that changes something which is no subject of the audit: blobs, which say nothing by themselves. */
export function store(needs: Role): RpcRule {
  return { needs, agents: true, scoped: true };
}

/** A row for a method of agents alone. */
export const byAgents: RpcRule = { agents: true, scoped: false };

/** A row for a method that answers without a credential. */
export const byAnyone: RpcRule = { needs: 'anyone', agents: true, scoped: true };

/** For each service by its full name, for each method by its name in the proto, who may call it. */
export type RpcTable = Readonly<Record<string, Readonly<Record<string, RpcRule>>>>;

/** The row of a method; undefined if there is none. */
export function ruleOf(table: RpcTable, service: string, method: string): RpcRule | undefined {
  const rows = Object.hasOwn(table, service) ? table[service] : undefined;
  return rows !== undefined && Object.hasOwn(rows, method) ? rows[method] : undefined;
}
