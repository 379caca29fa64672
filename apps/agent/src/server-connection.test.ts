import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadAppConfig } from '@drover/app-config';
import { expect, onTestFinished, test } from 'vitest';
import { agentConfig } from './agent-config.ts';
import { agentTls, checkServerUrls, wantsEnrolment } from './server-connection.ts';

const configOf = (server: Record<string, string | readonly string[]>) => {
  const flags = Object.fromEntries(Object.entries(server).map(([name, value]) => [`server.${name}`, value]));
  return loadAppConfig(agentConfig, { env: {}, flags, cwd: '/' }).value;
};
const there = 'http://build.example:7613';
const here = 'http://127.0.0.1:7613';

test('another machine is called over TLS, or without it where that is said', () => {
  const refused = expect.objectContaining({
    code: 'PLAINTEXT_REFUSED',
    message: expect.stringContaining(there) as string,
  });
  expect(() => checkServerUrls(configOf({ urls: [here, there] }))).toThrow(refused as Error);
  for (const urls of [[here], ['http://[::1]:1', 'http://localhost:1'], ['https://build.example', here]]) {
    expect(() => checkServerUrls(configOf({ urls }))).not.toThrow();
  }
  expect(() => checkServerUrls(configOf({ urls: [there], plaintext: 'true' }))).not.toThrow();
});

test('a certificate goes with its key, and files that cannot be read are named', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'drover-tls-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const [pem, absent] = [join(dir, 'some.pem'), join(dir, 'absent.pem')];
  writeFileSync(pem, 'some');
  await expect(agentTls(configOf({ tls_cert: pem }))).rejects.toMatchObject({ code: 'TLS_INCOMPLETE' });
  await expect(agentTls(configOf({ tls_key: pem }))).rejects.toMatchObject({ code: 'TLS_INCOMPLETE' });
  const missing = { code: 'TLS_FILES_INVALID', message: expect.stringContaining(absent) as string };
  await expect(agentTls(configOf({ tls_ca: absent }))).rejects.toMatchObject(missing);
  const read = Buffer.from('some');
  expect(await agentTls(configOf({ tls_ca: pem, tls_cert: pem, tls_key: pem }))).toEqual({
    ca: read,
    cert: read,
    key: read,
  });
  expect(await agentTls(configOf({}))).toEqual({});
});

test.each<[string, Record<string, string | readonly string[]>, boolean]>([
  ['on this machine', { urls: [here] }, false],
  ['over TLS', { urls: ['https://build.example'] }, true],
  ['over TLS with the bootstrap token', { urls: ['https://build.example'], token: 'bootstrap-token' }, false],
  ['with an enrolment token', { urls: [here], enrolment_token: 'some-token' }, true],
  ['where it is told so', { urls: [here], enrol: 'true' }, true],
  ['where it is told not to', { urls: ['https://build.example'], enrol: 'false' }, false],
])('an agent %s is enrolled, or not', (_, server, isEnrolled) => {
  expect(wantsEnrolment(configOf(server))).toBe(isEnrolled);
});
