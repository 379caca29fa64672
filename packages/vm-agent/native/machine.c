// The machine around the agent, where it is the first process of one: file systems, clock, entropy, figures, the end.
#include "agent.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// linux/random.h, which musl does not bring.
struct entropy {
  int bits;
  int size;
  uint8_t bytes[512];
};
#define ADD_ENTROPY _IOW('R', 0x03, int[2])
#define RESEED _IO('R', 0x07)

static ssize_t read_file(const char *path, char *text, size_t size) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return -1;
  ssize_t got = read(file, text, size - 1);
  close(file);
  if (got >= 0) text[got] = '\0';
  return got;
}

static void say(const char *what) {
  int kernel = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
  if (kernel < 0) return;
  dprintf(kernel, "drover-agent: %s: %s\n", what, strerror(errno));
  close(kernel);
}

static void must_mount(const char *from, const char *to, const char *kind, unsigned long flags, const char *options) {
  mkdir(to, 0755);
  if (mount(from, to, kind, flags, options) == 0 || errno == EBUSY) return;
  say(to);
  machine_off();
}

// The value of `name=` among the words of the kernel's command line.
static bool option(const char *line, const char *name, char *value, size_t size) {
  size_t length = strlen(name);
  for (const char *word = line; *word != '\0'; word += strspn(word, " \n")) {
    size_t end = strcspn(word, " \n");
    if (end > length + 1 && strncmp(word, name, length) == 0 && word[length] == '=' && end - length - 1 < size) {
      memcpy(value, word + length + 1, end - length - 1);
      value[end - length - 1] = '\0';
      return true;
    }
    word += end;
  }
  return false;
}

// Loads what stands in /modules, one path a line, in order.
static void load_modules(void) {
  char list[4096];
  if (read_file("/modules", list, sizeof list) <= 0) return;
  char *rest = list, *path;
  while ((path = strsep(&rest, "\n")) != NULL) {
    if (*path == '\0') continue;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || (syscall(SYS_finit_module, file, "", 0) != 0 && errno != EEXIST)) say(path);
    if (file >= 0) close(file);
  }
}

static bool wait_for(const char *path) {
  for (int tries = 0; tries < 3000; tries++) {
    if (access(path, F_OK) == 0) return true;
    nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
  }
  errno = ETIMEDOUT;
  say(path);
  return false;
}

// From the small file system that the kernel was started with to the image's own.
static void enter_root(const char *drive) {
  if (!wait_for(drive)) machine_off();
  must_mount(drive, "/newroot", "ext4", MS_RDONLY | MS_NODEV | MS_NOSUID, "");
  const char *const moved[] = {"/proc", "/sys", "/dev"};
  for (size_t i = 0; i < sizeof moved / sizeof *moved; i++) {
    char to[64];
    snprintf(to, sizeof to, "/newroot%s", moved[i]);
    if (mount(moved[i], to, NULL, MS_MOVE, NULL) != 0) say(to);
  }
  if (chdir("/newroot") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0) {
    say("/newroot");
    machine_off();
  }
}

void machine_boot(struct boot_options *options) {
  char line[4096] = "", drive[64], bytes[32];
  must_mount("proc", "/proc", "proc", MS_NODEV | MS_NOSUID | MS_NOEXEC, "");
  must_mount("sys", "/sys", "sysfs", MS_NODEV | MS_NOSUID | MS_NOEXEC, "");
  must_mount("dev", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
  read_file("/proc/cmdline", line, sizeof line);
  load_modules();
  if (option(line, "drover.root", drive, sizeof drive)) enter_root(drive);
  if (option(line, "drover.disk", bytes, sizeof bytes)) options->disk_bytes = strtoull(bytes, NULL, 10);
  if (option(line, "drover.processes", bytes, sizeof bytes)) processes_max = strtoull(bytes, NULL, 10);
  option(line, "drover.transport", options->transport, sizeof options->transport);
  char size[64] = "mode=0755";
  if (options->disk_bytes > 0) snprintf(size, sizeof size, "mode=0755,size=%llu", (unsigned long long)options->disk_bytes);
  must_mount("run", "/run", "tmpfs", MS_NODEV | MS_NOSUID, size);
  // One file system for both, so that both have one bound.
  mkdir("/run/tmp", 01777);
  chmod("/run/tmp", 01777);
  must_mount("/run/tmp", "/tmp", NULL, MS_BIND, NULL);
  mkdir("/run/drover", 0755);
  if (chown("/run/drover", PROGRAM_UID, PROGRAM_GID) != 0) say("/run/drover");
  const char *const links[][2] = {{"/proc/self/fd", "/dev/fd"}, {"fd/0", "/dev/stdin"}, {"fd/1", "/dev/stdout"}, {"fd/2", "/dev/stderr"}};
  for (size_t i = 0; i < sizeof links / sizeof *links; i++)
    if (symlink(links[i][0], links[i][1]) != 0 && errno != EEXIST) say(links[i][1]);
  drops_rights = true;
}

uint64_t machine_oom_kills(void) {
  static char text[16384];
  if (read_file("/proc/vmstat", text, sizeof text) <= 0) return 0;
  const char *at = strstr(text, "\noom_kill ");
  return at == NULL ? 0 : strtoull(at + 10, NULL, 10);
}

static uint64_t memory_line(const char *text, const char *name) {
  const char *at = strstr(text, name);
  return at == NULL ? 0 : strtoull(at + strlen(name), NULL, 10) * 1024;
}

void machine_statistics(uint32_t channel) {
  char text[8192];
  uint8_t payload[32] = {0};
  if (read_file("/proc/stat", text, sizeof text) > 0) {
    unsigned long long user, nice, system;
    if (sscanf(text, "cpu %llu %llu %llu", &user, &nice, &system) == 3)
      put64(payload, (user + nice + system) * 1000 / (uint64_t)sysconf(_SC_CLK_TCK));
  }
  if (read_file("/proc/meminfo", text, sizeof text) > 0)
    put64(payload + 8, memory_line(text, "MemTotal:") - memory_line(text, "MemAvailable:"));
  struct statvfs disk;
  if (statvfs("/run/drover", &disk) == 0) put64(payload + 16, (uint64_t)(disk.f_blocks - disk.f_bfree) * disk.f_frsize);
  if (read_file("/proc/loadavg", text, sizeof text) > 0) {
    const char *slash = strchr(text, '/');
    put64(payload + 24, slash == NULL ? 0 : strtoull(slash + 1, NULL, 10));
  }
  stream_send(FRAME_STATISTICS_ANSWER, channel, payload, sizeof payload, NULL, 0);
}

// A machine that was kept and started again has the clock and the random numbers of another one.
void machine_restored(const struct frame *frame) {
  struct entropy entropy;
  if (frame->size < 8 || frame->size - 8 > sizeof entropy.bytes) return answer_failed(frame->channel, EINVAL, "no clock");
  uint64_t nanoseconds = get64(frame->payload);
  struct timespec now = {.tv_sec = (time_t)(nanoseconds / 1000000000), .tv_nsec = (long)(nanoseconds % 1000000000)};
  int error = clock_settime(CLOCK_REALTIME, &now) == 0 ? 0 : errno;
  entropy.size = (int)(frame->size - 8);
  entropy.bits = entropy.size * 8;
  memcpy(entropy.bytes, frame->payload + 8, frame->size - 8);
  int random = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
  if (random < 0) error = errno;
  else if (ioctl(random, ADD_ENTROPY, &entropy) != 0 || ioctl(random, RESEED) != 0) error = errno;
  if (random >= 0) close(random);
  if (error == 0) answer_done(frame->channel);
  else answer_failed(frame->channel, error, strerror(error));
}

void machine_off(void) {
  if (getpid() != 1) _exit(1);
  sync();
  reboot(RB_AUTOBOOT);
  reboot(RB_POWER_OFF);
  for (;;) pause();
}
