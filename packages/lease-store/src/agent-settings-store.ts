import type { StoreContext } from './store-context.ts';

/** Who wrote something, when, and why. */
export interface SettingNote {
  /** For people; may be empty. */
  readonly comment: string;
  /** A principal's name. */
  readonly by: string;
  readonly atMs: number;
}

/** What operators have set for an agent. */
export interface AgentSettings {
  readonly agentId: string;
  /** Absent: it is enabled. */
  readonly disabled?: SettingNote;
  /** The machine is needed for something else until then; absent, or in the past: it is not. */
  readonly busy?: SettingNote & { readonly untilMs: number };
}

/** A day of the week as ISO 8601 numbers them: 1 is Monday, 7 Sunday. */
export type IsoWeekday = 1 | 2 | 3 | 4 | 5 | 6 | 7;

/** When a downtime begins. Times of day are those of an IANA time zone, `HH:MM`. */
export type DowntimeSchedule =
  | { readonly kind: 'once'; readonly startMs: number }
  | { readonly kind: 'daily'; readonly time: string; readonly timeZone: string }
  | {
      readonly kind: 'weekly';
      readonly days: readonly IsoWeekday[];
      readonly time: string;
      readonly timeZone: string;
    };

/** A downtime to store. */
export interface DowntimeDraft {
  /** A UUID. */
  readonly downtimeId: string;
  readonly schedule: DowntimeSchedule;
  readonly durationMs: number;
  /** Ids of agents, at most 1,000, of which none need exist. */
  readonly agents: readonly string[];
  /** Names of pools, at most 64, of which none need exist. With no agent and no pool it is that of the whole fleet. */
  readonly pools: readonly string[];
  /** At most 1,024 characters; may be empty. */
  readonly comment: string;
}

/** A time in which agents get no work but from sources that say so. */
export interface DowntimeRecord extends Omit<DowntimeDraft, 'comment'>, SettingNote {}

/**
 * What operators say about agents: enabled or not, busy for a while, downtimes. Whoever changes something announces the
 * signal `settings`.
 */
export interface AgentSettingsStore {
  /** Of agents that are disabled or busy, by agent id. */
  settings(
    page: { readonly after?: string; readonly limit: number },
    context: StoreContext,
  ): Promise<readonly AgentSettings[]>;
  /** Of these agents, at most 1,000; those without any are left out. */
  settingsOf(agentIds: readonly string[], context: StoreContext): Promise<readonly AgentSettings[]>;
  /** Enables or disables at most 1,000 agents, all or none. AGENT_NOT_FOUND. */
  setEnabled(
    agentIds: readonly string[],
    change: { readonly enabled: boolean; readonly comment: string },
    context: StoreContext,
  ): Promise<void>;
  /** Makes at most 1,000 agents busy from now on, all or none; `busyForMs` 0 ends it. AGENT_NOT_FOUND. */
  setBusy(
    agentIds: readonly string[],
    change: { readonly busyForMs: number; readonly comment: string },
    context: StoreContext,
  ): Promise<void>;
  /** By id. */
  downtimes(
    page: { readonly after?: string; readonly limit: number },
    context: StoreContext,
  ): Promise<readonly DowntimeRecord[]>;
  /** DOWNTIMES_FULL. Those that happened once and are over for 30 days are forgotten. */
  addDowntime(downtime: DowntimeDraft, context: StoreContext): Promise<DowntimeRecord>;
  /** Answers what was removed. DOWNTIME_NOT_FOUND. */
  removeDowntime(downtimeId: string, context: StoreContext): Promise<DowntimeRecord>;
}
