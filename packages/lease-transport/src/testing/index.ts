export { startBufferingProxy, type BufferingProxy } from './buffering-proxy.ts';
export { startTcpProxy, type TcpProxy } from './tcp-proxy.ts';
export { startLoopbackServer, type LoopbackServer } from './loopback-server.ts';
