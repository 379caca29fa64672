import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const forwarded = /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP']);
const sameSignalMs = 300;

/**
 * Runs `entry` from source on the workspace's own Node, passes signals on, and leaves no process of it behind.
 *
 * @param {string} root The workspace.
 * @param {string} entry The file to run.
 * @param {readonly string[]} args
 * @returns {Promise<number>} Its exit status; 128 plus the signal that ended it.
 */
export function runToEnd(root, entry, args) {
  const ownNode = join(root, 'node_modules', '.bin', 'node');
  const lifeline = pathToFileURL(fileURLToPath(new URL('./lifeline.mjs', import.meta.url))).href;
  const child = spawn(
    existsSync(ownNode) ? ownNode : process.execPath,
    [`--import=${lifeline}`, '--conditions=@drover/source', entry, ...args],
    {
      cwd: root,
      env: environment(root),
      // The fourth is the lifeline: it breaks when we are gone, however we went.
      stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
      // A process group of its own: on Ctrl+C the terminal and npm both signal us, and the command must see one signal,
      // because a second one means "do not wait".
      detached: true,
    },
  );
  const lastAt = new Map();
  for (const signal of forwarded) {
    process.on(signal, () => {
      const now = performance.now();
      if (now - (lastAt.get(signal) ?? -Infinity) < sameSignalMs) return;
      lastAt.set(signal, now);
      child.kill(signal);
    });
  }
  process.on('SIGWINCH', () => child.kill('SIGWINCH'));
  return new Promise((resolve) => {
    child.on('error', (error) => {
      console.error(`Cannot run ${entry}: ${error.message}`);
      resolve(1);
    });
    child.on('exit', (status, signal) => {
      endGroup(child.pid);
      resolve(status ?? 128 + constants.signals[signal ?? 'SIGTERM']);
    });
  });
}

/**
 * What the command started and did not end itself.
 *
 * @param {number | undefined} pid
 */
function endGroup(pid) {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nothing is left, which is how it should be.
  }
}

/** @param {string} root */
function environment(root) {
  const env = { ...process.env, PATH: `${join(root, 'node_modules', '.bin')}${delimiter}${process.env['PATH'] ?? ''}` };
  // git refuses a checkout of another user (a bind mount, root in a clone of somebody). Trust this one, here only.
  let count = Number(env['GIT_CONFIG_COUNT'] ?? 0);
  for (const trusted of [root, join(root, '.git')]) {
    env[`GIT_CONFIG_KEY_${count}`] = 'safe.directory';
    env[`GIT_CONFIG_VALUE_${count}`] = trusted;
    count += 1;
  }
  env['GIT_CONFIG_COUNT'] = String(count);
  return env;
}
