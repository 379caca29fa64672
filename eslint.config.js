import nx from '@nx/eslint-plugin';
import prettier from 'eslint-config-prettier';
import tseslint from 'typescript-eslint';
import { houseRules } from './tools/house-rules/src/index.ts';

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
/** What both sides load must not bring one side along; lease types are exempt, since their halves are subpaths. */
const bothSides = ['core', 'io', 'app-support'].map((layer) => ({
  allSourceTags: ['side:both', `layer:${layer}`],
  onlyDependOnLibsWithTags: ['side:shared', 'side:both'],
}));
/** Tests of what does I/O bring real parts, of both sides: an engine is tested with a real store, not a mock of one. */
const realParts = ['contract', 'pure', 'core', 'io', 'engine', 'lease-type', 'app-support', 'test'];
const layersOfTests = {
  ...layers,
  core: realParts,
  io: realParts,
  engine: realParts,
  'lease-type': realParts,
  'app-support': realParts,
};
const tests = ['**/*.test.ts', '**/*.test.*.ts', '**/*.fixture.ts'];

const rows = (axis, table) =>
  Object.entries(table).map(([from, to]) => ({
    sourceTag: `${axis}:${from}`,
    onlyDependOnLibsWithTags: to.map((name) => `${axis}:${name}`),
  }));
const boundaries = (depConstraints) => ({
  '@nx/enforce-module-boundaries': [
    'error',
    {
      enforceBuildableLibDependency: true,
      allow: ['^.*/eslint.config.js$', '^.*/vitest.config.ts$', '^.*/tools/house-rules/src/index.ts$'],
      depConstraints,
      // Its subpath for metrics is loaded only where they are on; the rule cannot tell subpaths apart.
      checkDynamicDependenciesExceptions: ['^@drover/telemetry$'],
    },
  ],
});

export default tseslint.config(
  { ignores: ['**/dist/**', '**/node_modules/**', '**/src/gen/**', '.nx/**', '.drover/**', 'coverage/**'] },
  ...tseslint.configs.strict,
  ...nx.configs['flat/base'],
  {
    files: ['**/*.ts', '**/*.mjs', '**/*.js'],
    plugins: { house: houseRules },
    rules: {
      ...boundaries([...rows('layer', layers), ...rows('side', sides), ...bothSides]),
      'house/keep-sides-apart': 'error',
      'house/name-files': 'error',
      'no-restricted-exports': [
        'error',
        {
          restrictDefaultExports: {
            direct: true,
            named: true,
            defaultFrom: true,
            namedFrom: true,
            namespaceFrom: true,
          },
        },
      ],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-invalid-void-type': 'off',
      '@typescript-eslint/no-dynamic-delete': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
    },
  },
  { files: ['**/*.ts'], rules: { 'house/write-extensions': 'error' } },
  {
    files: tests,
    rules: {
      ...boundaries(rows('layer', layersOfTests)),
      'house/keep-sides-apart': 'off',
      'house/no-sleep-in-tests': 'error',
    },
  },
  { files: ['**/*.config.ts', '**/*.config.js'], rules: { 'no-restricted-exports': 'off' } },
  prettier,
);
