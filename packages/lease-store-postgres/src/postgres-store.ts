import { principalName, silentLogger, systemClock, type Clock, type Logger } from '@drover/lease-kit';
import {
  agentQuarantined,
  checkAgentTaskKeys,
  checkAgentTaskRetry,
  checkAgentTaskWishes,
  checkAttemptKey,
  checkAttemptWrites,
  checkBindAgentTasks,
  checkClaim,
  checkDrains,
  checkCount,
  checkEnqueueEntries,
  checkJobDrafts,
  checkNewSession,
  checkReleases,
  checkSession,
  checkText,
  checkWhole,
  jobNotFound,
  isUuid,
  storedMessage,
  storeLimits,
  type AttemptWriteResult,
  type DroverStore,
  type StoreContext,
} from '@drover/lease-store';
import { AccessTokens } from './access-tokens.ts';
import { AgentDrains } from './agent-drains.ts';
import { AgentHealthRecords } from './agent-health-records.ts';
import { AgentRecords } from './agent-records.ts';
import { AgentSessions } from './agent-sessions.ts';
import { AgentTaskRecords } from './agent-task-records.ts';
import { AgentSettingsRecords } from './agent-settings.ts';
import { AttemptLogs } from './attempt-logs.ts';
import { AgentTaskBinder } from './agent-task-binder.ts';
import { AuditLines } from './audit-lines.ts';
import { BoundAttempts } from './bound-attempts.ts';
import { postgresCompiles } from './compiles.ts';
import { CancelJob } from './cancel-job.ts';
import { ClaimLeases } from './claim-leases.ts';
import { DowntimeRecords } from './downtime-records.ts';
import { postgresEnrolments } from './enrolments.ts';
import { EnqueueLeases } from './enqueue-leases.ts';
import { ExpireLeases } from './expire-leases.ts';
import { keepPartitions } from './history-partitions.ts';
import { Database, logFailure, type Session } from './internal/database.ts';
import { quotedSchema } from './internal/schema-name.ts';
import { schemaRefusal, schemaVersion } from './internal/schema-version.ts';
import { queryBuilder } from './internal/tables.ts';
import { JobRecords } from './job-records.ts';
import { LeaseClasses } from './lease-classes.ts';
import { LeaseFactsReader } from './lease-facts.ts';
import { LeaseRecords } from './lease-records.ts';
import { haveSecrets, LeaseSecrets } from './lease-secrets.ts';
import { PoolRecords } from './pool-records.ts';
import type { PostgresPool } from './postgres-pool.ts';
import { PostgresSignals } from './postgres-signals.ts';
import { RecordAttempts } from './record-attempts.ts';
import { RecordProgress } from './record-progress.ts';
import { removeExpired } from './remove-expired.ts';
import { RolloutRecords } from './rollout-records.ts';
import { SessionSweep } from './session-sweep.ts';
import { SettleAgentTasks } from './settle-agent-tasks.ts';
import { SubmitJobs } from './submit-jobs.ts';
import { WantAgentTasks } from './want-agent-tasks.ts';
import { WaitingClasses } from './waiting-classes.ts';
import { WorkspaceRecords } from './workspace-records.ts';

/** Names, limits and times of {@link createPostgresStore}. */
export interface PostgresStoreOptions {
  /** Default `drover`. */
  readonly schema?: string;
  /** How long a call may take before it fails with STORE_UNAVAILABLE, waiting for a connection included. Default 10 s. */
  readonly callTimeoutMs?: number;
  /** How long ended leases, attempts, logs and jobs are kept. Default 90 days; `Infinity` keeps them for ever. */
  readonly retentionMs?: number;
  /** How long lines of the audit are kept. Default 400 days; `Infinity` keeps them for ever. */
  readonly auditRetentionMs?: number;
  /** How long signals are gathered before the next message to other servers; four times that under load. Default 5 ms. */
  readonly signalWindowMs?: number;
}

/** Collaborators of {@link createPostgresStore}. */
export interface PostgresStoreDeps {
  /** A pool of its own, which stays yours to end; at least 3 connections. */
  readonly pool: PostgresPool;
  /** For timers only: what is stored carries the database's time. Default: the system's. */
  readonly clock?: Clock;
  readonly logger?: Logger;
}

const maintenanceMs = 3_600_000;

/**
 * Every port of `@drover/lease-store` in Postgres 15 or later. Run `migrate(pool)` first. It connects when it is first
 * called, so that it can be made while the database is away; calls then fail with STORE_UNAVAILABLE and work again when
 * it is back. `close()` gives the connections back to the pool.
 */
export function createPostgresStore(deps: PostgresStoreDeps, options: PostgresStoreOptions = {}): DroverStore {
  const { pool, clock = systemClock, logger = silentLogger } = deps;
  const { schema = 'drover', callTimeoutMs = 10_000, signalWindowMs = 5 } = options;
  const retentionMs = options.retentionMs ?? 90 * 86_400_000;
  const auditRetentionMs = options.auditRetentionMs ?? 400 * 86_400_000;
  const s = quotedSchema(schema);
  checkWhole('callTimeoutMs', callTimeoutMs, 100, 3_600_000);

  const database = new Database({ pool, clock, logger }, { callTimeoutMs });
  const build = queryBuilder(schema);
  const classes = new LeaseClasses(s);
  const attempts = new RecordAttempts(s);
  const bound = new BoundAttempts(s, classes);
  const leases = new LeaseRecords({ build, classes });
  const enqueue = new EnqueueLeases(s, classes);
  const secrets = new LeaseSecrets(s);
  const claim = new ClaimLeases(s, classes);
  const waiting = new WaitingClasses(s, classes);
  const expire = new ExpireLeases(s, classes);
  const drains = new AgentDrains(s);
  const sessions = new AgentSessions(s, { attempts, classes, bound });
  const sweep = new SessionSweep(s, { attempts, classes });
  const agents = new AgentRecords(build, classes);
  const submit = new SubmitJobs(s, classes);
  const cancel = new CancelJob(s);
  const records = new JobRecords(s, { build, leases });
  const progress = new RecordProgress(s);
  const logs = new AttemptLogs(s);
  const taskRecords = new AgentTaskRecords(s, build);
  const wantTasks = new WantAgentTasks(s);
  const bindTasks = new AgentTaskBinder(s, enqueue);
  const settleTasks = new SettleAgentTasks(s);
  const audit = new AuditLines(s);
  const tokens = new AccessTokens(s, audit);
  const health = new AgentHealthRecords(s, audit);
  const facts = new LeaseFactsReader(s);
  const rollouts = new RolloutRecords(s, audit);
  const pools = new PoolRecords(s);
  const workspaces = new WorkspaceRecords(s, audit);
  const settings = new AgentSettingsRecords(s);
  const downtimes = new DowntimeRecords(s);
  const signals = new PostgresSignals({ database, clock, logger }, { channel: schema, windowMs: signalWindowMs });

  let fitting: Promise<void> | undefined;
  /** Looks at the schema's version once, before anything is read or written by this version. */
  const fits = (signal: AbortSignal | undefined): Promise<void> => {
    fitting ??= database
      .call(signal, (session) => schemaVersion(session, s))
      .then((version) => {
        const refusal = schemaRefusal(version);
        if (refusal) throw refusal;
      })
      .catch((error: unknown) => {
        fitting = undefined;
        throw error;
      });
    return fitting;
  };
  let isFitting = false;
  const ready = async (signal: AbortSignal | undefined): Promise<void> => {
    if (isFitting) return;
    await fits(signal);
    isFitting = true;
  };
  const call = async <Result>({ signal }: StoreContext, work: (session: Session) => Promise<Result>) => {
    await ready(signal);
    return database.call(signal, work);
  };
  const transaction = async <Result>({ signal }: StoreContext, work: (session: Session) => Promise<Result>) => {
    await ready(signal);
    return database.transaction(signal, work);
  };

  const maintain = async (): Promise<void> => {
    await ready(undefined);
    const kept = Number.isFinite(retentionMs) ? retentionMs : undefined;
    const auditKept = Number.isFinite(auditRetentionMs) ? auditRetentionMs : undefined;
    await keepPartitions(database, { schema: s, retentionMs: kept, auditRetentionMs: auditKept }, logger);
    await removeExpired(database, s, kept);
  };
  let maintenance: Promise<void> = Promise.resolve();
  let isClosed = false;
  const maintainLater = () =>
    clock.schedule(maintenanceMs, () => {
      maintenance = maintain()
        .catch(logFailure(logger, 'maintenance of the store'))
        .then(() => {
          if (!isClosed) timer = maintainLater();
        });
    });
  let timer = maintainLater();

  const close = async (): Promise<void> => {
    isClosed = true;
    timer.cancel();
    await maintenance;
    timer.cancel();
    await signals.close();
    database.close();
  };

  return {
    queue: {
      enqueue: async (entries, context) => {
        checkEnqueueEntries(entries);
        if (!haveSecrets(entries)) return call(context, (session) => enqueue.run(session, entries));
        return transaction(context, async (session) => {
          const assigned = await enqueue.run(session, entries);
          await secrets.keep(session, entries);
          return assigned;
        });
      },
      waitingClasses: async (source, context) => {
        checkText('source', source, storeLimits.idLengthMax);
        return call(context, (session) => waiting.classes(session, source));
      },
      claim: async (request, context) => {
        checkClaim(request);
        return call(context, (session) => claim.run(session, request));
      },
      waitingWork: (context) => call(context, (session) => waiting.work(session)),
      nextDueMs: async (source, context) => {
        checkText('source', source, storeLimits.idLengthMax);
        return call(context, (session) => waiting.nextDueMs(session, source));
      },
      expire: (context) => call(context, (session) => expire.run(session)),
    },
    attempts: {
      record: async (writes, context) => {
        checkAttemptWrites(writes);
        const results = await call(context, (session) => attempts.run(session, writes));
        return results.map(({ classId: _, ...result }): AttemptWriteResult => result);
      },
      boundTo: async (ref, context) => {
        checkSession('session', ref);
        return call(context, (session) => bound.of(session, ref));
      },
      secretsOf: async (key, context) => {
        checkAttemptKey(key);
        return call(context, (session) => secrets.of(session, key));
      },
    },
    sessions: {
      openSession: async (wanted, context) => {
        checkNewSession(wanted);
        const run = wanted.proven.length > 0 ? transaction : call;
        const outcome = await run(context, (session) => sessions.open(session, wanted));
        if (outcome.kind === 'opened') return outcome.opened;
        if (outcome.fencedEpoch !== undefined) {
          signals.announce({ kind: 'fenced', agentId: wanted.agentId, epoch: outcome.fencedEpoch });
        }
        throw agentQuarantined(wanted.agentId, outcome.remainingMs);
      },
      endSession: async (ref, reason, context, silentMs = 0) => {
        checkSession('session', ref);
        checkWhole('silentMs', silentMs, 0, Number.MAX_SAFE_INTEGER);
        return transaction(context, (session) => sessions.end(session, ref, reason, silentMs));
      },
      recordCondition: async (ref, report, context) => {
        checkSession('session', ref);
        if (report.reason) checkText('reason.code', report.reason.code, storeLimits.idLengthMax);
        await call(context, (session) => sessions.recordCondition(session, ref, report));
      },
      recordDescription: async (ref, description, context) => {
        checkSession('session', ref);
        await call(context, (session) => sessions.recordDescription(session, ref, description));
      },
      beat: async (serverId, context) => {
        checkText('serverId', serverId, storeLimits.idLengthMax);
        await call(context, (session) => sweep.beat(session, serverId)).catch((error: unknown) => {
          // From here on this version writes nothing that the newer schema might read otherwise.
          if ((error as { code?: string }).code === 'SCHEMA_TOO_NEW') database.refusal = error as Error;
          throw error;
        });
      },
      leave: async (serverId, context) => {
        checkText('serverId', serverId, storeLimits.idLengthMax);
        await call(context, (session) => sweep.leave(session, serverId));
      },
      sweep: async (limits, context) => {
        checkWhole('serverTtlMs', limits.serverTtlMs, 0, Number.MAX_SAFE_INTEGER);
        checkWhole('graceMs', limits.graceMs, 0, Number.MAX_SAFE_INTEGER);
        return call(context, (session) => sweep.sweep(session, limits));
      },
      removeAgent: async (agentId, context) => {
        checkText('agentId', agentId, storeLimits.idLengthMax);
        await call(context, (session) => sessions.remove(session, agentId));
      },
      agent: (agentId, context) => call(context, (session) => agents.one(session, agentId)),
      agents: (page, context) => call(context, (session) => agents.page(session, page)),
    },
    drains: {
      record: async (entries, context) => {
        checkDrains(entries);
        await call(context, (session) => drains.record(session, entries));
      },
      release: async (entries, context) => {
        checkReleases(entries);
        await call(context, (session) => drains.release(session, entries));
      },
    },
    jobs: {
      submit: async (jobs, context) => {
        checkJobDrafts(jobs);
        const submitter = principalName(context.principal);
        const entries = jobs.flatMap(({ leases }) => leases);
        if (!haveSecrets(entries)) return call(context, (session) => submit.run(session, jobs, submitter));
        return transaction(context, async (session) => {
          const submitted = await submit.run(session, jobs, submitter);
          await secrets.keep(session, entries);
          return submitted;
        });
      },
      job: (idOrPrefix, context) => call(context, (session) => records.one(session, idOrPrefix)),
      jobs: (page, context) => call(context, (session) => records.page(session, page)),
      liveLeases: (page, context) => call(context, (session) => records.liveLeases(session, page)),
      lease: (leaseId, context) => call(context, (session) => records.lease(session, leaseId)),
      wishCancel: async (jobId, reason, context) => {
        if (!isUuid(jobId)) throw jobNotFound(jobId);
        return transaction(context, (session) => cancel.run(session, jobId, storedMessage(reason)));
      },
      recordProgress: (entries, context) => call(context, (session) => progress.run(session, entries)),
    },
    logs: {
      append: (entry, context) => call(context, (session) => logs.append(session, entry)),
      read: (ref, range, context) => call(context, (session) => logs.read(session, ref, range)),
      list: (attempt, context) => call(context, (session) => logs.list(session, attempt)),
    },
    agentTasks: {
      want: async (wishes, context) => {
        checkAgentTaskWishes(wishes);
        const requestedBy = principalName(context.principal);
        return transaction(context, (session) => wantTasks.want(session, wishes, requestedBy));
      },
      withdraw: async (keys, reason, context) => {
        checkAgentTaskKeys('keys', keys);
        return transaction(context, (session) => wantTasks.withdraw(session, keys, storedMessage(reason)));
      },
      list: (page, context) => call(context, (session) => taskRecords.list(session, page)),
      open: async (source, context) => {
        checkText('source', source, storeLimits.idLengthMax);
        return call(context, (session) => taskRecords.open(session, source));
      },
      bind: async (request, context) => {
        checkBindAgentTasks(request);
        return transaction(context, (session) => bindTasks.run(session, schema, request));
      },
      drop: async (entries, context) => {
        checkCount('entries', entries.length, storeLimits.agentTaskBindingsMax);
        const stored = entries.map(({ reason, ...entry }) => ({
          ...entry,
          reason: { code: storedMessage(reason.code), message: storedMessage(reason.message) },
        }));
        await call(context, (session) => settleTasks.drop(session, stored));
      },
      settle: async (source, retry, context) => {
        checkText('source', source, storeLimits.idLengthMax);
        checkAgentTaskRetry(retry);
        return transaction(context, (session) => settleTasks.settle(session, source, retry));
      },
    },
    agentHealth: {
      claimPass: (everyMs, context) => call(context, (session) => health.claimPass(session, everyMs)),
      facts: (windowMs, context) => call(context, (session) => facts.read(session, windowMs)),
      records: (page, context) => call(context, (session) => health.page(session, page)),
      recordsOf: (agentIds, context) => call(context, (session) => health.of(session, agentIds)),
      change: (changes, context) => transaction(context, (session) => health.change(session, changes)),
      clear: (agentIds, comment, context) =>
        transaction(context, (session) => health.clear(session, agentIds, comment, context)),
    },
    access: {
      createToken: (draft, context) => transaction(context, (session) => tokens.create(session, draft, context)),
      tokens: (page, context) => call(context, (session) => tokens.page(session, page)),
      revokeToken: async (idOrPrefix, context) => {
        const token = await transaction(context, (session) => tokens.revoke(session, idOrPrefix, context));
        signals.announce({ kind: 'token', tokenId: token.tokenId });
        return token;
      },
      useToken: (hash, context) => call(context, (session) => tokens.use(session, hash)),
    },
    audit: {
      append: (entries, context) => call(context, (session) => audit.append(session, entries)),
      entries: (query, context) => call(context, (session) => audit.entries(session, query)),
    },
    workspaces: {
      workspaces: (page, context) => call(context, (session) => workspaces.page(session, page)),
      putWorkspace: (draft, context) => transaction(context, (session) => workspaces.put(session, draft, context)),
      removeWorkspace: (name, context) => transaction(context, (session) => workspaces.remove(session, name, context)),
    },
    pools: {
      pools: (page, context) => call(context, (session) => pools.page(session, page)),
      createPool: (pool, context) => transaction(context, (session) => pools.create(session, pool, context.principal)),
      replacePool: (pool, context) => call(context, (session) => pools.replace(session, pool, context.principal)),
      deletePool: (name, context) => call(context, (session) => pools.remove(session, name)),
    },
    agentSettings: {
      settings: (page, context) => call(context, (session) => settings.page(session, page)),
      settingsOf: (agentIds, context) => call(context, (session) => settings.of(session, agentIds)),
      setEnabled: (agentIds, change, context) =>
        transaction(context, (session) => settings.setEnabled(session, agentIds, change, context.principal)),
      setBusy: (agentIds, change, context) =>
        transaction(context, (session) => settings.setBusy(session, agentIds, change, context.principal)),
      downtimes: (page, context) => call(context, (session) => downtimes.page(session, page)),
      addDowntime: (downtime, context) =>
        transaction(context, (session) => downtimes.add(session, downtime, context.principal)),
      removeDowntime: (downtimeId, context) => call(context, (session) => downtimes.remove(session, downtimeId)),
    },
    enrolments: postgresEnrolments(s, { call, transaction, audit }),
    compiles: postgresCompiles(s, { call, transaction, audit }),
    rollouts: {
      startRollout: (draft, context) => transaction(context, (session) => rollouts.start(session, draft, context)),
      rollout: (channel, context) => call(context, (session) => rollouts.one(session, channel)),
      rollouts: (page, context) => call(context, (session) => rollouts.page(session, page)),
      changeRollout: (channel, revision, change, context) =>
        transaction(context, (session) => rollouts.change(session, channel, revision, change, context)),
    },
    signals,
    check: async (signal) => {
      await database.call(signal, async (session) => {
        const refusal = schemaRefusal(await schemaVersion(session, s));
        if (refusal) throw refusal;
      });
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
