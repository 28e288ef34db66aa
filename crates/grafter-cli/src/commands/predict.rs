//! `grafter predict`: a Unix filter from texts to answers, one JSON line per row in the order of the rows, or a Parquet file.
//!
//! A thread reads rows into a bounded queue; the command answers what has arrived, so a slow writer gets its answers
//! at once and a fast one full batches, in bounded memory, on input without an end. A row that cannot be used gets a
//! line with its error, in its place.

mod output;

use std::fs::File;
use std::io::{self, Read, stdin};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use grafter::adapter::{Adapter, Manifest, TaskRecord};
use grafter::bank::{Bank, BrokenTask, TaskRef, Version};
use grafter::data::{
    Bytes, Compression, FileRows, Format, LabelUse, MAX_ROW_BYTES, ReadOptions, Row, RowError, RowErrorKind,
    Source, SourceFile, TaskKind, question_lines, temporary_copy,
};
use grafter::model::Model;
use grafter::panel::Panel;
use grafter::predict::PredictError;

use self::output::Output;
use super::{DEFAULT_MODEL, open_adapter, open_bank_model, printable};
use crate::Outcome;
use crate::args::Predict;
use crate::failure::Failure;
use crate::interrupt;
use crate::sources::Sources;
use crate::terminal::{counted, tell};

/// Rows that are read ahead and answered together; with [`MAX_ROW_BYTES`] it bounds the text in memory.
const ROWS_AHEAD: usize = 128;

/// How often it is looked whether Ctrl-C was pressed while nothing comes in.
const WAIT: Duration = Duration::from_millis(200);

pub fn run(arguments: &Predict) -> Result<Outcome, Failure> {
    let files = Sources::new(&arguments.rows).files(&arguments.input)?;
    let asked = Asked::read(arguments)?;
    let rows = open_rows(arguments, &files, &asked.kinds())?;
    let answering = asked.open(arguments, &rows)?;
    let panel = Panel::new(&answering.model, answering.adapters.iter().collect())?;
    if let Some(output) = &arguments.output {
        super::refuse_output(output, "--output", files.iter().map(|file| file.path.as_path()))?;
    }
    let failed = |source: io::Error| match &arguments.output {
        Some(path) => Failure::Write { path: path.clone(), source },
        None => Failure::Output(source),
    };
    let mut output = Output::open(arguments.output.as_deref(), &answering).map_err(failed)?;
    if output.is_whole() {
        interrupt::listen_with("ending; nothing is written");
    }
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
        let answered = answer(&panel, &answering.names, batch, &mut output);
        rejected += answered.map_err(|stopped| match stopped {
            Stopped::Output(source) => failed(source),
            Stopped::Input(error) => error.into(),
        })?;
    }
    if interrupt::requested() {
        return Ok(Outcome::Interrupted);
    }
    output.finish().map_err(failed)?;
    if rejected > 0 {
        tell(format_args!("warning: {} could not be used", counted(rejected, "row")));
        return Ok(Outcome::RowsRejected);
    }
    Ok(Outcome::Done)
}

type Rows = FileRows<Bytes>;

/// The tasks that answer.
struct Answering {
    model: Model,
    adapters: Vec<Adapter>,
    /// Their names as they were asked for, where they are of a bank.
    names: Vec<String>,
}

/// The tasks that are asked, before a model is read for them.
enum Asked {
    Folder(Box<Manifest>),
    Bank(Box<Bank>, Vec<AskedTask>),
}

/// A task of a bank.
struct AskedTask {
    asked: TaskRef,
    version: Version,
    pair: bool,
    kind: TaskKind,
}

impl Asked {
    /// What needs neither rows nor a model comes first, so that a wrong path is told at once.
    fn read(arguments: &Predict) -> Result<Self, Failure> {
        if let Some(folder) = &arguments.adapter {
            return Ok(Self::Folder(Box::new(grafter::adapter::read_manifest(folder)?)));
        }
        let bank =
            Bank::open(arguments.bank.as_deref().expect("clap asks for --bank where there is no --adapter"))?;
        let asked = match &arguments.tasks[..] {
            [] => all_tasks(&bank)?,
            named => named.to_vec(),
        };
        if let Some(twice) = (1..asked.len()).find(|place| asked[..*place].contains(&asked[*place])) {
            let message = format!("`--tasks` names `{}` twice", asked[twice]);
            return Err(Failure::Usage { message, hint: None });
        }
        let read = |asked: TaskRef| -> Result<AskedTask, Failure> {
            let version = bank.task(&asked.name)?.find(&asked)?.version.clone();
            let TaskRecord { pair, kind, .. } = bank.manifest(&asked.name, &version)?.task;
            Ok(AskedTask { asked, version, pair, kind })
        };
        let mut tasks = asked.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if tasks.is_empty() {
            return Err(Failure::Usage {
                message: format!("the bank `{}` has no task yet", bank.path().display()),
                hint: Some("`grafter train --bank <BANK> --task <NAME>` trains one into it".to_owned()),
            });
        }
        let chooses = |task: &AskedTask| task.kind == TaskKind::MultipleChoice;
        if arguments.tasks.is_empty() && !tasks.iter().all(chooses) {
            // Rows for tasks of several kinds are read without choices, and nobody asked for those that need some.
            tasks.retain(|task| !chooses(task));
        }
        Ok(Self::Bank(Box::new(bank), tasks))
    }

    fn kinds(&self) -> Vec<TaskKind> {
        match self {
            Self::Folder(manifest) => vec![manifest.task.kind],
            Self::Bank(_, tasks) => tasks.iter().map(|task| task.kind).collect(),
        }
    }

    /// Reads the model and those that can answer the rows.
    fn open(self, arguments: &Predict, rows: &Rows) -> Result<Answering, Failure> {
        let (model, precision) = (arguments.model.model.as_deref(), arguments.base.base);
        let (bank, mut tasks) = match self {
            Self::Bank(bank, tasks) => (bank, tasks),
            Self::Folder(manifest) => {
                refuse_other_kind(rows, manifest.task.pair, "the adapter answers")?;
                let folder = arguments.adapter.as_deref().expect("it was read from there");
                let (model, adapter) =
                    open_adapter(folder, &manifest, model.unwrap_or(DEFAULT_MODEL), precision)?;
                return Ok(Answering { model, adapters: vec![adapter], names: Vec::new() });
            }
        };
        let first = tasks.first().is_some_and(|task| task.pair);
        if tasks.iter().all(|task| task.pair == first) {
            refuse_other_kind(rows, first, "the tasks answer")?;
        } else if let (Some(found), true) = (rows.is_pair(), arguments.tasks.is_empty()) {
            // Nobody asked for those that cannot answer.
            tasks.retain(|task| task.pair == found);
        }
        let model = open_bank_model(&bank, model)?;
        let load = |task: &AskedTask| Ok(bank.load(&task.asked.name, &task.version, &model)?);
        let adapters = tasks.iter().map(load).collect::<Result<_, Failure>>()?;
        Ok(Answering { model, adapters, names: tasks.iter().map(|task| task.asked.to_string()).collect() })
    }
}

/// The newest version of every task. That one of them is broken is told at once: its answers would be missing without a word.
fn all_tasks(bank: &Bank) -> Result<Vec<TaskRef>, Failure> {
    let mut list = bank.list()?;
    match list.broken.pop() {
        Some(BrokenTask { name, error }) => Err(Failure::Usage {
            message: format!("task `{}` cannot be read: {error}", printable(&name)),
            hint: Some("`--tasks` names those that are to answer".to_owned()),
        }),
        None => Ok(list.tasks.into_iter().map(|task| TaskRef { name: task.name, version: None }).collect()),
    }
}

/// Where the format or the header says that every row is of the wrong kind, one refusal says more than as many lines of
/// errors.
fn refuse_other_kind(rows: &Rows, pair: bool, who: &str) -> Result<(), Failure> {
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
    let message = format!("{}: {who} {expected}, found {found}", rows.name());
    Err(Failure::Usage { message, hint: Some(hint.to_owned()) })
}

fn open_rows(arguments: &Predict, files: &[SourceFile], kinds: &[TaskKind]) -> Result<Rows, Failure> {
    // Words may come as plain text, too.
    let labels = match super::unlabelled(kinds) {
        LabelUse::Tags { .. } => LabelUse::Optional,
        labels => labels,
    };
    let [file] = files else {
        if files.iter().any(|file| file.path == Path::new("-")) {
            let message = "`--input -` is standard input, which is read alone".to_owned();
            return Err(Failure::Usage { message, hint: None });
        }
        let source = Source {
            format: arguments.rows.format,
            columns: arguments.rows.columns(),
            ..Source::of(files.to_vec())
        };
        return Ok(source.open(labels)?);
    };
    let options = ReadOptions {
        columns: arguments.rows.columns(),
        labels,
        max_row_bytes: MAX_ROW_BYTES,
        ..ReadOptions::default()
    };
    let standard_input = file.path == Path::new("-");
    let format = match arguments.rows.format {
        Some(format) => format,
        None if standard_input => Format::Lines,
        None => Format::for_path(&file.path)?,
    };
    let failed = |source| Failure::Read { path: file.path.clone(), source };
    let (input, name) = if standard_input {
        (Input::Standard, "standard input".to_owned())
    } else {
        let opened = File::open(&file.path).map_err(failed)?;
        let input = match Compression::for_path(&file.path) {
            Some(compression) => Input::Compressed(compression, opened),
            None => Input::File(opened),
        };
        (input, file.name())
    };
    if format == Format::Squad {
        let lines = question_lines(&file.path, input.stream())?;
        let lines: Box<dyn Read + Send> = Box::new(lines);
        return Ok(FileRows::text(lines, name, format, &options)?);
    }
    if format != Format::Parquet {
        return Ok(FileRows::text(input.stream(), name, format, &options)?);
    }
    Ok(FileRows::parquet(&input.with_places().map_err(failed)?, name, &options)?)
}

/// Where rows come from.
enum Input {
    Standard,
    File(File),
    Compressed(Compression, File),
}

impl Input {
    fn stream(self) -> Box<dyn Read + Send> {
        match self {
            Self::Standard => Box::new(stdin()),
            Self::File(file) => Box::new(file),
            Self::Compressed(compression, file) => Box::new(compression.read(file)),
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

/// Waits for one row, then takes what else has arrived; `None` at the end of the input, or after Ctrl-C where it is listened to.
fn next_batch(rows: &Receiver<Result<Row, RowError>>) -> Option<Vec<Result<Row, RowError>>> {
    let first = loop {
        match rows.recv_timeout(WAIT) {
            _ if interrupt::requested() => return None,
            Ok(row) => break row,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    };
    let mut batch = vec![first];
    while batch.len() < ROWS_AHEAD {
        match rows.try_recv() {
            Ok(row) => batch.push(row),
            Err(_) => break,
        }
    }
    Some(batch)
}

/// Writes the answers of a batch; returns how many rows were rejected.
fn answer(
    panel: &Panel<'_>,
    names: &[String],
    mut batch: Vec<Result<Row, RowError>>,
    output: &mut Output,
) -> Result<usize, Stopped> {
    // Where the input itself broke, what follows is unknown: the rows before it are answered, and then it is an error.
    let broken = batch.iter().position(|row| {
        matches!(
            row,
            Err(RowError { kind: RowErrorKind::Io(_) | RowErrorKind::Utf16 | RowErrorKind::Parquet(_), .. })
        )
    });
    let broken = broken.and_then(|place| batch.drain(place..).next());
    let rows: Vec<&Row> = batch.iter().filter_map(|row| row.as_ref().ok()).collect();
    let mut answers = panel.answer(&rows).into_iter();
    let mut rejected = 0;
    for row in &batch {
        let written = match row {
            Ok(row) => {
                let answers = answers.next().expect("one answer for each row");
                rejected += usize::from(answers.iter().any(Result::is_err));
                let told = |answer| match answer {
                    Ok(prediction) => Ok(prediction),
                    Err(error @ PredictError::NotANumber) => Err(error.to_string()),
                    Err(error) => Err(format!("line {}: {error}", row.line)),
                };
                output.row(names, &answers.into_iter().map(told).collect::<Vec<_>>())
            }
            Err(error) => {
                rejected += 1;
                output.rejected(names, error)
            }
        };
        written.map_err(Stopped::Output)?;
    }
    output.flush().map_err(Stopped::Output)?;
    match broken {
        Some(Err(error)) => Err(Stopped::Input(error)),
        _ => Ok(rejected),
    }
}

/// Why the answers ended before the input did.
enum Stopped {
    Input(RowError),
    Output(io::Error),
}
