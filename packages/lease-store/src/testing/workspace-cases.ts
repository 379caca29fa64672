import assert from 'node:assert/strict';
import { workspaceLimits } from '../workspace-set.ts';
import type { WorkspaceDraft } from '../workspace-store.ts';
import type { StoreCase } from './compliance-case.ts';
import { rejectsWith, sampleContext as context } from './store-samples.ts';

const draftOf = (name: string, changes: Partial<WorkspaceDraft> = {}): WorkspaceDraft => ({
  name,
  pools: [],
  provider: 'git',
  source: 'https://git.invalid/engine.git',
  revision: 'main',
  folder: name,
  submodules: false,
  sparse: [],
  depth: 0,
  remove: 'nothing',
  ...changes,
});

/** What every store of workspaces does. */
export const workspaceStoreCases: readonly StoreCase[] = [
  {
    name: 'keeps workspaces by name without regard to case, with who wrote them',
    async run({ store: { workspaces } }) {
      const draft = draftOf('Engine', {
        pools: ['gpu', 'a "b"'],
        sparse: ['/src/', "o'neil"],
        depth: 7,
        submodules: true,
      });
      const made = await workspaces.putWorkspace(draft, context);
      assert.deepEqual({ ...made, changedAtMs: 0 }, { ...draft, changedBy: 'service:compliance', changedAtMs: 0 });
      assert.ok(made.changedAtMs > 0);
      await workspaces.putWorkspace(draftOf('art', { remove: 'untracked' }), context);
      const changed = draftOf('ENGINE', { revision: 'release' });
      await workspaces.putWorkspace(changed, context);
      const all = await workspaces.workspaces({ limit: 10 }, context);
      assert.deepEqual(
        all.map(({ name, revision, remove, pools }) => [name, revision, remove, pools]),
        [
          ['art', 'main', 'untracked', []],
          ['ENGINE', 'release', 'nothing', []],
        ],
      );
      assert.deepEqual(await workspaces.workspaces({ after: 'Art', limit: 1 }, context), [all[1]]);
      await workspaces.removeWorkspace('engine', context);
      await rejectsWith(workspaces.removeWorkspace('engine', context), 'WORKSPACE_NOT_FOUND');
    },
  },
  {
    name: 'takes no workspace that an agent must refuse, and none that is in the way of another',
    async run({ store: { workspaces } }) {
      const wrong: Partial<WorkspaceDraft>[] = [
        { name: '../x' },
        { name: '' },
        { provider: 'Git' },
        { source: '' },
        { source: '--upload-pack=touch x' },
        { source: 'ext::sh -c x' },
        { source: 'https://a/b\nc' },
        { source: 'https://user:secret@a/b' },
        { revision: '-x' },
        { folder: '../outside' },
        { folder: '/absolute' },
        { folder: 'a/../b' },
        { folder: '.git' },
        { folder: '' },
        { pools: [''] },
        { sparse: ['a\nb'] },
        { depth: -1 },
      ];
      for (const changes of wrong) {
        await rejectsWith(workspaces.putWorkspace(draftOf('bad', changes), context), 'WORKSPACE_INVALID');
      }
      await workspaces.putWorkspace(draftOf('one', { folder: 'engine/main' }), context);
      for (const folder of ['engine', 'engine/main', 'Engine/Main/inside']) {
        await rejectsWith(workspaces.putWorkspace(draftOf('two', { folder }), context), 'WORKSPACE_FOLDER_TAKEN');
      }
      await workspaces.putWorkspace(draftOf('one', { folder: 'engine' }), context);
    },
  },
  {
    name: 'keeps no workspace beyond the bound, whoever adds one at the same time',
    async run({ store: { workspaces } }) {
      const { workspacesMax } = workspaceLimits;
      for (let index = 1; index < workspacesMax; index += 1)
        await workspaces.putWorkspace(draftOf(`w${index}`), context);
      const last = await Promise.allSettled(
        ['x', 'y', 'z'].map((name) => workspaces.putWorkspace(draftOf(name), context)),
      );
      assert.equal(last.filter(({ status }) => status === 'fulfilled').length, 1);
      await rejectsWith(workspaces.putWorkspace(draftOf('w'), context), 'WORKSPACES_FULL');
      await workspaces.putWorkspace(draftOf('w1', { revision: 'other' }), context);
      assert.equal((await workspaces.workspaces({ limit: 1_000 }, context)).length, workspacesMax);
    },
  },
];
