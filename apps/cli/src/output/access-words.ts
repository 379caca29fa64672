import { Role } from '@drover/control-api';

const roleWords: readonly (readonly [Role, string])[] = [
  [Role.VIEWER, 'viewer'],
  [Role.SUBMITTER, 'submitter'],
  [Role.OPERATOR, 'operator'],
  [Role.ADMIN, 'admin'],
];

/** The words for roles, lowest first. */
export const roleNames: readonly string[] = roleWords.map(([, word]) => word);

/** The word for a role; `none` for none. */
export function roleWord(role: Role): string {
  return roleWords.find(([one]) => one === role)?.[1] ?? 'none';
}

/** The role of a word; unspecified for one that is none. */
export function roleOfWord(word: string): Role {
  return roleWords.find(([, one]) => one === word)?.[0] ?? Role.UNSPECIFIED;
}
