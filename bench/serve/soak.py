"""Keeps `grafter serve` busy while adapters come and go, and watches its memory.

    cargo build --release && python3 bench/serve/soak.py --data FILE.tsv [--seconds 600] [--out FILE.md]

64 tasks, room for 12 of them in memory: clients ask random tasks, one unloads, loads and reloads at random. Every answer must be
200 and that of the first time, to the last digit. Prints the resident memory over time; the memory is flat if the mean of the
last quarter is within 2 % of that of the second.
"""

import argparse
import asyncio
import json
import os
import pathlib
import random
import statistics
import subprocess
import tempfile
import time

from load import Connection, post
from serve import ROOT, GRAFTER, body_of, fill, grafter, resident, server, texts_of

TASKS, ROOM, CLIENTS = 64, 12, 8
KEY = "soak"


async def churn(port, end, counts):
    draw, connection = random.Random(1), Connection(port)
    while time.perf_counter() < end:
        task = f"task-{draw.randrange(TASKS)}"
        path = draw.choice([f"/v1/admin/tasks/{task}/unload", f"/v1/admin/tasks/{task}/load", "/v1/admin/reload"])
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 0\r\n\r\n"
        status, _ = await connection.ask(head.encode())
        counts[status] = counts.get(status, 0) + 1
        await asyncio.sleep(0.02)


async def client(seed, port, texts, end, known):
    draw, connection, asked = random.Random(seed), Connection(port), 0
    while time.perf_counter() < end:
        text, task = draw.randrange(32), draw.randrange(TASKS)
        status, body = await connection.ask(post("/v1/predict", body_of(texts[text], f"task-{task}")))
        if status != 200 or known.setdefault((text, task), body) != body:
            raise SystemExit(f"{status}: {body}")
        asked += 1
    return asked


async def watch(process, begun, end, samples):
    while time.perf_counter() < end:
        samples.append((time.perf_counter() - begun, resident(process)))
        await asyncio.sleep(2)


async def soak(port, process, texts, seconds):
    begun = time.perf_counter()
    end, samples, counts, known = begun + seconds, [], {}, {}
    clients = [client(seed, port, texts, end, known) for seed in range(CLIENTS)]
    *asked, _, _ = await asyncio.gather(*clients, churn(port, end, counts), watch(process, begun, end, samples))
    return sum(asked), counts, samples


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    texts = texts_of(arguments.data)
    os.environ["GRAFTER_ADMIN_KEY"] = KEY
    with tempfile.TemporaryDirectory() as scratch:
        bank, adapter = pathlib.Path(scratch) / "bank", pathlib.Path(scratch) / "adapter"
        grafter("train", "--train", arguments.data, "--dev", arguments.data, "--out", adapter, "--max-steps", 20, "--no-report")
        grafter("bank", "init", bank)
        fill(bank, adapter, "task", TASKS)
        file = next(pathlib.Path(bank).glob("tasks/task-0/*/adapter.safetensors")).stat().st_size
        serve = [GRAFTER, "serve", "--bank", bank, "--log", "off", "--max-adapters-bytes", ROOM * file]
        with server(serve, "/v1/predict", body_of(texts[0], "task-0")) as (port, process, _):
            asked, counts, samples = asyncio.run(soak(port, process, texts, arguments.seconds))
    quarters = [
        statistics.mean(bytes_ for at, bytes_ in samples if quarter <= 4 * at / arguments.seconds < quarter + 1)
        for quarter in range(4)
    ]
    shown = ", ".join(f"{mean / 1e6:.1f}" for mean in quarters)
    text = (
        f"{asked} answers in {arguments.seconds:.0f} s, each as the first time; {sum(counts.values())} changes {counts}.\n"
        f"Mean resident memory of each quarter: {shown} MB; at most {max(b for _, b in samples) / 1e6:.1f} MB.\n"
    )
    print(text)
    if arguments.out:
        arguments.out.write_text(text)
    if abs(quarters[3] / quarters[1] - 1) > 0.02:
        raise SystemExit("the memory is not flat")


if __name__ == "__main__":
    main()
