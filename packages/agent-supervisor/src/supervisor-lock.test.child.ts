// Takes locks at given moments: `supervisor-lock`; asked over IPC with a path and a time, it answers whether it took the lock.
import { takeSupervisorLock } from './supervisor-lock.ts';

process.on('message', ({ path, atMs }: { readonly path: string; readonly atMs: number }) => {
  // Spinning, so that all processes go at the same moment.
  while (Date.now() < atMs);
  try {
    takeSupervisorLock(path);
    process.send!('took');
  } catch (error) {
    process.send!((error as { readonly code?: string }).code ?? String(error));
  }
});
process.send!('ready');
