import type { DigestLine } from '../list-digest.ts';
import { agentLines, serverLines } from './carry-out.ts';
import { insist } from './violation.ts';
import type { MeantLine, World } from './world.ts';

/** Invariant 10: whoever could be sent a digest now, or has one on its way, holds the list that it stands for. */
export function checkLists(world: World): void {
  const { agent, server } = world;
  if (agent.phase !== 'session' || server?.phase !== 'active') return;
  if (world.toServer?.copy.list.kind === 'digest') checkSame(server.agentList, world.toServer.meant);
  if (world.toAgent?.copy.list.kind === 'digest') checkSame(agent.serverList, world.toAgent.meant);
  if (server.applied >= agent.listRevision) checkSame(server.agentList, agentLines(world));
  if (agent.applied === server.revision) checkSame(agent.serverList, serverLines(world));
}

/** Throws unless the receiver of a digest remembers the list that the sender means. */
function checkSame(remembered: readonly DigestLine[] | undefined, meant: readonly MeantLine[]): void {
  const same =
    remembered?.length === meant.length &&
    meant.every((line) => {
      return remembered.some(
        ({ leaseId, attempt, state }) => leaseId === line.leaseId && attempt === line.attempt && state === line.state,
      );
    });
  insist(same, 10, () => {
    return `a digest would stand for ${JSON.stringify(meant)} and be taken for ${JSON.stringify(remembered)}`;
  });
}
