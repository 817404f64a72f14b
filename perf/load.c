/*
 * Load for WebSocket servers on 127.0.0.1, over plain ws://, from one thread with epoll. Every reply is compared with what was
 * sent: one wrong byte ends the run with exit code 1. Prints one line of JSON; times are in microseconds.
 *
 *   load echo URL GROUP ...   connections that stay: each sends its next message when a reply is there. A GROUP is
 *                             CONNECTIONSxBYTES or CONNECTIONSxBYTESxDEPTH, with DEPTH messages under way (1)
 *   load connect URL          connect, upgrade, one echo, close handshake, and again, --at-once of them (32)
 *   load storm URL            --connections (10000) connect at the same moment; each wants its upgrade and one echo
 *
 *   --kind text|binary   what is sent (text); of storm and connect 20 bytes
 *   --seconds S          how long echo and connect are measured (3), after --warm S (0.5)
 *   --rounds N           how often all connections of a storm are cut and come again (1)
 *   --deadline S         how long a storm may take, and how long echo waits without any reply (30)
 *   --field TEXT         one more field of the request; may stand several times
 *   --pid PID            the server: adds the CPU time of its processes, and their peak memory
 *
 * "loadShare" is how much of its core the load itself used: near 1 it was the limit, and not the server.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* A message begins with the numbers of its connection and of itself, so that no reply passes for another. */
#define STAMP 16
/* A head of 14 bytes, and the stamp behind it. */
#define START (14 + STAMP)
/* Frames in one write. */
#define BATCH 64
#define OPENING_AT_ONCE 64
#define SMALL 20
/* The example of RFC 6455 section 1.3: the accept key is known without a hash. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };
enum mode { ECHO_MODE, CONNECT_MODE, STORM_MODE };
enum phase { CONNECTING, UPGRADING, OPEN, CLOSING, ENDED };

static const unsigned char MASK[4] = {0x37, 0xfa, 0x21, 0x3d};

struct times {
  uint32_t *micros;
  size_t count, room;
};

struct group {
  int connections, depth;
  size_t bytes, head_bytes;
  unsigned char head[14];
  unsigned char *payload, *masked;
  struct times times;
};

struct connection {
  int fd, id;
  enum phase phase;
  bool wants_out;
  struct group *group;
  double began;
  /* Messages that were asked for, written and answered; how much of the next one is written; when each was asked for. */
  uint64_t asked, written, answered, counted;
  size_t offset;
  double *asked_at;
  /* A control frame to write: a pong, or our close. */
  unsigned char control[131];
  size_t control_length, control_offset;
  /* The answer to the upgrade, then the head of the frame that is being read. */
  char *answer;
  size_t answer_length;
  unsigned char head[10];
  int head_length;
  bool in_frame;
  uint64_t left, message_offset;
  bool message_begun;
  unsigned char control_in[125];
  size_t control_in_length;
};

static enum mode mode;
static int opcode = TEXT;
static struct sockaddr_in address;
static char request[4096];
static int poller;
static double warm = 0.5, seconds = 3, deadline = 30;
static int pid;

static bool counting, stopping;
static double progress;
static size_t opened, under_way, failures, lost;
static uint64_t messages;
static char first_failure[200];
static struct connection *connections;
static size_t connection_count, next_to_open;

static void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("load: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  exit(1);
}

static void *room_for(size_t count, size_t size) {
  void *room = calloc(count ? count : 1, size);
  if (!room) fail("no memory");
  return room;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec / 1e9;
}

static void add_time(struct times *times, double from) {
  if (times->count == times->room) {
    times->room = times->room ? times->room * 2 : 65536;
    times->micros = realloc(times->micros, times->room * sizeof *times->micros);
    if (!times->micros) fail("no memory");
  }
  times->micros[times->count++] = (now() - from) * 1e6;
}

static int compare_micros(const void *a, const void *b) {
  uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
  return (left > right) - (left < right);
}

static void print_times(struct times *times) {
  qsort(times->micros, times->count, sizeof *times->micros, compare_micros);
  size_t n = times->count;
  if (n == 0) printf("\"p50\":null,\"p99\":null,\"worst\":null");
  else printf("\"p50\":%u,\"p99\":%u,\"worst\":%u", times->micros[n / 2], times->micros[n * 99 / 100], times->micros[n - 1]);
}

/* What the processes of the server have used. */

struct usage {
  double cpu_seconds, peak_mebibytes, own_seconds;
};

static void add_usage(int of, struct usage *usage) {
  char path[300], text[1024], *at;
  snprintf(path, sizeof path, "/proc/%d/stat", of);
  FILE *file = fopen(path, "r");
  if (!file) return;
  size_t length = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[length] = 0;
  unsigned long user, system;
  /* The name in parentheses may hold spaces. */
  if ((at = strrchr(text, ')')) &&
      sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2)
    usage->cpu_seconds += (double)(user + system) / sysconf(_SC_CLK_TCK);
  snprintf(path, sizeof path, "/proc/%d/status", of);
  if ((file = fopen(path, "r"))) {
    unsigned long kibibytes;
    while (fgets(text, sizeof text, file))
      if (sscanf(text, "VmHWM: %lu", &kibibytes) == 1) usage->peak_mebibytes += kibibytes / 1024.0;
    fclose(file);
  }
  snprintf(path, sizeof path, "/proc/%d/task", of);
  DIR *threads = opendir(path);
  if (!threads) return;
  for (struct dirent *thread; (thread = readdir(threads));) {
    if (thread->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "/proc/%d/task/%.20s/children", of, thread->d_name);
    if (!(file = fopen(path, "r"))) continue;
    for (int child; fscanf(file, "%d", &child) == 1;) add_usage(child, usage);
    fclose(file);
  }
  closedir(threads);
}

static struct usage read_usage(void) {
  struct usage usage = {0, 0, 0};
  struct rusage own;
  getrusage(RUSAGE_SELF, &own);
  usage.own_seconds = own.ru_utime.tv_sec + own.ru_stime.tv_sec + (own.ru_utime.tv_usec + own.ru_stime.tv_usec) / 1e6;
  if (pid) add_usage(pid, &usage);
  return usage;
}

static void print_usage(struct usage before, uint64_t units, double took) {
  struct usage after = read_usage();
  printf(",\"loadShare\":%.2f", (after.own_seconds - before.own_seconds) / took);
  if (!pid) return;
  double cpu = after.cpu_seconds - before.cpu_seconds;
  printf(",\"cpuSeconds\":%.2f,\"cpuMicros\":%.3f,\"peakMebibytes\":%.1f", cpu, units ? cpu / units * 1e6 : 0,
         after.peak_mebibytes);
}

/* Messages. */

static void write_stamp(unsigned char *at, int id, uint64_t message) {
  static const char digits[] = "0123456789abcdef";
  for (int i = 5; i >= 0; i--, id >>= 4) at[i] = digits[id & 15];
  for (int i = 15; i >= 6; i--, message >>= 4) at[i] = digits[message & 15];
}

static void prepare(struct group *group) {
  size_t n = group->bytes, at = 0;
  group->head[at++] = 0x80 | opcode;
  if (n < 126) {
    group->head[at++] = 0x80 | n;
  } else {
    int width = n < 65536 ? 2 : 8;
    group->head[at++] = 0x80 | (width == 2 ? 126 : 127);
    for (int i = width - 1; i >= 0; i--) group->head[at++] = (uint64_t)n >> (8 * i);
  }
  memcpy(group->head + at, MASK, 4);
  group->head_bytes = at + 4;
  group->payload = room_for(n, 1);
  group->masked = room_for(n, 1);
  /* A period of 25 * 251 bytes shows bytes that are missing. */
  for (size_t i = 0; i < n; i++) group->payload[i] = 'a' + (i + i / 251) % 25;
  for (size_t i = 0; i < n; i++) group->masked[i] = group->payload[i] ^ MASK[i & 3];
}

static void wrong_byte(struct connection *c, size_t at, int is, int expected) {
  fail("wrong reply: byte %zu of message %lu on connection %d is 0x%02x, not 0x%02x", at, c->answered, c->id, is, expected);
}

static void check_bytes(struct connection *c, const unsigned char *bytes, size_t count) {
  struct group *group = c->group;
  size_t at = c->message_offset, i = 0;
  if (group->bytes >= STAMP && at < STAMP) {
    unsigned char stamp[STAMP];
    write_stamp(stamp, c->id, c->answered);
    for (; i < count && at + i < STAMP; i++)
      if (bytes[i] != stamp[at + i]) wrong_byte(c, at + i, bytes[i], stamp[at + i]);
  }
  if (memcmp(bytes + i, group->payload + at + i, count - i) == 0) return;
  while (bytes[i] == group->payload[at + i]) i++;
  wrong_byte(c, at + i, bytes[i], group->payload[at + i]);
}

/* Connections. */

static void watch(struct connection *c, bool out) {
  struct epoll_event event = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c};
  if (epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event) < 0) fail("epoll_ctl: %s", strerror(errno));
  c->wants_out = out;
}

static void forget(struct connection *c) {
  if (c->fd >= 0) close(c->fd);
  free(c->answer);
  c->answer = NULL;
  c->fd = -1;
  c->phase = ENDED;
}

static void lose(struct connection *c, const char *why) {
  if (!*first_failure) snprintf(first_failure, sizeof first_failure, "%s", why);
  if (mode == ECHO_MODE) fail("connection %d is lost after %lu messages: %s", c->id, c->answered, why);
  forget(c);
  under_way--;
  failures++;
  lost++;
}

static void begin(struct connection *c) {
  int id = c->id;
  struct group *group = c->group;
  double *asked_at = c->asked_at;
  *c = (struct connection){.id = id, .group = group, .asked_at = asked_at, .began = now(), .phase = CONNECTING};
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (c->fd < 0) fail("socket: %s", strerror(errno));
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
  under_way++;
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
  c->wants_out = true;
  if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) < 0) fail("epoll_ctl: %s", strerror(errno));
  if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) lose(c, strerror(errno));
}

static void flush(struct connection *c) {
  struct group *group = c->group;
  size_t stamp = group->bytes >= STAMP ? STAMP : 0, start = group->head_bytes + stamp;
  size_t frame = group->head_bytes + group->bytes;
  for (;;) {
    static unsigned char starts[BATCH][START];
    struct iovec parts[2 * BATCH + 1];
    int count = 0;
    bool control = c->control_length > 0 && (c->control_offset > 0 || c->offset == 0);
    if (control) parts[count++] = (struct iovec){c->control + c->control_offset, c->control_length - c->control_offset};
    else {
      size_t offset = c->offset;
      for (int i = 0; i < BATCH && c->written + i < c->asked; i++, offset = 0) {
        if (offset < start) {
          memcpy(starts[i], group->head, group->head_bytes);
          write_stamp(starts[i] + group->head_bytes, c->id, c->written + i);
          for (size_t k = 0; k < stamp; k++) starts[i][group->head_bytes + k] ^= MASK[k & 3];
          parts[count++] = (struct iovec){starts[i] + offset, start - offset};
        }
        size_t from = offset > start ? offset - group->head_bytes : stamp;
        if (from < group->bytes) parts[count++] = (struct iovec){group->masked + from, group->bytes - from};
        /* A pong or a close waits for the end of this frame only. */
        if (c->control_length > 0) break;
      }
    }
    if (count == 0) break;
    ssize_t done = writev(c->fd, parts, count);
    if (done < 0) {
      if (errno == EAGAIN) {
        if (!c->wants_out) watch(c, true);
        return;
      }
      lose(c, strerror(errno));
      return;
    }
    if (control) {
      c->control_offset += done;
      if (c->control_offset == c->control_length) c->control_length = c->control_offset = 0;
      continue;
    }
    for (size_t rest = done; rest > 0;) {
      size_t part = frame - c->offset < rest ? frame - c->offset : rest;
      rest -= part;
      c->offset += part;
      if (c->offset == frame) {
        c->offset = 0;
        c->written++;
      }
    }
  }
  if (c->wants_out) watch(c, false);
}

static void ask(struct connection *c) {
  if (c->asked_at) c->asked_at[c->asked % c->group->depth] = now();
  c->asked++;
}

static void send_control(struct connection *c, int kind, const unsigned char *payload, size_t length) {
  if (c->control_offset > 0) return;
  c->control[0] = 0x80 | kind;
  c->control[1] = 0x80 | length;
  memcpy(c->control + 2, MASK, 4);
  for (size_t i = 0; i < length; i++) c->control[6 + i] = payload[i] ^ MASK[i & 3];
  c->control_length = 6 + length;
}

static void on_open(struct connection *c) {
  c->phase = OPEN;
  opened++;
  if (mode == ECHO_MODE) {
    under_way--;
    return;
  }
  ask(c);
}

static void on_message(struct connection *c) {
  struct group *group = c->group;
  progress = now();
  if (mode == STORM_MODE) {
    add_time(&group->times, c->began);
    under_way--;
    messages++;
  } else if (mode == CONNECT_MODE) {
    send_control(c, CLOSE, (const unsigned char[]){1000 >> 8, 1000 & 255}, 2);
    c->phase = CLOSING;
  } else {
    if (counting) {
      add_time(&group->times, c->asked_at[c->answered % group->depth]);
      c->counted++;
      messages++;
    }
    if (!stopping) ask(c);
  }
  c->answered++;
}

/* After the close handshake the server ends the TCP connection. */
static void on_end(struct connection *c, bool confirmed) {
  if (!confirmed) {
    lose(c, "the connection ended without a close frame");
    return;
  }
  if (counting) {
    add_time(&c->group->times, c->began);
    messages++;
  }
  progress = now();
  forget(c);
  under_way--;
}

static bool on_control(struct connection *c) {
  int kind = c->head[0] & 15;
  if (kind == PING) {
    if (c->phase == OPEN) send_control(c, PONG, c->control_in, c->control_in_length);
    return true;
  }
  if (kind == PONG) return true;
  if (kind != CLOSE) fail("wrong reply: opcode %d on connection %d", kind, c->id);
  int code = c->control_in_length >= 2 ? c->control_in[0] << 8 | c->control_in[1] : 1005;
  if (c->phase != CLOSING || code != 1000) {
    char why[200];
    snprintf(why, sizeof why, "closed with %d %.*s", code, (int)(c->control_in_length > 2 ? c->control_in_length - 2 : 0),
             (const char *)c->control_in + 2);
    lose(c, why);
    return false;
  }
  c->phase = ENDED;
  return true;
}

static void begin_frame(struct connection *c) {
  int kind = c->head[0] & 15;
  if (c->head[0] & 0x70 || c->head[1] & 0x80) fail("wrong reply: a frame head of 0x%02x%02x on connection %d", c->head[0], c->head[1], c->id);
  c->in_frame = true;
  c->head_length = 0;
  c->left = c->head[1];
  if (c->head[1] >= 126) {
    c->left = 0;
    for (int i = 2; i < (c->head[1] == 126 ? 4 : 10); i++) c->left = c->left << 8 | c->head[i];
  }
  if (kind >= 8) {
    if (c->left > 125 || !(c->head[0] & 0x80)) fail("wrong reply: a control frame that is too long or in parts");
    c->control_in_length = 0;
    return;
  }
  if (kind != (c->message_begun ? 0 : opcode)) fail("wrong reply: opcode %d on connection %d", kind, c->id);
  c->message_begun = true;
  if (c->answered == c->asked) fail("wrong reply: a message on connection %d that nothing asked for", c->id);
  if (c->left > c->group->bytes - c->message_offset) fail("wrong reply: message %lu on connection %d is too long", c->answered, c->id);
}

/* Returns whether the connection goes on. */
static bool end_frame(struct connection *c) {
  c->in_frame = false;
  if ((c->head[0] & 15) >= 8) return on_control(c);
  if (!(c->head[0] & 0x80)) return true;
  if (c->message_offset != c->group->bytes) fail("wrong reply: message %lu on connection %d is too short", c->answered, c->id);
  c->message_offset = 0;
  c->message_begun = false;
  on_message(c);
  return true;
}

static bool read_frames(struct connection *c, const unsigned char *bytes, size_t count) {
  for (size_t at = 0; at < count;) {
    if (c->phase == ENDED) return true;
    if (!c->in_frame) {
      c->head[c->head_length++] = bytes[at++];
      int need = 2;
      if (c->head_length >= 2) need = (c->head[1] & 127) == 126 ? 4 : (c->head[1] & 127) == 127 ? 10 : 2;
      if (c->head_length < need) continue;
      begin_frame(c);
    } else {
      size_t part = c->left < count - at ? c->left : count - at;
      if ((c->head[0] & 15) >= 8) {
        memcpy(c->control_in + c->control_in_length, bytes + at, part);
        c->control_in_length += part;
      } else {
        check_bytes(c, bytes + at, part);
        c->message_offset += part;
      }
      at += part;
      c->left -= part;
    }
    if (c->left == 0 && !end_frame(c)) return false;
  }
  return true;
}

/* Takes bytes of the answer to the upgrade; what follows it are frames. */
static bool read_answer(struct connection *c, const unsigned char *bytes, size_t count) {
  size_t limit = 8192;
  if (!c->answer) c->answer = room_for(limit + 1, 1);
  size_t before = c->answer_length, part = count < limit - before ? count : limit - before;
  memcpy(c->answer + before, bytes, part);
  c->answer_length += part;
  c->answer[c->answer_length] = 0;
  char *end = strstr(c->answer, "\r\n\r\n");
  if (!end) {
    if (c->answer_length < limit) return true;
    lose(c, "the answer has no end");
    return false;
  }
  end[2] = 0;
  if (strncmp(c->answer, "HTTP/1.1 101", 12) || !strstr(c->answer, ACCEPT "\r\n")) {
    char why[60];
    snprintf(why, sizeof why, "refused: %.*s", (int)strcspn(c->answer, "\r\n") > 40 ? 40 : (int)strcspn(c->answer, "\r\n"), c->answer);
    lose(c, why);
    return false;
  }
  size_t used = end + 4 - c->answer - before;
  free(c->answer);
  c->answer = NULL;
  on_open(c);
  return read_frames(c, bytes + used, count - used);
}

static void on_event(struct connection *c, uint32_t events) {
  static unsigned char buffer[256 * 1024];
  if (c->phase == CONNECTING) {
    int error = 0;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error});
    if (error) {
      lose(c, strerror(error));
      return;
    }
    if (!(events & EPOLLOUT)) return;
    ssize_t length = strlen(request);
    if (write(c->fd, request, length) != length) {
      lose(c, "the request is not taken");
      return;
    }
    c->phase = UPGRADING;
    watch(c, false);
    return;
  }
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
    ssize_t count = read(c->fd, buffer, sizeof buffer);
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) {
      const char *why = count < 0 ? strerror(errno) : "the connection ended";
      if (mode == CONNECT_MODE && count == 0) on_end(c, c->phase == ENDED);
      /* In a storm, who is through counts no more. */
      else if (mode == STORM_MODE && c->answered > 0) lost++, failures++, forget(c);
      else lose(c, why);
      return;
    }
    if (!(c->phase == UPGRADING ? read_answer(c, buffer, count) : read_frames(c, buffer, count))) return;
  }
  if (c->phase == OPEN || c->phase == CLOSING) flush(c);
}

static void poll_until(double until) {
  struct epoll_event events[512];
  double left = until - now();
  int count = epoll_wait(poller, events, 512, left <= 0 ? 0 : left > 0.1 ? 100 : (int)(left * 1000) + 1);
  if (count < 0 && errno != EINTR) fail("epoll_wait: %s", strerror(errno));
  for (int i = 0; i < count; i++) {
    struct connection *c = events[i].data.ptr;
    if (c->fd >= 0) on_event(c, events[i].events);
  }
}

/* The modes. */

static void run_echo(struct group *groups, int group_count) {
  for (double since = now(); opened < connection_count; poll_until(now() + 0.1)) {
    while (next_to_open < connection_count && under_way < OPENING_AT_ONCE) begin(&connections[next_to_open++]);
    if (now() - since > deadline) fail("only %zu of %zu connections are open after %g s", opened, connection_count, deadline);
  }
  progress = now();
  for (size_t i = 0; i < connection_count; i++) {
    for (int k = 0; k < connections[i].group->depth; k++) ask(&connections[i]);
    flush(&connections[i]);
  }
  double from = now() + warm, until = from;
  struct usage before = read_usage();
  for (; now() < until || !counting; poll_until(until)) {
    if (now() >= from && !counting) {
      counting = true;
      from = now();
      until = from + seconds;
      before = read_usage();
    }
    if (now() - progress > deadline) fail("no reply at all for %g s", deadline);
  }
  counting = false;
  double took = now() - from;
  printf("{\"seconds\":%.3f,\"messages\":%lu,\"perSecond\":%.1f", took, messages, messages / took);
  print_usage(before, messages, took);
  printf(",\"groups\":[");
  for (int g = 0; g < group_count; g++) {
    uint64_t least = UINT64_MAX, most = 0, sum = 0;
    for (size_t i = 0; i < connection_count; i++) {
      if (connections[i].group != &groups[g]) continue;
      uint64_t counted = connections[i].counted;
      sum += counted;
      if (counted < least) least = counted;
      if (counted > most) most = counted;
    }
    printf("%s{\"connections\":%d,\"bytes\":%zu,\"depth\":%d,\"messages\":%lu,\"least\":%lu,\"most\":%lu,", g ? "," : "",
           groups[g].connections, groups[g].bytes, groups[g].depth, sum, least, most);
    print_times(&groups[g].times);
    printf("}");
  }
  printf("]}\n");
  /* What is under way comes home, and is compared too. */
  stopping = true;
  for (size_t i = 0; i < connection_count; i++) {
    struct connection *c = &connections[i];
    for (double since = now(); c->answered < c->asked; poll_until(now() + 0.1))
      if (now() - since > deadline) fail("a message on connection %d has no reply", c->id);
  }
}

static void run_connect(void) {
  double from = now() + warm, until = from;
  struct usage before = read_usage();
  progress = now();
  for (; now() < until || !counting; poll_until(until)) {
    for (size_t i = 0; i < connection_count; i++)
      if (connections[i].fd < 0) begin(&connections[i]);
    if (now() >= from && !counting) {
      counting = true;
      failures = 0;
      from = now();
      until = from + seconds;
      before = read_usage();
    }
    if (now() - progress > deadline) fail("no connection got through for %g s: %s", deadline, first_failure);
  }
  double took = now() - from;
  printf("{\"seconds\":%.3f,\"connections\":%lu,\"perSecond\":%.1f,\"failures\":%zu", took, messages, messages / took, failures);
  print_usage(before, messages, took);
  printf(",\"firstFailure\":\"%s\",", first_failure);
  print_times(&connections[0].group->times);
  printf("}\n");
}

static void run_storm(int rounds) {
  double storm_from = now();
  struct usage before = read_usage();
  printf("{\"connections\":%zu,\"rounds\":[", connection_count);
  uint64_t through = 0;
  for (int round = 0; round < rounds; round++) {
    for (size_t i = 0; i < connection_count; i++) {
      if (connections[i].fd >= 0) {
        struct linger cut = {1, 0};
        setsockopt(connections[i].fd, SOL_SOCKET, SO_LINGER, &cut, sizeof cut);
        forget(&connections[i]);
      }
    }
    struct times *times = &connections[0].group->times;
    messages = lost = under_way = times->count = 0;
    double from = now();
    for (size_t i = 0; i < connection_count; i++) begin(&connections[i]);
    while (under_way > 0 && now() - from < deadline) poll_until(now() + 0.1);
    printf("%s{\"through\":%lu,\"lost\":%zu,\"waiting\":%zu,\"seconds\":%.3f,", round ? "," : "", messages, lost, under_way,
           now() - from);
    print_times(times);
    printf("}");
    through += messages;
  }
  printf("]");
  print_usage(before, through, now() - storm_from);
  printf(",\"firstFailure\":\"%s\"}\n", first_failure);
}

static void add_connections(struct group *group, int count) {
  prepare(group);
  connections = realloc(connections, (connection_count + count) * sizeof *connections);
  if (!connections) fail("no memory");
  for (int i = 0; i < count; i++, connection_count++)
    connections[connection_count] = (struct connection){.fd = -1, .id = connection_count, .group = group,
                                                        .asked_at = room_for(group->depth, sizeof(double))};
}

static void read_url(const char *url, const char *fields) {
  int port = 0;
  char path[1024] = "/";
  if (sscanf(url, "ws://127.0.0.1:%d%1023s", &port, path) < 1 || port <= 0) fail("not a URL of ws://127.0.0.1:PORT: %s", url);
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  size_t length = snprintf(request, sizeof request,
                           "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n%s\r\n",
                           path, port, fields);
  if (length >= sizeof request) fail("the fields are too long");
}

int main(int argument_count, char **arguments) {
  static struct group groups[16];
  static char fields[2048];
  int group_count = 0, at_once = 32, storm = 10000, rounds = 1;
  if (argument_count < 3) fail("needs a mode and a URL");
  const char *name = arguments[1];
  if (!strcmp(name, "echo")) mode = ECHO_MODE;
  else if (!strcmp(name, "connect")) mode = CONNECT_MODE;
  else if (!strcmp(name, "storm")) mode = STORM_MODE;
  else fail("not a mode: %s", name);
  for (int i = 3; i < argument_count; i++) {
    const char *word = arguments[i];
    if (strncmp(word, "--", 2)) {
      if (group_count == 16) fail("more than 16 groups");
      struct group *group = &groups[group_count++];
      group->depth = 1;
      if (sscanf(word, "%dx%zux%d", &group->connections, &group->bytes, &group->depth) < 2 || group->connections < 1 ||
          group->depth < 1)
        fail("not a group: %s", word);
      continue;
    }
    const char *value = arguments[++i];
    if (!value) fail("%s needs a value", word);
    if (!strcmp(word, "--kind")) opcode = strcmp(value, "binary") ? TEXT : BINARY;
    else if (!strcmp(word, "--seconds")) seconds = atof(value);
    else if (!strcmp(word, "--warm")) warm = atof(value);
    else if (!strcmp(word, "--deadline")) deadline = atof(value);
    else if (!strcmp(word, "--at-once")) at_once = atoi(value);
    else if (!strcmp(word, "--connections")) storm = atoi(value);
    else if (!strcmp(word, "--rounds")) rounds = atoi(value);
    else if (!strcmp(word, "--pid")) pid = atoi(value);
    else if (!strcmp(word, "--field")) {
      size_t length = strlen(fields);
      snprintf(fields + length, sizeof fields - length, "%s\r\n", value);
    } else fail("not an option: %s", word);
  }
  if ((mode == ECHO_MODE) != (group_count > 0)) fail("%s", mode == ECHO_MODE ? "echo needs groups" : "only echo has groups");
  read_url(arguments[2], fields);
  signal(SIGPIPE, SIG_IGN);
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  poller = epoll_create1(EPOLL_CLOEXEC);
  if (mode != ECHO_MODE) {
    groups[0] = (struct group){.connections = mode == STORM_MODE ? storm : at_once, .bytes = SMALL, .depth = 1};
    group_count = 1;
  }
  for (int i = 0; i < group_count; i++) add_connections(&groups[i], groups[i].connections);
  if (mode == ECHO_MODE) run_echo(groups, group_count);
  else if (mode == CONNECT_MODE) run_connect();
  else run_storm(rounds);
  return 0;
}
