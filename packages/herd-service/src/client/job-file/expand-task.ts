import type { HerdJobFileTask } from './herd-job-file-schema.ts';

/** One task of a file as it is after `repeat` and `matrix`. */
export type ExpandedTask = Omit<HerdJobFileTask, 'repeat' | 'matrix'>;

/** How many tasks {@link expandTask} makes. */
export function expandedCount({ repeat = 1, matrix = {} }: HerdJobFileTask): number {
  return Object.values(matrix).reduce((count, values) => count * values.length, repeat);
}

/** The tasks that one of a file stands for: each combination of its matrix, each so often as it is repeated. */
export function* expandTask({ repeat, matrix, ...task }: HerdJobFileTask): Generator<ExpandedTask> {
  if (repeat === undefined && matrix === undefined) return yield task;
  for (const values of combinations(Object.entries(matrix ?? {}))) {
    for (let n = 1; n <= (repeat ?? 1); n++) {
      yield filled(task, repeat === undefined ? values : new Map([...values, ['n', String(n)]]));
    }
  }
}

function* combinations(
  entries: readonly (readonly [string, readonly (string | number | boolean)[]])[],
): Generator<ReadonlyMap<string, string>> {
  const [first, ...others] = entries;
  if (first === undefined) return yield new Map();
  const [key, values] = first;
  for (const value of values) {
    for (const rest of combinations(others)) yield new Map([[key, String(value)], ...rest]);
  }
}

/** The same with values in place of `{key}` in every text; what is not known stays, for it may be JSON. */
function filled<Value>(value: Value, values: ReadonlyMap<string, string>): Value {
  const inner = (one: unknown): unknown => {
    if (typeof one === 'string') return one.replaceAll(/\{([a-z][a-z0-9_]*)\}/g, (all, key) => values.get(key) ?? all);
    if (Array.isArray(one)) return one.map(inner);
    if (typeof one !== 'object' || one === null) return one;
    return Object.fromEntries(Object.entries(one).map(([key, child]) => [key, inner(child)]));
  };
  return inner(value) as Value;
}
