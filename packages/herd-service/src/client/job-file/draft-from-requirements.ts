import { textFaults } from '@drover/job-text';
import { herdJobFileInvalid, type DraftInput, type DraftOutput } from './job-draft.ts';
import { originalName } from './original-name.ts';
import { unknownParts, xmlElements, type XmlElement } from './xml-elements.ts';

/** The original herd's names of platforms. */
const platforms: Readonly<Record<string, string>> = {
  'Win-64': 'win32-x64',
  'Win-32': 'win32-ia32',
  'Linux-64': 'linux-x64',
  'Linux-32': 'linux-ia32',
};

const files = ['Input-File', 'Output-File'];

/**
 * Reads what a program of the original herd prints when it is asked for its requirements: files that it reads and writes,
 * their names in the job's folder (`Rename`), and those of one platform alone (`Target-Platform`). `NumCPUCores` and
 * `Architecture` are read over: a task takes one slot. Throws `HERD_JOB_FILE_INVALID` with file, line and column.
 */
export function draftFromRequirements(
  text: string,
  file: string,
): { readonly inputs: readonly DraftInput[]; readonly outputs: readonly DraftOutput[] } {
  const root = xmlElements(text, file);
  if (root.name !== 'Requirements') {
    const fault = `${root.place}: is ${root.name}; a file of requirements begins with Requirements`;
    throw textFaults(herdJobFileInvalid, [fault]);
  }
  const inputs: DraftInput[] = [];
  const outputs: DraftOutput[] = [];
  const faults: string[] = [];
  const inFolder = (name: string, place: string): string => {
    const path = originalName(name);
    if (path.ok) return path.path;
    faults.push(`${place}: ${path.message}`);
    return name;
  };
  const read = (element: XmlElement, architecture: string | undefined): void => {
    const { place } = element;
    const name = element.text.trim();
    const renamed = inFolder(element.attributes['Rename'] ?? name, place);
    faults.push(...unknownParts(element, { attributes: ['Rename'], children: [] }));
    if (element.name === 'Input-File') {
      inputs.push({ from: name, to: renamed, architecture, original: true, place });
    } else {
      outputs.push({ from: renamed, to: inFolder(name, place), place });
    }
  };
  const others = ['NumCPUCores', 'Architecture'];
  faults.push(...unknownParts(root, { attributes: [], children: [...files, ...others, 'Target-Platform'] }));
  for (const child of root.children) {
    if (files.includes(child.name)) read(child, undefined);
    if (child.name !== 'Target-Platform') continue;
    faults.push(...unknownParts(child, { attributes: ['Name'], children: [...files, ...others] }));
    const platform = child.attributes['Name'] ?? '';
    const architecture = platforms[platform];
    if (architecture === undefined) {
      const allowed = Object.keys(platforms).join(', ');
      faults.push(`${child.place}: ${JSON.stringify(platform)} is no platform; allowed are ${allowed}`);
      continue;
    }
    for (const inner of child.children) if (files.includes(inner.name)) read(inner, architecture);
  }
  if (faults.length > 0) throw textFaults(herdJobFileInvalid, faults);
  return { inputs, outputs };
}
