import { create } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';
import type { ConnectRouter, HandlerContext } from '@connectrpc/connect';
import { DroverError, type CallContext, type LeaseEndpoint, type Principal } from '@drover/lease-kit';
import {
  LeaseService,
  PollLeasesResponseSchema,
  type ExchangeLeasesRequest,
  type ExchangeLeasesResponse,
} from '@drover/lease-protocol';
import { connectErrorFrom, convertErrors, droverErrorFromConnect } from '@drover/rpc-errors';
import { defaultMessageSizeMaxBytes } from './lease-client.ts';

/** Bounds of the service. */
export interface LeaseServiceOptions {
  /** The most bytes of one message in either direction. Default 4 MiB. */
  readonly messageSizeMaxBytes?: number;
}

/** Who answers the calls. */
export interface LeaseServiceDeps {
  readonly endpoint: LeaseEndpoint;
  /** On whose behalf a call is made; throws a DroverError with advice `denied` for a caller that is nobody. */
  readonly principalOf: (context: HandlerContext) => Principal;
}

/** Longest wait that a poll may ask for; the bound stands in the proto. */
const pollWaitMsMax = 60_000;
/** Most bytes of one piece of a log; the bound stands in the proto. */
const logDataSizeMaxBytes = 262_144;

/**
 * Puts drover.lease.v1.LeaseService on a router. It checks bounds, names the principal, and turns DroverErrors into wire
 * errors; everything else is the endpoint's. A stream costs no timer and no buffer here: an idle agent's share is what
 * HTTP/2 itself needs.
 */
export function registerLeaseService(
  router: ConnectRouter,
  deps: LeaseServiceDeps,
  options: LeaseServiceOptions = {},
): ConnectRouter {
  const { endpoint } = deps;
  const maxBytes = options.messageSizeMaxBytes ?? defaultMessageSizeMaxBytes;
  const contextOf = (context: HandlerContext): CallContext => ({
    principal: deps.principalOf(context),
    // Made by the host when somebody looks at it, which an idle stream need not.
    get signal() {
      return context.signal;
    },
  });
  const answer = async <T>(context: HandlerContext, run: (call: CallContext) => Promise<T>): Promise<T> => {
    try {
      return await run(contextOf(context));
    } catch (error) {
      throw connectErrorFrom(error);
    }
  };
  return router.service(
    LeaseService,
    {
      openSession: (request, context) => answer(context, (call) => endpoint.openSession(request, call)),
      appendLog: (request, context) =>
        answer(context, (call) => {
          if (request.data.length > logDataSizeMaxBytes) {
            throw new DroverError({
              code: 'LOG_DATA_TOO_LARGE',
              advice: 'fix-input',
              message: `data has ${request.data.length} bytes, at most ${logDataSizeMaxBytes} are allowed`,
            });
          }
          return endpoint.appendLog(request, call);
        }),
      fetchSecrets: (request, context) => answer(context, (call) => endpoint.fetchSecrets(request, call)),
      pollLeases: (request, context) =>
        answer(context, async (call) => {
          const waitMs = request.wait ? durationMs(request.wait) : 0;
          if (!request.exchange) throw invalid('POLL_INVALID', 'exchange is missing');
          if (waitMs < 0 || waitMs > pollWaitMsMax) {
            throw invalid('POLL_INVALID', `wait must be 0 s to ${pollWaitMsMax / 1_000} s, not ${waitMs / 1_000} s`);
          }
          return create(PollLeasesResponseSchema, { exchange: await endpoint.poll(request.exchange, waitMs, call) });
        }),
      exchangeLeases: (requests, context) => exchange(endpoint, requests, () => contextOf(context)),
    },
    { readMaxBytes: maxBytes, writeMaxBytes: maxBytes, acceptCompression: [] },
  );
}

/** Without async generators: one for each direction of each idle stream would cost memory for nothing. */
function exchange(
  endpoint: LeaseEndpoint,
  requests: AsyncIterable<ExchangeLeasesRequest>,
  contextOf: () => CallContext,
): AsyncIterable<ExchangeLeasesResponse> {
  const readable = convertErrors(requests, droverErrorFromConnect);
  return convertErrors(
    { [Symbol.asyncIterator]: () => endpoint.exchange(readable, contextOf())[Symbol.asyncIterator]() },
    connectErrorFrom,
  );
}

const invalid = (code: string, message: string): DroverError => new DroverError({ code, advice: 'fix-input', message });
