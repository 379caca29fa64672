import { create } from '@bufbuild/protobuf';
import { anyPack, type Any } from '@bufbuild/protobuf/wkt';
import { DroverError } from '@drover/lease-kit';
import { ConformCause, ConformWishSchema, type ConformWish } from './gen/drover/conform/v1/conform_pb.ts';

/** The source of conform's tasks and leases. */
export const conformSourceName = 'conform';

const reasonLengthMax = 1_024;

/** What somebody asks of an agent. */
export interface AskedConform {
  /** Of the set of workspaces that the agent is to keep: `workspaceSetDigest` of `@drover/lease-store`. */
  readonly setDigest: string;
  /** Remove what is not tracked, ignored files too, this once. */
  readonly clean: boolean;
  readonly reason: string;
}

/** The wish of somebody who asks for a conform. Throws `CONFORM_INVALID` (`fix-input`). */
export function askedConform({ setDigest, clean, reason }: AskedConform): Any {
  const wish = create(ConformWishSchema, { cause: ConformCause.ASKED, setDigest, clean, reason });
  checkConformWish(wish);
  return anyPack(ConformWishSchema, wish);
}

/** Throws `CONFORM_INVALID` (`fix-input`) for a wish that no server makes. */
export function checkConformWish({ setDigest, reason }: ConformWish): void {
  if (!/^[0-9a-f]{32}$/.test(setDigest)) {
    throw invalid(
      'set_digest',
      JSON.stringify(setDigest.slice(0, 64)),
      '32 hexadecimal digits; RequestConform knows them',
    );
  }
  if (reason.length > reasonLengthMax) {
    throw invalid('reason', `${reason.length} characters`, `at most ${reasonLengthMax}`);
  }
}

function invalid(where: string, problem: string, allowed: string): DroverError {
  return new DroverError({
    code: 'CONFORM_INVALID',
    advice: 'fix-input',
    message: `${where}: ${problem}; allowed: ${allowed}.`,
    details: { where },
  });
}
