import { expect, test } from 'vitest';
import {
  AccessService,
  AgentHealthService,
  AgentService,
  FleetService,
  JobService,
  PoolService,
  WorkspaceService,
} from './index.ts';

test('browsers can make every call: none of them streams requests', () => {
  const services = [
    JobService,
    FleetService,
    AccessService,
    AgentHealthService,
    AgentService,
    PoolService,
    WorkspaceService,
  ];
  const methods = services.flatMap((service) => service.methods);
  expect(methods.length).toBeGreaterThan(5);
  for (const { name, methodKind } of methods)
    expect([name, methodKind]).toEqual([name, expect.stringMatching(/^(unary|server_streaming)$/)]);
});
