import { expect, test } from 'vitest';
import { AccessService, FleetService, JobService } from './index.ts';

test('browsers can make every call: none of them streams requests', () => {
  const methods = [...JobService.methods, ...FleetService.methods, ...AccessService.methods];
  expect(methods.length).toBeGreaterThan(5);
  for (const { name, methodKind } of methods)
    expect([name, methodKind]).toEqual([name, expect.stringMatching(/^(unary|server_streaming)$/)]);
});
