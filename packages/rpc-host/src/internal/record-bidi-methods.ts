import type { DescMethodBiDiStreaming } from '@bufbuild/protobuf';
import type { ConnectRouter } from '@connectrpc/connect';
import { createMethodUrl } from '@connectrpc/connect/protocol';
import type { BidiMethod } from './grpc-bidi-calls.ts';

/**
 * A router that passes everything on and notes the bidirectional methods by their paths. A registration with options of its
 * own is left to Connect alone, which knows how to apply them.
 */
export function recordBidiMethods(router: ConnectRouter, methods: Map<string, BidiMethod>): ConnectRouter {
  const record = (method: DescMethodBiDiStreaming, implementation: unknown, self?: object): void => {
    if (typeof implementation !== 'function') return;
    const bound = implementation.bind(self) as BidiMethod['implementation'];
    methods.set(createMethodUrl('/', method), { method, implementation: bound });
  };
  const recording: ConnectRouter = {
    handlers: router.handlers,
    service(service, implementation, options) {
      router.service(service, implementation, options);
      if (options !== undefined) return recording;
      for (const method of service.methods) {
        if (method.methodKind !== 'bidi_streaming') continue;
        record(method as DescMethodBiDiStreaming, Reflect.get(implementation, method.localName), implementation);
      }
      return recording;
    },
    rpc(method, implementation, options) {
      router.rpc(method, implementation, options);
      if (options === undefined && method.methodKind === 'bidi_streaming') {
        record(method as DescMethodBiDiStreaming, implementation);
      }
      return recording;
    },
  };
  return recording;
}
