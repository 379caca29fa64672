export { testCertificates, type TestCertificate } from './test-certificates.ts';
