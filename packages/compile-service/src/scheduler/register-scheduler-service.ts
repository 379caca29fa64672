import { create } from '@bufbuild/protobuf';
import { durationFromMs, durationMs, timestampMs } from '@bufbuild/protobuf/wkt';
import type { ConnectRouter, HandlerContext } from '@connectrpc/connect';
import { callerFrom, type Caller } from '@drover/access';
import {
  GetTenantSignInResponseSchema,
  HeartbeatResponseSchema,
  OpenWorkerSessionResponseSchema,
  RecordCompilesResponseSchema,
  RegisterWorkerResponseSchema,
  ReserveCompilesResponseSchema,
  SandboxState,
  SchedulerService,
  type CompileAudit,
  type HeartbeatRequest,
  type RegisterWorkerRequest,
  type ReserveCompilesRequest,
} from '@drover/compile-protocol';
import { DroverError } from '@drover/lease-kit';
import {
  compileLimits,
  compileTenantNotFound,
  isolationLevels,
  type CompileRecordDraft,
  type CompileTenantRecord,
  type CompileWorkerRegistration,
  type CompileWorkerReport,
  type CompileWorkerSandbox,
  type IsolationLevel,
} from '@drover/lease-store';
import { connectErrorFrom } from '@drover/rpc-errors';
import { heartbeatMs, type CompileScheduler } from './compile-scheduler.ts';
import type { SchedulerVerifier } from './scheduler-verifier.ts';

/** Remembers by address who has shown what was not right; `FailedSignIns` of `@drover/access` is one. */
export interface FailedCalls {
  /** Throws for an address that must wait. */
  check(address: string): void;
  note(address: string): void;
}

/** Who works together in the service. */
export interface SchedulerServiceDeps {
  readonly scheduler: CompileScheduler;
  /** The one that the gate asks. */
  readonly verifier: SchedulerVerifier;
  /** Slows those down who try worker tokens, or names of tenants. */
  readonly failures: FailedCalls;
}

const messageBytesMax = 4 * 1024 * 1024;
const countMax = 256;
const avoidMax = 64;
/** Where nothing is free: places are given back by the second. */
const retryMs = 1_000;

/** Puts drover.compile.v1.SchedulerService on a router. Callers come through the gate of `@drover/access`. */
export function registerSchedulerService(router: ConnectRouter, deps: SchedulerServiceDeps): ConnectRouter {
  const { scheduler, verifier, failures } = deps;
  const { store, keys, sessions } = scheduler;
  const answer = async <T>(context: HandlerContext, run: (caller: Caller) => Promise<T>): Promise<T> => {
    try {
      return await run(callerFrom(context.values));
    } catch (error) {
      throw connectErrorFrom(error);
    }
  };
  return router.service(
    SchedulerService,
    {
      openWorkerSession: (request, context) =>
        answer(context, async ({ principal, address }) => {
          failures.check(address);
          if (!scheduler.isWorkerToken(request.workerToken)) {
            failures.note(address);
            throw workerTokenWrong();
          }
          const instanceNonce = Buffer.from(request.instanceNonce).toString('hex');
          const worker = { workerId: request.workerId, instanceNonce };
          await store.openWorker(worker, { principal, signal: context.signal });
          return create(OpenWorkerSessionResponseSchema, {
            sessionToken: await sessions.token(worker),
            validFor: durationFromMs(sessions.validMs),
            signingKeys: [...(await keys.told())],
            heartbeatInterval: durationFromMs(heartbeatMs),
          });
        }),
      registerWorker: (request, context) =>
        answer(context, async ({ principal }) => {
          const registration = registrationFrom(request);
          const epoch = await store.registerWorker(verifier.sessionOf(principal), registration, firstReport(request), {
            principal,
            signal: context.signal,
          });
          return create(RegisterWorkerResponseSchema, { epoch: BigInt(epoch) });
        }),
      heartbeat: (request, context) =>
        answer(context, async ({ principal }) => {
          const session = verifier.sessionOf(principal);
          const ref = { ...session, epoch: Number(request.epoch) };
          await store.reportWorker(ref, reportFrom(request), { principal, signal: context.signal });
          const leftMs = session.expiresAtMs - scheduler.clock.wallMs();
          const isOld = leftMs < sessions.validMs / 2;
          return create(HeartbeatResponseSchema, {
            signingKeys: [...(await keys.told())],
            sessionValidFor: durationFromMs(isOld ? sessions.validMs : leftMs),
            sessionToken: isOld ? await sessions.token(session) : '',
          });
        }),
      recordCompiles: (request, context) =>
        answer(context, async ({ principal }) => {
          const { workerId } = verifier.sessionOf(principal);
          const records = request.compiles.map((audit) => recordFrom(audit, workerId));
          await store.recordCompiles(records, { principal, signal: context.signal });
          return create(RecordCompilesResponseSchema);
        }),
      reserveCompiles: (request, context) =>
        answer(context, async (caller) => {
          checkReserve(request);
          const tenant = await tenantOf(deps, caller, request.tenantId);
          const { principal } = caller;
          const { imageDigest, count, avoidWorkers, paranoid: isParanoid, architecture } = request;
          const places = await scheduler.reserve(
            { tenant, imageDigest, count, avoid: new Set(avoidWorkers), isParanoid, architecture },
            { principal, signal: context.signal },
          );
          return create(ReserveCompilesResponseSchema, {
            places: places.map(({ worker: { workerId, registration }, taskTokens, validMs }) => ({
              workerId,
              address: registration.address,
              certificateSha256: new Uint8Array(Buffer.from(registration.certificateSha256, 'hex')),
              taskTokens: [...taskTokens],
              validFor: durationFromMs(validMs),
              isolationLevel: registration.isolation,
            })),
            ...(places.length === 0 ? { retryAfter: durationFromMs(retryMs) } : {}),
          });
        }),
      getTenantSignIn: (request, context) =>
        answer(context, async ({ address }) => {
          failures.check(address);
          const tenant = (await scheduler.tenants()).get(request.tenantId);
          if (tenant === undefined || !tenant.isEnabled) {
            // Who goes through names waits.
            failures.note(address);
            throw compileTenantNotFound(request.tenantId);
          }
          const { issuer, tokenUrl, audience, clientId, scope } = tenant;
          return create(GetTenantSignInResponseSchema, { issuer, tokenUrl, audience, clientId, scope });
        }),
    },
    { readMaxBytes: messageBytesMax },
  );
}

/** The tenant for which somebody calls: one that the credential makes them a member of. */
async function tenantOf(
  { scheduler, verifier }: SchedulerServiceDeps,
  { principal }: Caller,
  wanted: string,
): Promise<CompileTenantRecord> {
  const tenants = await scheduler.tenants();
  const shown = verifier.tenantsOf(principal);
  const member = shown
    ? shown.flatMap((tenantId) => tenants.get(tenantId) ?? [])
    : [...tenants.values()].filter(({ users }) => principal.kind === 'user' && users.includes(principal.id));
  const enabled = member.filter(({ isEnabled }) => isEnabled);
  if (wanted === '' && enabled.length > 1) {
    throw invalid('tenant_id', 'there is none', `one of ${enabled.map(({ tenantId }) => tenantId).join(', ')}`);
  }
  const tenant = wanted === '' ? enabled[0] : enabled.find(({ tenantId }) => tenantId === wanted);
  if (tenant !== undefined) return tenant;
  throw new DroverError({
    code: 'COMPILE_TENANT_DENIED',
    advice: 'denied',
    message:
      wanted === ''
        ? `${principal.id} belongs to no tenant of the compile farm that is enabled; an operator adds it with "drover compile tenants set".`
        : `${principal.id} does not belong to a tenant ${JSON.stringify(wanted.slice(0, 64))} that is enabled.`,
  });
}

function checkReserve({ imageDigest, count, avoidWorkers, architecture }: ReserveCompilesRequest): void {
  if (!/^sha256:[0-9a-f]{64}$/.test(imageDigest)) {
    throw invalid('image_digest', JSON.stringify(imageDigest.slice(0, 80)), 'sha256: and 64 hexadecimal digits');
  }
  if (count < 1 || count > countMax) throw invalid('count', String(count), `1 to ${countMax}`);
  if (avoidWorkers.length > avoidMax) throw invalid('avoid_workers', `${avoidWorkers.length}`, `at most ${avoidMax}`);
  if (architecture.length > 64) throw invalid('architecture', `${architecture.length} characters`, 'at most 64');
}

function registrationFrom(request: RegisterWorkerRequest): CompileWorkerRegistration {
  const { publicAddress, certificateSha256, isolation, slotsTotal, paranoid, version, architecture } = request;
  const level = isolation?.level ?? '';
  if (!isLevel(level)) {
    throw invalid('isolation.level', JSON.stringify(level.slice(0, 32)), isolationLevels.join(', '));
  }
  return {
    address: publicAddress,
    certificateSha256: Buffer.from(certificateSha256).toString('hex'),
    driver: isolation?.driver ?? '',
    isolation: level,
    facts: { ...isolation?.facts },
    slotsTotal,
    isParanoid: paranoid,
    version,
    architecture,
  };
}

function isLevel(word: string): word is IsolationLevel {
  return (isolationLevels as readonly string[]).includes(word);
}

/** What can be said of a worker before its first heartbeat. */
function firstReport({ slotsTotal, imagesAdvertised }: RegisterWorkerRequest): CompileWorkerReport {
  const nothing = { compiles: 0, load: 0, imagesHeld: [], sandboxes: [], isDraining: false };
  return { ...nothing, slotsFree: slotsTotal, imagesAdvertised };
}

const sandboxStates: ReadonlyMap<SandboxState, CompileWorkerSandbox['state']> = new Map([
  [SandboxState.STARTING, 'starting'],
  [SandboxState.RUNNING, 'running'],
  [SandboxState.SNAPSHOTTED, 'snapshotted'],
]);

function reportFrom(request: HeartbeatRequest): CompileWorkerReport {
  const { compiles, slotsFree, load, imagesHeld, imagesAdvertised, draining: isDraining } = request;
  return {
    ...{ compiles, slotsFree, load, imagesHeld, imagesAdvertised, isDraining },
    // A state that this version does not know counts as one that is not ready.
    sandboxes: request.sandboxes.map(({ sandboxId, tenantId, imageDigest, state, execs }) => ({
      ...{ sandboxId, tenantId, imageDigest, execs },
      state: sandboxStates.get(state) ?? 'starting',
    })),
  };
}

/** Flags beyond the bounds are cut: what was compiled is in the record in any case. */
function recordFrom(audit: CompileAudit, workerId: string): CompileRecordDraft {
  const { compileId, tenantId, sandboxId, isolationLevel, driver, imageDigest, exitCode, took, startedAt } = audit;
  const { flagsMax, flagLengthMax } = compileLimits;
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
  return {
    ...{ compileId, tenantId, workerId, sandboxId, isolation: isolationLevel, driver, imageDigest, exitCode },
    startedAtMs: startedAt === undefined ? 0 : Math.max(0, Math.floor(timestampMs(startedAt))),
    tookMs: took === undefined ? 0 : Math.max(0, Math.floor(durationMs(took))),
    compilerDigest: hex(audit.compilerDigest),
    sourceDigest: hex(audit.sourceDigest),
    outputDigest: hex(audit.outputDigest),
    cacheKey: hex(audit.cacheKey),
    flags: audit.flags
      .slice(0, flagsMax)
      .map((flag) => flag.slice(0, flagLengthMax).replaceAll('\0', '').toWellFormed()),
  };
}

function workerTokenWrong(): DroverError {
  return new DroverError({
    code: 'WORKER_TOKEN_WRONG',
    advice: 'denied',
    message: 'The worker token is not the one that the server has in compile.worker_token.',
  });
}

function invalid(where: string, problem: string, allowed: string): DroverError {
  return new DroverError({
    code: 'COMPILE_INPUT_INVALID',
    advice: 'fix-input',
    message: `${where}: ${problem}; allowed: ${allowed}.`,
    details: { where },
  });
}
