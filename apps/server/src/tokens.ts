import type { SecretSealer } from '@drover/lease-secrets';
import type { InjectionToken } from 'tsyringe';
import type { LocalContentStore } from '@drover/content-store';
import type { LiveFleetPolicy } from '@drover/fleet-policy';
import type { AgentTaskKind, Logger, Meter } from '@drover/lease-kit';
import type { LeaseServer } from '@drover/lease-server';
import type { DroverStore } from '@drover/lease-store';
import type { ServerCompile } from './server-compile.ts';
import type { ServerEnrolment } from './server-enrolment.ts';

/** What the composition root hands out besides sources and planners. */
export const StoreToken: InjectionToken<DroverStore> = Symbol.for('@drover/server/DroverStore');
export const ContentToken: InjectionToken<LocalContentStore> = Symbol.for('@drover/server/ContentStore');
export const LoggerToken: InjectionToken<Logger> = Symbol.for('@drover/server/Logger');
/** Registered where metrics are served. */
export const MeterToken: InjectionToken<Meter> = Symbol.for('@drover/server/Meter');
export const PolicyToken: InjectionToken<LiveFleetPolicy> = Symbol.for('@drover/server/FleetPolicy');
export const EnrolmentToken: InjectionToken<ServerEnrolment> = Symbol.for('@drover/server/Enrolment');
export const CompileToken: InjectionToken<ServerCompile> = Symbol.for('@drover/server/Compile');
export const LeaseServerToken: InjectionToken<LeaseServer> = Symbol.for('@drover/server/LeaseServer');
/** What may be wanted of agents, by the name of its source. */
export const AgentTaskKindsToken: InjectionToken<ReadonlyMap<string, AgentTaskKind>> = Symbol.for(
  '@drover/server/AgentTaskKinds',
);
export const SecretsToken: InjectionToken<SecretSealer> = Symbol.for('@drover/server/SecretSealer');
/** Type names of payloads that nobody may submit. */
export const ReservedPayloadsToken: InjectionToken<ReadonlySet<string>> = Symbol.for('@drover/server/ReservedPayloads');
