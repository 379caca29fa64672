import { test } from 'vitest';
import { datagramsStand, messagesAreThoseOfTheOriginal, readerStands } from './wire-fuzz.test.fixture.ts';

const timeoutMs = 20 * 60_000;

test('200,000 streams that were changed, cut, repeated and split do no harm', () => readerStands(100_000), timeoutMs);

test('messages are those of the original in 200,000 texts', () => messagesAreThoseOfTheOriginal(200_000), timeoutMs);

test('100,000 datagrams that were changed do no harm', () => datagramsStand(100_000), timeoutMs);
