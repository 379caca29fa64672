import { durationMs } from '@bufbuild/protobuf/wkt';
import type { WorkspaceReport } from '../gen/drover/conform/v1/conform_pb.ts';

/** A line for people about one workspace. */
export function reportText(report: WorkspaceReport): string {
  const { name, from, to, failure } = report;
  const seconds = `${((report.took === undefined ? 0 : durationMs(report.took)) / 1_000).toFixed(1)} s`;
  if (failure !== undefined) return `${name}: failed after ${seconds}: ${failure.message} (${failure.code})`;
  const short = (revision: string): string => revision.slice(0, 12);
  const moved =
    from === to ? `at ${short(to)}` : from === '' ? `new at ${short(to)}` : `${short(from)} -> ${short(to)}`;
  const counts = [
    [report.filesAdded, 'added'],
    [report.filesChanged, 'changed'],
    [report.filesRemoved, 'removed'],
    [report.filesRestored, 'restored'],
    [report.untrackedRemoved, 'untracked removed'],
  ] as const;
  const changes = counts.flatMap(([count, what]) => (count === 0n ? [] : [`${count} ${what}`]));
  const said = [
    moved,
    ...(changes.length === 0 ? ['no file changed'] : changes),
    ...(report.repaired ? ['repaired'] : []),
  ];
  return `${name}: ${said.join(', ')}, ${seconds}`;
}
