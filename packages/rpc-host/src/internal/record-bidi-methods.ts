import type { DescMethodBiDiStreaming } from '@bufbuild/protobuf';
import type { ConnectRouter } from '@connectrpc/connect';
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

/** A router that passes everything on and notes the bidirectional methods by their paths. */
export function recordBidiMethods(router: ConnectRouter, methods: Map<string, BidiMethod>): ConnectRouter {
  const record = (
    method: DescMethodBiDiStreaming,
    implementation: unknown,
    { readMaxBytes, writeMaxBytes, ...more }: Partial<UniversalHandlerOptions> = {},
    self?: object,
  ): void => {
    if (typeof implementation !== 'function' || Object.keys(more).some((name) => !understood.has(name))) return;
    const bound = implementation.bind(self) as BidiMethod['implementation'];
    methods.set(createMethodUrl('/', method), { method, implementation: bound, readMaxBytes, writeMaxBytes });
  };
  const recording: ConnectRouter = {
    handlers: router.handlers,
    service(service, implementation, options) {
      router.service(service, implementation, options);
      for (const method of service.methods) {
        if (method.methodKind !== 'bidi_streaming') continue;
        record(
          method as DescMethodBiDiStreaming,
          Reflect.get(implementation, method.localName),
          options,
          implementation,
        );
      }
      return recording;
    },
    rpc(method, implementation, options) {
      router.rpc(method, implementation, options);
      if (method.methodKind === 'bidi_streaming') {
        record(method as DescMethodBiDiStreaming, implementation, options);
      }
      return recording;
    },
  };
  return recording;
}
