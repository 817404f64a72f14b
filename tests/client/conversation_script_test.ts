/** Conversations: a peer that does not follow the script. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { client } from "../support/command.ts";
import { rawPeer, type Script, TEXT } from "../support/raw_peer.ts";

/** A peer whose first connection runs a script after the upgrade. */
function upgraded(script: Script) {
  return rawPeer(async (socket) => {
    await socket.upgrade();
    await script(socket);
  });
}

/** A peer that does not follow the script, and the client's report. */
const SCRIPTS: readonly {
  readonly does: string;
  readonly script: Script;
  readonly args?: readonly string[];
  readonly input?: string;
  readonly code: number;
  readonly says?: string;
}[] = [
  {
    does: "greets, answers the first line and never the second",
    args: ["--close-timeout", "0.3"],
    script: async (socket) => {
      await socket.frame(TEXT, "welcome");
      await socket.echoOne();
      await socket.untilGone();
    },
    code: 6,
    says: "use --skip 1",
  },
  {
    does: "answers the first line twice and never the second",
    args: ["--close-timeout", "0.3"],
    script: async (socket) => {
      const { payload } = await socket.readFrame();
      await socket.frame(TEXT, payload);
      await socket.frame(TEXT, payload);
      await socket.untilGone();
    },
    code: 6,
    says: "wrong-reply (exit 6): ",
  },
  {
    does: "answers the last line twice",
    script: async (socket) => {
      await socket.echoOne();
      const { payload } = await socket.readFrame();
      await socket.frame(TEXT, payload);
      await socket.frame(TEXT, payload);
      await socket.answerClose();
    },
    code: 6,
    says: 'A message came unasked: text, 3 bytes: "two"\n  the reply came twice\n',
  },
  {
    does: "answers with something else",
    script: async (socket) => {
      await socket.readFrame();
      await socket.frame(TEXT, "One");
      await socket.answerClose();
    },
    code: 6,
    says: 'at byte 0: "One" instead of "one"',
  },
  {
    does: "answers with anything, with --reply-any",
    args: ["--reply-any"],
    script: async (socket) => {
      for (const reply of ["1", "2"]) {
        await socket.readFrame();
        await socket.frame(TEXT, reply);
      }
      await socket.answerClose();
    },
    code: 0,
  },
  {
    does: "says more than one thing to the last line, with --reply-any",
    args: ["--reply-any"],
    script: async (socket) => {
      for (const replies of [["1"], ["2", "3"]]) {
        await socket.readFrame();
        for (const reply of replies) await socket.frame(TEXT, reply);
      }
      await socket.answerClose();
    },
    code: 6,
    says: 'A message came unasked: text, 1 byte: "3"',
  },
  {
    does: "does not answer the second line, with --reply-any",
    args: ["--reply-any", "--reply-timeout", "0.3"],
    script: async (socket) => {
      await socket.echoOne();
      await socket.readFrame();
      await socket.answerClose();
    },
    code: 5,
  },
  {
    does: "answers each line with what matches",
    args: ["--reply-match", "^ok"],
    script: async (socket) => {
      for (const reply of ["ok 1", "ok 2"]) {
        await socket.readFrame();
        await socket.frame(TEXT, reply);
      }
      await socket.answerClose();
    },
    code: 0,
  },
  {
    does: "answers a line with what does not match",
    args: ["--reply-match", "^ok"],
    script: async (socket) => {
      for (const reply of ["ok 1", "no 2"]) {
        await socket.readFrame();
        await socket.frame(TEXT, reply);
      }
      await socket.answerClose();
    },
    code: 6,
    says: "which does not match",
  },
  {
    does: "speaks where --reply-none expects silence",
    args: ["--reply-none"],
    script: async (socket) => {
      await socket.echoOne();
      await socket.readFrame();
      await socket.answerClose();
    },
    code: 6,
    says: "came unasked",
  },
  {
    does: "greets although no line comes",
    input: "",
    script: async (socket) => {
      await socket.frame(TEXT, "welcome");
      await socket.answerClose();
    },
    code: 0,
  },
  {
    does: "greets although nothing is expected and no line comes",
    input: "",
    args: ["--reply-none"],
    script: async (socket) => {
      await socket.frame(TEXT, "welcome");
      await socket.answerClose();
    },
    code: 6,
  },
  {
    does: "finds a line too big",
    script: async (socket) => {
      await socket.readFrame();
      await socket.closeFrame(1009);
      await socket.untilGone();
    },
    code: 7,
    says: "after 0 replies to 1 line\n  the server accepts only shorter messages",
  },
];
for (const { does, script, args = [], input = "one\ntwo\n", code, says = "" } of SCRIPTS) {
  for (const transport of ["builtin", "wire"]) {
    Deno.test(`client -i exits with ${code} when the peer ${does}, over ${transport}`, async () => {
      await using peer = upgraded(script);
      const outcome = await client(
        ["-i", "--transport", transport, ...args, peer.url],
        input,
      );
      assertEquals(outcome.code, code, outcome.stderr);
      assertStringIncludes(outcome.stderr, says);
    });
  }
}
