import { registerContentService } from '@drover/content-service';
import { createDiskContentStore } from '@drover/content-store-disk';
import { createDiscoveryResponder } from '@drover/herd-discovery';
import {
  createHerdAudit,
  createHerdGate,
  HerdClients,
  herdCallTable,
  herdClientPrefix,
  HerdIdentity,
  parseNetworks,
  PairingCodes,
  PairingTokens,
  registerPairingService,
} from '@drover/herd-pairing/agent';
import { createHerdJobRunner, registerHerdService } from '@drover/herd-service/agent';
import type { LeaseAgent, LeaseAgentStatus } from '@drover/lease-agent';
import { delay, messageOf, systemClock, type Logger, type Principal } from '@drover/lease-kit';
import type { MachineFacts } from '@drover/machine-facts';
import { readBootId } from '@drover/process-runner';
import { createRpcHost, principalFrom, type RpcHostLimits, type TlsMaterial } from '@drover/rpc-host';
import { mkdirSync } from 'node:fs';
import { hostname, networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { AgentConfig } from '../agent-config.ts';
import { version } from '../version.ts';
import { withAudit } from './audited-jobs.ts';
import { describeForHerd } from './describe-for-herd.ts';
import { herdDirOf } from './herd-dir.ts';
import { takeHerdDir } from './herd-host-file.ts';
import { startLegacyHerd } from './legacy-herd.ts';

/** An agent's part in the herd: it listens, lets clients in and runs their jobs. */
export interface AgentHerd extends AsyncDisposable {
  /** Where its services are, for clients on this machine; absent: only the original protocol is on. */
  readonly url: string | undefined;
  /** How the agent stands: anything but `ready` takes no new jobs; when it is busy, what runs is given up. */
  setCondition(condition: LeaseAgentStatus['condition']): void;
  /** Takes no new jobs or tasks, and resolves when what runs has ended. Rejects with the signal's reason. */
  drain(signal: AbortSignal): Promise<void>;
  /** True for a folder of a job that is live, of those in `herd/work/jobs` of the state folder. */
  isJobFolder(name: string): boolean;
}

/** Who works together in it. */
export interface AgentHerdDeps {
  readonly agent: Pick<LeaseAgent, 'agentId' | 'ledger'>;
  readonly facts: MachineFacts;
  readonly logger: Logger;
}

/** Files travel here, a few clients at a time. */
const limits: Partial<RpcHostLimits> = {
  connectionsMax: 512,
  streamWindowSizeBytes: 4 * 2 ** 20,
  connectionWindowSizeBytes: 16 * 2 ** 20,
};
/** How long clients may take to hear what came of their jobs. */
const lastWordsMs = 2_000;

/**
 * Starts the herd host that a configuration describes. Throws `ADDRESS_IN_USE` and its like, `HERD_FILE_EXPOSED`,
 * `DISCOVERY_PORT_UNAVAILABLE`, and what the parts throw.
 */
export async function startHerd(config: AgentConfig, { agent, facts, logger }: AgentHerdDeps): Promise<AgentHerd> {
  const { herd } = config;
  await using parts = new AsyncDisposableStack();
  const dir = herdDirOf(config);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const taken = parts.use(takeHerdDir(dir));
  const name = config.agent.name ?? hostname();
  const { agentId } = agent;
  const identity = parts.use(await HerdIdentity.open({ dir: join(dir, 'identity'), agentId, name }, { logger }));
  const [codes, tokens, clients] = [new PairingCodes(dir), new PairingTokens(dir), new HerdClients(dir)];
  const audit = createHerdAudit({ logger, clock: systemClock });
  const content = parts.use(
    // Clients send again what is not there: it need not survive the machine.
    await createDiskContentStore({
      directory: join(dir, 'content'),
      sizeBytesMax: herd.content_size_max,
      unusedMaxMs: config.cleanup.age_max,
      bootId: readBootId(),
    }),
  );
  const runner = withAudit(
    parts.use(
      await createHerdJobRunner(
        {
          stateDir: join(dir, 'work'),
          slots: herd.slots,
          graceMs: herd.grace,
          limits: {
            jobsMax: herd.jobs_max,
            tasksPerJobMax: herd.tasks_per_job_max,
            outputSizeBytesMax: herd.output_size_max,
          },
        },
        { ledger: agent.ledger, content, logger },
      ),
    ),
    audit,
  );

  if (herd.allow_unpaired.length > 0) {
    const networks = herd.allow_unpaired.join(', ');
    const fields = { networks, security: true, event: 'herd.unpaired-allowed' };
    logger.warn(fields, `anybody in ${networks} may run anything on this machine: herd.allow_unpaired says so`);
  }
  const gate = createHerdGate({ table: herdCallTable, clients, audit, unpaired: parseNetworks(herd.allow_unpaired) });
  const tls = (): TlsMaterial => {
    const { cert, key } = identity.certificate;
    return { cert, key, minVersion: 'TLSv1.3', clients: { ca: identity.authorityPem, required: false } };
  };
  const host = createRpcHost(
    { host: herd.host ?? everyAddress(), port: herd.port, tls: tls(), limits },
    {
      principalOf: (call) => gate.enter(call),
      checkMethods: (methods) => gate.checkMethods(methods),
      routes(router) {
        registerPairingService(
          router,
          { identity, codes, tokens, clients, audit },
          { clientLifetimeMs: herd.certificate_lifetime },
        );
        registerHerdService(router, {
          runner,
          agent: { agentId, name, version },
          principalOf: ({ values }) => principalFrom(values),
        });
        registerContentService(router, { store: content, principalOf: ({ values }) => principalFrom(values), logger });
      },
      logger,
    },
  );
  // Jobs are given up first, and their clients hear it: what is disposed of last comes first here.
  parts.defer(() => host.stop({ graceMs: lastWordsMs }));
  parts.use(runner);
  identity.onCertificate(() => host.reloadTls(tls()));
  parts.use(
    clients.watchRevoked((clientId) => {
      const principal: Principal = { kind: 'user', id: `${herdClientPrefix}${clientId}` };
      const connections = host.disconnect(({ certificateNames }) => certificateNames?.includes(principal.id) === true);
      const jobs = runner.jobs(principal);
      const signal = new AbortController().signal;
      for (const { jobId } of jobs) runner.find(jobId, { principal, signal }).cancel();
      audit.note('herd.client-revoked', { client: clientId, connections, jobs: jobs.length }, 'a client was revoked');
    }),
  );
  const openToClients = async (): Promise<void> => {
    await host.start();
    taken.tell({ agentId, port: host.address.port });
    const described = { agentId, name, version, pools: config.agent.pools, port: host.address.port };
    const responder = parts.use(
      createDiscoveryResponder(
        {
          port: herd.port === 0 ? host.address.port : herd.port,
          ...(herd.host === undefined ? {} : { hosts: [herd.host] }),
        },
        {
          signer: identity,
          describe: () =>
            describeForHerd(described, {
              standing: runner.standing(),
              facts,
              certificateSha256: identity.certificateSha256,
            }),
          logger,
        },
      ),
    );
    if (herd.discovery) await responder.start();
    logger.info({ url: host.url, slots: runner.standing().slotsTotal, discovery: herd.discovery }, 'the herd is open');
  };
  if (herd.legacy.enabled) parts.use(await startLegacyHerd(herd, { dir, runner, content, logger }));
  if (herd.enabled) await openToClients();

  let draining = false;
  const moved = parts.move();
  return {
    url: herd.enabled ? host.url : undefined,
    setCondition(condition) {
      runner.setOpen(condition === 'ready' && !draining);
      if (condition === 'busy') {
        runner.giveUpAll({ code: 'AGENT_BUSY', message: 'the machine of the agent is needed for something else' });
      }
    },
    async drain(signal) {
      draining = true;
      runner.setOpen(false);
      const isIdle = (): boolean => runner.jobs().every(({ tasks }) => tasks.waiting + tasks.running === 0);
      const hadJobs = !isIdle();
      await until(isIdle, (listener) => runner.onChange(listener), signal);
      // Outputs of the last tasks are on their way.
      if (hadJobs) await delay(systemClock, lastWordsMs, signal);
    },
    isJobFolder: (folder) => runner.isJobFolder(folder),
    async [Symbol.asyncDispose]() {
      await moved.disposeAsync().catch((error: unknown) => {
        logger.error({ err: error }, `the herd did not end well: ${messageOf(error)}`);
      });
    },
  };
}

/** All of IPv6 takes IPv4 too, where there is IPv6. */
function everyAddress(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  return addresses.some(({ family }) => family === 'IPv6') ? '::' : '0.0.0.0';
}

/** Resolves when `isSo`, which is looked at after each change. */
async function until(
  isSo: () => boolean,
  onChange: (listener: () => void) => () => void,
  signal: AbortSignal,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const look = (): void => void (isSo() && resolve());
  const abort = (): void => reject(signal.reason as Error);
  const stop = onChange(look);
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  look();
  try {
    await promise;
  } finally {
    stop();
    signal.removeEventListener('abort', abort);
  }
}
