import { Client } from 'pg';
import { expect, test } from 'vitest';
import { createTestDatabase, testPostgresUrlVariable } from './create-test-database.ts';

test('a test database is empty, apart from every other one, and gone after drop() with a client still connected', async () => {
  await using one = await createTestDatabase();
  await using two = await createTestDatabase();
  expect(one.url).not.toBe(two.url);
  const client = new Client({ connectionString: one.url });
  client.on('error', () => undefined); // the drop ends it
  await client.connect();
  await client.query('create table only_here (id int)');
  const ended = new Promise((resolve) => client.once('end', resolve));
  await one.drop();
  await ended;

  const server = new Client({ connectionString: process.env[testPostgresUrlVariable]! });
  await server.connect();
  const { rows } = await server.query('select datname from pg_database where datname = any($1)', [
    [one.name, two.name],
  ]);
  await server.end();
  expect(rows).toEqual([{ datname: two.name }]);
});

test('without a server it says how to get one', async () => {
  await expect(createTestDatabase('')).rejects.toMatchObject({ code: 'EMBEDDED_POSTGRES_OPTION_INVALID' });
});
