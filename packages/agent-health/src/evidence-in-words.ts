import type { Suspicion } from './judge-agents.ts';

/** Leases that are named; the others are counted. */
const namedMax = 3;

/**
 * What speaks against an agent, as the end of a sentence: `failed 4 leases in 10 min that succeeded elsewhere: compile-3
 * (STEP_FAILED; succeeded on build-2), …`.
 */
export function evidenceInWords({ failed, ended, othersFailed, othersEnded, evidence }: Suspicion): string {
  const times = evidence.map(({ atMs }) => atMs);
  const span = spanInWords(Math.max(...times) - Math.min(...times));
  const named = evidence.slice(0, namedMax).map(({ name, outcome, code, succeededOn }) => {
    const how = code === '' ? (outcome === 'completed' ? 'its work failed' : outcome) : code;
    const where = succeededOn === undefined ? 'others of its kind succeed elsewhere' : `succeeded on ${succeededOn}`;
    return `${name} (${how}; ${where})`;
  });
  const more = failed > named.length ? `, and ${failed - named.length} more` : '';
  const leases = failed === 1 ? '1 lease' : `${failed} leases`;
  const compared = `${failed} of ${ended} here, ${othersFailed} of ${othersEnded} elsewhere`;
  return `failed ${leases} in ${span} that succeed elsewhere (${compared}): ${named.join(', ')}${more}`;
}

function spanInWords(ms: number): string {
  if (ms < 90_000) return `${Math.max(1, Math.ceil(ms / 1_000))} s`;
  return ms < 90 * 60_000 ? `${Math.ceil(ms / 60_000)} min` : `${Math.ceil(ms / 3_600_000)} h`;
}
