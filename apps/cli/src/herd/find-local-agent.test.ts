import { expect, test } from 'vitest';
import { isAgent } from './find-local-agent.ts';

test.each([
  ['node /opt/drover/bin/drover-agent.mjs --server.urls x', true],
  ['/opt/drover/node --conditions=@drover/source /src/apps/agent/src/main.ts', true],
  ['node /usr/bin/drover agent --state.dir /var/lib/drover', true],
  ['node /src/apps/cli/src/main.ts agent', true],
  ['node /usr/bin/drover agent service install', false],
  ['node /usr/bin/drover agents', false],
  ['node /usr/bin/drover discover --doctor', false],
  ['vim apps/agent/src/main.rs', false],
  ['ssh-agent -s', false],
])('%s: %s', (line, expected) => {
  expect(isAgent(line.split(' '))).toBe(expected);
});
