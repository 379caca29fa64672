import { Role as WireRole } from '@drover/control-api';
import { roles, type Role } from './role.ts';

const wireRoles: Readonly<Record<Role, WireRole>> = {
  viewer: WireRole.VIEWER,
  submitter: WireRole.SUBMITTER,
  operator: WireRole.OPERATOR,
  admin: WireRole.ADMIN,
};

/** A role as it crosses the wire; unspecified for none. */
export function wireRole(role: Role | undefined): WireRole {
  return role === undefined ? WireRole.UNSPECIFIED : wireRoles[role];
}

/** A role from the wire; undefined for none, and for one that this version does not know. */
export function roleFromWire(role: WireRole): Role | undefined {
  return roles.find((one) => wireRoles[one] === role);
}
