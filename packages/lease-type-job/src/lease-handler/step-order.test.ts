import { create } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import { StepSchema, type Step } from '../gen/drover/job/v1/job_pb.ts';
import { StepOrder } from './step-order.ts';

const step = (name: string, needs: string[] = [], always = false): Step => create(StepSchema, { name, needs, always });

test('steps start when what they need has succeeded', () => {
  const order = new StepOrder([step('a'), step('b', ['a']), step('c')]);
  expect([order.takeReady()?.name, order.takeReady()?.name, order.takeReady()]).toEqual(['a', 'c', undefined]);
  order.ended('a', 'succeeded');
  expect(order.takeReady()?.name).toBe('b');
});

test('a step whose need failed never starts, nor do those that need it', () => {
  const order = new StepOrder([step('a'), step('b', ['a']), step('c', ['b']), step('report', ['c'], true)]);
  order.takeReady();
  order.ended('a', 'failed');
  expect(order.takeReady()).toBeUndefined();
  expect(order.takeHopeless()?.name).toBe('b');
  order.ended('b', 'skipped');
  expect(order.takeHopeless()?.name).toBe('c');
  order.ended('c', 'skipped');
  expect(order.takeReady()?.name).toBe('report');
  expect(order.takeRest()).toEqual([]);
});

test('what has not started when the batch stops is the rest', () => {
  const order = new StepOrder([step('a'), step('b', ['a'])]);
  order.takeReady();
  expect(order.takeRest().map(({ name }) => name)).toEqual(['b']);
});
