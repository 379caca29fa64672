import { DroverError } from '@drover/lease-kit';

/** Input of a call that is not right. `code` is stable; `where` names the field. */
export function inputInvalid(code: string, where: string, problem: string, allowed: string): DroverError {
  return new DroverError({
    code,
    advice: 'fix-input',
    message: `${where}: ${problem}; allowed: ${allowed}.`,
    details: { where },
  });
}

/** `FOLLOWERS_FULL`: too many calls follow jobs and logs. */
export function followersFull(followersMax: number): DroverError {
  return new DroverError({
    code: 'FOLLOWERS_FULL',
    advice: 'exhausted',
    message: `${followersMax} calls follow jobs and logs, which is the most allowed.`,
    details: { followersMax },
    retryAfterMs: 5_000,
  });
}

/** `SUBMISSIONS_FULL`: too many submissions wait for the store. */
export function submissionsFull(waitingMax: number): DroverError {
  return new DroverError({
    code: 'SUBMISSIONS_FULL',
    advice: 'exhausted',
    message: `${waitingMax} submissions wait for the store, which is the most allowed.`,
    details: { waitingMax },
    retryAfterMs: 1_000,
  });
}

/** A page size, or its default for 0. Throws `INVALID_PAGE_SIZE`. */
export function pageSizeOf(given: number, absent: number, max: number): number {
  if (given > max) throw inputInvalid('INVALID_PAGE_SIZE', 'page_size', String(given), `1 to ${max}`);
  return given === 0 ? absent : given;
}

/** A page token is the last id of the page before, so that it means nothing to a caller. Throws `INVALID_PAGE_TOKEN`. */
export function idFromPageToken(token: string): string | undefined {
  if (token === '') return undefined;
  const id = Buffer.from(token, 'base64url').toString('utf8');
  if (id === '' || id.length > 256 || pageTokenOf(id) !== token) {
    throw inputInvalid('INVALID_PAGE_TOKEN', 'page_token', 'it is none', 'the next_page_token of the answer before');
  }
  return id;
}

/** The token of the page behind `lastId`. */
export function pageTokenOf(lastId: string): string {
  return Buffer.from(lastId, 'utf8').toString('base64url');
}

/** An id or prefix that names a job. Throws `INVALID_JOB_ID`. */
export function checkJobId(jobId: string): string {
  if (!/^[0-9a-fA-F-]{4,36}$/.test(jobId)) {
    const shown = JSON.stringify(jobId.slice(0, 64));
    throw inputInvalid('INVALID_JOB_ID', 'job_id', shown, 'a job id, or at least its first 4 characters');
  }
  return jobId.toLowerCase();
}
