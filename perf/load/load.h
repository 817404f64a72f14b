/* What the parts of the load generator share; `perf/load.c` says what it does. */
#ifndef LOAD_H
#define LOAD_H
#define _GNU_SOURCE
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A message begins with the numbers of its connection and of itself, so that no reply passes for another. */
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
  /* Messages that are to be written, that are written, that are answered, and that count. */
  uint64_t asked, written, answered, counted;
  /* How much of the next message is written, and when each of those under way was asked for. */
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

struct usage {
  double cpu_seconds, peak_mebibytes, own_seconds, idle_seconds;
};

/* What is measured, and of whom: set before the first connection. */
extern enum mode mode;
extern int opcode, server_pid;
extern struct sockaddr_in address;
extern char request[4096];

/* How it goes. */
extern bool counting, stopping;
extern double progress;
/* `under_way`: connections that are not open yet; in the other modes, that are not through. */
extern size_t opened, under_way, failures, lost;
extern uint64_t messages;
extern char first_failure[200];

/* figures.c: the clock, and what is printed. */
_Noreturn void fail(const char *format, ...);
void *room_for(size_t count, size_t size);
double now(void);
void add_time(struct times *times, double from);
void print_times(struct times *times);
struct usage read_usage(void);
void print_usage(struct usage before, uint64_t units, double took);

/* frames.c: messages on the wire, and the comparison of what comes back. */
extern const unsigned char MASK[4];
void prepare(struct group *group);
void write_stamp(unsigned char *at, int id, uint64_t message);
/* Returns whether the connection goes on. */
bool read_frames(struct connection *c, const unsigned char *bytes, size_t count);

/* connection.c: sockets, and what a connection does in each mode. */
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
