import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { workspaceRoot } from './workspace-root.ts';

const read = (path: string): string => readFileSync(join(workspaceRoot, path), 'utf8');

test.each([
  ['server', 'ServerCollaborators', 'A server offers:'],
  ['agent', 'AgentCollaborators', 'An agent offers:'],
])('docs/extending lists all that %ss offer to lease types', (app, name, heading) => {
  const source = read(`apps/${app}/src/${app}-parts.ts`);
  const body = new RegExp(`interface ${name} \\{([^]*?)\n\\}`).exec(source)![1]!;
  const offered = [...body.matchAll(/^ {2}readonly (\w+)/gm)].map(([, one]) => one);
  const table = read('docs/extending/README.md').split(heading)[1]!.split('\n\n')[1]!;
  const listed = [...table.matchAll(/^\| `(\w+)`/gm)].map(([, one]) => one);
  expect(offered).not.toEqual([]);
  expect(listed.sort()).toEqual(offered.sort());
});
