import type { AssignedAttempt, LeaseDraft } from '@drover/lease-kit';
import type { SessionRef } from '@drover/lease-store';
import { createDraftFit, type ImmediatePlacement, type PlacementReservation } from '@drover/task-sources';
import type { AssignmentLoop } from './assignment-loop.ts';
import { heldAttempt, type HeldAttempt } from './held-attempt.ts';
import type { LeaseSession } from './lease-session.ts';

/** What a placement works with. */
export interface LocalPlacementDeps {
  readonly loop: AssignmentLoop;
  /** False while the server drains or stops. */
  readonly open: () => boolean;
  /** Sessions that may have been bound to without an answer. */
  readonly doubt: (sessions: readonly LeaseSession[]) => void;
}

/** Most hungry agents that are looked at for one draft; one that fits none of them waits and is claimed. */
const looksMax = 256;

/** Binds drafts to hungry agents of this server, see `ImmediatePlacement`. */
export function createLocalPlacement(deps: LocalPlacementDeps): ImmediatePlacement {
  const fit = createDraftFit();

  const placeFor = (draft: LeaseDraft): LeaseSession | undefined => {
    let looks = 0;
    for (const session of deps.loop.hungry) {
      if (looks++ === looksMax) return undefined;
      if (session.takesWork && !session.asking && fit.fits(session.view, draft)) return session;
    }
    return undefined;
  };

  return {
    reserve(drafts) {
      const places = new Map<string, { readonly session: LeaseSession; readonly draft: LeaseDraft }>();
      if (deps.open()) {
        const foretold = new Map<LeaseSession, LeaseDraft[]>();
        for (const draft of drafts) {
          const session = placeFor(draft);
          if (session === undefined) continue;
          const told = foretold.get(session);
          if (told === undefined) foretold.set(session, [draft]);
          else told.push(draft);
          places.set(draft.leaseId, { session, draft });
          session.reserve(draft.leaseId, draft.requirements);
          deps.loop.served(session, session.takesWork);
        }
        for (const [session, told] of foretold) session.foretell(told);
      }
      return reservation(deps, places);
    },
  };
}

function reservation(
  deps: LocalPlacementDeps,
  places: ReadonlyMap<string, { readonly session: LeaseSession; readonly draft: LeaseDraft }>,
): PlacementReservation {
  const bindings = new Map<string, SessionRef>([...places].map(([leaseId, { session }]) => [leaseId, session.ref]));
  let open = true;
  const free = (): ReadonlySet<LeaseSession> => {
    open = false;
    for (const [leaseId, { session }] of places) session.unreserve(leaseId);
    return new Set([...places.values()].map(({ session }) => session));
  };
  return {
    bindings,
    confirm(assigned: readonly AssignedAttempt[]) {
      if (!open) return;
      const sessions = free();
      const bound = new Map<LeaseSession, HeldAttempt[]>();
      for (const attempt of assigned) {
        const place = places.get(attempt.leaseId);
        if (place === undefined || place.session.epoch !== attempt.epoch) continue;
        const list = bound.get(place.session);
        const held = heldAttempt(attempt, place.draft.source);
        if (list === undefined) bound.set(place.session, [held]);
        else list.push(held);
      }
      for (const session of sessions) {
        const list = bound.get(session);
        if (list !== undefined) session.assign(list);
        // An audit may have found them before; the places that were kept are free in any case.
        deps.loop.changed(session);
      }
    },
    release() {
      if (!open) return;
      const sessions = [...free()];
      for (const session of sessions) deps.loop.changed(session);
      if (sessions.length > 0) deps.doubt(sessions);
    },
  };
}
