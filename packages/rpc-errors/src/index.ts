export {
  connectErrorFrom,
  detailLengthMax,
  detailsMax,
  errorCodeHeader,
  errorDomain,
  messageLengthMax,
} from './connect-error-from.ts';
export { convertErrors } from './convert-errors.ts';
export { droverErrorFromConnect } from './drover-error-from-connect.ts';
export { errorInterceptor, type CallObserver, type ErrorInterceptorDeps } from './error-interceptor.ts';
export { adviceOf, rpcCodeOf, rpcErrorCode, unauthenticatedCode } from './rpc-error-codes.ts';
