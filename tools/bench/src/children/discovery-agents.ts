import { createSocket, type Socket } from 'node:dgram';
import { generateKeyPairSync, sign } from 'node:crypto';
import { createDiscoveryResponder, type DiscoveryResponder } from '@drover/herd-discovery';
import { AgentAvailability } from '@drover/herd-protocol';
import { serveParent } from '../child-process.ts';

/** Some of the agents: each listens on its own, all on one port of the loopback interface. */
export interface DiscoveryAgentsStart {
  readonly kind: 'drover' | 'echo';
  readonly port: number;
  readonly idPrefix: string;
  readonly count: number;
}

/** What a part of the agents answers. */
export type DiscoveryAgentsMethods = typeof methods;

/** As many bytes as a reply of Drover's has here. */
const echoSizeBytes = 230;
const responders: DiscoveryResponder[] = [];
const sockets: Socket[] = [];

async function start({ kind, port, idPrefix, count }: DiscoveryAgentsStart): Promise<void> {
  for (let n = 0; n < count; n += 1) {
    const agentId = `${idPrefix}-${n}`;
    await (kind === 'drover' ? startDrover(agentId, port) : startEcho(agentId, port));
  }
}

async function startDrover(agentId: string, port: number): Promise<void> {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const key = Buffer.from(publicKey.export({ format: 'jwk' }).x!, 'base64url');
  const responder = createDiscoveryResponder(
    { port, hosts: ['0.0.0.0'] },
    {
      signer: { publicKey: key, sign: (bytes) => sign(null, bytes, privateKey) },
      describe: () => ({
        agentId,
        name: `host-of-${agentId}`,
        version: '0.1.0',
        availability: AgentAvailability.AVAILABLE,
        port: 7614,
        certificateSha256: key,
        architecture: 'linux-x64',
        processors: 16,
        slotsTotal: 15,
        slotsFree: 15,
        ramTotalBytes: 64n * 1024n ** 3n,
        ramFreeBytes: 32n * 1024n ** 3n,
        load: 0.1,
        gpus: [],
        pools: ['linux', 'bench'],
      }),
    },
  );
  await responder.start();
  responders.push(responder);
}

/** The floor: the same sockets, and nothing but an answer with a name. */
async function startEcho(agentId: string, port: number): Promise<void> {
  const socket = createSocket({ type: 'udp4', reuseAddr: true });
  const answer = Buffer.alloc(echoSizeBytes);
  answer.write(agentId);
  socket.on('message', (_, from) => socket.send(answer, from.port, from.address));
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.bind({ address: '0.0.0.0', port, exclusive: true }, resolve);
  });
  sockets.push(socket);
}

const methods = {
  start,
  /** Requests that were not answered, by why. */
  unanswered(): number {
    return responders.reduce((sum, responder) => {
      const { answered: _, ...others } = responder.counts();
      return sum + Object.values(others).reduce((a, b) => a + b, 0);
    }, 0);
  },
};

serveParent(methods, async () => {
  await Promise.all(responders.map((responder) => responder.stop()));
  for (const socket of sockets) socket.close();
});
