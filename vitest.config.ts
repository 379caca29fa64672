import { existsSync, readdirSync } from 'node:fs';
import { defineConfig } from 'vitest/config';

const root = import.meta.dirname;
const conditions = ['@drover/source'];

/** Every folder that holds a package is a vitest project of its own, so that a result names its package. */
const folders = ['packages', 'apps', 'tools'].flatMap((group) =>
  readdirSync(`${root}/${group}`)
    .filter((name) => existsSync(`${root}/${group}/${name}/package.json`))
    .map((name) => ({ name, dir: `${root}/${group}/${name}` })),
);

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: conditions } },
  test: {
    maxWorkers: 2,
    projects: folders.map(({ name, dir }) => ({
      extends: true,
      root: dir,
      test: {
        name,
        include: ['**/*.test.ts'],
        exclude: ['**/node_modules/**', '**/dist/**'],
        pool: 'forks' as const,
        testTimeout: 20_000,
        hookTimeout: 60_000,
        passWithNoTests: true,
      },
    })),
  },
});
