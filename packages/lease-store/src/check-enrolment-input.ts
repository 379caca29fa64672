import { checkCount, checkText, checkWhole } from './check-store-input.ts';
import { enrolmentLimits, type EnrolmentApplication, type EnrolmentTokenDraft } from './enrolment-store.ts';
import { inputInvalid } from './store-errors.ts';
import { storeLimits } from './store-limits.ts';

const agentIdPattern = /^[\w.@:+-]{1,128}$/;
const thumbprintPattern = /^[\w-]{43}$/;
const poolLengthMax = 64;

/** Throws `STORE_INPUT_INVALID` for an id that no enrolled agent may have. */
export function checkAgentId(where: string, agentId: string): void {
  if (agentIdPattern.test(agentId)) return;
  throw inputInvalid(where, JSON.stringify(agentId.slice(0, 80)), '1 to 128 letters, digits and . _ @ : + -');
}

/** Throws `STORE_INPUT_INVALID` for a thumbprint that is none of a SHA-256 in base64url. */
export function checkKeyThumbprint(where: string, thumbprint: string): void {
  if (thumbprintPattern.test(thumbprint)) return;
  throw inputInvalid(where, JSON.stringify(thumbprint.slice(0, 80)), 'a SHA-256 in base64url, 43 characters');
}

/** Throws for names that cannot be pools', or for too many. */
export function checkPoolNames(where: string, pools: readonly string[]): void {
  checkCount(where, pools.length, enrolmentLimits.poolsMax);
  for (const pool of pools) checkText(where, pool, poolLengthMax);
}

/** Throws for an application that no store takes. */
export function checkApplication(application: EnrolmentApplication): void {
  checkAgentId('agentId', application.agentId);
  checkKeyThumbprint('keyThumbprint', application.keyThumbprint);
  checkText('name', application.name, 128, true);
  checkText('address', application.address, 128, true);
  checkPoolNames('pools', application.pools);
}

/** Throws for a token that no store takes. */
export function checkEnrolmentTokenDraft(draft: EnrolmentTokenDraft): void {
  if (!/^[\w-]{1,64}$/.test(draft.tokenId)) {
    throw inputInvalid('tokenId', JSON.stringify(draft.tokenId.slice(0, 80)), '1 to 64 letters, digits, - and _');
  }
  if (!/^[0-9a-f]{64}$/.test(draft.secretHash)) {
    throw inputInvalid('secretHash', 'something else', 'a SHA-256 in lower-case hexadecimal');
  }
  checkText('note', draft.note, 200, true);
  checkWhole('validMs', draft.validMs, enrolmentLimits.tokenValidMsMin, enrolmentLimits.tokenValidMsMax);
  if (draft.usesMax !== undefined) checkWhole('usesMax', draft.usesMax, 1, enrolmentLimits.usesMaxMax);
  checkPoolNames('pools', draft.pools);
}

/** Throws for a page of more rows than one call may have. */
export function checkPageLimit(limit: number): void {
  checkWhole('limit', limit, 1, storeLimits.pageMax);
}
