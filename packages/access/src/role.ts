/** What a person or program may do; each role may do what those before it may. */
export const roles = ['viewer', 'submitter', 'operator', 'admin'] as const;

/** `viewer` looks, `submitter` also submits and cancels work, `operator` also manages machines, `admin` also manages access. */
export type Role = (typeof roles)[number];

/** True if whoever has `role` may do what `needed` may. */
export function roleAllows(role: Role, needed: Role): boolean {
  return roles.indexOf(role) >= roles.indexOf(needed);
}

/** True for a word that is a {@link Role}. */
export function isRole(word: string): word is Role {
  return (roles as readonly string[]).includes(word);
}
