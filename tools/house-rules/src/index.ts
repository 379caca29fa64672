import type { ESLint } from 'eslint';
import { keepSidesApart } from './keep-sides-apart.ts';
import { nameFiles } from './name-files.ts';
import { noSleepInTests } from './no-sleep-in-tests.ts';
import { writeExtensions } from './write-extensions.ts';

/** The ESLint plugin with the rules of this house; eslint.config.js at the root switches them on. */
export const houseRules: ESLint.Plugin = {
  meta: { name: '@drover/house-rules-tool' },
  rules: {
    'keep-sides-apart': keepSidesApart,
    'name-files': nameFiles,
    'no-sleep-in-tests': noSleepInTests,
    'write-extensions': writeExtensions,
  },
};
