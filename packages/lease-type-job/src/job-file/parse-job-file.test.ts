import { isDroverError } from '@drover/lease-kit';
import { describe, expect, test } from 'vitest';
import { jobFromFile } from './job-from-file.ts';
import { parseJobFile, type ParseJobFileOptions } from './parse-job-file.ts';

const good = `
name: build
vars:
  tool: gcc
batches:
  - name: main
    requires:
      condition: os == linux
      resources: { cores: 2, ram: 1gb }
    inputs:
      - path: src
        blob: ${'a'.repeat(64)}/12
    steps:
      - name: compile
        exe: "\${{ tool }}"
        args: [-c, "\${{ job_dir }}/x.c"]
        timeout: 5min
      - name: link
        exe: ld
        needs: [compile]
    outputs:
      - out/**
      - { path: report.xml, required: true }
`;

const options: ParseJobFileOptions = { file: 'build.yaml', builtins: { job_dir: '/w' } };

async function messageFrom(text: string, given: ParseJobFileOptions = options): Promise<string> {
  try {
    await jobFromFile(parseJobFile(text, given), () =>
      Promise.resolve({ case: 'git', value: { $typeName: 'drover.job.v1.GitInput', url: '/r', revision: 'HEAD' } }),
    );
  } catch (error) {
    if (isDroverError(error, 'JOB_FILE_INVALID')) return error.message;
    throw error;
  }
  throw new Error('the file was taken');
}

describe('a job file', () => {
  test('becomes the message to submit', async () => {
    const job = await jobFromFile(parseJobFile(good, { ...options, vars: { tool: 'clang' } }), (input) =>
      Promise.resolve({
        case: 'file',
        value: {
          $typeName: 'drover.job.v1.FileInput',
          executable: false,
          digest: {
            $typeName: 'drover.lease.v1.BlobDigest',
            hash: 'blob' in input ? input.blob.slice(0, 64) : '',
            sizeBytes: 12n,
          },
        },
      }),
    );
    const batch = job.batches[0]!;
    expect(batch.steps[0]).toMatchObject({ exe: 'clang', arguments: ['-c', '/w/x.c'], timeout: { seconds: 300n } });
    expect(batch.steps[1]).toMatchObject({ exe: 'ld', needs: ['compile'] });
    expect(batch.requirements?.resources).toEqual({ cores: 2n, ram: 1_073_741_824n });
    expect(batch.outputs).toMatchObject([
      { path: 'out/**', required: false },
      { path: 'report.xml', required: true },
    ]);
  });

  const faults: readonly (readonly [what: string, from: string, to: string, message: RegExp])[] = [
    [
      'a key that is not known',
      'exe: ld',
      'exec: ld',
      /^build\.yaml:19:9: .*exec is not known here; allowed are name, exe, args/m,
    ],
    ['a key that is missing', 'exe: ld', 'always: true', /^build\.yaml:18:\d+: .*\.exe is missing; it is a text/],
    [
      'an input of no kind',
      'blob:',
      'blub:',
      /^build\.yaml:12:9: .*blub is not known here; allowed are path, checkout/m,
    ],
    ['nothing in a list that needs one', 'steps:', 'steps: []\n    x:', /steps is too short; allowed is a length of 1/],
    [
      'a wrong type',
      'needs: [compile]',
      'needs: compile',
      /^build\.yaml:20:9: batches\[0\]\.steps\[1\]\.needs is of the wrong kind; allowed is a list/,
    ],
    [
      'a need that names no step',
      '[compile]',
      '[compil]',
      /^build\.yaml:20:\d+: names the step "compil".*steps: compile/,
    ],
    ['a circle of needs', 'timeout: 5min', 'needs: [link]', /go in a circle: compile → link → compile/],
    ['a duration that is none', '5min', '5 minutes', /^build\.yaml:17:9: .*is no duration; allowed is .*5min/],
    ['a size that is none', '1gb', '1 gigabyte', /^build\.yaml:9:\d+: .*is no size/],
    ['a path that leaves its folder', 'out/**', '../out', /^build\.yaml:22:\d+: "\.\.\/out" leaves its folder/],
    ['an absolute path', 'path: src', 'path: /etc', /"\/etc" is absolute; allowed are relative paths/],
    ['a condition that cannot be read', 'os == linux', 'os ==', /^build\.yaml:8:\d+: /],
    [
      'a variable that is not known',
      '${{ tool }}',
      '${{ tol }}',
      /^build\.yaml:15:14: there is no variable "tol"; known: job_dir, tool/,
    ],
    ['a digest that is none', `${'a'.repeat(64)}/12`, 'aa', /^build\.yaml:12:\d+: .*is no digest/],
    ['text that is no YAML', 'name: build', 'name: [', /^build\.yaml:\d+:\d+: /],
    ['a key that stands twice', 'name: build', 'name: a\nname: b', /^build\.yaml:3:1: .*unique/],
  ];
  test.each(faults)('with %s is refused with file, line and what is allowed', async (_, from, to, message) => {
    expect(good).toContain(from);
    expect(await messageFrom(good.replace(from, to))).toMatch(message);
  });

  test('takes only variables that it declares', async () => {
    expect(await messageFrom(good, { ...options, vars: { tol: 'x' } })).toMatch(/no variable "tol".*: tool/);
  });

  test('that is empty says what is missing', async () => {
    expect(await messageFrom('')).toMatch(/^build\.yaml:1:1: job is of the wrong kind; allowed is a map of keys/);
  });
});
