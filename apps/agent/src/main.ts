import { runAppCommand } from '@drover/app-config';
import { createAgentCommand } from './agent-command.ts';
import { version } from './version.ts';

await runAppCommand(createAgentCommand().name('drover-agent').version(version), process.argv.slice(2));
