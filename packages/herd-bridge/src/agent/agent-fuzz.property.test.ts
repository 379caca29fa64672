import { test } from 'vitest';
import { agentStands } from './agent-fuzz.test.fixture.ts';

test('whatever clients send, the agent ends them and takes the next job', () => agentStands(150));
