import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { oneResult, type Check } from './check.ts';
import { protoModules } from './proto-modules.ts';
import { runCommand } from './run-command.ts';
import { workspaceRoot } from './workspace-root.ts';

/** The wire against the last release; before the first release against itself, so that the comparison is proven to run. */
export const protoBreakingCheck: Check = {
  name: 'buf breaking',
  lanes: 1,
  async run(signal) {
    const folder = await mkdtemp(join(tmpdir(), 'drover-breaking-'));
    try {
      let output = '';
      let hasPassed = true;
      for (const [index, { dir, releasedImage }] of protoModules.entries()) {
        let baseline = join(workspaceRoot, releasedImage);
        if (!existsSync(baseline)) {
          baseline = join(folder, `${index}.binpb`);
          const build = await runCommand('buf', ['build', dir, '--output', baseline], { signal });
          output += build.output;
          hasPassed &&= build.status === 0;
        }
        const breaking = await runCommand('buf', ['breaking', dir, '--against', baseline], { signal });
        output += breaking.output;
        hasPassed &&= breaking.status === 0;
      }
      return oneResult(hasPassed, output);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};
