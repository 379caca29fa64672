import { DroverError } from '@drover/lease-kit';
import { checkCount, checkText, checkUuid, checkWhole } from './check-store-input.ts';
import type {
  CompilePlaceDraft,
  CompileRecordDraft,
  CompileRecordQuery,
  CompileTenantDraft,
  CompileTenantRecord,
  CompileWorkerRef,
  CompileWorkerRegistration,
  CompileWorkerReport,
} from './compile-store.ts';
import { inputInvalid } from './store-errors.ts';
import { storeLimits } from './store-limits.ts';

/** Bounds of every compile store. */
export const compileLimits = {
  tenantsMax: 1_000,
  workersMax: 1_000,
  /** Users, images and workers that one tenant lists. */
  tenantUsersMax: 1_000,
  tenantImagesMax: 256,
  tenantWorkersMax: 256,
  compilesAtOnceMax: 1_000_000,
  compilesPerMinuteMax: 10_000_000,
  /** Images that a worker holds, and that it advertises. */
  workerImagesMax: 1_024,
  workerSandboxesMax: 4_096,
  workerFactsMax: 64,
  slotsMax: 65_536,
  /** Characters of the JSON that is kept of what a worker says. */
  workerTextMax: 2 * 1024 * 1024,
  /** A worker that was silent for so long is forgotten. */
  workerKeptMs: 86_400_000,
  keysMax: 16,
  /** Tokens of one call, and workers that they are for. */
  placesMax: 256,
  recordsPerCallMax: 1_000,
  flagsMax: 256,
  flagLengthMax: 1_024,
} as const;

const digest = /^sha256:[0-9a-f]{64}$/;
const workerName = /^[\w.@:+-]{1,128}$/;

/** Throws `COMPILE_TENANT_INVALID` (`fix-input`). */
export function checkCompileTenant(draft: CompileTenantDraft): void {
  const { tenantId, issuer, audience, claim, claimValue, clientId, tokenUrl, scope, users, images, workers } = draft;
  if (!/^[a-z0-9][a-z0-9._-]{0,63}$/.test(tenantId)) {
    throw tenantInvalid('tenant', tenantId, '1 to 64 lower-case letters, digits, ".", "_" and "-"');
  }
  if (issuer !== '' && !isWebUrl(issuer)) throw tenantInvalid('issuer', issuer, 'an https URL, or http on loopback');
  if (tokenUrl !== '' && !isWebUrl(tokenUrl)) {
    throw tenantInvalid('token url', tokenUrl, 'an https URL, or http on loopback');
  }
  if (issuer !== '' && audience === '') {
    throw tenantInvalid(
      'audience',
      '',
      'one, where there is an issuer: else its tokens for any program would be taken',
    );
  }
  if ((claim === '') !== (claimValue === '')) {
    throw tenantInvalid('claim', `${claim}=${claimValue}`, 'a name and a value, or neither');
  }
  const texts = { audience, claim, 'claim value': claimValue, 'client id': clientId, scope };
  for (const [where, text] of Object.entries(texts)) {
    if (text.length > 1_024 || hasControl(text)) throw tenantInvalid(where, text, 'at most 1,024 printable characters');
  }
  const { tenantUsersMax, tenantImagesMax, tenantWorkersMax } = compileLimits;
  checkList('users', users, tenantUsersMax, /^[\x21-\x7e]{1,128}$/, 'names of 1 to 128 printable characters');
  checkList('images', images, tenantImagesMax, digest, 'digests such as sha256:… with 64 hexadecimal digits');
  checkList('workers', workers, tenantWorkersMax, workerName, 'ids of workers');
  checkQuota('compiles at once', draft.compilesAtOnceMax, compileLimits.compilesAtOnceMax);
  checkQuota('compiles per minute', draft.compilesPerMinuteMax, compileLimits.compilesPerMinuteMax);
}

function checkList(where: string, given: readonly string[], max: number, form: RegExp, allowed: string): void {
  if (given.length > max) throw tenantInvalid(where, `${given.length} of them`, `at most ${max}`);
  const wrong = given.find((one) => !form.test(one));
  if (wrong !== undefined) throw tenantInvalid(where, wrong, allowed);
}

function checkQuota(where: string, given: number, max: number): void {
  if (!Number.isInteger(given) || given < 1 || given > max) throw tenantInvalid(where, String(given), `1 to ${max}`);
}

function isWebUrl(text: string): boolean {
  const url = URL.parse(text);
  if (url === null || text.length > 1_024) return false;
  const isLoopback = ['localhost', '127.0.0.1', '[::1]'].includes(url.hostname);
  return url.protocol === 'https:' || (url.protocol === 'http:' && isLoopback);
}

function hasControl(text: string): boolean {
  return [...text].some((char) => char < ' ' || char === '\x7f');
}

function tenantInvalid(where: string, problem: string, allowed: string): DroverError {
  return new DroverError({
    code: 'COMPILE_TENANT_INVALID',
    advice: 'fix-input',
    message: `${where}: ${JSON.stringify(problem.slice(0, 100))}; allowed: ${allowed}.`,
    details: { where },
  });
}

/** Throws `STORE_INPUT_INVALID` for a worker that cannot be one. */
export function checkCompileWorkerRef({ workerId, instanceNonce }: CompileWorkerRef): void {
  if (!workerName.test(workerId)) {
    throw inputInvalid('worker_id', JSON.stringify(workerId.slice(0, 128)), '1 to 128 letters, digits and . _ @ : + -');
  }
  if (!/^[0-9a-f]{32}$/.test(instanceNonce)) throw inputInvalid('instance_nonce', 'it has another length', '16 bytes');
}

/** Throws `STORE_INPUT_INVALID`, `STORE_CALL_TOO_LARGE`. */
export function checkCompileWorkerRegistration(registration: CompileWorkerRegistration): void {
  const { address, certificateSha256, driver, facts, slotsTotal, version, architecture } = registration;
  const port = Number(/^(?:\[[0-9A-Fa-f:.%\w]+\]|[\w.-]+):(\d{1,5})$/.exec(address)?.[1] ?? 0);
  if (port < 1 || port > 65_535 || address.length > 300) {
    throw inputInvalid('public_address', JSON.stringify(address.slice(0, 100)), 'HOST:PORT');
  }
  if (!/^[0-9a-f]{64}$/.test(certificateSha256)) {
    throw inputInvalid('certificate_sha256', 'it has another length', '32 bytes');
  }
  checkWhole('slots_total', slotsTotal, 1, compileLimits.slotsMax);
  checkText('isolation.driver', driver, 64);
  checkText('version', version, 64, true);
  checkText('architecture', architecture, 64);
  checkCount('isolation.facts', Object.keys(facts).length, compileLimits.workerFactsMax);
  for (const [name, value] of Object.entries(facts)) {
    checkText('isolation.facts', name, 128);
    checkText(`isolation.facts.${name}`, value, 1_024, true);
  }
}

/** Throws `STORE_INPUT_INVALID`, `STORE_CALL_TOO_LARGE`. */
export function checkCompileWorkerReport(report: CompileWorkerReport): void {
  const { compiles, slotsFree, load, imagesHeld, imagesAdvertised, sandboxes } = report;
  checkWhole('compiles', compiles, 0, 0xffff_ffff);
  checkWhole('slots_free', slotsFree, 0, compileLimits.slotsMax);
  if (!(load >= 0 && load <= 1)) throw inputInvalid('load', String(load), '0 to 1');
  for (const [where, images] of Object.entries({ images_held: imagesHeld, images_advertised: imagesAdvertised })) {
    checkCount(where, images.length, compileLimits.workerImagesMax);
    const wrong = images.find((image) => !digest.test(image));
    if (wrong !== undefined) throw inputInvalid(where, JSON.stringify(wrong.slice(0, 100)), 'digests such as sha256:…');
  }
  checkCount('sandboxes', sandboxes.length, compileLimits.workerSandboxesMax);
  for (const { sandboxId, tenantId, imageDigest } of sandboxes) {
    checkText('sandboxes.sandbox_id', sandboxId, 128);
    checkText('sandboxes.tenant_id', tenantId, 64);
    checkText('sandboxes.image_digest', imageDigest, 71);
  }
}

/** Throws `STORE_INPUT_INVALID` for tokens that cannot be counted. */
export function checkCompilePlaces(places: readonly CompilePlaceDraft[]): void {
  checkCount('places', places.length, compileLimits.placesMax);
  for (const { count } of places) checkWhole('places.count', count, 1, compileLimits.placesMax);
}

/** Throws `STORE_INPUT_INVALID`, `STORE_CALL_TOO_LARGE`. */
export function checkCompileRecords(records: readonly CompileRecordDraft[]): void {
  checkCount('compiles', records.length, compileLimits.recordsPerCallMax);
  records.forEach((record, index) => {
    const at = `compiles[${index}]`;
    checkUuid(`${at}.compile_id`, record.compileId);
    checkText(`${at}.tenant_id`, record.tenantId, 64);
    checkText(`${at}.worker_id`, record.workerId, 128);
    checkWhole(`${at}.started_at`, record.startedAtMs, 0, 253_402_300_799_000);
    checkWhole(`${at}.took`, record.tookMs, 0, Number.MAX_SAFE_INTEGER);
    checkWhole(`${at}.exit_code`, record.exitCode, -0x8000_0000, 0x7fff_ffff);
    checkText(`${at}.sandbox_id`, record.sandboxId, 128, true);
    checkText(`${at}.image_digest`, record.imageDigest, 71);
    for (const key of ['isolation', 'driver', 'compilerDigest', 'sourceDigest', 'outputDigest', 'cacheKey'] as const) {
      checkText(`${at}.${key}`, record[key], 128, true);
    }
    checkCount(`${at}.flags`, record.flags.length, compileLimits.flagsMax);
    for (const flag of record.flags) checkText(`${at}.flags`, flag, compileLimits.flagLengthMax, true);
  });
}

/** Throws `STORE_INPUT_INVALID`. */
export function checkCompileRecordQuery({ before, limit }: CompileRecordQuery): void {
  checkWhole('limit', limit, 1, storeLimits.pageMax);
  if (before !== undefined && !/^\d{1,18}$/.test(before)) {
    throw inputInvalid('before', JSON.stringify(before.slice(0, 32)), 'the id of a record');
  }
}

/** The error for an id that no tenant has. */
export function compileTenantNotFound(tenantId: string): DroverError {
  return new DroverError({
    code: 'COMPILE_TENANT_NOT_FOUND',
    advice: 'not-found',
    message: `There is no tenant ${JSON.stringify(tenantId.slice(0, 100))} of the compile farm.`,
  });
}

/** The error for one more than there may be. */
export function compileTenantsFull(): DroverError {
  return new DroverError({
    code: 'COMPILE_TENANTS_FULL',
    advice: 'exhausted',
    message: `There are ${compileLimits.tenantsMax} tenants, which is the most of a compile farm.`,
  });
}

/** The error for one more than there may be. */
export function compileWorkersFull(): DroverError {
  return new DroverError({
    code: 'COMPILE_WORKERS_FULL',
    advice: 'exhausted',
    message: `There are ${compileLimits.workersMax} workers, which is the most of a compile farm.`,
    retryAfterMs: 60_000,
  });
}

/** The error for a process or registration that another has taken the place of. */
export function compileWorkerSuperseded(workerId: string): DroverError {
  return new DroverError({
    code: 'COMPILE_WORKER_SUPERSEDED',
    advice: 'fenced',
    message: `Another process or a later registration is worker ${workerId} now; give each worker an id of its own.`,
    details: { workerId },
  });
}

/** A tenant as the audit shows it. */
export function auditedCompileTenant(draft: CompileTenantDraft): Readonly<Record<string, unknown>> {
  const { tenantId: _, changedBy: _by, changedAtMs: _at, ...said } = draft as CompileTenantRecord;
  return said;
}
