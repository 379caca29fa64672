import { expect, test } from 'vitest';
import { scriptOfPage } from './script-of-page.ts';

test('blocks of a page are run and written in their order; others are for reading', () => {
  const page = [
    ...['# Page', '```sh', 'cd a', '```', '```ts file=src/x.ts', 'const a = `$b`;', '```', 'text'],
    ...['```sh norun', 'rm -r /', '```', '```text', 'output', '```', '```toml file=y.toml', 'a = 1', '```', ''],
  ].join('\n');
  expect(scriptOfPage(page)).toBe(
    [
      ...['cd a', "mkdir -p 'src'", "cat >'src/x.ts' <<'END-OF-FILE'", 'const a = `$b`;', 'END-OF-FILE'],
      ...["cat >'y.toml' <<'END-OF-FILE'", 'a = 1', 'END-OF-FILE', ''],
    ].join('\n'),
  );
});
