import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { DroverError } from '@drover/lease-kit';
import { createTestLeaseContext, leaseHandlerCompliance } from '@drover/lease-kit/testing';
import { claimWorkspaceFolder, listWorkspaceFolders, type WorkspaceSyncProvider } from '@drover/workspaces';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ConformSchema, WorkspaceRemoval } from '../gen/drover/conform/v1/conform_pb.ts';
import { createConformHandler } from './conform-handler.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'drover-conform-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** Claims the folder as every provider does, and does what the source says. */
const provider: WorkspaceSyncProvider = {
  kind: 'test',
  async sync({ source, root: at, folder, remove }, { signal, progress }) {
    using _claimed = await claimWorkspaceFolder(at, folder);
    progress?.(50, 'half');
    if (source === 'endless') {
      await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
    }
    if (source === 'broken') throw new DroverError({ code: 'BROKEN', advice: 'unavailable', message: 'it is broken' });
    return {
      to: 'new',
      from: 'old',
      filesAdded: 1,
      filesChanged: 2,
      filesRemoved: 3,
      filesRestored: 4,
      untrackedRemoved: remove === 'untracked-and-ignored' ? 5 : 0,
      storedBytes: 6,
      repaired: false,
    };
  },
};
const conformOf = (...sources: readonly string[]) => ({
  setDigest: '0'.repeat(32),
  workspaces: sources.map((source, index) => ({
    name: `w${index}`,
    provider: source === 'unknown' ? 'perforce' : 'test',
    source,
    folder: source === 'outside' ? '../outside' : `w${index}`,
    removal: WorkspaceRemoval.UNTRACKED_AND_IGNORED,
  })),
});
const handlerAt = (dir: string) => createConformHandler({ root: dir }, { providers: [provider] });
const run = async (init: MessageInitShape<typeof ConformSchema>) => {
  await using lease = await createTestLeaseContext();
  const result = await handlerAt(root).run(create(ConformSchema, init), lease.context);
  return { result, progress: lease.progress };
};

leaseHandlerCompliance({
  describe,
  test,
  make: async () => {
    const dir = mkdtempSync(join(tmpdir(), 'drover-conform-'));
    return {
      handler: handlerAt(dir),
      quick: create(ConformSchema, conformOf('fine')),
      endless: create(ConformSchema, conformOf('endless')),
      [Symbol.asyncDispose]: async () => rmSync(dir, { recursive: true, force: true }),
    };
  },
});

describe('the handler of conforms', () => {
  test('syncs all, says how far all are, and what changed', async () => {
    const { result, progress } = await run(conformOf('fine', 'fine'));
    expect(result).toMatchObject({
      kind: 'completed',
      output: {
        setDigest: '0'.repeat(32),
        workspaces: [
          { name: 'w0', from: 'old', to: 'new', filesAdded: 1n, filesRestored: 4n, untrackedRemoved: 5n },
          { name: 'w1' },
        ],
      },
    });
    expect(progress.map(({ percent, message }) => [percent, message])).toEqual([
      [25, 'w0: half'],
      [75, 'w1: half'],
    ]);
  });

  test('one that fails keeps none of the others; the result says which and why', async () => {
    const { result } = await run(conformOf('broken', 'unknown', 'outside', 'fine'));
    expect(result).toMatchObject({
      kind: 'failed',
      code: 'CONFORM_INCOMPLETE',
      message: expect.stringMatching(
        /^3 of 4 workspaces could not be synced: w0: it is broken \(BROKEN\); w1: /,
      ) as string,
      output: {
        workspaces: [
          { failure: { code: 'BROKEN' }, to: '' },
          { failure: { code: 'WORKSPACE_PROVIDER_UNKNOWN' } },
          { failure: { code: 'WORKSPACE_FOLDER_INVALID' } },
          { to: 'new' },
        ],
      },
    });
    expect((result.kind === 'failed' && result.output?.workspaces[3]!.failure) || 'none').toBe('none');
  });

  test('removes workspaces that are no longer to be kept, if it is told to', async () => {
    await run(conformOf('fine', 'fine'));
    expect(await listWorkspaceFolders(root)).toEqual(['w0', 'w1']);
    await run(conformOf('fine'));
    expect(await listWorkspaceFolders(root)).toEqual(['w0', 'w1']);
    const { result } = await run({ ...conformOf('fine'), removeOthers: true });
    expect(result).toMatchObject({ kind: 'completed', output: { removedFolders: ['w1'] } });
    expect(await listWorkspaceFolders(root)).toEqual(['w0']);
  });

  test('refuses more than a lease may have; an empty set is no error', async () => {
    const many = create(ConformSchema, conformOf(...Array.from({ length: 33 }, () => 'fine')));
    expect(handlerAt(root).refusal!(many)).toMatchObject({ code: 'CONFORM_INVALID' });
    expect((await run(conformOf())).result).toMatchObject({ kind: 'completed' });
  });
});
