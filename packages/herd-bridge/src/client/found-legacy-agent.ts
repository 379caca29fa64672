import type { FoundAgent } from '@drover/herd-protocol';
import type { DiscoveryAnswer } from '../wire/index.ts';

/** Where an answer came from. */
export interface AnswerOrigin {
  /** IPv4 address of the agent. */
  readonly host: string;
  /** TCP port on which it takes jobs. */
  readonly jobPort: number;
  /** From request to answer, in ms; absent if it is not known. */
  readonly roundTripMs?: number | undefined;
}

/** An original agent as the herd's clients see it. It has no identity but its address: genuine ones all say the same GUID. */
export function foundLegacyAgent(answer: DiscoveryAnswer, { host, jobPort, roundTripMs }: AnswerOrigin): FoundAgent {
  const availability = availabilityOf(answer.state);
  const { processors, memoryBytes } = answer;
  return {
    agentId: `legacy:${host}`,
    protocol: 'legacy',
    name: host,
    addresses: [{ host, port: jobPort }],
    availability,
    version: answer.version,
    architecture: architectures[answer.architecture] ?? answer.architecture,
    processors,
    // It starts all tasks of a job together; the original client gives it one a processor.
    slots: { total: processors, free: availability === 'available' ? processors : 0 },
    ram: { total: memoryBytes, free: memoryBytes },
    load: answer.loadPercent / 100,
    gpus: answer.cuda === '' || answer.cuda === 'N/A' ? [] : [`CUDA ${answer.cuda}`],
    pools: [],
    trusted: false,
    roundTripMs,
    ...(Object.keys(answer.extra).length > 0 && { extra: answer.extra }),
  };
}

/** In Node's words; others stay as they were said. */
const architectures: Readonly<Record<string, string>> = {
  'Win-64': 'win32-x64',
  'Win-32': 'win32-ia32',
  'Linux-64': 'linux-x64',
  'Linux-32': 'linux-ia32',
};

/** Work is given to `available` alone, whatever else it says. */
function availabilityOf(state: string): FoundAgent['availability'] {
  if (state === 'available') return 'available';
  return state === 'busy' || state === 'cancelling' ? 'busy' : 'closed';
}
