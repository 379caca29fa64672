import type { Command } from 'commander';
import { GetJobResponseSchema, type JobStatus } from '@drover/control-api';
import { anyUnpack } from '@bufbuild/protobuf/wkt';
import type { LeaseType } from '@drover/lease-kit';
import {
  countOption,
  usingServer,
  withJson,
  withServer,
  type CommandContext,
  type ServerOptions,
} from '../command-context.ts';
import { exitCodeOfJob } from '../exit-code-of-job.ts';
import { followJob } from '../follow-job.ts';
import { jsonText } from '../output/job-json.ts';
import { jobEndLine, resultLines } from '../output/job-view.ts';
import { createLiveDisplay } from '../output/live-display.ts';
import { shortId } from '../output/words.ts';

interface SubmitOptions extends ServerOptions {
  readonly wait?: boolean;
  readonly logs: boolean;
  readonly name?: string;
  readonly priority?: number;
  readonly json?: boolean;
}

/** `drover submit`: a job of any lease type whose package is installed here. */
export function addSubmitCommand(program: Command, context: CommandContext): void {
  const out = (text: string): void => void context.stdout.write(`${text}\n`);
  const command = program
    .command('submit')
    .argument('<package>', 'the package of the lease type, installed beside drover or at the working directory')
    .argument('<file>', 'its message as JSON; - means standard input');
  withJson(withServer(command, context.env))
    .description('submit a job of any lease type and print its id')
    .option('-w, --wait', 'follow it, print its outputs, exit with its status')
    .option('--no-logs', 'with --wait: show the progress alone')
    .option('--name <text>', 'for people (default: the name of the lease type)')
    .option('--priority <number>', 'higher goes first', countOption('--priority', -1000, 1000))
    .action(async (packageName: string, file: string, options: SubmitOptions) => {
      // Code of lease types is loaded for a submission alone.
      const { leaseTypeOfPackage, submitMessage } = await import('../submit/submit-message.ts');
      const leaseType = await leaseTypeOfPackage(packageName);
      await usingServer(options, context, async (client) => {
        const { name, priority } = options;
        const message = {
          file,
          ...(name === undefined ? {} : { name }),
          ...(priority === undefined ? {} : { priority }),
        };
        const jobId = await submitMessage(client, leaseType, message, context.signal);
        if (options.wait !== true) return out(options.json === true ? JSON.stringify({ jobId }) : jobId);
        if (options.json !== true) out(`job ${shortId(jobId)} submitted to ${client.url}`);
        const display = createLiveDisplay(options.json === true ? context.stderr : context.stdout);
        const columns = (): number => context.stdout.columns ?? 120;
        const follow = { jobId, display, logs: options.logs, columns };
        const ended = await followJob(client, follow, context.signal);
        out(options.json === true ? jobJson(ended, leaseType.type) : resultText(ended, leaseType.type));
        context.exit(exitCodeOfJob(ended));
      });
    });
}

function jobJson(job: JobStatus, type: LeaseType): string {
  const response = { $typeName: 'drover.control.v1.GetJobResponse' as const, job };
  return jsonText(GetJobResponseSchema, response, [type.payload, type.output]);
}

function resultText(job: JobStatus, type: LeaseType): string {
  const outputs = job.leases.flatMap(({ output }) => {
    const message = output === undefined ? undefined : anyUnpack(output, type.output);
    return message === undefined ? [] : [jsonText(type.output, message)];
  });
  return [...resultLines(job), ...outputs, jobEndLine(job)].join('\n');
}
