import { create } from '@bufbuild/protobuf';
import { DroverError } from '@drover/lease-kit';
import { AppendLogResponseSchema, FetchSecretsResponseSchema } from '@drover/lease-protocol';
import { expect, test } from 'vitest';
import { SessionCalls } from './session-calls.ts';

const { signal } = new AbortController();
const key = { leaseId: 'l', attempt: 1 };
const session = (sessionId: string) => ({ sessionId, epoch: 1n, messageSizeMaxBytes: 0 }) as never;

function callsThatAre(refused: () => void) {
  const fenced = new DroverError({ code: 'SESSION_FENCED', advice: 'fenced', message: 'old' });
  const answer = async (): Promise<never> => {
    refused();
    throw fenced;
  };
  return new SessionCalls({ appendLog: answer, fetchSecrets: answer });
}

test('without a session they may be tried again', async () => {
  const calls = callsThatAre(() => undefined);
  await expect(calls.fetchSecrets(key, signal)).rejects.toMatchObject({ code: 'SESSION_NONE', advice: 'unavailable' });
});

test('what an old session is refused for says nothing; what the present one is refused for counts', async () => {
  const calls: SessionCalls = callsThatAre(() => onCall());
  let onCall = (): void => calls.sessionChanged(session('new'));
  calls.sessionChanged(session('old'));
  await expect(calls.fetchSecrets(key, signal)).rejects.toMatchObject({ advice: 'unavailable' });
  onCall = () => undefined;
  await expect(calls.fetchSecrets(key, signal)).rejects.toMatchObject({ advice: 'fenced' });
  const piece = { owner: key, log: 'a', offset: 0, data: new Uint8Array(), complete: false };
  await expect(calls.appendLog(piece, signal)).rejects.toMatchObject({ advice: 'fenced' });
});

test('they say in which session they are made', async () => {
  const said: unknown[] = [];
  const calls = new SessionCalls({
    appendLog: async (request) => {
      said.push(request);
      return create(AppendLogResponseSchema, { committedBytes: 9n });
    },
    fetchSecrets: async (request) => {
      said.push(request);
      return create(FetchSecretsResponseSchema, { secrets: { A: Uint8Array.of(1) } });
    },
  });
  calls.sessionChanged(session('s'));
  expect([...(await calls.fetchSecrets(key, signal))]).toEqual([['A', Uint8Array.of(1)]]);
  const piece = { owner: key, log: 'a', offset: 4, data: Uint8Array.of(1), complete: true };
  expect(await calls.appendLog(piece, signal)).toBe(9);
  expect(said).toMatchObject([
    { sessionId: 's', epoch: 1n, attempt: key },
    { sessionId: 's', epoch: 1n, attempt: key, log: 'a', offset: 4n, complete: true },
  ]);
});
