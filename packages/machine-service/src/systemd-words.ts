import { checkServiceText } from './service-description.ts';

/** A word of `ExecStart=` as systemd.service(5) reads it: neither specifiers nor variables are expanded. */
export function execWord(word: string): string {
  return quoted('a word of the command', word, (text) => text.replaceAll('%', '%%').replaceAll('$', '$$$$'));
}

/** A word of a setting that expands specifiers alone, such as `Environment=` and `ReadWritePaths=`. */
export function settingWord(word: string): string {
  return quoted('a word of the unit', word, (text) => text.replaceAll('%', '%%'));
}

function quoted(what: string, word: string, escape: (text: string) => string): string {
  checkServiceText(what, word);
  const escaped = escape(word);
  if (/^[\w@%+=:,./$-]+$/.test(escaped)) return escaped;
  return `"${escaped.replace(/["\\]/g, '\\$&')}"`;
}

/** The words of a line that {@link execWord} wrote. */
export function execWordsOf(line: string): string[] {
  return settingWordsOf(line).map((word) => word.replaceAll('$$', '$'));
}

/** The words of a line that {@link settingWord} wrote. */
export function settingWordsOf(line: string): string[] {
  const words = line.match(/"(?:\\.|[^"\\])*"|\S+/g) ?? [];
  return words.map((word) => {
    const plain = word.startsWith('"') ? word.slice(1, -1).replace(/\\(.)/g, '$1') : word;
    return plain.replaceAll('%%', '%');
  });
}
