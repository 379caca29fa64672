import { spawn } from 'node:child_process';

/** How long one message may take; the manager reads its socket at once unless it is in trouble itself. */
const sendMsMax = 10_000;

/**
 * Sends assignments such as `READY=1` to the service manager at `socket` with systemd-notify(1), which waits until the
 * manager has read them. Rejects with what is wrong: there is no such program, it failed, or it took more than 10 s.
 */
export function sendToManager(socket: string, assignments: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    // Node has no Unix datagram sockets; the program stands wherever systemd does, and knows every form of address.
    const child = spawn('systemd-notify', ['--', ...assignments], {
      env: { PATH: process.env['PATH'], NOTIFY_SOCKET: socket },
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: sendMsMax,
      killSignal: 'SIGKILL',
    });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(0, 1_000)));
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0) resolve();
      else reject(new Error(`systemd-notify ended with ${signal ?? String(code)}: ${said.trim()}`));
    });
  });
}
