//! Several tasks that answer the same rows in one pass.
//!
//! A row's text is cut into tokens once for each longest length among the tasks, and all of them go through the encoder in
//! one batch, which runs the frozen products once over all tokens and the layers that none of the tasks changes once for
//! each text (see [`crate::predict`]). The answers are those that each task gives alone, bit for bit.

use std::borrow::Borrow;

use rayon::prelude::*;

use crate::adapter::{Adapter, AdapterError, Manifest};
use crate::batch::TokenIds;
use crate::data::Row;
use crate::model::Model;
use crate::predict::{PredictError, Prediction, Query, are_numbers, encode_for, encode_row, logits};

/// Tasks of one model that are asked together.
#[derive(Debug)]
pub struct Panel<'a> {
    model: &'a Model,
    adapters: Vec<&'a Adapter>,
    /// The different longest lengths.
    lengths: Vec<usize>,
}

/// What one task answers to one row, or why it cannot.
pub type Answer = Result<Prediction, PredictError>;

impl<'a> Panel<'a> {
    /// A panel of tasks.
    /// # Errors
    /// If one of them belongs to another model.
    pub fn new(model: &'a Model, adapters: Vec<&'a Adapter>) -> Result<Self, AdapterError> {
        adapters.iter().try_for_each(|adapter| adapter.check_model(model))?;
        let mut lengths: Vec<usize> = adapters.iter().map(|adapter| adapter.manifest().max_length).collect();
        lengths.sort_unstable();
        lengths.dedup();
        Ok(Self { model, adapters, lengths })
    }

    /// Whether all tasks are on pairs of texts, or none is; absent where there are both.
    pub fn is_pair(&self) -> Option<bool> {
        let mut kinds = self.adapters.iter().map(|adapter| adapter.manifest().task.pair);
        let first = kinds.next()?;
        kinds.all(|pair| pair == first).then_some(first)
    }

    /// Each task's answer to each row, in the order of the rows and in that of the tasks.
    pub fn answer<R: Borrow<Row> + Sync>(&self, rows: &[R]) -> Vec<Vec<Answer>> {
        let encoded: Vec<Vec<Option<TokenIds>>> =
            rows.par_iter().map(|row| self.encode(row.borrow())).collect();
        // In the order of the tasks, so that the rows of one stand together.
        let mut queries = Vec::new();
        let mut answers: Vec<Vec<Option<Answer>>> = rows.iter().map(|_| Vec::new()).collect();
        for adapter in &self.adapters {
            let Manifest { task, max_length, .. } = adapter.manifest();
            let place = self.lengths.partition_point(|length| length < max_length);
            for ((row, encoded), answers) in rows.iter().zip(&encoded).zip(&mut answers) {
                let row = row.borrow();
                match &encoded[place] {
                    Some(tokens) if row.text_b.is_some() == task.pair => {
                        queries.push(Query { tokens, task: adapter.parameters() });
                        answers.push(None);
                    }
                    _ => {
                        let refused = encode_for(self.model, adapter, row);
                        answers.push(Some(Err(refused.expect_err("what was refused once is refused again"))));
                    }
                }
            }
        }
        let mut logits = logits(self.model.encoder(), &queries).into_iter();
        for (place, adapter) in self.adapters.iter().enumerate() {
            for answers in &mut answers {
                answers[place].get_or_insert_with(|| {
                    let logits = logits.next().expect("one answer for each query");
                    if are_numbers(&logits) {
                        Ok(Prediction::new(adapter, &logits))
                    } else {
                        Err(PredictError::NotANumber)
                    }
                });
            }
        }
        answers.into_iter().map(|answers| answers.into_iter().flatten().collect()).collect()
    }

    /// The tokens of a row, cut to each of the lengths; `None` where it cannot be encoded.
    fn encode(&self, row: &Row) -> Vec<Option<TokenIds>> {
        self.lengths.iter().map(|length| encode_row(self.model, row, *length).ok()).collect()
    }
}
