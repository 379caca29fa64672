/**
 * Loaded before a launched command: when the launcher is gone (killed, so that it could pass no signal on), the command
 * gets the SIGTERM that it would have been sent.
 */
if (process.channel !== undefined) {
  process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
  // Listening must not keep a command alive that has nothing left to do.
  process.channel.unref();
}
