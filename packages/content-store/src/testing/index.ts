export { blobPinsCases, type BlobPinsSubject } from './blob-pins-cases.ts';
export { blobUploadsCases, type BlobUploadsSubject } from './blob-uploads-cases.ts';
export { type ComplianceCase } from './compliance-case.ts';
export { contentStoreCases } from './content-store-cases.ts';
export { sampleBytes, sampleText } from './sample-bytes.ts';
