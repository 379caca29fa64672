import { principalName } from '@drover/lease-kit';
import {
  auditedWorkspace,
  checkPage,
  checkWorkspaceBeside,
  checkWorkspaceDraft,
  workspaceKey,
  workspaceLimits,
  workspaceNotFound,
  type StoreContext,
  type WorkspaceDraft,
  type WorkspaceRecord,
} from '@drover/lease-store';
import type { AuditLines } from './audit-lines.ts';
import { statement, type Session, type Statement } from './internal/database.ts';

interface WorkspaceRow {
  readonly name: string;
  readonly definition: string;
  readonly changed_by: string;
  readonly changed_ms: number;
}

const columns = `name, definition::text as definition, changed_by,
  floor(extract(epoch from changed_at) * 1000)::bigint as changed_ms`;

/** Workspaces, a row each. Reading is 1 round trip; writing takes a transaction, in which the others are looked at. */
export class WorkspaceRecords {
  readonly #audit: AuditLines;
  readonly #lock: string;
  readonly #page: Statement;
  readonly #put: Statement;
  readonly #remove: Statement;

  constructor(s: string, audit: AuditLines) {
    this.#audit = audit;
    this.#lock = `lock table ${s}.workspaces in share row exclusive mode`;
    this.#page = statement(
      'workspaces_page',
      `select ${columns} from ${s}.workspaces
        where workspace_key collate "C" > $1 order by workspace_key collate "C" limit $2`,
    );
    this.#put = statement(
      'workspace_put',
      `insert into ${s}.workspaces (workspace_key, name, definition, changed_by) values ($1, $2, $3::jsonb, $4)
       on conflict (workspace_key) do update
          set name = excluded.name, definition = excluded.definition, changed_by = excluded.changed_by, changed_at = now()
       returning ${columns}`,
    );
    this.#remove = statement(
      'workspace_remove',
      `delete from ${s}.workspaces where workspace_key = $1 returning ${columns}`,
    );
  }

  async page(session: Session, page: { readonly after?: string; readonly limit: number }): Promise<WorkspaceRecord[]> {
    checkPage(page);
    const values = [workspaceKey(page.after ?? ''), page.limit];
    return (await session.run<WorkspaceRow>(this.#page, values)).map(recordOf);
  }

  /** In a transaction. */
  async put(session: Session, draft: WorkspaceDraft, context: StoreContext): Promise<WorkspaceRecord> {
    checkWorkspaceDraft(draft);
    await session.text(this.#lock);
    const others = await this.page(session, { limit: workspaceLimits.workspacesMax });
    checkWorkspaceBeside(draft, others);
    const key = workspaceKey(draft.name);
    const before = auditedWorkspace(others.find(({ name }) => workspaceKey(name) === key));
    const { name, ...definition } = draft;
    const values = [key, name, JSON.stringify(definition), principalName(context.principal)];
    const [row] = await session.run<WorkspaceRow>(this.#put, values);
    await this.#audit.write(session, context, {
      subject: `workspace:${name}`,
      ...(before === undefined ? {} : { before }),
      after: auditedWorkspace(draft)!,
    });
    return recordOf(row!);
  }

  /** In a transaction. */
  async remove(session: Session, name: string, context: StoreContext): Promise<void> {
    const [row] = await session.run<WorkspaceRow>(this.#remove, [workspaceKey(name)]);
    if (row === undefined) throw workspaceNotFound(name);
    const record = recordOf(row);
    await this.#audit.write(session, context, {
      subject: `workspace:${record.name}`,
      before: auditedWorkspace(record)!,
    });
  }
}

function recordOf({ name, definition, changed_by, changed_ms }: WorkspaceRow): WorkspaceRecord {
  const { pools, provider, source, revision, folder, submodules, sparse, depth, remove } = JSON.parse(
    definition,
  ) as WorkspaceDraft;
  const draft = { name, pools, provider, source, revision, folder, submodules, sparse, depth, remove };
  return { ...draft, changedBy: changed_by, changedAtMs: changed_ms };
}
