import { DroverError } from '@drover/lease-kit';

/** What a launcher was called with. */
export interface LauncherRequest {
  /** From the daemon's token file. */
  readonly token: string;
  readonly workingFolder: string;
  /** Permission bits that new files do not get. */
  readonly umask: number;
  /** Absolute path of the true compiler. */
  readonly compiler: string;
  /** Behind the compiler's name. */
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

/** What the launcher does: run the compiler itself, or end with success since all is written. */
export type LauncherReply =
  | { readonly kind: 'local'; /** For standard error, one line; empty: none. */ readonly warning: string }
  | { readonly kind: 'done' };

/** A request may have 4 MiB, which is more than the kernel lets a program's arguments and variables have by default. */
export const requestSizeBytesMax = 4 * 1024 * 1024;

/**
 * A frame to the daemon: length of the rest (4 bytes, big-endian), then fields that each end with a zero byte: token, folder,
 * umask in octal digits, compiler, number of arguments, these, number of variables, these as NAME=VALUE.
 */
export function launcherRequestBytes(request: LauncherRequest): Buffer {
  const variables = Object.entries(request.environment).map(([name, value]) => `${name}=${value}`);
  const fields = [
    request.token,
    request.workingFolder,
    request.umask.toString(8),
    request.compiler,
    String(request.arguments.length),
    ...request.arguments,
    String(variables.length),
    ...variables,
  ];
  const body = Buffer.from(fields.map((field) => `${field}\0`).join(''));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
}

/** Reads the rest of a frame. Throws `LAUNCHER_REQUEST_INVALID`. */
export function parseLauncherRequest(body: Buffer): LauncherRequest {
  const text = body.toString('utf8');
  // Paths that are no UTF-8 would come out as others.
  if (!text.endsWith('\0') || !Buffer.from(text).equals(body)) throw invalid('is not text that ends with a zero byte');
  const fields = text.slice(0, -1).split('\0');
  const [token = '', workingFolder = '', umask = '', compiler = '', count = ''] = fields;
  const argumentsEnd = 5 + countOf(count, fields.length);
  const variables = fields.slice(argumentsEnd + 1);
  if (countOf(fields[argumentsEnd] ?? '', fields.length) !== variables.length)
    throw invalid('has another number of fields');
  if (!workingFolder.startsWith('/') || !compiler.startsWith('/')) throw invalid('has a path that is not absolute');
  if (!/^[0-7]{1,4}$/.test(umask)) throw invalid('has no umask in octal digits');
  const environment = variables.map((variable): [string, string] => {
    const equals = variable.indexOf('=');
    return equals < 0 ? [variable, ''] : [variable.slice(0, equals), variable.slice(equals + 1)];
  });
  return {
    token,
    workingFolder,
    umask: Number.parseInt(umask, 8),
    compiler,
    arguments: fields.slice(5, argumentsEnd),
    environment: Object.fromEntries(environment),
  };
}

/** A frame to the launcher: length of the rest, then `D`, or `L` and the warning. */
export function launcherReplyBytes(reply: LauncherReply): Buffer {
  const body = Buffer.from(reply.kind === 'done' ? 'D' : `L${reply.warning}`);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
}

function countOf(text: string, max: number): number {
  if (!/^\d{1,7}$/.test(text) || Number(text) > max) throw invalid('has a number that is none');
  return Number(text);
}

function invalid(why: string): DroverError {
  return new DroverError({
    code: 'LAUNCHER_REQUEST_INVALID',
    advice: 'fix-input',
    message: `The launcher's request ${why}; launcher and daemon must be of one version`,
  });
}
