import { Code } from '@connectrpc/connect';
import { createAccessGate, roles, rpcTable, type Caller, type Role } from '@drover/access';
import { loadAppConfig } from '@drover/app-config';
import { createDiskContentStore } from '@drover/content-store-disk';
import { createFleetPolicy } from '@drover/fleet-policy';
import { silentLogger } from '@drover/lease-kit';
import { createMemoryStore } from '@drover/lease-store';
import { createJobTaskSource, jobPlanner } from '@drover/lease-type-job/task-source';
import { errorCodeHeader } from '@drover/rpc-errors';
import type { RpcHost, ServedMethod } from '@drover/rpc-host';
import { Health } from '@drover/standard-protocols';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type ClientHttp2Session, type IncomingHttpHeaders } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { composeServer, createServerHost } from './compose-server.ts';
import { createServerAccess } from './server-access.ts';
import { createServerCompile } from './server-compile.ts';
import { createServerEnrolment } from './server-enrolment.ts';
import { serverConfig } from './server-config.ts';

/** Whoever may call, named by the header `as` in place of a credential. */
const callers: Readonly<Record<string, Pick<Caller, 'principal' | 'role' | 'pools'>>> = {
  agent: { principal: { kind: 'agent', id: 'a1' } },
  ...Object.fromEntries(roles.map((role) => [role, { principal: { kind: 'user', id: role }, role }])),
  ...Object.fromEntries(
    roles.map((role) => [`${role} of a pool`, { principal: { kind: 'user', id: role }, role, pools: ['gpu'] }]),
  ),
  'somebody without a role': { principal: { kind: 'user', id: 'none' } },
};

const parts = new AsyncDisposableStack();
let served: readonly ServedMethod[] = [];
let session: ClientHttp2Session;
let host: RpcHost;

beforeAll(async () => {
  const dir = mkdtempSync(join(tmpdir(), 'drover-rpc-access-'));
  parts.defer(() => rmSync(dir, { recursive: true, force: true }));
  const store = parts.use(createMemoryStore());
  const content = parts.use(await createDiskContentStore({ directory: join(dir, 'content'), sizeBytesMax: 2 ** 20 }));
  const flags = { 'listen.port': '0', 'access.development': 'true', 'state.dir': dir };
  const config = loadAppConfig(serverConfig, { env: {}, flags, cwd: '/' }).value;
  const access = parts.use(createServerAccess(config, { store, logger: silentLogger }));
  const gate = createAccessGate({
    table: rpcTable,
    verifiers: [
      {
        verify: ({ header, peer }) => {
          const caller = callers[header.get('as') ?? ''];
          return caller && { ...caller, address: peer.remoteAddress, credential: 'test' };
        },
      },
    ],
  });
  const source = createJobTaskSource({ queue: store.queue, signals: store.signals, logger: silentLogger });
  const leaseTypes = [{ source, planner: jobPlanner }];
  const policy = parts.use(createFleetPolicy({ store, principal: { kind: 'service', id: 'test' } }));
  const enrolment = parts.use(createServerEnrolment(config, { store, logger: silentLogger }));
  const compile = createServerCompile(config, { store, failures: access.failures, logger: silentLogger });
  const serverParts = { store, content, logger: silentLogger, policy, enrolment, compile, leaseTypes };
  const container = composeServer(config, serverParts);
  host = createServerHost(config, container, {
    ...access,
    gate: {
      enter: (call) => gate.enter(call),
      checkMethods: (methods) => {
        served = methods;
        gate.checkMethods(methods);
      },
    },
  });
  await host.start();
  parts.defer(() => host.stop({ graceMs: 0 }));
  session = connect(host.url);
  parts.defer(() => session.destroy());
});
afterAll(() => parts.disposeAsync());

interface Answer {
  readonly status: number;
  readonly code: string;
}

/** Calls a method with one empty message; an answer that begins is an answer. */
function call(path: string, as: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      'grpc-timeout': '20S',
      as,
    });
    const look = (headers: IncomingHttpHeaders): void => {
      if (headers['grpc-status'] === undefined) return;
      resolve({ status: Number(headers['grpc-status']), code: String(headers[errorCodeHeader] ?? '') });
    };
    stream.on('response', look).on('trailers', look).on('error', reject);
    stream.on('data', () => {
      resolve({ status: 0, code: '' });
      stream.close();
    });
    stream.end(Buffer.alloc(5));
  });
}

/** What the table means, said another way than the gate does. */
function expected({ service, method }: ServedMethod, as: string): string {
  const { needs, agents, scoped } = rpcTable[service]![method]!;
  if (needs === 'anyone') return 'let in';
  const caller = callers[as];
  if (caller === undefined) return 'UNAUTHENTICATED';
  if (as === 'agent') return agents ? 'let in' : 'ROLE_MISSING';
  const atLeast: Record<Role, readonly Role[]> = {
    viewer: ['viewer', 'submitter', 'operator', 'admin'],
    submitter: ['submitter', 'operator', 'admin'],
    operator: ['operator', 'admin'],
    admin: ['admin'],
  };
  if (needs === undefined || caller.role === undefined || !atLeast[needs].includes(caller.role)) return 'ROLE_MISSING';
  return caller.pools === undefined || scoped ? 'let in' : 'POOL_OUT_OF_SCOPE';
}

test('every method is let in and refused as the table says, in every role', async () => {
  expect(served.length).toBeGreaterThan(20);
  const found: Record<string, string> = {};
  const wanted: Record<string, string> = {};
  for (const one of served) {
    for (const as of [...Object.keys(callers), 'nobody']) {
      const name = `${one.service}/${one.method} as ${as}`;
      wanted[name] = expected(one, as);
      const { status, code } = await call(`/${one.service}/${one.method}`, as);
      const refusals = ['UNAUTHENTICATED', 'ROLE_MISSING', 'POOL_OUT_OF_SCOPE', 'RPC_WITHOUT_ROW'];
      found[name] = refusals.includes(code) ? code : 'let in';
      if (code === 'UNAUTHENTICATED') expect(status).toBe(Code.Unauthenticated);
      else if (found[name] !== 'let in') expect(status).toBe(Code.PermissionDenied);
    }
  }
  expect(found).toEqual(wanted);
});

test('every row is of a method that is served', () => {
  const rows = Object.entries(rpcTable).flatMap(([service, methods]) =>
    Object.keys(methods).map((method) => `${service}/${method}`),
  );
  expect(new Set(rows)).toEqual(new Set(served.map(({ service, method }) => `${service}/${method}`)));
});

test('who only looks changes nothing, and what people change is written to the audit', () => {
  const looks = /^(?:Get|List|Watch|Read|Explain|WhoAmI|Check|Query|BatchRead|ServerReflection|FindMissing)/;
  for (const [service, methods] of Object.entries(rpcTable)) {
    for (const [method, { needs, action }] of Object.entries(methods)) {
      const name = `${service}/${method}`;
      if (needs === 'viewer' || needs === 'anyone') expect(name).toMatch(new RegExp(looks.source.replace('^', '/')));
      if (service.startsWith('drover.control.') && !looks.test(method)) expect([name, action]).not.toContain(undefined);
    }
  }
});

test('a server with a method that has no row does not start', async () => {
  const gate = createAccessGate({ table: { [Health.typeName]: rpcTable[Health.typeName]! }, verifiers: [] });
  expect(() => gate.checkMethods(served)).toThrow(/drover\.control\.v1\.JobService\/SubmitJobs.*row/);
});
