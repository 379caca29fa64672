import type { Requirements } from './requirements.ts';

/** Requirements in words, e.g. `pool linux, os == linux, cores 4`; empty for none. */
export function requirementsText(requirements: Requirements): string {
  const { pool, condition, resources = {}, exclusive } = requirements;
  const words = Object.entries(resources)
    .filter(([, amount]) => amount > 0)
    .map(([name, amount]) => `${name} ${amount}`);
  if (condition !== undefined) words.unshift(condition);
  if (pool !== undefined) words.unshift(`pool ${pool}`);
  if (exclusive === true) words.push('exclusive');
  return words.join(', ');
}
