//! `grafter predict`: a Unix filter from texts to answers, one JSON line per row in the order of the rows.
//!
//! A thread reads rows into a bounded queue; the command answers what has arrived, so a slow writer gets its answers
//! at once and a fast one full batches, in bounded memory, on input without an end. A row that cannot be used gets a
//! line with its error, in its place.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write, stdin, stdout};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};

use grafter::adapter::Adapter;
use grafter::data::{Format, LabelUse, ReadOptions, Row, RowError, RowReader};
use grafter::model::Model;
use grafter::predict::predict;
use serde::Serialize;

use super::open_model;
use crate::Outcome;
use crate::args::Predict;
use crate::failure::Failure;

/// Rows that are read ahead and answered together.
const ROWS_AHEAD: usize = 256;

/// The line of a row that could not be used.
#[derive(Serialize)]
struct Rejected {
    error: String,
}

pub fn run(arguments: &Predict) -> Result<Outcome, Failure> {
    let manifest = grafter::adapter::read_manifest(&arguments.adapter)?;
    let rows = open_rows(arguments)?;
    let model = open_model(&arguments.model.model)?;
    let adapter = Adapter::load(&arguments.adapter, &model)?;
    let mut output = open_output(arguments.output.as_deref())?;
    let failed = |source: io::Error| match &arguments.output {
        Some(path) => Failure::Write { path: path.clone(), source },
        None => Failure::Output(source),
    };
    let (sender, receiver) = sync_channel(ROWS_AHEAD);
    std::thread::spawn(move || {
        for row in rows {
            // The receiver is gone when the command has failed.
            if sender.send(row).is_err() {
                return;
            }
        }
    });
    let mut rejected = 0;
    while let Some(batch) = next_batch(&receiver) {
        rejected +=
            answer(&model, &adapter, manifest.task.pair, batch, &mut output).map_err(
                |error| match error {
                    AnswerError::Output(source) => failed(source),
                    AnswerError::Other(failure) => failure,
                },
            )?;
        output.flush().map_err(failed)?;
    }
    if rejected > 0 {
        eprintln!("warning: {} could not be used", crate::terminal::counted(rejected, "row"));
        return Ok(Outcome::RowsRejected);
    }
    Ok(Outcome::Done)
}

type Rows = Box<dyn Iterator<Item = Result<Row, RowError>> + Send>;

fn open_rows(arguments: &Predict) -> Result<Rows, Failure> {
    let options = ReadOptions {
        columns: arguments.rows.columns(),
        labels: LabelUse::Optional,
        ..ReadOptions::default()
    };
    let standard_input = arguments.input == Path::new("-");
    let format = match arguments.rows.format {
        Some(format) => format,
        None if standard_input => Format::Lines,
        None => Format::for_path(&arguments.input)?,
    };
    let (input, name): (Box<dyn BufRead + Send>, String) = if standard_input {
        (Box::new(BufReader::new(stdin())), "standard input".to_owned())
    } else {
        let file = File::open(&arguments.input)
            .map_err(|source| Failure::Read { path: arguments.input.clone(), source })?;
        (Box::new(BufReader::new(file)), arguments.input.display().to_string())
    };
    Ok(Box::new(RowReader::new(input, name, format, &options)?))
}

fn open_output(path: Option<&Path>) -> Result<Box<dyn Write>, Failure> {
    Ok(match path {
        Some(path) => {
            let file =
                File::create(path).map_err(|source| Failure::Write { path: path.to_owned(), source })?;
            Box::new(BufWriter::new(file))
        }
        None => Box::new(BufWriter::new(stdout())),
    })
}

/// Waits for one row, then takes what else has arrived; `None` at the end of the input.
fn next_batch(rows: &Receiver<Result<Row, RowError>>) -> Option<Vec<Result<Row, RowError>>> {
    let mut batch = vec![rows.recv().ok()?];
    while batch.len() < ROWS_AHEAD {
        match rows.try_recv() {
            Ok(row) => batch.push(row),
            Err(_) => break,
        }
    }
    Some(batch)
}

enum AnswerError {
    Output(io::Error),
    Other(Failure),
}

/// Writes the answers of a batch; returns how many rows were rejected.
fn answer(
    model: &Model,
    adapter: &Adapter,
    pair: bool,
    batch: Vec<Result<Row, RowError>>,
    output: &mut dyn Write,
) -> Result<usize, AnswerError> {
    let usable = |row: &Result<Row, RowError>| row.as_ref().is_ok_and(|row| row.text_b.is_some() == pair);
    let rows: Vec<Row> = batch.iter().filter(|row| usable(row)).flatten().cloned().collect();
    let answers = predict(model, adapter, &rows).map_err(|error| AnswerError::Other(error.into()))?;
    let mut answers = answers.into_iter();
    let mut rejected = 0;
    for row in batch {
        let line = match (usable(&row), row) {
            (true, _) => serde_json::to_string(&answers.next().expect("one answer for each usable row")),
            (false, Ok(row)) => {
                rejected += 1;
                let (expected, found) = if pair { ("a pair", "one text") } else { ("one text", "a pair") };
                let error = format!("line {}: expected {expected}, found {found}", row.line);
                serde_json::to_string(&Rejected { error })
            }
            (false, Err(error)) => {
                rejected += 1;
                serde_json::to_string(&Rejected { error: error.to_string() })
            }
        };
        let line = line.expect("answers are plain data");
        writeln!(output, "{line}").map_err(AnswerError::Output)?;
    }
    Ok(rejected)
}
