import { principalName } from '@drover/lease-kit';
import { checkPage } from '../check-fleet-input.ts';
import {
  auditedWorkspace,
  checkWorkspaceBeside,
  checkWorkspaceDraft,
  workspaceKey,
  workspaceNotFound,
} from '../workspace-set.ts';
import type { WorkspaceRecord, WorkspaceStore } from '../workspace-store.ts';
import type { MemoryAudit } from './memory-audit-store.ts';
import type { MemoryData } from './memory-data.ts';

/** The workspaces of a memory store. */
export function memoryWorkspaceStore(data: MemoryData, audit: MemoryAudit): WorkspaceStore {
  const workspaces = new Map<string, WorkspaceRecord>();
  return {
    workspaces: async (page, context) => {
      data.enter(context);
      checkPage(page);
      const after = workspaceKey(page.after ?? '');
      return [...workspaces]
        .filter(([key]) => key > after)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .slice(0, page.limit)
        .map(([, record]) => record);
    },
    putWorkspace: async (draft, context) => {
      data.enter(context);
      checkWorkspaceDraft(draft);
      checkWorkspaceBeside(draft, [...workspaces.values()]);
      const key = workspaceKey(draft.name);
      const before = auditedWorkspace(workspaces.get(key));
      const changedBy = principalName(context.principal);
      const record = { ...draft, changedBy, changedAtMs: data.clock.wallMs() };
      workspaces.set(key, record);
      audit.write(context, {
        subject: `workspace:${draft.name}`,
        ...(before === undefined ? {} : { before }),
        after: auditedWorkspace(draft)!,
      });
      return record;
    },
    removeWorkspace: async (name, context) => {
      data.enter(context);
      const record = workspaces.get(workspaceKey(name));
      if (record === undefined) throw workspaceNotFound(name);
      workspaces.delete(workspaceKey(name));
      audit.write(context, { subject: `workspace:${record.name}`, before: auditedWorkspace(record)! });
    },
  };
}
