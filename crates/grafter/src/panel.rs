//! Several tasks that answer the same rows in one pass.
//!
//! A row's text is cut into tokens once for each way to do so among the tasks, and all of them go through the encoder in
//! one batch, which runs the frozen products once over all tokens and the layers that none of the tasks changes once for
//! each text (see [`crate::predict`]). The answers are those that each task gives alone, bit for bit.

use std::borrow::Borrow;

use rayon::prelude::*;

use crate::adapter::{Adapter, AdapterError};
use crate::batch::TokenIds;
use crate::data::Row;
use crate::model::Model;
use crate::predict::{PredictError, Prediction, Query, are_numbers, encode_for, fits, logits, of_row};
use crate::row_encoding::RowEncoding;

/// Tasks of one model that are asked together.
#[derive(Debug)]
pub struct Panel<'a> {
    model: &'a Model,
    adapters: Vec<&'a Adapter>,
    /// The different ways to cut a row into tokens.
    encodings: Vec<RowEncoding>,
}

/// What one task answers to one row, or why it cannot.
pub type Answer = Result<Prediction, PredictError>;

impl<'a> Panel<'a> {
    /// A panel of tasks.
    /// # Errors
    /// If one of them belongs to another model.
    pub fn new(model: &'a Model, adapters: Vec<&'a Adapter>) -> Result<Self, AdapterError> {
        adapters.iter().try_for_each(|adapter| adapter.check_model(model))?;
        let mut encodings = Vec::new();
        for encoding in adapters.iter().map(|adapter| RowEncoding::of(adapter.manifest())) {
            if !encodings.contains(&encoding) {
                encodings.push(encoding);
            }
        }
        Ok(Self { model, adapters, encodings })
    }

    /// Whether all tasks are on pairs of texts, or none is; absent where there are both.
    pub fn is_pair(&self) -> Option<bool> {
        let mut kinds = self.adapters.iter().map(|adapter| adapter.manifest().task.pair);
        let first = kinds.next()?;
        kinds.all(|pair| pair == first).then_some(first)
    }

    /// Each task's answer to each row, in the order of the rows and in that of the tasks.
    pub fn answer<R: Borrow<Row> + Sync>(&self, rows: &[R]) -> Vec<Vec<Answer>> {
        let encoded: Vec<Vec<Option<Vec<TokenIds>>>> =
            rows.par_iter().map(|row| self.encode(row.borrow())).collect();
        // In the order of the tasks, so that the rows of one stand together.
        let mut queries = Vec::new();
        let mut answers: Vec<Vec<Option<Answer>>> = rows.iter().map(|_| Vec::new()).collect();
        for adapter in &self.adapters {
            let place = self.place(adapter);
            for ((row, encoded), answers) in rows.iter().zip(&encoded).zip(&mut answers) {
                let row = row.borrow();
                match &encoded[place] {
                    Some(sequences) if fits(&adapter.manifest().task, row).is_ok() => {
                        let query = |tokens| Query { tokens, task: adapter.parameters() };
                        queries.extend(sequences.iter().map(query));
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
            let encoding = self.place(adapter);
            for ((row, encoded), answers) in rows.iter().zip(&encoded).zip(&mut answers) {
                answers[place].get_or_insert_with(|| {
                    let sequences = encoded[encoding].as_ref().expect("a query has its tokens");
                    let logits = of_row(sequences.len(), &mut logits);
                    if are_numbers(&logits) {
                        Ok(Prediction::new(adapter, (row.borrow(), sequences), &logits))
                    } else {
                        Err(PredictError::NotANumber)
                    }
                });
            }
        }
        answers.into_iter().map(|answers| answers.into_iter().flatten().collect()).collect()
    }

    /// The tokens of a row by each of the encodings; `None` where it cannot be encoded.
    fn encode(&self, row: &Row) -> Vec<Option<Vec<TokenIds>>> {
        self.encodings.iter().map(|encoding| encoding.encode(self.model, row).ok()).collect()
    }

    /// The place of an adapter's encoding.
    fn place(&self, adapter: &Adapter) -> usize {
        let encoding = RowEncoding::of(adapter.manifest());
        self.encodings.iter().position(|known| *known == encoding).expect("each adapter's is there")
    }
}
