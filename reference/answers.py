"""Writes the fixture of answers: invented texts with their scores from `transformers.data.metrics.squad_metrics`, whose code is that of
the official evaluation of SQuAD 2.0.

    python -m venv VENV && VENV/bin/pip install -r reference/requirements-answers.txt
    VENV/bin/python reference/answers.py > crates/grafter/tests/fixtures/answers.json

Python 3.11, whose Unicode is 14. Of every character that it knows the fixture says, in `articles`, whether an article right after it is
removed, and in `spaces`, whether it parts words. Percentages are written as fractions.
"""

import json
import sys
import unicodedata
from itertools import groupby
from types import SimpleNamespace

import numpy as np
import transformers
from transformers.data.metrics import squad_metrics as squad

SEED = 20160616

TEXTS = [
    "", " ", "the", "The", "A", "an", "a an the", "the.", "(the)", "t-h-e", "...", "_the_", "the_owl", "1a", "a1", "a1 a", "a\u00b2", "\u00bda",
    "theatre bathe another", "an apple a day", "at the the end", "a.m.", "U.S.A.", "it's the dog's", "rock-and-roll", "$1,000.50", "50 %",
    "Z\u00fcrich", "Zu\u0308rich", "caf\u00e9 the\u0301 the\u0301\u00e2tre", "\u00e0 a \u00e1", "a\u0301", "\u0301a", "a\u0345", "\u24d0a a\u24d0",
    "\u0130stanbul", "\u0130a", "STRASSE Stra\u00dfe STRA\u1e9eE", "\u039f\u0394\u039f\u03a3 \u03a3 \u03a3.\u0391 \u0391\u03a3.",
    "\uff34\uff48\uff45 the\uff01 \uff41", "\uff3fthe\uff3f", "the\u00a0owl", "a\u2003\u2009b", "a\u200bb the\u200b", "a\u200db a\u00adb", "a\u3000the\u3000b",
    "x\x1ca\x1dthe\x1e\x1fy", "x\x85y\x0by\x0cy", "\ufeffthe", "x\u2028y\u2029z", "\u201cthe\u201d \u2018a\u2019", "the\u2019s a\u2013b", "a\u2026", "\u00bfa?", "\u00a1the!",
    "\u4e00a", "a\u4e00 \u4e2d a", "\u0663a", "a\u0940 \u0915a", "a\u0e31", "\U0001f130a", "\U0001d41a a", "\U0001f600the\U0001f600", "\u2167a", "a\u0308\u0308n",
    "a\nn", "\tthe\r\nend\t", "the a", "a\\b", "`a`", "~an~", "th\u0435", "\u01c5 \ufb01 \u1e9e",
]  # fmt: skip
WORDS = [
    "owl", "owls", "Owl", "red", "RED", "sea", "1912", "3.5", "anthem", "bathe", "Z\u00fcrich", "zu\u0308rich", "\u0130zmir", "Stra\u00dfe", "\uff33\uff45\uff41",
    "the", "The", "a", "A", "an", "a1", "\u2013", "\u00bd", "owl's", "(red)", "sea,", "--",
]  # fmt: skip
GAPS = [" "] * 12 + ["  ", "\t", "\u00a0", "\u3000", "-", ", ", "\x1f"]


def text(rng, words):
    """A text of so many words."""
    parts = [part for _ in range(words) for part in (WORDS[rng.integers(len(WORDS))], GAPS[rng.integers(len(GAPS))])]
    return "".join(parts[:-1])


def nearby(rng, of):
    """The words of a text with some left out, some new, some twice."""
    words = of.split(" ")
    words = [word for word in words for _ in range(rng.choice(3, p=[0.25, 0.65, 0.1]))]
    return " ".join(words + ([text(rng, 1)] if rng.random() < 0.3 else []))


def answers(rng):
    """Answers, each with the right ones; those with none last."""
    yield from [
        ("owl", ["the owl!"]), ("owl owl", ["owl"]), ("owl owl sea", ["owl owl owl sea sea"]), ("sea", ["owl", "red sea"]), ("", ["owl"]),
        ("the", ["owl"]), ("owl", ["the", "owl"]), ("", ["the", "owl"]), ("", ["the"]), ("the", ["...", ""]), ("owl", [""]), ("a", ["an"]),
    ]  # fmt: skip
    for _ in range(230):
        right = [text(rng, int(rng.integers(1, 6))) for _ in range(rng.integers(1, 4))]
        kind = rng.random()
        answer = nearby(rng, right[rng.integers(len(right))]) if kind < 0.8 else text(rng, 2) if kind < 0.9 else ""
        yield answer, right
    yield from [("", []), ("the", []), ("owl", []), ("\u00a0...", [])]
    for _ in range(40):
        yield ("" if rng.random() < 0.5 else text(rng, int(rng.integers(1, 3)))), []


def question(place, right):
    return SimpleNamespace(qas_id=str(place), answers=[{"text": answer} for answer in right])


def scored(rows):
    questions = [question(place, right) for place, (_, right) in enumerate(rows)]
    given = {str(place): answer for place, (answer, _) in enumerate(rows)}
    exact, f1 = squad.get_raw_scores(questions, given)
    return [
        {"answer": answer, "right": right, "exact": bool(exact[str(place)]), "f1": float(f1[str(place)])}
        for place, (answer, right) in enumerate(rows)
    ]


def part(name, rows, first, end):
    """What the evaluation says of rows `first..end`."""
    chosen = rows[first:end]
    questions = [question(place, right) for place, (_, right) in enumerate(chosen)]
    report = squad.squad_evaluate(questions, {str(place): answer for place, (answer, _) in enumerate(chosen)})

    def scores(prefix):
        keys = [prefix + key for key in ("total", "exact", "f1")]
        return [report[keys[0]], report[keys[1]] / 100, report[keys[2]] / 100] if keys[0] in report else None

    return {
        "name": name, "first": first, "end": end,
        "all": scores(""), "answerable": scores("HasAns_"), "unanswerable": scores("NoAns_"),
    }  # fmt: skip


def threshold(name, rows):
    """Rows are of a difference, an F1, and whether there is an answer. An F1 of 1 where there is none is that of an empty span."""
    ids = [str(place) for place in range(len(rows))]
    differences, f1, answerable = ({key: row[at] for key, row in zip(ids, rows)} for at in range(3))
    given = {key: "" if f1[key] == 1 and not answerable[key] else "owl" for key in ids}
    best, at = squad.find_best_thresh(given, f1, differences, answerable)
    if any(answerable.values()):
        # The second version differs in what else it returns.
        assert squad.find_best_thresh_v2(given, f1, differences, answerable)[:2] == (best, at)
    applied = squad.apply_no_ans_threshold(f1, differences, answerable, at)
    reached = sum(applied.values()) / len(rows)
    return {
        "name": name, "rows": [list(row) for row in rows], "threshold": float(at), "f1": best / 100, "with_it": reached,
        "holds": abs(reached - best / 100) < 1e-9,
    }  # fmt: skip


def thresholds(rng):
    def rows(count, answerable, draw):
        for _ in range(count):
            has = bool(rng.random() < answerable)
            f1 = float(rng.choice([0.0, 0.4, 2 / 3, 0.8, 1.0])) if has else float(rng.random() < 0.1)
            yield float(draw(has)), f1, has

    apart = lambda has: round(rng.normal(-2.0 if has else 2.0, 2.0), 4)
    for place, (count, answerable) in enumerate([(40, 0.5), (40, 0.5), (60, 0.8), (25, 0.2), (12, 0.5), (30, 1.0), (30, 0.0)]):
        yield threshold(f"differences {place}", list(rows(count, answerable, apart)))
    yield threshold("probabilities", list(rows(50, 0.5, lambda has: round(rng.beta(2, 4) if has else rng.beta(4, 2), 4))))
    for place in range(6):
        yield threshold(f"equal differences {place}", list(rows(30, 0.5, lambda has: round(apart(has)))))
    yield threshold("all withheld", [(1.5, 0.0, True), (2.5, 0.0, False), (0.5, 0.0, False)])
    yield threshold("all withheld, below 0", [(-1.5, 0.0, True), (-2.5, 0.0, False), (0.5, 0.0, False)])
    yield threshold("all given", [(1.5, 1.0, True), (-0.5, 0.5, True)])
    yield threshold("equal sums", [(-2.0, 1.0, True), (-1.0, 0.0, False), (1.0, 1.0, True), (2.0, 0.0, False)])
    yield threshold("equal differences, equal sums", [(1.0, 1.0, True), (1.0, 0.0, True), (2.0, 0.0, True), (3.0, 0.0, False)])
    yield threshold("one, answered", [(3.0, 0.5, True)])
    yield threshold("one, withheld", [(3.0, 0.0, False)])


def runs():
    """Of the characters from 0 on: what they do to an article after them (1: it stays, 0: it goes, 2: Unicode 14 has no such
    character), and how many in a row do."""

    def kind(code):
        if unicodedata.category(chr(code)) in ("Cn", "Cs"):
            return 2
        return int(squad.normalize_answer(chr(code) + "the").endswith("the"))

    return [[key, sum(1 for _ in group)] for key, group in groupby(map(kind, range(0x110000)))]


def main():
    rng = np.random.default_rng(SEED)
    rows = list(answers(rng))
    answerable = sum(1 for _, right in rows if right)
    assert all(right for _, right in rows[:answerable])
    texts = TEXTS + [text(rng, int(rng.integers(1, 7))) for _ in range(60)]
    fixture = {
        "written_by": "reference/answers.py",
        "seed": SEED,
        "versions": {"numpy": np.__version__, "transformers": transformers.__version__, "unicode": unicodedata.unidata_version},
        "normalised": [[of, squad.normalize_answer(of)] for of in texts],
        "articles": runs(),
        "spaces": [code for code in range(0x110000) if " " in squad.normalize_answer(f"x{chr(code)}y")],
        "answers": scored(rows),
        "parts": [
            part("all", rows, 0, len(rows)),
            part("answerable", rows, 0, answerable),
            part("unanswerable", rows, answerable, len(rows)),
            part("few", rows, answerable - 3, answerable + 2),
        ],
        "thresholds": list(thresholds(rng)),
    }
    json.dump(fixture, sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
