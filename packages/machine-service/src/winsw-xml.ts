import { createHash } from 'node:crypto';
import { checkServiceText, type ServiceDescription } from './service-description.ts';

/** First line of a description that an installation wrote; a digest of what follows stands behind it. */
const marker = '<!-- Installed by Drover, sha256:';

/** The XML by which WinSW runs a program as a Windows service. */
export function winswXml(service: ServiceDescription): string {
  const [executable, ...args] = service.command;
  const stopSeconds = Math.ceil(service.stopWithinMs / 1_000);
  const body = [
    '<service>',
    element('id', service.name),
    element('name', service.title),
    element('description', service.title),
    element('executable', executable),
    element('arguments', args.map(windowsArgument).join(' ')),
    ...Object.entries(service.environment).map(
      ([name, value]) => `  <env name="${escaped(name)}" value="${escaped(value)}"/>`,
    ),
    element('workingdirectory', '%BASE%'),
    '  <!-- Started with the machine, when the network is there. -->',
    element('startmode', 'Automatic'),
    '  <delayedAutoStart>true</delayedAutoStart>',
    element('depend', 'Tcpip'),
    '  <serviceaccount>',
    '    <username>NT AUTHORITY\\LocalService</username>',
    '  </serviceaccount>',
    '  <!-- WinSW sends Ctrl+C, which drains, and ends what is left after this time. -->',
    element('stoptimeout', `${stopSeconds} sec`),
    '  <!-- Any exit code but 0 starts it again; the last delay repeats. -->',
    '  <onfailure action="restart" delay="5 sec"/>',
    '  <onfailure action="restart" delay="1 min"/>',
    '  <onfailure action="restart" delay="10 min"/>',
    '  <resetfailure>1 hour</resetfailure>',
    '  <log mode="roll-by-size">',
    '    <sizeThreshold>65536</sizeThreshold>',
    '    <keepFiles>14</keepFiles>',
    '  </log>',
    '</service>',
    '',
  ].join('\r\n');
  const digest = createHash('sha256').update(body).digest('hex');
  return `${marker}${digest} version ${service.version.replaceAll('--', '')} -->\r\n${body}`;
}

/** What is known of a description from its text. */
export function winswOrigin(text: string): 'ours' | 'changed' | 'foreign' {
  if (!text.startsWith(marker)) return 'foreign';
  const end = text.indexOf('\n');
  const digest = text.slice(marker.length).split(' ')[0];
  return digest ===
    createHash('sha256')
      .update(text.slice(end + 1))
      .digest('hex')
    ? 'ours'
    : 'changed';
}

/** The program and its arguments' line, as {@link winswXml} wrote them. */
export function winswCommand(text: string): string[] {
  const of = (name: string): string[] => {
    const found = new RegExp(`<${name}>([^<]*)</${name}>`).exec(text)?.[1];
    return found === undefined || found === '' ? [] : [unescaped(found)];
  };
  return [...of('executable'), ...of('arguments')];
}

function element(name: string, text: string): string {
  return `  <${name}>${escaped(text)}</${name}>`;
}

const entities = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' } as const;

function escaped(text: string): string {
  checkServiceText('a value of the service', text);
  return text.replace(/[&<>"]/g, (character) => entities[character as keyof typeof entities]);
}

function unescaped(text: string): string {
  return text.replace(/&(?:amp|lt|gt|quot);/g, (entity) => {
    return Object.entries(entities).find(([, name]) => name === entity)![0];
  });
}

/** One argument as CommandLineToArgvW reads it: backslashes count only in front of a quotation mark. */
export function windowsArgument(argument: string): string {
  if (argument !== '' && !/[\s"]/.test(argument)) return argument;
  return `"${argument.replace(/(\\*)"/g, '$1$1\\"').replace(/(\\+)$/, '$1$1')}"`;
}
