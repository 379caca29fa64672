import { anyUnpack } from '@bufbuild/protobuf/wkt';
import { defineServerPart, DroverError } from '@drover/lease-kit';
import { ShutdownSchema } from '../gen/drover/shutdown/v1/shutdown_pb.ts';
import { shutdownRequest } from '../shutdown-bounds.ts';
import { shutdownLeaseType } from '../shutdown-lease-type.ts';
import { createShutdownTaskSource, type ShutdownTaskSourceDeps } from './shutdown-task-source.ts';

/** What shutdowns bring to a server: the source of what is wanted of agents. */
export const serverPart = defineServerPart({
  type: shutdownLeaseType,
  needs: ['agentTasks', 'signals', 'logger'],
  create: (_config, deps: ShutdownTaskSourceDeps) => ({
    source: createShutdownTaskSource(deps),
    agentTask: {
      payloadType: ShutdownSchema.typeName,
      check(payload) {
        const shutdown = anyUnpack(payload, ShutdownSchema);
        if (shutdown !== undefined) return void shutdownRequest(shutdown);
        throw new DroverError({
          code: 'SHUTDOWN_INVALID',
          advice: 'fix-input',
          message: `payload: ${payload.typeUrl}; allowed: a ${ShutdownSchema.typeName}.`,
        });
      },
    },
  }),
});
