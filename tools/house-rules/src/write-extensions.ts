import type { Rule } from 'eslint';
import { onModuleSpecifier } from './module-specifiers.ts';

/** A relative import names the file that is there: `./claim-leases.ts`, since the source runs as it stands. */
export const writeExtensions: Rule.RuleModule = {
  meta: {
    type: 'problem',
    schema: [],
    messages: { extension: 'Write the file that "{{specifier}}" means, with its extension .ts.' },
  },
  create(context) {
    return onModuleSpecifier((specifier, node) => {
      if (/^\.\.?(\/|$)/.test(specifier) && !/\.(ts|tsx|mts|mjs|json|css)$/.test(specifier)) {
        context.report({ node, messageId: 'extension', data: { specifier } });
      }
    });
  },
};
