import { create } from '@bufbuild/protobuf';
import { Code, ConnectError, createClient, createRouterTransport } from '@connectrpc/connect';
import { DroverError, type ErrorAdvice, type Logger, silentLogger } from '@drover/lease-kit';
import { Health, HealthCheckResponse_ServingStatus, HealthCheckResponseSchema } from '@drover/standard-protocols';
import { describe, expect, test } from 'vitest';
import { connectErrorFrom, detailsMax, errorCodeHeader, messageLengthMax } from './connect-error-from.ts';
import { droverErrorFromConnect } from './drover-error-from-connect.ts';
import { errorInterceptor, type CallObserver } from './error-interceptor.ts';

const advices: [ErrorAdvice, Code][] = [
  ['fix-input', Code.InvalidArgument],
  ['not-found', Code.NotFound],
  ['conflict', Code.FailedPrecondition],
  ['fenced', Code.Aborted],
  ['denied', Code.PermissionDenied],
  ['exhausted', Code.ResourceExhausted],
  ['unavailable', Code.Unavailable],
  ['cancelled', Code.Canceled],
  ['internal', Code.Internal],
];

/** A server whose Check and Watch throw what the test wants, reached through Connect's in-memory transport. */
function clientOf(error: unknown, logger: Logger = silentLogger) {
  const transport = createRouterTransport(
    (router) =>
      router.service(Health, {
        check() {
          throw error;
        },
        async *watch() {
          yield create(HealthCheckResponseSchema, { status: HealthCheckResponse_ServingStatus.SERVING });
          throw error;
        },
      }),
    { router: { interceptors: [errorInterceptor({ logger })] } },
  );
  return createClient(Health, transport);
}

async function thrownBy(call: () => Promise<unknown>): Promise<unknown> {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error('The call succeeded.');
}

describe('a DroverError', () => {
  test.each(advices)('%s crosses the wire and comes back whole', async (advice, code) => {
    const details = { leaseId: 'l-1', attempt: 2, retried: false, maybe: true, list: '1,2' };
    const error = new DroverError({
      code: 'SOME_CODE',
      advice,
      message: 'Zeile 1\nLöschen.',
      details,
      retryAfterMs: 1500,
    });
    const received = await thrownBy(() => clientOf(error).check({}));
    expect(received).toBeInstanceOf(ConnectError);
    expect((received as ConnectError).code).toBe(code);
    expect((received as ConnectError).metadata.get(errorCodeHeader)).toBe('SOME_CODE');
    expect(droverErrorFromConnect(received)).toMatchObject({
      code: 'SOME_CODE',
      advice,
      message: 'Zeile 1\nLöschen.',
      details,
      retryAfterMs: 1500,
    });
  });

  test('crosses in the middle of a stream', async () => {
    const error = new DroverError({ code: 'FENCED', advice: 'fenced', message: 'A newer session took over.' });
    const statuses: number[] = [];
    const received = await thrownBy(async () => {
      for await (const { status } of clientOf(error).watch({})) statuses.push(status);
    });
    expect(statuses).toEqual([HealthCheckResponse_ServingStatus.SERVING]);
    expect(droverErrorFromConnect(received)).toMatchObject({ code: 'FENCED', advice: 'fenced' });
  });

  test('without a principal is UNAUTHENTICATED', () => {
    const error = new DroverError({ code: 'UNAUTHENTICATED', advice: 'denied', message: 'Who are you?' });
    expect(connectErrorFrom(error).code).toBe(Code.Unauthenticated);
  });

  test('is cut to what fits a header block', () => {
    const details = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`d${index}`, 'x'.repeat(10_000)]));
    const error = new DroverError({ code: 'BIG', advice: 'internal', message: 'm'.repeat(100_000), details });
    const returned = droverErrorFromConnect(connectErrorFrom(error));
    // `cause` short-cuts a local round trip, so look at what travels.
    const sent = connectErrorFrom(error);
    expect(sent.rawMessage).toHaveLength(messageLengthMax);
    expect(returned.code).toBe('BIG');
    const [info] = sent.details as unknown as { value: { metadata: Record<string, string> } }[];
    expect(Object.keys(info?.value.metadata ?? {})).toHaveLength(detailsMax + 1);
  });
});

describe('what is no DroverError', () => {
  test('is a defect whose message stays here and goes to the log', async () => {
    const lines: unknown[] = [];
    const defect = new TypeError('password=secret');
    const logger: Logger = { ...silentLogger, error: (fields) => void lines.push(fields) };
    const received = await thrownBy(() => clientOf(defect, logger).check({}));
    expect((received as ConnectError).message).toBe('[internal] Internal error.');
    expect(lines).toEqual([{ err: defect, rpc: 'grpc.health.v1.Health/Check' }]);
    expect(droverErrorFromConnect(received)).toMatchObject({ code: 'RPC_INTERNAL', advice: 'internal' });
  });

  test('an abort is CANCELED, a timeout DEADLINE_EXCEEDED', () => {
    expect(connectErrorFrom(new DOMException('x', 'AbortError')).code).toBe(Code.Canceled);
    expect(connectErrorFrom(new DOMException('x', 'TimeoutError')).code).toBe(Code.DeadlineExceeded);
  });

  test.each([
    [Code.Unavailable, 'RPC_UNAVAILABLE', 'unavailable'],
    [Code.DeadlineExceeded, 'RPC_DEADLINE_EXCEEDED', 'unavailable'],
    [Code.Aborted, 'RPC_ABORTED', 'conflict'],
    [Code.Unimplemented, 'RPC_UNIMPLEMENTED', 'fix-input'],
  ])('from a server that is no Drover gets a code of its own (%i → %s)', (code, expected, advice) => {
    expect(droverErrorFromConnect(new ConnectError('gone', code))).toMatchObject({
      code: expected,
      advice,
      message: 'gone',
    });
  });

  test('a message over the limit says what is allowed', () => {
    const text = 'message size 5000 is larger than configured readMaxBytes 4096';
    expect(droverErrorFromConnect(new ConnectError(text, Code.ResourceExhausted))).toMatchObject({
      code: 'MESSAGE_TOO_LARGE',
      advice: 'fix-input',
      message: 'a message of 5000 bytes was not taken: at most 4096 are allowed',
      details: { maxBytes: 4096, sizeBytes: 5000 },
    });
    const exhausted = new ConnectError('no slots', Code.ResourceExhausted);
    expect(droverErrorFromConnect(exhausted)).toMatchObject({ code: 'RPC_RESOURCE_EXHAUSTED', advice: 'exhausted' });
  });
});

describe('an observer of calls', () => {
  /** What is told of a call: how it ended, each time that is said. */
  async function toldOf(use: (client: ReturnType<typeof clientOf>) => Promise<unknown>, error?: unknown) {
    const told: string[] = [];
    const observe: CallObserver = ({ method, unary }) => {
      told.push(`${method}${unary ? '' : ' (stream)'}`);
      return (code) => told.push(code === undefined ? 'OK' : Code[code]);
    };
    const transport = createRouterTransport(
      (router) =>
        router.service(Health, {
          check() {
            if (error !== undefined) throw error;
            return create(HealthCheckResponseSchema);
          },
          async *watch() {
            yield create(HealthCheckResponseSchema);
            yield create(HealthCheckResponseSchema);
            if (error !== undefined) throw error;
          },
        }),
      { router: { interceptors: [errorInterceptor({ observe })] } },
    );
    await use(createClient(Health, transport)).catch(() => undefined);
    return told;
  }
  const read = async (client: ReturnType<typeof clientOf>, leave?: AbortController): Promise<void> => {
    for await (const _ of client.watch({}, leave && { signal: leave.signal })) leave?.abort();
  };
  const missing = new DroverError({ code: 'X_MISSING', advice: 'not-found', message: 'no' });

  test('hears once how each call ended, in the code of the wire', async () => {
    expect(await toldOf((client) => client.check({}))).toEqual(['Check', 'OK']);
    expect(await toldOf((client) => client.check({}), missing)).toEqual(['Check', 'NotFound']);
    expect(await toldOf((client) => client.check({}), new Error('defect'))).toEqual(['Check', 'Internal']);
    expect(await toldOf((client) => read(client))).toEqual(['Watch (stream)', 'OK']);
    expect(await toldOf((client) => read(client), missing)).toEqual(['Watch (stream)', 'NotFound']);
    const left = await toldOf((client) => read(client, new AbortController()));
    await expect.poll(() => left).toEqual(['Watch (stream)', 'Canceled']);
  });
});
