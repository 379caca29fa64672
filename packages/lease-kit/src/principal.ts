/**
 * On whose behalf a call is made. Every RPC, store write and slot has one. Until sign-in exists the composition root
 * names the principal of its listeners; nothing below it ever assumes one.
 */
export interface Principal {
  readonly kind: 'agent' | 'user' | 'service';
  /** Unique within its kind, at most 256 characters, e.g. an agent id or a user name. */
  readonly id: string;
}

/** `kind:id`, for audit lines and database columns. */
export function principalName(principal: Principal): string {
  return `${principal.kind}:${principal.id}`;
}
