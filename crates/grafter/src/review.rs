//! A task's answers to labelled rows, looked at row by row: the scores, what is taken for what, and the worst rows.
//!
//! Logits are seen one row at a time and not kept. What stays is an answer a row and the worst few rows, by their places:
//! no text passes through here.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::adapter::{ScoreScale, TaskRecord};
use crate::calibration::probabilities;
use crate::data::{Question, Targets};
use crate::eval::Answers;
use crate::gradient::Target;
use crate::metrics::{MetricError, Scores, exact_match};
use crate::predict::best_class;

/// How many of the worst rows are kept.
pub const WORST_ROWS: usize = 20;
/// How many pairs of confused classes are kept.
pub const CONFUSED_PAIRS: usize = 20;
/// How many answers of a regression are kept beside their targets.
const KEPT_ANSWERS: usize = 500;

/// What the answers to some rows were.
#[derive(Clone, Debug, PartialEq)]
pub struct Review {
    /// All scores, with the confusion matrix where there is one.
    pub scores: Scores,
    /// The classes that are most often taken for others, the most frequent first; empty for regression.
    pub confused: Vec<Confused>,
    /// The worst rows, the worst first: of classification those answered wrongly whose label had the lowest
    /// probability, of several labels and of words those with the largest loss that were not wholly right, of regression those
    /// with the largest errors, of choices as of classification, of questions those answered wrongly with the largest probability.
    pub worst: Vec<WorstRow>,
    /// For regression: targets and answers of at most 500 rows, evenly from the first to the last.
    pub sample: Vec<(f32, f32)>,
    /// The answers to all rows, in their order.
    pub answers: Answers,
}

/// One class taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confused {
    /// The label.
    pub label: usize,
    /// The answer.
    pub answer: usize,
    /// In how many rows.
    pub rows: u64,
}

/// A row that was answered badly.
#[derive(Clone, Debug, PartialEq)]
pub struct WorstRow {
    /// Its place among the rows, counted from 0.
    pub row: usize,
    /// Cross entropy in nats, of several labels and of words that of each on average, or the distance of answer and target in the
    /// unit of the targets; of a question that of the answer being wrong.
    pub loss: f64,
    /// What was answered.
    pub answer: WorstAnswer,
}

/// An answer beside what it should have been.
#[derive(Clone, Debug, PartialEq)]
pub enum WorstAnswer {
    /// Of a classification.
    Class {
        /// The label.
        label: usize,
        /// The answer.
        answer: usize,
        /// Probability of the answer.
        probability: f64,
        /// Probability of the label.
        label_probability: f64,
    },
    /// Of several labels, in ascending order.
    Set {
        /// The row's.
        labels: Vec<usize>,
        /// Those that were answered.
        answer: Vec<usize>,
    },
    /// Of words, each with its tag; of those beyond where the text was cut there is no answer.
    Tags {
        /// The row's.
        labels: Vec<usize>,
        /// Those that were answered.
        answer: Vec<usize>,
    },
    /// Of texts to choose from, by their places.
    Choice {
        /// The right one.
        right: usize,
        /// The answer.
        answer: usize,
        /// Probability of the answer.
        probability: f64,
        /// Probability of the right one.
        right_probability: f64,
    },
    /// Of a question, as bytes of its context; absent where there is none.
    Span {
        /// The first right answer.
        right: Option<Range<usize>>,
        /// The answer.
        answer: Option<Range<usize>>,
    },
    /// Of a regression.
    Score {
        /// The target.
        target: f32,
        /// The answer.
        answer: f32,
    },
}

/// What is kept of the logits of all rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The answers to all rows, in their order.
    pub answers: Answers,
    /// See [`Review::worst`].
    pub worst: Vec<WorstRow>,
}

/// Sees the logits of all rows, in their order.
#[derive(Debug)]
pub struct Reviewer<'a> {
    targets: &'a Targets,
    scale: Option<ScoreScale>,
    /// What logits of classes are divided by.
    temperature: f64,
    seen: Seen,
    row: usize,
}

impl<'a> Reviewer<'a> {
    /// Nothing seen yet of rows with these targets; `scale` is that of the task.
    pub fn new(targets: &'a Targets, scale: Option<ScoreScale>) -> Self {
        let seen = Seen { answers: Answers::to(targets, scale), worst: Vec::new() };
        Self { targets, scale, temperature: 1.0, seen, row: 0 }
    }

    /// The same with thresholds for several labels.
    #[must_use]
    pub fn with_thresholds(mut self, thresholds: Vec<f64>) -> Self {
        self.seen.answers = self.seen.answers.with_thresholds(Some(thresholds));
        self
    }

    /// The same with a temperature for the probabilities of classes.
    #[must_use]
    pub fn with_temperature(self, temperature: f64) -> Self {
        Self { temperature, ..self }
    }

    /// Sees the logits of the next row; of a question the candidates are what each two logits are of.
    pub fn push(&mut self, logits: &[f32], candidates: &[Range<usize>]) {
        self.seen.answers.push(logits, candidates);
        let row = self.row;
        self.row += 1;
        let bad = match self.targets {
            Targets::Classes(classes) => {
                classes.get(row).and_then(|label| wrong_class(logits, *label, self.temperature))
            }
            Targets::Sets(sets) => sets.get(row).and_then(|labels| self.wrong_set(logits, labels)),
            Targets::Entities(rows, _) | Targets::Tags(rows, _) => {
                rows.get(row).and_then(|tags| self.wrong_tags(logits, tags))
            }
            Targets::Choices(places) => {
                places.get(row).and_then(|right| wrong_class(logits, *right, 1.0)).map(of_choice)
            }
            Targets::Answers(questions, _) => {
                questions.get(row).and_then(|question| self.wrong_span(question))
            }
            Targets::Scores(scores) => scores.get(row).map(|target| {
                let answer = self.scale.map_or(logits[0], |scale| scale.restore(logits[0]));
                let loss = (f64::from(answer) - f64::from(*target)).abs();
                (loss, WorstAnswer::Score { target: *target, answer })
            }),
        };
        let Some((loss, answer)) = bad.filter(|(loss, _)| *loss > 0.0) else { return };
        // Of equals the first row comes first.
        let worst = &mut self.seen.worst;
        let place = worst.partition_point(|worse| worse.loss >= loss);
        if place < WORST_ROWS {
            worst.insert(place, WorstRow { row, loss, answer });
            worst.truncate(WORST_ROWS);
        }
    }

    /// The binary cross entropy and the answer of a row whose labels were not all answered rightly.
    fn wrong_set(&self, logits: &[f32], labels: &[usize]) -> Option<(f64, WorstAnswer)> {
        let Answers::Sets(answers, _) = &self.seen.answers else { return None };
        let answer = answers.last().filter(|answer| *answer != labels)?.clone();
        let loss = Target::Set(labels).loss(logits, &mut vec![0.0; logits.len()]);
        Some((loss, WorstAnswer::Set { labels: labels.to_vec(), answer }))
    }

    /// The cross entropy of a word on average, and the tags of a row that were not all answered rightly.
    fn wrong_tags(&self, logits: &[f32], labels: &[usize]) -> Option<(f64, WorstAnswer)> {
        let (Answers::Entities(answers, _) | Answers::Tags(answers, _)) = &self.seen.answers else {
            return None;
        };
        let answer = answers.last().filter(|answer| *answer != labels)?.clone();
        let target = Target::Tags(&labels[..answer.len().min(labels.len())]);
        let loss = target.loss(logits, &mut vec![0.0; logits.len()]) / target.weight().max(1.0);
        Some((loss, WorstAnswer::Tags { labels: labels.to_vec(), answer }))
    }

    /// How surely a question was answered with other words than the right ones.
    fn wrong_span(&self, question: &Question) -> Option<(f64, WorstAnswer)> {
        let Answers::Spans(spans, no_answer) = &self.seen.answers else { return None };
        let span = spans.last()?;
        let right: Vec<&str> = question.right().collect();
        if exact_match(span.text(&question.context, *no_answer), &right) {
            return None;
        }
        let answer = span.given(*no_answer);
        let probability = if answer.is_some() { span.probability } else { span.null_probability };
        // The surest of the wrong answers are the worst.
        let loss = -(1.0 - probability).max(f64::MIN_POSITIVE).ln();
        Some((loss, WorstAnswer::Span { right: question.answers.first().cloned(), answer }))
    }

    /// What was kept.
    pub fn finish(self) -> Seen {
        self.seen
    }
}

impl Review {
    /// What all rows together tell.
    /// # Errors
    /// If there were no rows, or not as many as targets.
    pub fn of(seen: Seen, targets: &Targets, task: &TaskRecord) -> Result<Self, MetricError> {
        let scores = seen.answers.scores(task, targets)?;
        let (mut confused, mut sample) = (Vec::new(), Vec::new());
        match (targets, &seen.answers) {
            (Targets::Classes(labels), Answers::Classes(classes)) => {
                confused = confusions(labels.iter().zip(classes));
            }
            (Targets::Tags(rows, _), Answers::Tags(answers, _)) => {
                confused =
                    confusions(rows.iter().zip(answers).flat_map(|(row, answers)| row.iter().zip(answers)));
            }
            (Targets::Scores(targets), Answers::Scores(scores, _)) => {
                let every = targets.len().div_ceil(KEPT_ANSWERS).max(1);
                let pairs = targets.iter().copied().zip(scores.iter().copied());
                sample = pairs.step_by(every).collect();
            }
            _ => {}
        }
        Ok(Self { scores, confused, worst: seen.worst, sample, answers: seen.answers })
    }
}

fn wrong_class(logits: &[f32], label: usize, temperature: f64) -> Option<(f64, WorstAnswer)> {
    let answer = best_class(logits);
    if answer == label || label >= logits.len() {
        return None;
    }
    let probabilities = probabilities(logits, temperature);
    // From the logits and not from the probability, which may be too small for a number: the answer's logit is the
    // largest, so this is ln of (sum of all / label).
    let apart = (f64::from(logits[answer]) - f64::from(logits[label])) / temperature;
    let loss = apart - probabilities[answer].ln();
    let (probability, label_probability) = (probabilities[answer], probabilities[label]);
    Some((loss, WorstAnswer::Class { label, answer, probability, label_probability }))
}

/// The same of texts to choose from.
fn of_choice((loss, answer): (f64, WorstAnswer)) -> (f64, WorstAnswer) {
    match answer {
        WorstAnswer::Class { label: right, answer, probability, label_probability: right_probability } => {
            (loss, WorstAnswer::Choice { right, answer, probability, right_probability })
        }
        answer => (loss, answer),
    }
}

/// The most frequent pairs; of equals the first in the order of the labels. Only pairs that occur take memory.
fn confusions<'a>(answered: impl Iterator<Item = (&'a usize, &'a usize)>) -> Vec<Confused> {
    let mut counts: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    for (label, answer) in answered.filter(|(label, answer)| label != answer) {
        *counts.entry((*label, *answer)).or_default() += 1;
    }
    let mut pairs: Vec<Confused> =
        counts.into_iter().map(|((label, answer), rows)| Confused { label, answer, rows }).collect();
    pairs.sort_by_key(|pair| std::cmp::Reverse(pair.rows));
    pairs.truncate(CONFUSED_PAIRS);
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::TaskKind;

    fn task(labels: &[&str]) -> TaskRecord {
        let kind = if labels.is_empty() { TaskKind::Regression } else { TaskKind::Classification };
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        TaskRecord { kind, pair: false, labels, scores: None, no_answer: false }
    }

    #[test]
    fn the_worst_rows_are_those_whose_label_was_least_probable() {
        let targets = Targets::Classes(vec![0, 0, 1, 0, 2]);
        let mut reviewer = Reviewer::new(&targets, None);
        let (ln3, ln7) = (3.0_f32.ln(), 7.0_f32.ln());
        for logits in
            [[0.0, ln3, -200.0], [9.0, 0.0, 0.0], [ln7, 0.0, -200.0], [0.0, ln3, -200.0], [0.0, 0.0, 1e4]]
        {
            reviewer.push(&logits, &[]);
        }
        let review = Review::of(reviewer.finish(), &targets, &task(&["a", "b", "c"])).unwrap();
        let rows: Vec<usize> = review.worst.iter().map(|worst| worst.row).collect();
        assert_eq!(rows, [2, 0, 3], "of equals the first, and nothing that was right");
        // 1 of 8 and 1 of 4.
        for (worst, expected) in review.worst.iter().zip([8.0_f64.ln(), 4.0_f64.ln()]) {
            assert!((worst.loss - expected).abs() < 1e-6, "{worst:?}");
        }
        let WorstAnswer::Class { label, answer, probability, label_probability } = review.worst[0].answer
        else {
            panic!("{review:?}")
        };
        assert_eq!((label, answer), (1, 0));
        assert!((probability - 0.875).abs() < 1e-6 && (label_probability - 0.125).abs() < 1e-6);
        assert_eq!(
            review.confused,
            [Confused { label: 0, answer: 1, rows: 2 }, Confused { label: 1, answer: 0, rows: 1 }]
        );
    }

    #[test]
    fn a_probability_too_small_for_a_number_has_a_loss() {
        let targets = Targets::Classes(vec![1]);
        let mut reviewer = Reviewer::new(&targets, None);
        reviewer.push(&[4000.0, 0.0], &[]);
        let review = Review::of(reviewer.finish(), &targets, &task(&["a", "b"])).unwrap();
        assert_eq!(review.worst[0].loss, 4000.0);
    }

    #[test]
    fn only_the_worst_of_many_rows_are_kept() {
        let rows = 1200;
        let targets = Targets::Scores((0..rows).map(|row| row as f32).collect());
        let mut reviewer = Reviewer::new(&targets, Some(ScoreScale { mean: 0.0, std: 2.0 }));
        // The answer is 2 · 0.25 · row: the error grows with the row.
        (0..rows).for_each(|row| reviewer.push(&[0.25 * row as f32], &[]));
        let review = Review::of(reviewer.finish(), &targets, &task(&[])).unwrap();
        let kept: Vec<usize> = review.worst.iter().map(|worst| worst.row).collect();
        assert_eq!(kept, (rows - WORST_ROWS..rows).rev().collect::<Vec<_>>());
        assert_eq!(review.worst[0].answer, WorstAnswer::Score { target: 1199.0, answer: 599.5 });
        assert_eq!((review.sample.len(), review.sample[1]), (400, (3.0, 1.5)));
        assert!(review.confused.is_empty());
    }
}
