"""The demo's TCP target: sends back every byte it is sent, and ends when its client has ended.

A program of its own, started by ``beside``. A client that closes its sending side still gets all of it.
"""

import asyncio
import sys
from contextlib import suppress

from proxy.cli.demo.beside import LOOPBACK, Place, stay

CHUNK = 65_536


async def echoed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection. Nothing is read while the client does not take what it has been sent."""
    try:
        with suppress(ConnectionError):
            while chunk := await reader.read(CHUNK):
                writer.write(chunk)
                await writer.drain()
            writer.write_eof()
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def serve(place: Place) -> None:
    """Listen until we are asked to end."""
    server = await asyncio.start_server(echoed, LOOPBACK, place.port)
    place.announce()
    async with place.until_asked():
        server.close()


if __name__ == "__main__":
    with stay(sys.argv[1:]) as here:
        here.become_nobody()
        asyncio.run(serve(here))
