import { anyUnpack } from '@bufbuild/protobuf/wkt';
import { defineServerPart, DroverError } from '@drover/lease-kit';
import { RestartSchema } from '../gen/drover/restart/v1/restart_pb.ts';
import { restartRequest } from '../restart-bounds.ts';
import { restartLeaseType } from '../restart-lease-type.ts';
import { createRestartTaskSource, type RestartTaskSourceDeps } from './restart-task-source.ts';

/** What restarts bring to a server: the source of what is wanted of agents. */
export const serverPart = defineServerPart({
  type: restartLeaseType,
  needs: ['agentTasks', 'signals', 'logger'],
  create: (_config, deps: RestartTaskSourceDeps) => ({
    source: createRestartTaskSource(deps),
    agentTask: {
      payloadType: RestartSchema.typeName,
      check(payload) {
        const restart = anyUnpack(payload, RestartSchema);
        if (restart !== undefined) return void restartRequest(restart);
        throw new DroverError({
          code: 'RESTART_INVALID',
          advice: 'fix-input',
          message: `payload: ${payload.typeUrl}; allowed: a ${RestartSchema.typeName}.`,
        });
      },
    },
  }),
});
