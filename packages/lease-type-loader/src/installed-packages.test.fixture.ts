import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** What a package of a test exports: code by subpath. */
export type SubpathCode = Readonly<Record<string, string>>;

/** A folder with packages in its node_modules, gone when it is disposed of. */
export class InstalledPackages implements Disposable {
  readonly dir = mkdtempSync(join(tmpdir(), 'lease-type-loader-'));

  /** Adds a package; each subpath is exported under the condition `import` alone, as many packages do. */
  add(name: string, code: SubpathCode, below = '.'): void {
    const home = join(this.dir, below, 'node_modules', name);
    const exports: Record<string, unknown> = {};
    for (const [subpath, text] of Object.entries(code)) {
      const file = `./dist/${subpath === '.' ? 'index' : subpath.slice(2)}.js`;
      exports[subpath] = { types: file.replace('.js', '.d.ts'), import: file };
      mkdirSync(dirname(join(home, file)), { recursive: true });
      writeFileSync(join(home, file), text);
    }
    mkdirSync(home, { recursive: true });
    writeFileSync(join(home, 'package.json'), JSON.stringify({ name, version: '1.2.3', type: 'module', exports }));
  }

  [Symbol.dispose](): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

const message = (typeName: string): string => `{ kind: 'message', typeName: '${typeName}' }`;

/** The code of a lease type, by hand: as another copy of lease-kit would have made it. */
export function leaseTypeCode(name: string, payload = `test.${name}`): string {
  return `{ name: '${name}', payload: ${message(payload)}, output: ${message('test.Output')} }`;
}

/** The code of a half that brings what `create` answers. */
export function partCode(
  side: 'server' | 'agent',
  options: { readonly name: string; readonly create: string; readonly needs?: string; readonly contract?: number },
): string {
  const { name, create, needs = '[]', contract = 1 } = options;
  return `export const ${side}Part = {
    type: ${leaseTypeCode(name)}, needs: ${needs}, create: async (table, deps) => (${create}),
    [Symbol.for('@drover/lease-kit/LeaseTypePart')]: { side: '${side}', contract: ${contract} },
  };`;
}
