/** The place of something in a job, e.g. `batches[0].steps[2].needs[0]`. */
export type TextPath = readonly (string | number)[];

/** A path as people read it: `batches[0].steps[1].exe`; `job` for the whole. */
export function pathText(path: TextPath): string {
  return (
    path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i === 0 ? part : `.${part}`)).join('') || 'job'
  );
}
