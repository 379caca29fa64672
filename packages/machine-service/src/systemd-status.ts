import type { ServiceStatus } from './service-manager.ts';
import { unitOrigin } from './systemd-unit.ts';
import { execWordsOf, settingWordsOf } from './systemd-words.ts';

/** What `systemctl show` tells of a unit, by the names of org.freedesktop.systemd1(5). */
export type UnitProperties = Readonly<Record<string, string | undefined>>;

/** The state of a service from what systemd shows and the text of its unit. */
export function serviceStatusOf(
  name: string,
  shown: UnitProperties,
  unit: string,
  lines: readonly string[],
): ServiceStatus {
  const sinceMs = timestampMs(shown['StateChangeTimestamp']);
  const pid = Number(shown['MainPID'] ?? 0);
  const says = shown['StatusText'] ?? '';
  const restarts = Number(shown['NRestarts'] ?? Number.NaN);
  const hasEnded = pid === 0 && (shown['ExecMainExitTimestamp'] ?? '') !== '';
  return {
    name,
    state: shown['ActiveState'] ?? 'unknown',
    detail: detailOf(shown),
    enabled: shown['UnitFileState'] === 'enabled',
    ours: unitOrigin(unit) !== 'foreign',
    files: [shown['FragmentPath'] ?? '', ...(shown['DropInPaths'] ?? '').split(' ')].filter((path) => path !== ''),
    command: execWordsOf(settingsOf(unit, 'ExecStart')[0] ?? ''),
    environment: Object.fromEntries(
      settingsOf(unit, 'Environment')
        .flatMap(settingWordsOf)
        .map((word) => [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)]),
    ),
    lines,
    ...(pid > 0 ? { pid } : {}),
    ...(sinceMs === undefined ? {} : { sinceMs }),
    // What it said before it ended is of no use.
    ...(says === '' || pid === 0 ? {} : { says }),
    ...(hasEnded ? { exitCode: Number(shown['ExecMainStatus'] ?? 0) } : {}),
    ...(Number.isNaN(restarts) ? {} : { restarts }),
  };
}

function detailOf({ SubState: sub = '', Result: result = 'success' }: UnitProperties): string {
  return result === 'success' || result === '' ? sub : `${sub}, ${result}`;
}

function settingsOf(unit: string, name: string): string[] {
  return unit.split('\n').flatMap((line) => (line.startsWith(`${name}=`) ? [line.slice(name.length + 1)] : []));
}

/** `Sun 2026-11-22 08:40:00 UTC`, as systemctl writes it with TZ=UTC. */
function timestampMs(text: string | undefined): number | undefined {
  const [, day, time] = /^\w+ (\d{4}-\d{2}-\d{2}) (\d{2}:\d{2}:\d{2}) UTC$/.exec(text ?? '') ?? [];
  return day === undefined ? undefined : Date.parse(`${day}T${time}Z`);
}
