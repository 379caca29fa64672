import { createHash } from 'node:crypto';
import type { ServiceDescription } from './service-description.ts';
import { execWord, settingWord } from './systemd-words.ts';

/** Which manager a unit is for: that of the machine, or that of one user. */
export type SystemdScope = 'system' | 'user';

/** Who a unit of the machine runs as. */
export interface UnitOptions {
  readonly scope: SystemdScope;
  /** A user of the machine; of no meaning to a user's own manager. */
  readonly user: string;
}

/** First word of a unit that an installation wrote; a digest of what follows stands behind it. */
const marker = '# Installed by Drover, sha256:';

/** The text of the unit of a service (systemd.service(5)), by which an installation knows it again. */
export function unitText(service: ServiceDescription, options: UnitOptions): string {
  const body = [
    '# What is changed here is lost with the next installation: put it into a drop-in, with "systemctl edit".',
    '[Unit]',
    `Description=${service.title.replaceAll('%', '%%')}`,
    ...(options.scope === 'system' ? ['Wants=network-online.target', 'After=network-online.target'] : []),
    '# It comes back for as long as the machine runs.',
    'StartLimitIntervalSec=0',
    '',
    '[Service]',
    ...processLines(service),
    ...(options.scope === 'system' ? folderLines(service, options.user) : []),
    ...workLines,
    ...(options.scope === 'system' ? systemSandbox(service) : []),
    ...sandbox,
    '',
    '[Install]',
    `WantedBy=${options.scope === 'system' ? 'multi-user.target' : 'default.target'}`,
    '',
  ].join('\n');
  return `${marker}${digestOf(body)} version ${service.version}\n${body}`;
}

/** What is known of a unit from its text. */
export function unitOrigin(text: string): 'ours' | 'changed' | 'foreign' {
  if (!text.startsWith(marker)) return 'foreign';
  const end = text.indexOf('\n');
  const digest = text.slice(marker.length, end).split(' ')[0];
  return digest === digestOf(text.slice(end + 1)) ? 'ours' : 'changed';
}

function digestOf(body: string): string {
  return createHash('sha256').update(body).digest('hex');
}

function processLines(service: ServiceDescription): string[] {
  const { command, environment, environmentFile, finalExitCodes, cleanExitCodes } = service;
  const codes = (name: string, list: readonly number[]) => (list.length === 0 ? [] : [`${name}=${list.join(' ')}`]);
  return [
    '# Ready when it says so; one that hangs is started again.',
    'Type=notify',
    'NotifyAccess=all',
    'TimeoutStartSec=5min',
    'WatchdogSec=2min',
    `ExecStart=${command.map(execWord).join(' ')}`,
    ...(service.reloads ? ['ExecReload=/bin/kill -HUP $MAINPID'] : []),
    ...Object.entries(environment).map(([name, value]) => `Environment=${settingWord(`${name}=${value}`)}`),
    ...(environmentFile === undefined ? [] : [`EnvironmentFile=-${environmentFile.replaceAll('%', '%%')}`]),
    `SyslogIdentifier=${service.name}`,
    '# SIGTERM goes to the main process alone: it lets what runs end. Whatever is left then is killed.',
    'KillMode=mixed',
    `TimeoutStopSec=${Math.ceil(service.stopWithinMs / 1_000)}s`,
    'Restart=on-failure',
    'RestartSec=5s',
    ...codes('RestartPreventExitStatus', finalExitCodes),
    ...codes('SuccessExitStatus', cleanExitCodes),
  ];
}

function folderLines({ name }: ServiceDescription, user: string): string[] {
  return [
    `User=${user}`,
    `StateDirectory=${name}`,
    'StateDirectoryMode=0750',
    `LogsDirectory=${name}`,
    'LogsDirectoryMode=0750',
    `WorkingDirectory=/var/lib/${name}`,
  ];
}

/** What the programs that it runs need of the manager. */
const workLines = [
  '# Control groups of its own for what it runs; one of those that runs out of memory takes nothing else along.',
  'Delegate=yes',
  'OOMPolicy=continue',
  'TasksMax=50%',
];

function systemSandbox({ readsHomes, writableFolders }: ServiceDescription): string[] {
  return [
    '# All file systems are read-only but its own folders, and /tmp is its own.',
    'ProtectSystem=strict',
    `ProtectHome=${readsHomes ? 'read-only' : 'yes'}`,
    ...writableFolders.map((folder) => `ReadWritePaths=${settingWord(`-${folder}`)}`),
    'PrivateTmp=yes',
    '# No rights beyond those of its user. Devices are open to whom their groups let in: ProtectClock= would close them.',
    'CapabilityBoundingSet=',
    'AmbientCapabilities=',
    'ProtectKernelTunables=yes',
    'ProtectKernelModules=yes',
    'ProtectKernelLogs=yes',
    'ProtectProc=invisible',
    'RemoveIPC=yes',
  ];
}

/** What a user's own manager can do as well. */
const sandbox = [
  'NoNewPrivileges=yes',
  'RestrictSUIDSGID=yes',
  'RestrictRealtime=yes',
  'RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK',
  '# Calls that belong to who runs the machine. They fail with EPERM, as they would without rights.',
  'SystemCallFilter=~@clock @module @raw-io @reboot @swap @obsolete',
  'SystemCallErrorNumber=EPERM',
];
