import { DroverError } from '@drover/lease-kit';
import { fileURLToPath } from 'node:url';
import { isAbsolute, resolve } from 'node:path';

/** How git may reach a repository. `file` is a path or a `file:` url of this machine. */
export type GitTransport = 'https' | 'http' | 'ssh' | 'git' | 'file';

/** A repository, checked. */
export interface GitSource {
  /** What git is given. */
  readonly url: string;
  /** The same without user names and passwords, for messages and for the working copy's own settings. */
  readonly shownUrl: string;
  readonly transport: GitTransport;
  /** The folder, for the transport `file`. */
  readonly path: string | undefined;
}

const sourceLengthMax = 2048;
const revisionLengthMax = 255;

/**
 * Checks the url or path of a repository. Throws `GIT_SOURCE_INVALID` (`fix-input`) for what is neither, for what git
 * could take for an option or for a helper program (`ext::…`), and `GIT_TRANSPORT_DENIED` (`denied`) for a transport that
 * is not among `transports`.
 */
export function parseGitSource(source: string, transports: readonly GitTransport[]): GitSource {
  const parsed = hasControl(source) || source.length > sourceLengthMax ? undefined : parse(source);
  if (parsed === undefined) {
    throw new DroverError({
      code: 'GIT_SOURCE_INVALID',
      advice: 'fix-input',
      message: `${JSON.stringify(source.slice(0, 200))} is no repository: give an absolute path, user@host:path, or a url with ${transports.join(', ')}`,
    });
  }
  if (transports.includes(parsed.transport)) return parsed;
  throw new DroverError({
    code: 'GIT_TRANSPORT_DENIED',
    advice: 'denied',
    message: `The transport ${parsed.transport} of ${parsed.shownUrl} is not allowed here; ${transports.join(', ')} are`,
  });
}

function parse(source: string): GitSource | undefined {
  if (isAbsolute(source)) {
    const path = resolve(source);
    return { url: path, shownUrl: path, transport: 'file', path };
  }
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(source)?.[1]?.toLowerCase();
  if (scheme === undefined) {
    // scp's way; a host or user that starts with `-` would be an option of ssh, and `x::y` is a helper program.
    const match = /^(?:([\w.][\w.+-]*)@)?(?:[\w][\w.-]*|\[[0-9a-fA-F:.]+\]):(?![:-])(?=.)/.exec(source);
    return match === null ? undefined : { url: source, shownUrl: source, transport: 'ssh', path: undefined };
  }
  const transport = (['https', 'http', 'ssh', 'git', 'file'] as const).find((name) => name === scheme);
  const url = URL.canParse(source) ? new URL(source) : undefined;
  if (transport === undefined || url === undefined) return undefined;
  if (transport === 'file') return parseFileUrl(url);
  if (url.hostname === '' || url.hostname.startsWith('-') || url.username.startsWith('-')) return undefined;
  return { url: source, shownUrl: withoutCredentials(url), transport, path: undefined };
}

function parseFileUrl(url: URL): GitSource | undefined {
  try {
    const path = fileURLToPath(url);
    return hasControl(path) ? undefined : { url: url.href, shownUrl: url.href, transport: 'file', path };
  } catch {
    return undefined;
  }
}

function withoutCredentials(url: URL): string {
  const shown = new URL(url);
  shown.password = '';
  // The user name of ssh is part of the address; elsewhere it may be a token.
  if (url.protocol !== 'ssh:') shown.username = '';
  return shown.href;
}

/** A revision, checked: a full commit id, or the name of a ref. */
export type GitRevision =
  { readonly kind: 'commit'; readonly id: string } | { readonly kind: 'name'; readonly name: string };

/**
 * Checks a revision after git-check-ref-format(1). Throws `GIT_REVISION_INVALID` (`fix-input`) for options, ranges and
 * expressions such as `HEAD~1`.
 */
export function parseGitRevision(revision: string): GitRevision {
  if (/^[0-9a-f]{40}$/i.test(revision)) return { kind: 'commit', id: revision.toLowerCase() };
  const forbidden = /[ ~^:?*[\\]|\.\.|@\{|\/\/|^[-./]|\/\.|[/.]$|\.lock(?:\/|$)|^@$|^$/;
  if (!forbidden.test(revision) && !hasControl(revision) && revision.length <= revisionLengthMax) {
    return { kind: 'name', name: revision };
  }
  throw new DroverError({
    code: 'GIT_REVISION_INVALID',
    advice: 'fix-input',
    message: `${JSON.stringify(revision.slice(0, 200))} is no revision: give a commit id of 40 hexadecimal digits, or the name of a branch, tag or ref`,
  });
}

function hasControl(text: string): boolean {
  return [...text].some((char) => char < ' ' || char === '\x7f');
}
