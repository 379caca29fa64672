import type { Logger } from '@drover/lease-kit';
import { expect, test } from 'vitest';
import { createMetrics } from './create-metrics.ts';

test('a gauge is asked at each reading, once for those that read at the same time', async () => {
  await using metrics = createMetrics();
  let asked = 0;
  metrics.meter.createObservableGauge('free').addCallback((seen) => seen.observe((asked += 1), { of: 'a "b"\n' }));
  const [one, two] = await Promise.all([metrics.scrape(), metrics.scrape()]);
  expect(one).toBe(two);
  expect(one.text).toContain('free{of="a \\"b\\"\\n"} 1\n');
  expect((await metrics.scrape()).text).toContain('} 2\n');
});

test('a gauge that cannot tell is left out and logged; the others are there', async () => {
  const lines: string[] = [];
  const logger = { warn: (_fields: unknown, message: string) => lines.push(message) } as unknown as Logger;
  await using metrics = createMetrics({ logger });
  metrics.meter.createObservableGauge('away').addCallback(() => Promise.reject(new Error('the store is away')));
  metrics.meter.createObservableGauge('there').addCallback((seen) => seen.observe(1));
  const { text } = await metrics.scrape();
  expect(text).toContain('there 1\n');
  expect(text).not.toMatch(/^away/m);
  expect(lines).toEqual(['some metrics could not be read']);
});
