import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { keepAgentKey } from './keep-agent-key.ts';
import { readCredential, writeCredential } from './kept-credential.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'drover-key-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

test('a key is drawn once and kept for its owner alone', async () => {
  const path = join(dir, 'identity/agent-key.json');
  const first = await keepAgentKey(path);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect((await keepAgentKey(path)).thumbprint).toBe(first.thumbprint);
});

test('a key that others can read, or that is none, is not used', async () => {
  const path = join(dir, 'agent-key.json');
  await keepAgentKey(path);
  chmodSync(path, 0o640);
  await expect(keepAgentKey(path)).rejects.toMatchObject({
    code: 'AGENT_KEY_EXPOSED',
    message: expect.stringContaining('mode 640'),
  });
  writeFileSync(path, 'nonsense');
  chmodSync(path, 0o600);
  await expect(keepAgentKey(path)).rejects.toMatchObject({ code: 'AGENT_KEY_INVALID' });
});

test('a credential is kept for its agent; a torn file is none', () => {
  const path = join(dir, 'credential.json');
  const credential = { agentId: 'a', token: 'x', expiresAtMs: 7 };
  expect(readCredential(path, 'a')).toBeUndefined();
  writeCredential(path, credential);
  expect([readCredential(path, 'a'), readCredential(path, 'b')]).toEqual([credential, undefined]);
  writeFileSync(path, '{"agentId":"a"');
  expect(readCredential(path, 'a')).toBeUndefined();
});
