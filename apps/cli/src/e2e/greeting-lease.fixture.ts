import { randomUUID } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { StringValueSchema, anyPack, anyUnpack } from '@bufbuild/protobuf/wkt';
import type { LeaseDraft, Principal } from '@drover/lease-kit';
import type { LeaseRecord } from '@drover/lease-store';
import { createPostgresStore } from '@drover/lease-store-postgres';
import pg from 'pg';
import { expect } from 'vitest';
import { until } from './test-fleet.fixture.ts';

const principal: Principal = { kind: 'user', id: 'tester' };

/** A lease of the type `greeting` that waits. */
function greetingDraft(name: string): LeaseDraft {
  return {
    leaseId: randomUUID(),
    source: 'greeting',
    name: 'greet',
    payload: anyPack(StringValueSchema, create(StringValueSchema, { value: name })),
    requirements: {},
    priority: 0,
    runLimitMs: 60_000,
    cancelGraceMs: 1_000,
    retry: { attemptsMax: 1, after: [], onFailedWork: false, backoffMs: 0 },
  };
}

/** Stores a lease, waits for its end, and answers with what the store then holds: the record and the greeting. */
export async function greet(databaseUrl: string, name: string): Promise<{ lease: LeaseRecord; greeting: string }> {
  const pool = new pg.Pool({ connectionString: databaseUrl, max: 4 });
  const store = createPostgresStore({ pool });
  try {
    const draft = greetingDraft(name);
    await store.queue.enqueue([{ draft }], { principal });
    store.signals.announce({ kind: 'work', source: draft.source });
    const lease = await until(async () => {
      const found = await store.jobs.lease(draft.leaseId, { principal });
      expect(found.state).toBe('ended');
      return found;
    });
    return { lease, greeting: lease.output ? (anyUnpack(lease.output, StringValueSchema)?.value ?? '') : '' };
  } finally {
    await store.close();
    await pool.end();
  }
}
