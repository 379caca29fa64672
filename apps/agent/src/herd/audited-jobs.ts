import type { HerdAudit } from '@drover/herd-pairing/agent';
import type { HerdJobHost } from '@drover/herd-service/agent';
import { principalName } from '@drover/lease-kit';

/** The same runner, which has the log say who had which job begun, by whichever wire it came. */
export function withAudit(runner: HerdJobHost, audit: HerdAudit): HerdJobHost {
  return {
    async begin(job, context, options) {
      const session = await runner.begin(job, context, options);
      const fields = { jobId: session.jobId, name: job.name ?? '', by: principalName(context.principal) };
      audit.note('herd.job-begun', fields, 'a herd job has begun');
      return session;
    },
    standing: () => runner.standing(),
    onChange: (listener) => runner.onChange(listener),
    find: (jobId, context) => runner.find(jobId, context),
    setOpen: (open) => runner.setOpen(open),
    giveUpAll: (reason) => runner.giveUpAll(reason),
    jobs: (principal) => runner.jobs(principal),
    isJobFolder: (name) => runner.isJobFolder(name),
    [Symbol.asyncDispose]: () => runner[Symbol.asyncDispose](),
  };
}
