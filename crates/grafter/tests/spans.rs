//! The best part of a context by the logits of its windows: against the evaluation of SQuAD 2.0 (`reference/spans.py`), and against
//! all parts written out one by one.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ops::Range;
use std::path::Path;

use grafter::question_answering::{MAX_ANSWER_TOKENS, SpanAnswer};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    /// The words of each window.
    windows: Vec<Range<usize>>,
    logits: Vec<f32>,
    /// The first and the last word of the best span.
    answer: [usize; 2],
    difference: f64,
    /// Whether it is given where no answer may be worth as much.
    given: bool,
}

/// The candidates of windows over words of one byte with a byte between.
fn candidates(windows: &[Range<usize>]) -> Vec<Range<usize>> {
    let of_window = |window: &Range<usize>| {
        std::iter::once(0..0).chain(window.clone().map(|word| 2 * word..2 * word + 1)).collect::<Vec<_>>()
    };
    windows.iter().flat_map(of_window).collect()
}

#[test]
fn spans_are_those_of_the_evaluation_of_squad() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/spans.json");
    let Cases { cases } = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(cases.iter().filter(|case| case.given).count() > 2 && cases.iter().any(|case| !case.given));
    for (place, case) in cases.iter().enumerate() {
        let answer = SpanAnswer::read(&case.logits, &candidates(&case.windows));
        let [first, last] = case.answer;
        assert_eq!(answer.range, 2 * first..2 * last + 1, "case {place}");
        // Sums of float32 here, of float64 there.
        let off = (answer.difference() - case.difference).abs();
        assert!(off < 1e-5, "case {place}: {} and {}", answer.difference(), case.difference);
        assert_eq!(answer.given(Some(0.0)).is_some(), case.given, "case {place}");
        assert_eq!(answer.given(None), Some(answer.range), "case {place}");
    }
}

/// A part of a window: its score, its place, and its probability.
struct Part {
    score: f32,
    range: Range<usize>,
    probability: f64,
}

/// Every part of every window that may be an answer, and no answer of every window.
fn all_parts(logits: &[[f32; 2]], windows: &[Range<usize>]) -> (Vec<Part>, Vec<Part>) {
    let (mut parts, mut nulls, mut rest) = (Vec::new(), Vec::new(), logits);
    for window in windows {
        let (of_window, later) = rest.split_at(1 + window.len());
        rest = later;
        let sum = |end: usize| of_window.iter().map(|of| f64::from(of[end]).exp()).sum::<f64>();
        let part = |first: usize, last: usize, range| Part {
            score: of_window[first][0] + of_window[last][1],
            range,
            probability: f64::from(of_window[first][0]).exp() / sum(0) * f64::from(of_window[last][1]).exp()
                / sum(1),
        };
        nulls.push(part(0, 0, 0..0));
        for first in 0..window.len() {
            for last in 0..window.len() {
                if first <= last && last - first < MAX_ANSWER_TOKENS {
                    let (begin, end) = (window.start + first, window.start + last);
                    parts.push(part(1 + first, 1 + last, 2 * begin..2 * end + 1));
                }
            }
        }
    }
    (parts, nulls)
}

/// Windows with their logits, many of which are equal.
fn windows() -> impl Strategy<Value = (Vec<Range<usize>>, Vec<[f32; 2]>)> {
    let window = (0_usize..60, 0_usize..50);
    let logit = prop_oneof![(-4_i8..5).prop_map(f32::from), -20.0_f32..20.0];
    prop::collection::vec(window, 1..4).prop_flat_map(move |windows| {
        let windows: Vec<Range<usize>> =
            windows.into_iter().map(|(begin, words)| begin..begin + words).collect();
        let candidates = windows.iter().map(|window| 1 + window.len()).sum::<usize>();
        let logits = prop::collection::vec([logit.clone(), logit.clone()], candidates);
        (Just(windows), logits)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_answer_is_the_best_of_all_parts((windows, logits) in windows()) {
        let answer = SpanAnswer::read(logits.as_flattened(), &candidates(&windows));
        let (mut parts, mut nulls) = all_parts(&logits, &windows);
        // Stable: the first of equals stays the first.
        parts.sort_by(|a, b| b.score.total_cmp(&a.score));
        nulls.sort_by(|a, b| a.score.total_cmp(&b.score));
        prop_assert_eq!(answer.null_score, nulls[0].score);
        prop_assert!((answer.null_probability - nulls[0].probability).abs() < 1e-6);
        match parts.first() {
            None => prop_assert_eq!(answer.given(None), None),
            Some(best) => {
                prop_assert_eq!((answer.range.clone(), answer.score), (best.range.clone(), best.score));
                prop_assert!((answer.probability - best.probability).abs() < 1e-6);
                let difference = f64::from(nulls[0].score) - f64::from(best.score);
                prop_assert_eq!(answer.given(Some(difference)), Some(best.range.clone()));
                prop_assert_eq!(answer.given(Some(difference - 1e-6)), None);
            }
        }
    }
}
