//! Probes: a few texts and the exact answers that a task gave to them when it came into the bank.
//!
//! As long as a task gives the same bits, nothing that its answers depend on has changed: neither its own numbers, nor the
//! base, nor the program. That is more than the digests of the files can tell, and it is what "never forgets" means.

use std::borrow::Borrow;

use serde::{Deserialize, Serialize};

use crate::adapter::Adapter;
use crate::data::{DataError, LabelledRows, Row, TaskKind};
use crate::model::Model;
use crate::predict::{PredictError, row_logits};
use crate::random::Random;

/// Logits that differ by more are not those of a processor, or a version of the program, that rounds in another way: the sums of a dozen layers in
/// single precision stay far below it.
const ROUNDING: f32 = 1e-3;

/// How many texts are kept of a task.
pub const PROBES: usize = 16;

/// The content of `probes.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probes {
    /// The program and its version that answered.
    #[serde(default)]
    pub tool: String,
    /// The processor that answered, as far as it decides bits.
    pub processor: String,
    /// The texts with their answers.
    pub probes: Vec<Probe>,
}

/// One text and what it was answered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The text, or the first of a pair.
    pub text: String,
    /// The second text of a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_b: Option<String>,
    /// The words of a text that came as such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<Vec<String>>,
    /// The texts to choose from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// The bits of the logits, each as eight hexadecimal digits of its IEEE 754 single.
    pub logits: Vec<String>,
}

/// What came out when the probes were answered again.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "answers", rename_all = "snake_case")]
pub enum Answered {
    /// Every bit is as it was.
    Same {
        /// How many numbers were compared.
        logits: usize,
    },
    /// They were made by another version of the program, or on a kind of processor that rounds in another way, and differ
    /// from what is answered here by no more than that explains.
    Similar {
        /// That program and that processor.
        answered_by: String,
        /// The largest difference of two numbers.
        largest_difference: f32,
    },
    /// The task answers otherwise than it did.
    Changed {
        /// The place of the first probe that is answered otherwise, from 0.
        probe: usize,
        /// The largest difference of two numbers.
        largest_difference: f32,
    },
}

impl Probes {
    /// Asks a task.
    /// # Errors
    /// If a row cannot be answered.
    pub fn take<R: Borrow<Row> + Sync>(
        model: &Model,
        adapter: &Adapter,
        rows: &[R],
    ) -> Result<Self, PredictError> {
        let answers = row_logits(model, adapter, rows)?;
        let probe = |(row, logits): (&R, &Vec<f32>)| Probe {
            text: row.borrow().text.clone(),
            text_b: row.borrow().text_b.clone(),
            words: words_of(row.borrow()),
            choices: row.borrow().choices.clone(),
            logits: logits.iter().map(|logit| format!("{:08x}", logit.to_bits())).collect(),
        };
        let tool = format!("grafter {}", env!("CARGO_PKG_VERSION"));
        Ok(Self { tool, processor: processor(), probes: rows.iter().zip(&answers).map(probe).collect() })
    }

    /// Asks the task again.
    /// # Errors
    /// If a text cannot be answered, for one because the answer is not a number.
    pub fn ask_again(&self, model: &Model, adapter: &Adapter) -> Result<Answered, PredictError> {
        let now = Self::take(model, adapter, &self.rows())?;
        let differs = |(kept, now): (&Probe, &Probe)| kept.logits != now.logits;
        let Some(probe) = self.probes.iter().zip(&now.probes).position(differs) else {
            return Ok(Answered::Same { logits: self.probes.iter().map(|probe| probe.logits.len()).sum() });
        };
        let largest_difference = largest_difference(self, &now);
        let elsewhere = self.processor != now.processor || self.tool != now.tool;
        Ok(if elsewhere && largest_difference <= ROUNDING {
            let answered_by = format!("{} on {}", self.tool, self.processor);
            Answered::Similar { answered_by, largest_difference }
        } else {
            Answered::Changed { probe, largest_difference }
        })
    }

    fn rows(&self) -> Vec<Row> {
        let row = |probe: &Probe| match &probe.words {
            Some(words) => Row::of_words(words),
            None => Row {
                text_b: probe.text_b.clone(),
                choices: probe.choices.clone(),
                ..Row::single(&probe.text)
            },
        };
        self.probes.iter().map(row).collect()
    }
}

/// The words of a row that came as such.
fn words_of(row: &Row) -> Option<Vec<String>> {
    let words = row.words.as_ref()?.iter();
    Some(words.map(|word| row.text[word.clone()].to_owned()).collect())
}

/// Infinite where a number is missing or is none.
fn largest_difference(kept: &Probes, now: &Probes) -> f32 {
    let mut largest = 0.0;
    for (kept, now) in kept.probes.iter().zip(&now.probes) {
        if kept.logits.len() != now.logits.len() {
            return f32::INFINITY;
        }
        for (kept, now) in kept.logits.iter().zip(&now.logits) {
            let number = |bits: &str| u32::from_str_radix(bits, 16).map_or(f32::INFINITY, f32::from_bits);
            largest = f32::max(largest, (number(kept) - number(now)).abs());
        }
    }
    largest
}

/// What of the processor may decide a bit: its architecture, and whether it fuses a multiplication with an addition.
fn processor() -> String {
    let level = format!("{:?}", grafter_nn::simd::level()).to_lowercase();
    format!("{} {level}", std::env::consts::ARCH)
}

/// Rows of a labelled file to keep as probes: [`PROBES`] of them, spread over the file.
/// # Errors
/// If the file cannot be read again.
pub fn rows_of(data: &dyn LabelledRows) -> Result<Vec<Row>, DataError> {
    let count = data.targets().len();
    let places: Vec<usize> = (0..PROBES.min(count)).map(|probe| probe * count / PROBES.min(count)).collect();
    let mut rows = Vec::with_capacity(places.len());
    for (place, row) in data.read()?.enumerate() {
        if places.get(rows.len()) == Some(&place) {
            rows.push(row?.into_owned());
        } else if rows.len() == places.len() {
            break;
        }
    }
    Ok(rows)
}

/// Texts for a task of which no texts are at hand, or none may be kept: words drawn from a fixed list, from one word to
/// about as many as the task reads. The same each time.
pub fn generated_rows(kind: TaskKind, pair: bool, max_length: usize) -> Vec<Row> {
    let mut random = Random::new(PROBE_SEED);
    let mut text = |words: usize| {
        let words: Vec<&str> =
            (0..words).map(|_| WORDS[(random.bits() % WORDS.len() as u64) as usize]).collect();
        words.join(" ")
    };
    (0..PROBES)
        .map(|probe| {
            let words = 1 + probe * max_length / PROBES;
            let row = if pair {
                Row::pair(text(words.div_ceil(2)), text(words.div_ceil(2)))
            } else {
                Row::single(text(words))
            };
            let choices = if kind == TaskKind::MultipleChoice { 2 + probe % 4 } else { 0 };
            Row { choices: (0..choices).map(|choice| text(1 + choice)).collect(), ..row }
        })
        .collect()
}

const PROBE_SEED: u64 = 1;
const WORDS: [&str; 48] = [
    "the", "a", "of", "and", "not", "is", "was", "to", "in", "for", "with", "no", "good", "bad", "new",
    "old", "great", "poor", "river", "house", "price", "letter", "phone", "train", "music", "doctor",
    "winter", "money", "city", "child", "book", "water", "road", "game", "call", "win", "lose", "send",
    "wait", "open", "close", "never", "always", "very", "today", "why", "who", "7",
];
