import { textFaults } from '@drover/job-text';
import { SaxesParser, type SaxesTagPlain } from 'saxes';
import { herdJobBounds } from './herd-job.ts';
import { herdJobFileInvalid } from './job-draft.ts';

/** An element of an XML file. */
export interface XmlElement {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly XmlElement[];
  /** The text in it, without that of its children. */
  readonly text: string;
  /** `file:line:column` of its start. */
  readonly place: string;
}

const depthMax = 16;
const elementsMax = 100_000;

/**
 * Reads an XML 1.0 document to its root. Only the five entities of XML itself are known, a document type is refused, and so are
 * deep nesting and more than 100,000 elements. Throws `HERD_JOB_FILE_INVALID` with file, line and column.
 */
export function xmlElements(text: string, file: string): XmlElement {
  const { jobFileCharactersMax } = herdJobBounds;
  if (text.length > jobFileCharactersMax) {
    const fault = `${file}: has ${text.length} characters; allowed are ${jobFileCharactersMax}`;
    throw textFaults(herdJobFileInvalid, [fault]);
  }
  const parser = new SaxesParser({ position: true, xmlns: false });
  const at = (): string => `${file}:${parser.line}:${parser.columnIndex + 1}`;
  const refuse = (fault: string, place = at()): never => {
    throw textFaults(herdJobFileInvalid, [`${place}: ${fault}`]);
  };
  type Building = XmlElement & { children: XmlElement[]; text: string };
  const open: Building[] = [];
  let root: XmlElement | undefined;
  let count = 0;
  let place = '';
  parser.on('error', (error) => refuse(`is no XML: ${error.message.replace(/^(undefined:)?\d+:\d+: /, '')}`));
  parser.on('doctype', () => refuse('a document type is not allowed'));
  parser.on('opentagstart', ({ name }) => {
    place = `${file}:${parser.line}:${Math.max(1, parser.columnIndex - name.length - 1)}`;
  });
  parser.on('opentag', ({ name, attributes }: SaxesTagPlain) => {
    if (++count > elementsMax) refuse(`holds more than ${elementsMax} elements`);
    if (open.length >= depthMax) refuse(`is nested deeper than ${depthMax} elements`, place);
    const element: Building = { name, attributes: { ...attributes }, children: [], text: '', place };
    open.at(-1)?.children.push(element);
    open.push(element);
  });
  const addText = (more: string): void => {
    const element = open.at(-1);
    if (element !== undefined) element.text += more;
  };
  parser.on('text', addText);
  parser.on('cdata', addText);
  parser.on('closetag', () => {
    const element = open.pop();
    if (open.length === 0) root = element;
  });
  parser.write(text).close();
  return root ?? refuse('has no element');
}

/** Checks an element's attributes and children against what is known; answers faults with their places. */
export function unknownParts(
  element: XmlElement,
  known: { readonly attributes: readonly string[]; readonly children: readonly string[] },
): readonly string[] {
  const allowed = (names: readonly string[]): string => (names.length === 0 ? 'none' : names.join(', '));
  return [
    ...Object.keys(element.attributes)
      .filter((name) => !known.attributes.includes(name))
      .map((name) => {
        const text = `${element.name} has an attribute ${name}, which is not known here`;
        return `${element.place}: ${text}; allowed: ${allowed(known.attributes)}`;
      }),
    ...element.children
      .filter(({ name }) => !known.children.includes(name))
      .map((child) => {
        const text = `${child.name} is not known in ${element.name}`;
        return `${child.place}: ${text}; allowed: ${allowed(known.children)}`;
      }),
  ];
}
