"""The echo server of Python's websockets, for the interoperation tests: prints its port, and echoes until killed."""

import asyncio
import ssl
import sys

import websockets


async def echo(connection, *_):
    async for message in connection:
        await connection.send(message)


async def main():
    context = None
    if len(sys.argv) == 3:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[1], sys.argv[2])
    async with websockets.serve(echo, "127.0.0.1", 0, ssl=context, max_size=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


asyncio.run(main())
