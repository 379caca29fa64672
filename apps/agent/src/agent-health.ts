import { isLoopback } from '@drover/app-config';
import type { LeaseAgent } from '@drover/lease-agent';
import { DroverError, type Logger } from '@drover/lease-kit';
import { createRpcHost, loadTls, watchTls, type TlsFiles } from '@drover/rpc-host';
import { serverUrlsOf, type AgentConfig } from './agent-config.ts';

/** The port that says how an agent is. */
export interface AgentHealth extends AsyncDisposable {
  readonly url: string;
  /** Reads the files of its certificate anew. Never rejects. */
  reload(): Promise<void>;
}

/**
 * `/healthz`: the process lives. `/readyz`: it has a session, or is open to the herd where it has no servers. Throws `PLAINTEXT_REFUSED`, `TLS_INCOMPLETE`,
 * and as the host.
 */
export async function startHealth(
  config: AgentConfig,
  agent: LeaseAgent,
  logger: Logger,
): Promise<AgentHealth | undefined> {
  const { host, port } = config.health;
  if (port === undefined) return undefined;
  const files = tlsFilesOf(config);
  const health = createRpcHost(
    { host, port, ...(files === undefined ? {} : { tls: await loadTls(files) }) },
    {
      routes: () => undefined,
      // Nothing but health is served here, and health asks for nobody.
      principalOf: () => undefined,
      isReady: () => {
        if (serverUrlsOf(config).length === 0) return { ready: true };
        const { session, condition } = agent.status();
        if (session?.linked !== true) return { ready: false, reason: 'no session with the server' };
        return { ready: condition === 'ready', reason: condition };
      },
    },
  );
  await health.start();
  const watch = files === undefined ? undefined : watchTls(files, health, { logger });
  return {
    url: health.url,
    reload: () => watch?.reload() ?? Promise.resolve(),
    async [Symbol.asyncDispose]() {
      watch?.[Symbol.dispose]();
      await health.stop();
    },
  };
}

function tlsFilesOf({ health }: AgentConfig): TlsFiles | undefined {
  const { host, tls_cert: cert, tls_key: key, plaintext } = health;
  if (cert !== undefined && key !== undefined) return { cert, key };
  const refuse = (code: string, message: string): never => {
    throw new DroverError({ code, advice: 'fix-input', message });
  };
  if (cert !== undefined || key !== undefined) {
    return refuse('TLS_INCOMPLETE', 'health.tls_cert and health.tls_key go together');
  }
  if (isLoopback(host) || plaintext) return undefined;
  return refuse(
    'PLAINTEXT_REFUSED',
    `health.host is ${host}, which other machines reach: set health.tls_cert and health.tls_key, or health.plaintext = true`,
  );
}
