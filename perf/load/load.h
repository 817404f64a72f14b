/* Shared by the parts of the load generator; see `perf/load.c`. */
#ifndef LOAD_H
#define LOAD_H
#define _GNU_SOURCE
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A message starts with its connection's and its own number, so that no two replies are equal. */
#define STAMP 16

enum { TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };
enum mode { ECHO_MODE, CONNECT_MODE, STORM_MODE };
enum phase { CONNECTING, UPGRADING, OPEN, CLOSING, ENDED };

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
  /* Messages to write, written, answered, and counted. */
  uint64_t asked, written, answered, counted;
  /* Written bytes of the next message, and the start times of the messages in flight. */
  size_t offset;
  double *asked_at;
  /* An outgoing control frame: a pong, or our close. */
  unsigned char control[131];
  size_t control_length, control_offset;
  /* The answer to the upgrade, then the head of the current frame. */
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

struct usage {
  double cpu_seconds, peak_mebibytes, own_seconds, idle_seconds;
};

/* Settings, fixed before the first connection. */
extern enum mode mode;
extern int opcode, server_pid;
extern struct sockaddr_in address;
extern char request[4096];

/* Progress. */
extern bool counting, stopping;
extern double progress;
/* `under_way`: in echo, connections not open yet; in the other modes, not done yet. */
extern size_t opened, under_way, failures, lost;
extern uint64_t messages;
extern char first_failure[200];

/* figures.c: the clock, and the output. */
_Noreturn void fail(const char *format, ...);
void *room_for(size_t count, size_t size);
double now(void);
void add_time(struct times *times, double from);
void print_times(struct times *times);
struct usage read_usage(void);
void print_usage(struct usage before, uint64_t units, double took);

/* frames.c: messages on the wire, and the comparison of replies. */
extern const unsigned char MASK[4];
void prepare(struct group *group);
void write_stamp(unsigned char *at, int id, uint64_t message);
/* Returns whether the connection continues. */
bool read_frames(struct connection *c, const unsigned char *bytes, size_t count);

/* connection.c: sockets, and the connection's part in each mode. */
void begin(struct connection *c);
void flush(struct connection *c);
void ask(struct connection *c);
void send_control(struct connection *c, int kind, const unsigned char *payload, size_t length);
void on_open(struct connection *c);
void on_message(struct connection *c);
void lose(struct connection *c, const char *why);
void forget(struct connection *c);
void poll_until(double until);
void open_poller(void);

#endif
