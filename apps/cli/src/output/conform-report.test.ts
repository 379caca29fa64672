import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { anyPack, AnySchema, StringValueSchema } from '@bufbuild/protobuf/wkt';
import { ConformResultSchema, type WorkspaceReportSchema } from '@drover/lease-type-conform';
import { expect, test } from 'vitest';
import { conformLines } from './conform-report.ts';

const [a, b] = ['a'.repeat(40), 'b'.repeat(40)];

const lines = (workspaces: MessageInitShape<typeof WorkspaceReportSchema>[], removedFolders: string[] = []) =>
  conformLines(anyPack(ConformResultSchema, create(ConformResultSchema, { workspaces, removedFolders })));

test('a workspace is told with where it was, where it is, and what changed', () => {
  expect(
    lines(
      [
        { name: 'new', to: a, filesAdded: 12n },
        { name: 'same', from: a, to: a },
        { name: 'moved', from: a, to: b, filesChanged: 2n, filesRemoved: 1n, filesRestored: 3n, untrackedRemoved: 4n },
        { name: 'mended', from: '@1204', to: '@1250', filesAdded: 1n, repaired: true },
        { name: 'bad', failure: { code: 'GIT_REPOSITORY_NOT_FOUND', message: 'gone\u001b[2J' } },
      ],
      ['old/one'],
    ),
  ).toEqual([
    'new  new at aaaaaaaaaaaa: 12 added',
    'same  at aaaaaaaaaaaa: nothing changed',
    'moved  aaaaaaaaaaaa → bbbbbbbbbbbb: 2 changed, 1 removed, 3 put back, 4 untracked removed',
    'mended  @1204 → @1250: 1 added, repaired first',
    'bad  failed: gone[2J (GIT_REPOSITORY_NOT_FOUND)',
    'old/one  removed',
  ]);
});

test('another output, a broken one and none say nothing', () => {
  expect(conformLines(undefined)).toEqual([]);
  expect(conformLines(anyPack(StringValueSchema, create(StringValueSchema, { value: 'hi' })))).toEqual([]);
  const typeUrl = `type.googleapis.com/${ConformResultSchema.typeName}`;
  expect(conformLines(create(AnySchema, { typeUrl, value: Uint8Array.of(255) }))).toEqual([]);
});
