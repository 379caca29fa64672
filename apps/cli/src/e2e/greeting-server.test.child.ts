import { TaskSource } from '@drover/lease-kit';
import { StoreToken, createServerCommand } from '@drover/server';
import { createQueueTaskSource } from '@drover/task-sources';
import { instanceCachingFactory } from 'tsyringe';

// A server with a lease type more: one registration.
await createServerCommand((container) => {
  container.register<TaskSource>(TaskSource, {
    useFactory: instanceCachingFactory((c) => createQueueTaskSource({ name: 'greeting' }, c.resolve(StoreToken))),
  });
}).parseAsync();
