// Files that go in and come out: below the two folders that programs may write, and through no link.
#include "agent.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES_MAX 4096
#define DEPTH_MAX 32
#define PUTS_MAX 16
#define GETS_MAX 16

static const char *writable[] = {"/run/drover", "/tmp"};
static size_t writable_count = 2;

void file_only_below(const char *folder) {
  writable[0] = folder;
  writable_count = 1;
}

static struct put {
  bool used;
  uint32_t channel;
  int fd;
  mode_t mode;
  int error;
} puts_open[PUTS_MAX];

static struct get {
  bool used;
  uint32_t channel;
  uint32_t granted;
  uint64_t size_left;
  int depth;
  DIR *folders[DEPTH_MAX];
  size_t lengths[DEPTH_MAX];
  char path[PATH_BYTES_MAX];
  int file;
  uint64_t file_left;
} gets[GETS_MAX];

// Copies a path out of a payload and checks its form: absolute, no empty part, no dots, below a writable folder.
static int path_from(const uint8_t *bytes, size_t size, char *path, bool may_be_root) {
  if (size < 2 || size > PATH_BYTES_MAX || bytes[size - 1] != '\0' || strlen((const char *)bytes) != size - 1) return EINVAL;
  memcpy(path, bytes, size);
  if (path[0] != '/' || path[size - 2] == '/') return EINVAL;
  for (const char *part = path + 1;; part++) {
    size_t length = strcspn(part, "/");
    if (length == 0 || length > 255 || (length == 1 && part[0] == '.') || (length == 2 && part[0] == '.' && part[1] == '.'))
      return EINVAL;
    part += length;
    if (*part == '\0') break;
  }
  for (size_t i = 0; i < writable_count; i++) {
    size_t length = strlen(writable[i]);
    if (strncmp(path, writable[i], length) != 0) continue;
    if (path[length] == '/' || (may_be_root && path[length] == '\0')) return 0;
  }
  return EACCES;
}

// Opens the folder that a path's last part is in, part by part and through no link; makes those that are missing if asked to.
static int open_parent(const char *path, bool make, const char **last) {
  int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const char *part = path + 1;
  while (folder >= 0) {
    size_t length = strcspn(part, "/");
    if (part[length] == '\0') {
      *last = part;
      return folder;
    }
    char name[256];
    memcpy(name, part, length);
    name[length] = '\0';
    if (make && mkdirat(folder, name, 0755) == 0 && drops_rights &&
        fchownat(folder, name, PROGRAM_UID, PROGRAM_GID, AT_SYMLINK_NOFOLLOW) != 0) {
      close(folder);
      return -1;
    }
    int next = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int error = errno;
    close(folder);
    errno = error;
    folder = next;
    part += length + 1;
  }
  return -1;
}

static struct put *put_of(uint32_t channel) {
  for (size_t i = 0; i < PUTS_MAX; i++)
    if (puts_open[i].used && puts_open[i].channel == channel) return &puts_open[i];
  return NULL;
}

void file_put(const struct frame *frame) {
  char path[PATH_BYTES_MAX];
  struct put *put = NULL;
  for (size_t i = 0; put == NULL && i < PUTS_MAX; i++)
    if (!puts_open[i].used) put = &puts_open[i];
  if (put == NULL || put_of(frame->channel) != NULL) return answer_failed(frame->channel, EAGAIN, "too many files at once");
  int error = frame->size < 4 ? EINVAL : path_from(frame->payload + 4, frame->size - 4, path, false);
  *put = (struct put){.used = true, .channel = frame->channel, .fd = -1, .error = error};
  if (error != 0) return;
  put->mode = get32(frame->payload) & 0777;
  const char *name;
  int folder = open_parent(path, true, &name);
  if (folder >= 0) {
    // Never into what is there: it may be a link, or a file that somebody runs.
    if (unlinkat(folder, name, 0) == 0 || errno == ENOENT)
      put->fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    put->error = put->fd < 0 ? errno : 0;
    close(folder);
  } else {
    put->error = errno;
  }
}

// An error is told at the end: until then the host sends what it has.
bool file_put_data(const struct frame *frame) {
  struct put *put = put_of(frame->channel);
  if (put == NULL) return false;
  if (frame->size > 0) {
    size_t done = 0;
    while (put->error == 0 && done < frame->size) {
      ssize_t written = write(put->fd, frame->payload + done, frame->size - done);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) put->error = errno;
      else done += (size_t)written;
    }
    return true;
  }
  if (put->error == 0 && fchmod(put->fd, put->mode) != 0) put->error = errno;
  if (put->error == 0 && drops_rights && fchown(put->fd, PROGRAM_UID, PROGRAM_GID) != 0) put->error = errno;
  if (put->fd >= 0) close(put->fd);
  put->used = false;
  if (put->error == 0) answer_done(put->channel);
  else answer_failed(put->channel, put->error, strerror(put->error));
  return true;
}

static void end_get(struct get *get) {
  if (get->file >= 0) close(get->file);
  while (get->depth > 0) closedir(get->folders[--get->depth]);
  get->used = false;
}

static void fail_get(struct get *get, int error, const char *what) {
  answer_failed(get->channel, error, what);
  end_get(get);
}

// Tells of a file and gets ready to send it. False: the get has failed.
static bool tell_file(struct get *get, int file) {
  struct stat status;
  if (fstat(file, &status) != 0) return close(file), fail_get(get, errno, get->path), false;
  if (!S_ISREG(status.st_mode)) return close(file), true;
  uint64_t size = (uint64_t)status.st_size;
  if (size > get->size_left) return close(file), fail_get(get, EFBIG, get->path), false;
  get->size_left -= size;
  uint8_t head[12];
  put32(head, status.st_mode & 0777);
  put64(head + 4, size);
  stream_send(FRAME_FILE, get->channel, head, sizeof head, get->path, strlen(get->path));
  get->file = file;
  get->file_left = size;
  if (size == 0) {
    close(file);
    get->file = -1;
  }
  return true;
}

static bool push_folder(struct get *get, int folder) {
  if (get->depth == DEPTH_MAX) return close(folder), fail_get(get, ELOOP, get->path), false;
  DIR *entries = fdopendir(folder);
  if (entries == NULL) return close(folder), fail_get(get, errno, get->path), false;
  get->lengths[get->depth] = strlen(get->path);
  get->folders[get->depth++] = entries;
  return true;
}

void file_get(const struct frame *frame) {
  struct get *get = NULL;
  for (size_t i = 0; i < GETS_MAX; i++) {
    if (gets[i].used && gets[i].channel == frame->channel) return answer_failed(frame->channel, EEXIST, "the channel is in use");
    if (get == NULL && !gets[i].used) get = &gets[i];
  }
  if (get == NULL) return answer_failed(frame->channel, EAGAIN, "too many files at once");
  char path[PATH_BYTES_MAX];
  int error = frame->size < 8 ? EINVAL : path_from(frame->payload + 8, frame->size - 8, path, true);
  if (error != 0) return answer_failed(frame->channel, error, strerror(error));
  get->used = true;
  get->channel = frame->channel;
  get->granted = 0;
  get->size_left = get64(frame->payload);
  get->depth = 0;
  get->file = -1;
  get->file_left = 0;
  strcpy(get->path, path);
  const char *name;
  int parent = open_parent(path, false, &name);
  if (parent < 0) return fail_get(get, errno, path);
  int found = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  error = errno;
  close(parent);
  if (found < 0) return fail_get(get, error, path);
  struct stat status;
  if (fstat(found, &status) != 0) return close(found), fail_get(get, errno, path);
  if (S_ISDIR(status.st_mode)) push_folder(get, found);
  else if (S_ISREG(status.st_mode)) tell_file(get, found);
  else close(found), fail_get(get, ENOENT, path);
}

// Nobody wants the rest. Of one that has ended it is one too many, and no harm.
void file_cancel_get(uint32_t channel) {
  for (size_t i = 0; i < GETS_MAX; i++)
    if (gets[i].used && gets[i].channel == channel) end_get(&gets[i]);
}

bool file_grant(uint32_t channel, uint32_t bytes) {
  for (size_t i = 0; i < GETS_MAX; i++) {
    if (!gets[i].used || gets[i].channel != channel) continue;
    gets[i].granted = bytes > UINT32_MAX - gets[i].granted ? UINT32_MAX : gets[i].granted + bytes;
    return true;
  }
  return false;
}

// The next entry of the innermost folder, or its end.
static void next_entry(struct get *get) {
  DIR *folder = get->folders[get->depth - 1];
  get->path[get->lengths[get->depth - 1]] = '\0';
  errno = 0;
  struct dirent *entry = readdir(folder);
  if (entry == NULL) {
    if (errno != 0) return fail_get(get, errno, get->path);
    closedir(folder);
    get->depth--;
    return;
  }
  if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) return;
  size_t length = strlen(get->path);
  if (length + 1 + strlen(entry->d_name) >= PATH_BYTES_MAX) return fail_get(get, ENAMETOOLONG, get->path);
  get->path[length] = '/';
  strcpy(get->path + length + 1, entry->d_name);
  struct stat status;
  // It may be gone since.
  if (fstatat(dirfd(folder), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) return;
  if (!S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode)) return;
  int found = openat(dirfd(folder), entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (found < 0 && (errno == ENOENT || errno == ELOOP)) return;
  if (found < 0) return fail_get(get, errno, get->path);
  if (fstat(found, &status) == 0 && S_ISDIR(status.st_mode)) push_folder(get, found);
  else tell_file(get, found);
}

static void send_piece(struct get *get) {
  static uint8_t bytes[PAYLOAD_BYTES_MAX];
  size_t most = stream_room() - HEADER_BYTES;
  if (most > sizeof bytes) most = sizeof bytes;
  if (most > get->granted) most = get->granted;
  if (most > get->file_left) most = (size_t)get->file_left;
  ssize_t got = read(get->file, bytes, most);
  if (got < 0 && errno == EINTR) return;
  // It was cut while it was read: its size was told.
  if (got <= 0) return fail_get(get, got < 0 ? errno : EIO, get->path);
  stream_send(FRAME_FILE_DATA, get->channel, bytes, (size_t)got, NULL, 0);
  get->granted -= (uint32_t)got;
  get->file_left -= (uint64_t)got;
  if (get->file_left > 0) return;
  close(get->file);
  get->file = -1;
}

bool file_pump(void) {
  bool more = false;
  for (size_t i = 0; i < GETS_MAX; i++) {
    struct get *get = &gets[i];
    // A few steps each, so that none keeps the others waiting.
    for (int steps = 0; get->used && steps < 64; steps++) {
      if (stream_room() <= HEADER_BYTES + PATH_BYTES_MAX + 12) return true;
      if (get->file >= 0) {
        if (get->granted == 0) break;
        send_piece(get);
      } else if (get->depth > 0) {
        next_entry(get);
      } else {
        answer_done(get->channel);
        end_get(get);
      }
    }
    more |= get->used && (get->file < 0 || get->granted > 0);
  }
  return more;
}

// Everything below a folder; what is held open by others goes with its last user.
static int remove_below(int folder, int depth) {
  if (depth == DEPTH_MAX) return close(folder), ELOOP;
  DIR *entries = fdopendir(folder);
  if (entries == NULL) return close(folder), errno;
  int error = 0;
  struct dirent *entry;
  while (error == 0 && (entry = readdir(entries)) != NULL) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (unlinkat(folder, entry->d_name, 0) == 0) continue;
    if (errno != EISDIR && errno != EPERM) {
      if (errno != ENOENT) error = errno;
      continue;
    }
    int inner = openat(folder, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (inner < 0) continue;
    error = remove_below(inner, depth + 1);
    if (error == 0 && unlinkat(folder, entry->d_name, AT_REMOVEDIR) != 0) error = errno;
  }
  closedir(entries);
  return error;
}

void file_remove(const struct frame *frame) {
  char path[PATH_BYTES_MAX];
  int error = path_from(frame->payload, frame->size, path, false);
  const char *name;
  int parent = error == 0 ? open_parent(path, false, &name) : -1;
  if (error == 0 && parent < 0) error = errno == ENOENT ? 0 : errno;
  if (parent >= 0) {
    int folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder >= 0) {
      error = remove_below(folder, 0);
      if (error == 0 && unlinkat(parent, name, AT_REMOVEDIR) != 0) error = errno;
    } else if (unlinkat(parent, name, 0) != 0 && errno != ENOENT) {
      error = errno;
    }
    close(parent);
  }
  if (error == 0) answer_done(frame->channel);
  else answer_failed(frame->channel, error, strerror(error));
}

void file_make_folder(const struct frame *frame) {
  char path[PATH_BYTES_MAX];
  int error = frame->size < 4 ? EINVAL : path_from(frame->payload + 4, frame->size - 4, path, false);
  const char *name;
  int parent = error == 0 ? open_parent(path, true, &name) : -1;
  if (error == 0 && parent < 0) error = errno;
  if (parent >= 0) {
    mode_t mode = get32(frame->payload) & 0777;
    if (mkdirat(parent, name, mode) == 0) {
      if (drops_rights && fchownat(parent, name, PROGRAM_UID, PROGRAM_GID, AT_SYMLINK_NOFOLLOW) != 0) error = errno;
    } else if (errno != EEXIST) {
      error = errno;
    } else {
      struct stat status;
      if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) != 0) error = errno;
      else if (!S_ISDIR(status.st_mode)) error = ENOTDIR;
    }
    close(parent);
  }
  if (error == 0) answer_done(frame->channel);
  else answer_failed(frame->channel, error, strerror(error));
}

void file_end_all(void) {
  for (size_t i = 0; i < GETS_MAX; i++)
    if (gets[i].used) end_get(&gets[i]);
  for (size_t i = 0; i < PUTS_MAX; i++) {
    if (puts_open[i].used && puts_open[i].fd >= 0) close(puts_open[i].fd);
    puts_open[i].used = false;
  }
}
