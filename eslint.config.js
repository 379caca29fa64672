import nx from '@nx/eslint-plugin';
import tseslint from 'typescript-eslint';
import prettier from 'eslint-config-prettier';

/** The dependency law of docs/ARCHITECTURE.md: what each layer may import. */
const layers = {
  contract: ['contract'],
  pure: ['contract', 'pure'],
  core: ['contract', 'pure', 'core'],
  io: ['contract', 'pure', 'core'],
  engine: ['contract', 'pure', 'core'],
  'lease-type': ['contract', 'pure', 'core'],
  'app-support': ['contract', 'app-support'],
  app: ['contract', 'pure', 'core', 'io', 'engine', 'lease-type', 'app-support', 'app'],
  test: ['contract', 'pure', 'core', 'io', 'engine', 'lease-type', 'app-support', 'app', 'test'],
  tool: ['contract', 'pure', 'core', 'io', 'engine', 'lease-type', 'app-support', 'app', 'test', 'tool'],
};
const sides = {
  shared: ['shared'],
  server: ['shared', 'server', 'both'],
  agent: ['shared', 'agent', 'both'],
  browser: ['shared', 'browser'],
};
const rows = (axis, table) =>
  Object.entries(table).map(([from, to]) => ({
    sourceTag: `${axis}:${from}`,
    onlyDependOnLibsWithTags: to.map((name) => `${axis}:${name}`),
  }));

export default tseslint.config(
  { ignores: ['**/dist/**', '**/node_modules/**', '**/src/gen/**', '.nx/**', '.drover/**', 'coverage/**'] },
  ...tseslint.configs.strict,
  ...nx.configs['flat/base'],
  {
    files: ['**/*.ts', '**/*.mjs', '**/*.js'],
    rules: {
      '@nx/enforce-module-boundaries': [
        'error',
        {
          enforceBuildableLibDependency: true,
          allow: ['^.*/eslint.config.js$', '^.*/vitest.config.ts$'],
          depConstraints: [...rows('layer', layers), ...rows('side', sides)],
        },
      ],
      'no-restricted-exports': ['error', { restrictDefaultExports: { direct: true } }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-invalid-void-type': 'off',
      '@typescript-eslint/no-dynamic-delete': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
    },
  },
  { files: ['*.config.ts', '*.config.js', 'eslint.config.js'], rules: { 'no-restricted-exports': 'off' } },
  prettier,
);
