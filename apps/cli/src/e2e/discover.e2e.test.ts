import { AgentAvailability } from '@drover/herd-protocol';
import { createDiscoveryResponder, type DiscoveryResponder } from '@drover/herd-discovery';
import { generateKeyPairSync, sign } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DroverProcess } from './drover-process.fixture.ts';

/** The command and an agent's responder, on the loopback interface alone. */
const folder = mkdtempSync(join(tmpdir(), 'drover-discover-'));
const env = { DROVER_HERD_DIR: folder };
let responder: DiscoveryResponder;
let port: string;

beforeAll(async () => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  responder = createDiscoveryResponder(
    { port: 0, hosts: ['0.0.0.0'] },
    {
      signer: {
        publicKey: Buffer.from(publicKey.export({ format: 'jwk' }).x!, 'base64url'),
        sign: (bytes) => sign(null, bytes, privateKey),
      },
      describe: () => ({
        agentId: 'agent-7',
        name: 'build-7\u001b[31m',
        version: '1.2.3',
        availability: AgentAvailability.BUSY,
        port: 1,
        certificateSha256: new Uint8Array(32),
        architecture: 'linux-x64',
        processors: 8,
        slotsTotal: 7,
        slotsFree: 0,
        ramTotalBytes: 16n * 1_024n ** 3n,
        ramFreeBytes: 8n * 1_024n ** 3n,
        load: 0.5,
        gpus: ['RTX 6000'],
        pools: ['linux'],
      }),
    },
  );
  await responder.start();
  port = String(responder.listening[0]!.port);
});
afterAll(async () => {
  await responder.stop();
  rmSync(folder, { recursive: true });
});

test('the agents of the loopback interface, as a table, for programs, and what is wrong with one', async () => {
  const look = ['discover', '--interface', 'lo', '--port', port, '--timeout', '1s'];
  const [table, doctor] = await Promise.all([
    new DroverProcess(look, { env }).exited,
    new DroverProcess([...look, '--doctor', '--json'], { env }).exited,
  ]);
  const [head, row] = table.stdout.split('\n').map((line) => line.split(/ {2,}/));
  expect(head).toEqual(
    'AGENT,STATE,SLOTS,LOAD,CPUS,RAM FREE,GPU,POOLS,PLATFORM,VERSION,ADDRESS,PAIRED,ANSWERED IN'.split(','),
  );
  // What would colour the terminal is left out.
  expect(row?.slice(0, 12)).toEqual(
    'build-7[31m,busy,0/7,50 %,8,8.0 GiB of 16.0 GiB,RTX 6000,linux,linux-x64,1.2.3,127.0.0.1:1,no'.split(','),
  );
  const { agents, findings } = JSON.parse(doctor.stdout) as { agents: unknown[]; findings: { code: string }[] };
  expect(agents).toMatchObject([
    { agentId: 'agent-7', availability: 'busy', slots: { total: 7, free: 0 }, trusted: false },
  ]);
  expect(findings.map(({ code }) => code)).toEqual(expect.arrayContaining(['TCP_BLOCKED', 'NOT_PAIRED']));
  expect([table.code, doctor.code]).toEqual([0, 4]);
});

test('who comes and goes is told while it watches, until it is stopped', async () => {
  const args = ['discover', '--interface', 'lo', '--port', port, '--timeout', '250ms', '--watch'];
  await using watching = new DroverProcess(args, { env });
  expect(await watching.line(/^here /)).toContain('busy  0/7 slots');
  await responder.stop();
  await watching.line(/^gone /);
  watching.signal('SIGINT');
  expect((await watching.exited).code).toBe(0);
});
