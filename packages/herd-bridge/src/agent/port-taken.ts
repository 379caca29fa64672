import { DroverError } from '@drover/lease-kit';

/** A port that could not be listened at, as an error for people; anything else stays what it is. */
export function portTaken(error: unknown, protocol: 'UDP' | 'TCP', host: string, port: number): unknown {
  if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') return error;
  return new DroverError({
    code: 'HERD_PORT_TAKEN',
    advice: 'conflict',
    message:
      `${protocol} port ${port} of ${host} is taken: is an original Herd agent running on this machine? ` +
      'Only one of both can be, since clients ask these ports.',
    cause: error,
  });
}
