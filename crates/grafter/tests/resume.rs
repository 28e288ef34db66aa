//! A run that stops at any instant and goes on from its checkpoint gives the same bytes as one that never stopped; a
//! checkpoint that is broken is not used, and one of another run is refused. On the tiny random model that
//! `reference/tiny_bert.py` wrote.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use grafter::adapter::Method;
use grafter::data::{Dataset, Source, TaskKind};
use grafter::digest::sha256_hex;
use grafter::durable::fault::{self, Fault};
use grafter::graft::{Beginning, GraftError, GraftOptions, Grafted, graft, graft_from};
use grafter::model::Model;
use grafter::train::{
    CheckpointFolder, CheckpointReport, Ending, EvaluationReport, ResumeError, StepReport, TrainError,
    TrainObserver,
};
use proptest::prelude::*;
use tempfile::TempDir;

static MODEL: LazyLock<Model> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-bert");
    Model::read(&folder, "tiny-bert").unwrap()
});

fn rows(count: usize, words: [&str; 2]) -> Dataset {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.tsv");
    let row = |place: usize| format!("it was {} {place}\t{}\n", words[place % 2], words[place % 2]);
    fs::write(&path, "text\tlabel\n".to_owned() + &(0..count).map(row).collect::<String>()).unwrap();
    Dataset::read_train(&Source::new(path), TaskKind::Classification).unwrap()
}

static TRAIN: LazyLock<Dataset> = LazyLock::new(|| rows(22, ["good", "bad"]));
static DEV: LazyLock<Dataset> = LazyLock::new(|| rows(9, ["good", "bad"]));

/// Two epochs of six steps, the last of which has two rows.
fn options(method: Method) -> GraftOptions {
    let mut options = GraftOptions { method, bottleneck: 4, max_length: 16, ..GraftOptions::default() };
    options.train.epochs = Some(2);
    options.train.batch_size = 4;
    options.train.learning_rate = Some(5e-3);
    options
}

const STEPS: u64 = 12;

/// Asks for a checkpoint after every `every` steps, ends the run after `stop`, keeps a copy of the folder after each
/// checkpoint, and writes down what it is told.
#[derive(Default)]
struct Watcher {
    every: Option<u64>,
    stop: Option<u64>,
    stop_in_evaluation: bool,
    copies: Option<(PathBuf, PathBuf)>,
    copied: usize,
    told: Vec<String>,
    steps: Vec<u64>,
}

impl TrainObserver for Watcher {
    fn step(&mut self, report: &StepReport) -> ControlFlow<()> {
        self.steps.push(report.step);
        if self.stop == Some(report.step) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn evaluating(&mut self, _: usize, _: usize) -> ControlFlow<()> {
        if self.stop_in_evaluation { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn evaluation(&mut self, _: &EvaluationReport) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn checkpoint_due(&mut self, step: u64) -> bool {
        self.every.is_some_and(|every| step.is_multiple_of(every))
    }

    fn checkpoint(&mut self, report: &CheckpointReport<'_>) {
        self.told.push(match report {
            CheckpointReport::Missing { .. } => "missing".to_owned(),
            CheckpointReport::Resumed { step, history } => {
                assert_eq!(history.steps.len() as u64, *step);
                format!("resumed {step}")
            }
            CheckpointReport::Unusable { reason, .. } => format!("unusable: {reason}"),
            CheckpointReport::Written { step } => format!("written {step}"),
            CheckpointReport::Failed { error, .. } => format!("failed: {error}"),
            CheckpointReport::Kept { error, .. } => format!("kept: {error}"),
        });
        if let (CheckpointReport::Written { .. }, Some((from, to))) = (report, &self.copies) {
            copy(from, &to.join(self.copied.to_string()));
            self.copied += 1;
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// Runs on so many threads, so that what two runs have in common does not come from them.
fn run(
    folder: &Path,
    options: &GraftOptions,
    threads: usize,
    watcher: &mut (dyn TrainObserver + Send),
) -> Result<Grafted, GraftError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| go_on(folder, options, watcher))
}

fn go_on(
    folder: &Path,
    options: &GraftOptions,
    watcher: &mut dyn TrainObserver,
) -> Result<Grafted, GraftError> {
    let checkpoints = CheckpointFolder { path: folder.to_owned(), resume: true };
    let beginning = Beginning { checkpoints: Some(&checkpoints), ..Beginning::default() };
    graft_from(&beginning, &MODEL, (&*TRAIN, &*DEV), options, watcher)
}

/// All that a run gives. Floats by what they print as, which is different for different bits.
fn all_of(grafted: &Grafted) -> String {
    let bits: Vec<u32> = grafted.adapter.parameters().values().iter().map(|value| value.to_bits()).collect();
    let manifest = serde_json::to_string(grafted.adapter.manifest()).unwrap();
    format!("{manifest} {bits:?} {:?} {:?} {:?}", grafted.ending, grafted.review, grafted.history)
}

fn whole(options: &GraftOptions) -> String {
    all_of(&graft(&MODEL, &*TRAIN, &*DEV, options, &mut ()).unwrap())
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names
}

/// A folder with the checkpoints of a run that was ended after step 9: those after 6 and 9.
fn ended_after_nine() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut watcher = Watcher { every: Some(3), stop: Some(9), ..Watcher::default() };
    let ended = go_on(folder.path(), &options(Method::Houlsby), &mut watcher).unwrap();
    assert_eq!(ended.ending, Ending::Interrupted);
    assert_eq!(watcher.told, ["missing", "written 3", "written 6", "written 9"]);
    assert_eq!(names(folder.path()).len(), 2);
    folder
}

#[test]
fn a_run_goes_on_from_every_step_and_ends_as_one_that_never_stopped() {
    for method in [Method::Houlsby, Method::Head, Method::TopLayers(1), Method::Full] {
        let options = options(method);
        let whole = whole(&options);
        for stop in 1..STEPS {
            let folder = tempfile::tempdir().unwrap();
            let mut watcher = Watcher { stop: Some(stop), ..Watcher::default() };
            match run(folder.path(), &options, 2, &mut watcher) {
                Ok(ended) => assert_eq!(ended.ending, Ending::Interrupted),
                Err(GraftError::Train(TrainError::Interrupted { step })) => assert_eq!(step, stop),
                Err(error) => panic!("{error}"),
            }
            let mut watcher = Watcher::default();
            let ended = run(folder.path(), &options, 1, &mut watcher).unwrap();
            assert_eq!(watcher.told, [format!("resumed {stop}")]);
            assert_eq!(watcher.steps, (stop + 1..=STEPS).collect::<Vec<_>>(), "no step is done twice");
            assert!(all_of(&ended) == whole, "{method} stopped after step {stop}");
        }
    }
}

#[test]
fn what_is_there_after_each_write_is_enough() {
    let mut options = options(Method::Houlsby);
    options.adapt_from_layer = 1;
    options.train.eval_every = Some(5);
    options.calibrate = true;
    let whole = whole(&options);
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("now"), folder.path().join("then"));
    let mut watcher =
        Watcher { every: Some(1), copies: Some((from.clone(), to.clone())), ..Watcher::default() };
    assert!(all_of(&go_on(&from, &options, &mut watcher).unwrap()) == whole, "writing changes nothing");
    assert_eq!(watcher.copied as u64, STEPS - 1, "after every step but the last");
    for copied in 0..watcher.copied {
        let mut watcher = Watcher::default();
        let ended = go_on(&to.join(copied.to_string()), &options, &mut watcher).unwrap();
        assert_eq!(watcher.told, [format!("resumed {}", copied + 1)]);
        assert!(all_of(&ended) == whole, "went on from checkpoint {copied}");
    }
}

#[test]
fn patience_counts_on_over_a_stop() {
    let mut options = options(Method::Houlsby);
    options.train.learning_rate = Some(1e-9);
    options.train.eval_every = Some(1);
    options.train.patience = Some(4);
    let never = graft(&MODEL, &*TRAIN, &*DEV, &options, &mut ()).unwrap();
    assert_eq!((never.ending, never.steps), (Ending::EarlyStopped, 5));
    for stop in 1..5 {
        let folder = tempfile::tempdir().unwrap();
        let mut watcher = Watcher { stop: Some(stop), ..Watcher::default() };
        go_on(folder.path(), &options, &mut watcher).unwrap();
        assert!(all_of(&go_on(folder.path(), &options, &mut ()).unwrap()) == all_of(&never), "{stop}");
    }
}

#[test]
fn a_run_that_was_ended_within_an_evaluation_makes_up_for_it() {
    // More tokens than are answered at a time.
    let dev = rows(6000, ["good", "bad"]);
    let mut options = options(Method::Head);
    options.train.epochs = Some(1);
    let run = |folder: &Path, watcher: &mut dyn TrainObserver| {
        let checkpoints = CheckpointFolder { path: folder.to_owned(), resume: true };
        let beginning = Beginning { checkpoints: Some(&checkpoints), ..Beginning::default() };
        graft_from(&beginning, &MODEL, (&*TRAIN, &dev), &options, watcher)
    };
    let folder = tempfile::tempdir().unwrap();
    let ended = run(folder.path(), &mut Watcher { stop_in_evaluation: true, ..Watcher::default() });
    assert!(matches!(ended, Err(GraftError::Train(TrainError::Interrupted { step: 6 }))), "{ended:?}");
    let mut watcher = Watcher::default();
    let resumed = run(folder.path(), &mut watcher).unwrap();
    assert!(watcher.steps.is_empty(), "all steps were done");
    assert!(all_of(&resumed) == all_of(&graft(&MODEL, &*TRAIN, &dev, &options, &mut ()).unwrap()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_stops_at_any_steps_change_nothing(
        seed in 0_u64..1000,
        batch_size in 1_usize..9,
        eval_every in proptest::option::of(1_u64..7),
        stops in proptest::collection::btree_set(1_u64..30, 0..4),
        every in proptest::option::of(1_u64..5),
        threads in 1_usize..3,
    ) {
        let mut options = options(Method::Houlsby);
        options.train.seed = seed;
        options.train.batch_size = batch_size;
        options.train.eval_every = eval_every;
        let whole = whole(&options);
        let folder = tempfile::tempdir().unwrap();
        for stop in stops {
            // A stop beyond the last step is none.
            let mut watcher = Watcher { every, stop: Some(stop), ..Watcher::default() };
            match run(folder.path(), &options, threads, &mut watcher) {
                Ok(_) | Err(GraftError::Train(TrainError::Interrupted { .. })) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let ended = run(folder.path(), &options, 3 - threads, &mut Watcher::default()).unwrap();
        prop_assert!(all_of(&ended) == whole);
    }
}

#[test]
fn the_newest_checkpoint_that_is_whole_is_used_and_the_others_are_told() {
    let (options, folder) = (options(Method::Houlsby), ended_after_nine());
    let whole = whole(&options);
    let [older, newest] = &names(folder.path())[..] else { panic!("two checkpoints") };
    let bytes = fs::read(folder.path().join(newest)).unwrap();
    let flipped = |place: usize| {
        let mut bytes = bytes.clone();
        bytes[place] ^= 1;
        bytes
    };
    let broken = [
        Vec::new(),
        bytes[..7].to_vec(),
        bytes[..bytes.len() - 1].to_vec(),
        flipped(3),
        flipped(bytes.len() / 2),
    ];
    for broken in broken {
        let damaged = tempfile::tempdir().unwrap();
        fs::copy(folder.path().join(older), damaged.path().join(older)).unwrap();
        fs::write(damaged.path().join(newest), &broken).unwrap();
        let mut watcher = Watcher::default();
        let ended = go_on(damaged.path(), &options, &mut watcher).unwrap();
        assert!(watcher.told[0].starts_with("unusable: its content has SHA-256"), "{:?}", watcher.told);
        assert_eq!(watcher.told[1], "resumed 6");
        assert!(all_of(&ended) == whole);
    }
    // With none that is whole, the run begins anew, and its own checkpoints take the place of those that claim to be further.
    for name in [older, newest] {
        fs::write(folder.path().join(name), "half").unwrap();
    }
    let mut watcher = Watcher { stop: Some(3), ..Watcher::default() };
    assert!(matches!(
        go_on(folder.path(), &options, &mut watcher),
        Err(GraftError::Train(TrainError::Interrupted { step: 3 }))
    ));
    assert_eq!(watcher.told[2..], ["missing", "written 3"]);
    let mut watcher = Watcher::default();
    assert!(all_of(&go_on(folder.path(), &options, &mut watcher).unwrap()) == whole);
    assert_eq!(watcher.told, ["resumed 3"]);
}

/// Changes the description of a checkpoint and gives it the name that its content then has.
fn forge(path: &Path, from: &str, to: &str) {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&bytes[8..8 + length]).unwrap();
    assert!(header.contains(from), "{header}");
    let header = header.replace(from, to);
    let forged = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[8 + length..]].concat();
    let name = path.file_name().unwrap().to_str().unwrap();
    let step = name.split('.').next().unwrap();
    fs::remove_file(path).unwrap();
    fs::write(path.with_file_name(format!("{step}.{}.safetensors", sha256_hex(&forged))), forged).unwrap();
}

#[test]
fn a_checkpoint_that_claims_what_it_does_not_hold_is_not_used() {
    let options = options(Method::Houlsby);
    let forgeries = [
        (r#"\"step\":9"#, r#"\"step\":18446744073709551615"#),
        (r#"\"step\":9"#, r#"\"step\":10"#),
        (r#"\"position\":12"#, r#"\"position\":4000000000"#),
        (r#"\"epoch\":1"#, r#"\"epoch\":4294967295"#),
        (r#"\"evaluations_since_best\":0"#, r#"\"evaluations_since_best\":4294967295"#),
        (r#"\"updates\":9"#, r#"\"updates\":18446744073709551615"#),
        (r#"\"evaluations\":1"#, r#"\"evaluations\":18446744073709551615"#),
        (r#""dtype":"F32""#, r#""dtype":"F64""#),
        (r#""__metadata__""#, r#""__nothing__""#),
        (r#"\"best\":{"#, r#"\"best\":[{"#),
    ];
    for (from, to) in forgeries {
        let folder = ended_after_nine();
        forge(&folder.path().join(&names(folder.path())[1]), from, to);
        let mut watcher = Watcher::default();
        go_on(folder.path(), &options, &mut watcher).unwrap();
        assert!(watcher.told[0].starts_with("unusable: "), "{to}: {:?}", watcher.told);
        assert_eq!(watcher.told[1], "resumed 6", "{to}");
    }
}

#[test]
fn a_checkpoint_of_another_layout_is_refused_and_stays() {
    let folder = ended_after_nine();
    let newest = folder.path().join(&names(folder.path())[1]);
    forge(&newest, r#"\"format_version\":1"#, r#"\"format_version\":2"#);
    match go_on(folder.path(), &options(Method::Houlsby), &mut ()).unwrap_err() {
        GraftError::Train(TrainError::Resume(ResumeError::Layout { expected: 1, found: 2, .. })) => {}
        error => panic!("{error}"),
    }
    assert_eq!(names(folder.path()).len(), 2);
}

/// What is made of it is many times as long: it is not read at all.
#[test]
fn a_checkpoint_whose_description_is_far_longer_is_of_another_run() {
    let folder = ended_after_nine();
    let newest = folder.path().join(&names(folder.path())[1]);
    let long = format!(r#"\"run\":[{}],\"step\":9"#, vec!["0"; 1 << 20].join(","));
    forge(&newest, r#"\"step\":9"#, &long);
    match go_on(folder.path(), &options(Method::Houlsby), &mut ()).unwrap_err() {
        GraftError::Train(TrainError::Resume(ResumeError::OtherRun { what, expected, .. })) => {
            assert_eq!(what, "the length of the header");
            assert!(expected.parse::<usize>().unwrap() > 2 << 20, "{expected}");
        }
        error => panic!("{error}"),
    }
    assert_eq!(names(folder.path()).len(), 2);
}

#[cfg(unix)]
#[test]
fn a_checkpoint_that_the_system_does_not_give_is_an_error_and_not_passed_over() {
    let folder = ended_after_nine();
    let newest = folder.path().join(&names(folder.path())[1]);
    fs::remove_file(&newest).unwrap();
    std::os::unix::fs::symlink(&newest, &newest).unwrap();
    match go_on(folder.path(), &options(Method::Houlsby), &mut ()).unwrap_err() {
        GraftError::Train(TrainError::Resume(ResumeError::Io { path, .. })) => assert_eq!(path, newest),
        error => panic!("{error}"),
    }
    assert_eq!(names(folder.path()).len(), 2);
}

#[test]
fn a_checkpoint_of_another_run_is_refused_and_what_differs_is_named() {
    let folder = ended_after_nine();
    let same = options(Method::Houlsby);
    let mut others = vec![(GraftOptions { bottleneck: 5, ..same.clone() }, "options.bottleneck")];
    let mut seed = same.clone();
    seed.train.seed = 7;
    others.push((seed, "options.train.seed"));
    let mut epochs = same.clone();
    epochs.train.epochs = Some(3);
    others.push((epochs, "options.train.epochs"));
    // Of more numbers, and of fewer.
    others.push((GraftOptions { method: Method::Full, ..same.clone() }, "options.method"));
    others.push((GraftOptions { method: Method::Head, ..same.clone() }, "options.method"));
    for (options, named) in others {
        match go_on(folder.path(), &options, &mut ()).unwrap_err() {
            GraftError::Train(TrainError::Resume(ResumeError::OtherRun { what, .. })) => {
                assert_eq!(what, format!("`{named}`"));
            }
            error => panic!("{error}"),
        }
    }
    let checkpoints = CheckpointFolder { path: folder.path().to_owned(), resume: true };
    let beginning = Beginning { checkpoints: Some(&checkpoints), ..Beginning::default() };
    let mut changed = TRAIN.rows.clone();
    changed.swap(0, 2);
    let changed = Dataset { rows: changed, ..(*TRAIN).clone() };
    let error = graft_from(&beginning, &MODEL, (&changed, &*DEV), &same, &mut ()).unwrap_err();
    assert!(error.to_string().contains("`train_rows`"), "{error}");
    assert_eq!(names(folder.path()).len(), 2, "nothing was written");
}

#[test]
fn a_fault_in_any_operation_of_a_checkpoint_loses_no_work() {
    let options = options(Method::Houlsby);
    let whole = whole(&options);
    for fault in [Fault::Once, Fault::FromThere] {
        let mut nth = 1;
        loop {
            let folder = tempfile::tempdir().unwrap();
            let place = folder.path().join("checkpoints");
            let mut watcher = Watcher { every: Some(3), ..Watcher::default() };
            fault::arm(nth, fault);
            let ended = go_on(&place, &options, &mut watcher);
            if fault::disarm() < nth {
                println!("{fault:?}: {} operations of checkpoints", nth - 1);
                assert!(nth > 30, "{nth} operations are too few to be all");
                break;
            }
            assert!(
                all_of(&ended.unwrap()) == whole,
                "a fault in operation {nth} is told, and changes nothing"
            );
            let is_told = |told: &String| told.starts_with("failed") || told.starts_with("kept");
            assert!(watcher.told.iter().any(is_told), "{:?}", watcher.told);
            // What is there by now is enough for the next run, as if the process had been killed.
            assert!(all_of(&go_on(&place, &options, &mut ()).unwrap()) == whole, "{fault:?} {nth}");
            nth += 1;
        }
    }
}

#[test]
fn a_fault_in_any_operation_of_a_run_that_goes_on_loses_no_work() {
    let options = options(Method::Houlsby);
    let whole = whole(&options);
    for fault in [Fault::Once, Fault::FromThere] {
        for nth in 1.. {
            let folder = ended_after_nine();
            fault::arm(nth, fault);
            let ended = go_on(folder.path(), &options, &mut Watcher { every: Some(1), ..Watcher::default() });
            let operations = fault::disarm();
            assert!(all_of(&ended.unwrap()) == whole, "{fault:?} {nth}");
            if operations < nth {
                println!("{fault:?}: {operations} operations of a run that goes on");
                assert!(operations > 10, "{operations} operations are too few to be all");
                break;
            }
            assert!(all_of(&go_on(folder.path(), &options, &mut ()).unwrap()) == whole, "{fault:?} {nth}");
        }
    }
}

#[test]
fn a_fault_while_checkpoints_are_taken_away_leaves_them_whole_or_gone() {
    let options = options(Method::Houlsby);
    let whole = whole(&options);
    for fault in [Fault::Once, Fault::FromThere] {
        for nth in 1.. {
            let folder = ended_after_nine();
            let checkpoints = CheckpointFolder { path: folder.path().to_owned(), resume: true };
            fault::arm(nth, fault);
            let cleared = checkpoints.clear();
            let operations = fault::disarm();
            assert_eq!(cleared.is_err(), operations >= nth, "{fault:?} {nth}: an error is told");
            assert!(all_of(&go_on(folder.path(), &options, &mut ()).unwrap()) == whole, "{fault:?} {nth}");
            checkpoints.clear().unwrap();
            assert!(!folder.path().exists());
            fs::create_dir(folder.path()).unwrap();
            if operations < nth {
                println!("{fault:?}: {operations} operations to take checkpoints away");
                assert!(operations > 2, "{operations} operations are too few to be all");
                break;
            }
        }
    }
}

#[test]
fn checkpoints_are_taken_away_and_nothing_else() {
    let folder = ended_after_nine();
    let checkpoints = CheckpointFolder { path: folder.path().to_owned(), resume: false };
    assert!(checkpoints.is_used().unwrap());
    fs::write(folder.path().join("mine.txt"), "kept").unwrap();
    fs::create_dir(folder.path().join(".grafter-left")).unwrap();
    checkpoints.clear().unwrap();
    assert_eq!(names(folder.path()), ["mine.txt"]);
    fs::remove_file(folder.path().join("mine.txt")).unwrap();
    checkpoints.clear().unwrap();
    assert!(!folder.path().exists());
    checkpoints.clear().unwrap();
    assert!(!checkpoints.is_used().unwrap());
    fs::create_dir(folder.path()).unwrap();
}
