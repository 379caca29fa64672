import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TestFleet, type ServerProcess } from './test-fleet.fixture.ts';

let fleet: TestFleet;
let server: ServerProcess;

beforeAll(async () => {
  fleet = await TestFleet.create();
  server = await fleet.server();
});
afterAll(() => fleet.dispose());

const buf = join(import.meta.dirname, '../../../../node_modules/.bin/buf');

/** `buf curl` against the server, which knows the services by reflection alone. */
async function bufCurl(...args: readonly string[]): Promise<string> {
  const [target, flags] = [args.at(-1)!, args.slice(0, -1)];
  const all = ['curl', '--http2-prior-knowledge', ...flags, `${server.url}${target}`];
  const { stdout } = await promisify(execFile)(buf, all, { cwd: fleet.dir });
  return stdout;
}

test('a standard client lists the services by reflection', async () => {
  const services = (await bufCurl('--list-services', '')).trim().split('\n');
  expect(services).toEqual(
    expect.arrayContaining([
      'build.bazel.remote.execution.v2.Capabilities',
      'build.bazel.remote.execution.v2.ContentAddressableStorage',
      'drover.control.v1.FleetService',
      'drover.control.v1.JobService',
      'drover.lease.v1.LeaseService',
      'google.bytestream.ByteStream',
      'grpc.health.v1.Health',
    ]),
  );
});

test.each(['grpc', 'grpcweb', 'connect'])('and calls them by %s', async (protocol) => {
  const jobs = await bufCurl('--protocol', protocol, '-d', '{"pageSize": 3}', '/drover.control.v1.JobService/ListJobs');
  expect(JSON.parse(jobs)).toEqual({});
  const health = await bufCurl('--protocol', protocol, '/grpc.health.v1.Health/Check');
  expect(JSON.parse(health)).toEqual({ status: 'SERVING' });
});

test('and gets errors that it understands', async () => {
  const asked = bufCurl('--protocol', 'grpc', '-d', '{"jobId": "ffff"}', '/drover.control.v1.JobService/GetJob');
  const failure = await asked.catch((error: { readonly stderr: string }) => JSON.parse(error.stderr) as unknown);
  expect(failure).toMatchObject({ code: 'not_found', message: expect.stringContaining('There is no job "ffff"') });
});

test('the health and readiness endpoints answer plain HTTP/1.1', async () => {
  expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
  expect((await fetch(`${server.url}/readyz`)).status).toBe(200);
});
