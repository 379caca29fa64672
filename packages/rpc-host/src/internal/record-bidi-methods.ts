import type { DescMethod, DescMethodBiDiStreaming, DescMethodClientStreaming } from '@bufbuild/protobuf';
import type { ConnectRouter, MethodImpl } from '@connectrpc/connect';
import { createMethodUrl, type UniversalHandlerOptions } from '@connectrpc/connect/protocol';
import type { BidiMethod } from './grpc-bidi-calls.ts';

/**
 * Options of a registration that a call without compression and in binary can honour or has no use for. A registration with
 * any other is left to Connect alone, which knows how to apply it.
 */
const understood: ReadonlySet<string> = new Set([
  'readMaxBytes',
  'writeMaxBytes',
  'acceptCompression',
  'compressMinBytes',
  'jsonOptions',
  'requireConnectProtocolHeader',
] satisfies (keyof UniversalHandlerOptions)[]);

/** A router that passes everything on and notes the methods whose requests are a stream by their paths. */
export function recordBidiMethods(router: ConnectRouter, methods: Map<string, BidiMethod>): ConnectRouter {
  const record = (
    method: DescMethod,
    implementation: unknown,
    { readMaxBytes, writeMaxBytes, ...more }: Partial<UniversalHandlerOptions> = {},
    self?: object,
  ): void => {
    if (typeof implementation !== 'function' || Object.keys(more).some((name) => !understood.has(name))) return;
    const bound: unknown = implementation.bind(self);
    const path = createMethodUrl('/', method);
    if (method.methodKind === 'bidi_streaming') {
      const several = bound as MethodImpl<DescMethodBiDiStreaming>;
      methods.set(path, {
        method: method as DescMethodBiDiStreaming,
        implementation: several,
        readMaxBytes,
        writeMaxBytes,
      });
    } else if (method.methodKind === 'client_streaming') {
      const once = answeringOnce(bound as MethodImpl<DescMethodClientStreaming>);
      methods.set(path, {
        method: method as DescMethodClientStreaming,
        implementation: once,
        readMaxBytes,
        writeMaxBytes,
      });
    }
  };
  const recording: ConnectRouter = {
    handlers: router.handlers,
    service(service, implementation, options) {
      router.service(service, implementation, options);
      for (const method of service.methods) {
        record(method, Reflect.get(implementation, method.localName), options, implementation);
      }
      return recording;
    },
    rpc(method, implementation, options) {
      router.rpc(method, implementation, options);
      record(method, implementation, options);
      return recording;
    },
  };
  return recording;
}

function answeringOnce(implementation: MethodImpl<DescMethodClientStreaming>): MethodImpl<DescMethodBiDiStreaming> {
  return async function* (requests, context) {
    yield await implementation(requests, context);
  };
}
