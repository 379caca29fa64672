import { EmptySchema } from '@bufbuild/protobuf/wkt';
import { describe, expect, test } from 'vitest';
import type { ConfigSchema } from './config-schema.ts';
import { isDroverError } from './drover-error.ts';
import type { LeaseHandler } from './lease-handler.ts';
import { defineAgentPart, defineServerPart, leaseTypeContract, leaseTypePartMark } from './lease-type-part.ts';
import { defineLeaseType } from './lease-type.ts';
import type { TaskSource } from './task-source.ts';

const type = defineLeaseType({ name: 'nap', payload: EmptySchema, output: EmptySchema });
const handler: LeaseHandler = { type, run: () => Promise.resolve({ kind: 'lost', code: 'X', message: '' }) };
const source: TaskSource = { name: 'nap', ask: () => Promise.resolve(new Map()) };

/** A schema by hand, as the standard asks for: a table with a number. */
const depth: ConfigSchema<{ readonly depth: number }> = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: (value) => {
      const { depth = 3 } = value as { depth?: unknown };
      return typeof depth === 'number'
        ? { value: { depth } }
        : { issues: [{ message: 'is no number', path: ['depth'] }] };
    },
  },
};

describe('a part of a lease type', () => {
  test('carries its side and the contract that it was made for', () => {
    const server = defineServerPart({ type, needs: [], create: () => ({ source }) });
    const agent = defineAgentPart({ type, needs: [], create: () => ({ handler }) });
    expect(leaseTypePartMark(server)).toEqual({ side: 'server', contract: leaseTypeContract });
    expect(leaseTypePartMark(agent)).toEqual({ side: 'agent', contract: leaseTypeContract });
    for (const value of [undefined, null, 7, {}, { type, needs: [] }]) expect(leaseTypePartMark(value)).toBeUndefined();
  });

  test('gets its configuration as its schema reads it, and its collaborators', async () => {
    const got: unknown[] = [];
    const part = defineAgentPart({
      type,
      needs: ['runner'],
      config: depth,
      create: (config, deps: { readonly runner: string; readonly spare?: string }) => {
        got.push(config.depth, deps);
        return { handler };
      },
    });
    await expect(part.create({ depth: 5 }, { runner: 'r' })).resolves.toEqual({ handler });
    await part.create(undefined, { runner: 'r' });
    expect(got).toEqual([5, { runner: 'r' }, 3, { runner: 'r' }]);
  });

  test('refuses a configuration that its schema does not take, and any if it has none', async () => {
    const wrong = (text: RegExp) => (error: unknown) =>
      isDroverError(error, 'LEASE_TYPE_CONFIG_INVALID') && text.test(error.message);
    const configured = defineAgentPart({ type, needs: [], config: depth, create: () => ({ handler }) });
    const bare = defineAgentPart({ type, needs: [], create: () => ({ handler }) });
    await expect(configured.create({ depth: 'x' }, {})).rejects.toSatisfy(wrong(/nap is wrong: depth: is no number/));
    await expect(bare.create({ depth: 1 }, {})).rejects.toSatisfy(wrong(/it takes no configuration/));
  });

  test('must name every collaborator that its factory requires', () => {
    const create = (_: undefined, deps: { readonly runner: string }) => ({ handler, runner: deps.runner });
    // @ts-expect-error -- runner is required and not named
    expect(defineAgentPart({ type, needs: [], create }).needs).toEqual([]);
  });
});
