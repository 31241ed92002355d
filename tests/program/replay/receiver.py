"""An intake for the tests of `wsp replay`, of another make than wsp: asyncio and a reader of HTTP of its own.

It answers 200, or 503 to a share of the requests, and writes each request that it took to a log, in order, as a JSON line with the
time at which it came.
It prints its port once it listens.

    receiver.py LOG FAIL_SHARE SEED
"""
import asyncio
import json
import random
import sys
import time

LOG, SHARE, SEED = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
LIES = random.Random(SEED)
FILE = open(LOG, "a", buffering=1, encoding="utf-8")


class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.buffer = transport, bytearray()

    def data_received(self, data):
        self.buffer += data
        while True:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            line, *fields = bytes(self.buffer[:end]).decode("ascii").split("\r\n")
            headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
            length = int(headers.get("content-length", "0"))
            if len(self.buffer) < end + 4 + length:
                return
            body = bytes(self.buffer[end + 4:end + 4 + length])
            del self.buffer[:end + 4 + length]
            self.answer(line, headers, body)

    def answer(self, line, headers, body):
        if LIES.random() < SHARE:
            self.transport.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")
            return
        FILE.write(json.dumps({"at": time.monotonic(), "line": line, "headers": headers, "body": body.decode("utf-8")}) + "\n")
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")


async def main():
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
