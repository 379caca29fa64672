import { isDroverError } from '@drover/lease-kit';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { WorkspaceSyncProvider, WorkspaceSyncRequest } from '../workspace-sync-provider.ts';
import { readFiles, type ComplianceRunner, type ExpectedFile } from './workspace-provider-compliance.ts';

/** A source that changes, made anew for each case. */
export interface WorkspaceSyncFixture {
  readonly provider: WorkspaceSyncProvider;
  readonly source: string;
  /** A name of the revision that {@link publish} moves; absent means the source's present one. */
  readonly revision?: string;
  /** Makes these files, of text, the only ones of the source's next revision. */
  readonly publish: (files: Readonly<Record<string, string>>) => Promise<void>;
  /** Names of the provider's own folders in a workspace, e.g. `.git`, which are not looked at. */
  readonly ownFolders: readonly string[];
  readonly unknownRevision: string;
  readonly missingSource: string;
  readonly dispose: () => Promise<void>;
}

/** The functions of a test runner, as for `workspaceProviderCompliance`. */
export interface WorkspaceSyncRunner extends Omit<ComplianceRunner, 'make'> {
  readonly make: () => Promise<WorkspaceSyncFixture>;
}

/** Declares the cases that every {@link WorkspaceSyncProvider} must pass. Call it at the top of a test file. */
export function workspaceSyncCompliance({ describe, test, expect, make }: WorkspaceSyncRunner): void {
  const never = new AbortController().signal;

  interface Case {
    readonly fixture: WorkspaceSyncFixture;
    readonly root: string;
    readonly sync: (more?: Partial<WorkspaceSyncRequest>) => ReturnType<WorkspaceSyncProvider['sync']>;
    readonly files: () => Promise<Record<string, ExpectedFile>>;
  }
  const check = (name: string, body: (run: Case) => Promise<void>) =>
    test(name, async () => {
      const fixture = await make();
      const root = await mkdtemp(join(tmpdir(), 'drover-compliance-'));
      const { source, revision } = fixture;
      const request = { source, root, folder: 'main', ...(revision === undefined ? {} : { revision }) };
      try {
        await body({
          fixture,
          root,
          sync: (more) => fixture.provider.sync({ ...request, ...more }, { signal: never }),
          files: () => readFiles(join(root, 'main'), fixture.ownFolders),
        });
      } finally {
        await rm(root, { recursive: true, force: true });
        await fixture.dispose();
      }
    });
  const codeOf = (promise: Promise<unknown>) =>
    promise.then(
      () => 'nothing was thrown',
      (error: unknown) => (isDroverError(error) ? error.code : error),
    );
  const text = (content: string): ExpectedFile => ({ content, executable: false });

  describe('a provider of workspaces that are synced', () => {
    check('brings what is there, then follows it and says what changed', async ({ fixture, sync, files }) => {
      await fixture.publish({ kept: '1', changed: '1', removed: '1' });
      const first = await sync();
      expect([first.from, first.filesAdded, first.filesChanged, first.filesRemoved]).toEqual([undefined, 3, 0, 0]);
      await fixture.publish({ kept: '1', changed: '2', 'deep/added': '2' });
      const second = await sync();
      expect([second.from, second.filesAdded, second.filesChanged, second.filesRemoved]).toEqual([first.to, 1, 1, 1]);
      expect(await files()).toEqual({ kept: text('1'), changed: text('2'), 'deep/added': text('2') });
      const third = await sync();
      expect([third.from, third.to, third.filesAdded + third.filesChanged + third.filesRemoved]).toEqual([
        second.to,
        second.to,
        0,
      ]);
    });

    check('puts tracked files back, and keeps or removes the others as asked', async (run) => {
      const { fixture, root, sync, files } = run;
      await fixture.publish({ one: '1', two: '2', three: '3' });
      await sync();
      await writeFile(join(root, 'main', 'one'), 'dirty');
      await rm(join(root, 'main', 'two'));
      await mkdir(join(root, 'main', 'made'));
      await writeFile(join(root, 'main', 'made', 'file'), 'mine');
      const kept = await sync();
      expect([kept.filesRestored, kept.untrackedRemoved]).toEqual([2, 0]);
      expect(await files()).toEqual({ one: text('1'), two: text('2'), three: text('3'), 'made/file': text('mine') });
      const cleaned = await sync({ remove: 'untracked' });
      expect([cleaned.filesRestored, cleaned.untrackedRemoved > 0]).toEqual([0, true]);
      expect(await files()).toEqual({ one: text('1'), two: text('2'), three: text('3') });
    });

    check('a file of the source replaces what is in its way', async ({ fixture, root, sync, files }) => {
      await fixture.publish({ one: '1' });
      await sync();
      await mkdir(join(root, 'main', 'two', 'deep'), { recursive: true });
      await writeFile(join(root, 'main', 'two', 'deep', 'file'), 'mine');
      await fixture.publish({ one: '1', two: '2' });
      await sync();
      expect(await files()).toEqual({ one: text('1'), two: text('2') });
    });

    check('refuses a folder outside the root, or through a link, and what is not a workspace', async (run) => {
      const { fixture, root, sync } = run;
      await fixture.publish({ one: '1' });
      const wrong = ['..', '../x', 'a/../../x', '/etc', '', '.', 'a//b', '-x', '.git', '.drover', 'a/.git/x', 'a\nb'];
      for (const folder of wrong) {
        expect([folder, await codeOf(sync({ folder }))]).toEqual([folder, 'WORKSPACE_FOLDER_INVALID']);
      }
      expect(await codeOf(sync({ root: 'relative' }))).toEqual('WORKSPACE_ROOT_INVALID');
      const outside = await mkdtemp(join(tmpdir(), 'drover-outside-'));
      try {
        await symlink(outside, join(root, 'link'));
        await writeFile(join(outside, 'mine'), 'mine');
        expect(await codeOf(sync({ folder: 'link' }))).toEqual('WORKSPACE_FOLDER_LINKED');
        expect(await codeOf(sync({ folder: 'link/deep' }))).toEqual('WORKSPACE_FOLDER_LINKED');
        expect(await readFiles(outside, [])).toEqual({ mine: text('mine') });
      } finally {
        await rm(outside, { recursive: true, force: true });
      }
      await mkdir(join(root, 'mine'));
      await writeFile(join(root, 'mine', 'file'), 'mine');
      expect(await codeOf(sync({ folder: 'mine' }))).toEqual('WORKSPACE_NOT_OURS');
      expect(await readFile(join(root, 'mine', 'file'), 'utf8')).toEqual('mine');
      await sync();
      expect(await codeOf(sync({ folder: 'main/inside' }))).toEqual('WORKSPACE_NESTED');
    });

    check('says so when it has no such revision or source, and leaves the workspace alone', async (run) => {
      const { fixture, sync, files } = run;
      await fixture.publish({ one: '1' });
      const { to } = await sync();
      for (const wrong of [{ revision: fixture.unknownRevision }, { source: fixture.missingSource }]) {
        const error: unknown = await sync(wrong).catch((thrown: unknown) => thrown);
        expect(isDroverError(error) && error.advice).toEqual('not-found');
        expect(await files()).toEqual({ one: text('1') });
      }
      expect((await sync()).from).toEqual(to);
    });

    check('an abort before and in the midst throws its reason, and the next one is whole', async (run) => {
      const { fixture, root, sync, files } = run;
      await fixture.publish({ one: '1' });
      const { provider, source, revision } = fixture;
      const request = { source, root, folder: 'main', ...(revision === undefined ? {} : { revision }) };
      const reason = new Error('no longer wanted');
      const thrown = (signal: AbortSignal) => provider.sync(request, { signal }).catch((error: unknown) => error);
      expect(await thrown(AbortSignal.abort(reason))).toEqual(reason);
      const abort = new AbortController();
      const pending = thrown(abort.signal);
      abort.abort(reason);
      expect(await pending).toEqual(reason);
      await sync();
      expect(await files()).toEqual({ one: text('1') });
    });

    check('progress goes from 0 to 100 and never back', async ({ fixture, root }) => {
      await fixture.publish({ one: '1' });
      const { provider, source, revision } = fixture;
      const seen: number[] = [];
      await provider.sync(
        { source, root, folder: 'main', ...(revision === undefined ? {} : { revision }) },
        { signal: never, progress: (percent) => seen.push(percent) },
      );
      expect(seen).toEqual([...seen].sort((a, b) => a - b));
      expect([seen.every((percent) => percent >= 0 && percent <= 100), seen.at(-1)]).toEqual([true, 100]);
    });
  });
}
