//! One checkpoint as a safetensors file.
//!
//! The header is decided by few counts, so a reader makes the header that it expects and compares: nothing is sized by what
//! a file says. Numbers that are not single precision are stored by their bits, so that NaN comes back as it was.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::adapter::{TaskLayout, TaskParameters};
use crate::digest::{hex, sha256_file};
use crate::durable::{WholeFile, disk, parent_of};
use crate::optim::Moments;
use crate::regular;
use crate::train::{EvaluationReport, History, StepReport, TrainState};

/// The version of the layout that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;
/// Most of a header is what the run was begun with, such as the names of the labels: one that is so many times longer than this
/// run's, and so many bytes more, is of another run and is not read. In a header quotation marks take two bytes or more.
const MAX_HEADER_TIMES: u64 = 8;
const MAX_HEADER_MORE: u64 = 1 << 20;
/// Bytes that are converted at a time.
const CHUNK_BYTES: usize = 1 << 16;
/// The numbers of a step, and of an evaluation, in the history.
const HISTORY_COLUMNS: usize = 5;

/// Everything of a state but its numbers.
#[derive(Serialize, Deserialize)]
struct Record {
    format_version: u32,
    /// What the run was begun with.
    run: Value,
    step: u64,
    epoch: u32,
    position: usize,
    updates: u64,
    evaluation_due: bool,
    evaluations_since_best: u32,
    evaluations: usize,
    best: Option<BestRecord>,
}

impl Record {
    /// Whether the counts belong to each other: a run that goes on from them neither counts beyond its end nor ends without
    /// an evaluation.
    fn is_within(&self, bounds: &Bounds) -> bool {
        let rows = bounds.rows as u64;
        let before = u64::from(self.epoch).checked_mul(rows);
        let done = before.and_then(|before| before.checked_add(self.position as u64));
        let at_end = self.step == bounds.total_steps;
        self.position <= bounds.rows
            // A step has one row at least.
            && done.is_some_and(|done| done >= self.step)
            && u64::from(self.epoch) <= self.step
            && self.updates <= self.step
            && u64::from(self.evaluations_since_best) <= self.step
            && self.best.as_ref().is_none_or(|best| best.step <= self.step)
            && (!at_end || self.best.is_some() || self.evaluation_due)
    }
}

/// The best evaluation; score and loss by their bits.
#[derive(Serialize, Deserialize)]
struct BestRecord {
    score: u64,
    loss: u64,
    step: u64,
}

/// What a state that was read must lie within.
pub struct Bounds {
    /// Rows of an epoch.
    pub rows: usize,
    /// Steps of the run.
    pub total_steps: u64,
}

/// A state that was read. What the best parameters answer is not kept and has to be asked again.
#[derive(Debug)]
pub struct Saved {
    /// The state, without the best evaluation.
    pub state: TrainState,
    /// The best evaluation.
    pub best: Option<SavedBest>,
}

/// The best evaluation without the answers to the dev rows.
#[derive(Debug)]
pub struct SavedBest {
    /// Score on the dev rows.
    pub score: f64,
    /// Mean loss on the dev rows.
    pub loss: f64,
    /// Steps done when it was reached.
    pub step: u64,
    /// The trained numbers.
    pub values: Vec<f32>,
}

/// `step-<step>.<sha256>.safetensors`
fn name(step: u64, sha256: &str) -> String {
    format!("step-{step:010}.{sha256}.safetensors")
}

/// The step and the digest that a name tells, if it is one of a checkpoint.
pub fn parse_name(name: &str) -> Option<(u64, &str)> {
    let (step, sha256) = name.strip_prefix("step-")?.strip_suffix(".safetensors")?.split_once('.')?;
    let is_digest = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    let step = step.bytes().all(|byte| byte.is_ascii_digit()).then(|| step.parse().ok())??;
    is_digest.then_some((step, sha256))
}

/// Writes a state into a folder, which is made if it is missing.
/// # Errors
/// What the system says.
pub fn write(folder: &Path, run: &Value, state: &TrainState) -> io::Result<()> {
    if !folder.is_dir() {
        disk::create_folders(folder)?;
        disk::sync_folder(parent_of(folder))?;
    }
    let record = Record {
        format_version: FORMAT_VERSION,
        run: run.clone(),
        step: state.step,
        epoch: state.epoch,
        position: state.position,
        updates: state.moments.updates,
        evaluation_due: state.evaluation_due,
        evaluations_since_best: state.evaluations_since_best,
        evaluations: state.history.evaluations.len(),
        best: state.best.as_ref().map(|best| BestRecord {
            score: best.score.to_bits(),
            loss: best.loss.to_bits(),
            step: best.step,
        }),
    };
    let text = serde_json::to_string(&record).expect("a state is plain data");
    let numbers = state.parameters.values().len();
    let header = Header::new(&text, numbers, &record).expect("what is in memory can be counted");
    let mut out = Hashing { file: WholeFile::begin(&folder.join("step"))?, hasher: Sha256::new() };
    out.write_all(&(header.text.len() as u64).to_le_bytes())?;
    out.write_all(header.text.as_bytes())?;
    let best = state.best.as_ref().map(|best| &best.values[..]);
    let floats = [state.parameters.values(), &state.moments.mean, &state.moments.square];
    for values in floats.into_iter().chain(best) {
        for piece in values.chunks(CHUNK_BYTES / size_of::<f32>()) {
            let bytes: Vec<u8> = piece.iter().flat_map(|value| value.to_le_bytes()).collect();
            out.write_all(&bytes)?;
        }
    }
    for row in
        state.history.steps.iter().map(step_row).chain(state.history.evaluations.iter().map(evaluation_row))
    {
        out.write_all(&row.map(u64::to_le_bytes).concat())?;
    }
    let Hashing { file, hasher } = out;
    file.finish_as(&folder.join(name(state.step, &hex(&hasher.finalize()))))
}

/// Why a file is nothing to go on from.
#[derive(Debug)]
pub enum Unusable {
    /// Its content is not that of a state of the run: what is wrong with it, in words.
    Broken(String),
    /// It is whole, and of a layout that this program does not know.
    Layout(u32),
    /// Its header is too long for this run, of which it may have so many bytes: it is of another one.
    Long { found: u64, most: u64 },
    /// The system does not give its content, which may be good.
    Unread(io::Error),
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{InvalidData, InvalidInput, IsADirectory, UnexpectedEof};
        match error.kind() {
            // It ends early, is no text, or no file.
            UnexpectedEof | InvalidData | InvalidInput | IsADirectory => Self::Broken(error.to_string()),
            _ => Self::Unread(error),
        }
    }
}

impl From<String> for Unusable {
    fn from(reason: String) -> Self {
        Self::Broken(reason)
    }
}

impl From<&str> for Unusable {
    fn from(reason: &str) -> Self {
        Self::Broken(reason.to_owned())
    }
}

/// Opens a checkpoint and checks that its content is that which was written; gives what its run was begun with, if that is not
/// much longer than what this one was.
/// # Errors
/// Why it cannot be used.
pub fn open(path: &Path, sha256: &str, run: &Value) -> Result<(Value, Opened), Unusable> {
    regular::check(path)?;
    // Of any size: it may be of another run, and what it has is told before its numbers are read.
    let bytes = std::fs::metadata(path)?.len();
    let found = sha256_file(path)?;
    if found != sha256 {
        return Err(format!("its content has SHA-256 {found}, not that of its name").into());
    }
    let mut file = BufReader::new(File::open(path)?);
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > bytes {
        return Err(format!("expected a header of at most {bytes} bytes, found {length}").into());
    }
    let most = MAX_HEADER_TIMES * run.to_string().len() as u64 + MAX_HEADER_MORE;
    if length > most {
        return Err(Unusable::Long { found: length, most });
    }
    let mut header = String::new();
    file.by_ref().take(length).read_to_string(&mut header)?;
    let no_header = |_| "its header is not that of a checkpoint".to_owned();
    let Outer { metadata: Metadata { checkpoint: text } } =
        serde_json::from_str(&header).map_err(no_header)?;
    let Version { format_version } = serde_json::from_str(&text).map_err(no_header)?;
    if format_version != FORMAT_VERSION {
        return Err(Unusable::Layout(format_version));
    }
    let mut record: Record = serde_json::from_str(&text).map_err(no_header)?;
    let run = std::mem::take(&mut record.run);
    Ok((run, Opened { file, bytes, header, text, record }))
}

/// What of a header is read: what else is in it is told by the counts.
#[derive(Deserialize)]
struct Outer {
    #[serde(rename = "__metadata__")]
    metadata: Metadata,
}

#[derive(Serialize, Deserialize)]
struct Metadata {
    checkpoint: String,
}

#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

/// A checkpoint whose numbers are still to be read.
pub struct Opened {
    file: BufReader<File>,
    bytes: u64,
    header: String,
    text: String,
    record: Record,
}

impl Opened {
    /// Reads the numbers.
    /// # Errors
    /// Why it cannot be used.
    pub fn read(mut self, layout: &TaskLayout, bounds: &Bounds) -> Result<Saved, Unusable> {
        let (record, numbers) = (&self.record, layout.list().len());
        if record.step > bounds.total_steps || record.evaluations as u64 > record.step {
            return Err("its counts are not those of a state of this run".into());
        }
        let expected = Header::new(&self.text, numbers, record).ok_or("its counts are beyond counting")?;
        if self.header != expected.text || self.bytes != expected.bytes {
            return Err(format!(
                "expected {} bytes with the numbers of this run, found {}",
                expected.bytes, self.bytes
            )
            .into());
        }
        if !record.is_within(bounds) {
            return Err("its counts are not those of a state of this run".into());
        }
        let parameters = TaskParameters::from_values(layout.clone(), floats(&mut self.file, numbers)?);
        let (mean, square) = (floats(&mut self.file, numbers)?, floats(&mut self.file, numbers)?);
        let best = match &record.best {
            Some(best) => Some(SavedBest {
                score: f64::from_bits(best.score),
                loss: f64::from_bits(best.loss),
                step: best.step,
                values: floats(&mut self.file, numbers)?,
            }),
            None => None,
        };
        let mut history = History::default();
        for place in 1..=record.step {
            history.steps.push(step_of(row(&mut self.file)?, bounds.total_steps, place)?);
        }
        for _ in 0..record.evaluations {
            history.evaluations.push(evaluation_of(row(&mut self.file)?)?);
        }
        let state = TrainState {
            parameters,
            moments: Moments { mean, square, updates: record.updates },
            step: record.step,
            epoch: record.epoch,
            position: record.position,
            evaluation_due: record.evaluation_due,
            best: None,
            evaluations_since_best: record.evaluations_since_best,
            history,
        };
        Ok(Saved { state, best })
    }
}

/// The header of a file, and how long the whole file is.
struct Header {
    text: String,
    bytes: u64,
}

impl Header {
    /// `None` if the counts are beyond counting. The header is padded so that the numbers begin at a multiple of eight.
    fn new(text: &str, numbers: usize, record: &Record) -> Option<Self> {
        let mut tensors = vec![("parameters", "F32", vec![numbers]), ("moments.mean", "F32", vec![numbers])];
        tensors.push(("moments.square", "F32", vec![numbers]));
        if record.best.is_some() {
            tensors.push(("best", "F32", vec![numbers]));
        }
        let steps = usize::try_from(record.step).ok()?;
        tensors.push(("history.steps", "U64", vec![steps, HISTORY_COLUMNS]));
        tensors.push(("history.evaluations", "U64", vec![record.evaluations, HISTORY_COLUMNS]));
        let mut header = Map::new();
        header.insert("__metadata__".to_owned(), json!(Metadata { checkpoint: text.to_owned() }));
        let mut end = 0_usize;
        for (name, dtype, shape) in tensors {
            let width = if dtype == "F32" { size_of::<f32>() } else { size_of::<u64>() };
            let begin = end;
            end = shape.iter().try_fold(width, |bytes, size| bytes.checked_mul(*size))?.checked_add(begin)?;
            let tensor = json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, end] });
            header.insert(name.to_owned(), tensor);
        }
        let mut text = Value::Object(header).to_string();
        text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
        let bytes = (text.len() as u64).checked_add(8)?.checked_add(end as u64)?;
        Some(Self { text, bytes })
    }
}

/// Writes to a file and computes the digest of what was written.
struct Hashing {
    file: WholeFile,
    hasher: Sha256,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// So many numbers, all of them finite.
fn floats(file: &mut impl Read, count: usize) -> Result<Vec<f32>, Unusable> {
    let mut values = Vec::with_capacity(count);
    let mut chunk = vec![0; CHUNK_BYTES];
    while values.len() < count {
        let bytes = &mut chunk[..CHUNK_BYTES.min((count - values.len()) * size_of::<f32>())];
        file.read_exact(bytes)?;
        values.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
    }
    if values.iter().all(|value| value.is_finite()) {
        Ok(values)
    } else {
        Err("it has a number that is not finite".into())
    }
}

type Row = [u64; HISTORY_COLUMNS];

fn row(file: &mut impl Read) -> io::Result<Row> {
    let mut row = Row::default();
    for number in &mut row {
        let mut bytes = [0; 8];
        file.read_exact(&mut bytes)?;
        *number = u64::from_le_bytes(bytes);
    }
    Ok(row)
}

fn step_row(step: &StepReport) -> Row {
    let floats = [step.loss, step.grad_norm, step.learning_rate].map(f64::to_bits);
    [u64::from(step.epoch), step.tokens as u64, floats[0], floats[1], floats[2]]
}

fn step_of(row: Row, total_steps: u64, step: u64) -> Result<StepReport, Unusable> {
    let [epoch, tokens, loss, grad_norm, learning_rate] = row;
    Ok(StepReport {
        step,
        total_steps,
        epoch: u32::try_from(epoch).map_err(|_| "it has an epoch beyond counting")?,
        loss: f64::from_bits(loss),
        grad_norm: f64::from_bits(grad_norm),
        learning_rate: f64::from_bits(learning_rate),
        tokens: usize::try_from(tokens).map_err(|_| "it has tokens beyond counting")?,
    })
}

fn evaluation_row(evaluation: &EvaluationReport) -> Row {
    let EvaluationReport { step, epoch, score, loss, best } = evaluation;
    [*step, u64::from(*epoch), score.to_bits(), loss.to_bits(), u64::from(*best)]
}

fn evaluation_of(row: Row) -> Result<EvaluationReport, Unusable> {
    let [step, epoch, score, loss, best] = row;
    Ok(EvaluationReport {
        step,
        epoch: u32::try_from(epoch).map_err(|_| "it has an epoch beyond counting")?,
        score: f64::from_bits(score),
        loss: f64::from_bits(loss),
        best: best == 1,
    })
}
