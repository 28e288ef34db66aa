"""Writes the fixture of spans: logits of windows with the best span and no answer's worth as the evaluation of SQuAD 2.0 has them.

    python -m venv VENV && VENV/bin/pip install -r reference/requirements-parity.txt
    VENV/bin/python reference/spans.py > crates/grafter/tests/fixtures/spans.json

`transformers.data.metrics.squad_metrics.compute_predictions_logits`, whose code is that of BERT's `run_squad.py`, asked for all
beginnings and ends. It is told that every token has its best context in every window, as `run_qa.py` has it, and that every token is a
word of its own, so that its answer tells which tokens it is of.
"""

import contextlib
import io
import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from transformers.data.metrics.squad_metrics import compute_predictions_logits
from transformers.data.processors.squad import SquadResult

SEED = 20180611
MAX_ANSWER_TOKENS = 30


def case(rng, windows: int, most: int) -> dict:
    """Windows over words that follow one another, each with its first candidate, which is of no word."""
    words, places, logits = 0, [], []
    for _ in range(windows):
        begin = max(0, words - int(rng.integers(0, 4)))
        words = max(words + 1, begin + int(rng.integers(1, most)))
        places.append([begin, words])
        logits.append(rng.normal(0.0, 3.0, (1 + words - begin, 2)).round(4).astype(np.float32))
    features = [
        SimpleNamespace(
            example_index=0, unique_id=window, tokens=["[CLS]"] + [f"w{word}" for word in range(begin, end)],
            token_to_orig_map={1 + place: begin + place for place in range(end - begin)},
            token_is_max_context={1 + place: True for place in range(end - begin)},
        )
        for window, (begin, end) in enumerate(places)
    ]  # fmt: skip
    results = [SquadResult(window, of[:, 0].astype(float).tolist(), of[:, 1].astype(float).tolist()) for window, of in enumerate(logits)]
    example = SimpleNamespace(qas_id="q", doc_tokens=[f"w{word}" for word in range(words)])
    tokenizer = SimpleNamespace(convert_tokens_to_string=" ".join)
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / name) for name in ("predictions", "best", "differences")]
        ask = lambda threshold: compute_predictions_logits(
            [example], features, results, 10**6, MAX_ANSWER_TOKENS, False, *files, False, True, threshold, tokenizer
        )["q"].split()
        answer, given = ask(1e9), ask(0.0)
        difference = json.loads(Path(files[2]).read_text())["q"]
    return {
        "windows": [{"start": begin, "end": end} for begin, end in places], "logits": [round(float(logit), 4) for of in logits for logit in of.flatten()],
        "answer": [int(answer[0][1:]), int(answer[-1][1:])], "difference": difference, "given": bool(given),
    }  # fmt: skip


def main():
    rng = np.random.default_rng(SEED)
    sizes = [(1, 2), (1, 6), (2, 5), (3, 9), (4, 7), (2, 20), (5, 4)] * 3 + [(1, 60), (2, 50), (1, 90)]
    with contextlib.redirect_stdout(io.StringIO()):
        cases = [case(rng, *size) for size in sizes]
    lines = ",\n".join(json.dumps(of, separators=(",", ":")) for of in cases)
    versions = json.dumps({name: version(name) for name in ("transformers", "numpy")})
    print(f'{{"written_by":"reference/spans.py","seed":{SEED},"versions":{versions},"cases":[\n{lines}]}}')


if __name__ == "__main__":
    main()
