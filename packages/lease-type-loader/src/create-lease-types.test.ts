import { EmptySchema, StringValueSchema } from '@bufbuild/protobuf/wkt';
import {
  defineAgentPart,
  defineLeaseType,
  defineServerPart,
  isDroverError,
  type AgentContribution,
  type LeaseHandler,
} from '@drover/lease-kit';
import { describe, expect, test } from 'vitest';
import { createLeaseTypes } from './create-lease-types.ts';
import type { LoadedPart } from './load-lease-type.ts';

const nap = defineLeaseType({ name: 'nap', payload: EmptySchema, output: EmptySchema });
const rest = defineLeaseType({ name: 'rest', payload: StringValueSchema, output: EmptySchema });
const handlerOf = (type: typeof nap | typeof rest): LeaseHandler => ({
  type,
  run: () => Promise.resolve({ kind: 'lost', code: 'X', message: '' }),
});
const loaded = (packageName: string, part: LoadedPart<AgentContribution>['part']) => ({ packageName, part });
const bare = (type: typeof nap | typeof rest) =>
  defineAgentPart({ type, needs: [], create: () => ({ handler: handlerOf(type) }) });
const nothing = { tables: {}, collaborators: () => ({ runner: 'r', logger: 'l' }) };
const refused = (code: string, text: RegExp) => (error: unknown) =>
  isDroverError(error, code) && text.test(error.message);

describe('lease types', () => {
  test('get the collaborators that they name and no others, and their own table', async () => {
    const seen: unknown[] = [];
    const part = defineAgentPart({
      type: nap,
      needs: ['runner'],
      config: {
        '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) },
      },
      create: (config, deps: { readonly runner: string }) => {
        seen.push(config, deps);
        return { handler: handlerOf(nap) };
      },
    });
    const options = { ...nothing, tables: { '@acme/nap': { depth: 1 } } };
    await using made = await createLeaseTypes([loaded('@acme/nap', part)], options);
    expect(made.contributions.map(({ handler }) => handler.type.name)).toEqual(['nap']);
    expect(seen).toEqual([{ depth: 1 }, { runner: 'r' }]);
  });

  test('that need what is not offered are refused', async () => {
    const part = defineAgentPart({
      type: nap,
      needs: ['moon'],
      create: (_, { moon }: { readonly moon: LeaseHandler }) => ({ handler: moon }),
    });
    await expect(createLeaseTypes([loaded('@acme/nap', part)], nothing)).rejects.toSatisfy(
      refused('LEASE_TYPE_NEEDS_UNKNOWN', /@acme\/nap: it needs moon, .*it offers runner, logger/),
    );
  });

  test('of one name or one payload are refused', async () => {
    const sameName = defineLeaseType({ name: 'nap', payload: StringValueSchema, output: EmptySchema });
    const samePayload = defineLeaseType({ name: 'doze', payload: EmptySchema, output: EmptySchema });
    for (const [type, text] of [
      [sameName, /b: it is named nap, as does a/],
      [samePayload, /b: it takes the payload google\.protobuf\.Empty, as does a/],
    ] as const) {
      const parts = [loaded('a', bare(nap)), loaded('b', bare(type as typeof nap))];
      await expect(createLeaseTypes(parts, nothing)).rejects.toSatisfy(refused('LEASE_TYPE_TWICE', text));
    }
    const twice = [loaded('a', bare(nap)), loaded('a', bare(nap))];
    await expect(createLeaseTypes(twice, nothing)).rejects.toSatisfy(
      refused('LEASE_TYPE_TWICE', /the same package, which is loaded already/),
    );
  });

  test('that plan one message are refused', async () => {
    const planning = (type: typeof nap | typeof rest) =>
      defineServerPart({
        type,
        needs: [],
        create: () => ({
          source: { name: type.name, ask: () => Promise.resolve(new Map()) },
          planner: {
            payloadType: 'test.Both',
            source: type.name,
            outputType: 'x',
            plan: () => [],
            succeeded: () => true,
          },
        }),
      });
    const parts = [nap, rest].map((type) => ({ packageName: type.name, part: planning(type) }));
    await expect(createLeaseTypes(parts, nothing)).rejects.toSatisfy(
      refused('LEASE_TYPE_TWICE', /rest: it plans the message test\.Both, as does nap/),
    );
  });

  test('that are configured and not loaded are an error', async () => {
    const options = { ...nothing, tables: { '@acme/mistyped': {} } };
    await expect(createLeaseTypes([loaded('@acme/nap', bare(nap))], options)).rejects.toSatisfy(
      refused('LEASE_TYPE_UNUSED_CONFIG', /@acme\/mistyped.* is configured and not loaded; loaded are @acme\/nap/),
    );
  });

  test('are disposed of together, those too that were made before one failed', async () => {
    const ends: string[] = [];
    const ending = (type: typeof nap | typeof rest) =>
      defineAgentPart({
        type,
        needs: [],
        create: () => ({ handler: handlerOf(type), [Symbol.asyncDispose]: async () => void ends.push(type.name) }),
      });
    const failing = defineAgentPart({
      type: rest,
      needs: [],
      create: () => {
        throw new Error('no bed');
      },
    });
    await expect(createLeaseTypes([loaded('a', ending(nap)), loaded('b', failing)], nothing)).rejects.toSatisfy(
      refused('LEASE_TYPE_FAILED', /b: it cannot be made: no bed/),
    );
    expect(ends).toEqual(['nap']);
    const made = await createLeaseTypes([loaded('a', ending(nap)), loaded('b', ending(rest))], nothing);
    await made[Symbol.asyncDispose]();
    expect(ends).toEqual(['nap', 'rest', 'nap']);
  });
});
