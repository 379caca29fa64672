import { createServer } from 'node:net';

/** `wanted` if it can be listened on, else 0, with which the system chooses one. */
export async function portOrAny(wanted: number): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(0));
    probe.listen(wanted, '127.0.0.1', () => probe.close(() => resolve(wanted)));
  });
}
