// The echo of npm ws on Node with compression: `ws_deflate_echo.mjs FOLDER OPTIONS`, the options of perMessageDeflate as JSON.
import { createRequire } from "node:module";
import process from "node:process";

const { WebSocketServer } = createRequire(`${process.argv[2]}/`)("ws");
const perMessageDeflate = JSON.parse(process.argv[3]);
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate });
server.on("listening", () => console.log(`Listening on ws://127.0.0.1:${server.address().port}/`));
server.on("connection", (socket) => socket.on("message", (data, binary) => socket.send(data, { binary })));
