import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Witness } from './witness.ts';

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'drover-witness-'))));
afterEach(() => rmSync(dir, { recursive: true }));

const run = (command: string, agent: string): void => {
  const env = { DROVER_AGENT_ID: agent, DROVER_LEASE_ID: 'l', DROVER_ATTEMPT: '1' };
  execFileSync('/bin/sh', ['-c', command], { env });
};

test('it tells what ran once, twice and never', () => {
  const witness = new Witness(join(dir, 'witness'));
  run(witness.command('one'), 'a');
  run(witness.command('two'), 'a');
  run(witness.command('two'), 'b');
  const said = witness.hear(['one', 'two', 'three']);
  expect(said.once).toBe(1);
  expect(said.never).toEqual(['three']);
  expect([...said.repeated]).toEqual([['two', ['a l 1', 'b l 1']]]);
  expect([...said.byAgent]).toEqual([
    ['a', 2],
    ['b', 1],
  ]);
});
