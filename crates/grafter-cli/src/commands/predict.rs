//! `grafter predict`: a Unix filter from texts to answers, one JSON line per row in the order of the rows.
//!
//! A thread reads rows into a bounded queue; the command answers what has arrived, so a slow writer gets its answers
//! at once and a fast one full batches, in bounded memory, on input without an end. A row that cannot be used gets a
//! line with its error, in its place.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write, stdin, stdout};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};

use grafter::adapter::Adapter;
use grafter::batch::TokenIds;
use grafter::data::{
    FileRows, Format, LabelUse, MAX_ROW_BYTES, ReadOptions, Row, RowError, RowErrorKind, temporary_copy,
};
use grafter::model::Model;
use grafter::predict::{Prediction, Query, are_numbers, encode_for, logits};
use rayon::prelude::*;
use serde::Serialize;

use super::open_adapter;
use crate::Outcome;
use crate::args::Predict;
use crate::failure::Failure;
use crate::terminal::{counted, tell};

/// Rows that are read ahead and answered together; with [`MAX_ROW_BYTES`] it bounds the text in memory.
const ROWS_AHEAD: usize = 128;

/// The line of a row that could not be used.
#[derive(Serialize)]
struct Rejected {
    error: String,
}

pub fn run(arguments: &Predict) -> Result<Outcome, Failure> {
    // What needs no model first, so that a wrong path is told at once.
    let manifest = grafter::adapter::read_manifest(&arguments.adapter)?;
    let rows = open_rows(arguments)?;
    refuse_other_kind(&rows, manifest.task.pair)?;
    let base = arguments.base.base;
    let (model, adapter) = open_adapter(&arguments.adapter, &manifest, &arguments.model.model, base)?;
    if let Some(output) = &arguments.output {
        super::refuse_output(output, "--output", &[&arguments.input])?;
    }
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
        let answered = answer(&model, &adapter, batch, &mut output);
        rejected += answered.map_err(|stopped| match stopped {
            Stopped::Output(source) => failed(source),
            Stopped::Input(error) => error.into(),
        })?;
        output.flush().map_err(failed)?;
    }
    if rejected > 0 {
        tell(format_args!("warning: {} could not be used", counted(rejected, "row")));
        return Ok(Outcome::RowsRejected);
    }
    Ok(Outcome::Done)
}

type Rows = FileRows<Box<dyn Read + Send>, File>;

/// Where the format or the header says that every row is of the wrong kind, one refusal says more than as many lines of
/// errors.
fn refuse_other_kind(rows: &Rows, pair: bool) -> Result<(), Failure> {
    if rows.is_pair().is_none_or(|found| found == pair) {
        return Ok(());
    }
    let (expected, found, hint) = if pair {
        (
            "pairs of texts",
            "single texts",
            "pass a file with two text columns, such as `sentence1` and `sentence2`, or `--format tsv` with them on \
             standard input",
        )
    } else {
        ("single texts", "pairs of texts", "choose the column with `--text-column <NAME>`")
    };
    let message = format!("{}: the adapter answers {expected}, found {found}", rows.file());
    Err(Failure::Usage { message, hint: Some(hint.to_owned()) })
}

fn open_rows(arguments: &Predict) -> Result<Rows, Failure> {
    let options = ReadOptions {
        columns: arguments.rows.columns(),
        labels: LabelUse::Optional,
        max_row_bytes: MAX_ROW_BYTES,
        ..ReadOptions::default()
    };
    let standard_input = arguments.input == Path::new("-");
    let format = match arguments.rows.format {
        Some(format) => format,
        None if standard_input => Format::Lines,
        None => Format::for_path(&arguments.input)?,
    };
    let failed = |source| Failure::Read { path: arguments.input.clone(), source };
    let (input, name) = if standard_input {
        (Input::Standard, "standard input".to_owned())
    } else {
        (Input::File(File::open(&arguments.input).map_err(failed)?), arguments.input.display().to_string())
    };
    if format != Format::Parquet {
        return Ok(FileRows::text(input.stream(), name, format, &options)?);
    }
    Ok(FileRows::parquet(input.with_places().map_err(failed)?, name, &options)?)
}

/// Where rows come from.
enum Input {
    Standard,
    File(File),
}

impl Input {
    fn stream(self) -> Box<dyn Read + Send> {
        match self {
            Self::Standard => Box::new(stdin()),
            Self::File(file) => Box::new(file),
        }
    }

    /// As a file that can be read at any place, which a pipe cannot.
    fn with_places(self) -> io::Result<File> {
        match self {
            Self::File(file) if file.metadata()?.is_file() => Ok(file),
            input => temporary_copy(&mut input.stream()),
        }
    }
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

/// One row on its way to its answer.
enum Asked {
    /// Its tokens.
    Tokens(TokenIds),
    /// Why it cannot be used.
    Rejected(String),
}

/// Writes the answers of a batch; returns how many rows were rejected.
fn answer(
    model: &Model,
    adapter: &Adapter,
    mut batch: Vec<Result<Row, RowError>>,
    output: &mut dyn Write,
) -> Result<usize, Stopped> {
    // Where the input itself broke, what follows is unknown: the rows before it are answered, and then it is an error.
    let broken = batch.iter().position(|row| {
        matches!(
            row,
            Err(RowError { kind: RowErrorKind::Io(_) | RowErrorKind::Utf16 | RowErrorKind::Parquet(_), .. })
        )
    });
    let broken = broken.and_then(|place| batch.drain(place..).next());
    let asked: Vec<Asked> = batch
        .into_par_iter()
        .map(|row| match row {
            Ok(row) => ask(model, adapter, &row),
            Err(error) => Asked::Rejected(error.to_string()),
        })
        .collect();
    let task = adapter.parameters();
    let tokens = asked.iter().filter_map(|asked| match asked {
        Asked::Tokens(tokens) => Some(Query { tokens, task }),
        Asked::Rejected(_) => None,
    });
    let mut answers = logits(model.encoder(), &tokens.collect::<Vec<_>>()).into_iter();
    let mut rejected = 0;
    for asked in asked {
        let answer = match asked {
            Asked::Tokens(_) => {
                let logits = answers.next().expect("one answer for each row with tokens");
                are_numbers(&logits)
                    .then(|| Prediction::new(adapter, &logits))
                    .ok_or("the answer is not a number".to_owned())
            }
            Asked::Rejected(error) => Err(error),
        };
        let line = match answer {
            Ok(prediction) => serde_json::to_string(&prediction),
            Err(error) => {
                rejected += 1;
                serde_json::to_string(&Rejected { error })
            }
        };
        writeln!(output, "{}", line.expect("answers are plain data")).map_err(Stopped::Output)?;
    }
    match broken {
        Some(Err(error)) => output.flush().map_err(Stopped::Output).and(Err(Stopped::Input(error))),
        _ => Ok(rejected),
    }
}

fn ask(model: &Model, adapter: &Adapter, row: &Row) -> Asked {
    match encode_for(model, adapter, row) {
        Ok(tokens) => Asked::Tokens(tokens),
        Err(error) => Asked::Rejected(format!("line {}: {error}", row.line)),
    }
}

/// Why the answers ended before the input did.
enum Stopped {
    Input(RowError),
    Output(io::Error),
}
