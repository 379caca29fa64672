import { exitCodes, type ExitCode } from '@drover/app-config';
import { isDroverError } from '@drover/lease-kit';

/** Why a server could not be asked, and what the person at the command line can do about it. */
export interface ConnectionFailure {
  readonly code: string;
  readonly text: string;
  readonly exitCode: ExitCode;
}

const credentialCodes: ReadonlySet<string> = new Set(['PRINCIPAL_UNKNOWN', 'TOKEN_EXPIRED', 'TOKEN_REVOKED']);
const untrusted = /self-signed|unable to (?:verify|get)|certificate|altnames|CERT_/i;

/** Recognizes an error that is about the way to the server; undefined for every other one. */
export function connectionFailure(error: unknown): ConnectionFailure | undefined {
  if (!isDroverError(error)) return undefined;
  if (error.code === 'UNAUTHENTICATED') {
    return {
      code: error.code,
      text: 'the server asks who you are: "drover login" signs you in, --token or DROVER_TOKEN says a token',
      exitCode: exitCodes.denied,
    };
  }
  if (credentialCodes.has(error.code)) {
    return {
      code: error.code,
      text: `${error.message} "drover login" signs you in anew, --token or DROVER_TOKEN says another token`,
      exitCode: exitCodes.denied,
    };
  }
  if (error.code.startsWith('RPC_') && untrusted.test(error.message)) {
    return {
      code: 'SERVER_UNTRUSTED',
      text: `the server's certificate is not trusted: ${error.message}; --ca or DROVER_CA names the file of the authority that signed it`,
      exitCode: exitCodes.denied,
    };
  }
  if (error.code !== 'RPC_UNAVAILABLE') return undefined;
  return {
    code: 'SERVER_UNREACHABLE',
    text:
      `no server can be reached: ${error.message}; "drover up" or "drover server" starts one, ` +
      `--server or DROVER_SERVER says where it is`,
    exitCode: exitCodes.unavailable,
  };
}
