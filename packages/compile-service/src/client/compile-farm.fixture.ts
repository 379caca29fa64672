import { createHash, randomUUID, X509Certificate } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createSecureServer, type ServerHttp2Session } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { Code, ConnectError, createRouterTransport, createClient } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { CompileService, SchedulerService } from '@drover/compile-protocol';
import { blake3Of } from '../blake3.ts';
import { certificatePem, keyPem } from './worker-certificate.fixture.ts';

/** What a test wants of a worker that it does not do by itself. */
export type Fault = 'wrong-certificate' | 'breaks' | 'tampers';

/** A scheduler, and workers over TLS that compile with the gcc of this machine, and refuse what a true one refuses. */
export async function createCompileFarm(workers: Readonly<Record<string, Fault | undefined>>) {
  const folder = mkdtempSync(join(tmpdir(), 'farm-'));
  const tokens = new Map<string, { worker: string; isUsed: boolean }>();
  const calls: string[] = [];
  const refused: string[] = [];
  let reservations = 0;
  const started = await Promise.all(
    Object.entries(workers).map(async ([workerId, fault]) => {
      const sessions = new Set<ServerHttp2Session>();
      const server = createSecureServer(
        { cert: certificatePem, key: keyPem, minVersion: 'TLSv1.3' },
        connectNodeAdapter({
          routes: (router) =>
            void router.service(CompileService, {
              compile: ({ compile }, { requestHeader }) => {
                calls.push(workerId);
                const token = tokens.get(requestHeader.get('authorization')?.replace(/^Bearer /, '') ?? '');
                if (token === undefined || token.worker !== workerId || token.isUsed) {
                  refused.push(workerId);
                  throw new ConnectError('token', Code.Unauthenticated);
                }
                token.isUsed = true;
                if (fault === 'breaks') throw new ConnectError('broken', Code.Unavailable);
                if (compile?.source.case !== 'preprocessed' || compile.workingFolder !== '/src') {
                  throw new ConnectError('source', Code.InvalidArgument);
                }
                const { content, digest, sizeBytes, path } = compile.source.value;
                const text = zstdDecompressSync(content);
                if (text.length !== Number(sizeBytes) || Buffer.compare(blake3Of(text), digest) !== 0) {
                  throw new ConnectError('digest', Code.InvalidArgument);
                }
                const src = join(folder, randomUUID());
                mkdirSync(dirname(join(src, path)), { recursive: true });
                writeFileSync(join(src, path), text);
                const [program = '', ...words] = compile.arguments.map((word) =>
                  word.replace(/^(-fdebug-prefix-map=)?\/src(?==)/, `$1${src}`).replace(/^\/out(?=\/)/, src),
                );
                const done = spawnSync(program, words, { cwd: src, env: compile.environment });
                const outputs = compile.outputs.flatMap((name) => {
                  if (done.status !== 0) return [];
                  const made = readFileSync(join(src, name));
                  const sent = fault === 'tampers' ? Buffer.from(made).reverse() : made;
                  return [
                    {
                      path: name,
                      content: zstdCompressSync(sent),
                      sizeBytes: BigInt(made.length),
                      digest: blake3Of(made),
                    },
                  ];
                });
                return {
                  result: { exitCode: done.status ?? -1, stdout: done.stdout, stderr: done.stderr, outputs },
                };
              },
            }),
        }),
      );
      server.on('session', (session) => sessions.add(session));
      await new Promise<void>((fulfil) => server.listen(0, '127.0.0.1', fulfil));
      return { workerId, fault, server, sessions };
    }),
  );
  const leaf = createHash('sha256').update(new X509Certificate(certificatePem).raw).digest();
  const scheduler = createRouterTransport(
    (router) =>
      void router.service(SchedulerService, {
        reserveCompiles: ({ count, avoidWorkers }) => {
          reservations++;
          const places = started
            .filter(({ workerId }) => !avoidWorkers.includes(workerId))
            .map(({ workerId, fault, server }) => {
              const taskTokens = Array.from({ length: Math.min(count, 4) }, () => randomUUID());
              for (const token of taskTokens) tokens.set(token, { worker: workerId, isUsed: false });
              return {
                workerId,
                address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
                certificateSha256: fault === 'wrong-certificate' ? Buffer.alloc(32, 1) : leaf,
                taskTokens,
                validFor: { seconds: 60n },
              };
            });
          return { places };
        },
      }),
  );
  return {
    scheduler: createClient(SchedulerService, scheduler),
    calls,
    refused,
    get reservations() {
      return reservations;
    },
    async [Symbol.asyncDispose]() {
      for (const { server, sessions } of started) {
        for (const session of sessions) session.destroy();
        await new Promise((fulfil) => server.close(fulfil));
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
