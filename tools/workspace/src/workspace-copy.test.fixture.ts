import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../../..');

/** What is copied: a generator writes to these, or asks what is in them. Packages and what is installed are linked. */
const copied = [
  'nx.json',
  'package.json',
  'tsconfig.base.json',
  'buf.yaml',
  '.prettierrc.json',
  'docs/ARCHITECTURE.md',
];

const vitestConfig = `
const conditions = ['@drover/source'];
export default {
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: { include: ['packages/lease-type-render-frame/**/*.test.ts'] },
};
`;

/** A workspace of its own with the packages of this one, gone when it is disposed of. */
export class WorkspaceCopy implements Disposable {
  readonly dir = mkdtempSync(join(tmpdir(), 'drover-workspace-'));

  constructor() {
    for (const file of copied) cpSync(join(root, file), join(this.dir, file), { recursive: true });
    for (const folder of ['packages', 'tools', 'node_modules', 'node_modules/@drover']) this.#linkEntries(folder);
    writeFileSync(join(this.dir, 'vitest.config.mjs'), vitestConfig);
  }

  /** Links a package of the copy, as npm does. */
  link(name: string): void {
    symlinkSync(`../../packages/${name}`, join(this.dir, 'node_modules/@drover', name));
  }

  write(path: string, text: string): void {
    writeFileSync(join(this.dir, path), text);
  }

  [Symbol.dispose](): void {
    rmSync(this.dir, { recursive: true, force: true });
  }

  #linkEntries(folder: string): void {
    mkdirSync(join(this.dir, folder), { recursive: true });
    for (const entry of readdirSync(join(root, folder))) {
      if (entry !== '@drover') symlinkSync(join(root, folder, entry), join(this.dir, folder, entry));
    }
  }
}
