import type { LeaseAgent, LeaseAgentStatus } from '@drover/lease-agent';
import { DroverError } from '@drover/lease-kit';
import type { RotatingLeaseClient } from '@drover/lease-transport';

const noServer = (): never => {
  throw new DroverError({
    code: 'NO_SERVER',
    advice: 'conflict',
    message: 'this agent has no server: server.urls names none',
  });
};

/** Of an agent that takes no leases, only jobs of the herd. It is never started, so that nothing is called. */
export const clientOfNobody: RotatingLeaseClient = {
  current: 0,
  openSession: async () => noServer(),
  link: noServer,
  appendLog: async () => noServer(),
  fetchSecrets: async () => noServer(),
};

/** What looks after a machine tells how it is; without a session, the herd alone has to hear it. */
export function conditionOfMachine(
  tell: (condition: LeaseAgentStatus['condition']) => void,
): Pick<LeaseAgent, 'setBusy' | 'setUnhealthy' | 'attemptFolders'> {
  let isBusy = false;
  let isUnhealthy = false;
  const say = (): void => tell(isBusy ? 'busy' : isUnhealthy ? 'unhealthy' : 'ready');
  return {
    setBusy(busy) {
      isBusy = busy;
      say();
    },
    setUnhealthy(problem) {
      isUnhealthy = problem !== undefined;
      say();
    },
    attemptFolders: () => undefined,
  };
}
