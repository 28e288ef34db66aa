#!/usr/bin/env python3
"""Measures how time and memory of grafter grow with the rows and with the labels.

    python3 bench/scale.py --grafter target/release/grafter [--only 1000000] [--threads]

Writes synthetic files into a temporary folder: rows of 12 common English words with two labels, and 20,000 rows with
10,000 labels. On each it runs `check-data`, `train --max-steps 20 --epochs 1` (with 1,000
dev rows) and `predict` (the first 10,000 rows), each in a process of its own, and prints a line of a table: seconds,
microseconds a row, and the process's peak memory (`ru_maxrss`). `--threads` prints tokens per second of training and of
inference with 1 and 2 threads instead. Uses the standard library alone.
"""

import argparse
import json
import os
import random
import subprocess
import tempfile
import time
from pathlib import Path

SIZES = {"1000": (1_000, 2), "10000": (10_000, 2), "100000": (100_000, 2), "1000000": (1_000_000, 2),
         "labels": (20_000, 10_000)}
DEV_ROWS = 1_000
PREDICT_ROWS = 10_000
SPECIAL_TOKENS = 2
WORDS = """the of and to in is you that it he was for on are as with his they at be this have from or one had by word
but not what all were we when your can said there use an each which she do how their if will up other about out many
then them these so some her would make like him into time has look two more write go see number no way could people my
than first water been call who oil its now find long down day did get come made may part""".split()
WORDS_A_ROW = 12


def write_rows(path, rows, labels, seed):
    """Rows of common words, each of which is one token; the labels come in turns, so that each occurs."""
    pick = random.Random(seed)
    with path.open("w") as file:
        file.write("text\tlabel\n")
        for row in range(rows):
            text = " ".join(pick.choices(WORDS, k=WORDS_A_ROW))
            file.write(f"{text}\tl{row % labels}\n")


def run(command, output=subprocess.DEVNULL):
    """Seconds and peak bytes of a command, which must end well, and what it wrote to standard output."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
    text = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return seconds, usage.ru_maxrss * 1024, text


def measure(grafter, folder, rows, labels):
    """One line of the table for each command."""
    train, dev, head = folder / "train.tsv", folder / "dev.tsv", folder / "head.tsv"
    write_rows(train, rows, labels, 1)
    write_rows(dev, DEV_ROWS, labels, 2)
    write_rows(head, min(rows, PREDICT_ROWS), labels, 1)
    adapter = folder / "adapter"
    files = ["--train", str(train), "--dev", str(dev)]
    out = ["--out", str(adapter), "--overwrite"]
    commands = [
        ("check-data", rows, ["check-data", "--train", str(train)]),
        ("train", rows, ["train", *files, *out, "--epochs", "1", "--max-steps", "20"]),
        ("predict", min(rows, PREDICT_ROWS), ["predict", "--adapter", str(adapter), "--input", str(head)]),
    ]
    for name, counted, arguments in commands:
        seconds, peak, _ = run([grafter, *arguments])
        print(f"| {counted:,} | {labels:,} | `{name}` | {seconds:.1f} | {seconds / counted * 1e6:.0f} "
              f"| {peak / 1e6:.0f} |", flush=True)


def throughput(grafter, folder):
    """Tokens per second of training steps and of `predict` as a whole, by the number of threads."""
    rows = 4_000
    train, dev = folder / "train.tsv", folder / "dev.tsv"
    write_rows(train, rows, 2, 1)
    write_rows(dev, 100, 2, 2)
    for threads in ["1", "2"]:
        adapter = folder / "adapter"
        common = ["--threads", threads]
        arguments = ["train", *common, "--train", str(train), "--dev", str(dev), "--out", str(adapter)]
        _, _, report = run([grafter, *arguments, "--overwrite", "--epochs", "1", "--json"], subprocess.PIPE)
        training = json.loads(report)["tokens_per_second"]
        seconds, _, _ = run([grafter, "predict", *common, "--adapter", str(adapter), "--input", str(train)])
        tokens = rows * (WORDS_A_ROW + SPECIAL_TOKENS)
        print(f"| {threads} | {training:,.0f} | {tokens / seconds:,.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grafter", default="target/release/grafter", help="the program")
    parser.add_argument("--only", choices=SIZES, help="one of the files")
    parser.add_argument("--threads", action="store_true", help="tokens per second by the number of threads")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.threads:
            print("| threads | training, tokens/s | `predict`, tokens/s |\n|---|---|---|")
            throughput(arguments.grafter, Path(folder))
            return
        print("| rows | labels | command | seconds | µs a row | peak MB |\n|---|---|---|---|---|---|")
        for name, (rows, labels) in SIZES.items():
            if arguments.only in (None, name):
                measure(arguments.grafter, Path(folder), rows, labels)


if __name__ == "__main__":
    main()
