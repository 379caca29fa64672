import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { anyPack } from '@bufbuild/protobuf/wkt';
import { JobSubmissionSchema, type JobSubmission } from '@drover/control-api';
import { JobSchema, type BatchSchema } from '@drover/lease-type-job';
import type { Witness } from './witness.ts';

/** What a job of the mix asks for, beside its step. */
type Needs = MessageInitShape<typeof BatchSchema>['requirements'];

/** The kinds of jobs that take turns: what they need of a machine, and how long they keep it. */
const mix: readonly { readonly kind: string; readonly needs: Needs; readonly seconds: number }[] = [
  { kind: 'small', needs: { resources: { cores: 1n } }, seconds: 0.2 },
  { kind: 'small', needs: { resources: { cores: 1n } }, seconds: 0.5 },
  { kind: 'wide', needs: { resources: { cores: 2n } }, seconds: 0.4 },
  { kind: 'pooled', needs: { pool: 'day', resources: { cores: 1n } }, seconds: 0.3 },
  { kind: 'picky', needs: { condition: 'rack == r2 && os == linux', resources: { cores: 1n } }, seconds: 0.3 },
  { kind: 'licensed', needs: { resources: { cores: 1n, licence: 1n } }, seconds: 0.3 },
  { kind: 'alone', needs: { exclusive: true }, seconds: 0.2 },
  { kind: 'long', needs: { resources: { cores: 1n } }, seconds: 3 },
];

/**
 * `count` jobs of mixed needs, each of one batch with one step that testifies once. None is tried again: a job that Drover
 * loses leaves no line, and is seen.
 */
export function mixedJobs(prefix: string, count: number, witness: Witness): JobSubmission[] {
  return Array.from({ length: count }, (_, i) => {
    const { kind, needs, seconds } = mix[i % mix.length]!;
    const name = `${prefix}-${String(i).padStart(3, '0')}-${kind}`;
    const step = { name: 'work', exe: '/bin/sh', arguments: ['-c', `${witness.command(name)}; sleep ${seconds}`] };
    const job = create(JobSchema, {
      batches: [{ name: 'only', steps: [step], requirements: needs ?? {}, retry: { attemptsMax: 1 } }],
    });
    return create(JobSubmissionSchema, {
      requestId: name,
      name,
      payload: anyPack(JobSchema, job),
      priority: i % 3,
    });
  });
}
