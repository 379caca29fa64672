import { create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { createRouterTransport } from '@connectrpc/connect';
import { CompileAuditSchema, SchedulerService, type HeartbeatRequest } from '@drover/compile-protocol';
import { newTaskTokenKey } from '@drover/compile-tokens';
import { DroverError } from '@drover/lease-kit';
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AuditOutbox, CompileWorker, SchedulerLink } from './index.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'scheduler-link-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const audit = (compileId: string) => create(CompileAuditSchema, { compileId, tenantId: 'acme', exitCode: 0 });

test('a worker registers, beats, and begins anew when its session is gone; records are told', async () => {
  const said: string[] = [];
  const beats: HeartbeatRequest[] = [];
  const told: string[] = [];
  let session = 0;
  let lost = false;
  const key = newTaskTokenKey();
  const transport = createRouterTransport(({ service }) =>
    service(SchedulerService, {
      openWorkerSession: () => {
        session += 1;
        said.push('open');
        const signingKeys = [{ keyId: key.keyId, publicKey: key.publicKey }];
        return { sessionToken: `s${session}`, signingKeys, heartbeatInterval: durationFromMs(100) };
      },
      registerWorker: ({ slotsTotal }, { requestHeader }) => {
        said.push(`register ${slotsTotal} ${requestHeader.get('authorization')}`);
        return { epoch: BigInt(session) };
      },
      heartbeat: (request) => {
        beats.push(request);
        if (session === 1 && beats.length === 2) {
          lost = true;
          throw new DroverError({ code: 'WORKER_SESSION_EXPIRED', advice: 'denied', message: 'gone' });
        }
        return {};
      },
      recordCompiles: ({ compiles }) => {
        told.push(...compiles.map(({ compileId }) => compileId));
        return {};
      },
    }),
  );
  const outbox = new AuditOutbox(dir);
  outbox.add(audit('a'));
  const pool = {
    list: () => [{ id: 'x', tenant: 'acme', imageDigest: 'sha256:1', state: 'running' as const, uses: 2 }],
  };
  const images = { held: () => [{ digest: 'sha256:1' }], advertised: () => ['sha256:2'] };
  const isolation = { driver: 'namespace', level: 'namespaces', facts: {} };
  const registration = {
    ...{ publicAddress: 'w:1', certificateSha256: new Uint8Array(32), slotsTotal: 8, paranoid: false },
    ...{ version: '1', architecture: 'linux-x64', isolation },
  };
  await using link = new SchedulerLink(
    { workerId: 'w1', workerToken: 't'.repeat(16), registration },
    { transport, outbox, images, pool, load: () => 0.5 },
  );
  expect(link.epoch).toBeUndefined();
  const worker = new CompileWorker(
    { workerId: 'w1', paranoid: false, slots: 8, compileMsMax: 1_000 },
    { pool: undefined as never, images: undefined as never, keys: link.keys, epoch: () => link.epoch },
  );
  const inFlight = worker.beginCompile('c', 'acme');
  link.start(worker);
  await link.registered;
  await expect.poll(() => lost && link.epoch === 2 && beats.length >= 3, { timeout: 10_000 }).toBe(true);
  expect(said).toEqual(['open', 'register 8 Bearer s1', 'open', 'register 8 Bearer s2']);
  expect(beats[0]).toMatchObject({
    ...{ epoch: 1n, compiles: 1, slotsFree: 7, load: 0.5, imagesHeld: ['sha256:1'], imagesAdvertised: ['sha256:2'] },
    sandboxes: [{ sandboxId: 'x', tenantId: 'acme', execs: 2 }],
  });
  worker.endCompile(inFlight);
  await worker.drain();
  outbox.add(audit('b'));
  await link[Symbol.asyncDispose]();
  expect(beats.at(-1)).toMatchObject({ epoch: 2n, compiles: 0, slotsFree: 0, draining: true });
  expect(told).toEqual(['a', 'b']);
  expect(outbox.size).toBe(0);
});

test('records outlive the process, a line cut short does not', async () => {
  const first = new AuditOutbox(dir);
  first.add(audit('a'));
  first.add(audit('b'));
  appendFileSync(join(dir, 'waiting.jsonl'), '{"compileId":"c');
  const second = new AuditOutbox(dir);
  expect(second.size).toBe(2);
  await expect(second.flush(() => Promise.reject(new Error('away')))).rejects.toThrow('away');
  expect(new AuditOutbox(dir).size).toBe(2);
  await second.flush(async () => undefined);
  expect(new AuditOutbox(dir).size).toBe(0);
});
