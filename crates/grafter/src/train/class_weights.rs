//! How much each class counts in the loss of training, for labels that are unevenly spread.
//!
//! The loss of a batch is the weighted mean `Σ w·l / Σ w` over its rows, as PyTorch's `CrossEntropyLoss(weight=w)` has it. Scores
//! and the loss on dev rows are not weighted.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The weights of the classes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassWeights {
    /// Whether the classes that are not named count as if there were equally many rows of each: `rows / (classes · rows of the
    /// class)`, scikit-learn's `balanced`. Otherwise they count once.
    pub auto: bool,
    /// By the label; 0.0001 to 10,000.
    pub given: BTreeMap<String, f32>,
}

/// Only how weights are to each other counts, so no larger or smaller ones are needed.
const WEIGHTS: std::ops::RangeInclusive<f32> = 1e-4..=1e4;

/// One word of the command line: `auto`, or a label and its weight.
#[derive(Clone, Debug, PartialEq)]
pub enum ClassWeight {
    /// See [`ClassWeights::auto`].
    Auto,
    /// See [`ClassWeights::given`].
    Of(String, f32),
}

impl FromStr for ClassWeight {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let (least, most) = (WEIGHTS.start(), WEIGHTS.end());
        let wrong = || {
            format!(
                "expected `auto` or `LABEL=WEIGHT`, one label a flag, a weight of {least} to {most}; found `{text}`"
            )
        };
        // A label may hold the sign, too.
        let (label, weight) = text.rsplit_once('=').ok_or_else(wrong)?;
        let weight = weight.parse().ok().filter(|weight: &f32| WEIGHTS.contains(weight));
        Ok(Self::Of(label.to_owned(), weight.ok_or_else(wrong)?))
    }
}

impl fmt::Display for ClassWeight {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Of(label, weight) => write!(formatter, "{label}={weight}"),
        }
    }
}

impl ClassWeights {
    /// The weights that some words name; `None` if there are none.
    pub fn of_words(words: &[ClassWeight]) -> Option<Self> {
        let mut weights = Self::default();
        for word in words {
            match word {
                ClassWeight::Auto => weights.auto = true,
                ClassWeight::Of(label, weight) => drop(weights.given.insert(label.clone(), *weight)),
            }
        }
        (!words.is_empty()).then_some(weights)
    }

    /// The words again.
    pub fn words(&self) -> Vec<ClassWeight> {
        let given = self.given.iter().map(|(label, weight)| ClassWeight::Of(label.clone(), *weight));
        self.auto.then_some(ClassWeight::Auto).into_iter().chain(given).collect()
    }

    /// The first name that is none of these labels.
    pub fn unknown(&self, labels: &[String]) -> Option<&str> {
        self.given.keys().find(|label| !labels.contains(label)).map(String::as_str)
    }

    /// The weight of each of these labels, given the classes of the training rows.
    pub fn resolve(&self, labels: &[String], classes: &[usize]) -> Vec<f32> {
        let mut rows = vec![0_usize; labels.len()];
        classes.iter().for_each(|class| rows[*class] += 1);
        let balanced = |count: usize| classes.len() as f64 / (labels.len() * count.max(1)) as f64;
        let weight = |(label, count): (&String, usize)| match self.given.get(label) {
            Some(weight) => *weight,
            None if self.auto => balanced(count) as f32,
            None => 1.0,
        };
        labels.iter().zip(rows).map(weight).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Vec<String> {
        ["a", "b=c", "auto"].map(str::to_owned).to_vec()
    }

    #[test]
    fn weights_are_given_or_balance_the_classes() {
        let classes = [0, 0, 0, 1, 0, 2, 0, 2];
        let words = |words: &[&str]| {
            let words: Vec<ClassWeight> = words.iter().map(|word| word.parse().unwrap()).collect();
            ClassWeights::of_words(&words).unwrap()
        };
        // 8 rows in 3 classes: 8/15, 8/3, 8/6.
        let auto = words(&["auto"]).resolve(&labels(), &classes);
        assert_eq!(auto, [8.0 / 15.0, 8.0 / 3.0, 8.0 / 6.0]);
        assert_eq!(words(&["b=c=2.5"]).resolve(&labels(), &classes), [1.0, 2.5, 1.0]);
        let both = words(&["auto", "auto=0.5"]);
        assert_eq!(both.resolve(&labels(), &classes), [8.0 / 15.0, 8.0 / 3.0, 0.5]);
        assert_eq!(both.words().iter().map(ToString::to_string).collect::<Vec<_>>(), ["auto", "auto=0.5"]);
        assert_eq!(words(&["a=2", "d=1"]).unknown(&labels()), Some("d"));
        assert_eq!(both.unknown(&labels()), None);
        assert_eq!(ClassWeights::of_words(&[]), None);
        for wrong in ["a", "a=", "a=0", "a=-1", "a=inf", "a=NaN", "a=1e-5", "a=1e5", "Auto"] {
            assert!(wrong.parse::<ClassWeight>().is_err(), "{wrong}");
        }
    }
}
