import { readFile, stat } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import {
  DroverError,
  messageOf,
  silentLogger,
  systemClock,
  type Clock,
  type Logger,
  type ScheduledCall,
} from '@drover/lease-kit';
import { tlsOptionsFrom, type TlsMaterial } from './internal/acceptor.ts';
import type { RpcHost } from './rpc-host.ts';

/** Where the parts of a listener's TLS are, in PEM. */
export interface TlsFiles {
  /** The certificate, followed by those that lead to its authority. */
  readonly cert: string;
  readonly key: string;
  /** The authorities of clients' certificates; absent: clients are asked for none. */
  readonly clientCa?: string | undefined;
  /** Whether there is a connection without a client's certificate. Default `required`. */
  readonly clientCertificates?: 'required' | 'optional' | undefined;
}

/** Keeps a host's certificate as the files are. */
export interface TlsWatch extends Disposable {
  /** Reads the files now; a certificate that cannot be used is logged, and the one in use stays. Never rejects. */
  reload(): Promise<void>;
}

/** Reads and checks the files. Throws `TLS_FILES_INVALID`, which names the file where one is to blame. */
export async function loadTls(files: TlsFiles): Promise<TlsMaterial> {
  const [cert, key, ca] = await Promise.all([
    read('certificate', files.cert),
    read('key', files.key),
    files.clientCa === undefined ? undefined : read('authority of clients', files.clientCa),
  ]);
  const clients = ca === undefined ? undefined : { ca, required: files.clientCertificates !== 'optional' };
  const material = { cert, key, ...(clients === undefined ? {} : { clients }) };
  try {
    createSecureContext(tlsOptionsFrom(material));
  } catch (error) {
    const which = [files.cert, files.key, ...(files.clientCa === undefined ? [] : [files.clientCa])].join(', ');
    throw invalid(`${which} do not make a usable certificate: ${messageOf(error)}`, error);
  }
  return material;
}

/** Looks at the files every 10 s, and gives the host what is new in them. `loadedFrom` is what the host has now. */
export function watchTls(
  files: TlsFiles,
  host: Pick<RpcHost, 'reloadTls'>,
  deps: { readonly clock?: Clock; readonly logger?: Logger; readonly everyMs?: number } = {},
): TlsWatch {
  const { clock = systemClock, logger = silentLogger, everyMs = 10_000 } = deps;
  const paths = [files.cert, files.key, ...(files.clientCa === undefined ? [] : [files.clientCa])];
  let loaded: string | undefined;
  let stopped = false;
  let timer: ScheduledCall | undefined;

  const reload = async (): Promise<void> => {
    try {
      // Looked at first: what changes while the files are read is found by the next look.
      const marks = await marksOf(paths);
      const material = await loadTls(files);
      if (stopped) return;
      host.reloadTls(material);
      loaded = marks;
      logger.info({ files: paths }, 'the certificate has been read anew');
    } catch (error) {
      logger.error({ err: error }, 'the certificate cannot be read anew; the one before stays in use');
    }
  };
  const look = async (): Promise<void> => {
    const marks = await marksOf(paths).catch(() => undefined);
    if (!stopped && marks !== undefined && loaded !== undefined && marks !== loaded) await reload();
    loaded ??= marks;
    if (!stopped) timer = clock.schedule(everyMs, () => void look());
  };
  void look();
  return {
    reload,
    [Symbol.dispose]() {
      stopped = true;
      timer?.cancel();
    },
  };
}

async function marksOf(paths: readonly string[]): Promise<string> {
  const stats = await Promise.all(paths.map((path) => stat(path)));
  return stats.map(({ mtimeMs, size, ino }) => `${mtimeMs} ${size} ${ino}`).join(', ');
}

async function read(what: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw invalid(`the ${what} ${path} cannot be read: ${messageOf(error)}`, error);
  }
}

function invalid(message: string, cause: unknown): DroverError {
  return new DroverError({ code: 'TLS_FILES_INVALID', advice: 'fix-input', message: `TLS: ${message}`, cause });
}
