import { AgentAvailability } from '@drover/herd-protocol';
import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import {
  createDiscoveryResponder,
  type AgentDescription,
  type DiscoveryResponder,
  type DiscoveryResponderOptions,
  type DiscoverySigner,
} from './discovery-responder.ts';

/** A key as an agent has it. */
export function testSigner(): DiscoverySigner {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return { publicKey: rawKey(publicKey), sign: (bytes) => sign(null, bytes, privateKey) };
}

function rawKey(publicKey: KeyObject): Uint8Array {
  return Buffer.from(publicKey.export({ format: 'jwk' }).x!, 'base64url');
}

/** What an agent that is there for a test says of itself. */
export function testDescription(agentId: string, over: Partial<AgentDescription> = {}): AgentDescription {
  return {
    agentId,
    name: `host-of-${agentId}`,
    version: '1.2.3',
    availability: AgentAvailability.AVAILABLE,
    port: 7614,
    certificateSha256: new Uint8Array(32).fill(7),
    architecture: 'linux-x64',
    processors: 8,
    slotsTotal: 7,
    slotsFree: 5,
    ramTotalBytes: 16_000_000_000n,
    ramFreeBytes: 8_000_000_000n,
    load: 0.25,
    gpus: ['RTX 6000'],
    pools: ['linux', 'render'],
    ...over,
  };
}

/** A responder that has started. */
export async function startTestAgent(
  agentId: string,
  options: DiscoveryResponderOptions,
  { signer = testSigner(), ...over }: Partial<AgentDescription> & { readonly signer?: DiscoverySigner } = {},
): Promise<DiscoveryResponder & { readonly port: number }> {
  const responder = createDiscoveryResponder(options, { signer, describe: () => testDescription(agentId, over) });
  await responder.start();
  return Object.assign(responder, { port: responder.listening[0]!.port });
}
