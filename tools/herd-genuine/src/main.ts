import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { access, chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

const [programs] = process.argv.slice(2);
const files = ['HerdAgent.exe', 'BadgerConsole.exe', 'Herd.dll'];
if (programs === undefined) {
  process.stderr.write(`usage: main.ts FOLDER, with the genuine programs: ${files.join(', ')}\n`);
  process.exit(2);
}
const cli = ['--conditions=@drover/source', resolve(import.meta.dirname, '../../../apps/cli/src/main.ts')];
const [agentSide, clientSide] = [`drover-a${process.pid}`, `drover-c${process.pid}`];
const agentAddress = '10.77.0.1';
const units = ['unit-1', 'unit-2', 'unit-3', 'unit-4', 'unit-5'];

/** A program of an experiment, for both directions: asked for its requirements, or told its experiment and its pipe. */
const experimentProgram = `#!/bin/bash
name=$(basename "$1" .simion.exp)
if [ "$2" = -requirements ]; then
  echo "<Requirements><Input-File>../bin/shared.txt</Input-File><Output-File>../experiments/e/$name.log</Output-File><NumCPUCores>1</NumCPUCores></Requirements>"
  exit 0
fi
pipe=/tmp/\${2#-pipe=}
for i in $(seq 50); do [ -p "$pipe" ] && break; sleep 0.1; done
exec 3>"$pipe"
for p in 20 40 60 80; do printf '<Progress>%s.000000</Progress>\\0' $p >&3; sleep 0.05; done
cat "$1" shared.txt > "$(dirname "$1")/$name.log"
printf '<End></End>\\0' >&3
`;

/** A program without a pipe: the pipes of Mono are sockets, which no shell can open. */
const plainProgram = '#!/bin/sh\nmkdir -p out && printf "%s\\n" "$@" > out/"$1"\n';

const children = new Set<ChildProcess>();
const folder = await mkdtemp(join(tmpdir(), 'drover-genuine-'));
const failures: string[] = [];
try {
  for (const file of files) await access(join(programs, file));
  joinNamespaces();
  await genuineClientToUs();
  await usToGenuineAgent();
} finally {
  for (const child of children) child.kill('SIGKILL');
  for (const name of [agentSide, clientSide]) ip('netns', 'del', name);
  await rm(folder, { recursive: true, force: true });
}
process.stdout.write(failures.length === 0 ? 'all is well\n' : `${failures.join('\n')}\n`);
process.exitCode = failures.length === 0 ? 0 : 1;

async function genuineClientToUs(): Promise<void> {
  const bin = join(folder, 'client/bin');
  const experiments = join(folder, 'client/experiments');
  await mkdir(bin, { recursive: true });
  await mkdir(join(experiments, 'e'), { recursive: true });
  for (const file of ['BadgerConsole.exe', 'Herd.dll']) await copyFile(join(programs!, file), join(bin, file));
  await writeProgram(join(bin, 'app.sh'), experimentProgram);
  await writeFile(join(bin, 'shared.txt'), 'shared\n');
  for (const unit of units) await writeFile(join(experiments, 'e', `${unit}.simion.exp`), `${unit}\n`);
  const listed = units.map((unit) => `<EXPERIMENTAL-UNIT Name="${unit}" Path="e/${unit}.simion.exp"/>`);
  await writeFile(
    join(experiments, 'batch.exp-batch'),
    '<EXPERIMENT-BATCH FileVersion="1"><EXPERIMENT Name="e"><Version Name="x"><Exe>../bin/app.sh</Exe><Requirements>' +
      `<Architecture>Linux-64</Architecture></Requirements></Version>${listed.join('')}</EXPERIMENT></EXPERIMENT-BATCH>`,
  );
  const legacy = ['--herd-legacy-enabled', '--herd-legacy-networks', '10.77.0.0/24'];
  const agent = start(agentSide, [process.execPath, ...cli, 'agent', ...legacy, '--state-dir', join(folder, 'state')]);
  await untilListening();
  // It asks its terminal how wide it is.
  const line = `stty cols 120 rows 40; TERM=xterm exec ip netns exec ${clientSide} mono BadgerConsole.exe -batch=../experiments/batch.exp-batch`;
  await ended(spawn('script', ['-qec', line, '/dev/null'], { cwd: bin, stdio: ['ignore', 'ignore', 'inherit'] }));
  for (const unit of units) {
    const text = await readFile(join(experiments, 'e', `${unit}.log`), 'utf8').catch(() => 'nothing');
    expectSame(`genuine client, our agent: ${unit}`, text, `${unit}\nshared\n`);
  }
  agent.kill('SIGTERM');
  await ended(agent);
}

async function usToGenuineAgent(): Promise<void> {
  const home = join(folder, 'agent');
  await mkdir(home);
  for (const file of ['HerdAgent.exe', 'Herd.dll']) await copyFile(join(programs!, file), join(home, file));
  const lock = join(folder, 'agent.lock');
  start(agentSide, ['mono-service', `-d:${home}`, `-l:${lock}`, '--no-daemon', 'HerdAgent.exe']);
  await untilListening();
  await writeProgram(join(folder, 'plain.sh'), plainProgram);
  const tasks = units.map((name) => ({
    name,
    exe: './plain.sh',
    args: [name, 'a b', `it's`, 'back\\slash', ''],
    pipe: 'none',
    outputs: [`out/${name}`],
  }));
  // JSON is YAML.
  await writeFile(join(folder, 'job.yaml'), JSON.stringify({ name: 'genuine', inputs: ['plain.sh'], tasks }));
  const into = join(folder, 'results');
  const ours = (...args: readonly string[]): ChildProcess =>
    start(clientSide, [process.execPath, ...cli, ...args], { ...process.env, HOME: folder, XDG_CACHE_HOME: folder });
  const discovered = await ended(ours('discover', '--legacy'));
  expectSame('our discover, genuine agent: exit code', String(discovered), '0');
  const ran = await ended(ours('herd', 'run', join(folder, 'job.yaml'), '--legacy', '--all', '--into', into));
  expectSame('our client, genuine agent: exit code', String(ran), '0');
  for (const unit of units) {
    const text = await readFile(join(into, 'out', unit), 'utf8').catch(() => 'nothing');
    expectSame(`our client, genuine agent: ${unit}`, text, `${unit}\na b\nit's\nback\\slash\n\n`);
  }
}

/** Two hosts with a cable between them, and no way out. */
function joinNamespaces(): void {
  const [left, right] = [`dga${process.pid % 1e6}`, `dgc${process.pid % 1e6}`];
  for (const name of [agentSide, clientSide]) ip('netns', 'add', name);
  ip('link', 'add', left, 'type', 'veth', 'peer', 'name', right);
  for (const [link, name, address] of [
    [left, agentSide, agentAddress],
    [right, clientSide, '10.77.0.2'],
  ] as const) {
    ip('link', 'set', link, 'netns', name, 'name', 'eth0');
    ip('-n', name, 'addr', 'add', `${address}/24`, 'brd', '+', 'dev', 'eth0');
    for (const device of ['lo', 'eth0']) ip('-n', name, 'link', 'set', device, 'up');
  }
}

function ip(...args: readonly string[]): void {
  execFileSync('ip', args, { stdio: 'inherit' });
}

function start(namespace: string, command: readonly string[], env = process.env): ChildProcess {
  const child = spawn('ip', ['netns', 'exec', namespace, ...command], { env, stdio: ['ignore', 'inherit', 'inherit'] });
  children.add(child);
  return child;
}

async function ended(child: ChildProcess): Promise<number | null> {
  children.add(child);
  if (child.exitCode === null && child.signalCode === null) {
    await once(child, 'exit', { signal: AbortSignal.timeout(120_000) });
  }
  children.delete(child);
  return child.exitCode;
}

async function untilListening(): Promise<void> {
  for (let attempt = 0; attempt < 300; attempt += 1) {
    const sockets = execFileSync('ip', ['netns', 'exec', agentSide, 'cat', '/proc/net/tcp', '/proc/net/tcp6'], {
      encoding: 'utf8',
    });
    // Port 2335, in state LISTEN.
    if (/:091F [0-9A-F]+:0000 0A/.test(sockets)) return;
    await delay(100);
  }
  throw new Error('no agent listens on TCP port 2335 after 30 s');
}

async function writeProgram(path: string, text: string): Promise<void> {
  await writeFile(path, text);
  await chmod(path, 0o755);
}

function expectSame(what: string, got: string, wanted: string): void {
  if (got === wanted) process.stdout.write(`${what}: ok\n`);
  else failures.push(`${what}: got ${JSON.stringify(got.slice(0, 200))}, wanted ${JSON.stringify(wanted)}`);
}
