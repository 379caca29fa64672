/**
 * Now on the system's monotonic clock, in ms with fractions. All processes of this machine read the same clock, so that a
 * time of one may be subtracted from that of another (`performance.now()` starts at zero in each process).
 */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
