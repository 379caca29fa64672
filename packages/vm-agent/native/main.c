// The agent in a sandbox: runs programs and carries files for the host, over one stream. `drover-vm-agent fd:3 [FOLDER]`, or as the
// first process of a machine, told by the kernel's command line: `drover.transport=serial:PORT` or `drover.transport=vsock:PORT`.
#include "agent.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

bool drops_rights;
uint64_t processes_max;
static bool is_fine;

// linux/vm_sockets.h, which musl does not bring.
struct vsock_address {
  unsigned short family;
  unsigned short reserved;
  unsigned int port;
  unsigned int cid;
  unsigned char zero[4];
};

static void take(const struct frame *frame) {
  if (!is_fine) return;
  switch (frame->type) {
    case FRAME_HELLO: {
      // Whoever says it knows nothing of what was before.
      if (frame->size != 20) return (void)(is_fine = false);
      exec_end_all();
      file_end_all();
      uint8_t payload[20];
      put32(payload, PROTOCOL_VERSION);
      memcpy(payload + 4, frame->payload + 4, 16);
      stream_send(FRAME_HELLO_ANSWER, frame->channel, payload, sizeof payload, NULL, 0);
      return;
    }
    case FRAME_EXEC: return exec_request(frame);
    case FRAME_STDIN: is_fine = exec_stdin(frame); return;
    case FRAME_SIGNAL: is_fine = exec_signal(frame); return;
    case FRAME_GRANT:
      if (frame->size != 4) return (void)(is_fine = false);
      // Of what has ended meanwhile it is one too many, and no harm.
      if (!exec_grant(frame->channel, get32(frame->payload))) file_grant(frame->channel, get32(frame->payload));
      return;
    case FRAME_PUT: return file_put(frame);
    case FRAME_PUT_DATA: file_put_data(frame); return;
    case FRAME_GET: return file_get(frame);
    case FRAME_CANCEL_GET: return file_cancel_get(frame->channel);
    case FRAME_REMOVE: return file_remove(frame);
    case FRAME_MAKE_FOLDER: return file_make_folder(frame);
    case FRAME_STATISTICS: return machine_statistics(frame->channel);
    case FRAME_RESTORED: return machine_restored(frame);
    case FRAME_PING: return answer_done(frame->channel);
    default: is_fine = false;
  }
}

// Serves one host until it is gone.
static void serve(int fd) {
  static struct pollfd polls[1 + 4 * 64];
  stream_open(fd);
  is_fine = true;
  for (;;) {
    bool more = file_pump();
    if (!stream_flush()) break;
    more = more && stream_room() > PAYLOAD_BYTES_MAX;
    short events = (short)(POLLIN | (stream_wants_write() ? POLLOUT : 0));
    polls[0] = (struct pollfd){.fd = stream_fd(), .events = events};
    size_t count = exec_polls(polls + 1);
    if (poll(polls, 1 + count, more ? 0 : -1) < 0 && errno != EINTR) break;
    if (polls[0].revents & (POLLIN | POLLHUP | POLLERR)) {
      if (!stream_read(take) || !is_fine) break;
    }
    exec_polled(polls + 1, count);
  }
  exec_end_all();
  file_end_all();
  stream_close();
}

// The port of that name among those of virtio-serial; they are numbered as the kernel finds them.
static int open_port(const char *name) {
  DIR *ports = opendir("/sys/class/virtio-ports");
  int found = -1;
  struct dirent *entry;
  while (ports != NULL && found < 0 && (entry = readdir(ports)) != NULL) {
    char path[320], text[128] = "";
    snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;
    ssize_t size = read(file, text, sizeof text - 1);
    close(file);
    if (size <= 0) continue;
    text[strcspn(text, "\n")] = '\0';
    if (strcmp(text, name) != 0) continue;
    snprintf(path, sizeof path, "/dev/%s", entry->d_name);
    found = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
  }
  if (ports != NULL) closedir(ports);
  return found;
}

static int open_serial(const char *name) {
  for (int tries = 0; tries < 3000; tries++) {
    int fd = name[0] == '/' ? open(name, O_RDWR | O_CLOEXEC | O_NOCTTY) : open_port(name);
    if (fd >= 0) return fd;
    nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
  }
  return -1;
}

static void serve_vsock(unsigned int port) {
  int listener = socket(40 /* AF_VSOCK */, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct vsock_address address = {.family = 40, .port = port, .cid = ~0u};
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1) != 0) return;
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) serve(fd);
    else if (errno != EINTR && errno != ECONNABORTED) return;
  }
}

int main(int count, char **arguments) {
  struct boot_options options = {.transport = ""};
  signal(SIGPIPE, SIG_IGN);
  umask(022);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  bool is_told = count >= 2 && count <= 3 && strncmp(arguments[1], "fd:", 3) == 0;
  if (is_told) snprintf(options.transport, sizeof options.transport, "%s", arguments[1]);
  else if (getpid() == 1) machine_boot(&options);
  if (is_told && count == 3) file_only_below(arguments[2]);
  if (strncmp(options.transport, "fd:", 3) == 0) {
    serve(atoi(options.transport + 3));
    return 0;
  }
  if (strncmp(options.transport, "serial:", 7) == 0) {
    int fd;
    // A host that goes away and comes back finds it again.
    while ((fd = open_serial(options.transport + 7)) >= 0) {
      serve(fd);
      nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    }
  } else if (strncmp(options.transport, "vsock:", 6) == 0) {
    serve_vsock((unsigned int)strtoul(options.transport + 6, NULL, 10));
  } else {
    fputs("usage: drover-vm-agent fd:NUMBER [FOLDER]\n", stderr);
    if (getpid() != 1) return 2;
  }
  machine_off();
}
