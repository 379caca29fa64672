import { isDroverError } from '@drover/lease-kit';
import { lstat, mkdir, mkdtemp, readFile, readdir, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { WorkspaceProvider, WorkspaceRequest } from '../workspace-provider.ts';

/** What a file of the source must be in a working copy. */
export type ExpectedFile =
  | { readonly content: string; readonly executable?: boolean }
  /** A symbolic link, and where it leads, as written. */
  | { readonly link: string };

/** A source that a provider can bring, made anew for each case. */
export interface WorkspaceFixture {
  readonly provider: WorkspaceProvider;
  readonly source: string;
  /** A name of the revision that holds {@link files}; absent means the source's present one. */
  readonly revision?: string;
  /** Every file of that revision, by its path; the provider's own folder (`.git`) is not looked at. */
  readonly files: Readonly<Record<string, ExpectedFile>>;
  /** A well-formed revision that the source does not have. */
  readonly unknownRevision: string;
  /** A well-formed source that does not exist. */
  readonly missingSource: string;
  /** Removes what was made for the case. */
  readonly dispose: () => Promise<void>;
}

/** The functions of a test runner; vitest's, jest's and node:test's with any `expect` fit. */
export interface ComplianceRunner {
  readonly describe: (name: string, body: () => void) => unknown;
  readonly test: (name: string, body: () => Promise<void>) => unknown;
  readonly expect: (actual: unknown) => { toEqual(expected: unknown): unknown };
  readonly make: () => Promise<WorkspaceFixture>;
}

/** Declares the cases that every {@link WorkspaceProvider} must pass. Call it at the top of a test file. */
export function workspaceProviderCompliance({ describe, test, expect, make }: ComplianceRunner): void {
  const never = new AbortController().signal;

  const check = (name: string, body: (fixture: WorkspaceFixture, dir: string) => Promise<void>) =>
    test(name, async () => {
      const fixture = await make();
      const dir = await mkdtemp(join(tmpdir(), 'drover-compliance-'));
      try {
        await body(fixture, dir);
      } finally {
        await rm(dir, { recursive: true, force: true });
        await fixture.dispose();
      }
    });
  const requestOf = (
    fixture: WorkspaceFixture,
    destination: string,
    revision = fixture.revision,
  ): WorkspaceRequest => ({
    source: fixture.source,
    destination,
    ...(revision === undefined ? {} : { revision }),
  });
  const thrown = (promise: Promise<unknown>) =>
    promise.then(
      () => 'nothing was thrown' as unknown,
      (error: unknown) => error,
    );
  const exists = (path: string) =>
    lstat(path).then(
      () => true,
      () => false,
    );

  describe('a workspace provider', () => {
    check('brings exactly the files of the revision, with modes and links', async (fixture, dir) => {
      const copy = await fixture.provider.materialize(requestOf(fixture, join(dir, 'a', 'copy')), never);
      expect(copy.dir).toEqual(join(dir, 'a', 'copy'));
      expect(await readFiles(copy.dir)).toEqual(normalized(fixture.files));
    });

    check('resolves the revision to an id that can be asked for again', async (fixture, dir) => {
      const first = await fixture.provider.materialize(requestOf(fixture, join(dir, 'first')), never);
      const second = await fixture.provider.materialize(requestOf(fixture, join(dir, 'second'), first.revision), never);
      expect(second.revision).toEqual(first.revision);
      expect(await readFiles(second.dir)).toEqual(normalized(fixture.files));
    });

    check('takes an empty folder as its destination', async (fixture, dir) => {
      await mkdir(join(dir, 'empty'));
      const copy = await fixture.provider.materialize(requestOf(fixture, join(dir, 'empty')), never);
      expect(await readFiles(copy.dir)).toEqual(normalized(fixture.files));
    });

    check('refuses a folder with something in it, and leaves that alone', async (fixture, dir) => {
      await writeFile(join(dir, 'mine'), 'mine');
      const error = await thrown(fixture.provider.materialize(requestOf(fixture, dir), never));
      expect(isDroverError(error, 'WORKSPACE_DESTINATION_NOT_EMPTY')).toEqual(true);
      expect(await readFiles(dir)).toEqual({ mine: { content: 'mine', executable: false } });
    });

    check('refuses a destination that is not an absolute, clean path', async (fixture, dir) => {
      for (const destination of ['relative', `${dir}/../x`, '/', '']) {
        const error = await thrown(fixture.provider.materialize(requestOf(fixture, destination), never));
        expect([destination, isDroverError(error, 'WORKSPACE_DESTINATION_INVALID')]).toEqual([destination, true]);
      }
    });

    check('says so when it has no such revision or source, and leaves nothing behind', async (fixture, dir) => {
      const destination = join(dir, 'copy');
      const requests = [
        requestOf(fixture, destination, fixture.unknownRevision),
        { ...requestOf(fixture, destination), source: fixture.missingSource },
      ];
      for (const request of requests) {
        const error = await thrown(fixture.provider.materialize(request, never));
        expect(isDroverError(error) && error.advice).toEqual('not-found');
        expect(await exists(destination)).toEqual(false);
      }
    });

    check('an abort before and in the midst throws its reason and leaves nothing behind', async (fixture, dir) => {
      const destination = join(dir, 'copy');
      const reason = new Error('no longer wanted');
      expect(
        await thrown(fixture.provider.materialize(requestOf(fixture, destination), AbortSignal.abort(reason))),
      ).toEqual(reason);
      const abort = new AbortController();
      const pending = thrown(fixture.provider.materialize(requestOf(fixture, destination), abort.signal));
      abort.abort(reason);
      expect(await pending).toEqual(reason);
      expect(await exists(destination)).toEqual(false);
    });

    check('copies are independent, and dispose removes one with all that was made in it', async (fixture, dir) => {
      const destinations = ['one', 'two', 'three'].map((name) => join(dir, name));
      const [one, two] = await Promise.all(
        destinations.map((destination) => fixture.provider.materialize(requestOf(fixture, destination), never)),
      );
      for (const path of Object.keys(fixture.files)) await rm(join(one!.dir, path));
      await mkdir(join(one!.dir, 'made', 'deep'), { recursive: true });
      await writeFile(join(one!.dir, 'made', 'deep', 'file'), 'x', { mode: 0o400 });
      await one!.dispose();
      await one!.dispose();
      expect(await exists(one!.dir)).toEqual(false);
      expect(await readFiles(two!.dir)).toEqual(normalized(fixture.files));
    });
  });
}

function normalized(files: WorkspaceFixture['files']): Record<string, ExpectedFile> {
  return Object.fromEntries(
    Object.entries(files).map(([path, file]) => [path, 'link' in file ? file : { executable: false, ...file }]),
  );
}

/** Every file and link below a folder, without what is in the provider's own folders. */
export async function readFiles(
  dir: string,
  ownFolders: readonly string[] = ['.git'],
): Promise<Record<string, ExpectedFile>> {
  const found: Record<string, ExpectedFile> = {};
  for (const path of (await readdir(dir, { recursive: true })).sort()) {
    if (ownFolders.some((name) => path === name || path.startsWith(`${name}/`))) continue;
    const stats = await lstat(join(dir, path));
    if (stats.isSymbolicLink()) found[path] = { link: await readlink(join(dir, path)) };
    else if (stats.isFile()) {
      found[path] = { content: await readFile(join(dir, path), 'utf8'), executable: (stats.mode & 0o100) !== 0 };
    }
  }
  return found;
}
