import { DroverError } from '@drover/lease-kit';

/** A program as a service of the machine, whatever manages services there. */
export interface ServiceDescription {
  /** Of the service, its user's folders and its log lines; letters, digits and dashes. */
  readonly name: string;
  /** One line for people. */
  readonly title: string;
  /** Version of what is installed, for people. */
  readonly version: string;
  /** Absolute path of the program, and its arguments, without a shell. */
  readonly command: readonly [string, ...string[]];
  readonly environment: Readonly<Record<string, string>>;
  /** File of further variables, one NAME=VALUE a line, which need not be there; for secrets. Absolute. */
  readonly environmentFile?: string;
  /** Folders that it writes beside its own state and log folders. Absolute. */
  readonly writableFolders: readonly string[];
  /** True if it needs to read what lies under /home, /root or /run/user. */
  readonly readsHomes: boolean;
  /** Longest time between the wish to stop it and its end; it is killed then. */
  readonly stopWithinMs: number;
  /** It reads its files again at SIGHUP. */
  readonly reloads: boolean;
  /** Exit codes after which it is not started again, beside 0: starting it anew would change nothing. */
  readonly finalExitCodes: readonly number[];
  /** Exit codes that are as good as 0. */
  readonly cleanExitCodes: readonly number[];
}

const namePattern = /^[a-z][a-z0-9-]{0,62}$/;

/** Throws `SERVICE_NAME_INVALID` for what cannot be the name of a service. */
export function checkServiceName(name: string): void {
  if (namePattern.test(name)) return;
  throw new DroverError({
    code: 'SERVICE_NAME_INVALID',
    advice: 'fix-input',
    message: `${JSON.stringify(name)} is no name of a service; allowed are lower-case letters, digits and dashes, a letter first, at most 63`,
  });
}

/** Throws `SERVICE_INVALID` for a value that no file of a service can hold. */
export function checkServiceText(what: string, text: string): void {
  const found = /[\u0000-\u001f\u007f]/.exec(text);
  if (found === null) return;
  throw new DroverError({
    code: 'SERVICE_INVALID',
    advice: 'fix-input',
    message: `${what} is ${JSON.stringify(text)}, with a control character at ${found.index}; allowed is text in one line`,
  });
}
