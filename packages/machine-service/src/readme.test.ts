import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

test('the sample of the README runs as it stands', () => {
  const packageDir = new URL('..', import.meta.url);
  const readme = readFileSync(new URL('README.md', packageDir), 'utf8');
  const sample = /```ts\n(.*?)```/s.exec(readme)?.[1] ?? '';
  const args = ['--conditions=@drover/source', '--no-warnings', '--input-type=module-typescript', '-e', sample];
  const said = execFileSync(process.execPath, args, { cwd: packageDir, encoding: 'utf8', timeout: 60_000 });
  expect(said.split('\n')).toEqual([
    'systemd-sysusers /etc/sysusers.d/drover-agent.conf',
    'systemctl daemon-reload',
    'systemctl enable drover-agent.service',
    'systemctl start drover-agent.service',
    '',
  ]);
});
