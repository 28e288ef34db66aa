//! The reports, from outside: what that of a run holds, that it does not change, and how a browser shows those of a run, a
//! comparison and an ablation.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

#[path = "report/browser.rs"]
mod browser;
#[path = "common/chromium.rs"]
mod chromium;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

struct Place {
    folder: TempDir,
}

/// A label and a text that a page must not take for its own, and a word that is wider than a phone.
const HOSTILE_LABEL: &str = "<script>document.title='owned'</script>";
const HOSTILE_TEXT: &str = "<img src=x onerror=\"document.title='owned'\"> & 'so' on";

impl Place {
    /// Five labels, of which the dev rows name another one than the training rows do, so that answers are wrong.
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        let labels =
            ["a", "ABBREVIATION WWW", HOSTILE_LABEL, "a label of several words that goes on and on", "e"];
        let rows = |shift: usize| -> String {
            let texts = ["good film", "bad film", HOSTILE_TEXT, &"wide".repeat(60), "the music"];
            let row =
                |place: usize| format!("{}\t{}\n", texts[place], labels[(place + shift) % labels.len()]);
            (0..20).map(|place| row(place % 5)).collect()
        };
        place.write("train.tsv", &format!("text\tlabel\n{}", rows(0)));
        place.write("dev.tsv", &format!("text\tlabel\n{}{}", rows(1), rows(0)));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn train(&self, out: &str, more: &[&str]) -> Output {
        let files = ["train", "--train=train.tsv", "--dev=dev.tsv", "--out", out];
        let settings = ["--bottleneck=8", "--lr=0.02", "--epochs=12", "--batch-size=4", "--max-length=32"];
        self.run(&[&files[..], &settings, more].concat())
    }

    /// Runs with the tiny model, and succeeds.
    fn run(&self, arguments: &[&str]) -> Output {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../grafter/tests/fixtures/tiny-bert");
        let output = Command::new(env!("CARGO_BIN_EXE_grafter"))
            .args([arguments, &["--model", model.to_str().unwrap()]].concat())
            .current_dir(self.folder.path())
            .env("HF_HUB_OFFLINE", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// The files of a folder and their bytes.
    fn files(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(self.path(folder)).unwrap().map(Result::unwrap);
        entries
            .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
            .collect()
    }
}

#[test]
fn the_same_run_writes_the_same_report_with_any_number_of_threads() {
    let place = Place::new();
    place.train("one", &["--threads=1"]);
    place.train("two", &["--threads=2", "--tensorboard=events"]);
    let (one, two) = (place.files("one"), place.files("two"));
    let names: Vec<&str> = one.keys().map(String::as_str).collect();
    let expected = [
        "README.md",
        "adapter.json",
        "adapter.safetensors",
        "evaluations.csv",
        "history.csv",
        "report.html",
        "report.json",
        "run.toml",
    ];
    assert_eq!(names, expected);
    for name in expected {
        assert!(one[name] == two[name], "{name}");
    }
    place.train("one", &["--overwrite"]);
    assert!(place.files("one") == one, "a report is replaced with its adapter");
    // What it was run with, as a file of settings.
    place.run(&["train", "--config=one/run.toml", "--out", "again"]);
    assert!(place.files("again") == one, "the settings repeat the run");
    place.train("none", &["--no-report"]);
    let none = place.files("none");
    assert_eq!(none.len(), 3);
    assert!(["adapter.json", "adapter.safetensors"].iter().all(|name| none[*name] == one[*name]));
}

#[test]
fn the_numbers_of_a_report_are_those_of_the_run() {
    let place = Place::new();
    let output = place.train("adapter", &["--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["report"], "adapter/report.html");
    let log: Vec<Value> =
        place.read("adapter.log.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let csv = |name: &str, kind: &str, fields: &[&str]| {
        let content = place.read(name);
        let mut lines = content.lines();
        assert_eq!(lines.next().unwrap(), fields.join(","));
        let events: Vec<&Value> = log.iter().filter(|event| event["event"] == kind).collect();
        let rows: Vec<&str> = lines.collect();
        assert_eq!(rows.len(), events.len());
        for (row, event) in rows.iter().zip(events) {
            for (value, field) in row.split(',').zip(fields) {
                let expected = &event[field];
                let same = match expected.as_f64() {
                    Some(number) => value.parse() == Ok(number),
                    None => value.parse().ok() == expected.as_bool(),
                };
                assert!(same, "{field}: {value} for {expected}");
            }
        }
    };
    csv("adapter/history.csv", "step", &["step", "epoch", "loss", "grad_norm", "learning_rate"]);
    csv("adapter/evaluations.csv", "evaluation", &["step", "epoch", "score", "loss", "best"]);
    let numbers: Value = serde_json::from_str(&place.read("adapter/report.json")).unwrap();
    assert_eq!(numbers["scores"]["accuracy"], told["score"]);
    assert_eq!(numbers["evaluations"].as_array().unwrap().len(), 12);
    let matrix = numbers["scores"]["confusion"].as_array().unwrap();
    let rows: u64 = matrix.iter().flat_map(|row| row.as_array().unwrap()).flat_map(Value::as_u64).sum();
    assert_eq!(rows, 40);
    let wrong = numbers["worst"].as_array().unwrap();
    assert!(!wrong.is_empty() && wrong.iter().all(|row| row["label"] != row["answer"]));
}

#[test]
fn texts_are_quoted_only_where_they_may_be() {
    let place = Place::new();
    place.train("adapter", &[]);
    let page = place.read("adapter/report.html");
    assert!(page.contains("&lt;img src=x onerror=&quot;") && !page.contains("<img"), "a text, escaped");
    assert!(page.contains("&lt;script&gt;document") && !page.contains("<script"), "a label, escaped");
    assert!(place.read("adapter/README.md").contains("--no-report-texts"));
    let folder = place.folder.path().to_str().unwrap();
    assert!(!page.contains(folder), "where the files lie is nobody's business");
    for (name, bytes) in place.files("adapter") {
        let quotes = String::from_utf8_lossy(&bytes).contains("onerror");
        assert_eq!(quotes, name == "report.html", "{name}");
    }
    place.train("adapter", &["--overwrite", "--no-report-texts"]);
    let page = place.read("adapter/report.html");
    assert!(!page.contains("onerror") && page.contains("The texts were left out."));
}

#[test]
fn a_regression_has_a_report_too() {
    let place = Place::new();
    let rows = "text\tlabel\none\t1000\ntwo\t2000\nthree\t3000\nfour\t4000\n";
    place.write("train.tsv", rows);
    place.write("dev.tsv", rows);
    place.train("adapter", &["--kind=regression"]);
    let page = place.read("adapter/report.html");
    for part in ["Largest errors", "true score", "mean squared error", "--kind regression"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("NaN"));
}

#[test]
fn events_are_never_written_into_an_adapter() {
    let place = Place::new();
    place.train("adapter", &["--no-report"]);
    let before = place.files("adapter");
    for (out, folder) in [("new", "new"), ("new", "new/events"), ("new", "adapter")] {
        let output = Command::new(env!("CARGO_BIN_EXE_grafter"))
            .args(["train", "--train=train.tsv", "--dev=dev.tsv", "--out", out, "--tensorboard", folder])
            .current_dir(place.folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{folder}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("`--tensorboard "), "{folder}");
    }
    assert!(place.files("adapter") == before && !place.path("new").exists());
}
