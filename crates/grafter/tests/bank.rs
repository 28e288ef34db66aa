//! A bank of tasks: what comes in is what is read, no task touches another's files, a change of a single byte or number is
//! found, and what a process that ended in the middle left behind counts for nothing. On the tiny random model that
//! `reference/tiny_bert.py` wrote.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use grafter::adapter::{Adapter, Method};
use grafter::bank::{
    AdapterCache, Add, Answered, Bank, BankError, BrokenTask, CacheError, Incoming, PROBES, Probes, TaskName,
    TaskRef, Verdict, Verified, Version, generated_rows, rows_of,
};
use grafter::data::{Dataset, LabelledRows, Source, TaskKind};
use grafter::encoder::BasePrecision;
use grafter::forgetting::SequentialFineTuning;
use grafter::graft::{Beginning, GraftOptions, graft, graft_from};
use grafter::model::Model;
use grafter::predict::row_logits;
use proptest::prelude::*;
use tempfile::TempDir;

static MODEL: LazyLock<Model> = LazyLock::new(|| Model::read(&model_folder(), "tiny-bert").unwrap());

fn model_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-bert")
}

fn rows(words: [&str; 2]) -> Dataset {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.tsv");
    let row = |place: usize| format!("it was {} {place}\t{}\n", words[place % 2], words[place % 2]);
    fs::write(&path, "text\tlabel\n".to_owned() + &(0..24).map(row).collect::<String>()).unwrap();
    Dataset::read_train(&Source::new(path), TaskKind::Classification).unwrap()
}

fn adapter(words: [&str; 2], seed: u64) -> Adapter {
    let rows = rows(words);
    let mut options = GraftOptions { bottleneck: 4, max_length: 16, ..GraftOptions::default() };
    options.train.epochs = Some(2);
    options.train.learning_rate = Some(5e-3);
    options.train.seed = seed;
    graft(&MODEL, &rows, &rows, &options, &mut ()).unwrap().adapter
}

static GOOD: LazyLock<Adapter> = LazyLock::new(|| adapter(["good", "bad"], 1));
static SPAM: LazyLock<Adapter> = LazyLock::new(|| adapter(["win", "letter"], 2));

fn probes(adapter: &Adapter) -> Probes {
    Probes::take(&MODEL, adapter, &generated_rows(TaskKind::Classification, false, 16)).unwrap()
}

fn add(bank: &Bank, name: &str, adapter: &Adapter, add: Add) -> Result<Version, BankError> {
    let probes = probes(adapter);
    bank.add(&name.parse().unwrap(), &Incoming { adapter, probes: &probes, companions: &[] }, add)
}

fn bank() -> (TempDir, Bank) {
    let folder = tempfile::tempdir().unwrap();
    let bank = Bank::init(&folder.path().join("bank"), &MODEL).unwrap();
    (folder, bank)
}

/// Files by their paths, with their bytes.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Every file below a folder.
fn files(folder: &Path) -> Files {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

fn verdicts(bank: &Bank) -> Vec<(String, Verdict)> {
    let verified = bank.verify(&MODEL, |_| {}).unwrap();
    verified.iter().map(|found: &Verified| (found.name.to_string(), found.verdict())).collect()
}

fn name(text: &str) -> TaskName {
    text.parse().unwrap()
}

#[test]
fn what_comes_into_a_bank_is_what_is_read() {
    let (_folder, bank) = bank();
    let version = add(&bank, "reviews", &GOOD, Add::New).unwrap();
    let opened = Bank::open(bank.path()).unwrap();
    let task = opened.task(&name("reviews")).unwrap();
    assert_eq!(task.newest().version, version);
    let loaded = opened.load(&task.name, &version, &MODEL).unwrap();
    assert_eq!(loaded.manifest(), GOOD.manifest());
    let texts = generated_rows(TaskKind::Classification, false, 16);
    assert_eq!(row_logits(&MODEL, &loaded, &texts).unwrap(), row_logits(&MODEL, &GOOD, &texts).unwrap());
    assert_eq!(opened.manifest(&task.name, &version).unwrap(), *GOOD.manifest());
}

#[test]
fn a_task_touches_no_byte_of_another() {
    let (_folder, bank) = bank();
    add(&bank, "reviews", &GOOD, Add::New).unwrap();
    let before = files(bank.path());
    add(&bank, "spam", &SPAM, Add::New).unwrap();
    let between = files(bank.path());
    assert!(before.iter().all(|(path, bytes)| between[path] == *bytes));
    assert_eq!(verdicts(&bank), [("reviews".to_owned(), Verdict::Same), ("spam".to_owned(), Verdict::Same)]);
    bank.remove(&"spam".parse().unwrap()).unwrap();
    assert_eq!(files(bank.path()), before);
}

#[test]
fn a_name_is_taken_once_and_a_new_version_becomes_the_newest() {
    let (_folder, bank) = bank();
    let first = add(&bank, "reviews", &GOOD, Add::New).unwrap();
    assert!(matches!(add(&bank, "reviews", &SPAM, Add::New), Err(BankError::TaskExists { .. })));
    let second = add(&bank, "reviews", &SPAM, Add::NewVersion).unwrap();
    let versions = |bank: &Bank| -> Vec<Version> {
        bank.task(&name("reviews")).unwrap().versions.into_iter().map(|entry| entry.version).collect()
    };
    assert_eq!(versions(&bank), [first.clone(), second.clone()]);
    assert_eq!(verdicts(&bank).len(), 2);
    // The same adapter again is the same version.
    assert_eq!(add(&bank, "reviews", &GOOD, Add::NewVersion).unwrap(), first);
    assert_eq!(versions(&bank), [second.clone(), first.clone()]);
    let asked = |digits: &str| format!("reviews@{digits}").parse::<TaskRef>().unwrap();
    let task = bank.task(&name("reviews")).unwrap();
    assert_eq!(task.find(&asked(second.short())).unwrap().version, second);
    assert_eq!(task.find(&"reviews".parse().unwrap()).unwrap().version, first);
    let none = task.find(&asked("00000000"));
    assert!(matches!(none, Err(BankError::UnknownVersion { several: false, .. })));
    bank.remove(&asked(first.as_str())).unwrap();
    assert_eq!(versions(&bank), std::slice::from_ref(&second));
    // One whose folder is gone leaves the list too.
    fs::remove_dir_all(bank.version_folder(&name("reviews"), &second)).unwrap();
    bank.remove(&asked(second.as_str())).unwrap();
    assert!(matches!(bank.task(&name("reviews")), Err(BankError::UnknownTask { .. })));
    assert_eq!(bank.list().unwrap().tasks, []);
}

/// Replaces the last occurrence in a file.
fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    let place = text.rfind(from).unwrap();
    fs::write(path, format!("{}{to}{}", &text[..place], &text[place + from.len()..])).unwrap();
}

#[test]
fn a_change_of_any_file_is_found() {
    let (_folder, bank) = bank();
    let version = add(&bank, "reviews", &GOOD, Add::New).unwrap();
    add(&bank, "spam", &SPAM, Add::New).unwrap();
    let folder = bank.version_folder(&name("reviews"), &version);
    for file in ["adapter.safetensors", "adapter.json", "probes.json"] {
        let path = folder.join(file);
        let bytes = fs::read(&path).unwrap();
        let mut changed = bytes.clone();
        *changed.last_mut().unwrap() ^= 1;
        fs::write(&path, changed).unwrap();
        let found = bank.verify(&MODEL, |_| {}).unwrap();
        assert_eq!(found[0].verdict(), Verdict::Changed, "{file}");
        let error = found[0].answered.as_ref().unwrap_err().to_string();
        assert!(error.contains(file), "{error}");
        assert_eq!(found[1].verdict(), Verdict::Same, "{file}");
        fs::remove_file(&path).unwrap();
        assert_eq!(bank.verify(&MODEL, |_| {}).unwrap()[0].verdict(), Verdict::Changed, "without {file}");
        fs::write(&path, bytes).unwrap();
        assert_eq!(verdicts(&bank)[0].1, Verdict::Same);
    }
}

#[test]
fn answers_that_changed_by_one_bit_are_found() {
    let probes = probes(&GOOD);
    assert!(matches!(probes.ask_again(&MODEL, &GOOD).unwrap(), Answered::Same { logits: 32 }));
    let mut other = probes.clone();
    let bits = u32::from_str_radix(&other.probes[5].logits[1], 16).unwrap();
    other.probes[5].logits[1] = format!("{:08x}", bits ^ 1);
    let difference = (f32::from_bits(bits) - f32::from_bits(bits ^ 1)).abs();
    let changed = Answered::Changed { probe: 5, largest_difference: difference };
    assert_eq!(other.ask_again(&MODEL, &GOOD).unwrap(), changed);
    let similar = |probes: &Probes| Answered::Similar {
        answered_by: format!("{} on {}", probes.tool, probes.processor),
        largest_difference: difference,
    };
    let earlier = Probes { tool: "grafter 0.0.1".to_owned(), ..other.clone() };
    assert_eq!(earlier.ask_again(&MODEL, &GOOD).unwrap(), similar(&earlier));
    other.processor = "an abacus".to_owned();
    assert_eq!(other.ask_again(&MODEL, &GOOD).unwrap(), similar(&other));
    // Where the answers are the same, it does not matter who gave them.
    other.probes = probes.probes.clone();
    assert!(matches!(other.ask_again(&MODEL, &GOOD).unwrap(), Answered::Same { .. }));
    // Another task's numbers give other answers.
    assert!(matches!(probes.ask_again(&MODEL, &SPAM).unwrap(), Answered::Changed { probe: 0, .. }));
    other.probes[0].logits.pop();
    // No rounding loses an answer.
    let missing = Answered::Changed { probe: 0, largest_difference: f32::INFINITY };
    assert_eq!(other.ask_again(&MODEL, &GOOD).unwrap(), missing);
}

#[test]
fn another_base_is_refused() {
    let (_folder, bank) = bank();
    let elsewhere = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(model_folder().join(file), elsewhere.path().join(file)).unwrap();
    }
    edit(&elsewhere.path().join("config.json"), "\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": 1e-5");
    let other = Model::read(elsewhere.path(), "other").unwrap();
    let refused = bank.check_model(&other).unwrap_err();
    assert!(matches!(&refused, BankError::OtherBase { part: "`layer_norm_eps`", .. }), "{refused}");
    assert!(matches!(bank.verify(&other, |_| {}), Err(BankError::OtherBase { .. })));
    let foreign = Bank::init(&elsewhere.path().join("bank"), &other).unwrap();
    assert!(matches!(add(&foreign, "reviews", &GOOD, Add::New), Err(BankError::ForeignAdapter { .. })));
    // The precision that a base is read in is a choice, not another base.
    let int8 = Model::read_in(&model_folder(), "tiny-bert", BasePrecision::Int8).unwrap();
    bank.check_model(&int8).unwrap();
}

#[test]
fn only_an_empty_folder_becomes_a_bank_and_only_a_bank_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Bank::open(folder.path()), Err(BankError::NotABank { .. })));
    assert!(matches!(Bank::open(&folder.path().join("none")), Err(BankError::NotABank { .. })));
    // What a process left that ended in the middle.
    fs::create_dir(folder.path().join("tasks")).unwrap();
    let bank = Bank::init(folder.path(), &MODEL).unwrap();
    assert!(matches!(Bank::init(folder.path(), &MODEL), Err(BankError::Exists { .. })));
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("notes.txt"), "mine").unwrap();
    assert!(matches!(Bank::init(other.path(), &MODEL), Err(BankError::Exists { .. })));
    assert!(!other.path().join("lock").exists(), "nothing is written into a folder that is refused");
    edit(&bank.path().join("bank.json"), "\"format_version\": 1", "\"format_version\": 2");
    let refused = Bank::open(bank.path());
    assert!(matches!(refused, Err(BankError::FormatVersion { found: 2, expected: 1, .. })), "{refused:?}");
    fs::write(bank.path().join("bank.json"), "[").unwrap();
    assert!(matches!(Bank::open(bank.path()), Err(BankError::Record { .. })));
}

#[test]
fn what_a_process_left_that_ended_in_the_middle_counts_for_nothing() {
    let (_folder, bank) = bank();
    let version = add(&bank, "reviews", &GOOD, Add::New).unwrap();
    // Before the first rename.
    let left = bank.path().join("incoming/.grafter-left");
    fs::create_dir_all(left.join("spam")).unwrap();
    fs::write(left.join("spam/task.json"), "{").unwrap();
    // A version that came into its place but is not counted yet.
    let other = bank.version_folder(&name("reviews"), &SPAM.digest().try_into().unwrap());
    fs::create_dir(&other).unwrap();
    fs::write(other.join("adapter.json"), "{").unwrap();
    assert_eq!(verdicts(&bank), [("reviews".to_owned(), Verdict::Same)]);
    let second = add(&bank, "reviews", &SPAM, Add::NewVersion).unwrap();
    assert!(!left.exists());
    let versions: Vec<Version> =
        bank.task(&name("reviews")).unwrap().versions.into_iter().map(|entry| entry.version).collect();
    assert_eq!(versions, [version, second]);
    assert!(verdicts(&bank).iter().all(|(_, verdict)| *verdict == Verdict::Same));
}

#[test]
fn what_is_no_task_is_told() {
    let (_folder, bank) = bank();
    add(&bank, "reviews", &GOOD, Add::New).unwrap();
    add(&bank, "spam", &SPAM, Add::New).unwrap();
    let file = bank.path().join("tasks/reviews/task.json");
    let good = fs::read_to_string(&file).unwrap();
    for bad in
        ["{}", "[]", &good.replace("\"reviews\"", "\"../reviews\""), &good.replace("\"reviews\"", "\"spam\"")]
    {
        fs::write(&file, bad).unwrap();
        let list = bank.list().unwrap();
        assert_eq!(list.tasks.len(), 1, "the other task is there: {bad}");
        let [BrokenTask { name, error: BankError::Record { .. } }] = &list.broken[..] else {
            panic!("{bad}")
        };
        assert_eq!(name, "reviews");
        let found = bank.verify(&MODEL, |_| {}).unwrap();
        let [spam, reviews] = &found[..] else { panic!("{bad}") };
        assert_eq!((spam.verdict(), reviews.verdict()), (Verdict::Same, Verdict::Changed));
        assert_eq!(reviews.version, None);
    }
    fs::write(&file, "{\"name\": \"reviews\", \"versions\": []}").unwrap();
    assert!(matches!(bank.task(&name("reviews")), Err(BankError::Record { .. })));
    fs::write(&file, good).unwrap();
    fs::write(bank.path().join("tasks/.DS_Store"), "").unwrap();
    assert_eq!((bank.list().unwrap().tasks.len(), bank.list().unwrap().broken.len()), (2, 0));
    fs::write(bank.path().join("tasks/Thumbs.db"), "").unwrap();
    assert_eq!((bank.list().unwrap().tasks.len(), bank.list().unwrap().broken.len()), (2, 0));
    fs::create_dir(bank.path().join("tasks/No Task")).unwrap();
    assert_eq!((bank.list().unwrap().tasks.len(), bank.list().unwrap().broken.len()), (2, 1));
    // A task without its list has not gone unnoticed, and can be taken out all the same.
    fs::remove_file(&file).unwrap();
    assert!(bank.list().unwrap().broken.iter().any(|broken| broken.name == "reviews"));
    assert!(matches!(bank.task(&name("reviews")), Err(BankError::Io { .. })));
    bank.remove(&"reviews".parse().unwrap()).unwrap();
    assert!(!file.exists());
}

#[test]
fn threads_that_add_tasks_at_once_all_succeed() {
    let (_folder, bank) = bank();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let bank = &bank;
            scope.spawn(move || {
                for task in 0..3 {
                    add(
                        bank,
                        &format!("task-{thread}-{task}"),
                        if task == 1 { &SPAM } else { &GOOD },
                        Add::New,
                    )
                    .unwrap();
                }
                bank.remove(&format!("task-{thread}-0").parse().unwrap()).unwrap();
            });
        }
    });
    let found = verdicts(&bank);
    assert_eq!(found.len(), 8);
    assert!(found.iter().all(|(name, verdict)| *verdict == Verdict::Same && !name.ends_with("-0")));
}

#[test]
fn probes_are_spread_over_the_rows_and_generated_ones_grow() {
    let rows = rows(["good", "bad"]);
    let kept = rows_of(&rows).unwrap();
    assert_eq!(kept.len(), PROBES);
    // 24 rows: every second one where 16 are taken.
    assert_eq!(kept[1], rows.rows[1]);
    assert_eq!(kept[2], rows.rows[3]);
    assert_eq!(kept[15], rows.rows[22]);
    let generated = generated_rows(TaskKind::Classification, true, 128);
    assert_eq!(generated, generated_rows(TaskKind::Classification, true, 128));
    assert!(generated.iter().all(|row| row.text_b.is_some()));
    let words =
        |place: usize| generated_rows(TaskKind::Classification, false, 128)[place].text.split(' ').count();
    assert_eq!((words(0), words(15)), (1, 121));
}

/// What the bank is for: trained after another, an adapter leaves its answers as they are, and fine-tuning does not.
#[test]
fn fine_tuning_one_model_on_a_second_task_changes_the_first() {
    let (first, second) = (rows(["good", "bad"]), rows(["win", "letter"]));
    let mut options = GraftOptions { method: Method::Full, max_length: 16, ..GraftOptions::default() };
    options.train.epochs = Some(2);
    let mut tuning = SequentialFineTuning::default();
    let mut answers = Vec::new();
    for task in [&first, &second] {
        let data: (&dyn LabelledRows, &dyn LabelledRows) = (task, task);
        let beginning = Beginning { earlier: tuning.current(), ..Beginning::default() };
        let trained = graft_from(&beginning, &MODEL, data, &options, &mut ()).unwrap();
        tuning.push(trained.adapter);
        let earliest = tuning.tasks(&MODEL.encoder().config).next().unwrap();
        answers.push(row_logits(&MODEL, &earliest, &first.rows).unwrap());
    }
    assert_ne!(answers[0], answers[1]);
}

// ------------------------------------------------------------------------------------------------------ any order

/// What somebody does to a bank: to one of three tasks, with one of three adapters.
#[derive(Clone, Debug)]
enum Action {
    Add(usize, usize),
    NewVersion(usize, usize),
    Remove(usize),
    RemoveVersion(usize, usize),
}

const TASKS: [&str; 3] = ["a", "a-b", "a.b_c"];

static CANDIDATES: LazyLock<[(Adapter, Probes); 3]> = LazyLock::new(|| {
    [GOOD.clone(), SPAM.clone(), adapter(["up", "down"], 3)].map(|adapter| {
        let probes = probes(&adapter);
        (adapter, probes)
    })
});

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = (0..TASKS.len(), 0..3_usize, 0..8_usize).prop_map(|(task, adapter, what)| match what {
        0..=1 => Action::Add(task, adapter),
        2..=4 => Action::NewVersion(task, adapter),
        5 => Action::Remove(task),
        _ => Action::RemoveVersion(task, adapter),
    });
    prop::collection::vec(action, 1..16)
}

/// A bank as it should be: of each task its versions, the newest last, with the files that each came with.
#[derive(Default)]
struct Expected(BTreeMap<&'static str, Vec<(Version, Files)>>);

impl Expected {
    /// Does one thing to both; the bank must refuse what cannot be done.
    fn act(&mut self, bank: &Bank, action: &Action) {
        let version_of = |adapter: usize| Version::try_from(CANDIDATES[adapter].0.digest()).unwrap();
        match *action {
            Action::Add(task, adapter) | Action::NewVersion(task, adapter) => {
                let (adapter, probes) = &CANDIDATES[adapter];
                let add = if matches!(action, Action::Add(..)) { Add::New } else { Add::NewVersion };
                let added = bank.add(&name(TASKS[task]), &Incoming { adapter, probes, companions: &[] }, add);
                if add == Add::New && self.0.contains_key(TASKS[task]) {
                    assert!(matches!(added, Err(BankError::TaskExists { .. })), "{added:?}");
                    return;
                }
                let version = added.unwrap();
                let versions = self.0.entry(TASKS[task]).or_default();
                let known = versions.iter().position(|(known, _)| *known == version);
                let entry = known.map(|place| versions.remove(place)).unwrap_or_else(|| {
                    let files = files(&bank.version_folder(&name(TASKS[task]), &version));
                    (version, files)
                });
                versions.push(entry);
            }
            Action::Remove(task) => {
                let removed = bank.remove(&TASKS[task].parse().unwrap());
                assert_eq!(removed.is_ok(), self.0.remove(TASKS[task]).is_some(), "{removed:?}");
            }
            Action::RemoveVersion(task, adapter) => {
                let version = version_of(adapter);
                let asked = format!("{}@{}", TASKS[task], version.as_str());
                let removed = bank.remove(&asked.parse().unwrap());
                let versions = self.0.get_mut(TASKS[task]);
                let place =
                    versions.as_ref().and_then(|all| all.iter().position(|(known, _)| *known == version));
                assert_eq!(removed.is_ok(), place.is_some(), "{removed:?}");
                if let (Some(place), Some(versions)) = (place, versions) {
                    versions.remove(place);
                    if versions.is_empty() {
                        self.0.remove(TASKS[task]);
                    }
                }
            }
        }
    }

    /// Every task has its versions in their order, every file of a version is the one that came, and there is nothing else.
    fn check(&self, bank: &Bank) {
        let listed = bank.list().unwrap();
        assert!(listed.broken.is_empty(), "{:?}", listed.broken);
        let found = listed.tasks.iter().map(|task| {
            let versions: Vec<&Version> = task.versions.iter().map(|entry| &entry.version).collect();
            (task.name.as_str(), versions)
        });
        let expected =
            self.0.iter().map(|(task, versions)| (*task, versions.iter().map(|(version, _)| version)));
        let expected: BTreeMap<&str, Vec<&Version>> =
            expected.map(|(task, versions)| (task, versions.collect())).collect();
        assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
        let mut held = files(&bank.path().join("tasks"));
        held.retain(|path, _| !path.ends_with("task.json"));
        let came: BTreeMap<PathBuf, Vec<u8>> =
            self.0.values().flatten().flat_map(|(_, files)| files.clone()).collect();
        assert!(held == came, "{:?}, expected {:?}", held.keys(), came.keys());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_changes_leaves_every_other_version_as_it_came(actions in actions()) {
        let (_folder, bank) = bank();
        let mut expected = Expected::default();
        for action in &actions {
            expected.act(&bank, action);
            expected.check(&bank);
        }
        // Read by another process, as it were.
        let opened = Bank::open(bank.path()).unwrap();
        expected.check(&opened);
        let verified = opened.verify(&MODEL, |_| {}).unwrap();
        prop_assert_eq!(verified.len(), expected.0.values().map(Vec::len).sum::<usize>());
        prop_assert!(verified.iter().all(|found| found.verdict() == Verdict::Same));
    }
}

// ------------------------------------------------------------------------------------------------------ in memory

/// Bytes of `GOOD` and `SPAM` in a cache, which have the same sizes.
fn resident_bytes(bank: &Bank, version: &Version) -> u64 {
    let resident = AdapterCache::new(u64::MAX).get(bank, &name("reviews"), version, &MODEL).unwrap();
    assert!(resident.bytes() > 4 * resident.parameters().values().len() as u64, "no less than its numbers");
    resident.bytes()
}

#[test]
fn adapters_in_memory_are_counted_until_the_last_holder_is_done() {
    let (_folder, bank) = bank();
    let reviews = add(&bank, "reviews", &GOOD, Add::New).unwrap();
    let spam = add(&bank, "spam", &SPAM, Add::New).unwrap();
    let one = resident_bytes(&bank, &reviews);
    let cache = AdapterCache::new(one + one / 2);
    let get = |task: &str, version: &Version| cache.get(&bank, &name(task), version, &MODEL);
    let held = get("reviews", &reviews).unwrap();
    assert!(Arc::ptr_eq(&held, &get("reviews", &reviews).unwrap()), "read once");
    assert_eq!((cache.usage().adapters, cache.usage().bytes, cache.usage().loads), (1, one, 1));
    // Taken out, but in use: its bytes are still there, and so there is no room.
    assert!(cache.remove(&reviews) && !cache.remove(&reviews));
    assert_eq!((cache.usage().adapters, cache.usage().bytes), (0, one));
    assert!(matches!(get("spam", &spam), Err(CacheError::Full { used_bytes, .. }) if used_bytes == one));
    drop(held);
    assert_eq!(cache.usage().bytes, 0);
    drop(get("spam", &spam).unwrap());
    // Nobody uses it: it makes room.
    drop(get("reviews", &reviews).unwrap());
    let usage = cache.usage();
    assert_eq!((usage.adapters, usage.bytes, usage.loads, usage.evictions), (1, one, 3, 1));
    assert!(cache.has(&reviews) && !cache.has(&spam));
    cache.retain(|version| *version != reviews);
    assert_eq!((cache.usage().adapters, cache.usage().bytes), (0, 0));
    let small = AdapterCache::new(one - 1);
    let refused = small.get(&bank, &name("reviews"), &reviews, &MODEL);
    assert!(matches!(refused, Err(CacheError::TooLarge { .. })));
}

#[test]
fn no_adapter_goes_where_that_would_make_too_little_room() {
    let (_folder, bank) = bank();
    let reviews = add(&bank, "reviews", &GOOD, Add::New).unwrap();
    let spam = add(&bank, "spam", &SPAM, Add::New).unwrap();
    // The names of labels take room too.
    let large = add(&bank, "large", &adapter(["good", &"bad".repeat(100)], 3), Add::New).unwrap();
    let cache = AdapterCache::new(2 * resident_bytes(&bank, &reviews) + 100);
    let _held = cache.get(&bank, &name("reviews"), &reviews, &MODEL).unwrap();
    drop(cache.get(&bank, &name("spam"), &spam, &MODEL).unwrap());
    assert!(matches!(cache.get(&bank, &name("large"), &large, &MODEL), Err(CacheError::Full { .. })));
    assert_eq!((cache.has(&spam), cache.usage().evictions), (true, 0));
}

#[test]
fn the_longest_unused_adapter_goes_first_and_many_who_ask_read_once() {
    let (_folder, bank) = bank();
    let reviews = add(&bank, "reviews", &GOOD, Add::New).unwrap();
    let spam = add(&bank, "spam", &SPAM, Add::New).unwrap();
    let third = add(&bank, "third", &adapter(["up", "down"], 3), Add::New).unwrap();
    let cache = AdapterCache::new(2 * resident_bytes(&bank, &reviews));
    let use_of =
        |task: &str, version: &Version| drop(cache.get(&bank, &name(task), version, &MODEL).unwrap());
    use_of("reviews", &reviews);
    use_of("spam", &spam);
    use_of("reviews", &reviews);
    use_of("third", &third);
    assert_eq!([&reviews, &spam, &third].map(|version| cache.has(version)), [true, false, true]);

    let cold = AdapterCache::new(u64::MAX);
    let barrier = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                cold.get(&bank, &name("reviews"), &reviews, &MODEL).unwrap();
            });
        }
    });
    assert_eq!((cold.usage().loads, cold.usage().adapters), (1, 1));
}

#[test]
fn an_adapter_that_cannot_be_read_takes_no_room_and_is_tried_again() {
    let (_folder, bank) = bank();
    let version = add(&bank, "reviews", &GOOD, Add::New).unwrap();
    let weights = bank.version_folder(&name("reviews"), &version).join("adapter.safetensors");
    let whole = fs::read(&weights).unwrap();
    let cache = AdapterCache::new(u64::MAX);
    for content in [&whole[..whole.len() - 1], b""] {
        fs::write(&weights, content).unwrap();
        let refused = cache.get(&bank, &name("reviews"), &version, &MODEL);
        assert!(matches!(refused, Err(CacheError::Bank(_))));
        let usage = cache.usage();
        assert_eq!((usage.adapters, usage.bytes, usage.loads), (0, 0, 0));
    }
    fs::write(&weights, whole).unwrap();
    assert!(cache.get(&bank, &name("reviews"), &version, &MODEL).is_ok());
}

#[test]
fn the_same_adapter_again_leaves_its_files_and_its_probes_alone() {
    let (_folder, bank) = bank();
    let first = add(&bank, "reviews", &GOOD, Add::New).unwrap();
    add(&bank, "reviews", &SPAM, Add::NewVersion).unwrap();
    let before = files(&bank.version_folder(&name("reviews"), &first));
    let rows = generated_rows(TaskKind::Classification, false, 4);
    let probes = Probes::take(&MODEL, &GOOD, &rows[..2]).unwrap();
    let incoming = Incoming { adapter: &GOOD, probes: &probes, companions: &[] };
    assert_eq!(bank.add(&name("reviews"), &incoming, Add::NewVersion).unwrap(), first);
    assert_eq!(files(&bank.version_folder(&name("reviews"), &first)), before);
    assert_eq!(bank.task(&name("reviews")).unwrap().newest().version, first);
    assert!(verdicts(&bank).iter().all(|(_, verdict)| *verdict == Verdict::Same));
}

#[cfg(unix)]
#[test]
fn a_bank_whose_folders_are_links_is_not_changed() {
    let (folder, bank) = bank();
    let victim = folder.path().join("victim");
    fs::create_dir_all(victim.join(".grafter-precious")).unwrap();
    let incoming = bank.path().join("incoming");
    fs::remove_dir(&incoming).unwrap();
    std::os::unix::fs::symlink(&victim, &incoming).unwrap();
    assert!(matches!(add(&bank, "reviews", &GOOD, Add::New), Err(BankError::Record { .. })));
    assert!(matches!(bank.remove(&"none".parse().unwrap()), Err(BankError::Record { .. })));
    assert!(victim.join(".grafter-precious").exists());
}
