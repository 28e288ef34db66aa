"""Reads an event file that `grafter train --tensorboard` wrote with TensorBoard's own reader, and holds it against the log.

    python3 -m venv .venv
    .venv/bin/pip install -r reference/requirements-tensorboard.txt
    grafter train … --tensorboard events
    .venv/bin/python reference/tensorboard_check.py events adapter.log.jsonl

Every scalar of the events must be the log's number in single precision, at its step, and no number of the log may be absent.
"""

import json
import sys
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

TAGS = {
    "step": {"train/loss": "loss", "train/learning_rate": "learning_rate", "train/grad_norm": "grad_norm"},
    "evaluation": {"dev/score": "score", "dev/loss": "loss"},
}


def logged(path):
    """The numbers of a log by tag and step."""
    numbers = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        for tag, field in TAGS[event["event"]].items():
            numbers[tag, event["step"]] = np.float32(event[field])
    return numbers


def read(folder):
    """The numbers of the only event file of a folder by tag and step; its times never go back."""
    files = list(Path(folder).glob("events.out.tfevents.*"))
    assert len(files) == 1, f"expected one event file in {folder}, found {len(files)}"
    numbers, version, before = {}, None, 0.0
    for event in EventFileLoader(str(files[0])).Load():
        assert event.wall_time >= before, f"time goes back at step {event.step}"
        before = event.wall_time
        if event.HasField("file_version"):
            version = event.file_version
        for value in event.summary.value:
            key = value.tag, event.step
            assert key not in numbers, f"{key} is there twice"
            # The loader turns simple values into tensors.
            numbers[key] = np.float32(value.tensor.float_val[0])
    assert version == "brain.Event:2", f"file version {version}"
    return numbers


def main():
    folder, log = sys.argv[1:]
    found, expected = read(folder), logged(log)
    assert found.keys() == expected.keys(), f"differ in {sorted(found.keys() ^ expected.keys())[:5]}"
    wrong = [key for key, value in expected.items() if not np.array_equal(found[key], value, equal_nan=True)]
    assert not wrong, f"{wrong[0]}: expected {expected[wrong[0]]}, found {found[wrong[0]]}"
    print(f"{len(found)} scalars of {len({tag for tag, _ in found})} tags are those of the log")


if __name__ == "__main__":
    main()
