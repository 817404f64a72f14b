/* Sockets, and the connection's part in each mode. */
#include "load.h"
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

/* A head of 14 bytes, then the stamp. */
#define START (14 + STAMP)
/* Frames per write. */
#define BATCH 64
/* The accept key for the request's key, the example of RFC 6455 section 1.3. */
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum mode mode;
struct sockaddr_in address;
char request[4096];
bool counting, stopping;
double progress;
size_t opened, under_way, failures, lost;
uint64_t messages;
char first_failure[200];
static int poller;

static void watch(struct connection *c, bool out) {
  struct epoll_event event = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c};
  if (epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event) < 0) fail("epoll_ctl: %s", strerror(errno));
  c->wants_out = out;
}

void forget(struct connection *c) {
  if (c->fd >= 0) close(c->fd);
  free(c->answer);
  c->answer = NULL;
  c->fd = -1;
  c->phase = ENDED;
}

void lose(struct connection *c, const char *why) {
  if (!*first_failure) {
    snprintf(first_failure, sizeof first_failure, "%s", why);
    /* Make it safe for JSON. */
    for (char *at = first_failure; *at; at++)
      if (*at < ' ' || *at > '~' || *at == '"' || *at == '\\') *at = '?';
  }
  if (mode == ECHO_MODE) fail("connection %d is lost after %lu messages: %s", c->id, c->answered, why);
  /* In a storm, finished connections wait for the others. */
  if (mode != STORM_MODE || c->answered == 0) under_way--;
  forget(c);
  failures++;
  lost++;
}

void begin(struct connection *c) {
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

void flush(struct connection *c) {
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
        /* A pong or a close waits only for the end of this frame. */
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

void ask(struct connection *c) {
  if (c->asked_at) c->asked_at[c->asked % c->group->depth] = now();
  c->asked++;
}

void send_control(struct connection *c, int kind, const unsigned char *payload, size_t length) {
  if (c->control_offset > 0) return;
  c->control[0] = 0x80 | kind;
  c->control[1] = 0x80 | length;
  memcpy(c->control + 2, MASK, 4);
  for (size_t i = 0; i < length; i++) c->control[6 + i] = payload[i] ^ MASK[i & 3];
  c->control_length = 6 + length;
}

void on_open(struct connection *c) {
  c->phase = OPEN;
  opened++;
  if (mode == ECHO_MODE) {
    under_way--;
    return;
  }
  ask(c);
}

void on_message(struct connection *c) {
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

/* The server ends TCP after the close handshake. */
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

/* Reads the answer to the upgrade; frames follow it. */
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
    c->answer[strcspn(c->answer, "\r\n")] = 0;
    snprintf(why, sizeof why, "refused: %.40s", c->answer);
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
      else lose(c, why);
      return;
    }
    if (!(c->phase == UPGRADING ? read_answer(c, buffer, count) : read_frames(c, buffer, count))) return;
  }
  if (c->phase == OPEN || c->phase == CLOSING) flush(c);
}

void open_poller(void) {
  poller = epoll_create1(EPOLL_CLOEXEC);
  if (poller < 0) fail("epoll_create1: %s", strerror(errno));
}

void poll_until(double until) {
  struct epoll_event events[512];
  double left = until - now();
  int count = epoll_wait(poller, events, 512, left <= 0 ? 0 : left > 0.1 ? 100 : (int)(left * 1000) + 1);
  if (count < 0 && errno != EINTR) fail("epoll_wait: %s", strerror(errno));
  for (int i = 0; i < count; i++) {
    struct connection *c = events[i].data.ptr;
    if (c->fd >= 0) on_event(c, events[i].events);
  }
}
