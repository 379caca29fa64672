import { createSocket } from 'node:dgram';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DroverProcess } from './drover-process.fixture.ts';

/** The agent as it is shipped, and clients of plain sockets that say what genuine ones say. */
const folder = mkdtempSync(join(tmpdir(), 'drover-legacy-'));
const pipe = `drover-e2e-${process.pid}`;
let agent: DroverProcess;
let jobPort: number;
let discoveryPort: number;

beforeAll(async () => {
  const legacy = ['--herd-legacy-enabled', '--herd-legacy-networks', '127.0.0.0/8', '--herd-legacy-host', '127.0.0.1'];
  const ports = ['--herd-legacy-discovery-port', '0', '--herd-legacy-job-port', '0'];
  agent = new DroverProcess(['agent', '--state-dir', join(folder, 'state'), ...legacy, ...ports]);
  const warning = JSON.parse(await agent.line(/the original Herd protocol is on/)) as Record<string, unknown>;
  jobPort = warning['jobPort'] as number;
  discoveryPort = warning['discoveryPort'] as number;
  expect(warning).toMatchObject({ level: 'warn', networks: ['127.0.0.0/8'] });
});
afterAll(async () => {
  agent.signal('SIGTERM');
  const { code } = await agent.exited;
  rmSync(folder, { recursive: true });
  expect(code).toBe(0);
});

function input(name: string, content: string): string {
  return `<Input Name="${name}" Size="${content.length}">${content}</Input>`;
}

/** Says it all, calls `said` with whatever has come, and gives all of it when the agent has closed. */
async function talk(
  bytes: string,
  said: (received: string, socket: Socket) => void = () => undefined,
): Promise<string> {
  const socket = connect(jobPort, '127.0.0.1');
  let received = '';
  socket.setEncoding('latin1').on('data', (text: string) => {
    received += text;
    said(received, socket);
  });
  socket.write(bytes, 'latin1');
  await new Promise((resolve, reject) => socket.once('close', resolve).once('error', reject));
  return received;
}

async function stateOf(): Promise<string> {
  const socket = createSocket('udp4');
  const answer = new Promise<Buffer>((resolve) => socket.once('message', resolve));
  socket.send('Slaves, show yourselves!', discoveryPort, '127.0.0.1');
  const text = String(await answer);
  socket.close();
  return /<State>(.*)<\/State>/.exec(text)![1]!;
}

const program = `#!/bin/sh
exec 3>/tmp/${pipe}
printf '<Progress>12.500000</Progress>\\0' >&3
printf '<Own>thing</Own>\\0<End></End>\\0' >&3
cat ../conf/a.txt >../conf/out.bin
printf '|%s' "$@" "$(basename "$PWD")" >>../conf/out.bin
exit 3
`;

test('a job runs in a folder of its own and comes back byte for byte', async () => {
  const received = await talk(
    '<Internal>You are mine now!</Internal><Job Name="Job #0">' +
      `<Task Name="unit-a" Exe="../bin/task.sh" Arguments="../conf/a.txt 'two words'" Pipe="${pipe}"/>` +
      '<Task Name="unit-b" Exe="../bin/none" Arguments="" Pipe="unit-b"/>' +
      input('../bin/task.sh', program) +
      input('../conf/a.txt', 'hello') +
      input('a/../../../escaped', 'x') +
      '<Output Name="../conf/out.bin"/><Output Name="../conf/missing.bin"/><Output Name="../../../etc/passwd"/></Job>',
  );
  const result = 'hello|../conf/a.txt|two words|bin';
  expect(received).toBe(
    `<${pipe}><Progress>12.500000</Progress></${pipe}><${pipe}><Own>thing</Own></${pipe}><${pipe}><End>Ok</End></${pipe}>` +
      '<Internal>Job finished correctly</Internal><Job Name="Job #0">' +
      `<Output Name="../conf/out.bin" Size="${result.length}">${result}</Output></Job>`,
  );
  // A later job of the same names finds nothing of the first.
  const task = '<Task Name="t" Exe="../bin/task.sh" Arguments="" Pipe=""/>';
  expect(
    await talk(
      `<Internal>You are mine now!</Internal><Job Name="Job #1">${task}<Output Name="../conf/out.bin"/></Job>`,
    ),
  ).toBe('<Internal>Job finished correctly</Internal><Job Name="Job #1"></Job>');
  expect(existsSync(`/tmp/${pipe}`)).toBe(false);
  expect(readdirSync(join(folder, 'state/herd/legacy-spool'))).toEqual([]);
});

test('Stop kills what runs, also where a child never looks at its pipe; the agent is busy until then', async () => {
  let state: Promise<string> | undefined;
  const received = await talk(
    '<Internal>You are mine now!</Internal><Job Name="Job #2">' +
      `<Task Name="a" Exe="b/a" Arguments="" Pipe="${pipe}"/><Task Name="b" Exe="b/b" Arguments="" Pipe="${pipe}-never"/>` +
      input('b/a', `#!/bin/sh\nexec 3>/tmp/${pipe}\nprintf '<Progress>1</Progress>' >&3\nexec sleep 600\n`) +
      input('b/b', '#!/bin/sh\nexec sleep 600\n') +
      '</Job>',
    (_, socket) => {
      if (state !== undefined) return;
      state = stateOf();
      void state.then(() => socket.write('<Internal>Stop</Internal>'));
    },
  );
  expect(received).toBe(`<${pipe}><Progress>1</Progress></${pipe}>Error running job`);
  expect(await state).toBe('busy');
  // The client is told first, as by an original agent.
  await expect.poll(stateOf, { timeout: 10_000 }).toBe('available');
});
