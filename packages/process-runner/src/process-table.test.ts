import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isOomKillRecord } from './kernel-oom.ts';
import { createProcessCgroup, readOomKills } from './process-cgroup.ts';
import { keyFromMarker, markerOf, markersInEnvironment, markerValue } from './process-marker.ts';
import { parseProcStat } from './process-table.ts';

test('a command name with spaces and parentheses does not shift the fields of stat', () => {
  const line = '42 (a ) b (c) S 7 42 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000000 250 18446744073709551615';
  expect(parseProcStat(line, 4096)).toEqual({
    pid: 42,
    state: 'S',
    parentPid: 7,
    processGroup: 42,
    session: 40,
    startTime: 987654,
    residentBytes: 250 * 4096,
  });
  expect(parseProcStat('', 4096)).toBeUndefined();
  expect(parseProcStat('42 (x) S 1', 4096)).toBeUndefined();
});

test('markers are found as whole entries of an environment', () => {
  const marker = markerOf('ab', 'lease 1;2=3\0');
  expect(keyFromMarker(marker, 'ab')).toBe('lease 1;2=3\0');
  expect(keyFromMarker(marker, 'cd')).toBeUndefined();
  const value = markerValue(marker, 'outer:1');
  expect(markersInEnvironment(`A=1\0DROVER_PROCESS_KEY=${value}\0B=2\0`)).toEqual(['outer:1', marker]);
  expect(markersInEnvironment(`DROVER_PROCESS_KEY=${marker}`)).toEqual([marker]);
  expect(markersInEnvironment(`XDROVER_PROCESS_KEY=${marker}\0`)).toEqual([]);
  expect(markersInEnvironment('')).toEqual([]);
  expect(markerValue('last', Array(40).fill('m').join(';')).split(';')).toHaveLength(16);
});

test('the kernel log names who was ended for want of memory', () => {
  const text = 'Out of memory: Killed process 4242 (node) total-vm:1kB, anon-rss:1kB';
  const record = `3,1234,5000000,-;${text}`;
  expect(isOomKillRecord(record, new Set([4242]), 4_000_000)).toBe(true);
  expect(isOomKillRecord(record, new Set([4242]), 6_000_000)).toBe(false);
  expect(isOomKillRecord(record, new Set([424]), 4_000_000)).toBe(false);
  expect(isOomKillRecord('6,1,5000000,-;something else', new Set([4242]), 0)).toBe(false);
});

test('a group with the memory controller gets its limit, no swap, and dies together', () => {
  const dir = mkdtempSync(join(tmpdir(), 'drover-cgroup-'));
  try {
    // A plain folder stands for the kernel's: what is written where is what can be seen without the controller.
    const cgroup = createProcessCgroup({ dir, kill: true, memory: true }, 'group', 1000);
    expect(cgroup.limitsMemory).toBe(true);
    writeFileSync(join(cgroup.dir, 'memory.events'), 'low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 0\n');
    writeFileSync(join(cgroup.dir, 'cgroup.procs'), '12\n13\n');
    mkdirSync(join(cgroup.dir, 'below'));
    writeFileSync(join(cgroup.dir, 'below', 'cgroup.procs'), '14\n');
    expect(cgroup.oomKills()).toBe(2);
    expect(cgroup.pids()).toEqual([12, 13, 14]);
    expect(readOomKills(join(dir, 'none'))).toBe(0);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
