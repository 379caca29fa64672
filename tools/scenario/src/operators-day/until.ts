import { setTimeout as pause } from 'node:timers/promises';

const lookMs = 200;

/** Looks again and again until something is true; throws that it was not within `limitMs`. */
export async function until(what: string, limitMs: number, look: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + limitMs;
  while (!(await look())) {
    if (performance.now() > end) throw new Error(`within ${limitMs / 1_000} s it was not true that ${what}`);
    await pause(lookMs);
  }
}
