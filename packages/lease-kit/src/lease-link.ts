import type {
  AppendLogRequest,
  AppendLogResponse,
  ExchangeLeasesRequest,
  ExchangeLeasesResponse,
  FetchSecretsRequest,
  FetchSecretsResponse,
  OpenSessionRequest,
  OpenSessionResponse,
} from '@drover/lease-protocol';
import type { Principal } from './principal.ts';

/** Who calls, and until when the answer is wanted. */
export interface CallContext {
  readonly principal: Principal;
  /** Aborted when the caller hangs up or its deadline passes. */
  readonly signal: AbortSignal;
}

/** One agent's end of an exchange of copies. Whole copies replace each other, so at most one unsent message is kept. */
export interface LeaseLink extends AsyncDisposable {
  /** Sends `message`; one that has not left yet is replaced, its progress entries kept. Never throws. */
  send(message: ExchangeLeasesRequest): void;
  /** What the server says. Ends when the link is closed; throws the DroverError that broke it. May be iterated once. */
  readonly messages: AsyncIterable<ExchangeLeasesResponse>;
  /** Ends the link; idempotent. */
  close(): Promise<void>;
}

/** A server, as an agent calls it. `@drover/lease-transport` implements it over Connect. */
export interface LeaseClient {
  openSession(request: OpenSessionRequest, signal: AbortSignal): Promise<OpenSessionResponse>;
  /** Opens a link for the exchange of copies. Failure to connect shows when `messages` is iterated. */
  link(signal: AbortSignal): LeaseLink;
  appendLog(request: AppendLogRequest, signal: AbortSignal): Promise<AppendLogResponse>;
  fetchSecrets(request: FetchSecretsRequest, signal: AbortSignal): Promise<FetchSecretsResponse>;
}

/** A server, as a transport calls it. `@drover/lease-server` implements it. */
export interface LeaseEndpoint {
  openSession(request: OpenSessionRequest, context: CallContext): Promise<OpenSessionResponse>;
  /** Runs an exchange until either side ends it. Throws a DroverError when the session cannot go on. */
  exchange(requests: AsyncIterable<ExchangeLeasesRequest>, context: CallContext): AsyncIterable<ExchangeLeasesResponse>;
  /** One exchange; waits up to `waitMs` for news. */
  poll(request: ExchangeLeasesRequest, waitMs: number, context: CallContext): Promise<ExchangeLeasesResponse>;
  appendLog(request: AppendLogRequest, context: CallContext): Promise<AppendLogResponse>;
  /** Answers the secrets of a lease to the session that one of its attempts is bound to. */
  fetchSecrets(request: FetchSecretsRequest, context: CallContext): Promise<FetchSecretsResponse>;
}
