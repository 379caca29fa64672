import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, truncateSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { Duplex, Transform } from 'node:stream';
// It stands for a program, not for a test: QEMU's sockets and states are asked for again and again.
// eslint-disable-next-line house/no-sleep-in-tests
import { setTimeout as wait } from 'node:timers/promises';
import type { FakeMachine } from './fake-api.test.fixture.ts';
import type { FakeGuestOptions } from './fake-programs.test.fixture.ts';

/** What stands for a guest. */
export interface FakeGuest {
  /** Calls when it has ended by itself. */
  onEnd(listener: () => void): void;
  /** A stream to who listens on a port of its vsock; undefined if nobody does. */
  connect(port: number): Promise<Duplex | undefined>;
  pause(): Promise<void>;
  resume(): Promise<void>;
  save(memoryPath: string): Promise<void>;
}

const portOf = ({ commandLine }: FakeMachine): number =>
  Number(/(?:^| )drover\.transport=vsock:(\d+)(?: |$)/.exec(commandLine)?.[1] ?? 0);

/** Starts one; `from`: a file that {@link FakeGuest.save} has written. */
export function createFakeGuest(
  options: FakeGuestOptions,
  machine: FakeMachine,
  inside: (path: string) => string,
  from: string | undefined,
): FakeGuest {
  return options.kind === 'qemu' ? qemuGuest(options, machine, inside, from) : namespaceGuest(options, machine);
}

/** The agent alone: one process for each connection, since there is no kernel whose vsock it could listen on. */
function namespaceGuest(options: FakeGuestOptions & { kind: 'namespaces' }, machine: FakeMachine): FakeGuest {
  const diskBytes = Number(/(?:^| )drover\.disk=(\d+)/.exec(machine.commandLine)?.[1] ?? 0);
  const tmpBytes = Math.floor(diskBytes / 4);
  const args = [
    ...['--unshare-all', '--unshare-user', '--uid', '65534', '--gid', '65534', '--cap-drop', 'ALL'],
    ...['--die-with-parent', '--new-session', '--as-pid-1', '--clearenv', '--ro-bind', options.root, '/'],
    ...['--proc', '/proc', '--dev', '/dev', '--tmpfs', '/run', '--ro-bind', options.agent, '/run/agent'],
    ...[
      '--size',
      String(diskBytes - tmpBytes),
      '--tmpfs',
      '/run/drover',
      '--size',
      String(tmpBytes),
      '--tmpfs',
      '/tmp',
    ],
    ...['--remount-ro', '/run', '--chdir', '/', '/run/agent', 'fd:3'],
  ];
  return {
    onEnd: () => undefined,
    async connect(port) {
      if (port !== portOf(machine)) return undefined;
      const child = spawn(options.bubblewrap, args, { stdio: ['ignore', 'ignore', 'inherit', 'pipe'], env: {} });
      const stream = child.stdio[3] as Socket;
      child.once('exit', () => stream.destroy());
      return withoutRestored(stream);
    },
    pause: async () => undefined,
    resume: async () => undefined,
    // As large as the real one's, and empty: a process has no state that could be kept.
    save: async (memoryPath) => truncateSync(memoryPath, machine.memoryBytes),
  };
}

const headBytes = 9;
const restored = 0x31;
const done = 0x95;

/** A process in namespaces has the host's clock and random numbers: it is told of no others, and the answer is given here. */
function withoutRestored(agent: Socket): Duplex {
  let rest = Buffer.alloc(0);
  const answers: Buffer[] = [];
  const filter = new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      rest = Buffer.concat([rest, chunk]);
      while (rest.length >= headBytes && rest.length >= headBytes + rest.readUInt32LE(0)) {
        const frame = rest.subarray(0, headBytes + rest.readUInt32LE(0));
        rest = rest.subarray(frame.length);
        if (frame[4] !== restored) {
          this.push(frame);
          continue;
        }
        const answer = Buffer.alloc(headBytes);
        answer[4] = done;
        frame.copy(answer, 5, 5, headBytes);
        answers.push(answer);
        outward.write(answer);
      }
      callback();
    },
  });
  const outward = new Transform({ transform: (chunk, _encoding, callback) => callback(null, chunk) });
  filter.pipe(agent).pipe(outward);
  const both = Duplex.from({ readable: outward, writable: filter });
  agent.once('close', () => both.destroy());
  both.once('close', () => agent.destroy());
  return both;
}

const mebibyte = 1024 * 1024;
const migrateMs = 60_000;

/**
 * A machine that QEMU emulates, with the API's kernel, first file system, drive and command line. It has no vsock: the agent is told to
 * listen on a virtio-serial port, which is all that is changed.
 */
function qemuGuest(
  options: FakeGuestOptions & { kind: 'qemu' },
  machine: FakeMachine,
  inside: (path: string) => string,
  from: string | undefined,
): FakeGuest {
  const port = portOf(machine);
  const khz = Math.round(
    Number(/^cpu MHz\s*:\s*([\d.]+)/m.exec(readFileSync('/proc/cpuinfo', 'latin1'))?.[1] ?? 0) * 1_000,
  );
  const commandLine = machine.commandLine
    .replace(/drover\.transport=vsock:\d+/, 'drover.transport=serial:drover')
    // What an emulated processor needs beside.
    .concat(` nokaslr tsc_early_khz=${khz}`);
  // In the jail, with which they are removed; the working folder is its root, and sockets have short paths.
  const [agent, control] = ['fake-agent.sock', 'fake-control.sock'];
  const args = [
    ...options.firmwareFolders.flatMap((folder) => ['-L', folder]),
    ...['-M', 'microvm,rtc=on,pit=on,pic=on', '-cpu', 'max', '-accel', 'tcg,tb-size=64'],
    ...['-m', String(machine.memoryBytes / mebibyte), '-smp', String(machine.vcpus)],
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none', '-serial', 'null'],
    ...['-kernel', inside(machine.kernel), '-append', commandLine],
    ...(machine.initrd === undefined ? [] : ['-initrd', inside(machine.initrd)]),
    ...machine.drives.flatMap(({ path, isReadOnly }, index) => [
      ...['-drive', `id=d${index},file=${inside(path)},format=raw,if=none,readonly=${isReadOnly ? 'on' : 'off'}`],
      ...['-device', `virtio-blk-device,drive=d${index}`],
    ]),
    ...['-device', 'virtio-serial-device', '-chardev', `socket,id=agent,path=${agent},server=on,wait=off`],
    ...['-device', 'virtserialport,chardev=agent,name=drover', '-qmp', `unix:${control},server=on,wait=off`],
    ...(from === undefined ? [] : ['-incoming', `exec:cat '${from}'`, '-S']),
  ];
  const child = spawn(options.path, args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { PATH: '/usr/bin:/bin', ...options.env },
  });
  const command = async (name: string, given: object = {}): Promise<{ readonly status?: string }> => {
    const socket = await connected(control);
    const answers = createInterface({ input: socket })[Symbol.asyncIterator]();
    const ask = async (text: string): Promise<{ readonly status?: string }> => {
      socket.write(`${text}\n`);
      for (;;) {
        const message = JSON.parse((await answers.next()).value ?? '{"error":{"desc":"it has ended"}}') as QmpAnswer;
        if (message.error !== undefined) throw new Error(`QEMU: ${message.error.desc}`);
        if (message.return !== undefined) return message.return;
      }
    };
    try {
      await ask(JSON.stringify({ execute: 'qmp_capabilities' }));
      return await ask(JSON.stringify({ execute: name, arguments: given }));
    } finally {
      socket.destroy();
    }
  };
  const until = async (question: string, wanted: readonly string[]): Promise<void> => {
    for (const untilMs = Date.now() + migrateMs; ; await wait(20)) {
      const { status = '' } = await command(question);
      if (wanted.includes(status)) return;
      if (status === 'failed' || Date.now() > untilMs) throw new Error(`QEMU: ${question} says ${status}`);
    }
  };
  return {
    onEnd: (listener) => {
      child.once('exit', listener);
    },
    connect: async (wanted) => (wanted === port ? connected(agent) : undefined),
    pause: async () => void (await command('stop')),
    async resume() {
      if (from !== undefined) await until('query-status', ['paused', 'running', 'prelaunch', 'postmigrate']);
      await command('cont');
    },
    async save(memoryPath) {
      await command('migrate', { uri: `exec:cat > '${memoryPath}'` });
      await until('query-migrate', ['completed']);
    },
  };
}

interface QmpAnswer {
  readonly return?: { readonly status?: string };
  readonly error?: { readonly desc: string };
}

async function connected(path: string): Promise<Socket> {
  for (;;) {
    const socket = connect(path);
    try {
      await once(socket, 'connect');
      return socket;
    } catch {
      socket.destroy();
      await wait(5);
    }
  }
}
