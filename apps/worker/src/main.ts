import { runAppCommand } from '@drover/app-config';
import { version } from './version.ts';
import { createWorkerCommand } from './worker-command.ts';

await runAppCommand(createWorkerCommand().name('drover-worker').version(version), process.argv.slice(2));
