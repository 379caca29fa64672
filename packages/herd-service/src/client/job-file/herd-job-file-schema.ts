import { durationText } from '@drover/job-text';
import { z } from 'zod';
import { herdJobBounds as bounds } from './herd-job.ts';

const path = z.string().min(1).max(bounds.pathCharactersMax);
const name = z
  .string()
  .min(1)
  .max(bounds.taskNameCharactersMax)
  .regex(/^[^\u0000-\u001f\u007f/\\]+$/, 'is no name; allowed are letters, digits and signs, without / and \\');

const input = z.union([
  path,
  z.strictObject({
    from: path.meta({ description: 'A file, a folder or a glob of this machine, relative to the job file.' }),
    to: path
      .optional()
      .meta({ description: 'Its name in the job’s folder; default as here. Of a folder or glob: where.' }),
    executable: z.boolean().optional().meta({ description: 'Default: as here, and true for the exe of a task.' }),
    platform: z
      .string()
      .regex(/^[a-z0-9]+-[a-z0-9]+$/, 'is no platform; allowed is e.g. linux-x64, win32-x64, darwin-arm64')
      .optional()
      .meta({ description: 'Only for agents of this platform, e.g. linux-x64.' }),
  }),
]);

const output = z.union([
  path,
  z.strictObject({
    from: path.meta({ description: 'Its name in the job’s folder.' }),
    to: path.meta({ description: 'Where it goes, in the folder of outputs.' }),
  }),
]);

const inputs = z.array(input).max(bounds.inputsMax);
const outputs = z.array(output).max(bounds.outputsMax);
const requirements = z.union([path, z.array(path).max(100)]).meta({
  description: 'XML files of requirements (Input-File, Output-File), as programs of the original herd print them.',
});

const task = z
  .strictObject({
    name: name.meta({ description: 'Unique in the job. With repeat or matrix it holds {n} or a key of the matrix.' }),
    exe: path.meta({
      description: 'A path in the job’s folder, an absolute path of the agent, or a name on its PATH.',
    }),
    args: z
      .union([z.array(z.string()).max(bounds.argumentsPerTaskMax), z.string()])
      .optional()
      .meta({ description: 'A list, each passed as it is; or one text, split as a shell does. {pipe} is the pipe.' }),
    env: z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'is no name of a variable'), z.string()).optional(),
    cwd: path.optional().meta({ description: 'Relative to the job’s folder; default the folder itself.' }),
    pipe: z
      .enum(['fifo', 'unix-socket', 'none'])
      .optional()
      .meta({ description: 'Where it tells of itself, DROVER_PROGRESS_PIPE; default fifo.' }),
    timeout: durationText.optional().meta({ description: 'How long it may run, e.g. 5min; default without end.' }),
    retries: z
      .int()
      .min(0)
      .max(bounds.retriesMax)
      .optional()
      .meta({ description: 'Again after a failure; default 0.' }),
    inputs: inputs.optional().meta({ description: 'Of this task alone.' }),
    outputs: outputs.optional().meta({ description: 'Of this task alone, brought back when it has ended.' }),
    requirements: requirements.optional(),
    repeat: z
      .int()
      .min(1)
      .max(bounds.tasksMax)
      .optional()
      .meta({ description: 'So many tasks; {n} in any text is the number, from 1.' }),
    matrix: z
      .record(
        z.string().regex(/^[a-z][a-z0-9_]{0,63}$/, 'is no key of a matrix; allowed are a-z, 0-9 and _'),
        z
          .array(z.union([z.string(), z.number(), z.boolean()]))
          .min(1)
          .max(bounds.tasksMax),
      )
      .optional()
      .meta({ description: 'A task for each combination; {key} in any text is the value.' }),
  })
  .meta({ title: 'task', description: 'One process.' });

/** What a job file of the herd may hold. */
export const herdJobFileSchema = z
  .strictObject({
    $schema: z.string().optional(),
    name: z.string().min(1).max(bounds.jobNameCharactersMax).meta({ description: 'For people.' }),
    inputs: inputs
      .optional()
      .meta({ description: 'Files, folders and globs, relative to the job file. Each is sent once.' }),
    outputs: outputs
      .optional()
      .meta({ description: 'Files that are looked for on each agent when all tasks have ended.' }),
    rename: z
      .record(path, path)
      .optional()
      .meta({ description: 'Names here: names in the job’s folder, for inputs and outputs alike.' }),
    requirements: requirements.optional(),
    tasks: z.array(task).min(1).max(bounds.tasksMax),
  })
  .meta({ title: 'Drover herd job file' });

/** A job file as read. */
export type HerdJobFile = z.infer<typeof herdJobFileSchema>;

/** One task of it, before it is repeated. */
export type HerdJobFileTask = HerdJobFile['tasks'][number];

/** The JSON schema (draft 2020-12) of a job file of the herd, for editors. */
export function herdJobFileJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(herdJobFileSchema, { io: 'input' }) as Record<string, unknown>;
}
