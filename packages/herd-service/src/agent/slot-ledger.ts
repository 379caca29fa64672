import type { Clock, ScheduledCall } from '@drover/lease-kit';
import type { ResourceClaim, ResourceLedger } from '@drover/resource-ledger';

/**
 * How long slots are held back for a lease that found no room: longer than it waits before it comes again
 * (`passingRefusalDelayMs` of lease-kit, 1 s) and its way through a server.
 */
const holdMs = 3_000;

/**
 * The herd's share of the machine's one ledger: a core a task, at most so many tasks. When a lease is refused because of what the
 * herd holds, no task is started for a while, or a lease that wants much would wait for ever.
 */
export class SlotLedger {
  readonly total: number;
  readonly #ledger: ResourceLedger;
  readonly #clock: Clock;
  readonly #taken = new Set<string>();
  readonly #stops: (() => void)[];
  #hold: ScheduledCall | undefined;
  #leaseSlotsFree: number;

  constructor(total: number, ledger: ResourceLedger, clock: Clock, onChange: () => void) {
    this.total = total;
    this.#ledger = ledger;
    this.#clock = clock;
    this.#leaseSlotsFree = ledger.slotsFree();
    this.#stops = [
      ledger.onChange(() => {
        const now = ledger.slotsFree();
        // A lease has found its room.
        if (now < this.#leaseSlotsFree) this.#endHold();
        this.#leaseSlotsFree = now;
        onChange();
      }),
      ledger.onRefused(({ owner, shortage }) => {
        const isForRoom = shortage.code === 'RESOURCE_TAKEN' || shortage.code === 'MACHINE_NOT_IDLE';
        if (owner.kind === 'attempt' && isForRoom && this.#taken.size > 0) this.#holdBack(onChange);
      }),
    ];
  }

  /** How many more tasks could start now. */
  free(): number {
    if (this.#hold !== undefined) return 0;
    const left = this.total - this.#taken.size;
    if (left <= 0 || this.#ledger.shortage('lan-job', this.#claim()) !== undefined) return 0;
    return Math.min(left, this.#ledger.free()['cores'] ?? left);
  }

  /** Takes a slot for a task; false if there is none. */
  take(id: string): boolean {
    if (this.#hold !== undefined || this.#taken.size >= this.total) return false;
    this.#taken.add(id);
    if (this.#ledger.reserve({ kind: 'lan-job', id }, this.#claim()) === undefined) return true;
    this.#taken.delete(id);
    return false;
  }

  has(id: string): boolean {
    return this.#taken.has(id);
  }

  giveBack(id: string): void {
    this.#taken.delete(id);
    this.#ledger.release({ kind: 'lan-job', id });
  }

  stop(): void {
    this.#endHold();
    for (const stop of this.#stops) stop();
  }

  #claim(): ResourceClaim {
    return 'cores' in this.#ledger.total ? { resources: { cores: 1 } } : {};
  }

  #holdBack(onChange: () => void): void {
    this.#endHold();
    this.#hold = this.#clock.schedule(holdMs, () => {
      this.#hold = undefined;
      onChange();
    });
  }

  #endHold(): void {
    this.#hold?.cancel();
    this.#hold = undefined;
  }
}
