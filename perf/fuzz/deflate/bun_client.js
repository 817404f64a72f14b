// Bun as the client: `bun_client.js URL COUNT SEED` prints the count of correct echoes, as JSON.
import { driveWebSocket } from "./driver.js";

const [url, count, seed] = globalThis.process.argv.slice(2);
console.log(JSON.stringify(await driveWebSocket(url, Number(count), Number(seed))));
globalThis.process.exit(0);
