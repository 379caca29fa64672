import { durationText, sizeText } from '@drover/job-text';
import { z } from 'zod';

const name = z
  .string()
  .regex(/^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/, "is no name; allowed are up to 64 letters, digits, '.', '_' and '-'");

const secretName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'is no name of a secret; allowed are letters, digits and _');

const secretOrigin = z.union([
  z.strictObject({ env: z.string().min(1).meta({ description: 'A variable of whoever submits the job.' }) }),
  z.strictObject({
    file: z.string().min(1).meta({ description: 'A file of whoever submits it, relative to the job file.' }),
  }),
]);

const step = z
  .strictObject({
    name: name.meta({ description: 'Unique in the batch; also the name of the log.' }),
    exe: z.string().min(1).meta({ description: 'A path relative to the working folder, or a program on the PATH.' }),
    args: z.array(z.string()).optional().meta({ description: 'Arguments, each passed as it is: there is no shell.' }),
    env: z.record(z.string(), z.string()).optional().meta({ description: 'Added to the few variables of every step.' }),
    secrets: z
      .union([z.array(secretName), z.record(z.string(), secretName)])
      .optional()
      .meta({ description: 'Secrets of the job for its environment: names, or variable: name. Masked in the log.' }),
    cwd: z.string().optional().meta({ description: 'Relative to the working folder; default the folder itself.' }),
    needs: z.array(z.string()).optional().meta({ description: 'Steps of this batch that must have succeeded.' }),
    always: z.boolean().optional().meta({ description: 'Run it even if a step that it needs failed.' }),
    timeout: durationText
      .optional()
      .meta({ description: 'How long the step may run, e.g. 5min; default the batch’s.' }),
    memory: sizeText.optional().meta({ description: 'The most memory of its processes together, e.g. 2gb.' }),
  })
  .meta({ title: 'step', description: 'One process.' });

const digest = z
  .string()
  .regex(/^[0-9a-f]{64}\/\d{1,15}$/, 'is no digest; allowed is HASH/SIZE, a lower-case SHA-256 and a size in bytes')
  .meta({ description: 'HASH/SIZE of a blob in the content store.' });

const inputPath = z.string().meta({ description: 'Where to put it in the working folder; "." is the folder itself.' });
const git = z.strictObject({
  path: inputPath,
  git: z.strictObject({
    url: z.string().min(1).meta({ description: 'A URL, or an absolute folder that the agent can read.' }),
    revision: z.string().min(1).default('HEAD').meta({ description: 'A commit id, a branch or a tag.' }),
  }),
});
const checkout = z.strictObject({
  path: inputPath,
  checkout: z.strictObject({
    folder: z.string().default('.').meta({ description: 'A folder in a git checkout, relative to the job file.' }),
    revision: z.string().min(1).default('HEAD').meta({ description: 'Resolved when the job is submitted.' }),
  }),
});
const upload = z.strictObject({
  path: inputPath,
  upload: z.string().min(1).meta({ description: 'A file or folder to send, relative to the job file.' }),
});
const blob = z.strictObject({ path: inputPath, blob: digest, executable: z.boolean().optional() });
const tree = z.strictObject({ path: inputPath, tree: digest });

const batch = z
  .strictObject({
    name,
    requires: z
      .strictObject({
        pool: z.string().optional().meta({ description: 'A pool that the agent must be in.' }),
        condition: z
          .string()
          .optional()
          .meta({ description: 'Over the agent’s properties, e.g. os == linux && ram >= 8gb.' }),
        resources: z
          .record(z.string(), z.union([z.int().min(0), sizeText]))
          .optional()
          .meta({ description: 'Counted resources that it takes, e.g. cores: 2, ram: 1gb.' }),
        exclusive: z.boolean().optional().meta({ description: 'Nothing else may run beside it.' }),
      })
      .optional(),
    inputs: z
      .array(z.union([checkout, git, upload, blob, tree]))
      .optional()
      .meta({ description: 'What the working folder holds before the first step.' }),
    steps: z.array(step).min(1),
    outputs: z
      .array(z.union([z.string(), z.strictObject({ path: z.string(), required: z.boolean().optional() })]))
      .optional()
      .meta({ description: 'Files, folders or globs to keep, relative to the working folder.' }),
    timeout: durationText.optional().meta({ description: 'How long the batch may run; default 24h.' }),
    grace: durationText
      .optional()
      .meta({ description: 'Time between the polite signal and the last one; default 10s.' }),
    timeouts: z
      .strictObject({
        start: durationText
          .optional()
          .meta({ description: 'From the offer until an agent has taken it; then another is tried.' }),
        progress: durationText
          .optional()
          .meta({ description: 'How long it may go without progress and without output, e.g. 10min.' }),
        total: durationText
          .optional()
          .meta({ description: 'From the submission to the end, waiting and all attempts included, e.g. 2h.' }),
      })
      .optional()
      .meta({ description: 'Limits beside timeout; default none.' }),
    retry: z
      .strictObject({
        attempts: z.int().min(1).max(20).optional().meta({ description: 'At most, the first included; default 2.' }),
        on_step_failure: z.boolean().optional().meta({ description: 'Also when a step failed; default false.' }),
        backoff: durationText
          .optional()
          .meta({ description: 'Before the second attempt, doubled each time; default 1s.' }),
      })
      .optional(),
  })
  .meta({ title: 'batch', description: 'Steps that run on one agent.' });

/** What a job file may hold. */
export const jobFileSchema = z
  .strictObject({
    $schema: z.string().optional(),
    name: z.string().min(1).max(256).meta({ description: 'For people.' }),
    priority: z.int().min(-1000).max(1000).optional().meta({ description: 'Higher goes first; default 0.' }),
    vars: z
      .record(z.string().regex(/^[a-z][a-z0-9_]{0,63}$/, 'is no variable name; allowed are a-z, 0-9 and _'), z.string())
      .optional()
      .meta({ description: 'Values for ${{ name }} in strings; the command line may replace them.' }),
    secrets: z.record(secretName, secretOrigin).optional().meta({
      description: 'Where secrets come from when the job is submitted. Their values stand in no file and no log.',
    }),
    batches: z.array(batch).min(1),
  })
  .meta({ title: 'Drover job file' });

/** A job file as read, before its inputs are resolved. */
export type JobFile = z.infer<typeof jobFileSchema>;

/** One batch of a {@link JobFile}. */
export type JobFileBatch = JobFile['batches'][number];

/** One input of a {@link JobFileBatch}. */
export type JobFileInput = NonNullable<JobFileBatch['inputs']>[number];

/** The JSON schema (draft 2020-12) of a job file, for editors. */
export function jobFileJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(jobFileSchema, { io: 'input' }) as Record<string, unknown>;
}
