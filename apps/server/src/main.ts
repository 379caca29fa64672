import { runAppCommand } from '@drover/app-config';
import { createServerCommand } from './server-command.ts';
import { version } from './version.ts';

await runAppCommand(createServerCommand().name('drover-server').version(version), process.argv.slice(2));
