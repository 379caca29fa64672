export { createFakeSystemd, type FakeSystemd, type FakeSystemdState, type FakeUnit } from './fake-systemd.ts';
