"""An HTTP client that keeps a server busy: closed loops, or requests at a given rate. Only the standard library."""

import asyncio
import random
import time


class Connection:
    """One kept-alive connection."""

    def __init__(self, port):
        self.port = port
        self.reader = self.writer = None

    async def ask(self, request):
        """Sends whole request bytes; returns status and body."""
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            self.writer.write(request)
            head = await self.reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
            if headers.get("connection", "").lower() == "close":
                self.close()
            return int(lines[0].split()[1]), body
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            raise

    def close(self):
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


def post(path, body):
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def closed_loop(port, requests, connections, seconds):
    """So many clients, each with one request under way at a time. Returns latencies of answers by status."""
    latencies, end = {}, time.perf_counter() + seconds

    async def client(first):
        connection, place = Connection(port), first
        while time.perf_counter() < end:
            begun = time.perf_counter()
            status, _ = await connection.ask(requests[place % len(requests)])
            latencies.setdefault(status, []).append(time.perf_counter() - begun)
            place += connections
        connection.close()

    await asyncio.gather(*(client(first) for first in range(connections)))
    return latencies


async def open_loop(port, requests, per_second, seconds, seed=1):
    """Requests at random instants, whether earlier ones are answered or not. A request's time begins at its instant."""
    latencies, draw, free, running = {}, random.Random(seed), [], set()
    begun, at, place = time.perf_counter(), 0.0, 0

    async def one(instant, request):
        connection = free.pop() if free else Connection(port)
        try:
            status, _ = await connection.ask(request)
            free.append(connection)
        except (OSError, asyncio.IncompleteReadError) as error:
            status = type(error).__name__
        latencies.setdefault(status, []).append(time.perf_counter() - instant)

    while at < seconds:
        at += draw.expovariate(per_second)
        wait = begun + at - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(one(begun + at, requests[place % len(requests)]))
        running.add(task)
        task.add_done_callback(running.discard)
        place += 1
    await asyncio.gather(*running)
    for connection in free:
        connection.close()
    return latencies


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]
