/** A WebSocket client in ten lines without wsproof: connect, send, receive, compare, close, with a deadline. */
const [url = "", deadlineMs] = Deno.args;
const socket = new WebSocket(url);
if (deadlineMs !== undefined) setTimeout(() => Deno.exit(5), Number(deadlineMs));
socket.onopen = () => socket.send("Hello world");
socket.onmessage = ({ data }) => {
  if (data !== "Hello world") Deno.exit(6);
  socket.close(1000);
};
socket.onerror = () => Deno.exit(7);
socket.onclose = ({ code }) => Deno.exit(code === 1000 ? 0 : 8);
