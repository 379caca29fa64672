import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Of both fakes. */
export const fakeVersion = '1.15.0';

/** What stands for the guest of a fake machine. */
export type FakeGuestOptions =
  | {
      /** The agent as a process in namespaces of bubblewrap, its root a folder of the host. */
      readonly kind: 'namespaces';
      readonly bubblewrap: string;
      readonly agent: string;
      readonly root: string;
    }
  | {
      /** The kernel, the agent and the drive that the API was told, in an emulated machine of QEMU. */
      readonly kind: 'qemu';
      readonly path: string;
      readonly env: Readonly<Record<string, string>>;
      readonly firmwareFolders: readonly string[];
    };

/** Writes `firecracker` and `jailer` into a folder: fakes of them that run by themselves. */
export function makeFakePrograms(
  folder: string,
  guest: FakeGuestOptions,
): { readonly firecracker: string; readonly jailer: string } {
  mkdirSync(folder, { recursive: true });
  const write = (name: string, ...words: string[]): string => {
    const path = join(folder, name);
    const script = join(import.meta.dirname, `fake-${name}.test.fixture.ts`);
    const command = [process.execPath, '--conditions=@drover/source', script, ...words].map(
      (word) => `'${word.replaceAll("'", `'\\''`)}'`,
    );
    writeFileSync(path, `#!/bin/sh\nexec ${command.join(' ')} "$@"\n`, { mode: 0o755 });
    return path;
  };
  return { firecracker: write('firecracker', JSON.stringify(guest)), jailer: write('jailer') };
}
