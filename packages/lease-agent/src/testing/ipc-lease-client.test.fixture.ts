import type { ChildProcess } from 'node:child_process';
import { fromBinary, toBinary, type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import {
  DroverError,
  isDroverError,
  messageOf,
  type ErrorAdvice,
  type LeaseClient,
  type LeaseLink,
} from '@drover/lease-kit';
import {
  AppendLogRequestSchema,
  AppendLogResponseSchema,
  FetchSecretsRequestSchema,
  FetchSecretsResponseSchema,
  ExchangeLeasesRequestSchema,
  ExchangeLeasesResponseSchema,
  OpenSessionRequestSchema,
  OpenSessionResponseSchema,
  type ExchangeLeasesResponse,
} from '@drover/lease-protocol';

interface WireError {
  readonly code: string;
  readonly advice: ErrorAdvice;
  readonly message: string;
}

type ToParent =
  | { readonly kind: 'openSession' | 'appendLog' | 'fetchSecrets'; readonly id: number; readonly bytes: Uint8Array }
  | { readonly kind: 'link' | 'closeLink'; readonly id: number }
  | { readonly kind: 'send'; readonly id: number; readonly bytes: Uint8Array };

type ToChild =
  | { readonly kind: 'answer' | 'message'; readonly id: number; readonly bytes: Uint8Array }
  | { readonly kind: 'error'; readonly id: number; readonly error: WireError }
  | { readonly kind: 'end'; readonly id: number };

interface Listener {
  readonly message: (bytes: Uint8Array) => void;
  readonly end: (error?: DroverError) => void;
}

/** In a forked process: the server of the parent, over the channel between them. */
export function createIpcLeaseClient(): LeaseClient {
  const listeners = new Map<number, Listener>();
  let lastId = 0;
  const say = (message: ToParent) => void process.send!(message);
  process.on('message', (message: ToChild) => {
    const listener = listeners.get(message.id);
    if (message.kind === 'message') return listener?.message(message.bytes);
    listeners.delete(message.id);
    if (message.kind === 'answer') listener?.message(message.bytes);
    else listener?.end(message.kind === 'error' ? new DroverError(message.error) : undefined);
  });
  process.on('disconnect', () => {
    for (const { end } of listeners.values()) {
      end(new DroverError({ code: 'RPC_UNAVAILABLE', advice: 'unavailable', message: 'the parent is gone' }));
    }
  });

  const call = <In extends DescMessage, Out extends DescMessage>(
    kind: 'openSession' | 'appendLog' | 'fetchSecrets',
    input: In,
    output: Out,
    request: MessageShape<In>,
  ): Promise<MessageShape<Out>> =>
    new Promise((resolve, reject) => {
      const id = ++lastId;
      listeners.set(id, { message: (bytes) => resolve(fromBinary(output, bytes)), end: reject });
      say({ kind, id, bytes: toBinary(input, request) });
    });

  return {
    openSession: (request) => call('openSession', OpenSessionRequestSchema, OpenSessionResponseSchema, request),
    appendLog: (request) => call('appendLog', AppendLogRequestSchema, AppendLogResponseSchema, request),
    fetchSecrets: (request) => call('fetchSecrets', FetchSecretsRequestSchema, FetchSecretsResponseSchema, request),
    link(signal): LeaseLink {
      const id = ++lastId;
      let controller!: ReadableStreamDefaultController<ExchangeLeasesResponse>;
      const stream = new ReadableStream<ExchangeLeasesResponse>({ start: (given) => void (controller = given) });
      listeners.set(id, {
        message: (bytes) => controller.enqueue(fromBinary(ExchangeLeasesResponseSchema, bytes)),
        end: (error) => (error ? controller.error(error) : controller.close()),
      });
      const close = (): Promise<void> => {
        if (listeners.delete(id)) {
          controller.close();
          say({ kind: 'closeLink', id });
        }
        return Promise.resolve();
      };
      signal.addEventListener('abort', () => void close(), { once: true });
      say({ kind: 'link', id });
      return {
        send: (message) => say({ kind: 'send', id, bytes: toBinary(ExchangeLeasesRequestSchema, message) }),
        messages: stream,
        close,
        [Symbol.asyncDispose]: close,
      };
    },
  };
}

/** In the parent: answers a forked process's calls with `client`, until the process ends. */
export function serveIpcLeaseClient(child: ChildProcess, client: LeaseClient): void {
  const gone = new AbortController();
  const links = new Map<number, LeaseLink>();
  const say = (message: ToChild) => {
    // A process that ends while it is told something is what these tests are about.
    if (child.connected) child.send(message, () => undefined);
  };
  const fail = (id: number) => (error: unknown) => {
    const { code, advice } = isDroverError(error) ? error : { code: 'UNKNOWN', advice: 'internal' as const };
    say({ kind: 'error', id, error: { code, advice, message: messageOf(error) } });
  };
  child.once('exit', () => {
    gone.abort();
    for (const link of links.values()) void link.close();
  });
  child.on('message', (message: ToParent) => {
    const { id } = message;
    switch (message.kind) {
      case 'openSession':
        client
          .openSession(fromBinary(OpenSessionRequestSchema, message.bytes), gone.signal)
          .then((answer) => say({ kind: 'answer', id, bytes: toBinary(OpenSessionResponseSchema, answer) }), fail(id));
        return;
      case 'appendLog':
        client
          .appendLog(fromBinary(AppendLogRequestSchema, message.bytes), gone.signal)
          .then((answer) => say({ kind: 'answer', id, bytes: toBinary(AppendLogResponseSchema, answer) }), fail(id));
        return;
      case 'fetchSecrets':
        client
          .fetchSecrets(fromBinary(FetchSecretsRequestSchema, message.bytes), gone.signal)
          .then((answer) => say({ kind: 'answer', id, bytes: toBinary(FetchSecretsResponseSchema, answer) }), fail(id));
        return;
      case 'link': {
        const link = client.link(gone.signal);
        links.set(id, link);
        void (async () => {
          for await (const answer of link.messages) {
            say({ kind: 'message', id, bytes: toBinary(ExchangeLeasesResponseSchema, answer) });
          }
        })().then(() => say({ kind: 'end', id }), fail(id));
        return;
      }
      case 'send':
        return links.get(id)?.send(fromBinary(ExchangeLeasesRequestSchema, message.bytes));
      case 'closeLink':
        void links.get(id)?.close();
        links.delete(id);
    }
  });
}
