"""Python's websockets with compression.

    peer.py serve PARAMETERS              echoes until killed, and prints its URL
    peer.py connect PARAMETERS URL COUNT SEED  sends random messages and compares the echoes

PARAMETERS are those of the extension's factories, as JSON.
"""

import asyncio
import json
import random
import sys

import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory

MAX_BYTES = 1024 * 1024
DEPTH = 16
WORDS = ["Hello", " world ", '{"id":', "é€😀", "\0", "}\n", "0", "a" * 16, '"name": "', "ß"]


async def echo(connection, *_):
    async for message in connection:
        await connection.send(message)


async def serve(parameters):
    extensions = [ServerPerMessageDeflateFactory(**parameters)]
    options = dict(compression=None, extensions=extensions, max_size=None)
    async with websockets.serve(echo, "127.0.0.1", 0, **options) as server:
        print(f"Listening on ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", flush=True)
        await asyncio.Future()


def messages(count, seed):
    numbers = random.Random(seed)
    noise = numbers.randbytes(2 * MAX_BYTES)
    text = "".join(str(numbers.randrange(10**9)) if numbers.random() < 0.2 else numbers.choice(WORDS) for _ in range(500_000))
    for _ in range(count):
        size = 0 if numbers.random() < 0.03 else int(2 ** (20 * numbers.random() ** 1.5))
        at = numbers.randrange(MAX_BYTES)
        if numbers.random() < 0.4:
            yield numbers, noise[at : at + size]
        else:
            yield numbers, text[at : at + (size if size < MAX_BYTES // 3 else size // 3)]


async def pieces(parts):
    for part in parts:
        yield part


async def connect(parameters, url, count, seed):
    extensions = [ClientPerMessageDeflateFactory(**parameters)]
    options = dict(compression=None, extensions=extensions, max_size=None)
    async with websockets.connect(url, **options) as connection:
        waiting = asyncio.Queue(DEPTH)

        async def send():
            for numbers, message in messages(count, seed):
                await waiting.put(message)
                if len(message) > 1 and numbers.random() < 0.3:
                    cuts = sorted(numbers.randrange(len(message) + 1) for _ in range(numbers.randrange(1, 5)))
                    ends = [*cuts, len(message)]
                    await connection.send(pieces([message[a:b] for a, b in zip([0, *cuts], ends)]))
                else:
                    await connection.send(message)

        sending = asyncio.create_task(send())
        total = 0
        for number in range(count):
            found = await connection.recv()
            expected = await waiting.get()
            if found != expected:
                sys.exit(f"Message {number + 1} of the seed {seed} came back changed")
            total += len(found)
        await sending
        text = ", ".join(str(each) for each in connection.extensions)
        print(json.dumps({"messages": count, "bytes": total, "extensions": text}))


mode, parameters, *rest = sys.argv[1:]
if mode == "serve":
    asyncio.run(serve(json.loads(parameters)))
else:
    url, count, seed = rest
    asyncio.run(connect(json.loads(parameters), url, int(count), int(seed)))
