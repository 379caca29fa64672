/**
 * The program of the spawn helper, for `perl -e`. It reads messages, each a length and as many bytes (see `spawn-helper.ts`),
 * starts what they say, and answers a line for each thing that happens:
 *
 * - `s ID PID STARTTIME`: forked; the start time as in field 22 of proc_pid_stat(5), 0 where there is no `/proc`;
 * - `f ID STAGE ERRNO`: not started; stage `fork`, `cwd`, `output` or `exec`;
 * - `e ID STATUS`: ended, with the status of waitpid(2); for one that said `f` as well;
 * - `m ID ERRNO`: the FIFO was made (0), or why not.
 *
 * When its input ends, the agent is gone: it ends the process groups of its children and goes too.
 */
export const spawnHelperScript = String.raw`
use strict;
use POSIX ();
open(my $out, '>&', \*STDOUT) or exit 1;
pipe(my $wake, my $waker) or exit 1;
$SIG{PIPE} = 'IGNORE';
$SIG{CHLD} = sub { syswrite($waker, 'c') };
my (%ids, $in);
$in = '';
sub say_line { my $line = "$_[0]\n"; syswrite($out, $line) // exit 1 }
sub start_time {
  open(my $stat, '<', "/proc/$_[0]/stat") or return 0;
  my $line = <$stat> // return 0;
  return (split ' ', substr($line, rindex($line, ')') + 2))[19] // 0;
}
sub fail { say_line("f $_[0] $_[1] " . ($! + 0)); POSIX::_exit(127) }
sub start {
  my ($id, $cwd, $log, $exe, $count, @rest) = @_;
  my @args = splice @rest, 0, $count;
  my $pid = fork();
  return say_line("f $id fork " . ($! + 0)) unless defined $pid;
  if ($pid == 0) {
    POSIX::setsid();
    $SIG{PIPE} = $SIG{CHLD} = 'DEFAULT';
    chdir($cwd) or fail($id, 'cwd');
    open(STDIN, '<', '/dev/null');
    open(STDOUT, '>>', $log) or fail($id, 'output');
    open(STDERR, '>&', \*STDOUT) or fail($id, 'output');
    %ENV = map { my $at = index($_, '='); (substr($_, 0, $at) => substr($_, $at + 1)) } @rest;
    no warnings;
    exec { $exe } $exe, @args;
    fail($id, 'exec');
  }
  $ids{$pid} = $id;
  say_line("s $id $pid " . start_time($pid));
}
sub reap {
  while ((my $pid = waitpid(-1, POSIX::WNOHANG())) > 0) {
    my $status = $?;
    my $id = delete $ids{$pid};
    say_line("e $id $status") if defined $id;
  }
}
while (1) {
  my $ready = '';
  vec($ready, 0, 1) = 1;
  vec($ready, fileno($wake), 1) = 1;
  my $found = select($ready, undef, undef, undef);
  if ($found > 0 && vec($ready, fileno($wake), 1)) { sysread($wake, my $drop, 4096) }
  reap();
  next unless $found > 0 && vec($ready, 0, 1);
  my $got = sysread(STDIN, $in, 65536, length $in);
  next unless defined $got;
  last if $got == 0;
  while (length($in) >= 4) {
    my $size = unpack('N', $in);
    last if length($in) < 4 + $size;
    my ($op, @fields) = unpack('(N/a*)*', substr($in, 4, $size));
    $in = substr($in, 4 + $size);
    if ($op eq 's') { start(@fields) }
    elsif ($op eq 'm') { say_line("m $fields[0] " . (POSIX::mkfifo($fields[1], 0600) ? 0 : $! + 0)) }
  }
}
kill('KILL', map { -$_ } keys %ids);
`;
