/** One metric of a scrape. */
export interface MetricFamily {
  readonly type: string;
  /** Values by the text of their series, e.g. `drover_agents{state="ok"}`. */
  readonly samples: ReadonlyMap<string, number>;
}

const namePattern = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const labelPattern = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\["\\\\n])*"';
const sample = new RegExp(`^(${namePattern})(\\{${labelPattern}(?:,${labelPattern})*\\})? (\\S+)$`);

/**
 * Reads Prometheus' text format 0.0.4, stricter than Prometheus does: every family is described once and whole before the next,
 * names suit their types, no series is there twice, and histograms add up. Throws for everything else.
 */
export function parseMetricsText(text: string): ReadonlyMap<string, MetricFamily> {
  if (!text.endsWith('\n')) throw new Error('the last line does not end');
  const families = new Map<string, MetricFamily>();
  let current: { name: string; type: string; samples: Map<string, number> } | undefined;
  let help: string | undefined;
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const helped = new RegExp(`^# HELP (${namePattern}) \\S.*$`).exec(line);
    const typed = new RegExp(`^# TYPE (${namePattern}) (counter|gauge|histogram)$`).exec(line);
    if (helped !== null) {
      help = helped[1];
    } else if (typed !== null) {
      const [, name = '', type = ''] = typed;
      if (help !== name) throw new Error(`${name} has no help before its type`);
      if (families.has(name)) throw new Error(`${name} is there twice`);
      if ((type === 'counter') !== name.endsWith('_total')) throw new Error(`${name} is no name of a ${type}`);
      current = { name, type, samples: new Map() };
      families.set(name, current);
    } else {
      addSample(line, current);
    }
  }
  for (const [name, family] of families) if (family.type === 'histogram') checkHistogram(name, family);
  return families;
}

function addSample(line: string, family: { name: string; type: string; samples: Map<string, number> } | undefined) {
  const [, name = '', labels = '', digits = ''] = sample.exec(line) ?? [];
  const suffixes = family?.type === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
  if (family === undefined || !suffixes.some((suffix) => name === `${family.name}${suffix}`)) {
    throw new Error(`no sample of ${family?.name}: ${line}`);
  }
  const value = Number(digits);
  if (digits === '' || Number.isNaN(value)) throw new Error(`no number: ${line}`);
  if (family.type === 'counter' && value < 0) throw new Error(`a counter below 0: ${line}`);
  if (family.samples.has(`${name}${labels}`)) throw new Error(`there twice: ${line}`);
  family.samples.set(`${name}${labels}`, value);
}

function checkHistogram(name: string, { samples }: MetricFamily): void {
  const last = new Map<string, number>();
  for (const [series, value] of samples) {
    if (!series.startsWith(`${name}_bucket`)) continue;
    const others = series.slice(`${name}_bucket`.length).replace(/,?le="[^"]*"/, '');
    if (value < (last.get(others) ?? 0)) throw new Error(`${series} is less than the bucket before`);
    last.set(others, value);
    if (series.includes('le="+Inf"') && samples.get(`${name}_count${others}`) !== value) {
      throw new Error(`${series} is not the count`);
    }
  }
}
