import { test } from 'vitest';
import { datagramsStand, messagesAreThoseOfTheOriginal, readerStands } from './wire-fuzz.test.fixture.ts';

test('streams that were changed, cut, repeated and split do no harm', () => readerStands(1_500));

test('messages are those of the original', () => messagesAreThoseOfTheOriginal(3_000));

test('datagrams that were changed do no harm', () => datagramsStand(1_500));
