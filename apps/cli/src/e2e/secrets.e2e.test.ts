import { create } from '@bufbuild/protobuf';
import { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import pg from 'pg';
import { ReadLogRequestSchema } from '@drover/control-api';
import { TestFleet, type ServerProcess } from './test-fleet.fixture.ts';

const token = 'hunter2-correct-horse';
const certificate = '-----BEGIN SECRET-----\nabcdef0123456789\n-----END SECRET-----';

/** All files below a folder that hold a text. */
function filesWith(dir: string, text: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    .filter((file) => readFileSync(file).includes(text));
}

async function logOf({ client }: ServerProcess, jobId: string, log: string): Promise<string> {
  const { job } = await client.jobs.getJob({ jobId });
  const chunks: Uint8Array[] = [];
  const request = create(ReadLogRequestSchema, { leaseId: job!.leases[0]!.leaseId, log, follow: true });
  for await (const { data } of client.jobs.readLog(request)) chunks.push(data);
  return Buffer.concat(chunks).toString();
}

test('secrets reach the step that names them, and nothing else', async () => {
  await using fleet = await TestFleet.create();
  const key = fleet.path('keys');
  writeFileSync(key, `${Buffer.alloc(32, 7).toString('base64')}\n`);
  const server = await fleet.server({ flags: [`--secrets-key-file=${key}`] });
  const { stateDir } = await fleet.agent(server);
  mkdirSync(fleet.path('files'), { recursive: true });
  writeFileSync(fleet.path('files/certificate.pem'), `${certificate}\n`);
  writeFileSync(
    fleet.path('job.yaml'),
    JSON.stringify({
      name: 'with-secrets',
      secrets: { TOKEN: { env: 'MY_TOKEN' }, PEM: { file: 'files/certificate.pem' } },
      batches: [
        {
          name: 'only',
          steps: [
            {
              name: 'use',
              exe: '/bin/sh',
              // Its length proves that it arrived, and base64 hides it from nobody who looks for it plainly.
              args: ['-c', 'printf "token %s %s\\n" "${#API_TOKEN}" "$API_TOKEN"; echo "$PEM"; env | grep -c TOKEN'],
              secrets: { API_TOKEN: 'TOKEN', PEM: 'PEM' },
            },
            { name: 'other', needs: ['use'], exe: '/bin/sh', args: ['-c', 'echo "<$API_TOKEN>"; sleep 0.2'] },
          ],
        },
      ],
    }),
  );
  const submit = fleet.start(['job', 'run', fleet.path('job.yaml'), '--json', '-s', server.url], {
    env: { MY_TOKEN: token },
  });
  const ended = await submit.exited;
  expect(ended, ended.stdout + ended.stderr).toMatchObject({ code: 0 });
  const jobs = await server.client.jobs.listJobs({});
  const { jobId } = jobs.jobs[0]!;
  const log = await logOf(server, jobId, 'use');
  expect(log).toContain(`token ${token.length} ${'*'.repeat(token.length)}\n`);
  expect(log).toContain(`${'*'.repeat(22)}\n${'*'.repeat(16)}\n${'*'.repeat(20)}\n`);
  expect(log).toMatch(/\n1\n$/);
  expect(await logOf(server, jobId, 'other')).toBe('<>\n');
  // Neither the database nor a disk has it: not the lease, nor the job, the blobs, the journal or what the agent has left.
  const pool = new pg.Pool({ connectionString: fleet.databaseUrl });
  await using _ = { [Symbol.asyncDispose]: () => pool.end() };
  const tables = await pool.query(
    `select table_name as name from information_schema.tables where table_schema = 'drover'`,
  );
  for (const { name } of tables.rows as { readonly name: string }[]) {
    const { rows } = await pool.query(`select count(*)::int as n from drover.${name} t where t::text like $1`, [
      `%${token}%`,
    ]);
    expect(rows, name).toEqual([{ n: 0 }]);
    const hex = await pool.query(`select count(*)::int as n from drover.${name} t where t::text like $1`, [
      `%${Buffer.from(token).toString('hex')}%`,
    ]);
    expect(hex.rows, name).toEqual([{ n: 0 }]);
  }
  expect((await pool.query('select 1 from drover.leases')).rows).toEqual([]);
  expect(filesWith(fleet.dir, token)).toEqual([]);
  expect(statSync(stateDir).isDirectory()).toBe(true);
});

test('an agent that is killed while a step shows its secret carries the log on without it', async () => {
  await using fleet = await TestFleet.create();
  const key = fleet.path('keys');
  writeFileSync(key, `${Buffer.alloc(32, 7).toString('base64')}\n`);
  const server = await fleet.server({ flags: [`--secrets-key-file=${key}`] });
  const agent = await fleet.agent(server);
  // Both at one go: the agent is stopped in between, so that it is a later process which carries it.
  const script = `touch ${fleet.path('ready')}; ${fleet.waitFor('gate')}; printf "it is $TOKEN\\n"; touch ${fleet.path('shown')}; sleep 600`;
  writeFileSync(
    fleet.path('job.yaml'),
    JSON.stringify({
      name: 'killed',
      secrets: { TOKEN: { env: 'TOKEN' } },
      batches: [
        {
          name: 'only',
          retry: { attempts: 1 },
          steps: [{ name: 'show', exe: '/bin/sh', args: ['-c', script], secrets: ['TOKEN'] }],
        },
      ],
    }),
  );
  await fleet.start(['job', 'submit', fleet.path('job.yaml'), '-s', server.url], { env: { TOKEN: token } }).exited;
  await fleet.made('ready');
  agent.process.signal('SIGSTOP');
  fleet.open('gate');
  await fleet.made('shown');
  await agent.process.kill();
  expect(filesWith(agent.stateDir, token)).toHaveLength(1);
  await fleet.agent(server);
  const { jobs } = await server.client.jobs.listJobs({});
  expect(await logOf(server, jobs[0]!.jobId, 'show')).toBe(`it is ${'*'.repeat(token.length)}\n`);
});

test('wrong secrets are refused with the place, and a server without keys says so', async () => {
  await using fleet = await TestFleet.create();
  const server = await fleet.server();
  const submit = async (secrets: unknown, used: readonly string[], env: Record<string, string> = {}) => {
    const steps = [{ name: 's', exe: 'true', secrets: used }];
    writeFileSync(
      fleet.path('job.yaml'),
      JSON.stringify({ name: 'j', secrets, batches: [{ name: 'b', steps }] }, null, 1),
    );
    const ended = await fleet.start(['job', 'submit', fleet.path('job.yaml'), '-s', server.url], { env }).exited;
    expect(ended.code).not.toBe(0);
    expect(ended.stdout + ended.stderr).not.toContain(token);
    return ended.stderr;
  };
  expect(await submit({ A: { env: 'NOT_SET' } }, ['A'])).toMatch(
    /job\.yaml:\d+.*secret A: the variable NOT_SET is not set/,
  );
  expect(await submit({ A: { file: 'none' } }, ['A'])).toMatch(/secret A: there is no file none/);
  expect(await submit({ A: { env: 'T' } }, ['B'], { T: token })).toMatch(/a lease needs B, which was not given/);
  expect(await submit({ A: { env: 'T' } }, [], { T: token })).toMatch(/no lease of the job needs it/);
  expect(await submit({ A: { env: 'T' } }, ['A'], { T: token })).toMatch(/secrets\.key_file/);
});
