import type { BundleStatement, TrustedKey } from '@drover/agent-bundles';
import { digestOfStream, formatDigest, type Digest } from '@drover/content-store';
import { DroverError, messageOf } from '@drover/lease-kit';
import type { Command } from 'commander';
import { createReadStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { usingServer, withJson, withServer, type CommandContext, type ServerOptions } from '../command-context.ts';
import { bytesText } from '../output/words.ts';

interface BuildOptions {
  readonly version: string;
  readonly entry: string;
  readonly platform?: string;
  readonly output?: string;
}
interface SignatureOptions {
  readonly signature?: string;
}
interface KeysOptions extends SignatureOptions {
  readonly key?: readonly string[];
  readonly json?: boolean;
}

/** `drover bundles …`: what an agent is upgraded to, and its signature. */
export function addBundleCommands(program: Command, context: CommandContext): void {
  const out = (text: string): void => void context.stdout.write(`${text}\n`);
  const bundles = program
    .command('bundles')
    .description('signed versions of the agent: make, check, bring to the fleet');

  bundles
    .command('keygen')
    .argument('<file>', 'where to put the private key; kept from other users, never written over')
    .description('make a key pair for signing bundles; prints the public key for upgrade.keys of agents')
    .action(async (file: string) => {
      const { generateSigningKey } = await import('../bundles/bundle-tools.ts');
      const { privateKeyPem, publicKey } = generateSigningKey();
      await writeFile(file, privateKeyPem, { mode: 0o600, flag: 'wx', flush: true }).catch((error: unknown) => {
        throw fileError('the private key cannot be written', file, error);
      });
      out(publicKey);
    });

  bundles
    .command('build')
    .argument('<folder>', 'all that is in it becomes the bundle')
    .description('make a bundle of a folder')
    .requiredOption('--version <version>', 'by Semantic Versioning, e.g. 1.4.0')
    .requiredOption('--entry <path>', 'the file in the folder that starts the agent: a program, or .mjs')
    .option('--platform <platform>', 'e.g. linux-x64, or any; default that of this machine')
    .option('-o, --output <file>', 'the archive; default agent-VERSION-PLATFORM.tar.gz')
    .action(async (folder: string, options: BuildOptions) => {
      const { buildBundle, ownPlatform } = await import('../bundles/bundle-tools.ts');
      const { version, entry, platform = ownPlatform } = options;
      const output = options.output ?? `agent-${version}-${platform}.tar.gz`;
      const built = await buildBundle({ folder, version, entry, platform, output, signal: context.signal }).catch(
        (error: unknown) => {
          throw fileError('the bundle cannot be built', folder, error);
        },
      );
      out(`${output}  ${built.manifest.files.length} files, ${bytesText(built.digest.sizeBytes)}`);
      out(formatDigest(built.digest));
    });

  bundles
    .command('sign')
    .argument('<bundle>', 'the archive')
    .description('sign a bundle; a signature of another key that is there is kept beside')
    .requiredOption('--key <file>', 'the private key, as keygen writes it')
    .option('--signature <file>', 'the signature document; default BUNDLE.sig.json')
    .action(async (bundle: string, options: SignatureOptions & { readonly key: string }) => {
      const { signBundle, unpackBundle } = await import('../bundles/bundle-tools.ts');
      const pem = await readText(options.key);
      const digest = await digestOfFile(bundle);
      // Nobody signs what no machine would take.
      const { version, platform } = await unpackBundle(createReadStream(bundle), { signal: context.signal });
      const file = signatureFile(bundle, options);
      const beside = await readFile(file, 'utf8').catch(() => undefined);
      await writeFile(file, signBundle({ version, platform, digest }, pem, beside), { flush: true });
      out(file);
    });

  withJson(withKeys(bundles.command('verify').argument('<bundle>', 'the archive')))
    .description('check a bundle as an agent does: signature, digest, every file')
    .action(async (bundle: string, options: KeysOptions) => {
      const statement = await verified(bundle, options, context);
      if (options.json === true) return out(JSON.stringify(statement));
      out(`${statement.version} for ${statement.platform}: signed by a trusted key, and whole`);
      out(formatDigest(statement.digest));
    });

  withServer(bundles.command('upload').argument('<bundle>', 'the archive'), context.env)
    .description('put a bundle into the content store')
    .action(async (bundle: string, options: ServerOptions) => {
      const digest = await digestOfFile(bundle);
      await usingServer(options, context, (client) =>
        client.content.write(digest, () => createReadStream(bundle), { signal: context.signal }),
      );
      out(formatDigest(digest));
    });

  withKeys(bundles.command('install').argument('<bundle>', 'the archive'))
    .description('put the first version into the folder of a drover-supervisor on this machine')
    .requiredOption('--home <folder>', 'the supervisor’s folder')
    .action(async (bundle: string, options: KeysOptions & { readonly home: string }) => {
      const { version, digest } = await verified(bundle, options, context);
      const { unpackBundle } = await import('../bundles/bundle-tools.ts');
      const { installFirstVersion } = await import('../bundles/bundle-tools.ts');
      const name = await installFirstVersion(options.home, { version, bundle: digest.hash }, async (folder) => {
        const { entry } = await unpackBundle(createReadStream(bundle), { folder, signal: context.signal });
        return { entry };
      }).catch((error: unknown) => {
        if (!(error instanceof TypeError)) throw fileError('the version cannot be installed', options.home, error);
        throw new DroverError({
          code: 'VERSION_INSTALLED',
          advice: 'conflict',
          message: `${error.message}: agents that run are upgraded with drover agents upgrade`,
        });
      });
      out(name);
    });
}

function withKeys(command: Command): Command {
  return command
    .option('--key <public key>', 'a key that is trusted, ed25519:BASE64; repeatable', (key, keys: string[] = []) => [
      ...keys,
      key,
    ])
    .option('--signature <file>', 'the signature document; default BUNDLE.sig.json');
}

async function verified(bundle: string, options: KeysOptions, context: CommandContext): Promise<BundleStatement> {
  const { checkBundleStatement, parseTrustedKey, unpackBundle, verifyBundleSignature } =
    await import('../bundles/bundle-tools.ts');
  const keys: TrustedKey[] = (options.key ?? []).map(parseTrustedKey);
  const statement = verifyBundleSignature(await readText(signatureFile(bundle, options)), keys);
  const { version, platform } = statement;
  checkBundleStatement(statement, { version, platform, digest: await digestOfFile(bundle), allowDowngrade: true });
  await unpackBundle(createReadStream(bundle), { signal: context.signal });
  return statement;
}

function signatureFile(bundle: string, { signature }: SignatureOptions): string {
  return signature ?? `${bundle}.sig.json`;
}

/** The digest of a file. Throws `FILE_UNREADABLE`. */
export async function digestOfFile(file: string): Promise<Digest> {
  return digestOfStream(createReadStream(file)).catch((error: unknown) => {
    throw fileError('the bundle cannot be read', file, error);
  });
}

/** The text of a file. Throws `FILE_UNREADABLE`. */
export async function readText(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((error: unknown) => {
    throw fileError('it cannot be read', file, error);
  });
}

function fileError(what: string, file: string, error: unknown): unknown {
  if (typeof (error as NodeJS.ErrnoException).syscall !== 'string') return error;
  const { code } = error as NodeJS.ErrnoException;
  return new DroverError({
    code: code === 'EEXIST' ? 'FILE_EXISTS' : 'FILE_UNREADABLE',
    advice: 'fix-input',
    message: `${file}: ${what}: ${messageOf(error)}`,
    cause: error,
  });
}
