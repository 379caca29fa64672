import { conditionKeys, type Condition } from './condition.ts';
import { evaluateCondition } from './evaluate-condition.ts';
import { printCondition } from './print-condition.ts';
import type { Properties } from './properties.ts';

/** Why a condition does not hold. */
export type ConditionExplanation =
  | { readonly holds: true }
  | {
      readonly holds: false;
      /** The first sub-term that makes the whole false: of `a && b` the first false one, otherwise the term itself. */
      readonly term: string;
      /** The keys of that term with the agent's values; an empty list for a key that it does not report. */
      readonly values: readonly { readonly key: string; readonly values: readonly string[] }[];
      /** For a person, e.g. "`os == windows` is false: os is linux". */
      readonly message: string;
    };

const valuesShownMax = 5;
const charactersShownMax = 200;

/** Explains to a person why a condition does not hold for an agent, if it does not. */
export function explainCondition(condition: Condition, properties: Properties): ConditionExplanation {
  const failing = firstFailing(condition, properties);
  if (failing === undefined) return { holds: true };
  const term = printCondition(failing);
  const values = conditionKeys(failing).map((key) => ({ key, values: properties.get(key) ?? [] }));
  const facts = values.map((entry) => fact(entry.key, entry.values)).join(', ');
  return { holds: false, term, values, message: `\`${clip(term)}\` is false: ${facts}` };
}

function firstFailing(condition: Condition, properties: Properties): Condition | undefined {
  if (condition.kind === 'and') {
    for (const term of condition.terms) {
      const failing = firstFailing(term, properties);
      if (failing !== undefined) return failing;
    }
    return undefined;
  }
  return evaluateCondition(condition, properties) ? undefined : condition;
}

function fact(key: string, values: readonly string[]): string {
  if (values.length === 0) return `${key} is not reported`;
  const shown = values.slice(0, valuesShownMax).map((value) => (value === '' ? 'present' : clip(value)));
  const more = values.length - shown.length;
  return `${key} is ${shown.join(' and ')}${more > 0 ? ` and ${more} more` : ''}`;
}

function clip(text: string): string {
  return text.length > charactersShownMax ? `${text.slice(0, charactersShownMax)}…` : text;
}
