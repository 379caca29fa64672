import type { AgentAddress, FoundAgent } from '@drover/herd-protocol';
import { bytesText, span } from './words.ts';

/** The columns of `drover discover`. */
export const foundAgentColumns = [
  { head: 'AGENT', cell: ({ name }: FoundAgent) => name },
  { head: 'STATE', cell: ({ availability }: FoundAgent) => availability },
  { head: 'SLOTS', cell: ({ slots }: FoundAgent) => `${slots.free}/${slots.total}` },
  { head: 'LOAD', cell: ({ load }: FoundAgent) => `${Math.round(load * 100)} %` },
  { head: 'CPUS', cell: ({ processors }: FoundAgent) => (processors === 0 ? '-' : String(processors)) },
  { head: 'RAM FREE', cell: ramText },
  { head: 'GPU', cell: ({ gpus }: FoundAgent) => gpus.join(', ') },
  { head: 'POOLS', cell: ({ pools }: FoundAgent) => pools.join(', ') },
  { head: 'PLATFORM', cell: ({ architecture }: FoundAgent) => architecture },
  {
    head: 'VERSION',
    cell: ({ protocol, version }: FoundAgent) => (protocol === 'legacy' ? `Herd ${version}` : version),
  },
  { head: 'ADDRESS', cell: addressesText },
  { head: 'PAIRED', cell: pairedText },
  {
    head: 'ANSWERED IN',
    cell: ({ roundTripMs }: FoundAgent) => (roundTripMs === undefined ? '-' : span(Math.max(1, roundTripMs))),
  },
];

/** In the order in which people look for them: who can take something first, then by name. */
export function inReadingOrder(agents: Iterable<FoundAgent>): readonly FoundAgent[] {
  const rank = { available: 0, busy: 1, closed: 2 };
  return [...agents].sort(
    (a, b) =>
      rank[a.availability] - rank[b.availability] || b.slots.free - a.slots.free || a.name.localeCompare(b.name),
  );
}

/** A found agent for programs. */
export function foundAgentJson({ key, ...agent }: FoundAgent): Readonly<Record<string, unknown>> {
  return { ...agent, ...(key === undefined ? {} : { key: Buffer.from(key).toString('base64') }) };
}

function ramText({ ram }: FoundAgent): string {
  if (ram.total === 0) return '-';
  return ram.free === ram.total ? bytesText(ram.total) : `${bytesText(ram.free)} of ${bytesText(ram.total)}`;
}

function addressText({ host, port }: AgentAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The one that answered first, and how many more there are. */
function addressesText({ addresses }: FoundAgent): string {
  const further = addresses.length - 1;
  return `${addressText(addresses[0]!)}${further === 0 ? '' : ` +${further}`}`;
}

function pairedText({ protocol, trusted }: FoundAgent): string {
  if (protocol === 'legacy') return '-';
  return trusted ? 'yes' : 'no';
}
