import { parseArgs } from 'node:util';
import { supervise, SupervisorError } from '@drover/agent-supervisor';
import { openServiceNotifier } from '@drover/service-notify';
import manifest from '../package.json' with { type: 'json' };

const help = `Usage: drover-supervisor --home FOLDER -- ARGUMENTS

Keeps one version of the Drover agent running and lets the fleet upgrade it.

  --home FOLDER   the supervisor's own folder; drover bundles install puts the first version there
  --version       print the version of this program
  --help          print this

ARGUMENTS are what the agent is started with, e.g. agent --config /etc/drover/agent.toml
The first SIGTERM or SIGINT drains the agent and ends with it, the second cancels what runs.
`;
/** As in @drover/app-config, which this program does without. */
const exitCodes = { ok: 0, usage: 2, input: 3, internal: 70 } as const;

/** Runs the command line to its end; answers the exit code. */
async function main(argv: readonly string[]): Promise<number> {
  const say = (line: string): void => void process.stderr.write(`drover-supervisor: ${line}\n`);
  const split = argv.indexOf('--');
  const args = split < 0 ? [] : argv.slice(split + 1);
  let home: string | undefined;
  try {
    const { values } = parseArgs({
      args: argv.slice(0, split < 0 ? undefined : split),
      options: { home: { type: 'string' }, help: { type: 'boolean' }, version: { type: 'boolean' } },
    });
    if (values.help === true || values.version === true) {
      process.stdout.write(values.help === true ? help : `${manifest.version}\n`);
      return exitCodes.ok;
    }
    home = values.home;
  } catch (error) {
    say(`${(error as Error).message} (--help tells more)`);
    return exitCodes.usage;
  }
  if (home === undefined || home === '') {
    say('--home FOLDER is missing (--help tells more)');
    return exitCodes.usage;
  }
  await using notifier = openServiceNotifier(
    { env: process.env, pid: process.pid },
    { onFailure: (error) => say(`the service manager cannot be told how this is: ${String(error)}`) },
  );
  const drain = new AbortController();
  const cancel = new AbortController();
  const onSignal = (): void => {
    notifier.stopping('the agent is told to end');
    (drain.signal.aborted ? cancel : drain).abort();
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  try {
    const onRunning = (running: string): void => notifier.ready(`runs ${running}`);
    return await supervise({ home, args }, { say, onRunning, drain: drain.signal, cancel: cancel.signal });
  } catch (error) {
    if (error instanceof SupervisorError) {
      say(`${error.message} (${error.code})`);
      return exitCodes.input;
    }
    say(error instanceof Error ? (error.stack ?? error.message) : String(error));
    return exitCodes.internal;
  }
}

process.exitCode = await main(process.argv.slice(2));
