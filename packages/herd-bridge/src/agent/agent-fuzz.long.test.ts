import { test } from 'vitest';
import { agentStands } from './agent-fuzz.test.fixture.ts';

test(
  'whatever 10,000 clients send, the agent ends them and takes the next job',
  () => agentStands(10_000),
  20 * 60_000,
);
