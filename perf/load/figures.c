/* The clock, memory, and the output of times and of the server's usage. */
#include "load.h"
#include <dirent.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

_Noreturn void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("load: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  exit(1);
}

void *room_for(size_t count, size_t size) {
  void *room = calloc(count ? count : 1, size);
  if (!room) fail("no memory");
  return room;
}

double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec / 1e9;
}

void add_time(struct times *times, double from) {
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

void print_times(struct times *times) {
  qsort(times->micros, times->count, sizeof *times->micros, compare_micros);
  size_t n = times->count;
  uint32_t *at = times->micros;
  if (n == 0) printf("\"p50\":null,\"p99\":null,\"worst\":null");
  else printf("\"p50\":%u,\"p99\":%u,\"worst\":%u", at[n / 2], at[n * 99 / 100], at[n - 1]);
}

static void add_usage(int of, struct usage *usage) {
  char path[300], text[1024], *at;
  snprintf(path, sizeof path, "/proc/%d/stat", of);
  FILE *file = fopen(path, "r");
  if (!file) return;
  size_t length = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[length] = 0;
  unsigned long user, system;
  /* The name in parentheses may contain spaces. */
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

/* Idle time of the cores that this process may use. */
static double read_idle(void) {
  cpu_set_t own;
  FILE *file = fopen("/proc/stat", "r");
  if (!file || sched_getaffinity(0, sizeof own, &own) < 0) return 0;
  char line[1024];
  int core;
  unsigned long idle, waiting, sum = 0;
  while (fgets(line, sizeof line, file))
    if (sscanf(line, "cpu%d %*u %*u %*u %lu %lu", &core, &idle, &waiting) == 3 && CPU_ISSET(core, &own))
      sum += idle + waiting;
  fclose(file);
  return (double)sum / sysconf(_SC_CLK_TCK);
}

struct usage read_usage(void) {
  struct usage usage = {.idle_seconds = read_idle()};
  struct rusage own;
  getrusage(RUSAGE_SELF, &own);
  usage.own_seconds = own.ru_utime.tv_sec + own.ru_stime.tv_sec + (own.ru_utime.tv_usec + own.ru_stime.tv_usec) / 1e6;
  if (server_pid) add_usage(server_pid, &usage);
  return usage;
}

void print_usage(struct usage before, uint64_t units, double took) {
  struct usage after = read_usage();
  printf(",\"loadShare\":%.2f,\"idleSeconds\":%.2f", (after.own_seconds - before.own_seconds) / took,
         after.idle_seconds - before.idle_seconds);
  if (!server_pid) return;
  double cpu = after.cpu_seconds - before.cpu_seconds;
  printf(",\"cpuSeconds\":%.2f,\"cpuMicros\":%.3f,\"peakMebibytes\":%.1f", cpu, units ? cpu / units * 1e6 : 0,
         after.peak_mebibytes);
}
