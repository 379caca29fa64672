import type { ServiceStatus } from '@drover/machine-service';
import { configFolder, serviceStateFolder, type AgentService, type ServiceScope } from './agent-service.ts';

/** A service as `status` shows it. */
export function statusLines(status: ServiceStatus): string[] {
  const { name, state, detail, enabled, ours, files, command, pid, sinceMs, says, exitCode, restarts, lines } = status;
  const row = (what: string, text: string | undefined) => (text === undefined ? [] : [`${what.padEnd(10)}${text}`]);
  return [
    [
      `${name} is ${state}`,
      detail === '' ? '' : ` (${detail})`,
      sinceMs === undefined ? '' : ` since ${new Date(sinceMs).toISOString()}`,
      enabled ? '' : ', and not started with the machine',
    ].join(''),
    ...row('says', says),
    ...row('pid', pid === undefined ? undefined : String(pid)),
    ...row('ended', exitCode === undefined ? undefined : `with exit code ${exitCode}`),
    ...row('restarts', restarts === undefined || restarts === 0 ? undefined : String(restarts)),
    ...row('config', configOf(command)),
    ...row('state', stateOf(status)),
    ...row('files', files.join(' ')),
    ...row('by', ours ? undefined : 'somebody else: it was not installed by Drover'),
    ...(lines.length === 0 ? [] : ['last lines of its log:', ...lines.map((line) => `  ${line}`)]),
  ];
}

/** What an operator does after an installation. */
export function nextLines(
  { description, graceMs, stateFolder, callsThisMachine, ports }: AgentService,
  { scope, restartNeeded }: { readonly scope: ServiceScope; readonly restartNeeded: boolean },
): string[] {
  const { name, environmentFile } = description;
  const user = scope === 'user' ? ' --user' : '';
  const restart = scope === 'windows' ? `${name}.exe restart` : `systemctl${user} restart ${name}`;
  const minutes = Math.round(graceMs / 60_000);
  const line = (condition: boolean, text: string) => (condition ? [text] : []);
  return [
    ...line(
      restartNeeded,
      `it goes on as it was until it is restarted: ${restart} (work may end first, for ${minutes} min at most)`,
    ),
    ...line(
      callsThisMachine,
      'it calls a server on this machine: --server-urls, or server.urls in a file for --config, names another',
    ),
    ...line(
      environmentFile !== undefined,
      `secrets such as DROVER_AGENT_SERVER_ENROLMENT_TOKEN=… go into ${environmentFile ?? ''}, mode 600`,
    ),
    ...line(
      scope === 'windows',
      `it runs as LocalService, who must be let write: icacls "${stateFolder}" /grant "LOCAL SERVICE:(OI)(CI)M"`,
    ),
    ...ports.map(({ protocol, port }) =>
      scope === 'windows'
        ? `let the herd in: netsh advfirewall firewall add rule name="${name} ${protocol}" dir=in action=allow protocol=${protocol} localport=${port}`
        : `let the herd in, if there is a firewall: ${protocol} port ${port}`,
    ),
    ...line(scope === 'user', 'it runs while you are logged in; "loginctl enable-linger" keeps it afterwards'),
    `look at it: drover agent service status${user}${name === 'drover-agent' ? '' : ` --name ${name}`}`,
  ];
}

/** What stays after a service was removed. */
export function keptLines(status: ServiceStatus, scope: ServiceScope): string[] {
  const config = configOf(status.command);
  return [
    `kept: ${stateOf(status) ?? serviceStateFolder(status.name, scope)} (who the agent is, its journal, its work)`,
    ...(scope === 'system' ? [`kept: /var/log/${status.name}, and the user that it ran as`] : []),
    `kept: ${config ?? configFolder(scope)}`,
    'the fleet forgets the agent with: drover agents remove ID',
  ];
}

function configOf(command: readonly string[]): string | undefined {
  const at = command.indexOf('--config');
  return at < 0 ? undefined : command[at + 1];
}

function stateOf({ environment }: ServiceStatus): string | undefined {
  return environment['DROVER_AGENT_STATE_DIR'];
}
