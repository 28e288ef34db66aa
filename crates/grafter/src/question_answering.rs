//! Extractive question answering: a question is answered with a part of its context, or with nothing.
//!
//! A context is cut into windows that overlap, each a sequence of its own behind the question. Of each window the head reads
//! *candidates*: the first token, which stands for no answer, and the tokens of the context; it gives each a logit to begin the
//! answer and one to end it (Devlin et al. 2018, sections 4.2 and 4.3). The answer of a row is the part of the context with the
//! largest sum of the two, whatever window it is in, unless no answer is preferred to it by more than a threshold; how much
//! no answer is worth is the smallest of its sums in all windows, as in the evaluation of BERT on SQuAD 2.0.

use std::ops::Range;

use grafter_nn::loss::softmax;

use crate::data::Question;

/// An answer has at most this many tokens, as in BERT's evaluation.
pub const MAX_ANSWER_TOKENS: usize = 30;

/// The threshold of a task that may give no answer and has none fitted.
pub const DEFAULT_NO_ANSWER_THRESHOLD: f64 = 0.0;

/// The part of a context that answers a question best, beside what no answer is worth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanAnswer {
    /// Its bytes in the context; none of them where no window has a token of it.
    pub range: Range<usize>,
    /// The sum of the logits of its beginning and end.
    pub score: f32,
    /// Its probability among all parts of its window: that of its beginning times that of its end.
    pub probability: f64,
    /// The smallest sum of the logits of no answer.
    pub null_score: f32,
    /// The probability of no answer in that window.
    pub null_probability: f64,
}

impl SpanAnswer {
    /// Reads the logits of a row, `[candidates, 2]`, the windows one after another. A candidate without bytes begins a window.
    pub fn read(logits: &[f32], candidates: &[Range<usize>]) -> Self {
        let mut best: Option<(f32, Range<usize>, [usize; 2])> = None;
        let mut null: Option<(f32, Range<usize>)> = None;
        for window in windows(candidates) {
            let (begin, end) = (|at: usize| logits[2 * at], |at: usize| logits[2 * at + 1]);
            let score = begin(window.start) + end(window.start);
            if null.as_ref().is_none_or(|(least, _)| score < *least) {
                null = Some((score, window.clone()));
            }
            for first in window.start + 1..window.end {
                for last in first..window.end.min(first + MAX_ANSWER_TOKENS) {
                    let score = begin(first) + end(last);
                    if best.as_ref().is_none_or(|(most, ..)| score > *most) {
                        best = Some((score, window.clone(), [first, last]));
                    }
                }
            }
        }
        let mut answer = Self { score: f32::NEG_INFINITY, ..Self::default() };
        if let Some((score, window, [first, last])) = best {
            answer.range = candidates[first].start..candidates[last].end.max(candidates[first].start);
            answer.score = score;
            answer.probability = probability(logits, window, [first, last]);
        }
        if let Some((score, window)) = null {
            answer.null_score = score;
            answer.null_probability = probability(logits, window.clone(), [window.start; 2]);
        }
        answer
    }

    /// How much more no answer is worth than this one; the most that a number can tell where there is none.
    pub fn difference(&self) -> f64 {
        if self.range.is_empty() {
            return f64::MAX;
        }
        f64::from(self.null_score) - f64::from(self.score)
    }

    /// The bytes of the answer, of a task that gives none where it is worth more by more than a threshold.
    pub fn given(&self, no_answer: Option<f64>) -> Option<Range<usize>> {
        let withheld = no_answer.is_some_and(|most| self.difference() > most);
        (!withheld && !self.range.is_empty()).then(|| self.range.clone())
    }

    /// The same as text; empty where there is none.
    pub fn text<'a>(&self, context: &'a str, no_answer: Option<f64>) -> &'a str {
        self.given(no_answer).and_then(|range| context.get(range)).unwrap_or_default()
    }
}

/// The windows among the candidates of a row.
fn windows(candidates: &[Range<usize>]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut begin = 0;
    std::iter::from_fn(move || {
        let rest = candidates.get(begin + 1..)?;
        let end = rest.iter().position(Range::is_empty).map_or(candidates.len(), |place| begin + 1 + place);
        let window = begin..end;
        begin = end;
        Some(window)
    })
}

/// That of a beginning times that of an end, each among the candidates of a window.
fn probability(logits: &[f32], window: Range<usize>, ends: [usize; 2]) -> f64 {
    let of_end = |(end, at): (usize, usize)| {
        let logits: Vec<f32> = window.clone().map(|at| logits[2 * at + end]).collect();
        softmax(&logits)[at - window.start]
    };
    ends.into_iter().enumerate().map(of_end).product()
}

/// Where the first right answer begins and ends among the candidates of a window, or both times the first candidate where it is
/// not whole in the window, or there is none.
pub fn target(question: &Question, candidates: &[Range<usize>]) -> [usize; 2] {
    let mut tokens = candidates.iter().enumerate().skip(1);
    let (Some(answer), Some(last)) = (question.answers.first(), candidates.last()) else { return [0; 2] };
    let first = tokens.clone().rfind(|(_, token)| token.start <= answer.start);
    let last = tokens.find(|(_, token)| token.end >= answer.end).filter(|_| !last.is_empty());
    match (first, last) {
        (Some((first, _)), Some((last, _))) if first <= last => [first, last],
        _ => [0; 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two windows over a context of four tokens of two bytes, of which they share one.
    const CANDIDATES: [Range<usize>; 7] = [0..0, 0..2, 3..5, 6..8, 0..0, 6..8, 9..11];

    #[test]
    fn the_best_part_of_all_windows_is_the_answer() {
        // (begin, end): the end before the beginning, 9 + 9, is no part.
        let logits = [0.0, 1.0, 1.0, 9.0, 9.0, 0.0, 0.0, 3.0, 0.5, 0.25, 5.0, 0.0, 0.0, 8.0];
        let answer = SpanAnswer::read(&logits, &CANDIDATES);
        assert_eq!((answer.range.clone(), answer.score, answer.null_score), (6..11, 13.0, 0.75));
        let sum = |logits: [f64; 3]| logits.map(f64::exp).iter().sum::<f64>();
        let begin = 5_f64.exp() / sum([0.5, 5.0, 0.0]);
        let end = 8_f64.exp() / sum([0.25, 0.0, 8.0]);
        assert!((answer.probability - begin * end).abs() < 1e-12);
        assert_eq!(answer.difference(), -12.25);
        assert_eq!(answer.given(None), Some(6..11));
        assert_eq!(answer.given(Some(-12.25)), Some(6..11));
        assert_eq!(answer.given(Some(-12.5)), None);
        assert_eq!(
            (answer.text("ab cd ef gh", Some(0.0)), answer.text("ab cd ef gh", Some(-13.0))),
            ("ef gh", "")
        );
    }

    #[test]
    fn an_answer_is_not_longer_than_its_limit() {
        let candidates: Vec<Range<usize>> =
            std::iter::once(0..0).chain((0..40).map(|token| token..token + 1)).collect();
        let mut logits = vec![0.0; 82];
        (logits[2], logits[81]) = (5.0, 5.0);
        let answer = SpanAnswer::read(&logits, &candidates);
        assert_eq!(answer.range, 0..1, "of equals the first, and not all 40 tokens");
        assert_eq!(SpanAnswer::read(&[], &[]).given(None), None);
        assert_eq!(SpanAnswer::read(&[1.0, 2.0], &CANDIDATES[..1]).given(None), None);
    }

    #[test]
    fn a_target_is_whole_in_its_window_or_none() {
        let target_of = |answers: &[[usize; 2]], candidates: &[Range<usize>]| {
            let answers = answers.iter().map(|[begin, end]| *begin..*end).collect();
            target(&Question { context: "ab cd ef gh".into(), answers }, candidates)
        };
        let (first, second) = CANDIDATES.split_at(4);
        assert_eq!(target_of(&[[3, 8]], first), [2, 3]);
        assert_eq!(target_of(&[[3, 8]], second), [0, 0]);
        assert_eq!(target_of(&[[6, 11]], second), [1, 2]);
        assert_eq!(target_of(&[[6, 11]], first), [0, 0]);
        assert_eq!(target_of(&[[6, 8], [0, 2]], first), [3, 3], "the first of several");
        assert_eq!(target_of(&[[7, 8]], first), [3, 3], "a part of a token");
        assert_eq!(target_of(&[], first), [0, 0]);
        assert_eq!(target_of(&[[0, 2]], &first[..1]), [0, 0]);
    }
}
