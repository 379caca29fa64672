// What the parts of the agent know of each other. PROTOCOL.md says what the frames mean.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROTOCOL_VERSION 1
#define HEADER_BYTES 9
#define PAYLOAD_BYTES_MAX 65536
#define CHANNELS_MAX 256
#define REQUEST_BYTES_MAX (1024 * 1024 + 4096)
#define WINDOW_BYTES (256 * 1024)

enum frame_type {
  FRAME_HELLO = 0x01,
  FRAME_EXEC = 0x10,
  FRAME_STDIN = 0x12,
  FRAME_SIGNAL = 0x13,
  FRAME_GRANT = 0x14,
  FRAME_PUT = 0x20,
  FRAME_PUT_DATA = 0x21,
  FRAME_GET = 0x22,
  FRAME_REMOVE = 0x23,
  FRAME_MAKE_FOLDER = 0x24,
  FRAME_CANCEL_GET = 0x25,
  FRAME_STATISTICS = 0x30,
  FRAME_RESTORED = 0x31,
  FRAME_PING = 0x32,

  FRAME_HELLO_ANSWER = 0x81,
  FRAME_OUTPUT = 0x90,
  FRAME_FILE = 0x91,
  FRAME_FILE_DATA = 0x92,
  FRAME_EXIT = 0x93,
  FRAME_STDIN_GRANT = 0x94,
  FRAME_DONE = 0x95,
  FRAME_FAILED = 0x96,
  FRAME_STATISTICS_ANSWER = 0x97,
};

// Little-endian, at any address.
static inline uint32_t get32(const uint8_t *at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}
static inline uint64_t get64(const uint8_t *at) { return (uint64_t)get32(at) | (uint64_t)get32(at + 4) << 32; }
static inline void put32(uint8_t *at, uint32_t value) {
  for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (8 * i));
}
static inline void put64(uint8_t *at, uint64_t value) {
  put32(at, (uint32_t)value);
  put32(at + 4, (uint32_t)(value >> 32));
}

// stream.c: frames to and from the host.
struct frame {
  uint8_t type;
  uint32_t channel;
  const uint8_t *payload;
  uint32_t size;
};
void stream_open(int fd);
int stream_fd(void);
bool stream_wants_write(void);
// How much may be sent now without waiting for the host; producers of bulk look here first.
size_t stream_room(void);
void stream_send(uint8_t type, uint32_t channel, const void *head, size_t head_size, const void *body, size_t body_size);
// Writes what waits. False: the host is gone.
bool stream_flush(void);
// Reads once, then hands over each whole frame. False: the host is gone, or says what is no frame.
bool stream_read(void (*take)(const struct frame *frame));
void stream_close(void);

void answer_done(uint32_t channel);
// `error`: an errno.
void answer_failed(uint32_t channel, int error, const char *what);

// execs.c: programs.
struct pollfd;
void exec_request(const struct frame *frame);
bool exec_stdin(const struct frame *frame);
bool exec_signal(const struct frame *frame);
bool exec_grant(uint32_t channel, uint32_t bytes);
size_t exec_polls(struct pollfd *polls);
void exec_polled(const struct pollfd *polls, size_t count);
void exec_end_all(void);

// files.c: what goes in and comes out.
// Where no file system is the agent's own, this folder alone may be written.
void file_only_below(const char *folder);
void file_put(const struct frame *frame);
bool file_put_data(const struct frame *frame);
void file_get(const struct frame *frame);
void file_cancel_get(uint32_t channel);
bool file_grant(uint32_t channel, uint32_t bytes);
void file_remove(const struct frame *frame);
void file_make_folder(const struct frame *frame);
// Sends what there is room for. True: there is more to send when there is room again.
bool file_pump(void);
void file_end_all(void);

// machine.c: the machine that the agent is the first process of.
struct boot_options {
  char transport[128];
  uint64_t disk_bytes;
};
void machine_boot(struct boot_options *options);
void machine_statistics(uint32_t channel);
void machine_restored(const struct frame *frame);
uint64_t machine_oom_kills(void);
void machine_off(void) __attribute__((noreturn));

// Who owns what programs make; root stays the agent's alone.
#define PROGRAM_UID 1000
#define PROGRAM_GID 1000
extern bool drops_rights;
// The most processes of that user; 0: no bound here.
extern uint64_t processes_max;
