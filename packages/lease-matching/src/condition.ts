/** How a property's value is compared; `~=` finds a {@link linearPattern}. */
export type ConditionOperator = '==' | '!=' | '<' | '<=' | '>' | '>=' | '~=';

/** The right side of a comparison. */
export type ConditionValue =
  /** Compared as text: without regard to case, in natural order (`2` before `10`). */
  | { readonly kind: 'text'; readonly text: string }
  /** Compared as a number; `text` is how it was written (`4gb`), `number` what that means (4294967296). */
  | { readonly kind: 'number'; readonly number: number; readonly text: string };

/** A key alone: true if the agent reports the property, whatever its values. */
export interface PresenceCondition {
  readonly kind: 'present';
  /** In lower case. */
  readonly key: string;
}

/** True if any value of the key satisfies the comparison; false, `!=` included, if the key is absent. */
export interface ComparisonCondition {
  readonly kind: 'compare';
  /** In lower case. */
  readonly key: string;
  readonly operator: ConditionOperator;
  /** Always text for `~=`. */
  readonly value: ConditionValue;
}

/** The opposite of its term. */
export interface NotCondition {
  readonly kind: 'not';
  readonly term: Condition;
}

/** All (`and`) or at least one (`or`) of two or more terms, none of which is of the same kind. */
export interface JunctionCondition {
  readonly kind: 'and' | 'or';
  readonly terms: readonly Condition[];
}

/** A parsed condition: plain data. `parseCondition` makes it, `printCondition` writes it. */
export type Condition = PresenceCondition | ComparisonCondition | NotCondition | JunctionCondition;

/** Longest condition, in UTF-16 code units. */
export const conditionLengthMax = 4096;

/** Deepest nesting of `(` and `!` in a condition. */
export const conditionDepthMax = 32;

/** Joins terms into one condition, flattening terms of the same kind; one term stays itself. Throws for no terms. */
export function junction(kind: 'and' | 'or', terms: readonly Condition[]): Condition {
  const flat = terms.flatMap((term) => (term.kind === kind ? term.terms : [term]));
  const [only] = flat;
  if (only === undefined) throw new RangeError(`A junction "${kind}" needs at least one term.`);
  return flat.length === 1 ? only : { kind, terms: flat };
}

/** The keys that a condition looks at, in lower case, in the order in which they appear, each once. */
export function conditionKeys(condition: Condition): readonly string[] {
  const keys = new Set<string>();
  const visit = (node: Condition): void => {
    switch (node.kind) {
      case 'not':
        return visit(node.term);
      case 'and':
      case 'or':
        return node.terms.forEach(visit);
      default:
        keys.add(node.key);
    }
  };
  visit(condition);
  return [...keys];
}
