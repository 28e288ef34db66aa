//! What leads out of a folder. Links to files are followed, as the cache of Hugging Face's hub needs it; none leads to a device, and
//! nothing is written or taken away through one. Names in records stay below the folder that they are joined to.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use grafter::adapter::{Adapter, MANIFEST_FILE, WEIGHTS_FILE};
use grafter::adapterhub::{self, ImportOptions, import};
use grafter::bank::{Add, Bank, Incoming, Probes, TaskRef};
use grafter::checkpoint::{INDEX_FILE, read_encoder};
use grafter::compare::{CompareError, CompareFolder, Plan, PlannedGrid};
use grafter::data::Row;
use grafter::graft::GraftOptions;
use grafter::model::Model;
use tempfile::TempDir;

const TOKENIZER: &str = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
    "pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
    "model":{"type":"WordLevel","vocab":{"[UNK]":0,"good":1,"bad":2},"unk_token":"[UNK]"}}"#;
const SINGLE: ImportOptions = ImportOptions { pair: false, max_length: 16 };
const HUB_FILES: [&str; 4] = [
    adapterhub::CONFIG_FILE,
    adapterhub::HEAD_CONFIG_FILE,
    adapterhub::WEIGHTS_FILE,
    adapterhub::HEAD_WEIGHTS_FILE,
];

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/adapterhub/bert_houlsby")
}

/// As the hub's cache keeps a repository: `snapshots/COMMIT/` holds links into `blobs/`, which are named by digests.
fn snapshot(files: &[(PathBuf, &str)]) -> (TempDir, PathBuf) {
    let cache = tempfile::tempdir().unwrap();
    let [blobs, snapshot] = ["blobs", "snapshots/0123"].map(|name| cache.path().join(name));
    [&blobs, &snapshot].iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
    for (place, (from, name)) in files.iter().enumerate() {
        fs::copy(from, blobs.join(place.to_string())).unwrap();
        symlink(format!("../../blobs/{place}"), snapshot.join(name)).unwrap();
    }
    (cache, snapshot)
}

fn model() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = folder.path().join("tokenizer.json");
    fs::write(&tokenizer, TOKENIZER).unwrap();
    let file = |name| (fixture().join(name), name);
    snapshot(&[file("config.json"), file("model.safetensors"), (tokenizer, "tokenizer.json")])
}

fn imported(model: &Model) -> Adapter {
    let (_cache, folder) = snapshot(&HUB_FILES.map(|name| (fixture().join("adapter").join(name), name)));
    import(&folder, model, &SINGLE).unwrap()
}

/// Puts a link to what never ends into the place of a file.
fn endless(path: &Path) {
    fs::remove_file(path).unwrap();
    symlink("/dev/zero", path).unwrap();
}

/// Puts so many bytes into the place of a file that lie nowhere, as an archive may hold them.
fn huge(path: &Path, bytes: u64) {
    fs::remove_file(path).unwrap();
    fs::File::create(path).unwrap().set_len(bytes).unwrap();
}

#[test]
fn descriptions_are_read_up_to_a_limit() {
    let refused = |error: &dyn std::error::Error, path: &Path, most: u64| {
        let (error, end) =
            (error.to_string(), format!("it has more than {most} bytes, which are read at most"));
        assert!(error.contains(path.to_str().unwrap()) && error.ends_with(&end), "{error}");
    };
    for (name, most) in [("config.json", 16 << 20), ("tokenizer.json", 64 << 20)] {
        let (_cache, folder) = model();
        huge(&folder.join(name), most + 1);
        refused(&Model::read(&folder, "base").unwrap_err(), &folder.join(name), most);
    }
    let (_cache, folder) = model();
    fs::rename(folder.join("model.safetensors"), folder.join(INDEX_FILE)).unwrap();
    huge(&folder.join(INDEX_FILE), (16 << 20) + 1);
    refused(&read_encoder(&folder).unwrap_err(), &folder.join(INDEX_FILE), 16 << 20);

    let (_cache, folder) = model();
    let model = Model::read(&folder, "base").unwrap();
    let (adapter, out) = (imported(&model), tempfile::tempdir().unwrap());
    let own = out.path().join("adapter");
    adapter.save(&own, false).unwrap();
    huge(&own.join(MANIFEST_FILE), (128 << 20) + 1);
    refused(&Adapter::load(&own, &model).unwrap_err(), &own.join(MANIFEST_FILE), 128 << 20);

    let (_cache, folder) = snapshot(&HUB_FILES.map(|name| (fixture().join("adapter").join(name), name)));
    huge(&folder.join(adapterhub::CONFIG_FILE), (1 << 20) + 1);
    let error = import(&folder, &model, &SINGLE).unwrap_err();
    refused(&error, &folder.join(adapterhub::CONFIG_FILE), 1 << 20);

    let probes = Probes::take(&model, &adapter, &[Row::single("good")]).unwrap();
    let incoming = Incoming { adapter: &adapter, probes: &probes, companions: &[] };
    let bank = Bank::init(&out.path().join("bank"), &model).unwrap();
    let name = "task".parse().unwrap();
    bank.add(&name, &incoming, Add::New).unwrap();
    let [task, record] = ["tasks/task/task.json", "bank.json"].map(|file| bank.path().join(file));
    huge(&task, (16 << 20) + 1);
    refused(&bank.find_task(&name).unwrap_err(), &task, 16 << 20);
    huge(&record, (16 << 20) + 1);
    refused(&Bank::open(bank.path()).unwrap_err(), &record, 16 << 20);
}

const REFUSED: &str = "expected a file, found a device, a pipe or a socket";

#[test]
fn snapshots_of_the_hubs_cache_are_read() {
    let (_cache, folder) = model();
    let model = Model::read(&folder, "base").unwrap();
    let adapter = imported(&model);
    let out = tempfile::tempdir().unwrap();
    let own = out.path().join("adapter");
    adapter.save(&own, false).unwrap();
    let (_cache, folder) = snapshot(&[MANIFEST_FILE, WEIGHTS_FILE].map(|name| (own.join(name), name)));
    assert_eq!(Adapter::load(&folder, &model).unwrap().digest(), adapter.digest());
}

#[test]
fn a_device_in_the_place_of_a_file_is_refused() {
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        let (_cache, folder) = model();
        endless(&folder.join(name));
        let error = Model::read(&folder, "base").unwrap_err().to_string();
        assert!(error.contains(name) && error.ends_with(REFUSED), "{error}");
    }
    let (_cache, folder) = model();
    let index = r#"{"weight_map":{"w":"a.safetensors"}}"#;
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    fs::write(folder.join(INDEX_FILE), index).unwrap();
    symlink("/dev/zero", folder.join("a.safetensors")).unwrap();
    assert!(read_encoder(&folder).unwrap_err().to_string().ends_with(REFUSED));

    let (_cache, folder) = model();
    let model = Model::read(&folder, "base").unwrap();
    let adapter = imported(&model);
    for name in [MANIFEST_FILE, WEIGHTS_FILE] {
        let out = tempfile::tempdir().unwrap();
        let folder = out.path().join("adapter");
        adapter.save(&folder, false).unwrap();
        endless(&folder.join(name));
        let error = Adapter::load(&folder, &model).unwrap_err().to_string();
        assert!(error.contains(name) && error.ends_with(REFUSED), "{error}");
    }
    for name in HUB_FILES {
        let (_cache, folder) = snapshot(&HUB_FILES.map(|name| (fixture().join("adapter").join(name), name)));
        endless(&folder.join(name));
        // Weights that are no file are not there.
        import(&folder, &model, &SINGLE).unwrap_err();
    }
}

#[test]
fn an_adapter_in_the_place_of_a_link_leaves_what_the_link_leads_to() {
    let (_cache, folder) = model();
    let model = Model::read(&folder, "base").unwrap();
    let adapter = imported(&model);
    let out = tempfile::tempdir().unwrap();
    let [elsewhere, link] = ["elsewhere", "link"].map(|name| out.path().join(name));
    adapter.save(&elsewhere, false).unwrap();
    symlink(&elsewhere, &link).unwrap();
    fs::write(elsewhere.join("run.toml"), "kept = true").unwrap();
    adapter.save(&link, true).unwrap();
    assert!(link.symlink_metadata().unwrap().is_dir(), "the link went, the adapter came");
    assert_eq!(fs::read_to_string(elsewhere.join("run.toml")).unwrap(), "kept = true");
    Adapter::load(&elsewhere, &model).unwrap();
}

#[test]
fn a_task_that_is_a_link_is_read_and_not_written_to() {
    let (_cache, folder) = model();
    let model = Model::read(&folder, "base").unwrap();
    let adapter = imported(&model);
    let probes = Probes::take(&model, &adapter, &[Row::single("good")]).unwrap();
    let incoming = Incoming { adapter: &adapter, probes: &probes, companions: &[] };
    let out = tempfile::tempdir().unwrap();
    let bank = Bank::init(&out.path().join("bank"), &model).unwrap();
    let name = "task".parse().unwrap();
    let version = bank.add(&name, &incoming, Add::New).unwrap();
    let (task, elsewhere) = (bank.path().join("tasks/task"), out.path().join("elsewhere"));
    fs::rename(&task, &elsewhere).unwrap();
    symlink(&elsewhere, &task).unwrap();
    let before = fs::read(elsewhere.join("task.json")).unwrap();

    bank.load(&name, &version, &model).unwrap();
    let of_version = TaskRef { name: name.clone(), version: Some(version.as_str().to_owned()) };
    for error in
        [bank.add(&name, &incoming, Add::NewVersion).unwrap_err(), bank.remove(&of_version).unwrap_err()]
    {
        assert!(error.to_string().ends_with("found something else, such as a link"), "{error}");
    }
    // As a whole it can go, and only the link goes.
    bank.remove(&TaskRef { version: None, ..of_version }).unwrap();
    assert!(task.symlink_metadata().is_err());
    assert_eq!(fs::read(elsewhere.join("task.json")).unwrap(), before);
    assert!(elsewhere.join(version.as_str()).join(WEIGHTS_FILE).is_file());
}

#[test]
fn a_lock_that_is_a_link_or_a_pipe_is_refused() {
    let (_cache, folder) = model();
    let model = Model::read(&folder, "base").unwrap();
    let out = tempfile::tempdir().unwrap();
    let bank = Bank::init(&out.path().join("bank"), &model).unwrap();
    let (lock, elsewhere) = (bank.path().join("lock"), out.path().join("elsewhere"));
    let remove = TaskRef { name: "task".parse().unwrap(), version: None };
    fs::remove_file(&lock).unwrap();
    symlink(&elsewhere, &lock).unwrap();
    let refused = || {
        let error = bank.remove(&remove).unwrap_err().to_string();
        assert!(error.ends_with("expected a file, found something else, such as a link"), "{error}");
    };
    refused();
    assert!(!elsewhere.exists(), "nothing was made by the link");
    fs::remove_file(&lock).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&lock).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: there is no `mkfifo`");
        return;
    }
    refused();
}

#[test]
fn a_plan_names_no_file_outside_of_its_comparison() {
    let (_cache, folder) = model();
    let model = Model::read(&folder, "base").unwrap();
    let grid = PlannedGrid { tasks: Vec::new(), settings: Vec::new(), seeds: Vec::new() };
    let plan = Plan::new(&model, &GraftOptions::default(), &[], grid);
    let out = tempfile::tempdir().unwrap();
    drop(CompareFolder::open(out.path(), &plan, &[]).unwrap());
    let file = out.path().join("compare.json");
    let good: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    for name in ["../outside", "/outside", "a/b", "a\\b", ".", ""] {
        let mut changed = good.clone();
        changed["grids"][0]["tasks"] = serde_json::json!([name]);
        fs::write(&file, changed.to_string()).unwrap();
        let error = CompareFolder::open(out.path(), &plan, &[]).unwrap_err();
        assert!(matches!(&error, CompareError::Record { .. }), "{error}");
        assert!(error.to_string().ends_with("is no name of a task"), "{error}");
    }
}
