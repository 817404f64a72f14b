/* Messages on the wire: each starts with a stamp; every byte of a reply is compared. */
#include "load.h"
#include <stdio.h>
#include <string.h>

const unsigned char MASK[4] = {0x37, 0xfa, 0x21, 0x3d};

void write_stamp(unsigned char *at, int id, uint64_t message) {
  static const char digits[] = "0123456789abcdef";
  for (int i = 5; i >= 0; i--, id >>= 4) at[i] = digits[id & 15];
  for (int i = 15; i >= 6; i--, message >>= 4) at[i] = digits[message & 15];
}

void prepare(struct group *group) {
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
  /* A period of 25 * 251 bytes reveals missing bytes. */
  for (size_t i = 0; i < n; i++) group->payload[i] = 'a' + (i + i / 251) % 25;
  for (size_t i = 0; i < n; i++) group->masked[i] = group->payload[i] ^ MASK[i & 3];
}

static void wrong_byte(struct connection *c, size_t at, int is, int expected) {
  fail("wrong reply: byte %zu of message %lu on connection %d is 0x%02x, not 0x%02x", at, c->answered, c->id, is,
       expected);
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
    int length = c->control_in_length > 2 ? c->control_in_length - 2 : 0;
    snprintf(why, sizeof why, "closed with %d %.*s", code, length, (const char *)c->control_in + 2);
    lose(c, why);
    return false;
  }
  c->phase = ENDED;
  return true;
}

static void begin_frame(struct connection *c) {
  int kind = c->head[0] & 15;
  if (c->head[0] & 0x70 || c->head[1] & 0x80)
    fail("wrong reply: a frame head of 0x%02x%02x on connection %d", c->head[0], c->head[1], c->id);
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
  if (c->left > c->group->bytes - c->message_offset)
    fail("wrong reply: message %lu on connection %d is too long", c->answered, c->id);
}

static bool end_frame(struct connection *c) {
  c->in_frame = false;
  if ((c->head[0] & 15) >= 8) return on_control(c);
  if (!(c->head[0] & 0x80)) return true;
  if (c->message_offset != c->group->bytes)
    fail("wrong reply: message %lu on connection %d is too short", c->answered, c->id);
  c->message_offset = 0;
  c->message_begun = false;
  on_message(c);
  return true;
}

bool read_frames(struct connection *c, const unsigned char *bytes, size_t count) {
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
