import { PipeKind } from '@drover/herd-protocol';
import { textFaults } from '@drover/job-text';
import { dirname } from 'node:path/posix';
import { argumentsFromText } from './arguments-from-text.ts';
import { herdJobFileInvalid, type DraftInput, type DraftOutput, type DraftTask, type JobDraft } from './job-draft.ts';
import { originalName } from './original-name.ts';
import { unknownParts, xmlElements, type XmlElement } from './xml-elements.ts';

const known: Readonly<Record<string, { attributes: readonly string[]; children: readonly string[] }>> = {
  Job: { attributes: ['Name'], children: ['Task', 'Input', 'Output', 'Requirements'] },
  Task: { attributes: ['Name', 'Exe', 'Arguments', 'Pipe'], children: [] },
  Input: { attributes: ['Name', 'Rename'], children: [] },
  Output: { attributes: ['Name', 'Rename'], children: [] },
  Requirements: { attributes: ['File'], children: [] },
};

/**
 * Reads a job of the original herd as a file: `<Job Name>` with `Task`, `Input` and `Output` as they are sent, but with names
 * of files in place of their bytes, proper XML escapes, `Rename` as in requirement files, and `<Requirements File>`. Names
 * are relative to the file; in the job's folder, and in that of outputs, they lose the dots and slashes that they begin with.
 * A task's working folder is that of its program. Throws `HERD_JOB_FILE_INVALID` with file, line and column of each fault.
 */
export function draftFromXml(text: string, file: string): JobDraft {
  const root = xmlElements(text, file);
  if (root.name !== 'Job') {
    throw textFaults(herdJobFileInvalid, [`${root.place}: is ${root.name}; a job file begins with Job`]);
  }
  const faults = [root, ...root.children].flatMap((element) => {
    const parts = known[element.name];
    return parts === undefined ? [] : unknownParts(element, parts);
  });
  const children = (name: string): readonly XmlElement[] => root.children.filter((child) => child.name === name);
  const required = (element: XmlElement, name: string): string => {
    const value = element.attributes[name] ?? '';
    if (value === '') faults.push(`${element.place}: ${element.name} has no ${name}`);
    return value;
  };
  const inFolder = (name: string, place: string): string => {
    const path = originalName(name);
    if (path.ok) return path.path;
    faults.push(`${place}: ${path.message}`);
    return name;
  };

  const inputs = children('Input').map((element): DraftInput => {
    const from = required(element, 'Name');
    const to = inFolder(element.attributes['Rename'] ?? from, element.place);
    return { from, to, original: true, place: element.place };
  });
  const outputs = children('Output').map((element): DraftOutput => {
    const name = required(element, 'Name');
    const from = inFolder(element.attributes['Rename'] ?? name, element.place);
    return { from, to: inFolder(name, element.place), place: element.place };
  });
  const tasks = children('Task').map((element): DraftTask => {
    const { place } = element;
    const exe = inFolder(required(element, 'Exe'), place);
    const { arguments: args, fault } = argumentsFromText(element.attributes['Arguments'] ?? '');
    if (fault !== undefined) faults.push(`${place}: Arguments ${fault}`);
    const pipe = element.attributes['Pipe'] ?? '';
    const folder = dirname(exe);
    return {
      name: required(element, 'Name'),
      // A name without a folder would be looked for on the agent's PATH.
      exe: folder === '.' ? `./${exe}` : exe,
      arguments: args,
      environment: {},
      workingFolder: folder === '.' ? '' : folder,
      ...(pipe === '' ? {} : { pipe: { name: pipe, kind: PipeKind.FIFO } }),
      retries: 0,
      inputs: [],
      outputs: [],
      requirements: [],
      place,
    };
  });
  const requirements = children('Requirements').map((element) => ({
    file: required(element, 'File'),
    place: element.place,
  }));
  const name = root.attributes['Name'] ?? '';
  if (tasks.length === 0) faults.push(`${root.place}: Job has no Task; allowed are 1 to 10000`);
  if (faults.length > 0) throw textFaults(herdJobFileInvalid, faults);
  return { name: name === '' ? file : name, inputs, outputs, requirements, tasks, rename: new Map() };
}
