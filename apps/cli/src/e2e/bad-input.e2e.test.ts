import { create } from '@bufbuild/protobuf';
import { StringValueSchema, anyPack, anyUnpack } from '@bufbuild/protobuf/wkt';
import { Code, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { JobSubmissionSchema } from '@drover/control-api';
import { LeaseService } from '@drover/lease-protocol';
import { JobSchema } from '@drover/lease-type-job';
import { droverErrorFromConnect } from '@drover/rpc-errors';
import { ByteStream, ContentAddressableStorage, ErrorInfoSchema } from '@drover/standard-protocols';
import { createHash } from 'node:crypto';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TestFleet, jobEnded, jobOf, type ServerProcess } from './test-fleet.fixture.ts';

let fleet: TestFleet;
let server: ServerProcess;
const drover = (...args: string[]) => fleet.drover(...args, '--server', server.url);

beforeAll(async () => {
  fleet = await TestFleet.create();
  server = await fleet.server();
  await fleet.agent(server);
});
afterAll(() => fleet.dispose());

/** The error of a call as a client sees it. */
async function errorOf(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    () => undefined,
    (error: unknown) => droverErrorFromConnect(error),
  );
}

test('a lease of a type that nobody knows waits, and says why', async () => {
  const payload = anyPack(StringValueSchema, create(StringValueSchema, { value: 'x' }));
  const submission = create(JobSubmissionSchema, { name: 'odd', payload });
  const { jobIds } = await server.client.jobs.submitJobs({ jobs: [submission] });
  const why = await drover('why', jobIds[0]!);
  expect(why.stdout).toMatch(/\(NOBODY_CAN_TAKE_IT\)\n {2}agent-1 .*google\.protobuf\.StringValue.*\([A-Z_]+\)$/m);
  const listed = await drover('job', 'list');
  expect(listed.stdout).toMatch(/ odd +waiting /);
  expect((await jobOf(server, jobIds[0]!)).leases[0]!.attempts).toEqual([]);
  await server.client.jobs.cancelJob({ jobId: jobIds[0]! });
  await jobEnded(server, jobIds[0]!);
});

describe('a path that leaves its folder', () => {
  test('in a job file', async () => {
    const file = fleet.jobFile('escape', { steps: { s: 'true' }, outputs: ['../secret'] });
    const { code, stderr } = await drover('job', 'run', file);
    expect(code).toBe(3);
    expect(stderr).toMatch(
      /escape\.yaml:\d+:\d+: "\.\.\/secret" leaves its folder; allowed are relative paths.*PATH_ESCAPES/,
    );
  });

  test('in a message that no job file made', async () => {
    const job = create(JobSchema, {
      batches: [{ name: 'b', steps: [{ name: 's', exe: 'true', workingDirectory: '../..' }] }],
    });
    const submission = create(JobSubmissionSchema, { name: 'raw', payload: anyPack(JobSchema, job) });
    const error = await errorOf(server.client.jobs.submitJobs({ jobs: [submission] }));
    expect(error).toMatchObject({ code: 'JOB_INVALID' });
    expect(String(error)).toMatch(
      /batches\[0\]\.steps\[0\]\.cwd: "\.\.\/\.\." leaves its folder; allowed are .* \(PATH_ESCAPES\)/,
    );
    expect((await drover('job', 'list')).stdout).not.toMatch(/ raw /);
  });

  test('by a symbolic link that is sent', async () => {
    mkdirSync(fleet.path('sent'));
    symlinkSync('/etc/passwd', fleet.path('sent/link'));
    const file = fleet.jobFile('linked', { steps: { s: 'true' }, inputs: [{ path: 'in', upload: 'sent' }] });
    const { code, stderr } = await drover('job', 'run', file);
    expect(code).toBe(3);
    expect(stderr).toMatch(
      /linked\.yaml:\d+:\d+: input "in": symbolic link "link" to "\/etc\/passwd".*\(SYMLINK_ESCAPES\)/,
    );
  });

  test('by a symbolic link that a step makes', async () => {
    const file = fleet.jobFile('links', {
      steps: { s: 'ln -s /etc out; ln -s /etc/passwd file; echo kept > good' },
      outputs: ['out/**', 'out/passwd', 'file', 'good'],
    });
    const { code, stdout } = await drover('job', 'run', file);
    expect(code).toBe(1);
    expect(stdout).toMatch(/✗ SYMLINK_ESCAPES: out\/passwd: is a symbolic link that leads out of the working folder/);
    expect(stdout).toMatch(/✗ SYMLINK_ESCAPES: file: is a symbolic link that leads out/);
    // One bad output does not lose the others.
    expect(stdout).toMatch(/↳ good {2}5 B/);
  });

  test('by the working folder of a step, which another step has made a link', async () => {
    const file = fleet.path('cwd.yaml');
    const step = (name: string, line: string, rest: string) => `{ name: ${name}, exe: sh, args: [-c, ${line}]${rest} }`;
    const steps = [step('a', 'ln -s / out', ''), step('b', 'touch /tmp/out', ', needs: [a], cwd: out/tmp')];
    writeFileSync(file, `name: cwd\nbatches: [{ name: b, steps: [${steps.join(', ')}] }]\n`);
    const { code, stdout } = await drover('job', 'run', file);
    expect(code).toBe(1);
    expect(stdout).toMatch(/✗ b .*the working directory out\/tmp leads out of the batch/);
  });
});

describe('a blob', () => {
  const transport = () => createGrpcTransport({ baseUrl: server.url });
  const bytes = new TextEncoder().encode('these bytes');
  const wrong = { hash: createHash('sha256').update('others').digest('hex'), sizeBytes: BigInt(bytes.length) };

  test('whose digest does not match', async () => {
    const cas = createClient(ContentAddressableStorage, transport());
    const { responses } = await cas.batchUpdateBlobs({ requests: [{ digest: wrong, data: bytes }] });
    expect(responses).toMatchObject([{ status: { code: Code.InvalidArgument } }]);
    expect(responses[0]!.status!.message).toContain('the bytes do not match their digest');
    const [info] = responses[0]!.status!.details.map((detail) => anyUnpack(detail, ErrorInfoSchema));
    expect(info).toMatchObject({ reason: 'DIGEST_MISMATCH' });
    const stream = createClient(ByteStream, transport());
    const resourceName = `uploads/${crypto.randomUUID()}/blobs/${wrong.hash}/${bytes.length}`;
    async function* parts() {
      yield { resourceName, data: bytes, writeOffset: 0n, finishWrite: true };
    }
    expect(await errorOf(stream.write(parts()))).toMatchObject({ code: 'DIGEST_MISMATCH', advice: 'fix-input' });
    const { missingBlobDigests } = await cas.findMissingBlobs({ blobDigests: [wrong] });
    expect(missingBlobDigests).toMatchObject([wrong]);
  });
});

describe('a message over the limit', () => {
  const tooBig = new Uint8Array(5 * 1024 * 1024);
  const refused = {
    code: 'MESSAGE_TOO_LARGE',
    message: expect.stringMatching(/a message of 524\d{4} bytes was not taken: at most 4194304 are allowed/),
  };

  test('is refused to a submitter', async () => {
    const payload = { typeUrl: 'type.googleapis.com/x.Big', value: tooBig };
    const error = await errorOf(server.client.jobs.submitJobs({ jobs: [{ name: 'big', payload }] }));
    expect(error).toMatchObject(refused);
    expect((await drover('job', 'list')).stdout).not.toMatch(/ big /);
  });

  test('is refused to an agent', async () => {
    const leases = createClient(LeaseService, createGrpcTransport({ baseUrl: server.url }));
    const error = await errorOf(leases.appendLog({ data: tooBig }, { headers: { 'drover-agent-id': 'agent-1' } }));
    expect(error).toMatchObject(refused);
  });
});

test('a second agent with the same id fences the first, which says so and ends with 7', async () => {
  const first = await fleet.agent(server, { id: 'twin' });
  const second = fleet.start([
    'agent',
    '--server-urls',
    server.url,
    '--agent-id=twin',
    '--state-dir',
    fleet.path('twin-2'),
  ]);
  expect(await first.process.exited).toMatchObject({
    code: 7,
    stderr: expect.stringMatching(
      /another process has opened a session as agent twin: give each machine its own id \(AGENT_FENCED\)/,
    ),
  });
  await second.message('ready');
});
