import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { OfferedPackages } from './installed-packages.ts';

/** A package registry on this machine alone. */
export interface LoopbackRegistry extends AsyncDisposable {
  readonly url: string;
  /** What npm is told by its environment to ask this registry and nobody else, and to leave the user's cache alone. */
  env(cacheDir: string): Readonly<Record<string, string>>;
}

/**
 * Offers packages to npm on a loopback port: so npm itself lays out a node_modules folder, from exactly what the workspace
 * has, without a network.
 */
export async function startLoopbackRegistry(offered: OfferedPackages): Promise<LoopbackRegistry> {
  const server = createServer((request, response) => {
    answer(offered, url, request.url ?? '/', response).catch((error: unknown) => {
      response.writeHead(500).end(String(error));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    env: (cacheDir) => ({
      npm_config_registry: url,
      npm_config_cache: cacheDir,
      npm_config_audit: 'false',
      npm_config_fund: 'false',
      npm_config_update_notifier: 'false',
      npm_config_omit_lockfile_registry_resolved: 'true',
      npm_config_fetch_retries: '0',
    }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

async function answer(offered: OfferedPackages, url: string, path: string, response: ServerResponse): Promise<void> {
  const [name, version] = decodeURIComponent(path.slice(1)).split('/-/');
  const versions = offered.get(name ?? '');
  if (versions === undefined) return void response.writeHead(404).end('{}');
  if (version !== undefined) {
    const found = versions.find((one) => one.version === version);
    if (found === undefined) return void response.writeHead(404).end('{}');
    return void response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(await found.archive());
  }
  const described = versions.map((one) => [
    one.version,
    { ...one.manifest, dist: { tarball: `${url}/${name}/-/${one.version}` } },
  ]);
  const latest = versions.map((one) => one.version).sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  const document = { name, 'dist-tags': { latest: latest.at(-1) }, versions: Object.fromEntries(described) };
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(document));
}
