/**
 * A page of documentation as a script for a shell: what stands in ```sh blocks is run, what stands in blocks with `file=PATH`
 * is written there, in the order of the page. Blocks marked `norun`, and all others, are for reading.
 */
export function scriptOfPage(markdown: string): string {
  const blocks = [...markdown.matchAll(/^```(\w+)([^\n]*)\n([^]*?)^```$/gm)];
  return blocks
    .map(([, language = '', info = '', text = '']) => {
      const file = /\bfile=(\S+)/.exec(info)?.[1];
      if (file !== undefined) return writeFileScript(file, text);
      return language === 'sh' && !info.includes('norun') ? text : '';
    })
    .join('');
}

const endOfFile = 'END-OF-FILE';

function writeFileScript(file: string, text: string): string {
  const folder = file.includes('/') ? `mkdir -p '${file.slice(0, file.lastIndexOf('/'))}'\n` : '';
  return `${folder}cat >'${file}' <<'${endOfFile}'\n${text}${endOfFile}\n`;
}
