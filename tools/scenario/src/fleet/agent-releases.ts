import { buildBundle, generateSigningKey, signBundle, unpackBundle } from '@drover/agent-bundles';
import { installFirstVersion } from '@drover/agent-supervisor';
import { chmodSync, createReadStream, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { droverCommandLine } from './drover-process.ts';

/** A signed version of the agent. */
export interface AgentRelease {
  readonly version: string;
  /** The archive; its signature stands beside it. */
  readonly archive: string;
  /** Its digest. */
  readonly hash: string;
}

/** Makes versions of the agent from this checkout, signed with a key of the day. */
export class AgentReleases {
  /** The public key, as agents are told to trust it. */
  readonly publicKey: string;
  readonly #dir: string;
  readonly #key = generateSigningKey();

  constructor(dir: string) {
    this.#dir = dir;
    this.publicKey = this.#key.publicKey;
    mkdirSync(dir, { recursive: true });
  }

  /** A version that works; `line` is what its program does instead, for one that does not. */
  async build(version: string, line?: string): Promise<AgentRelease> {
    const folder = join(this.#dir, version);
    const program = join(folder, 'run');
    mkdirSync(folder, { recursive: true });
    const words = droverCommandLine.map((word) => `'${word}'`).join(' ');
    writeFileSync(program, `#!/bin/sh\n${line ?? `exec ${words} "$@"`}\n`);
    chmodSync(program, 0o755);
    const archive = join(this.#dir, `agent-${version}.tar.gz`);
    const { digest } = await buildBundle({ folder, version, platform: 'any', entry: 'run', output: archive });
    const signature = signBundle({ version, platform: 'any', digest }, this.#key.privateKeyPem);
    writeFileSync(`${archive}.sig.json`, signature);
    return { version, archive, hash: digest.hash };
  }

  /** Puts a first version into a supervisor's folder. */
  async install(release: AgentRelease, home: string): Promise<void> {
    const { version, hash, archive } = release;
    await installFirstVersion(home, { version, bundle: hash }, async (folder) => {
      const { entry } = await unpackBundle(createReadStream(archive), { folder });
      return { entry };
    });
  }
}
