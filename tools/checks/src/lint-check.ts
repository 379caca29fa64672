import { writeProjectGraph } from '@drover/house-rules-tool/project-graph';
import { oneResult, type Check } from './check.ts';
import { runCommand } from './run-command.ts';

/** ESLint over the whole workspace, boundaries included: those need the project graph, and say nothing without it. */
export const lintCheck: Check = {
  name: 'lint',
  lanes: 1,
  async run(signal) {
    await writeProjectGraph();
    const { status, output } = await runCommand('eslint', ['.', '--max-warnings=0'], { signal });
    const isBlind = output.includes('No cached ProjectGraph');
    return oneResult(status === 0 && !isBlind, output);
  },
};
