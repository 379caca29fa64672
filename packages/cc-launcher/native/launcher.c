// The launcher: stands in for a compiler, asks the client daemon whether a worker has done the compile, and runs the true
// compiler in every other case. Whatever goes wrong here, the true compiler runs: a build never fails because of it.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static char compiler[PATH_MAX];
static char **arguments;

static _Noreturn void run_compiler(void) {
  arguments[0] = compiler;
  execv(compiler, arguments);
  fprintf(stderr, "drover-cc: %s: %s\n", compiler, strerror(errno));
  _exit(127);
}

static int is_file(const struct stat *a, const struct stat *b) { return a->st_dev == b->st_dev && a->st_ino == b->st_ino; }

// The first program of that name on PATH that is not this one, by whichever link.
static int find_compiler(const char *name) {
  struct stat self, there;
  int has_self = stat("/proc/self/exe", &self) == 0;
  if (strchr(name, '/')) {
    if (!realpath(name, compiler)) return -1;
    if (has_self && stat(compiler, &there) == 0 && is_file(&self, &there)) return -1;
    // The compiler may look at its own name.
    if (name[0] == '/' && strlen(name) < sizeof compiler) strcpy(compiler, name);
    return 0;
  }
  const char *path = getenv("PATH");
  if (!path) path = "/usr/local/bin:/usr/bin:/bin";
  for (const char *at = path; at;) {
    const char *end = strchr(at, ':');
    int length = end ? (int)(end - at) : (int)strlen(at);
    // A folder that is not absolute depends on where the daemon is.
    if (length > 0 && at[0] == '/' && snprintf(compiler, sizeof compiler, "%.*s/%s", length, at, name) < (int)sizeof compiler &&
        access(compiler, X_OK) == 0 && stat(compiler, &there) == 0 && S_ISREG(there.st_mode) &&
        !(has_self && is_file(&self, &there)))
      return 0;
    at = end ? end + 1 : NULL;
  }
  return -1;
}

static int file_in(char *into, const char *folder, const char *name) {
  return snprintf(into, 108, "%s/%s", folder, name) < 108 ? 0 : -1;
}

static ssize_t read_small(const char *path, char *into, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t got = read(fd, into, size - 1);
  close(fd);
  if (got >= 0) into[got] = 0;
  return got;
}

// Starts the daemon if nobody has within the last seconds; whoever asked does not wait for it.
static void start_daemon(const char *folder) {
  char path[108];
  struct stat last;
  if (mkdir(folder, 0700) < 0 && errno != EEXIST) return;
  if (file_in(path, folder, "starting") < 0) return;
  if (stat(path, &last) == 0 && time(NULL) - last.st_mtime < 5) return;
  int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return;
  if (flock(fd, LOCK_EX | LOCK_NB) < 0 || (fstat(fd, &last) == 0 && last.st_size > 0 && time(NULL) - last.st_mtime < 5)) {
    close(fd);
    return;
  }
  if (ftruncate(fd, 0) < 0 || write(fd, "x", 1) < 0) {
    close(fd);
    return;
  }
  pid_t child = fork();
  if (child == 0) {
    setsid();
    if (fork() != 0) _exit(0);
    int null = open("/dev/null", O_RDWR);
    for (int to = 0; null >= 0 && to < 3; to++) dup2(null, to);
    // What make hands down, as its job server, must not stay open in a daemon.
    for (int other = 3; other < 256; other++) close(other);
    if (chdir("/") < 0) _exit(1);
    const char *drover = getenv("DROVER_PROGRAM");
    execlp(drover && *drover ? drover : "drover", "drover", "cc", "--daemon", (char *)NULL);
    _exit(127);
  }
  if (child > 0) {
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
  }
  close(fd);
}

static int add(char **at, char *end, const char *text) {
  size_t length = strlen(text) + 1;
  if ((size_t)(end - *at) < length) return -1;
  memcpy(*at, text, length);
  *at += length;
  return 0;
}

static int write_all(int fd, const char *from, size_t left) {
  while (left > 0) {
    ssize_t done = send(fd, from, left, MSG_NOSIGNAL);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return -1;
    from += done;
    left -= (size_t)done;
  }
  return 0;
}

static int read_all(int fd, char *into, size_t left) {
  while (left > 0) {
    ssize_t done = read(fd, into, left);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return -1;
    into += done;
    left -= (size_t)done;
  }
  return 0;
}

// 1: the compile is done; 0: it is to be run here.
static int ask_daemon(const char *folder, int argc) {
  char path[108], token[128], cwd[PATH_MAX], number[32];
  if (file_in(path, folder, "token") < 0 || read_small(path, token, sizeof token) <= 0 || !getcwd(cwd, sizeof cwd)) {
    start_daemon(folder);
    return 0;
  }
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  if (file_in(to.sun_path, folder, "socket") < 0) return 0;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return 0;
  struct timeval limit = {.tv_sec = 1};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) {
    close(fd);
    start_daemon(folder);
    return 0;
  }
  size_t size = 4 * 1024 * 1024;
  char *frame = malloc(size), *at = frame + 4, *end = frame + size;
  if (!frame) return 0;
  mode_t mask = umask(0);
  umask(mask);
  int bad = add(&at, end, token) || add(&at, end, cwd);
  snprintf(number, sizeof number, "%o", (unsigned)mask);
  bad = bad || add(&at, end, number) || add(&at, end, compiler);
  snprintf(number, sizeof number, "%d", argc - 1);
  bad = bad || add(&at, end, number);
  for (int i = 1; i < argc; i++) bad = bad || add(&at, end, arguments[i]);
  int variables = 0;
  while (environ[variables]) variables++;
  snprintf(number, sizeof number, "%d", variables);
  bad = bad || add(&at, end, number);
  for (int i = 0; i < variables; i++) bad = bad || add(&at, end, environ[i]);
  uint32_t length = (uint32_t)(at - frame - 4);
  for (int i = 0; i < 4; i++) frame[i] = (char)(length >> (24 - 8 * i));
  if (bad || write_all(fd, frame, (size_t)(at - frame)) < 0) {
    close(fd);
    return 0;
  }
  // A daemon that dies ends the stream; one that hangs is given up after two attempts' time.
  limit.tv_sec = 150;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  unsigned char head[4];
  char reply[4096];
  uint32_t wanted = 0;
  if (read_all(fd, (char *)head, 4) == 0) {
    wanted = (uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3];
    if (wanted == 0 || wanted >= sizeof reply || read_all(fd, reply, wanted) < 0) wanted = 0;
  }
  close(fd);
  if (wanted == 0) return 0;
  if (wanted > 1 && reply[0] == 'L') {
    reply[wanted] = 0;
    fprintf(stderr, "%s\n", reply + 1);
  }
  return reply[0] == 'D';
}

// The daemon writes until when, in seconds since 1970, there is no worker to be had.
static int is_off(const char *folder) {
  char path[108], text[32];
  if (file_in(path, folder, "off-until") < 0 || read_small(path, text, sizeof text) <= 0) return 0;
  return strtoll(text, NULL, 10) > (long long)time(NULL);
}

// Only a command line that may make an object is worth a question.
static int may_compile(int argc) {
  for (int i = 1; i < argc; i++)
    if (strcmp(arguments[i], "-c") == 0 || strcmp(arguments[i], "-S") == 0 || arguments[i][0] == '@') return 1;
  return 0;
}

int main(int argc, char **argv) {
  const char *slash = strrchr(argv[0], '/');
  const char *name = slash ? slash + 1 : argv[0];
  if (strcmp(name, "drover-cc") == 0) {
    if (argc < 2) {
      fputs("Usage: drover-cc COMPILER ARGUMENTS…, or call it by a link named gcc, g++, clang, clang++, cc or c++\n", stderr);
      return 2;
    }
    argv++, argc--;
    name = argv[0];
  }
  arguments = argv;
  if (find_compiler(name) < 0) {
    fprintf(stderr, "drover-cc: %s: no such compiler on PATH\n", name);
    return 127;
  }
  char folder[108];
  const char *own = getenv("DROVER_CC_FOLDER"), *runtime = getenv("XDG_RUNTIME_DIR");
  int has_folder = own && *own ? snprintf(folder, sizeof folder, "%s", own) < (int)sizeof folder
                   : runtime && *runtime ? snprintf(folder, sizeof folder, "%s/drover-cc", runtime) < (int)sizeof folder
                                         : snprintf(folder, sizeof folder, "/tmp/drover-cc-%u", (unsigned)getuid()) > 0;
  struct stat there;
  // In a folder that anybody can write, what is there must be ours.
  if (has_folder && lstat(folder, &there) == 0 && (there.st_uid != getuid() || !S_ISDIR(there.st_mode))) has_folder = 0;
  if (has_folder && may_compile(argc) && !is_off(folder) && ask_daemon(folder, argc)) return 0;
  run_compiler();
}
