import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packWorkspace } from '@drover/apps-tool/pack-workspace';
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { oneResult, type Check } from './check.ts';
import { runCommand } from './run-command.ts';

/** Builds and packs every package that is published and looks at the archives as their users' tools will. */
export const packagesCheck: Check = {
  name: 'published packages',
  lanes: 2,
  async run(signal) {
    const build = await runCommand('nx', ['run-many', '-t', 'build', '--outputStyle=static'], { signal });
    if (build.status !== 0) return oneResult(false, build.output);
    const folder = await mkdtemp(join(tmpdir(), 'drover-packed-'));
    try {
      const problems: string[] = [];
      for (const { name, archive } of await packWorkspace(folder, signal)) {
        signal.throwIfAborted();
        problems.push(...(await problemsOf(await readFile(archive))).map((problem) => `${name}: ${problem}`));
      }
      return oneResult(problems.length === 0, problems.map((problem) => `${problem}\n`).join(''));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

/** What publint and are-the-types-wrong find in the archive of an ESM-only package. */
async function problemsOf(archive: Buffer): Promise<string[]> {
  const bytes = new Uint8Array(archive);
  const { messages, pkg } = await publint({ pack: { tarball: bytes.buffer }, strict: true });
  const analysis = await checkPackage(createPackageFromTarballData(bytes));
  const typeProblems = analysis.types === false ? ['ships no types'] : analysis.problems.flatMap(typeProblemText);
  // The condition that leads to the source is for this checkout; what it names is not published, on purpose.
  const published = messages.filter(({ path }) => !path.includes('@drover/source'));
  return [...published.map((message) => formatMessage(message, pkg) ?? message.code), ...typeProblems];
}

type TypeProblem = Extract<Awaited<ReturnType<typeof checkPackage>>, { problems: unknown }>['problems'][number];

/** Resolutions that do not exist for an ESM-only package of this Node are no problem. */
function typeProblemText(problem: TypeProblem): string[] {
  if ('resolutionKind' in problem && /^node10$|^node16-cjs$/.test(problem.resolutionKind)) return [];
  if (problem.kind === 'CJSResolvesToESM') return [];
  return [`${problem.kind}: ${JSON.stringify(problem)}`];
}
