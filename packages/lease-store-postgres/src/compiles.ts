import { principalName } from '@drover/lease-kit';
import {
  auditedCompileTenant,
  checkCompilePlaces,
  checkCompileRecordQuery,
  checkCompileRecords,
  checkCompileTenant,
  checkCompileWorkerRef,
  checkCompileWorkerRegistration,
  checkCompileWorkerReport,
  checkPage,
  checkText,
  checkWhole,
  compileLimits,
  compileTenantNotFound,
  compileTenantsFull,
  compileWorkersFull,
  compileWorkerSuperseded,
  type CompileKeyRecord,
  type CompileStore,
  type CompileTenantDraft,
  type CompileTenantRecord,
  type CompileUsage,
  type CompileWorkerRecord,
} from '@drover/lease-store';
import { CompileRecords } from './compile-records.ts';
import type { EnrolmentsDeps, RunInStore } from './enrolments.ts';
import { statement, type Session } from './internal/database.ts';
import { plainArray, textArray } from './internal/sql-array.ts';

interface TenantRow {
  readonly definition: string;
  readonly changed_by: string;
  readonly changed_ms: number;
}

interface WorkerRow {
  readonly worker_id: string;
  readonly epoch: number;
  readonly registration: string;
  readonly report: string;
  readonly silent_ms: number;
}

interface KeyRow {
  readonly key_id: string;
  readonly public_key: string;
  readonly sealed_private_key: string;
  readonly age_ms: number;
  readonly signs_in_ms: number;
  readonly expires_in_ms: number;
}

const milliseconds = (interval: string): string => `floor(extract(epoch from ${interval}) * 1000)::bigint`;

/**
 * The compile farm in Postgres. A reservation is one transaction of 4 round trips under a lock of its tenant, so that its quotas
 * are exact on however many servers; a heartbeat is 1 round trip.
 */
export function postgresCompiles(s: string, { call, transaction, audit }: EnrolmentsDeps): CompileStore {
  const records = new CompileRecords(s);
  const tenantColumns = `definition::text as definition, changed_by, ${milliseconds('changed_at')} as changed_ms`;
  const tenantOf = statement(
    'compile_tenant',
    `select ${tenantColumns} from ${s}.compile_tenants where tenant_id = $1`,
  );
  const tenantPage = statement(
    'compile_tenants',
    `select ${tenantColumns} from ${s}.compile_tenants
      where tenant_id collate "C" > $1 order by tenant_id collate "C" limit $2`,
  );
  const workerPage = statement(
    'compile_workers',
    `select worker_id, epoch, registration::text as registration, report::text as report,
            greatest(0, ${milliseconds('now() - heard_at')}) as silent_ms
       from ${s}.compile_workers
      where worker_id collate "C" > $1 and epoch is not null and heard_at > now() - $3 * interval '1 millisecond'
      order by worker_id collate "C" limit $2`,
  );
  const register = statement(
    'compile_worker_register',
    `update ${s}.compile_workers
        set epoch = nextval('${s}.compile_worker_epochs'), registration = $3::jsonb, report = $4::jsonb, heard_at = now()
      where worker_id = $1 and instance_nonce = $2 returning epoch`,
  );
  const beat = statement(
    'compile_worker_report',
    `update ${s}.compile_workers set report = $4::jsonb, heard_at = now()
      where worker_id = $1 and instance_nonce = $2 and epoch = $3 returning 1`,
  );
  const keysNow = statement(
    'compile_keys',
    `select key_id, public_key, sealed_private_key, ${milliseconds('now() - created_at')} as age_ms,
            ${milliseconds('signs_at - now()')} as signs_in_ms, ${milliseconds('expires_at - now()')} as expires_in_ms
       from ${s}.compile_keys where expires_at > now() order by created_at desc, key_id limit ${compileLimits.keysMax}`,
  );
  const workerPlaces = statement(
    'compile_worker_places',
    `select worker_id, sum(open)::int as open from ${s}.compile_places where open > 0 and expires_at > now() group by 1`,
  );
  const tenantPlaces = statement(
    'compile_tenant_places',
    `select coalesce(sum(open) filter (where expires_at > now()), 0)::int as open,
            coalesce(sum(issued) filter (where issued_at > now() - interval '1 minute'), 0)::int as last_minute,
            (select count(distinct o.tenant_id) from ${s}.compile_places o
              where o.open > 0 and o.expires_at > now() and o.tenant_id <> $1)::int as others
       from ${s}.compile_places where tenant_id = $1`,
  );
  const addPlaces = statement(
    'compile_places_add',
    `insert into ${s}.compile_places as p (tenant_id, worker_id, issued_at, expires_at, issued, open)
     select $1, worker_id, date_trunc('second', now()), now() + $4 * interval '1 millisecond', sum(n), sum(n)
       from unnest($2::text[], $3::int[]) as c(worker_id, n) group by worker_id
     on conflict (tenant_id, worker_id, issued_at) do update
        set issued = p.issued + excluded.issued, open = p.open + excluded.open,
            expires_at = greatest(p.expires_at, excluded.expires_at)`,
  );
  const oldPlaces = statement(
    'compile_places_old',
    `delete from ${s}.compile_places
      where tenant_id = $1 and expires_at <= now() and issued_at <= now() - interval '1 minute'`,
  );

  const locked =
    (name: string): RunInStore =>
    (context, work) =>
      transaction(context, async (session) => {
        await session.text(`select pg_advisory_xact_lock(hashtextextended($1, 0))`, [`${s} ${name}`]);
        return work(session);
      });
  const keys = async (session: Session): Promise<CompileKeyRecord[]> =>
    (await session.run<KeyRow>(keysNow, [])).map((row) => ({
      keyId: row.key_id,
      publicKey: row.public_key,
      sealedPrivateKey: row.sealed_private_key,
      ageMs: row.age_ms,
      signsInMs: row.signs_in_ms,
      expiresInMs: row.expires_in_ms,
    }));

  return {
    tenants: async (page, context) => {
      checkPage(page);
      const rows = await call(context, (session) => session.run<TenantRow>(tenantPage, [page.after ?? '', page.limit]));
      return rows.map(tenantRecord);
    },
    putTenant: async (draft, context) => {
      checkCompileTenant(draft);
      return locked('compile tenants')(context, async (session) => {
        const [known] = await session.run<TenantRow>(tenantOf, [draft.tenantId]);
        const [row] = await session.text<TenantRow>(
          `insert into ${s}.compile_tenants (tenant_id, definition, changed_by)
           select $1, $2::jsonb, $3
            where $4 or (select count(*) from ${s}.compile_tenants) < ${compileLimits.tenantsMax}
           on conflict (tenant_id) do update
              set definition = excluded.definition, changed_by = excluded.changed_by, changed_at = now()
           returning ${tenantColumns}`,
          [draft.tenantId, JSON.stringify(draft), principalName(context.principal), known !== undefined],
        );
        if (row === undefined) throw compileTenantsFull();
        await audit.write(session, context, {
          subject: `compile-tenant:${draft.tenantId}`,
          ...(known === undefined ? {} : { before: auditedCompileTenant(tenantRecord(known)) }),
          after: auditedCompileTenant(draft),
        });
        return tenantRecord(row);
      });
    },
    removeTenant: async (tenantId, context) =>
      transaction(context, async (session) => {
        const [row] = await session.text<TenantRow>(
          `delete from ${s}.compile_tenants where tenant_id = $1 returning ${tenantColumns}`,
          [tenantId],
        );
        if (row === undefined) throw compileTenantNotFound(tenantId);
        const before = auditedCompileTenant(tenantRecord(row));
        await audit.write(session, context, { subject: `compile-tenant:${tenantId}`, before });
      }),
    openWorker: async (worker, context) => {
      checkCompileWorkerRef(worker);
      await locked('compile workers')(context, async (session) => {
        await session.text(`delete from ${s}.compile_workers where heard_at <= now() - $1 * interval '1 millisecond'`, [
          compileLimits.workerKeptMs,
        ]);
        await session.text(
          `insert into ${s}.compile_workers as w (worker_id, instance_nonce)
           select $1, $2
            where exists (select from ${s}.compile_workers where worker_id = $1)
               or (select count(*) from ${s}.compile_workers) < ${compileLimits.workersMax}
           on conflict (worker_id) do update
              set instance_nonce = excluded.instance_nonce, heard_at = now(), epoch = null, registration = null, report = null
            where w.instance_nonce <> excluded.instance_nonce`,
          [worker.workerId, worker.instanceNonce],
        );
        const [row] = await session.text(`select from ${s}.compile_workers where worker_id = $1`, [worker.workerId]);
        if (row === undefined) throw compileWorkersFull();
      });
    },
    registerWorker: async (worker, registration, report, context) => {
      checkCompileWorkerRef(worker);
      checkCompileWorkerRegistration(registration);
      checkCompileWorkerReport(report);
      const { workerId, instanceNonce } = worker;
      const values = [workerId, instanceNonce, JSON.stringify(registration), JSON.stringify(report)];
      const [row] = await call(context, (session) => session.run<{ epoch: number }>(register, values));
      if (row === undefined) throw compileWorkerSuperseded(workerId);
      return row.epoch;
    },
    reportWorker: async (worker, report, context) => {
      checkCompileWorkerRef(worker);
      checkCompileWorkerReport(report);
      checkWhole('epoch', worker.epoch, 0, Number.MAX_SAFE_INTEGER);
      const { workerId, instanceNonce, epoch } = worker;
      const values = [workerId, instanceNonce, epoch, JSON.stringify(report)];
      const [row] = await call(context, (session) => session.run(beat, values));
      if (row === undefined) throw compileWorkerSuperseded(workerId);
    },
    workers: async (page, context) => {
      checkPage(page);
      const values = [page.after ?? '', page.limit, compileLimits.workerKeptMs];
      const rows = await call(context, (session) => session.run<WorkerRow>(workerPage, values));
      return rows.map(workerRecord);
    },
    keys: (context) => call(context, keys),
    addKey: async ({ signsAfterMs, validMs, ...key }, unlessYoungerMs, context) =>
      locked('compile keys')(context, async (session) => {
        await session.text(`delete from ${s}.compile_keys where expires_at <= now()`);
        const known = await keys(session);
        if (known.some(({ ageMs }) => ageMs < unlessYoungerMs)) return known;
        const waitMs = known.length === 0 ? 0 : signsAfterMs;
        await session.text(
          `insert into ${s}.compile_keys (key_id, public_key, sealed_private_key, signs_at, expires_at)
           values ($1, $2, $3, now() + $4 * interval '1 millisecond', now() + $5 * interval '1 millisecond')`,
          [key.keyId, key.publicKey, key.sealedPrivateKey, waitMs, validMs],
        );
        return keys(session);
      }),
    reserve: async ({ tenantId, validMs }, choose, context) => {
      checkText('tenantId', tenantId, 64);
      checkWhole('validMs', validMs, 1, 86_400_000);
      return locked(`compile places of ${tenantId}`)(context, async (session) => {
        await session.run(oldPlaces, [tenantId]);
        const ofWorkers = await session.run<{ worker_id: string; open: number }>(workerPlaces, []);
        const [of] = await session.run<{ open: number; last_minute: number; others: number }>(tenantPlaces, [tenantId]);
        const usage: CompileUsage = {
          tenantPlaces: of!.open,
          tenantLastMinute: of!.last_minute,
          workerPlaces: new Map(ofWorkers.map(({ worker_id, open }) => [worker_id, open])),
          tenantsActive: of!.others + 1,
        };
        const chosen = choose(usage);
        checkCompilePlaces(chosen);
        if (chosen.length === 0) return chosen;
        const workers = textArray(chosen.map(({ workerId }) => workerId));
        await session.run(addPlaces, [tenantId, workers, plainArray(chosen.map(({ count }) => count)), validMs]);
        return chosen;
      });
    },
    recordCompiles: async (drafts, context) => {
      checkCompileRecords(drafts);
      await transaction(context, (session) => records.add(session, drafts));
    },
    records: async (query, context) => {
      checkCompileRecordQuery(query);
      return call(context, (session) => records.page(session, query));
    },
  };
}

function tenantRecord({ definition, changed_by: changedBy, changed_ms: changedAtMs }: TenantRow): CompileTenantRecord {
  return { ...(JSON.parse(definition) as CompileTenantDraft), changedBy, changedAtMs };
}

function workerRecord(row: WorkerRow): CompileWorkerRecord {
  return {
    workerId: row.worker_id,
    epoch: row.epoch,
    registration: JSON.parse(row.registration) as CompileWorkerRecord['registration'],
    report: JSON.parse(row.report) as CompileWorkerRecord['report'],
    silentMs: row.silent_ms,
  };
}
