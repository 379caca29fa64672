/**
 * Why a reply was dropped: it is no reply; larger than its request; its nonce is none of this search; it came a second time;
 * not signed by the key that it, or pairing, names; another key claims the same agent; a bound is reached.
 */
export type DropReason = 'malformed' | 'too-large' | 'unasked' | 'replayed' | 'forged' | 'conflicting' | 'too-many';

/** What a search meets beside agents. */
export type SearchEvent =
  | { readonly type: 'dropped'; readonly reason: DropReason; readonly from: string }
  /** An agent with which no version of the protocol is shared. */
  | {
      readonly type: 'other-version';
      readonly from: string;
      readonly agentId: string;
      readonly name: string;
      readonly version: string;
      readonly protocolNewest: number;
    }
  /** The platform would not send there: `code` is its, e.g. `ENETUNREACH`. */
  | { readonly type: 'not-sent'; readonly to: string; readonly link?: string | undefined; readonly code: string }
  /** A host of a list has not answered until the end. */
  | { readonly type: 'silent'; readonly host: string; readonly port: number }
  /** A host of a list has no address: `code` is that of the resolver, e.g. `ENOTFOUND`. */
  | { readonly type: 'unresolved'; readonly host: string; readonly code: string };
