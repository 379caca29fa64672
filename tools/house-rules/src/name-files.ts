import { basename, relative, sep } from 'node:path';
import type { Rule } from 'eslint';
import { projectOfFile } from './project-of-file.ts';

const kebabCase = /^[a-z0-9]+(-[a-z0-9]+)*$/;
const saysNothing = new Set(['util', 'utils', 'helper', 'helpers', 'common', 'type', 'types', 'misc', 'shared']);

/** File and folder names are kebab-case and name the thing: no utils, helpers, common or types. */
export const nameFiles: Rule.RuleModule = {
  meta: {
    type: 'problem',
    schema: [],
    messages: {
      kebab: 'The name "{{name}}" is not kebab-case, such as claim-leases.ts.',
      nothing: 'The name "{{name}}" says nothing: name the thing that is in it.',
    },
  },
  create(context) {
    return {
      Program(node) {
        const dir = projectOfFile(context.filename)?.dir;
        const path = dir === undefined ? basename(context.filename) : relative(dir, context.filename);
        for (const segment of path.split(sep)) {
          const name = segment.split('.')[0]!;
          if (!kebabCase.test(name)) context.report({ node, messageId: 'kebab', data: { name: segment } });
          if (saysNothing.has(name)) context.report({ node, messageId: 'nothing', data: { name: segment } });
        }
      },
    };
  },
};
