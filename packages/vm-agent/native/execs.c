// Programs. Each has a supervisor, a process that adopts whatever the program leaves behind: so all of it can be ended.
#include "agent.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXECS_MAX 64
#define STRINGS_MAX 8192

// What a supervisor says at the end.
struct end {
  int32_t kind; // 0: exit code, 1: signal, 2: it could not be started
  int32_t value;
};

struct exec {
  bool used;
  uint32_t channel;
  pid_t supervisor;
  int control;
  int input;
  int outputs[2];
  uint32_t granted; // bytes of output that the host takes still
  uint8_t *waiting; // input that the program has not taken, WINDOW_BYTES
  size_t waiting_from, waiting_size;
  bool input_ends;
  bool has_end;
  struct end end;
  uint64_t oom_before;
};

static struct exec execs[EXECS_MAX];

// A request that is longer than one frame.
static struct {
  bool used;
  uint32_t channel;
  uint8_t *bytes;
  size_t size;
} requests[CHANNELS_MAX / 8];

static struct exec *exec_of(uint32_t channel) {
  for (size_t i = 0; i < EXECS_MAX; i++)
    if (execs[i].used && execs[i].channel == channel) return &execs[i];
  return NULL;
}

static void close_one(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

static void send_exit(uint32_t channel, struct end end, uint64_t oom_kills) {
  uint8_t payload[12];
  put32(payload, (uint32_t)end.kind);
  put32(payload + 4, (uint32_t)end.value);
  put32(payload + 8, (uint32_t)oom_kills);
  stream_send(FRAME_EXIT, channel, payload, sizeof payload, NULL, 0);
}

// Reads the parents of all processes and marks those that descend from this one. Answers how many were signalled.
static int signal_descendants(int signal_number) {
  static pid_t pids[32768], parents[32768];
  static bool mine[32768];
  size_t count = 0;
  DIR *folder = opendir("/proc");
  if (folder == NULL) return -1;
  struct dirent *entry;
  while ((entry = readdir(folder)) != NULL && count < 32768) {
    char *rest;
    long pid = strtol(entry->d_name, &rest, 10);
    if (*rest != '\0' || pid <= 0) continue;
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;
    ssize_t size = read(file, line, sizeof line - 1);
    close(file);
    if (size <= 0) continue;
    line[size] = '\0';
    // The name stands in parentheses and may hold any character.
    char *after = strrchr(line, ')');
    int parent;
    char state;
    if (after == NULL || sscanf(after + 1, " %c %d", &state, &parent) != 2 || state == 'Z') continue;
    pids[count] = (pid_t)pid;
    parents[count] = parent;
    mine[count] = false;
    count++;
  }
  closedir(folder);
  pid_t self = getpid();
  bool changed = true;
  while (changed) {
    changed = false;
    for (size_t i = 0; i < count; i++) {
      if (mine[i]) continue;
      bool is_mine = parents[i] == self;
      for (size_t j = 0; !is_mine && j < count; j++) is_mine = mine[j] && pids[j] == parents[i];
      if (is_mine) mine[i] = changed = true;
    }
  }
  int signalled = 0;
  for (size_t i = 0; i < count; i++)
    if (mine[i] && kill(pids[i], signal_number) == 0) signalled++;
  return signalled;
}

static void close_from(int first) {
  if (syscall(SYS_close_range, first, ~0u, 0) == 0) return;
  for (int fd = first; fd < 1024; fd++) close(fd);
}

static const char *path_of(char *const *environment) {
  for (; *environment != NULL; environment++)
    if (strncmp(*environment, "PATH=", 5) == 0) return *environment + 5;
  return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

// Does not come back; the errno goes to `report`.
static void run_program(const char *folder, char *const *arguments, char *const *environment, int report) {
  int error = 0;
  struct rlimit processes = {processes_max, processes_max};
  if (processes_max > 0 && setrlimit(RLIMIT_NPROC, &processes) != 0) error = errno;
  if (drops_rights && (setgroups(0, NULL) != 0 || setgid(PROGRAM_GID) != 0 || setuid(PROGRAM_UID) != 0)) error = errno;
  if (error == 0 && chdir(folder) != 0) error = errno;
  if (error == 0 && strchr(arguments[0], '/') != NULL) {
    execve(arguments[0], arguments, environment);
    error = errno;
  } else if (error == 0) {
    error = ENOENT;
    const char *path = path_of(environment);
    while (*path != '\0') {
      size_t length = strcspn(path, ":");
      char candidate[4096];
      int size = snprintf(candidate, sizeof candidate, "%.*s/%s", (int)length, path, arguments[0]);
      if (length > 0 && size > 0 && (size_t)size < sizeof candidate) {
        execve(candidate, arguments, environment);
        if (errno != ENOENT && errno != ENOTDIR) error = errno;
      }
      path += length;
      if (*path == ':') path++;
    }
  }
  if (write(report, &error, sizeof error) < 0) _exit(126);
  _exit(127);
}

// The supervisor's whole life. Its files: 0 to 2 the program's, 3 the control.
static void supervise(const char *folder, char *const *arguments, char *const *environment) {
  close_from(4);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  prctl(PR_SET_NAME, "drover-exec");
  setsid();
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, NULL);
  int children = signalfd(-1, &child, SFD_CLOEXEC);
  int report[2];
  struct end end = {.kind = 2, .value = EAGAIN};
  pid_t program = -1;
  if (children >= 0 && pipe2(report, O_CLOEXEC) == 0) {
    program = fork();
    if (program == 0) {
      sigprocmask(SIG_UNBLOCK, &child, NULL);
      signal(SIGPIPE, SIG_DFL);
      close(3);
      setpgid(0, 0);
      run_program(folder, arguments, environment, report[1]);
    }
    close(report[1]);
  }
  if (program < 0) {
    end.value = errno;
    if (write(3, &end, sizeof end) < 0) _exit(1);
    _exit(0);
  }
  // Or the host would wait for an end of output that this process holds open.
  for (int fd = 0; fd < 3; fd++) close(fd);
  int error = 0;
  bool failed = read(report[0], &error, sizeof error) == (ssize_t)sizeof error;
  close(report[0]);
  bool ended = false, orphaned = false;
  for (;;) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
      if (pid != program) continue;
      ended = true;
      end.kind = failed ? 2 : WIFSIGNALED(status) ? 1 : 0;
      end.value = failed ? error : WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
    }
    if (pid < 0 && errno == ECHILD) break;
    // What it has left behind ends with it.
    if (ended || orphaned) signal_descendants(SIGKILL);
    struct pollfd polls[2] = {{.fd = children, .events = POLLIN}, {.fd = orphaned ? -1 : 3, .events = POLLIN}};
    poll(polls, 2, ended || orphaned ? 20 : -1);
    if (polls[0].revents != 0) {
      struct signalfd_siginfo info;
      if (read(children, &info, sizeof info) < 0) continue;
    }
    if (polls[1].revents != 0) {
      uint8_t signal_number;
      ssize_t got = read(3, &signal_number, 1);
      if (got == 1) signal_descendants(signal_number);
      // The agent is gone, and with it whoever wanted this.
      else if (got == 0) orphaned = true;
    }
  }
  if (write(3, &end, sizeof end) < 0) _exit(1);
  _exit(0);
}

static void start(uint32_t channel, const char *folder, char *const *arguments, char *const *environment) {
  struct exec *exec = NULL;
  for (size_t i = 0; exec == NULL && i < EXECS_MAX; i++)
    if (!execs[i].used) exec = &execs[i];
  if (exec == NULL) return answer_failed(channel, EAGAIN, "too many programs at once");
  int input[2] = {-1, -1}, standard[2] = {-1, -1}, errors[2] = {-1, -1}, control[2] = {-1, -1};
  bool made = pipe2(input, O_CLOEXEC) == 0 && pipe2(standard, O_CLOEXEC) == 0 && pipe2(errors, O_CLOEXEC) == 0 &&
              socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) == 0;
  uint64_t oom_before = machine_oom_kills();
  pid_t supervisor = made ? fork() : -1;
  if (supervisor == 0) {
    // Above all of them first: dup2 must not step on one that is needed.
    int from[4] = {input[0], standard[1], errors[1], control[1]};
    for (int i = 0; i < 4; i++) from[i] = fcntl(from[i], F_DUPFD, 64 + i);
    for (int i = 0; i < 4; i++) dup2(from[i], i);
    supervise(folder, arguments, environment);
  }
  int error = errno;
  close_one(&input[0]);
  close_one(&standard[1]);
  close_one(&errors[1]);
  close_one(&control[1]);
  if (supervisor < 0) {
    close_one(&input[1]);
    close_one(&standard[0]);
    close_one(&errors[0]);
    close_one(&control[0]);
    return answer_failed(channel, error, "no process could be made");
  }
  for (int fd = 0; fd < 3; fd++) {
    int ours = (int[]){input[1], standard[0], errors[0]}[fd];
    fcntl(ours, F_SETFL, O_NONBLOCK);
  }
  *exec = (struct exec){.used = true,
                        .channel = channel,
                        .supervisor = supervisor,
                        .control = control[0],
                        .input = input[1],
                        .outputs = {standard[0], errors[0]},
                        .oom_before = oom_before};
}

// Payload: number of arguments, number of variables, then strings that end with a zero byte: folder, arguments, variables.
static void start_from(uint32_t channel, uint8_t *bytes, size_t size) {
  static char *strings[STRINGS_MAX + 3];
  if (size < 9) return answer_failed(channel, EINVAL, "a request of no program");
  uint32_t arguments = get32(bytes), variables = get32(bytes + 4);
  if (arguments == 0 || arguments > STRINGS_MAX || variables > STRINGS_MAX - arguments)
    return answer_failed(channel, EINVAL, "a request of too many strings");
  if (bytes[size - 1] != '\0') return answer_failed(channel, EINVAL, "a request that is cut off");
  char *at = (char *)bytes + 8, *end = (char *)bytes + size;
  const char *folder = at;
  at += strlen(at) + 1;
  size_t slot = 0;
  for (uint32_t i = 0; i < arguments + variables; i++) {
    if (at >= end) return answer_failed(channel, EINVAL, "a request that is cut off");
    if (i == arguments) strings[slot++] = NULL;
    strings[slot++] = at;
    at += strlen(at) + 1;
  }
  if (variables == 0) strings[slot++] = NULL;
  strings[slot] = NULL;
  if (at != end) return answer_failed(channel, EINVAL, "a request with more than it says");
  start(channel, folder, strings, strings + arguments + 1);
}

void exec_request(const struct frame *frame) {
  size_t i, empty = sizeof requests / sizeof *requests;
  for (i = 0; i < sizeof requests / sizeof *requests; i++) {
    if (requests[i].used && requests[i].channel == frame->channel) break;
    if (!requests[i].used && empty == sizeof requests / sizeof *requests) empty = i;
  }
  if (i == sizeof requests / sizeof *requests) {
    if (exec_of(frame->channel) != NULL) return answer_failed(frame->channel, EEXIST, "the channel is in use");
    if (empty == i) return answer_failed(frame->channel, EAGAIN, "too many requests at once");
    i = empty;
    requests[i].used = true;
    requests[i].channel = frame->channel;
    requests[i].bytes = malloc(REQUEST_BYTES_MAX);
    requests[i].size = 0;
  }
  bool fits = frame->size >= 1 && requests[i].bytes != NULL && requests[i].size + frame->size - 1 <= REQUEST_BYTES_MAX;
  bool more = fits && frame->payload[0] == 1;
  if (fits) {
    memcpy(requests[i].bytes + requests[i].size, frame->payload + 1, frame->size - 1);
    requests[i].size += frame->size - 1;
    if (more) return;
    start_from(frame->channel, requests[i].bytes, requests[i].size);
  } else {
    answer_failed(frame->channel, E2BIG, "a request that is too large");
  }
  free(requests[i].bytes);
  requests[i].used = false;
}

static void write_input(struct exec *exec) {
  uint32_t written = 0;
  while (exec->input >= 0 && exec->waiting_size > 0) {
    ssize_t count = write(exec->input, exec->waiting + exec->waiting_from, exec->waiting_size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    // Nobody reads it any more: the rest is dropped, and room is given for what is on its way.
    if (count < 0) close_one(&exec->input), count = (ssize_t)exec->waiting_size;
    exec->waiting_from += (size_t)count;
    exec->waiting_size -= (size_t)count;
    written += (uint32_t)count;
  }
  if (exec->waiting_size == 0 && exec->input_ends) close_one(&exec->input);
  if (written == 0) return;
  uint8_t payload[4];
  put32(payload, written);
  stream_send(FRAME_STDIN_GRANT, exec->channel, payload, sizeof payload, NULL, 0);
}

bool exec_stdin(const struct frame *frame) {
  struct exec *exec = exec_of(frame->channel);
  // It may have ended meanwhile.
  if (exec == NULL) return true;
  if (frame->size == 0) {
    exec->input_ends = true;
    write_input(exec);
    return true;
  }
  if (exec->input_ends || exec->waiting_size + frame->size > WINDOW_BYTES) return false;
  if (exec->input < 0) {
    uint8_t payload[4];
    put32(payload, frame->size);
    stream_send(FRAME_STDIN_GRANT, exec->channel, payload, sizeof payload, NULL, 0);
    return true;
  }
  if (exec->waiting == NULL && (exec->waiting = malloc(WINDOW_BYTES)) == NULL) return false;
  if (exec->waiting_from > 0) memmove(exec->waiting, exec->waiting + exec->waiting_from, exec->waiting_size);
  exec->waiting_from = 0;
  memcpy(exec->waiting + exec->waiting_size, frame->payload, frame->size);
  exec->waiting_size += frame->size;
  write_input(exec);
  return true;
}

bool exec_signal(const struct frame *frame) {
  if (frame->size != 4) return false;
  uint32_t number = get32(frame->payload);
  struct exec *exec = exec_of(frame->channel);
  if (number == 0 || number > 31) return false;
  uint8_t signal_number = (uint8_t)number;
  if (exec != NULL && !exec->has_end && write(exec->control, &signal_number, 1) < 0) return true;
  return true;
}

bool exec_grant(uint32_t channel, uint32_t bytes) {
  struct exec *exec = exec_of(channel);
  if (exec == NULL) return false;
  exec->granted = bytes > UINT32_MAX - exec->granted ? UINT32_MAX : exec->granted + bytes;
  return true;
}

size_t exec_polls(struct pollfd *polls) {
  bool has_room = stream_room() > HEADER_BYTES + 1 + 4096;
  for (size_t i = 0; i < EXECS_MAX; i++) {
    struct exec *exec = &execs[i];
    struct pollfd *four = polls + 4 * i;
    for (int j = 0; j < 4; j++) four[j] = (struct pollfd){.fd = -1};
    if (!exec->used) continue;
    four[0] = (struct pollfd){.fd = exec->has_end ? -1 : exec->control, .events = POLLIN};
    bool wants_input = exec->waiting_size > 0;
    four[1] = (struct pollfd){.fd = wants_input ? exec->input : -1, .events = POLLOUT};
    for (int j = 0; j < 2; j++)
      if (exec->granted > 0 && has_room) four[2 + j] = (struct pollfd){.fd = exec->outputs[j], .events = POLLIN};
  }
  return 4 * EXECS_MAX;
}

static void read_output(struct exec *exec, int which) {
  static uint8_t bytes[PAYLOAD_BYTES_MAX - 1];
  size_t room = stream_room();
  if (room <= HEADER_BYTES + 1) return;
  size_t most = room - HEADER_BYTES - 1;
  if (most > sizeof bytes) most = sizeof bytes;
  if (most > exec->granted) most = exec->granted;
  ssize_t got = read(exec->outputs[which], bytes, most);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return close_one(&exec->outputs[which]);
  exec->granted -= (uint32_t)got;
  uint8_t stream = (uint8_t)(which + 1);
  stream_send(FRAME_OUTPUT, exec->channel, &stream, 1, bytes, (size_t)got);
}

// Whose supervisor was killed has this process as its parent now, and nobody else to end it.
static void end_strays(void) {
  for (int tries = 0; tries < 100; tries++) {
    while (waitpid(-1, NULL, WNOHANG) > 0) {}
    DIR *folder = opendir("/proc");
    if (folder == NULL) return;
    bool found = false;
    struct dirent *entry;
    while ((entry = readdir(folder)) != NULL) {
      char path[300], line[512], *rest;
      long pid = strtol(entry->d_name, &rest, 10);
      if (*rest != '\0' || pid <= 0) continue;
      snprintf(path, sizeof path, "/proc/%ld/stat", pid);
      int file = open(path, O_RDONLY | O_CLOEXEC);
      ssize_t size = file < 0 ? -1 : read(file, line, sizeof line - 1);
      if (file >= 0) close(file);
      if (size <= 0) continue;
      line[size] = '\0';
      char *after = strrchr(line, ')'), state;
      int parent;
      if (after == NULL || sscanf(after + 1, " %c %d", &state, &parent) != 2 || parent != getpid()) continue;
      bool is_supervisor = false;
      for (size_t i = 0; i < EXECS_MAX; i++) is_supervisor |= execs[i].used && !execs[i].has_end && execs[i].supervisor == pid;
      if (is_supervisor) continue;
      found = true;
      kill((pid_t)pid, SIGKILL);
    }
    closedir(folder);
    if (!found) return;
    usleep(5000);
  }
}

static void finish(struct exec *exec) {
  close_one(&exec->control);
  close_one(&exec->input);
  close_one(&exec->outputs[0]);
  close_one(&exec->outputs[1]);
  free(exec->waiting);
  exec->used = false;
}

void exec_polled(const struct pollfd *polls, size_t count) {
  for (size_t i = 0; 4 * i < count; i++) {
    struct exec *exec = &execs[i];
    const struct pollfd *four = polls + 4 * i;
    if (!exec->used) continue;
    if (four[1].revents != 0) write_input(exec);
    for (int j = 0; j < 2; j++)
      if (four[2 + j].revents != 0) read_output(exec, j);
    if (four[0].revents != 0 && !exec->has_end) {
      ssize_t got = read(exec->control, &exec->end, sizeof exec->end);
      if (got < 0 && errno == EINTR) continue;
      // A supervisor that ends without a word was killed, for want of memory most likely.
      bool is_told = got == (ssize_t)sizeof exec->end;
      if (!is_told) exec->end = (struct end){.kind = 1, .value = SIGKILL};
      exec->has_end = true;
      waitpid(exec->supervisor, NULL, 0);
      if (!is_told) end_strays();
    }
    // What it wrote goes first; a host that grants nothing is waited for.
    if (exec->has_end && exec->outputs[0] < 0 && exec->outputs[1] < 0) {
      send_exit(exec->channel, exec->end, machine_oom_kills() - exec->oom_before);
      finish(exec);
    }
  }
}

void exec_end_all(void) {
  for (size_t i = 0; i < EXECS_MAX; i++) {
    if (!execs[i].used) continue;
    pid_t supervisor = execs[i].supervisor;
    bool waits = !execs[i].has_end;
    finish(&execs[i]);
    // It sees its control closed and kills what it has.
    if (waits) waitpid(supervisor, NULL, 0);
  }
  for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
    if (requests[i].used) free(requests[i].bytes);
    requests[i].used = false;
  }
}
