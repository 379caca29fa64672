/** Variables of the agent that every task gets: what programs need to find others, their folders, and the user's language. */
const passed = ['PATH', 'HOME', 'USER', 'LOGNAME', 'SHELL', 'LANG', 'LANGUAGE', 'TZ', 'TMPDIR'];
const passedOnWindows = ['SYSTEMROOT', 'COMSPEC', 'PATHEXT', 'TEMP', 'TMP', 'USERPROFILE', 'APPDATA', 'LOCALAPPDATA'];

/** The environment that tasks start from. Nothing else of the agent's own is passed on: it may hold secrets. */
export function taskEnvironment(own: NodeJS.ProcessEnv): Record<string, string> {
  const names = new Set(process.platform === 'win32' ? [...passed, ...passedOnWindows] : passed);
  return Object.fromEntries(
    Object.entries(own).filter(
      (entry): entry is [string, string] =>
        entry[1] !== undefined && (names.has(entry[0].toUpperCase()) || entry[0].startsWith('LC_')),
    ),
  );
}
