//! `grafter eval`: scores an adapter on a file of labelled text.

use grafter::data::{LabelledFile, LabelledRows};
use grafter::eval::evaluate;
use grafter::metrics::Scores;
use serde::Serialize;

use super::{open_adapter, print, print_json, scores_table};
use crate::Outcome;
use crate::args::Eval;
use crate::failure::Failure;
use crate::sources::Sources;
use crate::terminal::counted;

/// The scores, as `--json` prints them.
#[derive(Serialize)]
struct Report<'a> {
    rows: usize,
    labels: &'a [String],
    scores: &'a Scores,
}

pub fn run(arguments: &Eval) -> Result<Outcome, Failure> {
    // What needs no model first, so that a wrong path is told at once.
    let manifest = grafter::adapter::read_manifest(&arguments.adapter)?;
    let data = LabelledFile::read_eval(
        &Sources::new(&arguments.rows).source(&arguments.data)?,
        &manifest.task.spec()?,
    )?;
    let base = arguments.base.base;
    let (model, adapter) = open_adapter(&arguments.adapter, &manifest, &arguments.model.model, base)?;
    let scores = evaluate(&model, &adapter, &data)?;
    let (rows, labels) = (data.targets().len(), &manifest.task.labels);
    if arguments.json {
        print_json(&Report { rows, labels, scores: &scores })?;
    } else {
        print(&format!("{}\n{}", counted(rows, "row"), scores_table(&scores, labels)))?;
    }
    Ok(Outcome::Done)
}
