"""A network of its own, which sites.rs runs as `unshare -rn python3 site.py DIRECTORY PORT...`: its loopback interface,
and a passage from each port to the socket of that name in the directory. Sockets in the file system are reached from
every network; sites.rs passes on from there.

`site.py get URL` prints what is at a URL. nsenter runs it in that network.
"""

import asyncio
import fcntl
import socket
import struct
import sys
import urllib.request

SET_INTERFACE_FLAGS = 0x8914
UP = 1


def bring_loopback_up():
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SET_INTERFACE_FLAGS, struct.pack("16sH22x", b"lo", UP))


async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except ConnectionError:
        writer.close()


async def open_passage(directory, port):
    async def connected(reader, writer):
        there_reader, there_writer = await asyncio.open_unix_connection(f"{directory}/{port}")
        await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer))
        writer.close()
        there_writer.close()

    return await asyncio.start_server(connected, "127.0.0.1", port)


async def serve(directory, ports):
    bring_loopback_up()
    servers = [await open_passage(directory, int(port)) for port in ports]
    print("ready", flush=True)
    await asyncio.gather(*[server.serve_forever() for server in servers])


def get(url):
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url) as answer:
        sys.stdout.buffer.write(answer.read())


if sys.argv[1] == "get":
    get(sys.argv[2])
else:
    asyncio.run(serve(sys.argv[1], sys.argv[2:]))
