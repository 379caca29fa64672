// Frames on one stream of bytes: 4 bytes length of the payload, 1 byte type, 4 bytes channel, payload; little-endian.
#include "agent.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

// Bulk stops at the mark; what is beyond it belongs to answers, which never wait.
#define OUT_BYTES (1024 * 1024)
#define OUT_MARK (512 * 1024)

static int stream = -1;
static uint8_t in[HEADER_BYTES + PAYLOAD_BYTES_MAX];
static size_t in_size;
static uint8_t out[OUT_BYTES];
static size_t out_from, out_to;
static bool broken;

void stream_open(int fd) {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  stream = fd;
  in_size = out_from = out_to = 0;
  broken = false;
}

int stream_fd(void) { return stream; }

bool stream_wants_write(void) { return out_to > out_from; }

size_t stream_room(void) {
  size_t waiting = out_to - out_from;
  return waiting < OUT_MARK ? OUT_MARK - waiting : 0;
}

bool stream_flush(void) {
  while (out_from < out_to) {
    ssize_t written = write(stream, out + out_from, out_to - out_from);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
    if (written <= 0) return broken = true, false;
    out_from += (size_t)written;
  }
  out_from = out_to = 0;
  return true;
}

static void append(const void *bytes, size_t size) {
  if (size == 0) return;
  memcpy(out + out_to, bytes, size);
  out_to += size;
}

void stream_send(uint8_t type, uint32_t channel, const void *head, size_t head_size, const void *body, size_t body_size) {
  size_t size = HEADER_BYTES + head_size + body_size;
  if (OUT_BYTES - out_to < size && out_from > 0) {
    memmove(out, out + out_from, out_to - out_from);
    out_to -= out_from;
    out_from = 0;
  }
  // Only answers come here while the host does not read: it is waited for.
  while (OUT_BYTES - out_to < size && !broken) {
    struct pollfd wait = {.fd = stream, .events = POLLOUT};
    poll(&wait, 1, -1);
    if (!stream_flush()) return;
    if (out_from > 0) {
      memmove(out, out + out_from, out_to - out_from);
      out_to -= out_from;
      out_from = 0;
    }
  }
  if (broken) return;
  uint8_t header[HEADER_BYTES];
  put32(header, (uint32_t)(head_size + body_size));
  header[4] = type;
  put32(header + 5, channel);
  append(header, sizeof header);
  append(head, head_size);
  append(body, body_size);
}

bool stream_read(void (*take)(const struct frame *frame)) {
  ssize_t got = read(stream, in + in_size, sizeof in - in_size);
  if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
  if (got == 0) return false;
  in_size += (size_t)got;
  size_t at = 0;
  while (in_size - at >= HEADER_BYTES) {
    uint32_t size = get32(in + at);
    if (size > PAYLOAD_BYTES_MAX) return false;
    if (in_size - at < HEADER_BYTES + size) break;
    struct frame frame = {
        .type = in[at + 4], .channel = get32(in + at + 5), .payload = in + at + HEADER_BYTES, .size = size};
    take(&frame);
    at += HEADER_BYTES + size;
  }
  memmove(in, in + at, in_size - at);
  in_size -= at;
  return !broken;
}

void stream_close(void) {
  close(stream);
  stream = -1;
}

void answer_done(uint32_t channel) { stream_send(FRAME_DONE, channel, NULL, 0, NULL, 0); }

void answer_failed(uint32_t channel, int error, const char *what) {
  uint8_t head[4];
  put32(head, (uint32_t)error);
  stream_send(FRAME_FAILED, channel, head, sizeof head, what, strlen(what));
}
