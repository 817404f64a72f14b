/** `wsproof check` through the real command line: our own server passes, others fail in known ways. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { CASES } from "../../lib/check/cases/mod.ts";
import { client, type Outcome, outcomeOf, reportOf, serverProcess, start, startScript } from "../support/command.ts";
import { escapeUnprintable } from "../../lib/protocol/message.ts";
import { rawPeer } from "../support/raw_peer.ts";
import { type Fault, type Mutant, serveMutant } from "../support/mutant_server.ts";

const ROOT = new URL("../../", import.meta.url);

/** Runs the command, with a deadline for loaded machines. */
function check(...args: string[]): Promise<Outcome> {
  return outcomeOf(start("main.ts", ["check", "--case-timeout", "60", ...args], { permissions: ["--allow-write"] }));
}

// deno-lint-ignore no-explicit-any -- the tests read the JSON as any program would, and assert its form
type Entry = any;

/** The grades of a report, by Autobahn's numbers. */
function byNumber(report: Entry): Map<string, string> {
  return new Map(
    report.cases.flatMap(({ autobahn, grade }: Entry) => autobahn.map((number: string) => [number, grade])),
  );
}

/** The cases without a pass, by Autobahn's numbers. */
function wrongNumbers(report: Entry): Record<string, string> {
  return Object.fromEntries([...byNumber(report)].filter(([, grade]) => grade !== "pass"));
}

Deno.test("check proves the server over our own frames, in every case of the profile full", async () => {
  await using server = await serverProcess("--transport", "wire");
  const outcome = await check("--json", "--profile", "full", server.url);
  const report = reportOf(outcome);
  assertEquals(report.unexpected, []);
  assertEquals([outcome.code, report.verdict, report.cases.length], [0, "proven", CASES.length]);
  assertEquals(report.cases.filter(({ grade }: Entry) => grade !== "pass").map(({ id }: Entry) => id), []);
  // Each case of Autobahn's groups 1 to 7, 9 and 10 has a counterpart.
  assertEquals(byNumber(report).size, 301);
});

Deno.test("check agrees with Autobahn about ten bare lines of Deno", async () => {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-net", new URL("perf/bare_echo.ts", ROOT).pathname],
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const { value = "" } = await reader.read();
  const [url = ""] = /ws:\S+/.exec(value) ?? [];
  const outcome = await check("--json", url);
  child.kill();
  await child.status;
  await reader.cancel();
  assertEquals(outcome.code, 9);
  assertEquals(wrongNumbers(reportOf(outcome)), { "6.4.3": "not-strict", "6.4.4": "not-strict", "7.3.6": "fail" });
});

Deno.test("check agrees with Autobahn about the built-in server", async () => {
  await using server = await serverProcess("--transport", "builtin");
  const report = reportOf(await check("--json", server.url));
  assertEquals(wrongNumbers(report), { "6.4.3": "not-strict", "6.4.4": "not-strict", "7.3.6": "fail" });
});

Deno.test("check agrees with Autobahn about npm ws with its default limits, except for its limits of fragments", async () => {
  const child = startScript(`
    import { WebSocketServer } from "npm:ws@8.23.0";
    const server = new WebSocketServer({ host: "127.0.0.1", port: 0 }, () => console.log(server.address().port));
    server.on("connection", (socket) => {
      socket.on("error", () => {});
      socket.on("message", (data, binary) => socket.send(data, { binary }));
    });`);
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const { value = "" } = await reader.read();
  const report = reportOf(await check("--json", `ws://127.0.0.1:${value.trim()}/`));
  child.kill("SIGKILL");
  await Promise.all([child.status, reader.cancel(), child.stderr.cancel()]);
  const lax = (...numbers: string[]) => Object.fromEntries(numbers.map((number) => [number, "not-strict"]));
  // Autobahn fails the last four; an announced limit is legal (RFC 6455 section 10.4).
  assertEquals(wrongNumbers(report), lax("6.4.1", "6.4.2", "6.4.3", "6.4.4", "9.3.1", "9.3.2", "9.4.1", "9.4.2"));
  const refused = report.cases.find(({ autobahn }: Entry) => autobahn.includes("9.3.1"));
  assertStringIncludes(refused.reason, "1008");
});

async function withMutant<T>(fault: Fault, run: (server: Mutant) => Promise<T>): Promise<T> {
  await using server = serveMutant(fault);
  return await run(server);
}

const RESTART = "6455/5.4/restart";

Deno.test("check shows a failure in full: the rule, the section, the bytes, and how to run it alone", async () => {
  await withMutant({ ignores: ["restart"] }, async ({ url }) => {
    const { code, stdout, stderr } = await check(url, "5.18", "6455/5.4/stray-empty");
    assertEquals(code, 9);
    assertEquals(stderr.split("\n")[0], "not-conformant (exit 9): 1 of 2 cases failed");
    for (
      const part of [
        `FAIL ${RESTART}`,
        "(RFC 6455 section 5.4, must, Autobahn 5.18)",
        '> text, 9 bytes, masked: "fragment1"',
        '< text FIN, 9 bytes: "fragment2"',
        `wsproof check --trace --case-timeout 60 ${url} ${RESTART}`,
      ]
    ) assertStringIncludes(stdout, part);
  });
});

Deno.test("check --trace shows every frame on stderr, with the case that it belongs to", async () => {
  await withMutant({}, async ({ url }) => {
    const { code, stderr } = await check("--trace", url, RESTART);
    assertEquals(code, 0);
    assertMatch(stderr, /> text, 9 bytes, masked: "fragment1"\n.*> text FIN.*\n.*< close FIN, 2 bytes: 1002/);
    assertStringIncludes(stderr, `= ${RESTART}: pass`);
  });
});

Deno.test("check --write-baseline names failures, which then pass; new and stale ones fail", async () => {
  const file = await Deno.makeTempFile();
  try {
    await withMutant({ ignores: ["restart"] }, async ({ url }) => {
      assertEquals((await check("--write-baseline", "--baseline", file, url, "fragments")).code, 0);
      assertMatch(await Deno.readTextFile(file), /^6455\/5\.4\/restart # fail: Server did not fail/m);
      assertEquals((await check("--baseline", file, url, "fragments")).code, 0);
    });
    await withMutant({ ignores: ["restart", "stray"] }, async ({ url }) => {
      const report = reportOf(await check("--json", "--baseline", file, url, "6455/5.4"));
      assertEquals([report.exitCode, report.known.includes(RESTART), report.unexpected.includes(RESTART)], [
        9,
        true,
        false,
      ]);
      assert(report.unexpected.includes("6455/5.4/stray-empty"));
    });
    await withMutant({}, async ({ url }) => {
      const { code, stdout } = await check("--baseline", file, url, "fragments");
      assertEquals(code, 9);
      assertStringIncludes(stdout, "In the baseline, but passed or gone: remove them");
    });
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("check --strict counts a broken SHOULD", async () => {
  await withMutant({ ignores: ["minimal"] }, async ({ url }) => {
    assertEquals((await check("-q", url, "framing")).code, 0);
    assertEquals((await check("-q", "--strict", url, "framing")).code, 9);
  });
});

Deno.test("check --no-echo skips the cases that need an echo, and judges the rest", async () => {
  const silent: Fault = { frame: (frame) => frame.opcode <= 2 ? [] : [frame] };
  await withMutant(silent, async ({ url }) => {
    const report = reportOf(await check("--json", "--no-echo", url, "control", "fragments", "framing"));
    assertEquals([report.exitCode, report.unexpected], [0, []]);
    assert(report.counts.skipped > 20, `${report.counts.skipped}`);
    const restart = report.cases.find(({ id }: Entry) => id === RESTART);
    assertEquals(restart.grade, "pass");
    const { stdout } = await check("--no-echo", url, "control", "fragments", "framing");
    assertStringIncludes(stdout, `\nSkipped\n  ${report.counts.skipped} cases: needs an echo (--no-echo)\n\n`);
  });
});

Deno.test("check --reply-match accepts replies that are not an echo", async () => {
  const answer = new TextEncoder().encode("pong 1");
  const other: Fault = { frame: (frame) => frame.opcode <= 2 ? [{ opcode: 1, payload: answer }] : [frame] };
  await withMutant(other, async ({ url }) => {
    assertEquals((await check("-q", "--reply-match", "^pong [0-9]$", url, "fragments", "close")).code, 0);
    assertEquals((await check("-q", "--reply-match", "^ping", url, "fragments", "close")).code, 9);
  });
});

Deno.test("check writes JUnit XML, a page and Autobahn's index", async () => {
  const folder = await Deno.makeTempDir();
  const [junit, html] = ["junit.xml", "page.html"].map((name) => `${folder}/${name}`);
  try {
    await withMutant({ ignores: ["restart"] }, async ({ url }) => {
      const files = ["--junit", junit ?? "", "--html", html ?? "", "--autobahn", `${folder}/a/b`];
      assertEquals((await check("-q", ...files, url, "fragments", "7.1.6")).code, 9);
      const xml = await Deno.readTextFile(junit ?? "");
      assertMatch(xml, /<testsuite name="fragments" tests="\d+" failures="3" skipped="0"/);
      assertMatch(
        xml,
        /<testcase classname="RFC 6455 section 5\.4" name="6455\/5\.4\/restart" time="[\d.]+">\n +<failure type="fail"/,
      );
      const page = await Deno.readTextFile(html ?? "");
      assertMatch(page, /default-src 'none'.*<svg.*RFC 6455: \d+ of \d+ passed/s);
      assertEquals(/(src|href)="/.test(page), false);
      const { [url]: index } = JSON.parse(await Deno.readTextFile(`${folder}/a/b/index.json`));
      assertEquals([index["5.18"].behavior, index["5.3"].behavior, index["7.1.6"].behavior], [
        "FAILED",
        "OK",
        "INFORMATIONAL",
      ]);
      assertEquals(index["5.3"].remoteCloseCode, 1000);
      // Each file that the index names is there, and says the same; no other file is.
      const names = [...Deno.readDirSync(`${folder}/a/b`)].map(({ name }) => name).sort();
      const named = Object.values(index).map((entry: Entry) => entry.reportfile);
      assertEquals(names, [...named, "index.json"].sort());
      const { host } = new URL(url);
      assertEquals(index["5.18"].reportfile, `ws___${host.replaceAll(/[.:]/g, "_")}_case_5_18.json`);
      for (const [number, entry] of Object.entries<Entry>(index)) {
        const one = JSON.parse(await Deno.readTextFile(`${folder}/a/b/${entry.reportfile}`));
        const { behavior, behaviorClose, duration, remoteCloseCode } = one;
        const { reportfile: _, ...rest } = entry;
        assertEquals([one.id, one.agent, { behavior, behaviorClose, duration, remoteCloseCode }], [number, url, rest]);
      }
      const restart = JSON.parse(await Deno.readTextFile(`${folder}/a/b/${index["5.18"].reportfile}`));
      assertMatch(restart.result, /^Server did not fail the connection/);
      assertMatch(restart.expectation, /before the previous message has ended\. \(RFC 6455 section 5\.4\)$/);
      assertEquals(restart.wire[0], '> text, 9 bytes, masked: "fragment1"');
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("check exits with 3 if nothing listens, and with 4 if nothing is upgraded", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  assertEquals((await check("-q", `ws://127.0.0.1:${port}/`)).code, 3);
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response("no"));
  const refused = await check(`ws://127.0.0.1:${server.addr.port}/`);
  await server.shutdown();
  assertEquals([refused.code, refused.stdout], [4, ""]);
  assertMatch(refused.stderr, /^handshake-refused \(exit 4\)/);
});

Deno.test("check --json prints one object with the verdict and no case, if there is nothing to check", async () => {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response("no"));
  const refused = await check("--json", `ws://u:secret@127.0.0.1:${server.addr.port}/`);
  await server.shutdown();
  const gone = await check("--json", `ws://127.0.0.1:${server.addr.port}/`);
  const proven = await withMutant({}, ({ url }) => check("--json", url, RESTART));
  const [first, second, third] = [refused, gone, proven].map(reportOf);
  assertEquals([first.ok, first.verdict, first.exitCode, refused.code], [false, "handshake-refused", 4, 4]);
  assertEquals([second.ok, second.verdict, second.exitCode, gone.code], [false, "no-connection", 3, 3]);
  assertEquals(second.problem, `No connection to 127.0.0.1:${server.addr.port}: connection refused`);
  assertEquals([second.cases, second.counts.pass, second.unexpected, second.hint.length > 0], [[], 0, [], true]);
  assertEquals(refused.stdout.includes("secret"), false);
  // A program reads one form.
  assertEquals([Object.keys(first), Object.keys(second)], [Object.keys(third), Object.keys(third)]);
  assertEquals([third.problem, third.hint, third.cases.length], ["", "", 1]);
});

Deno.test("check continues if the answer to the handshake is a faulty upgrade", async () => {
  await withMutant(
    { answer: (line, fields) => [line, fields.filter(([name]) => !name.endsWith("Accept"))] },
    async ({ url }) => {
      const report = reportOf(await check("--json", url, "handshake"));
      assertEquals([report.exitCode, report.unexpected], [9, ["6455/4.2.2/accept-key", "6455/1.3/accept-key-example"]]);
    },
  );
});

Deno.test("check shows the offer and the answer, when a server accepts an offer that it should decline", async () => {
  await withMutant({ deflate: { ignores: ["offers"] } }, async ({ url }) => {
    const { code, stdout } = await check(url, "7692/7.1/declines-window-7");
    assertEquals(code, 9);
    assertMatch(stdout, /> Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7\n/);
    assertMatch(stdout, /< Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7\n/);
  });
});

Deno.test("check drops a server that sends endlessly, and reports it", async () => {
  // Each pong begins a frame of 1 TiB; its payload would have to come first.
  const endless: Fault = {
    frame: (frame) => frame.opcode === 10 ? [{ ...frame, opcode: 2, claimedLength: 2n ** 40n }] : [frame],
  };
  await withMutant(endless, async ({ url }) => {
    const report = reportOf(await check("--json", url, "2.2"));
    assertEquals([report.exitCode, report.counts.fail], [9, 1]);
    const [{ reason, wire }] = report.cases;
    assertEquals(reason, "Server sent too much: a frame longer than 64 MiB, 128 MiB in all, or 131,072 frames");
    assertEquals(wire.at(-1), "> end of TCP");
  });
});

Deno.test("check ends within its deadline, when a server is silent after the handshake", async () => {
  await withMutant({ frame: () => [], ignores: ["tcp-end", "sign-bit"] }, async ({ url }) => {
    const args = ["check", "--json", "--case-timeout", "1", url, "control"];
    const report = reportOf(await outcomeOf(start("main.ts", args)));
    assertEquals([report.exitCode, report.counts.pass], [9, 0]);
  });
});

for (
  const [args, line] of [
    [[], "There is no URL: give that of the server to check"],
    [["ws://127.0.0.1/", "frisbee"], 'Operand "frisbee" is neither a group'],
    [
      ["ws://127.0.0.1/", "idle"],
      'Operand "idle" is neither a group (handshake, framing, control, fragments, utf8, close, sizes, deflate) nor',
    ],
    [["--write-baseline", "ws://127.0.0.1/"], "Option --write-baseline needs --baseline FILE"],
    [["--profile", "huge", "ws://127.0.0.1/"], 'Option --profile cannot be "huge": give quick, standard or full'],
    [["--jobs", "0", "ws://127.0.0.1/"], 'Option --jobs cannot be "0": give a whole number from 1 to 256'],
    [["--baseline", "/nowhere/at/all", "ws://127.0.0.1/"], 'Cannot read "/nowhere/at/all"'],
    [["--no-echo", "--reply-match", "x", "ws://127.0.0.1/"], "Option --no-echo cannot be used with --reply-match"],
    [["--stress", "ws://example.com/"], "Option --stress floods example.com: add --i-own-this-server if it is yours"],
    [["127.0.0.1:80"], 'URL "127.0.0.1:80" does not begin with ws:// or wss://'],
  ] as const
) {
  Deno.test(`check says in one line what is wrong with ${JSON.stringify(args)}, and exits with 2`, async () => {
    const outcome = await outcomeOf(start("main.ts", ["check", ...args]));
    assertEquals([outcome.code, outcome.stdout], [2, ""]);
    assertMatch(outcome.stderr, /^wsproof: .*\n$/);
    assertStringIncludes(outcome.stderr, `wsproof: ${line}`);
  });
}

Deno.test("check --write-baseline says proven and exits with 0", async () => {
  const file = await Deno.makeTempFile();
  try {
    await withMutant({ ignores: ["restart"] }, async ({ url }) => {
      const outcome = await check("--write-baseline", "--baseline", file, url, RESTART);
      assertEquals([outcome.code, outcome.stderr], [0, `Wrote 1 known failure to ${file}\n`]);
      assertMatch(outcome.stdout, /^proven \(exit 0\): 1 failed/m);
    });
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("check calls no case of an option stale without that option", async () => {
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(file, "6455/5.4/sweep-4096\n6455/5.5.2/idle\n6455/10.4/stress-pings\n6455/0/gone\x1b\n");
    await withMutant({}, async ({ url }) => {
      const { code, stdout, stderr } = await check("--baseline", file, url, RESTART);
      assertEquals([code, stderr.split("\n")[0]], [9, "not-conformant (exit 9): 1 known failure no longer fails"]);
      assertMatch(stdout, /\n {2}6455\/0\/gone\\u001b\n/);
    });
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("check says before it connects that a report cannot be written, and leaves no file if nothing is checked", async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (const option of [["--junit"], ["--html"], ["--write-baseline", "--baseline"]]) {
      const outcome = await check(...option, `${folder}/none/x`, "ws://127.0.0.1:1/");
      assertEquals([outcome.code, outcome.stderr], [2, `wsproof: Cannot write "${folder}/none/x": no such file\n`]);
    }
    assertEquals((await check("-q", "--junit", `${folder}/x.xml`, "ws://127.0.0.1:1/")).code, 3);
    assertEquals([...Deno.readDirSync(folder)], []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("check hides the values of fields that may be secrets, and quotes the URL for a shell", async () => {
  await withMutant(
    {
      answer: (line, fields) => [line, [...fields.filter(([name]) => !name.endsWith("Accept")), ["Set-Cookie", "a=1"]]],
    },
    async ({ url }) => {
      const { stdout } = await check("-H", "X-Api-Key: mine", `${url}?a=1&b=2`, "6455/4.2.2/accept-key");
      const alone =
        `  alone   wsproof check --trace --case-timeout 60 -H 'X-Api-Key: ***' '${url}?a=1&b=2' 6455/4.2.2/accept-key\n` +
        "          (*** stands for a secret: fill it in)\n";
      for (const part of ["> X-Api-Key: ***", "< Set-Cookie: ***", alone]) assertStringIncludes(stdout, part);
      assertEquals(stdout.includes("mine"), false);
    },
  );
});

Deno.test("the task check has permission to write what the command writes", async () => {
  const { tasks } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
  assertStringIncludes(tasks.check.command, " --allow-write ");
});

Deno.test("check --list shows the cases that would run, without a server", async () => {
  const { code, stdout } = await client(["check", "--list", "--profile", "full"]);
  assertEquals([code, stdout.trimEnd().split("\n").length], [0, CASES.length]);
  assertStringIncludes(stdout, `${RESTART}  must, quick: `);
  assertEquals((await client(["check", "--list", "5.18"])).stdout.split("\n").length, 2);
  const extras = (await client(["check", "--list", "--sweep", "--idle", "--stress", "5.18"])).stdout.split("\n");
  for (const id of [RESTART, "6455/5.4/sweep-4096", "6455/5.5.2/idle", "6455/10.4/stress-bomb"]) {
    assertEquals(extras.filter((line) => line.startsWith(`${id}  `)).length, 1, id);
  }
});

Deno.test("help check shows what check --help shows, within 80 columns", async () => {
  const help = await client(["help", "check"]);
  assertEquals(help, await client(["check", "--help"]));
  assertEquals([help.code, help.stderr], [0, ""]);
  assertStringIncludes(help.stdout, "Usage: wsproof check [OPTIONS] URL");
  assertEquals(help.stdout.split("\n").filter((line) => line.length > 80), []);
});

Deno.test({
  name: "check ends with 130 at SIGINT, and says that nothing was proved",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    // Every case waits for a server that accepts connections but never answers.
    await withMutant({ frame: () => [], ignores: ["tcp-end"] }, async ({ url }) => {
      const child = start("main.ts", ["check", "--trace", "--json", url, "control"]);
      const reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
      let text = (await reader.read()).value ?? "";
      child.kill("SIGINT");
      for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
      const { code } = await child.status;
      const report = JSON.parse(await new Response(child.stdout).text());
      assertStringIncludes(text, "interrupted (exit 130): nothing was proved");
      assertEquals([report.verdict, report.exitCode, report.cases], ["interrupted", 130, []]);
      assertEquals(code, 130);
    });
  },
});

Deno.test("check writes no control or direction characters and no token of a server into its reports", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.upgrade("Sec-WebSocket-Protocol: wsproof.bearer.s3cret \u009b31m\u0085");
    await socket.untilGone();
  });
  const folder = await Deno.makeTempDir();
  try {
    const files = ["xml", "html", "txt"].map((ending) => `${folder}/report.${ending}`);
    const [junit = "", html = "", baseline = ""] = files;
    const reports = ["--junit", junit, "--html", html, "--baseline", baseline, "--write-baseline"];
    const name = "6455/4.2.2/no-unasked-subprotocol";
    const { stdout, stderr } = await check("--case-timeout", "1", ...reports, peer.url, name);
    for (const text of [stdout, stderr, ...await Promise.all(files.map((file) => Deno.readTextFile(file)))]) {
      assertEquals(text.split("\n"), text.split("\n").map(escapeUnprintable));
      assertEquals(text.includes("s3cret"), false);
    }
    assertStringIncludes(await Deno.readTextFile(junit), "\\u009b31m");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
