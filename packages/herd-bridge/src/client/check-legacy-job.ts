import { create } from '@bufbuild/protobuf';
import { HerdTaskSchema, type FoundAgent, type PipeKind } from '@drover/herd-protocol';
import { DroverError, messageOf } from '@drover/lease-kit';
import { legacyTask } from './legacy-task.ts';
import { WireNames } from './wire-names.ts';

/** A file of a job, in the job's folder. */
interface PlannedFile {
  readonly path: string;
}

/** What a client is about to have run. */
export interface LegacyJobPlan {
  readonly inputs: readonly PlannedFile[];
  readonly outputs: readonly PlannedFile[];
  readonly tasks: readonly {
    readonly name: string;
    readonly exe: string;
    readonly arguments: readonly string[];
    readonly environment: Readonly<Record<string, string>>;
    readonly workingFolder: string;
    readonly pipe?: { readonly name: string; readonly kind: PipeKind } | undefined;
    readonly timeoutMs?: number | undefined;
    readonly inputs: readonly PlannedFile[];
    readonly outputs: readonly PlannedFile[];
  }[];
}

const faultsMax = 20;

/**
 * Throws `HERD_JOB_INVALID` with each fault if one of the agents is of the original protocol, and the protocol cannot say this
 * job: before anything was sent to anybody.
 */
export function checkLegacyJob(job: LegacyJobPlan, agents: readonly FoundAgent[], folder: 'own' | 'shared'): void {
  const platforms = agents
    .filter(({ protocol }) => protocol === 'legacy')
    .map(({ architecture }) => architecture.startsWith('win32'));
  const faults = new Set<string>();
  for (const isWindows of new Set(platforms)) {
    const names = new WireNames({ folder: folder === 'own' ? 'drover-0123456789ab' : '', isWindows });
    for (const fault of faultsOf(job, names)) faults.add(fault);
  }
  if (faults.size === 0) return;
  const more = faults.size > faultsMax ? [`and ${faults.size - faultsMax} more`] : [];
  throw new DroverError({
    code: 'HERD_JOB_INVALID',
    advice: 'fix-input',
    message: [...[...faults].slice(0, faultsMax), ...more].join('\n'),
  });
}

function* faultsOf({ inputs, outputs, tasks }: LegacyJobPlan, names: WireNames): Generator<string> {
  const paths = new Set(inputs.map(({ path }) => path));
  for (const { path } of [...inputs, ...outputs, ...tasks.flatMap((task) => [...task.inputs, ...task.outputs])]) {
    try {
      names.of(path);
    } catch (error) {
      yield messageOf(error);
    }
  }
  for (const { timeoutMs, inputs: own, outputs: wanted, arguments: values, ...task } of tasks) {
    const init = {
      ...task,
      arguments: [...values],
      environment: { ...task.environment },
      inputs: own.map(({ path }) => ({ path })),
      outputs: wanted.map(({ path }) => path),
      ...(timeoutMs !== undefined && { timeout: {} }),
    };
    try {
      legacyTask(create(HerdTaskSchema, init), paths, names);
    } catch (error) {
      yield messageOf(error);
    }
  }
}
