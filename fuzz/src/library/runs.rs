//! The state of a run that is to go on.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::LazyLock;

use grafter::data::{Dataset, Source, TaskKind};
use grafter::digest::sha256_hex;
use grafter::graft::{Beginning, GraftError, GraftOptions, Grafted, graft_from};
use grafter::train::{CheckpointFolder, CheckpointReport, EvaluationReport, StepReport, TrainObserver};
use serde_json::{Map, Value, json};

use super::base::{BASE, Folder, tell};

/// A run's checkpoint, under the digest that it has: after `f` its bytes; after `p` changes of a good one's, each two bytes of a
/// place and one to put there; after `r` what its header says of the state, beside numbers that are as many as that wants. The run
/// goes on from it, or passes it over.
pub fn run_checkpoint(bytes: &[u8]) {
    let file = match bytes.split_first() {
        Some((b'r', record)) => of_record(record).unwrap_or_default(),
        Some((b'p', changes)) => changed(changes),
        Some((_, bytes)) => bytes.to_vec(),
        None => return,
    };
    let folder = Folder::new();
    folder.write(&format!("step-0000000002.{}.safetensors", sha256_hex(&file)), &file);
    let mut watcher = Watcher::default();
    let ended = tell(go_on(folder.path(), &mut watcher));
    assert!(watcher.resumed || bytes != b"p", "it goes on from a checkpoint that nothing was done to");
    if let Some(grafted) = ended {
        assert!(grafted.history.steps.len() as u64 <= STEPS && !grafted.history.evaluations.is_empty());
    }
}

/// Two epochs of two steps.
const STEPS: u64 = 4;

static ROWS: LazyLock<Dataset> = LazyLock::new(|| {
    let folder =
        Folder::with(&[("rows.tsv", b"text\tlabel\ngood\ta\nbad\tb\ngood bad good\ta\nbad bad\tb\n")]);
    Dataset::read_train(&Source::new(folder.path().join("rows.tsv")), TaskKind::Classification)
        .expect("good rows")
});

/// Keeps a checkpoint of the second step if it is asked to, or sees whether the run goes on from one.
#[derive(Default)]
struct Watcher {
    keep: bool,
    resumed: bool,
}

impl TrainObserver for Watcher {
    fn step(&mut self, _: &StepReport) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn evaluation(&mut self, _: &EvaluationReport) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn checkpoint_due(&mut self, step: u64) -> bool {
        self.keep && step == 2
    }

    fn checkpoint(&mut self, report: &CheckpointReport<'_>) {
        if let CheckpointReport::Resumed { step, history } = report {
            self.resumed = true;
            assert!(*step <= STEPS && history.steps.len() as u64 == *step);
        }
    }
}

fn go_on(folder: &Path, watcher: &mut Watcher) -> Result<Grafted, GraftError> {
    let mut options = GraftOptions { bottleneck: 1, max_length: 16, ..GraftOptions::default() };
    options.train.epochs = Some(2);
    options.train.batch_size = 2;
    let checkpoints = CheckpointFolder { path: folder.to_owned(), resume: !watcher.keep };
    let beginning = Beginning { checkpoints: Some(&checkpoints), ..Beginning::default() };
    graft_from(&beginning, &BASE, (&*ROWS, &*ROWS), &options, watcher)
}

/// A good checkpoint, and its header.
static GOOD: LazyLock<(Vec<u8>, Map<String, Value>)> = LazyLock::new(|| {
    let folder = Folder::new();
    go_on(folder.path(), &mut Watcher { keep: true, ..Watcher::default() }).expect("a run");
    let mut files = std::fs::read_dir(folder.path()).expect("a folder");
    let path = files.next().expect("a checkpoint").expect("a file").path();
    let file = std::fs::read(path).expect("it was written");
    let length = u64::from_le_bytes(*file.first_chunk().expect("a length")) as usize;
    let header = serde_json::from_slice(&file[8..8 + length]).expect("a header");
    (file, header)
});

fn changed(changes: &[u8]) -> Vec<u8> {
    let mut file = GOOD.0.clone();
    for [high, low, byte] in changes.as_chunks().0 {
        let place = usize::from(u16::from_be_bytes([*high, *low])) % file.len();
        file[place] = *byte;
    }
    file
}

/// A file with this record, which says of what run it is; `None` if it is no object, or wants more numbers than a body should make.
fn of_record(record: &[u8]) -> Option<Vec<u8>> {
    let (_, good) = &*GOOD;
    let mut record: Map<String, Value> = serde_json::from_slice(record).ok()?;
    let known: Value = serde_json::from_str(good["__metadata__"]["checkpoint"].as_str()?).ok()?;
    record.insert("run".to_owned(), known["run"].clone());
    let count =
        |name: &str| record.get(name).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
    let (steps, evaluations) = (count("step").unwrap_or(2), count("evaluations").unwrap_or(1));
    let numbers = good["parameters"]["shape"][0].as_u64()? as usize;
    let has_best = record.get("best").is_some_and(|best| !best.is_null());
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({ "checkpoint": Value::Object(record).to_string() }));
    let mut end = 0_usize;
    let floats = ["parameters", "moments.mean", "moments.square", "best"];
    let floats = floats.into_iter().take(if has_best { 4 } else { 3 });
    let tensors = floats.map(|name| (name, "F32", 4, vec![numbers])).chain([
        ("history.steps", "U64", 8, vec![steps, 5]),
        ("history.evaluations", "U64", 8, vec![evaluations, 5]),
    ]);
    for (name, dtype, width, shape) in tensors {
        let begin = end;
        end = shape
            .iter()
            .try_fold(width, |bytes: usize, size| bytes.checked_mul(*size))?
            .checked_add(begin)?;
        header
            .insert(name.to_owned(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, end] }));
    }
    if end > 1 << 20 {
        return None;
    }
    let mut text = Value::Object(header).to_string();
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    Some([&(text.len() as u64).to_le_bytes(), text.as_bytes(), &vec![0; end]].concat())
}
