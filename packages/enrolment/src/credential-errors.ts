import { DroverError } from '@drover/lease-kit';

/** `CREDENTIAL_INVALID`: no server of this fleet has signed it, or it says something impossible. */
export function credentialInvalid(cause?: unknown): DroverError {
  return new DroverError({
    code: 'CREDENTIAL_INVALID',
    advice: 'denied',
    message: 'The credential is not one that this fleet has issued. The agent gets another with its key.',
    cause,
  });
}

/** `CREDENTIAL_EXPIRED`: its time is over, or the enrolment has changed since; the agent renews it. */
export function credentialExpired(): DroverError {
  return new DroverError({
    code: 'CREDENTIAL_EXPIRED',
    advice: 'denied',
    message: 'The credential is not valid any more. The agent gets another with its key.',
  });
}

/** `CREDENTIAL_KEY_MISMATCH`: it is bound to a key that the caller has not proved. */
export function credentialKeyMismatch(): DroverError {
  return new DroverError({
    code: 'CREDENTIAL_KEY_MISMATCH',
    advice: 'denied',
    message: 'The credential is bound to another key than the one that signed the proof of possession.',
  });
}

/** `CREDENTIAL_SUPERSEDED`: another machine has been enrolled as this agent. */
export function credentialSuperseded(agentId: string): DroverError {
  return new DroverError({
    code: 'CREDENTIAL_SUPERSEDED',
    advice: 'fenced',
    message: `Another machine has been enrolled as agent ${agentId}; this one is locked out.`,
    details: { agentId },
  });
}

/** `ENROLMENT_REQUIRED`: who merely names itself is no agent here. */
export function enrolmentRequired(agentId: string, why: string): DroverError {
  return new DroverError({
    code: 'ENROLMENT_REQUIRED',
    advice: 'denied',
    message: `Agent ${agentId} shows no credential, and ${why}. Start it with an enrolment token, or with server.enrol and approve it.`,
    details: { agentId },
  });
}

/** `CERTIFICATE_MISMATCH`: the client certificate is that of another agent. */
export function certificateMismatch(agentId: string, names: readonly string[]): DroverError {
  return new DroverError({
    code: 'CERTIFICATE_MISMATCH',
    advice: 'denied',
    message: `The client certificate is for ${names.length === 0 ? 'nobody' : names.join(', ')}, not for agent ${agentId}.`,
    details: { agentId },
  });
}

/** `ENROLMENT_CLOSED`: machines without a token are not let wait. */
export function enrolmentClosed(): DroverError {
  return new DroverError({
    code: 'ENROLMENT_CLOSED',
    advice: 'denied',
    message: 'This fleet enrols machines with a token only (enrolment.anonymous is off).',
  });
}
