import type { Rule } from 'eslint';

/**
 * A listener that calls `visit` for the specifier of every import, re-export and dynamic import with a literal.
 */
export function onModuleSpecifier(visit: (specifier: string, node: Rule.Node) => void): Rule.RuleListener {
  const look = (node: { source?: unknown }): void => {
    const source = node.source as (Rule.Node & { value?: unknown }) | null | undefined;
    if (source && typeof source.value === 'string') visit(source.value, source);
  };
  return {
    ImportDeclaration: look,
    ExportNamedDeclaration: look,
    ExportAllDeclaration: look,
    ImportExpression: look,
  };
}
