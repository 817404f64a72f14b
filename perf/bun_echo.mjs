// The echo of Bun, over its own server.
const server = globalThis.Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: (request, server) =>
    server.upgrade(request) ? undefined : new Response("ask for the upgrade", { status: 426 }),
  websocket: { message: (socket, message) => void socket.send(message) },
});
console.log(`Listening on ws://127.0.0.1:${server.port}/`);
