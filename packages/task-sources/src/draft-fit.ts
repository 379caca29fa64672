import { payloadTypeOf, type AgentView, type LeaseDraft } from '@drover/lease-kit';
import { ClassFit } from './internal/class-fit.ts';
import { FreePlace } from './internal/free-place.ts';

/** Says whether agents have room for drafts. */
export interface DraftFit {
  /** True if the agent could take a lease like this one now. */
  fits(view: AgentView, draft: LeaseDraft): boolean;
}

/** A fit that remembers its verdicts for agents by their properties object, see `AgentTraits`. */
export function createDraftFit(): DraftFit {
  const fit = new ClassFit<string>();
  return {
    fits(view, draft) {
      const { requirements } = draft;
      const payloadType = payloadTypeOf(draft.payload);
      const { pool = '', condition = '', resources = {} } = requirements;
      const key = JSON.stringify([payloadType, pool, condition, resources]);
      return fit.fits(view, key, requirements, payloadType) && new FreePlace(view).capacity(requirements) > 0;
    },
  };
}
