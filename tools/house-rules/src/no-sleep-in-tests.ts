import type { Rule } from 'eslint';
import type { CallExpression, Expression, ImportDeclaration, NewExpression, Node } from 'estree';

/**
 * A test waits for the thing, never for the clock: no promise that only a timer resolves. A timer that fails a test or
 * drives what is tested stays allowed.
 */
export const noSleepInTests: Rule.RuleModule = {
  meta: {
    type: 'problem',
    schema: [],
    messages: { sleep: 'Do not sleep in a test: wait for the thing itself (an event, vi.waitFor, a manual clock).' },
  },
  create(context) {
    return {
      ImportDeclaration(node: ImportDeclaration & Rule.NodeParentExtension) {
        if (/^(node:)?timers\/promises$/.test(String(node.source.value))) context.report({ node, messageId: 'sleep' });
      },
      NewExpression(node: NewExpression & Rule.NodeParentExtension) {
        if (isSleep(node)) context.report({ node, messageId: 'sleep' });
      },
    };
  },
};

/** True for `new Promise((resolve) => setTimeout(resolve, ms))` and its spellings. */
function isSleep(node: NewExpression): boolean {
  const executor = node.arguments[0];
  if (node.callee.type !== 'Identifier' || node.callee.name !== 'Promise') return false;
  if (executor?.type !== 'ArrowFunctionExpression' && executor?.type !== 'FunctionExpression') return false;
  const resolve = executor.params[0];
  if (resolve?.type !== 'Identifier') return false;
  const calls = executor.body.type === 'BlockStatement' ? executor.body.body.map(callOf) : [callOf(executor.body)];
  return calls.some((call) => call !== undefined && isTimerOf(call, resolve.name));
}

function callOf(node: Node): CallExpression | undefined {
  if (node.type === 'ExpressionStatement') return callOf(node.expression);
  if (node.type === 'ReturnStatement') return node.argument ? callOf(node.argument) : undefined;
  return node.type === 'CallExpression' ? node : undefined;
}

function isTimerOf(call: CallExpression, resolveName: string): boolean {
  if (call.callee.type !== 'Identifier' || call.callee.name !== 'setTimeout') return false;
  const callback = call.arguments[0];
  if (callback?.type === 'Identifier') return callback.name === resolveName;
  if (callback?.type !== 'ArrowFunctionExpression') return false;
  const inner = callOf(callback.body as Expression);
  return inner?.callee.type === 'Identifier' && inner.callee.name === resolveName;
}
