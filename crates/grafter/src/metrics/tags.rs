//! Measures of the tags of words, and of the entities that they mark.
//!
//! Entities are right if type and words are. All is computed from how often each type is target, prediction and both; the
//! numbers are those of `seqeval`. A word without an answer, which lies beyond where its text was cut, is in no entity, and its tag
//! is wrong.

use serde::{Deserialize, Serialize};

use super::classification::{ClassCounts, ClassScores, ClassificationScores, Counts, mean_f1};
use super::{Metric, MetricError, check_lengths};
use crate::data::TaskKind;
use crate::entities::{kinds, spans};

/// The scores of predicted entities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntityScores {
    /// The number of texts.
    pub rows: u64,
    /// The number of words.
    pub words: u64,
    /// F1 of all entities together: `2 tp / (2 tp + fp + fn)`.
    pub micro_f1: f64,
    /// The share of predicted entities that are right.
    pub precision: f64,
    /// The share of entities that are found.
    pub recall: f64,
    /// The mean of the types' F1, of those types of which an entity is there or predicted.
    pub macro_f1: f64,
    /// The share of words whose tag is right.
    pub accuracy: f64,
    /// Each type, in the order of the tags.
    pub per_type: Vec<ClassScores>,
}

impl EntityScores {
    /// All scores of predicted tags, of which there are so many, against those of each text.
    ///
    /// # Errors
    /// No rows, different lengths, or a tag out of range.
    pub fn compute(
        targets: &[Vec<usize>],
        predictions: &[Vec<usize>],
        tags: usize,
    ) -> Result<Self, MetricError> {
        check_lengths(targets.len(), predictions.len())?;
        Self::of_rows(targets.iter().zip(predictions), tags)
    }

    /// [`EntityScores::compute`] of rows that come one after another, which may be the same rows several times.
    pub(crate) fn of_rows<'a>(
        rows: impl Iterator<Item = (&'a Vec<usize>, &'a Vec<usize>)>,
        tags: usize,
    ) -> Result<Self, MetricError> {
        let mut counts = vec![ClassCounts::default(); kinds(tags)];
        let (mut count, mut words, mut right) = (0_u64, 0_u64, 0_u64);
        for (target, prediction) in rows {
            check_tags(target.iter().chain(prediction), tags)?;
            count += 1;
            words += target.len() as u64;
            right += target.iter().zip(prediction).filter(|(tag, answer)| tag == answer).count() as u64;
            let (there, predicted) = (spans(target), spans(prediction));
            for span in &there {
                counts[span.kind].targets += 1;
                // Both are in the order of their words, and no two of one text have a word in common.
                let same = predicted.binary_search_by_key(&span.words.start, |other| other.words.start);
                counts[span.kind].right += u64::from(same.is_ok_and(|place| predicted[place] == *span));
            }
            predicted.iter().for_each(|span| counts[span.kind].predicted += 1);
        }
        if count == 0 || words == 0 {
            return Err(MetricError::Empty);
        }
        let all = counts.iter().fold(ClassCounts::default(), |all, kind| ClassCounts {
            targets: all.targets + kind.targets,
            predicted: all.predicted + kind.predicted,
            right: all.right + kind.right,
        });
        let all = all.scores();
        Ok(Self {
            rows: count,
            words,
            micro_f1: all.f1,
            precision: all.precision,
            recall: all.recall,
            macro_f1: mean_f1(&counts),
            accuracy: right as f64 / words as f64,
            per_type: counts.iter().map(ClassCounts::scores).collect(),
        })
    }

    /// How many entities there are.
    pub fn support(&self) -> u64 {
        self.per_type.iter().map(|kind| kind.support).sum()
    }

    /// The value of one metric.
    ///
    /// # Errors
    /// See [`Metric::check`].
    pub fn get(&self, metric: Metric) -> Result<f64, MetricError> {
        match metric {
            Metric::MicroF1 => Ok(self.micro_f1),
            Metric::MacroF1 => Ok(self.macro_f1),
            Metric::Accuracy => Ok(self.accuracy),
            _ => Err(MetricError::WrongKind { metric, kind: TaskKind::Entities }),
        }
    }
}

/// The scores of the tags of words, as of classes: its rows are words. A word without an answer was answered wrongly. As there,
/// a tag that no word has or is given counts for nothing in the mean of their F1.
///
/// # Errors
/// No words, different lengths, or a tag out of range.
pub fn word_scores<'a>(
    rows: impl Iterator<Item = (&'a Vec<usize>, &'a Vec<usize>)>,
    tags: usize,
) -> Result<ClassificationScores, MetricError> {
    let (mut targets, mut answers) = (Vec::new(), Vec::new());
    for (target, prediction) in rows {
        check_tags(target.iter().chain(prediction), tags)?;
        targets.extend(target);
        // The words that have no answer are of a class of their own.
        answers.extend((0..target.len()).map(|word| prediction.get(word).copied().unwrap_or(tags)));
    }
    let counts = Counts::of(&targets, &answers, tags + 1)?;
    let mut scores = ClassificationScores::of_counts(&counts, &targets, &answers)?;
    scores.per_class.truncate(tags);
    scores.confusion.truncate(tags);
    scores.confusion.iter_mut().for_each(|row| row.truncate(tags));
    scores.macro_f1 = mean_f1(&counts.classes[..tags]);
    Ok(scores)
}

fn check_tags<'a>(mut found: impl Iterator<Item = &'a usize>, tags: usize) -> Result<(), MetricError> {
    let outside = found.find(|tag| **tag >= tags);
    outside.map_or(Ok(()), |found| Err(MetricError::ClassOutOfRange { classes: tags, found: *found }))
}

/// The scores on `targets` of always giving the most frequent tag of the training words.
///
/// # Errors
/// No words in either, or a tag out of range.
pub fn frequent_tag_baseline(
    train_targets: &[Vec<usize>],
    targets: &[Vec<usize>],
    tags: usize,
) -> Result<ClassificationScores, MetricError> {
    let mut counts = vec![0_usize; tags];
    for tag in train_targets.iter().flatten() {
        *counts.get_mut(*tag).ok_or(MetricError::ClassOutOfRange { classes: tags, found: *tag })? += 1;
    }
    let most = counts.iter().max().ok_or(MetricError::Empty)?;
    // Of equals the first.
    let frequent = counts.iter().position(|count| count == most).unwrap_or(0);
    let answers: Vec<Vec<usize>> = targets.iter().map(|row| vec![frequent; row.len()]).collect();
    word_scores(targets.iter().zip(&answers), tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_right_if_type_and_words_are() {
        // Types a and b. There: a 0..2, b 3..4; a 0..1. Predicted: a 0..2, a 3..4; a 0..2.
        let targets = [vec![1, 2, 0, 3], vec![1, 0]];
        let answers = [vec![1, 2, 0, 1], vec![1, 2]];
        let scores = EntityScores::compute(&targets, &answers, 5).unwrap();
        let third = 1.0 / 3.0;
        assert_eq!((scores.precision, scores.recall), (third, third));
        assert!((scores.micro_f1 - third).abs() < 1e-12, "{scores:?}");
        // a: 1 right of 3 predicted and 2 there, b: none.
        assert!((scores.macro_f1 - 0.2).abs() < 1e-12, "{scores:?}");
        assert!((scores.accuracy - 4.0 / 6.0).abs() < 1e-12);
        assert_eq!((scores.rows, scores.words, scores.per_type[1].support), (2, 6, 1));
    }

    #[test]
    fn words_without_an_answer_are_in_no_entity_and_never_right() {
        let targets = [vec![1, 2, 0]];
        let scores = EntityScores::compute(&targets, &[vec![1]], 3).unwrap();
        assert_eq!((scores.micro_f1, scores.accuracy), (0.0, 1.0 / 3.0), "one that is cut is another one");
        let tags = word_scores(targets.iter().zip(&[vec![1]]), 3).unwrap();
        assert_eq!((tags.rows, tags.accuracy), (3, 1.0 / 3.0));
        assert_eq!(tags.per_class.len(), 3);
        let known = word_scores(targets.iter().zip(&[vec![1, 2, 0]]), 4).unwrap();
        assert_eq!((known.macro_f1, known.per_class[3].support), (1.0, 0), "no word has the last tag");
        assert_eq!(tags.confusion, [vec![0, 0, 0], vec![0, 1, 0], vec![0, 0, 0]]);
        assert!((tags.macro_f1 - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn what_cannot_be_scored_is_an_error() {
        assert_eq!(EntityScores::compute(&[], &[], 3), Err(MetricError::Empty));
        let far = EntityScores::compute(&[vec![0]], &[vec![3]], 3);
        assert_eq!(far, Err(MetricError::ClassOutOfRange { classes: 3, found: 3 }));
    }
}
