import { create } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { loadAppConfig } from '@drover/app-config';
import { createDiskContentStore } from '@drover/content-store-disk';
import { JobService } from '@drover/control-api';
import { createFleetPolicy } from '@drover/fleet-policy';
import { silentLogger, systemClock } from '@drover/lease-kit';
import { createMemoryStore } from '@drover/lease-store';
import { createLeaseTypes } from '@drover/lease-type-loader';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { composeServer, createServerHost } from './compose-server.ts';
import { createServerAccess } from './server-access.ts';
import { serverConfig } from './server-config.ts';
import { createServerCompile } from './server-compile.ts';
import { createServerEnrolment } from './server-enrolment.ts';
import { serverParts, type ServerCollaborators } from './server-parts.ts';

test('who may submit jobs cannot restart, switch off or upgrade machines by a job', async () => {
  await using parts = new AsyncDisposableStack();
  const dir = mkdtempSync(join(tmpdir(), 'drover-reserved-'));
  parts.defer(() => rmSync(dir, { recursive: true, force: true }));
  const logger = silentLogger;
  const store = parts.use(createMemoryStore());
  const content = parts.use(await createDiskContentStore({ directory: join(dir, 'content'), sizeBytesMax: 2 ** 20 }));
  const flags = { 'listen.port': '0', 'access.development': 'true', 'state.dir': dir };
  const config = loadAppConfig(serverConfig, { env: {}, flags, cwd: '/' }).value;
  const policy = parts.use(createFleetPolicy({ store, principal: { kind: 'service', id: 'test' } }));
  const collaborators = (): ServerCollaborators => ({
    ...store,
    weightOf: () => 1,
    poolsOf: () => [],
    blobs: content,
    clock: systemClock,
    logger,
  });
  const loaded = await serverParts(config, dir);
  const leaseTypes = parts.use(await createLeaseTypes(loaded, { tables: {}, collaborators }));
  const enrolment = parts.use(createServerEnrolment(config, { store, logger }));
  const access = parts.use(createServerAccess(config, { store, logger }));
  const container = composeServer(config, {
    store,
    content,
    logger,
    policy,
    enrolment,
    compile: createServerCompile(config, { store, failures: access.failures, logger }),
    leaseTypes: leaseTypes.contributions,
  });
  const host = createServerHost(config, container, access);
  await host.start();
  parts.defer(() => host.stop({ graceMs: 0 }));

  const jobs = createClient(JobService, createGrpcTransport({ baseUrl: host.url }));
  const codes: Record<string, string> = {};
  for (const { part } of loaded) {
    const typeUrl = `type.googleapis.com/${part.type.payload.typeName}`;
    codes[part.type.name] = await jobs.submitJobs({ jobs: [{ payload: create(AnySchema, { typeUrl }) }] }).then(
      () => 'taken',
      (error: unknown) => droverErrorFromConnect(error).code,
    );
  }
  const reserved = 'PAYLOAD_RESERVED';
  expect(codes).toEqual({ shutdown: reserved, restart: reserved, upgrade: reserved, conform: reserved, job: 'taken' });
});
