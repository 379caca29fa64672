import { byAgents, byAnyone, change, read, store, type RpcTable } from './rpc-rule.ts';

/**
 * Who may call what: the one table. A server does not start with a method that has no row, and a test calls every method in
 * every role.
 *
 * A new method: one row. `read(role)` changes nothing; `change(role, action)` is written to the audit; `byAgents` is for agents
 * alone. With `scoped: true` the method itself keeps to `callerFrom(context.values).pools`; without it, whoever has a scope is
 * refused.
 */
export const rpcTable: RpcTable = {
  'drover.control.v1.JobService': {
    SubmitJobs: change('submitter', 'job.submit', { scoped: true }),
    GetJob: read('viewer', { scoped: true }),
    ListJobs: read('viewer', { scoped: true }),
    WatchJob: read('viewer', { scoped: true }),
    CancelJob: change('submitter', 'job.cancel', { scoped: true }),
    ReadLog: read('viewer', { scoped: true }),
  },
  'drover.control.v1.FleetService': {
    ListAgents: read('viewer', { scoped: true }),
    ListLeases: read('viewer', { scoped: true }),
    ExplainJob: read('viewer', { scoped: true }),
  },
  'drover.control.v1.AccessService': {
    GetSignIn: byAnyone,
    WhoAmI: read('viewer', { agents: true, scoped: true }),
    CreateToken: change('admin', 'token.create'),
    ListTokens: read('admin'),
    RevokeToken: change('admin', 'token.revoke'),
    ListAudit: read('operator'),
  },
  'drover.control.v1.EnrolmentAdminService': {
    CreateEnrolmentToken: change('operator', 'enrolment-token.create'),
    ListEnrolmentTokens: read('operator'),
    RevokeEnrolmentToken: change('operator', 'enrolment-token.revoke'),
    ListPendingEnrolments: read('operator'),
    ApproveEnrolment: change('operator', 'agent.approve'),
    RejectEnrolment: change('operator', 'agent.reject'),
    RevokeAgent: change('operator', 'agent.revoke'),
    GetEnrolment: read('viewer'),
  },
  // An agent, there, is whoever proves a key; it gets nothing without a token or an operator's approval.
  'drover.enrolment.v1.EnrolmentService': { Enrol: byAgents, RenewCredential: byAgents },
  'drover.control.v1.AgentTaskService': {
    RequestAgentTasks: change('operator', 'agent-task.request', { scoped: true }),
    ListAgentTasks: read('viewer', { scoped: true }),
    WithdrawAgentTasks: change('operator', 'agent-task.withdraw', { scoped: true }),
  },
  'drover.control.v1.WorkspaceService': {
    ListWorkspaces: read('viewer'),
    PutWorkspace: change('operator', 'workspace.put'),
    RemoveWorkspace: change('operator', 'workspace.remove'),
    RequestConform: change('operator', 'agent.conform', { scoped: true }),
  },
  'drover.control.v1.UpgradeService': {
    StartRollout: change('operator', 'rollout.start'),
    ListRollouts: read('viewer'),
    ListRolloutAgents: read('viewer'),
    HaltRollout: change('operator', 'rollout.halt'),
    ResumeRollout: change('operator', 'rollout.resume'),
    RollBackRollout: change('operator', 'rollout.roll-back'),
  },
  'drover.control.v1.AgentService': {
    GetAgent: read('viewer'),
    SetAgentsEnabled: change('operator', 'agent.enable'),
    SetAgentsBusy: change('operator', 'agent.busy'),
    RemoveAgent: change('operator', 'agent.remove'),
    AddDowntime: change('operator', 'downtime.add'),
    ListDowntimes: read('viewer'),
    RemoveDowntime: change('operator', 'downtime.remove'),
  },
  'drover.control.v1.AgentHealthService': {
    ListAgentHealth: read('viewer'),
    GetAgentHealth: read('viewer'),
    ClearAgentHealth: change('operator', 'agent.clear-health'),
  },
  'drover.control.v1.PoolService': {
    ListPools: read('viewer'),
    GetPool: read('viewer'),
    CreatePool: change('operator', 'pool.create'),
    UpdatePool: change('operator', 'pool.update'),
    DeletePool: change('operator', 'pool.delete'),
    GetScaleHints: read('viewer'),
  },
  'drover.control.v1.CompileAdminService': {
    ListCompileTenants: read('operator'),
    PutCompileTenant: change('admin', 'compile-tenant.put'),
    RemoveCompileTenant: change('admin', 'compile-tenant.remove'),
    ListCompileWorkers: read('viewer'),
    ListCompiles: read('operator'),
  },
  // An agent, there, is a worker: who opens a session shows the worker token, and then the session. Who reserves must belong to
  // a tenant, whatever the role.
  'drover.compile.v1.SchedulerService': {
    OpenWorkerSession: byAgents,
    RegisterWorker: byAgents,
    Heartbeat: byAgents,
    RecordCompiles: byAgents,
    ReserveCompiles: read('submitter', { scoped: true }),
    GetTenantSignIn: byAnyone,
  },
  'drover.lease.v1.LeaseService': {
    OpenSession: byAgents,
    ExchangeLeases: byAgents,
    PollLeases: byAgents,
    AppendLog: byAgents,
    FetchSecrets: byAgents,
  },
  // A digest cannot be guessed: who knows one has the blob, or was told of it by a job that he may see.
  'build.bazel.remote.execution.v2.ContentAddressableStorage': {
    FindMissingBlobs: read('submitter', { agents: true, scoped: true }),
    BatchUpdateBlobs: store('submitter'),
    BatchReadBlobs: read('viewer', { agents: true, scoped: true }),
    GetTree: read('viewer', { agents: true, scoped: true }),
  },
  'build.bazel.remote.execution.v2.Capabilities': {
    GetCapabilities: read('viewer', { agents: true, scoped: true }),
  },
  'google.bytestream.ByteStream': {
    Read: read('viewer', { agents: true, scoped: true }),
    Write: store('submitter'),
    QueryWriteStatus: read('submitter', { agents: true, scoped: true }),
  },
  // Probes of load balancers and orchestrators have no credentials.
  'grpc.health.v1.Health': { Check: byAnyone, List: byAnyone, Watch: byAnyone },
  'grpc.reflection.v1.ServerReflection': { ServerReflectionInfo: read('viewer', { agents: true, scoped: true }) },
  'grpc.reflection.v1alpha.ServerReflection': { ServerReflectionInfo: read('viewer', { agents: true, scoped: true }) },
};
