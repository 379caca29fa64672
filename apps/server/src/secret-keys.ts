import { DroverError, messageOf } from '@drover/lease-kit';
import { createSecretSealer, generateSecretKey, secretKeysFrom, type SecretSealer } from '@drover/lease-secrets';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ServerConfig } from './server-config.ts';

/**
 * Seals and opens the secrets of jobs with the keys of `secrets.key_file`. Without one, a server with a database of its own
 * makes a key in its state folder; one whose database others may share has none, for they could not open what it seals.
 */
export async function openSecretSealer(config: ServerConfig, ownsDatabase: boolean): Promise<SecretSealer | undefined> {
  const { key_file } = config.secrets;
  if (key_file !== undefined) return createSecretSealer(await readKeys(key_file));
  if (!ownsDatabase) return undefined;
  const file = join(config.state.dir, 'secrets.key');
  const made = `${Buffer.from(generateSecretKey()).toString('base64')}\n`;
  await writeFile(file, made, { flag: 'wx', mode: 0o600 }).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  });
  return createSecretSealer(await readKeys(file));
}

async function readKeys(file: string) {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw keyFileInvalid(file, messageOf(error));
  });
  try {
    return secretKeysFrom(text);
  } catch (error) {
    throw keyFileInvalid(file, messageOf(error));
  }
}

function keyFileInvalid(file: string, why: string): DroverError {
  return new DroverError({
    code: 'SECRET_KEY_INVALID',
    advice: 'fix-input',
    message: `secrets.key_file ${file}: ${why}`,
  });
}
