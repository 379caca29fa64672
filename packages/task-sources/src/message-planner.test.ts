import { create } from '@bufbuild/protobuf';
import { anyPack, BoolValueSchema, StringValueSchema } from '@bufbuild/protobuf/wkt';
import { defineLeaseType, DroverError, isDroverError } from '@drover/lease-kit';
import { describe, expect, test } from 'vitest';
import { createMessagePlanner } from './message-planner.ts';

const type = defineLeaseType({ name: 'greet', payload: StringValueSchema, output: BoolValueSchema, runLimitMs: 7 });
const packed = (value: string) => anyPack(StringValueSchema, create(StringValueSchema, { value }));

describe('the planner of a message', () => {
  test('makes one lease by the rules of its type', () => {
    const planner = createMessagePlanner({ type });
    expect(planner).toMatchObject({ source: 'greet', payloadType: StringValueSchema.typeName });
    expect(planner.plan(packed('Ada'))).toEqual([
      {
        name: 'greet',
        payload: packed('Ada'),
        requirements: { resources: { cores: 1 } },
        runLimitMs: 7,
        cancelGraceMs: type.cancelGraceMs,
        retry: type.retry,
      },
    ]);
    const output = anyPack(BoolValueSchema, create(BoolValueSchema, { value: false }));
    expect(planner.succeeded(output)).toBe(true);
    expect(planner.succeeded(packed('Ada'))).toBe(false);
  });

  test('asks for name, requirements and success where it is told how', () => {
    const planner = createMessagePlanner({
      type,
      name: ({ value }) => `greet ${value}`,
      requirements: ({ value }) => ({ pool: value }),
      succeeded: ({ value }) => value,
    });
    expect(planner.plan(packed('Ada'))[0]).toMatchObject({ name: 'greet Ada', requirements: { pool: 'Ada' } });
    for (const value of [true, false]) {
      expect(planner.succeeded(anyPack(BoolValueSchema, create(BoolValueSchema, { value })))).toBe(value);
    }
  });

  test('refuses what cannot be read, and what the check refuses', () => {
    const planner = createMessagePlanner({
      type,
      check: ({ value }) => {
        if (value === '') throw new DroverError({ code: 'NOBODY', advice: 'fix-input', message: 'whom?' });
      },
    });
    const refused = (code: string) => (error: unknown) => isDroverError(error, code);
    expect(() => planner.plan(packed(''))).toThrow(expect.toSatisfy(refused('NOBODY')));
    expect(() => planner.plan({ ...packed('x'), value: new Uint8Array([0xff]) })).toThrow(
      expect.toSatisfy(refused('LEASE_PAYLOAD_INVALID')),
    );
  });
});
