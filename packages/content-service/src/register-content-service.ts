import { Code, type ConnectRouter, type HandlerContext, type ServiceImpl } from '@connectrpc/connect';
import type { DescService } from '@bufbuild/protobuf';
import { silentLogger, systemClock, type Logger } from '@drover/lease-kit';
import { ByteStream, Capabilities, ContentAddressableStorage } from '@drover/standard-protocols';
import { createByteStreamService } from './byte-stream-service.ts';
import { createCapabilitiesService } from './capabilities-service.ts';
import { createCasService } from './cas-service.ts';
import { connectErrorFrom } from './connect-error-from.ts';
import { resolveLimits, type ContentServiceDeps, type ContentServiceLimits } from './content-service-options.ts';

/**
 * Adds ContentAddressableStorage, Capabilities and google.bytestream.ByteStream of the Remote Execution API v2 to a
 * router. They live as long as the router's server and own nothing: the store is the host's to dispose of.
 */
export function registerContentService(
  router: ConnectRouter,
  deps: ContentServiceDeps,
  limits: ContentServiceLimits = {},
): void {
  const resolved = resolveLimits(limits, deps.store.blobSizeBytesMax);
  const logger = deps.logger ?? silentLogger;
  const { store, principalOf } = deps;
  const options = {
    readMaxBytes: resolved.messageBytesMax,
    // Blobs travel as they are or as zstd; gzip on top would cost much and save nothing.
    compressMinBytes: 0xffffffff,
  };
  const cas = createCasService(store, principalOf, resolved);
  const bytes = createByteStreamService(store, principalOf, resolved, deps.clock ?? systemClock);
  router.service(ContentAddressableStorage, withWireErrors(cas, logger), options);
  router.service(ByteStream, withWireErrors(bytes, logger), options);
  router.service(Capabilities, withWireErrors(createCapabilitiesService(principalOf, resolved), logger), options);
}

type AnyHandler = (request: never, context: HandlerContext) => unknown;

/** Turns whatever a handler throws into the error that goes over the wire. */
function withWireErrors<Service extends DescService>(
  service: ServiceImpl<Service>,
  logger: Logger,
): ServiceImpl<Service> {
  const failed = (error: unknown, context: HandlerContext): unknown => {
    if (context.signal.aborted) return context.signal.reason;
    const wire = connectErrorFrom(error);
    const fields = { method: `${context.service.typeName}/${context.method.name}`, err: error };
    if (wire.code === Code.Internal) logger.error(fields, 'a call of the content service failed');
    else logger.debug(fields, 'a call of the content service was refused');
    return wire;
  };
  const wrapped = Object.entries(service as Record<string, AnyHandler>).map(([name, handler]) => {
    const call = (request: never, context: HandlerContext): unknown => {
      if (context.method.methodKind === 'server_streaming') {
        return streamed(handler(request, context) as AsyncIterable<unknown>, (error) => failed(error, context));
      }
      return awaited(
        () => handler(request, context),
        (error) => failed(error, context),
      );
    };
    return [name, call];
  });
  return Object.fromEntries(wrapped) as ServiceImpl<Service>;
}

async function awaited(work: () => unknown, wrap: (error: unknown) => unknown): Promise<unknown> {
  try {
    return await work();
  } catch (error) {
    throw wrap(error);
  }
}

async function* streamed(source: AsyncIterable<unknown>, wrap: (error: unknown) => unknown): AsyncGenerator<unknown> {
  try {
    yield* source;
  } catch (error) {
    throw wrap(error);
  }
}
