/** How far two reckonings of one start may lie apart, in minutes. */
const minutesApartMax = 2;

/**
 * True if two boot ids are of the same start of a machine. Where the platform draws none, an agent's boot id is
 * `started-<minute>`, reckoned from two clocks, so that those of one start may differ a little.
 */
export function isSameBoot(a: string, b: string): boolean {
  if (a === b) return true;
  const [first, second] = [startedMinute(a), startedMinute(b)];
  return first !== undefined && second !== undefined && Math.abs(first - second) <= minutesApartMax;
}

function startedMinute(bootId: string): number | undefined {
  const minute = /^started-(\d{1,12})$/.exec(bootId)?.[1];
  return minute === undefined ? undefined : Number(minute);
}
