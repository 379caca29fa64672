import { anyUnpack } from '@bufbuild/protobuf/wkt';
import { defineServerPart, DroverError } from '@drover/lease-kit';
import { checkConformWish } from '../asked-conform.ts';
import { conformLeaseType } from '../conform-lease-type.ts';
import { ConformWishSchema } from '../gen/drover/conform/v1/conform_pb.ts';
import { conformConfigSchema } from './conform-config.ts';
import { ConformKeeper, type ConformKeeperDeps } from './conform-keeper.ts';
import { createConformTaskSource } from './conform-task-source.ts';

/** What conforming brings to a server: the source of what is wanted of agents, and a keeper that wants it in time. */
export const serverPart = defineServerPart({
  type: conformLeaseType,
  needs: ['workspaces', 'agentTasks', 'sessions', 'signals', 'poolsOf', 'clock', 'logger'],
  config: conformConfigSchema,
  create: ({ interval, backoff, at_once, remove_others, poll }, deps: ConformKeeperDeps) => {
    const { agentTasks, signals, clock, logger } = deps;
    const keeper = new ConformKeeper(deps, {
      removesOthers: remove_others,
      pollMs: poll,
      ...(interval === undefined ? {} : { intervalMs: interval }),
    });
    const source = createConformTaskSource(
      { backoffMs: backoff, atOnceMax: at_once, removesOthers: remove_others },
      {
        agentTasks,
        signals,
        clock,
        logger,
        workspacesOf: (pools) => keeper.workspacesOf(pools),
        setDiffers: () => keeper.wake(),
      },
    );
    return {
      source: {
        ...source,
        // Not before the server hands out work: until then it does not know its pools.
        onWork: (wake) => {
          keeper.start();
          return source.onWork!(wake);
        },
      },
      agentTask: {
        payloadType: ConformWishSchema.typeName,
        check(payload) {
          const wish = anyUnpack(payload, ConformWishSchema);
          if (wish !== undefined) return checkConformWish(wish);
          throw new DroverError({
            code: 'CONFORM_INVALID',
            advice: 'fix-input',
            message: `payload: ${payload.typeUrl}; allowed: a ${ConformWishSchema.typeName}.`,
          });
        },
      },
      // The lease names what is synced and removed, which is not for whoever submits jobs to say.
      reserved: [conformLeaseType.payload.typeName],
      [Symbol.asyncDispose]: () => keeper[Symbol.asyncDispose](),
    };
  },
});
