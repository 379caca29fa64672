import { create } from '@bufbuild/protobuf';
import {
  CompileResponseSchema,
  CompileSchema,
  CompileService,
  ProbeCompileResponseSchema,
} from '@drover/compile-protocol';
import type { TaskTokenClaims } from '@drover/compile-tokens';
import type { ConnectRouter, ContextValues } from '@connectrpc/connect';
import type { CompileWorker } from './compile-worker.ts';

/** What serves a worker's calls. */
export interface CompileServiceDeps {
  readonly worker: CompileWorker;
  /** What the task token of a call says; the host has checked it before the call was read. */
  readonly claimsOf: (values: ContextValues) => TaskTokenClaims;
}

/** Serves what clients ask of a worker. */
export function registerCompileService(router: ConnectRouter, { worker, claimsOf }: CompileServiceDeps): void {
  router.service(CompileService, {
    compile: async ({ compile = create(CompileSchema) }, { signal, values }) =>
      create(CompileResponseSchema, { result: await worker.compile(compile, claimsOf(values), signal) }),
    // No worker has caches yet: nothing is found in them.
    probeCompile: () => create(ProbeCompileResponseSchema),
  });
}
