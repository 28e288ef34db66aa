//! A fault in any write, sync or rename of a bank, an adapter folder or a comparison leaves what was there before or what
//! was to come, never something between, and the next run works. Faults are errors that the system could give, once or from
//! there on, and ends of the process. On the tiny random model that `reference/tiny_bert.py` wrote.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use grafter::adapter::{Adapter, Companion, Method};
use grafter::bank::{Add, Bank, Incoming, Probes, generated_rows};
use grafter::compare::{
    CompareFolder, CompareTask, Grid, PLAN_FILE, Plan, PlannedGrid, Rates, TaskSource, TrialEnd, run_trial,
};
use grafter::data::{Dataset, Source, TaskKind};
use grafter::digest::sha256_hex;
use grafter::durable::fault::{self, Fault};
use grafter::durable::{create_file, create_folder, write_file};
use grafter::graft::{GraftOptions, graft};
use grafter::model::Model;

static MODEL: LazyLock<Model> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-bert");
    Model::read(&folder, "tiny-bert").unwrap()
});

/// A change of what lies in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    SaveAdapter,
    ReplaceAdapter,
    InitBank,
    AddTask,
    AddVersion,
    AddSameVersion,
    RemoveTask,
    RemoveVersion,
    ReplaceFile,
    CreateFile,
    CreateFolder,
    BeginComparison,
    AddToComparison,
    FinishTrial,
}

const CHANGES: [Change; 14] = [
    Change::SaveAdapter,
    Change::ReplaceAdapter,
    Change::InitBank,
    Change::AddTask,
    Change::AddVersion,
    Change::AddSameVersion,
    Change::RemoveTask,
    Change::RemoveVersion,
    Change::ReplaceFile,
    Change::CreateFile,
    Change::CreateFolder,
    Change::BeginComparison,
    Change::AddToComparison,
    Change::FinishTrial,
];

/// What a reader finds: of the adapter a digest, of the bank the tasks with a digest of each version, of the comparison the tasks
/// and the finished trials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    adapter: Option<String>,
    bank: Option<BTreeMap<String, Vec<String>>>,
    comparison: Option<[Vec<String>; 2]>,
    /// Of a file, and of a folder.
    plain: [Option<String>; 2],
}

/// Two adapters, trained once for all tests.
fn prepared() -> &'static Path {
    static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.tsv");
        let row = |place: usize| format!("it was {place}\t{}\n", place % 2);
        fs::write(&path, "text\tlabel\n".to_owned() + &(0..8).map(row).collect::<String>()).unwrap();
        let rows = Dataset::read_train(&Source::new(path), TaskKind::Classification).unwrap();
        for seed in [1, 2] {
            let mut options = GraftOptions { bottleneck: 2, max_length: 16, ..GraftOptions::default() };
            options.train.epochs = Some(1);
            options.train.seed = seed;
            let grafted = graft(&MODEL, &rows, &rows, &options, &mut ()).unwrap();
            grafted.adapter.save(&folder.path().join(seed.to_string()), false).unwrap();
        }
        fs::write(folder.path().join("trial.json"), trial_record(folder.path())).unwrap();
        folder
    });
    FOLDER.path()
}

fn adapter(prepared: &Path, seed: u64) -> Adapter {
    Adapter::load(&prepared.join(seed.to_string()), &MODEL).unwrap()
}

fn add(folder: &Path, name: &str, adapter: &Adapter, how: Add) -> Result<(), String> {
    let probes = Probes::take(&MODEL, adapter, &generated_rows(TaskKind::Classification, false, 16)).unwrap();
    let incoming =
        Incoming { adapter, probes: &probes, companions: &[(Companion::Report, b"a page".to_vec())] };
    let bank = Bank::open(&folder.join("bank")).map_err(|error| error.to_string())?;
    bank.add(&name.parse().unwrap(), &incoming, how).map(drop).map_err(|error| error.to_string())
}

/// A task of the prepared rows.
fn task(name: &str, prepared: &Path) -> CompareTask {
    let rows = || Source::new(prepared.join("rows.tsv"));
    CompareTask::open(TaskSource {
        name: name.to_owned(),
        kind: TaskKind::Classification,
        metric: None,
        train: rows(),
        dev: rows(),
        test: None,
    })
    .unwrap()
}

/// What all trials of the comparison have in common.
fn template() -> GraftOptions {
    let mut options = GraftOptions { max_length: 16, ..GraftOptions::default() };
    options.train.epochs = Some(1);
    options
}

/// One trial for each task.
fn grid(tasks: &[CompareTask]) -> PlannedGrid {
    let grid = Grid {
        tasks: tasks.iter().map(|task| task.plan.name.clone()).collect(),
        methods: vec![Method::Head],
        bottlenecks: vec![2],
        learning_rates: Rates::TimesDefault(vec![1.0]),
        init_stds: vec![1e-2],
        seeds: vec![1],
    };
    grid.planned()
}

/// Opens the comparison of a folder for tasks of these names.
fn comparison(folder: &Path, names: &[&str], prepared: &Path) -> Result<CompareFolder, String> {
    let tasks: Vec<CompareTask> = names.iter().map(|name| task(name, prepared)).collect();
    let plan = Plan::new(&MODEL, &template(), &tasks, grid(&tasks));
    CompareFolder::open(&folder.join("comparison"), &plan, &tasks).map_err(|error| error.to_string())
}

/// The record of the one trial of task `a`.
fn trial_record(prepared: &Path) -> Vec<u8> {
    let task = task("a", prepared);
    let trials = grid(std::slice::from_ref(&task)).trials();
    match run_trial(&MODEL, &task, (&trials[0], &template()), &mut ()).unwrap() {
        TrialEnd::Finished(record, _) => serde_json::to_vec(&record).unwrap(),
        TrialEnd::Interrupted => panic!("nothing interrupts it"),
    }
}

impl Change {
    /// What must be there before.
    fn begin(self, folder: &Path, prepared: &Path) {
        let (first, second) = (adapter(prepared, 1), adapter(prepared, 2));
        if self == Self::ReplaceAdapter {
            first.save(&folder.join("adapter"), false).unwrap();
        }
        match self {
            Self::AddToComparison | Self::FinishTrial => drop(comparison(folder, &["a"], prepared).unwrap()),
            _ => {}
        }
        if self == Self::ReplaceFile {
            fs::write(folder.join("file"), "what was before").unwrap();
        }
        if !matches!(
            self,
            Self::AddTask | Self::AddVersion | Self::AddSameVersion | Self::RemoveTask | Self::RemoveVersion
        ) {
            return;
        }
        Bank::init(&folder.join("bank"), &MODEL).unwrap();
        add(folder, "other", &second, Add::New).unwrap();
        if self != Self::AddTask {
            add(folder, "task", &first, Add::New).unwrap();
        }
        if matches!(self, Self::AddSameVersion | Self::RemoveVersion) {
            add(folder, "task", &second, Add::NewVersion).unwrap();
        }
    }

    fn make(self, folder: &Path, prepared: &Path) -> Result<(), String> {
        let (first, second) = (adapter(prepared, 1), adapter(prepared, 2));
        let remove = |asked: String| {
            let bank = Bank::open(&folder.join("bank")).map_err(|error| error.to_string())?;
            bank.remove(&asked.parse().unwrap()).map_err(|error| error.to_string())
        };
        match self {
            Self::SaveAdapter | Self::ReplaceAdapter => {
                let (adapter, overwrite) = (folder.join("adapter"), self == Self::ReplaceAdapter);
                let companions = [(Companion::Report, b"a page".to_vec())];
                second.save_with(&adapter, overwrite, &companions).map_err(|error| error.to_string())
            }
            Self::InitBank => {
                Bank::init(&folder.join("bank"), &MODEL).map(drop).map_err(|error| error.to_string())
            }
            Self::AddTask => add(folder, "task", &first, Add::New),
            Self::AddVersion => add(folder, "task", &second, Add::NewVersion),
            Self::AddSameVersion => add(folder, "task", &first, Add::NewVersion),
            Self::RemoveTask => remove("task".to_owned()),
            Self::RemoveVersion => {
                let digest = sha256_hex(&fs::read(prepared.join("2/adapter.json")).unwrap());
                remove(format!("task@{digest}"))
            }
            // What trials of comparisons, reports, exported adapters and downloads are written with.
            Self::ReplaceFile => {
                write_file(&folder.join("file"), b"what comes").map_err(|error| error.to_string())
            }
            Self::CreateFile => {
                create_file(&folder.join("file"), b"what comes").map_err(|error| error.to_string())
            }
            Self::BeginComparison => comparison(folder, &["a"], prepared).map(drop),
            Self::AddToComparison => comparison(folder, &["b"], prepared).map(drop),
            Self::FinishTrial => {
                let record = serde_json::from_slice(&fs::read(prepared.join("trial.json")).unwrap()).unwrap();
                comparison(folder, &["a"], prepared)?.write_record(&record).map_err(|error| error.to_string())
            }
            Self::CreateFolder => {
                let files = [("one", b"1".to_vec()), ("two", b"2".to_vec())];
                create_folder(&folder.join("a/folder"), &files).map_err(|error| error.to_string())
            }
        }
    }
}

/// What a reader finds; everything that is found is whole.
fn found(folder: &Path) -> Found {
    let adapter = folder.join("adapter");
    let adapter = adapter.exists().then(|| {
        Adapter::load(&adapter, &MODEL).unwrap();
        digest_of(&adapter)
    });
    let bank = Bank::open(&folder.join("bank")).ok().map(|bank| {
        let list = bank.list().unwrap();
        assert!(list.broken.is_empty(), "{:?}", list.broken);
        let versions = |task: &grafter::bank::TaskEntry| {
            task.versions
                .iter()
                .map(|entry| {
                    bank.load(&task.name, &entry.version, &MODEL).unwrap();
                    bank.probes(&task.name, entry).unwrap();
                    digest_of(&bank.version_folder(&task.name, &entry.version))
                })
                .collect()
        };
        list.tasks.iter().map(|task| (task.name.to_string(), versions(task))).collect()
    });
    let file = fs::read_to_string(folder.join("file")).ok();
    let of_folder = folder.join("a/folder");
    let comparison = found_comparison(&folder.join("comparison"));
    Found { adapter, bank, comparison, plain: [file, of_folder.exists().then(|| digest_of(&of_folder))] }
}

/// The tasks of a comparison's plan, each with its right answers, and the records of its trials, each whole.
fn found_comparison(folder: &Path) -> Option<[Vec<String>; 2]> {
    let json = |path: &Path| serde_json::from_slice::<serde_json::Value>(&fs::read(path).unwrap()).unwrap();
    let plan = folder.join(PLAN_FILE);
    let plan = plan.exists().then(|| json(&plan))?;
    let names =
        plan["tasks"].as_array().unwrap().iter().map(|task| task["name"].as_str().unwrap().to_owned());
    let tasks = names.inspect(|name| drop(json(&folder.join(format!("tasks/{name}.json"))))).collect();
    let trials = fs::read_dir(folder.join("trials")).unwrap().map(|entry| entry.unwrap().path());
    let whole = trials.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    Some([tasks, whole.map(|path| json(&path)["id"].as_str().unwrap().to_owned()).collect()])
}

/// Of all files with their names.
fn digest_of(folder: &Path) -> String {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort_unstable();
    let part = |path: &PathBuf| format!("{:?} {}\n", path.file_name(), sha256_hex(&fs::read(path).unwrap()));
    sha256_hex(paths.iter().map(part).collect::<String>().as_bytes())
}

/// Before and after a change that nothing disturbs, and how many operations it takes.
fn undisturbed(change: Change) -> (Found, Found, u64) {
    let folder = tempfile::tempdir().unwrap();
    change.begin(folder.path(), prepared());
    let before = found(folder.path());
    fault::arm(u64::MAX, Fault::Once);
    change.make(folder.path(), prepared()).unwrap();
    (before, found(folder.path()), fault::disarm())
}

/// After a fault: one of the two states, and from the first one the change can be made again.
fn check(change: Change, folder: &Path, (before, after): (&Found, &Found), what: &str) {
    let now = found(folder);
    assert!(now == *before || now == *after, "{what}: {now:?} is neither {before:?} nor {after:?}");
    if now == *before {
        change.make(folder, prepared()).unwrap_or_else(|error| panic!("{what}, then again: {error}"));
        assert_eq!(found(folder), *after, "{what}, then again");
    }
}

#[test]
fn an_error_of_any_operation_leaves_what_was_or_what_was_to_come() {
    for change in CHANGES {
        let (before, after, operations) = undisturbed(change);
        println!("{change:?}: {operations} operations");
        assert!(operations >= 3, "a change writes, syncs and renames");
        assert_ne!(before, after, "{change:?} changes something");
        for fault in [Fault::Once, Fault::FromThere] {
            for nth in 1..=operations {
                let folder = tempfile::tempdir().unwrap();
                change.begin(folder.path(), prepared());
                fault::arm(nth, fault);
                let made = change.make(folder.path(), prepared());
                fault::disarm();
                let what = format!("{change:?}, {fault:?} in operation {nth} of {operations}");
                if made.is_ok() {
                    assert_eq!(found(folder.path()), after, "{what}");
                }
                check(change, folder.path(), (&before, &after), &what);
            }
        }
    }
}

/// What a child process is asked for.
const REQUEST: &str = "GRAFTER_FAULT_TEST";

#[test]
fn the_end_of_the_process_in_any_operation_leaves_what_was_or_what_was_to_come() {
    if let Ok(request) = std::env::var(REQUEST) {
        return end_in_an_operation(&request);
    }
    for change in CHANGES {
        let (before, after, operations) = undisturbed(change);
        for nth in 1..=operations {
            let folder = tempfile::tempdir().unwrap();
            change.begin(folder.path(), prepared());
            let request = serde_json::json!({
                "change": CHANGES.iter().position(|other| *other == change),
                "nth": nth,
                "folder": folder.path(),
                "prepared": prepared(),
            });
            let this = "the_end_of_the_process_in_any_operation_leaves_what_was_or_what_was_to_come";
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", this])
                .env(REQUEST, request.to_string())
                .output()
                .unwrap();
            assert_eq!(
                child.status.code(),
                Some(fault::EXIT_STATUS),
                "{}",
                String::from_utf8_lossy(&child.stdout)
            );
            let what = format!("{change:?}, the process ended in operation {nth} of {operations}");
            check(change, folder.path(), (&before, &after), &what);
        }
    }
}

/// In the child process.
fn end_in_an_operation(request: &str) {
    let request: serde_json::Value = serde_json::from_str(request).unwrap();
    let path = |name: &str| PathBuf::from(request[name].as_str().unwrap());
    let change = CHANGES[request["change"].as_u64().unwrap() as usize];
    LazyLock::force(&MODEL);
    fault::arm(request["nth"].as_u64().unwrap(), Fault::Exit);
    let _ = change.make(&path("folder"), &path("prepared"));
}
