import type { ArrivingCall, Caller, CredentialVerifier } from '@drover/access';
import { EnrolmentAdmission, EnrolmentAuthority } from '@drover/enrolment';
import { EnrolmentService } from '@drover/enrolment-protocol';
import type { Logger } from '@drover/lease-kit';
import type { DroverStore } from '@drover/lease-store';
import type { ServerConfig } from './server-config.ts';

/** How a server knows its agents. */
export interface ServerEnrolment extends Disposable {
  readonly authority: EnrolmentAuthority;
  readonly admission: EnrolmentAdmission;
  /** For the gate: what agents show. */
  readonly verifier: CredentialVerifier;
}

/** Makes what a configuration says about enrolment. Disposing stops listening for revocations. */
export function createServerEnrolment(
  { enrolment }: ServerConfig,
  { store, logger }: { readonly store: Pick<DroverStore, 'enrolments' | 'signals'>; readonly logger: Logger },
): ServerEnrolment {
  const { credential_lifetime, key_lifetime, anonymous, required, authorities, seal_secret } = enrolment;
  const authority = new EnrolmentAuthority(
    {
      credentialMs: credential_lifetime,
      keyRotateMs: key_lifetime,
      anonymous,
      authorities,
      ...(seal_secret === undefined ? {} : { sealSecret: seal_secret }),
    },
    { store: store.enrolments, signals: store.signals, logger },
  );
  const admission = new EnrolmentAdmission({ required }, authority);
  return {
    authority,
    admission,
    verifier: agentVerifier(authority),
    [Symbol.dispose]() {
      admission[Symbol.dispose]();
      authority.stop();
    },
  };
}

function agentVerifier(authority: EnrolmentAuthority): CredentialVerifier {
  const callerOf = (call: ArrivingCall, principal: Caller['principal'], credential: string): Caller => ({
    principal,
    address: call.peer.remoteAddress,
    credential,
  });
  return {
    verify(call) {
      const { service, method, header, authority: called = '', peer } = call;
      const agentCall = { service, method, header, authority: called, certificateNames: peer.certificateNames };
      if (service === EnrolmentService.typeName) {
        return authority.proveKey(agentCall).then((principal) => callerOf(call, principal, 'agent key'));
      }
      if (!authority.isShown(header)) return undefined;
      return authority.authenticate(agentCall).then((principal) => callerOf(call, principal, 'agent credential'));
    },
  };
}
