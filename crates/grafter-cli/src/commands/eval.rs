//! `grafter eval`: scores an adapter on a file of labelled text.

use grafter::data::{LabelledFile, LabelledRows};
use grafter::eval::{Evaluation, evaluation};
use grafter::metrics::Scores;
use serde::Serialize;

use super::{open_adapter, print, print_json, scores_table, tell_warnings, types};
use crate::Outcome;
use crate::args::Eval;
use crate::failure::Failure;
use crate::sources::Sources;
use crate::terminal::counted;

/// The scores, as `--json` prints them.
#[derive(Serialize)]
struct Report<'a> {
    rows: usize,
    /// Rows of which the longest length cut something off.
    truncated: usize,
    labels: &'a [String],
    /// The types of entities, in the order of their scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    types: Option<Vec<&'a str>>,
    scores: &'a Scores,
}

pub fn run(arguments: &Eval) -> Result<Outcome, Failure> {
    // What needs no model first, so that a wrong path is told at once.
    let manifest = grafter::adapter::read_manifest(&arguments.adapter)?;
    let data = LabelledFile::read_eval(
        &Sources::new(&arguments.rows).source(&arguments.data)?,
        &manifest.task.spec()?,
    )?;
    tell_warnings(&data);
    let base = arguments.base.base;
    let (model, adapter) = open_adapter(&arguments.adapter, &manifest, &arguments.model.model, base)?;
    let Evaluation { scores, truncated } = evaluation(&model, &adapter, &data)?;
    let (rows, labels) = (data.targets().len(), &manifest.task.labels);
    if arguments.json {
        let types = types(&scores, labels);
        print_json(&Report { rows, truncated, labels, types, scores: &scores })?;
    } else {
        let cut = match truncated {
            0 => String::new(),
            cut => format!(", {cut} of them {}", manifest.task.kind.too_long(manifest.max_length)),
        };
        print(&format!("{}{cut}\n{}", counted(rows, "row"), scores_table(&scores, labels)))?;
    }
    Ok(Outcome::Done)
}
