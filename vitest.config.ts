import { existsSync, readdirSync } from 'node:fs';
import { defineConfig } from 'vitest/config';
import { longTestsVariable } from './tools/checks/src/test-check.ts';
import { createTallyReporter, tallyFileVariable } from './tools/checks/src/tally-reporter.ts';

const root = import.meta.dirname;
const conditions = ['@drover/source'];
const tallyFile = process.env[tallyFileVariable];
/** Those that take minutes have a command of their own: `npm run check:packages`. */
const isLong = process.env[longTestsVariable] === '1';

// Processes that tests start run the source, and would strip its types anew each: Node keeps what it made of a file here.
process.env['NODE_COMPILE_CACHE'] ??= `${root}/node_modules/.cache/drover-tests`;

/** Packages whose tests start processes, or change this one: each of their files gets a worker of its own. */
const isolated = new Set([
  ...[
    'agent-supervisor',
    'lease-agent',
    'lease-store-postgres',
    'machine-facts',
    'postgres-embedded',
    'process-runner',
  ],
  ...[
    'compile-service',
    'herd-bridge',
    'herd-discovery',
    'herd-pairing',
    'herd-service',
    'machine-service',
    'progress-pipes',
    'service-notify',
    'workspaces-git',
  ],
]);

/** Every folder that holds a package is a vitest project of its own, so that a result names its package. */
const folders = ['packages', 'apps', 'tools'].flatMap((group) =>
  readdirSync(`${root}/${group}`)
    .filter((name) => existsSync(`${root}/${group}/${name}/package.json`))
    .map((name) => ({ name, dir: `${root}/${group}/${name}`, isolate: group !== 'packages' || isolated.has(name) })),
);

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  // The environment that global set-up files run in.
  environments: { __vitest__: { resolve: { conditions, externalConditions: conditions } } },
  test: {
    // One more than the cores of a small machine: many wait for processes and not for a core.
    maxWorkers: 3,
    reporters: tallyFile === undefined ? ['default'] : ['minimal', createTallyReporter(tallyFile, root)],
    // One Postgres for the whole run, and only for a run with files that need it.
    globalSetup: [`${root}/tools/checks/src/test-postgres.setup.ts`],
    projects: folders.map(({ name, dir, isolate }) => ({
      extends: true,
      root: dir,
      test: {
        name,
        include: [isLong ? '**/*.long.test.ts' : '**/*.test.ts'],
        exclude: ['**/node_modules/**', '**/dist/**', ...(isLong ? [] : ['**/*.long.test.ts'])],
        setupFiles: [`${root}/tools/checks/src/open-resources.setup.ts`],
        pool: 'forks' as const,
        // The other files of a package share a worker: to start one for each takes longer than most of them.
        isolate,
        testTimeout: 20_000,
        hookTimeout: 60_000,
        passWithNoTests: true,
      },
    })),
  },
});
