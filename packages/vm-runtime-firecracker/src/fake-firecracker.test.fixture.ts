// A fake of Firecracker: its API as it is published, and the vsock's handshake; behind it is what stands for a guest. It must be
// started by the fake jailer, whose user's rights it has wherever it opens files and makes sockets.
import { closeSync, constants, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { join, normalize } from 'node:path';
import { FakeApi, type FakeBackend, type FakeMachine } from './fake-api.test.fixture.ts';
import { createFakeGuest, type FakeGuest } from './fake-guest.test.fixture.ts';
import { fakeVersion, type FakeGuestOptions } from './fake-programs.test.fixture.ts';

interface Jail {
  readonly root: string;
  readonly uid: number;
  readonly gid: number;
  readonly fileBytesMax: number | null;
}

const [guestText, ...words] = process.argv.slice(2);
const guestOptions = JSON.parse(guestText!) as FakeGuestOptions;
if (words.includes('--version')) {
  console.log(`Firecracker v${fakeVersion}\n`);
  process.exit(0);
}
const taken = ['--id', '--api-sock', '--start-time-us', '--start-time-cpu-us', '--parent-cpu-time-us'];
const given = new Map<string, string>();
for (let at = 0; at < words.length; at += 2) {
  if (!taken.includes(words[at]!) || words[at + 1] === undefined) {
    console.error(
      `Arguments parsing error: Found argument '${words[at]}' which wasn't expected, or isn't valid in this context.`,
    );
    process.exit(153);
  }
  given.set(words[at]!, words[at + 1]!);
}
const jail = JSON.parse(process.env['FAKE_JAIL'] ?? 'null') as Jail | null;
if (jail === null) throw new Error('this fake runs in a jail alone');
const { root, uid, gid, fileBytesMax } = jail;

/** A path as the process sees it, with `.` and `..` that do not leave the jail. */
const inside = (path: string): string => join(root, normalize(join('/', path)));

/** The same from the working folder, which is the jail's root: folders above it are closed to the user, and none of its business. */
const jailed = (path: string): string => `.${normalize(join('/', path))}`;

function asJailed<Result>(act: () => Result): Result {
  process.setegid!(gid);
  process.seteuid!(uid);
  try {
    return act();
  } finally {
    process.seteuid!(0);
    process.setegid!(0);
  }
}

let guest: FakeGuest | undefined;
let machine: FakeMachine | undefined;

function checkFile(path: string, use: 'read' | 'write'): void {
  try {
    asJailed(() => closeSync(openSync(jailed(path), use === 'read' ? 'r' : constants.O_WRONLY)));
  } catch (error) {
    throw new Error(`the file ${path} cannot be opened: ${(error as Error).message}`);
  }
}

function listen(path: string, onConnection: (socket: Socket) => void): void {
  const server = createServer(onConnection);
  asJailed(() => server.listen(jailed(path)));
}

function startGuest(from: string | undefined, vsock: string | undefined): void {
  const { drives } = machine!;
  for (const { path } of drives) {
    const magic = Buffer.alloc(2);
    const drive = openSync(inside(path), 'r');
    readSync(drive, magic, 0, 2, 1024 + 56);
    closeSync(drive);
    if (magic.readUInt16LE(0) !== 0xef53) throw new Error(`the drive ${path} has no ext4 on it`);
  }
  guest = createFakeGuest(guestOptions, machine!, inside, from === undefined ? undefined : inside(from));
  guest.onEnd(() => process.exit(0));
  if (vsock !== undefined) listen(vsock, (socket) => void greet(socket));
}

/** `CONNECT port`, and `OK port` if somebody listens there; else the connection ends. */
async function greet(socket: Socket): Promise<void> {
  socket.on('error', () => socket.destroy());
  let said = Buffer.alloc(0);
  while (!said.includes(0x0a)) {
    const chunk = await new Promise<Buffer | undefined>((resolve) => {
      socket.once('data', resolve);
      socket.once('close', () => resolve(undefined));
    });
    socket.pause();
    if (chunk === undefined) return;
    said = Buffer.concat([said, chunk]);
    if (said.length > 64) return void socket.destroy();
    if (!said.includes(0x0a)) socket.resume();
  }
  const end = said.indexOf(0x0a);
  const port = /^CONNECT (\d{1,10})$/.exec(said.toString('latin1', 0, end))?.[1];
  const stream = port === undefined ? undefined : await guest?.connect(Number(port));
  if (stream === undefined) return void socket.destroy();
  socket.write('OK 1073741824\n');
  if (end + 1 < said.length) stream.write(said.subarray(end + 1));
  socket.pipe(stream).pipe(socket);
  stream.on('error', () => socket.destroy());
  stream.on('close', () => socket.destroy());
  socket.on('close', () => stream.destroy());
}

const backend: FakeBackend = {
  checkFile,
  async start(made) {
    machine = made;
    startGuest(undefined, made.vsock);
  },
  pause: async () => guest!.pause(),
  resume: async () => guest!.resume(),
  async save(statePath, memoryPath) {
    // RLIMIT_FSIZE would end the real one.
    if (fileBytesMax !== null && machine!.memoryBytes > fileBytesMax)
      throw new Error('the memory is larger than a file may be');
    for (const path of [statePath, memoryPath]) asJailed(() => writeFileSync(jailed(path), '', { mode: 0o600 }));
    // QEMU wants the files that it booted from again, which Firecracker does not.
    const { kernel, initrd } = machine!;
    const boot = guestOptions.kind === 'qemu' ? [kernel, initrd].filter((path) => path !== undefined) : [];
    const files = boot.map((path) => [path, readFileSync(inside(path), 'base64')] as const);
    asJailed(() => writeFileSync(jailed(statePath), JSON.stringify({ fake: fakeVersion, machine, files })));
    await guest!.save(inside(memoryPath));
  },
  async load(statePath, memoryPath, vsock) {
    const kept = JSON.parse(readFileSync(inside(statePath), 'utf8')) as {
      readonly fake: string;
      readonly machine: FakeMachine;
      readonly files: readonly (readonly [path: string, content: string])[];
    };
    if (kept.fake !== fakeVersion) throw new Error('the snapshot is of another version');
    for (const [path, content] of kept.files) writeFileSync(inside(path), content, 'base64');
    machine = kept.machine;
    for (const { path, isReadOnly } of machine.drives) checkFile(path, isReadOnly ? 'read' : 'write');
    startGuest(memoryPath, vsock ?? machine.vsock);
  },
  die: () => setImmediate(() => process.exit(148)),
};

const api = new FakeApi(given.get('--id') ?? 'anonymous-instance', backend);
const http = createHttpServer((request, response) => {
  let text = '';
  request.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  request.once('end', () => {
    const isChunked = request.headers['transfer-encoding'] !== undefined;
    void (
      isChunked
        ? Promise.resolve({ status: 400, body: { fault_message: 'a body needs its Content-Length' } } as const)
        : api.answer(request.method!, request.url!, text)
    ).then(({ status, body }) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(body === undefined ? undefined : JSON.stringify(body));
    });
  });
});
const apiSocket = given.get('--api-sock') ?? '/run/firecracker.socket';
asJailed(() => http.listen(jailed(apiSocket)));
