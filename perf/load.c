/*
 * Load for WebSocket servers on 127.0.0.1, over plain ws://, from one thread with epoll. Compares every reply with
 * its message: one wrong byte ends the run with exit code 1. Prints one line of JSON; times are in microseconds.
 *
 *   load echo URL GROUP ...   persistent connections: each sends its next message on a reply. A GROUP is
 *                             CONNECTIONSxBYTES or CONNECTIONSxBYTESxDEPTH, with DEPTH messages in flight (1)
 *   load connect URL          repeats connect, upgrade, one echo, close handshake, --at-once at a time (32)
 *   load storm URL            --connections (10000) connect at once; each needs its upgrade and one echo
 *
 *   --kind text|binary   the type of messages (text); those of storm and connect have 20 bytes
 *   --seconds S          measured time of echo and connect (3), after --warm S (0.5)
 *   --rounds N           how often a storm cuts and reopens all connections (1)
 *   --deadline S         deadline of a storm, and of echo for the next reply (30)
 *   --field TEXT         an additional request field; repeatable
 *   --pid PID            the server: adds the CPU time and peak memory of its processes
 *
 * "loadShare" is the share of a core that the load used: near 1, the load was the limit, not the server.
 * "idleSeconds" is the idle time of the cores that the load may use.
 */
#include "load/load.h"
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define OPENING_AT_ONCE 64
/* Message size in connect and storm, in bytes. */
#define SMALL 20
/* The example key of RFC 6455 section 1.3: its accept key needs no hash. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="

int opcode = TEXT, server_pid;
static double warm = 0.5, seconds = 3, deadline = 30;
static struct connection *connections;
static size_t connection_count, next_to_open;

static void run_echo(struct group *groups, int group_count) {
  for (double since = now(); opened < connection_count; poll_until(now() + 0.1)) {
    while (next_to_open < connection_count && under_way < OPENING_AT_ONCE) begin(&connections[next_to_open++]);
    if (now() - since > deadline)
      fail("only %zu of %zu connections are open after %g s", opened, connection_count, deadline);
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
    struct group *group = &groups[g];
    printf("%s{\"connections\":%d,\"bytes\":%zu,\"depth\":%d,", g ? "," : "", group->connections, group->bytes,
           group->depth);
    printf("\"messages\":%lu,\"least\":%lu,\"most\":%lu,", sum, least, most);
    print_times(&groups[g].times);
    printf("}");
  }
  printf("]}\n");
  /* Wait for the replies in flight, and compare them too. */
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
    for (size_t i = 0; i < connection_count; i++) {
      struct connection *c = &connections[i];
      if (c->fd >= 0 && now() - c->began > deadline) lose(c, "not through before the deadline");
      if (c->fd < 0) begin(c);
    }
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
  printf("{\"seconds\":%.3f,\"connections\":%lu,\"perSecond\":%.1f,\"failures\":%zu", took, messages, messages / took,
         failures);
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
    printf("%s{\"through\":%lu,\"lost\":%zu,\"waiting\":%zu,\"seconds\":%.3f,", round ? "," : "", messages, lost,
           under_way, now() - from);
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
  if (sscanf(url, "ws://127.0.0.1:%d%1023s", &port, path) < 1 || port <= 0)
    fail("not a URL of ws://127.0.0.1:PORT: %s", url);
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
  if (argument_count < 3) fail("needs a mode and a URL: the head of perf/load.c lists them");
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
    else if (!strcmp(word, "--pid")) server_pid = atoi(value);
    else if (!strcmp(word, "--field")) {
      size_t length = strlen(fields);
      snprintf(fields + length, sizeof fields - length, "%s\r\n", value);
    } else fail("not an option: %s", word);
  }
  if (mode == ECHO_MODE && group_count == 0) fail("echo needs groups");
  if (mode != ECHO_MODE && group_count > 0) fail("only echo has groups");
  read_url(arguments[2], fields);
  signal(SIGPIPE, SIG_IGN);
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  open_poller();
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
