// eslint-disable-next-line @nx/enforce-module-boundaries -- a program of its own: nothing waits for what it loads
import { createAgentCommand } from '@drover/agent';
import { create } from '@bufbuild/protobuf';
import { StringValueSchema, type StringValue } from '@bufbuild/protobuf/wkt';
import { LeaseHandler, defineLeaseType, type HandlerResult } from '@drover/lease-kit';

/** Greets whom its payload names. */
class GreetingHandler implements LeaseHandler<typeof StringValueSchema, typeof StringValueSchema> {
  readonly type = defineLeaseType({ name: 'greeting', payload: StringValueSchema, output: StringValueSchema });

  run({ value }: StringValue): Promise<HandlerResult<typeof StringValueSchema>> {
    return Promise.resolve({ kind: 'completed', output: create(StringValueSchema, { value: `hello, ${value}` }) });
  }
}

// An agent with a lease type more: one registration.
await createAgentCommand((container) => {
  container.registerSingleton<LeaseHandler>(LeaseHandler, GreetingHandler);
}).parseAsync();
