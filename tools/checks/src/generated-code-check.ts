import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { oneResult, type Check } from './check.ts';
import { generationTemplates } from './proto-modules.ts';
import { runCommand } from './run-command.ts';
import { workspaceRoot } from './workspace-root.ts';

/** The committed code is what the generator makes of the proto files: nothing more, nothing less. */
export const generatedCodeCheck: Check = {
  name: 'generated code',
  lanes: 1,
  async run(signal) {
    const folder = await mkdtemp(join(tmpdir(), 'drover-generated-'));
    try {
      let output = '';
      let hasPassed = true;
      for (const template of generationTemplates()) {
        const { status, output: text } = await runCommand(
          'buf',
          ['generate', '--template', template, '--output', folder],
          { signal },
        );
        output += text;
        hasPassed &&= status === 0;
      }
      const differences = compareGenerated(folder, workspaceRoot);
      output += differences.map((line) => `${line}\n`).join('');
      if (differences.length > 0) output += 'Run "npm run generate" and commit what it changes.\n';
      return oneResult(hasPassed && differences.length === 0, output);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

/** What differs between the freshly generated files under `fresh` and those under `committed`, one line each. */
export function compareGenerated(fresh: string, committed: string): string[] {
  const made = filesUnder(fresh);
  // Every folder that the generator owns is a folder named gen; what else lies in it is stale.
  const owned = new Set(made.map((file) => file.slice(0, file.indexOf('/gen/') + '/gen'.length)));
  const there = [...owned].flatMap((dir) =>
    existsSync(join(committed, dir)) ? filesUnder(join(committed, dir)).map((file) => `${dir}/${file}`) : [],
  );
  const isMade = new Set(made);
  const isThere = new Set(there);
  return [
    ...made.filter((file) => !isThere.has(file)).map((file) => `not committed: ${file}`),
    ...there.filter((file) => !isMade.has(file)).map((file) => `no longer generated: ${file}`),
    ...made
      .filter((file) => isThere.has(file))
      .filter((file) => !readFileSync(join(fresh, file)).equals(readFileSync(join(committed, file))))
      .map((file) => `out of date: ${file}`),
  ].sort();
}

function filesUnder(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(dir.length + dirname('/').length));
}
