// The compressing echo of Bun.
const server = globalThis.Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: (request, server) => server.upgrade(request) ? undefined : new Response(null, { status: 426 }),
  websocket: {
    perMessageDeflate: true,
    maxPayloadLength: 16 * 1024 * 1024,
    backpressureLimit: 1024 * 1024 * 1024,
    message: (socket, message) => void socket.send(message, true),
  },
});
console.log(`Listening on ws://127.0.0.1:${server.port}/`);
