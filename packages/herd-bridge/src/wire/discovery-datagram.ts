import { parseXml, XmlElement } from '@rgrove/parse-xml';
import { discoveryRequestText } from './herd-texts.ts';
import { bytesFromText } from './wire-text.ts';

/** What an original agent tells of itself. Other than in Drover's own discovery, nothing of it is proven. */
export interface DiscoveryAnswer {
  /** Four numbers, e.g. `1.5.0.0`; empty if it was not said. */
  readonly version: string;
  /** A GUID, of all zeros from every genuine agent. */
  readonly processorId: string;
  /** All logical processors; 0, from an agent that does not say, means that clients give it nothing. */
  readonly processors: number;
  /** `Win-64`, `Win-32`, `Linux-64`, `Linux-32` or `N/A`. */
  readonly architecture: string;
  /** 0 to 100. */
  readonly loadPercent: number;
  /** What is free (Windows) or all of it (Unix); 0: unknown. */
  readonly memoryBytes: number;
  /** Version of the driver, or `N/A`. */
  readonly cuda: string;
  /** `available`, `busy`, `cancelling` or `N/A`; work is given to `available` alone. */
  readonly state: string;
  /** Further elements, which the original programs carry along: at most 64, names and values of at most 256 characters. */
  readonly extra: Readonly<Record<string, string>>;
}

/** The request, all 24 bytes of it. */
export const discoveryRequestBytes: Uint8Array = bytesFromText(discoveryRequestText);

/** True if a datagram is the request, byte for byte. */
export function isDiscoveryRequest(datagram: Uint8Array): boolean {
  return Buffer.compare(datagram, discoveryRequestBytes) === 0;
}

/** The datagram of an answer, as a genuine agent writes it: one line, elements in this order, `ProccesorId` with its mistake. */
export function discoveryAnswerBytes(answer: DiscoveryAnswer): Buffer {
  const elements: readonly (readonly [string, string])[] = [
    ['HerdAgentVersion', answer.version],
    ['ProccesorId', answer.processorId],
    ['NumCPUCores', String(answer.processors)],
    ['Architecture', answer.architecture],
    ['ProcessorLoad', decimal(answer.loadPercent)],
    ['Memory', `${Math.floor(answer.memoryBytes / mebibyte)}Mb`],
    ['CUDA', answer.cuda],
    ['State', answer.state],
    ...Object.entries(answer.extra),
  ];
  const content = elements.map(([name, value]) => `<${name}>${escaped(value)}</${name}>`).join('');
  return bytesFromText(`<HerdAgent>${content}</HerdAgent>`);
}

/** Reads an answer, with every tolerance of the original clients; absent if they would drop the datagram. */
export function parseDiscoveryAnswer(datagram: Uint8Array): DiscoveryAnswer | undefined {
  if (datagram[0] !== 0x3c) return undefined;
  const values = elementsOf(datagram);
  if (values === undefined) return undefined;
  const take = (...names: readonly string[]): string | undefined => {
    const found = names.map((name) => values.get(name)).find((value) => value !== undefined);
    for (const name of names) values.delete(name);
    return found;
  };
  const oldArchitecture = take('ProcessorArchitecture');
  return {
    version: take('HerdAgentVersion') ?? '',
    processorId: take('ProccesorId') ?? '',
    processors: numberFrom(take('NumCPUCores', 'NumberOfProcessors'), 65_536, true),
    architecture: take('Architecture') ?? architectureFrom(oldArchitecture),
    loadPercent: numberFrom(take('ProcessorLoad')?.replace(',', '.'), 100, false),
    memoryBytes: memoryFrom(take('Memory')),
    cuda: take('CUDA', 'CudaInfo') ?? 'N/A',
    state: take('State') ?? 'N/A',
    extra: Object.fromEntries([...values].slice(0, 64)),
  };
}

const mebibyte = 1024 * 1024;
const units: readonly (readonly [string, number])[] = [
  ['Gb', 1024 * mebibyte],
  ['Mb', mebibyte],
  ['Kb', 1024],
];

/** Names and texts of the elements under the root; absent if it is no XML, or of another kind. */
function elementsOf(datagram: Uint8Array): Map<string, string> | undefined {
  let root: XmlElement | null;
  try {
    root = parseXml(Buffer.from(datagram).toString('utf8')).root;
  } catch {
    return undefined;
  }
  if (root?.name !== 'HerdAgent') return undefined;
  const elements = root.children.filter((child) => child instanceof XmlElement);
  return new Map(elements.map(({ name, text }) => [name.slice(0, 256), text.slice(0, 256)]));
}

/** No genuine value has such characters; those of an operator might. */
function escaped(value: string): string {
  return value.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

function decimal(value: number): string {
  return String(Math.round(value * 1e6) / 1e6);
}

function numberFrom(text: string | undefined, max: number, isWhole: boolean): number {
  const value = Number(text?.trim() || '0');
  if (!Number.isFinite(value) || value < 0) return 0;
  return Math.min(max, isWhole ? Math.trunc(value) : value);
}

function memoryFrom(text: string | undefined): number {
  const [suffix = '', factor = 1] = units.find(([unit]) => text?.endsWith(unit)) ?? [];
  const amount = text?.slice(0, text.length - suffix.length).replace(',', '.');
  return Math.trunc(numberFrom(amount, Number.MAX_SAFE_INTEGER / factor, false) * factor);
}

function architectureFrom(old: string | undefined): string {
  if (old === undefined) return 'N/A';
  return old === 'AMD64' || old === 'IA64' ? 'Win-64' : 'Win-32';
}
