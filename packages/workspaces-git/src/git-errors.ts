import { DroverError, type ErrorAdvice } from '@drover/lease-kit';
import type { GitSource } from './git-source.ts';

interface GitFailure {
  readonly pattern: RegExp;
  readonly code: string;
  readonly advice: ErrorAdvice;
  readonly what: string;
}

/** What git says, and what it means for who asked; the first row that matches holds. */
const failures: readonly GitFailure[] = [
  {
    pattern: /No space left on device|Disk quota exceeded/,
    code: 'GIT_DISK_FULL',
    advice: 'exhausted',
    what: 'there is no space left on this machine',
  },
  {
    pattern: /detected dubious ownership|is owned by someone else/,
    code: 'GIT_REPOSITORY_NOT_TRUSTED',
    advice: 'denied',
    what: 'it belongs to another user',
  },
  {
    pattern:
      /Authentication failed|Permission denied|could not read (?:Username|Password)|terminal prompts disabled|HTTP 40[13]|returned error: 40[13]|Host key verification failed/,
    code: 'GIT_ACCESS_DENIED',
    advice: 'denied',
    what: 'access was denied',
  },
  {
    pattern:
      /does not appear to be a git repository|not a git repository|[Rr]epository (?:'.*' )?not found|returned error: 404/,
    code: 'GIT_REPOSITORY_NOT_FOUND',
    advice: 'not-found',
    what: 'there is no repository',
  },
];

/** True when a fetch failed for want of what was asked for, and the repository itself answered. */
export function isMissingRef(stderr: string): boolean {
  return /couldn't find remote ref|not our ref|no such remote ref|unadvertised object/.test(stderr);
}

/** True when the cached mirror itself is broken, by a crash in its midst for one: it is made anew then. */
export function isBrokenMirror(stderr: string): boolean {
  return /\.lock': File exists|is corrupt|object file .* is empty|bad object|cannot be accessed|unable to read tree|did not send all necessary objects|bad (?:config|signature)|missing blob/.test(
    stderr,
  );
}

/** The error for a call of git that failed, with the last lines of what it said; credentials of the url are taken out. */
export function gitError(doing: string, source: GitSource, stderr: string): DroverError {
  const said = redact(stderr, source).trim().split('\n').slice(-5).join('\n').slice(-1000);
  const known = failures.find(({ pattern }) => pattern.test(stderr));
  return new DroverError({
    code: known?.code ?? 'GIT_REPOSITORY_UNREACHABLE',
    advice: known?.advice ?? 'unavailable',
    message: `${doing} ${source.shownUrl} failed${known === undefined ? '' : `: ${known.what}`}: ${said}`,
  });
}

function redact(text: string, source: GitSource): string {
  return text.replaceAll(source.url, source.shownUrl).replace(/(\w+:\/\/)[^\s/@]+@/g, '$1');
}

/** The error for a revision that the repository does not have. */
export function revisionUnknown(revision: string, source: GitSource): DroverError {
  const short = /^[0-9a-f]{4,39}$/i.test(revision) ? '; a commit needs all its 40 digits' : '';
  return new DroverError({
    code: 'GIT_REVISION_UNKNOWN',
    advice: 'not-found',
    message: `${source.shownUrl} has no revision ${revision}${short}`,
    details: { revision },
  });
}

/** The error for a path of this machine where nothing is. */
export function repositoryMissing(path: string): DroverError {
  return new DroverError({
    code: 'GIT_REPOSITORY_NOT_FOUND',
    advice: 'not-found',
    message: `There is no repository at ${path} on this machine`,
  });
}
