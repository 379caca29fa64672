import type { WaitingClass } from '@drover/lease-store';
import type { BarrenClaims } from './barren-claims.ts';
import type { ClassFit } from './class-fit.ts';
import type { FreePlace } from './free-place.ts';

/** Agents that the same classes fit, and how many leases each may be given whatever class they turn out to be of. */
export interface PlaceGroup {
  /** The same for equal classes. */
  readonly key: string;
  /** Highest priority first. */
  readonly classIds: readonly number[];
  /** Most free slots first. */
  readonly agents: readonly { readonly place: FreePlace; readonly places: number }[];
}

/** Most classes in one claim. */
export const classIdsMax = 1024;

/**
 * Groups agents by the waiting classes that fit them now; groups come in the order of their most urgent class. A claim does
 * not say beforehand of which class a lease will be, so an agent's number of places is the smallest that its classes allow:
 * that many leases of any mixture fit, since each takes at most that part of every resource.
 *
 * It stops looking when every class has `agentsPerClass` agents: with thousands of idle ones and little work, a few do.
 */
export function planPlaces(
  places: readonly FreePlace[],
  classes: readonly WaitingClass[],
  fit: ClassFit<number>,
  barren: BarrenClaims,
  agentsPerClass: number,
): PlaceGroup[] {
  const groups = new Map<string, { key: string; classIds: number[]; agents: { place: FreePlace; places: number }[] }>();
  const found = new Map<number, number>();
  let covered = 0;
  for (const place of places) {
    if (covered === classes.length) break;
    if (place.slotsFree < 1) continue;
    const classIds: number[] = [];
    let smallest = Number.POSITIVE_INFINITY;
    for (const waiting of classes) {
      if (!fit.fits(place.view, waiting.classId, waiting.requirements, waiting.payloadType)) continue;
      const capacity = place.capacity(waiting.requirements);
      if (capacity < 1) continue;
      classIds.push(waiting.classId);
      smallest = Math.min(smallest, capacity);
      if (classIds.length === classIdsMax) break;
    }
    if (classIds.length === 0) continue;
    const key = classIds.join();
    if (barren.has(place.view, key)) continue;
    for (const classId of classIds) {
      const count = (found.get(classId) ?? 0) + 1;
      found.set(classId, count);
      if (count === agentsPerClass) covered += 1;
    }
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { key, classIds, agents: [{ place, places: smallest }] });
    else group.agents.push({ place, places: smallest });
  }
  const rank = new Map(classes.map(({ classId }, index) => [classId, index]));
  for (const { agents } of groups.values()) agents.sort((a, b) => b.place.slotsFree - a.place.slotsFree);
  return [...groups.values()].sort((a, b) => rank.get(a.classIds[0]!)! - rank.get(b.classIds[0]!)!);
}

/** The places of a group, each agent once before any agent twice, at most `limit`. */
export function spreadPlaces(group: PlaceGroup, limit: number): FreePlace[] {
  const spread: FreePlace[] = [];
  for (let turn = 1; spread.length < limit; turn += 1) {
    const before = spread.length;
    for (const { place, places } of group.agents) {
      if (places < turn) continue;
      spread.push(place);
      if (spread.length === limit) break;
    }
    if (spread.length === before) break;
  }
  return spread;
}
