import type { Condition } from '../condition.ts';
import { parseCondition } from '../parse-condition.ts';

const rememberedMax = 1024;
const remembered = new Map<string, Condition>();

/**
 * `parseCondition`, remembering the conditions read last: a lease that waits is matched against every agent, and requirements
 * are plain data that carry the text.
 */
export function parsedCondition(text: string): Condition {
  const known = remembered.get(text);
  if (known !== undefined) {
    // Back to the young end: a Map keeps its insertion order.
    remembered.delete(text);
    remembered.set(text, known);
    return known;
  }
  const condition = parseCondition(text);
  if (remembered.size >= rememberedMax) {
    const [oldest] = remembered.keys();
    if (oldest !== undefined) remembered.delete(oldest);
  }
  remembered.set(text, condition);
  return condition;
}
