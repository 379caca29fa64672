import { DroverError, type LeaseHandler } from '@drover/lease-kit';

/** The handlers of an agent, by the type name of their payload. */
export interface HandlerRegistry {
  /** The handler for a payload of this type, or undefined. */
  find(payloadType: string): LeaseHandler | undefined;
  /** What the agent can take, in the order of registration. */
  readonly payloadTypes: readonly string[];
}

/** Throws `LEASE_HANDLER_DUPLICATE` when two handlers take the same payload. At most 256 handlers. */
export function createHandlerRegistry(handlers: readonly LeaseHandler[]): HandlerRegistry {
  const byType = new Map<string, LeaseHandler>();
  if (handlers.length > 256) {
    throw new DroverError({
      code: 'LEASE_HANDLERS_TOO_MANY',
      advice: 'fix-input',
      message: `${handlers.length} handlers, at most 256 are allowed`,
    });
  }
  for (const handler of handlers) {
    const { typeName } = handler.type.payload;
    const other = byType.get(typeName);
    if (other) {
      throw new DroverError({
        code: 'LEASE_HANDLER_DUPLICATE',
        advice: 'fix-input',
        message: `lease types ${other.type.name} and ${handler.type.name} both take ${typeName}; register one handler`,
      });
    }
    byType.set(typeName, handler);
  }
  return { find: (payloadType) => byType.get(payloadType), payloadTypes: [...byType.keys()] };
}
