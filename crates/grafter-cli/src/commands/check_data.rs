//! `grafter check-data`: looks through data files before training on them.
//!
//! The library reads and counts; this file brings the model's tokenizer (and not its weights) to count tokens with,
//! and [`text`] lays the report out for people. Rows that cannot be used, and problems that training would stop at,
//! give exit code 1; a file that cannot be read at all is an error.

mod text;

use std::cell::RefCell;

use grafter::data::{CheckFiles, CheckOptions, CheckReport, Row, check_data};
use grafter::encoder::EncoderConfig;
use grafter::graft::check_max_length;
use grafter::hub;
use grafter::model::ModelError;
use grafter::row_encoding::encode_choices;
use grafter::tokenizer::{Tokenizer, TokenizerError};
use serde::Serialize;

use super::{print, print_json};
use crate::Outcome;
use crate::args::{CheckData, max_length};
use crate::failure::Failure;
use crate::progress::PullBar;
use crate::sources::Sources;

/// Rejected rows, and repeated texts, that are listed for each file; all are counted.
const MAX_LISTED: usize = 20;

/// The report, as `--json` prints it.
#[derive(Serialize)]
struct Report<'a> {
    usable: bool,
    #[serde(flatten)]
    report: &'a CheckReport,
}

pub fn run(arguments: &CheckData) -> Result<Outcome, Failure> {
    let mut sources = Sources::new(&arguments.rows);
    let files = CheckFiles {
        train: sources.source(&arguments.train)?,
        dev: sources.if_named(&arguments.dev)?,
        test: sources.if_named(&arguments.test)?,
    };
    // Before a model is fetched: a wrong path or header is told at once.
    for source in [Some(&files.train), files.dev.as_ref(), files.test.as_ref()].into_iter().flatten() {
        // A pipe can be read once only.
        if source.paths().all(|path| !path.exists() || path.is_file()) {
            source.open(super::unlabelled(&[arguments.kind]))?;
        }
    }
    let (tokenizer, max_length) = open_tokenizer(arguments)?;
    let options = CheckOptions { kind: arguments.kind, max_length, max_listed: MAX_LISTED };
    let failed: RefCell<Option<TokenizerError>> = RefCell::new(None);
    let whole = |text: &str, text_b: Option<&str>| tokenizer.encode(text, text_b, usize::MAX);
    // Of a row with choices its longest sequence.
    let encode = |row: &Row| match &row.words {
        Some(words) => {
            tokenizer.encode_words(&row.text, Some(words), usize::MAX).map(|tokens| tokens.ids.len())
        }
        None if row.choices.is_empty() => {
            whole(&row.text, row.text_b.as_deref()).map(|tokens| tokens.ids.len())
        }
        None => encode_choices(&tokenizer, row, (usize::MAX, usize::MAX))
            .map(|sequences| sequences.iter().map(|tokens| tokens.ids.len()).max().unwrap_or(0)),
    };
    let count_tokens = |row: &Row| match encode(row) {
        Ok(tokens) => tokens,
        Err(error) => {
            failed.borrow_mut().get_or_insert(error);
            0
        }
    };
    let report = check_data(&files, &options, &count_tokens)?;
    if let Some(error) = failed.into_inner() {
        return Err(error.into());
    }
    let usable = report.is_usable();
    if arguments.json {
        print_json(&Report { usable, report: &report })?;
    } else {
        print(&text::text(&report))?;
    }
    Ok(if usable { Outcome::Done } else { Outcome::RowsRejected })
}

/// The tokenizer of a model, whose weights stay unread, and the longest length; refuses one that training would refuse.
fn open_tokenizer(arguments: &CheckData) -> Result<(Tokenizer, usize), Failure> {
    let folder = hub::resolve(&arguments.model.model, &mut PullBar::default())?;
    let config = EncoderConfig::read(&folder.join("config.json")).map_err(ModelError::from)?;
    let tokenizer = Tokenizer::read(&folder, config.vocab_size)?;
    let max_length = max_length(arguments.max_length, config.max_length(), &[arguments.kind]);
    check_max_length(max_length, &tokenizer, &config)?;
    Ok((tokenizer, max_length))
}
