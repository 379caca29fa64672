import type { WaitingClass } from '@drover/lease-store';
import type { ClassFit } from './class-fit.ts';
import type { FreePlace } from './free-place.ts';

/** Most agents that are held back at once. */
export const heldBackMax = 16;
/** An agent that is held back and was not asked about for so long is away, or may take nothing: another one is chosen. */
export const missingAfterMs = 30_000;

/**
 * Agents that get nothing else until a lease fits that smaller ones have kept out for too long. One agent for a class at a
 * time. A class that no longer waits, or has no such old lease any more, holds nobody back. An agent that is away serves
 * nobody, and one that had room in vain (it has refused what waits) is not held back for the same at once.
 *
 * ```
 *   (free) ──its class has waited too long, the agent is large enough and has no room──▶ held back ──room──▶ (free)
 *                                                                                           │
 *            its class waits no longer, or no longer for too long ◀─────────────────────────┘
 * ```
 */
export class HeldBack {
  readonly #afterMs: number;
  readonly #byAgent = new Map<string, { readonly classId: number; seenMs: number }>();
  /** By class: until when agents are not held back for it, on the clock of {@link choose}. */
  readonly #inVain = new Map<number, Map<string, number>>();

  constructor(afterMs: number) {
    this.#afterMs = afterMs;
  }

  /** The class for which an agent is held back. */
  classOf(agentId: string): number | undefined {
    return this.#byAgent.get(agentId)?.classId;
  }

  /** The agent is free again. */
  release(agentId: string): void {
    this.#byAgent.delete(agentId);
  }

  /** The agent had room, and yet got nothing of the class for which it was held back. */
  gotNothing(agentId: string, classId: number, nowMs: number): void {
    const agents = this.#inVain.get(classId) ?? new Map<string, number>();
    this.#inVain.set(classId, agents.set(agentId, nowMs + this.#afterMs));
  }

  /** Lets go of agents whose class does not need them any more; `classes` is all that waits. */
  review(classes: readonly WaitingClass[]): void {
    if (this.#byAgent.size === 0 && this.#inVain.size === 0) return;
    const overdue = new Set(classes.filter((one) => this.#isOverdue(one)).map(({ classId }) => classId));
    for (const [agentId, { classId }] of this.#byAgent) if (!overdue.has(classId)) this.#byAgent.delete(agentId);
    for (const classId of this.#inVain.keys()) if (!overdue.has(classId)) this.#inVain.delete(classId);
  }

  /**
   * Holds one agent back for each class that has waited too long and fits none of `places` now: the one that comes nearest to
   * having room.
   */
  choose(classes: readonly WaitingClass[], places: readonly FreePlace[], fit: ClassFit<number>, nowMs: number): void {
    this.#look(places, nowMs);
    const served = new Set([...this.#byAgent.values()].map(({ classId }) => classId));
    const overdue = classes
      .filter((one) => this.#isOverdue(one) && !served.has(one.classId))
      .sort((a, b) => b.ageMsMax - a.ageMsMax);
    for (const one of overdue) {
      if (this.#byAgent.size >= heldBackMax) return;
      const fitting = places.filter(
        ({ view }) =>
          !this.#byAgent.has(view.agentId) &&
          !this.#isInVain(view.agentId, one.classId, nowMs) &&
          fit.fits(view, one.classId, one.requirements, one.payloadType),
      );
      // With room somewhere it is a matter of turns, not of size.
      if (fitting.some((place) => place.capacity(one.requirements) > 0)) continue;
      const [nearest] = fitting.sort((a, b) => freeShare(b, one) - freeShare(a, one));
      if (nearest !== undefined) this.#byAgent.set(nearest.view.agentId, { classId: one.classId, seenMs: nowMs });
    }
  }

  /** Lets go of agents that are asked about no more: the class of one that is away must not wait for it. */
  #look(places: readonly FreePlace[], nowMs: number): void {
    if (this.#byAgent.size === 0) return;
    for (const { view } of places) {
      const held = this.#byAgent.get(view.agentId);
      if (held !== undefined) held.seenMs = nowMs;
    }
    for (const [agentId, { seenMs }] of this.#byAgent)
      if (nowMs - seenMs > missingAfterMs) this.#byAgent.delete(agentId);
  }

  #isInVain(agentId: string, classId: number, nowMs: number): boolean {
    return (this.#inVain.get(classId)?.get(agentId) ?? Number.NEGATIVE_INFINITY) > nowMs;
  }

  #isOverdue({ ageMsMax }: WaitingClass): boolean {
    return ageMsMax >= this.#afterMs;
  }
}

/** How much of what a lease needs an agent has free: 1 is all of it. For an exclusive lease, how much of the agent is free. */
function freeShare({ view }: FreePlace, { requirements }: WaitingClass): number {
  const names =
    requirements.exclusive === true ? Object.keys(view.resourcesTotal) : Object.keys(requirements.resources ?? {});
  const shares = names.map((name) => {
    const key = name.trim().toLowerCase();
    const needed = requirements.exclusive === true ? view.resourcesTotal[key] : requirements.resources?.[name];
    return needed === undefined || needed === 0 ? 1 : Math.min(1, (view.resourcesFree[key] ?? 0) / needed);
  });
  return Math.min(1, ...shares);
}
