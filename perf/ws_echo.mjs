// The echo of npm ws on Node; its argument is the folder with ws.
import { createRequire } from "node:module";
import process from "node:process";

const { WebSocketServer } = createRequire(`${process.argv[2]}/`)("ws");
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, maxPayload: 16 * 1024 * 1024 });
server.on("listening", () => console.log(`Listening on ws://127.0.0.1:${server.address().port}/`));
server.on("connection", (socket) => socket.on("message", (data, binary) => socket.send(data, { binary })));
