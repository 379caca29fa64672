import { dirname, relative, resolve, sep } from 'node:path';
import type { Rule } from 'eslint';
import { onModuleSpecifier } from './module-specifiers.ts';
import { projectOfFile } from './project-of-file.ts';

const taskSource = /^(@[^/]+\/)?[^./@][^/]*\/task-source$/;
const leaseHandler = /^(@[^/]+\/)?[^./@][^/]*\/lease-handler$/;

/**
 * An agent never loads a lease type's `./task-source`, a server never its `./lease-handler`: Nx tags see packages, not
 * subpaths. Inside a lease type the two halves do not import each other.
 */
export const keepSidesApart: Rule.RuleModule = {
  meta: {
    type: 'problem',
    schema: [],
    messages: {
      agent: 'An agent-side package must not import "{{specifier}}": task sources belong to the server.',
      server: 'A server-side package must not import "{{specifier}}": lease handlers belong to the agent.',
      halves: 'The half {{from}} of a lease type must not import the half {{to}}.',
    },
  },
  create(context) {
    const project = projectOfFile(context.filename);
    if (project === undefined) return {};
    const side = project.tags.find((tag) => tag.startsWith('side:'))?.slice('side:'.length);
    const half = halfOf(project.dir, context.filename);
    return onModuleSpecifier((specifier, node) => {
      if (side === 'agent' && taskSource.test(specifier)) {
        context.report({ node, messageId: 'agent', data: { specifier } });
      }
      if (side === 'server' && leaseHandler.test(specifier)) {
        context.report({ node, messageId: 'server', data: { specifier } });
      }
      if (half === undefined || !specifier.startsWith('.')) return;
      const to = halfOf(project.dir, resolve(dirname(context.filename), specifier));
      if (to !== undefined && to !== half) context.report({ node, messageId: 'halves', data: { from: half, to } });
    });
  },
};

/** `task-source` or `lease-handler` for a file in that folder of a package's src; absent elsewhere. */
function halfOf(projectDir: string, file: string): string | undefined {
  const [src, half] = relative(projectDir, file).split(sep);
  return src === 'src' && (half === 'task-source' || half === 'lease-handler') ? half : undefined;
}
