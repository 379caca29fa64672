import { generationTemplates } from './proto-modules.ts';
import { runCommand } from './run-command.ts';

/** Writes the generated code of every template: `npm run generate`. */
const abort = new AbortController();
for (const template of generationTemplates()) {
  const { status, output } = await runCommand('buf', ['generate', '--template', template], { signal: abort.signal });
  process.stdout.write(output);
  console.log(`${status === 0 ? 'generated' : 'failed'}  ${template}`);
  if (status !== 0) process.exitCode = 1;
}
