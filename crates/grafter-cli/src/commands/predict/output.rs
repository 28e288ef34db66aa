//! Where answers go: lines of JSON as they come, the same compressed, or a Parquet file, by the name of the output.
//!
//! Lines are written at once, for the next program in a pipe. What is compressed and what is Parquet is of no use before its end,
//! and comes into its place whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write, stdout};
use std::path::Path;

use grafter::adapter::Manifest;
use grafter::answers::AnswerTable;
use grafter::data::{Compression, Compressor, Format, RowError};
use grafter::durable::WholeFile;
use grafter::predict::Prediction;
use serde::Serialize;

use super::Answering;

pub enum Output {
    Lines(Box<dyn Write>),
    Compressed(Compressor<BufWriter<WholeFile>>),
    Table(Box<AnswerTable<BufWriter<WholeFile>>>),
}

/// The line of a row that could not be used.
#[derive(Serialize)]
struct Rejected<'a> {
    error: &'a str,
}

impl Output {
    /// Opens what a path's name says; standard output without a path.
    pub fn open(path: Option<&Path>, answering: &Answering) -> io::Result<Self> {
        let Some(path) = path else { return Ok(Self::Lines(Box::new(BufWriter::new(stdout())))) };
        let whole = || WholeFile::begin(path).map(BufWriter::new);
        let (compression, format) = (Compression::for_path(path), Format::for_path(path).ok());
        Ok(match (compression, format) {
            (None, Some(Format::Parquet)) => {
                let named = answering.names.iter().map(String::as_str).chain(std::iter::repeat(""));
                let manifests = answering.adapters.iter().map(|adapter| adapter.manifest());
                let tasks: Vec<(&str, &Manifest)> = named.zip(manifests).collect();
                Self::Table(Box::new(AnswerTable::new(whole()?, &tasks)?))
            }
            (Some(_), Some(Format::Parquet)) => {
                let kind = io::ErrorKind::InvalidInput;
                return Err(io::Error::new(kind, "Parquet is compressed in itself: name it `.parquet`"));
            }
            (Some(compression), _) => Self::Compressed(Compressor::new(compression, whole()?)),
            (None, _) => Self::Lines(Box::new(BufWriter::new(File::create(path)?))),
        })
    }

    /// Whether nothing is there before all of it is.
    pub fn is_whole(&self) -> bool {
        !matches!(self, Self::Lines(_))
    }

    /// Writes what each task answers to a row. With names a line is an object with each task's.
    pub fn row(&mut self, names: &[String], answers: &[Result<Prediction, String>]) -> io::Result<()> {
        let lines = answers.iter().map(|answer| match answer {
            Ok(prediction) => json(prediction),
            Err(error) => json(&Rejected { error }),
        });
        let line = match (&mut *self, names) {
            (Self::Table(table), _) => {
                let answers: Vec<_> =
                    answers.iter().map(|answer| answer.as_ref().map_err(String::clone)).collect();
                return table.push(&answers);
            }
            (_, []) => lines.collect(),
            (_, names) => {
                let named = names.iter().zip(lines).map(|(name, line)| format!("\"{name}\":{line}"));
                format!("{{{}}}", named.collect::<Vec<_>>().join(","))
            }
        };
        self.line(&line)
    }

    /// Writes that a row could not be read.
    pub fn rejected(&mut self, names: &[String], error: &RowError) -> io::Result<()> {
        let error = error.to_string();
        match self {
            Self::Table(table) => table.push(&vec![Err(error); names.len().max(1)]),
            _ => self.line(&json(&Rejected { error: &error })),
        }
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        match self {
            Self::Lines(output) => writeln!(output, "{line}"),
            Self::Compressed(output) => writeln!(output, "{line}"),
            Self::Table(_) => unreachable!("a table has no lines"),
        }
    }

    /// Passes on what was written, where somebody may wait for it.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Lines(output) => output.flush(),
            Self::Compressed(_) | Self::Table(_) => Ok(()),
        }
    }

    /// Writes the end.
    pub fn finish(self) -> io::Result<()> {
        let output = match self {
            Self::Lines(mut output) => return output.flush(),
            Self::Compressed(compressor) => compressor.finish()?,
            Self::Table(table) => table.finish()?,
        };
        output.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("answers are plain data")
}
