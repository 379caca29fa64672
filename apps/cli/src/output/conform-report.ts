import { anyUnpack, type Any } from '@bufbuild/protobuf/wkt';
import { ConformResultSchema, type WorkspaceReport } from '@drover/lease-type-conform';
import { printable } from './print-table.ts';

/** What a conform did, a line for each workspace; none for the output of another lease type, or one that cannot be read. */
export function conformLines(output: Any | undefined): string[] {
  const result = output && unpacked(output);
  if (result === undefined) return [];
  return [
    ...result.workspaces.map((report) => printable(`${report.name}  ${workspaceText(report)}`)),
    ...result.removedFolders.map((folder) => printable(`${folder}  removed`)),
  ];
}

function unpacked(output: Any) {
  try {
    return anyUnpack(output, ConformResultSchema);
  } catch {
    return undefined;
  }
}

function workspaceText(report: WorkspaceReport): string {
  const { from, to, failure } = report;
  if (failure !== undefined) return `failed: ${failure.message} (${failure.code})`;
  const moved =
    from === '' ? `new at ${shortId(to)}` : from === to ? `at ${shortId(to)}` : `${shortId(from)} → ${shortId(to)}`;
  const counts: [bigint, string][] = [
    [report.filesAdded, 'added'],
    [report.filesChanged, 'changed'],
    [report.filesRemoved, 'removed'],
    [report.filesRestored, 'put back'],
    [report.untrackedRemoved, 'untracked removed'],
  ];
  const changes = counts.flatMap(([count, word]) => (count === 0n ? [] : [`${count} ${word}`]));
  if (report.repaired) changes.push('repaired first');
  return `${moved}: ${changes.join(', ') || 'nothing changed'}`;
}

/** Enough of a commit's id to find it; what is no such id stays whole. */
function shortId(id: string): string {
  return /^[0-9a-f]{40,64}$/.test(id) ? id.slice(0, 12) : id;
}
