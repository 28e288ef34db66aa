//! The built command, from outside: what it prints, what it writes and how it exits. Everything runs on a tiny model
//! with an empty cache and the network switched off.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "cli/bank.rs"]
mod bank;
#[path = "cli/compare.rs"]
mod compare;
#[path = "cli/exchange.rs"]
mod exchange;
#[path = "cli/files.rs"]
mod files;
#[path = "cli/hub.rs"]
mod hub;
#[path = "cli/mistakes.rs"]
mod mistakes;
#[path = "cli/onnx.rs"]
mod onnx;
#[path = "cli/outputs.rs"]
mod outputs;
#[path = "cli/questions.rs"]
mod questions;
#[path = "cli/resume.rs"]
mod resume;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use serde_json::Value;
use tempfile::TempDir;

/// Far above what any step of these tests takes; reached only where the command hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn tiny_bert() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../grafter/tests/fixtures/tiny-bert").canonicalize().unwrap()
}

/// A Parquet file that pyarrow wrote.
fn parquet(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../grafter/tests/fixtures/parquet");
    std::fs::read(folder.join(name)).unwrap()
}

/// A folder of its own for each test: the data, and what the command writes.
struct Place {
    folder: TempDir,
}

/// What a command did.
struct Done {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_grafter"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("GRAFTER_CACHE", self.path("cache"))
            .env("HF_HOME", self.path("hf"))
            .env("HF_HUB_OFFLINE", "1")
            .env("COLUMNS", "100")
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs with `--model <tiny-bert>`.
    fn run(&self, arguments: &[&str]) -> Done {
        let model = tiny_bert();
        self.run_bare(&[arguments, &["--model", model.to_str().unwrap()]].concat())
    }

    fn run_bare(&self, arguments: &[&str]) -> Done {
        Done::of(self.command(arguments).output().unwrap())
    }

    /// A short training run on `train.<extension>` and `dev.<extension>`.
    fn train(&self, extension: &str, more: &[&str]) -> Done {
        let (train, dev) = (format!("train.{extension}"), format!("dev.{extension}"));
        let files = ["train", "--train", &train, "--dev", &dev, "--out", "adapter"];
        let mut arguments = [&files[..], &QUICK, more].concat();
        if more.iter().any(|word| WITHOUT_ADAPTERS.contains(word)) {
            arguments.retain(|word| *word != QUICK[0]);
        }
        for (flag, value) in SHORT {
            if !more.contains(&flag) {
                arguments.extend([flag, value]);
            }
        }
        self.run(&arguments)
    }

    /// An adapter for `good` (1) and `bad` (0) in `adapter`.
    fn with_adapter() -> Self {
        let place = Self::new();
        place.write("train.csv", OPINIONS);
        place.write("dev.csv", OPINIONS);
        place.train("csv", &[]).succeeded();
        place
    }

    fn spawn_predict(&self, more: &[&str]) -> Child {
        let model = tiny_bert();
        let arguments = [&["predict", "--adapter", "adapter", "--model", model.to_str().unwrap()][..], more];
        self.command(&arguments.concat()).stdin(Stdio::piped()).spawn().unwrap()
    }

    /// Exit code and standard error, as the snapshots hold them.
    fn told(&self, done: &Done) -> String {
        assert_eq!(done.stdout, "", "standard output holds data only");
        let mut text = done.stderr.clone();
        for (found, name) in [
            (self.folder.path().to_path_buf(), "DIR"),
            (self.folder.path().canonicalize().unwrap(), "DIR"),
            (tiny_bert(), "TINY_BERT"),
        ] {
            text = text.replace(&found.display().to_string(), name);
        }
        format!("exit code {}\n{}", done.code.unwrap(), without_digests(&text))
    }
}

/// 64 hexadecimal digits become `SHA256`.
fn without_digests(text: &str) -> String {
    let mut result = String::new();
    for part in text.split_inclusive(|c: char| !c.is_ascii_hexdigit()) {
        let digits = part.trim_end_matches(|c: char| !c.is_ascii_hexdigit());
        if digits.len() == 64 { result += &part.replace(digits, "SHA256") } else { result += part }
    }
    result
}

impl Done {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }

    fn json_lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Settings with which the tiny random model learns a few rows by heart.
const QUICK: [&str; 3] = ["--bottleneck=8", "--max-length=32", "--no-dropout"];
/// Words by which a test takes a method that has no width.
const WITHOUT_ADAPTERS: [&str; 5] = ["--method=head", "full", "top-1", "layernorm", "bias"];
/// What goes with [`QUICK`] unless a test says otherwise.
const SHORT: [(&str, &str); 3] = [("--epochs", "30"), ("--batch-size", "4"), ("--lr", "0.02")];

const OPINIONS: &str = "text,label\ngood film,1\nbad film,0\na good story,1\na bad story,0\nthe actor was good,1\n\
                        the actor was bad,0\ngood music,1\nbad music,0\n";

// --------------------------------------------------------------------------------- from training to answers

/// Trains, evaluates and predicts on one file; the labels of the answers in the order of the rows.
fn train_eval_predict(extension: &str, content: &str, more: &[&str]) -> (Value, Value, Vec<Value>) {
    let place = Place::new();
    for name in ["train", "dev"] {
        place.write(&format!("{name}.{extension}"), content);
    }
    let trained = place.train(extension, &[more, &["--json"]].concat()).succeeded().json();
    let dev = format!("dev.{extension}");
    let scores = place.run(&["eval", "--adapter", "adapter", "--data", &dev, "--json"]).succeeded().json();
    // These are not sealed with the adapter.
    let mut sealed = scores["scores"].clone();
    for name in ["confusion", "expected_calibration_error"] {
        sealed.as_object_mut().unwrap().shift_remove(name);
    }
    assert_eq!(sealed, trained["dev_scores"], "eval says what train said of the same rows");
    let answers = place.run(&["predict", "--adapter", "adapter", "--input", &dev]).succeeded().json_lines();
    (trained, scores, answers)
}

fn labels(answers: &[Value]) -> Vec<&str> {
    answers.iter().map(|answer| answer["label"].as_str().unwrap()).collect()
}

#[test]
fn classification_of_texts_in_every_format() {
    let tsv = OPINIONS.replace(',', "\t");
    let jsonl: String = OPINIONS
        .lines()
        .skip(1)
        .map(|line| {
            let (text, label) = line.split_once(',').unwrap();
            format!("{{\"text\": \"{text}\", \"label\": {label}}}\n")
        })
        .collect();
    let mut seen = BTreeSet::new();
    for (extension, content) in [("csv", OPINIONS), ("tsv", &tsv), ("jsonl", &jsonl)] {
        let (trained, scores, answers) = train_eval_predict(extension, content, &[]);
        assert_eq!(trained["ending"], "completed");
        assert_eq!((&trained["steps"], &trained["baseline"]), (&Value::from(60), &Value::from(0.5)));
        assert_eq!(scores["labels"], serde_json::json!(["0", "1"]));
        assert_eq!(scores["scores"]["accuracy"], 1.0, "{extension}: {scores}");
        assert_eq!(labels(&answers), ["1", "0", "1", "0", "1", "0", "1", "0"], "{extension}");
        for answer in &answers {
            let total: f64 =
                answer["probabilities"].as_object().unwrap().values().flat_map(Value::as_f64).sum();
            assert!((total - 1.0).abs() < 1e-12, "{answer}");
            assert_eq!(answer["score"], answer["probabilities"][answer["label"].as_str().unwrap()]);
        }
        seen.insert(serde_json::to_string(&answers).unwrap());
    }
    assert_eq!(seen.len(), 1, "the same rows in another format give the same answers");
}

#[test]
fn classification_of_pairs() {
    let rows = "sentence1\tsentence2\tlabel\nthe cat\tthe cat\tsame\nthe dog\ta film\tother\na bird\ta bird\tsame\n\
                a horse\tthe music\tother\nred\tred\tsame\nblue\tnever\tother\n";
    let (_, scores, answers) = train_eval_predict("tsv", rows, &["--epochs", "60"]);
    assert_eq!(scores["labels"], serde_json::json!(["other", "same"]));
    assert_eq!(labels(&answers), ["same", "other", "same", "other", "same", "other"]);
}

#[test]
fn regression() {
    let rows = "text,label\none,1000\ntwo,2000\nthree,3000\nthe number one,1000\nthe number two,2000\n\
                the number three,3000\n";
    let (trained, scores, answers) =
        train_eval_predict("csv", rows, &["--kind=regression", "--epochs", "60"]);
    assert_eq!(trained["metric"], "pearson");
    assert!(scores["scores"]["pearson"].as_f64().unwrap() > 0.95, "{scores}");
    for (answer, label) in answers.iter().zip([1000.0, 2000.0, 3000.0, 1000.0, 2000.0, 3000.0]) {
        let score = answer["score"].as_f64().unwrap();
        assert!((score - label).abs() < 500.0, "{answers:?}");
        assert!(answer.get("label").is_none(), "{answer}");
    }
}

/// `predict` streams what a compressed file holds, and says what is wrong with a broken one.
#[test]
fn compressed_texts_are_answered() {
    let place = Place::with_adapter();
    // Of `printf 'good film\nbad film\n' | gzip -n`.
    let gzip: &[u8] = &[
        0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x4b, 0xcf, 0xcf, 0x4f, 0x51, 0x48, 0xcb,
        0xcc, 0xc9, 0xe5, 0x4a, 0x4a, 0x84, 0x32, 0x00, 0x20, 0xc1, 0x09, 0x51, 0x13, 0x00, 0x00, 0x00,
    ];
    place.write("texts.txt", "good film\nbad film\n");
    place.write("texts.txt.gz", gzip);
    let answers =
        |file: &str| place.run(&["predict", "--adapter=adapter", "--input", file]).succeeded().stdout;
    assert_eq!(answers("texts.txt.gz"), answers("texts.txt"));
    place.write("broken.txt.gz", &gzip[..gzip.len() - 4]);
    let broken = place.run(&["predict", "--adapter=adapter", "--input=broken.txt.gz"]);
    assert_eq!(broken.code, Some(2));
    // What came before the end that is missing was answered.
    assert!(answers("texts.txt").starts_with(&broken.stdout), "{}", broken.stdout);
    assert!(broken.stderr.contains("broken.txt.gz:2: cannot read: "), "{}", broken.stderr);
}

/// Trained, scored and answered with any number of labels a row, with thresholds of their own, too.
#[test]
fn several_labels() {
    let rows = "text,label\ngood film,\"film,good\"\nbad film,film\na good story,good\na bad story,\nthe actor was good,good\n\
                the film was bad,film\ngood music,good\nbad music,\n";
    let place = Place::new();
    for name in ["train.csv", "dev.csv"] {
        place.write(name, rows);
    }
    let checked = place.run(&["check-data", "--train=train.csv", "--dev=dev.csv", "--kind=multi-label"]);
    let checked = checked.succeeded().stdout;
    for told in ["film  3   37.5 %", "good  4   50.0 %", "no label    2 rows"] {
        assert!(checked.contains(told), "{told}: {checked}");
    }
    let trained = place.train("csv", &["--kind=multi-label", "--epochs", "60", "--json"]).succeeded().json();
    assert_eq!((&trained["metric"], &trained["score"]), (&Value::from("micro-f1"), &Value::from(1.0)));
    let answers = || place.run(&["predict", "--adapter=adapter", "--input=dev.csv"]).succeeded().json_lines();
    let expected =
        serde_json::json!([["film", "good"], ["film"], ["good"], [], ["good"], ["film"], ["good"], []]);
    let labels = |answers: &[Value]| Value::from_iter(answers.iter().map(|answer| answer["labels"].clone()));
    assert_eq!(labels(&answers()), expected);
    for answer in answers() {
        for (label, probability) in answer["probabilities"].as_object().unwrap() {
            let has = answer["labels"].as_array().unwrap().contains(&Value::from(label.as_str()));
            assert_eq!(has, probability.as_f64().unwrap() >= 0.5, "{answer}");
        }
    }
    let scores = place.run(&["eval", "--adapter=adapter", "--data=dev.csv", "--json"]).succeeded().json();
    assert_eq!(scores["scores"], trained["dev_scores"]);
    let told = place.run(&["eval", "--adapter=adapter", "--data=dev.csv"]).succeeded().stdout;
    assert!(told.contains("micro-f1  1.0000\n") && told.contains("hamming   0.0000"), "{told}");

    let fitted = ["--kind=multi-label", "--epochs", "1", "--overwrite", "--fit-thresholds", "--json"];
    let trained = place.train("csv", &fitted).succeeded().json();
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(place.path("adapter/adapter.json")).unwrap()).unwrap();
    let thresholds: Vec<f64> =
        manifest["thresholds"].as_array().unwrap().iter().flat_map(Value::as_f64).collect();
    assert!(thresholds.len() == 2 && thresholds.iter().any(|least| *least != 0.5), "{thresholds:?}");
    for answer in answers() {
        let probabilities = answer["probabilities"].as_object().unwrap().values();
        let count =
            probabilities.zip(&thresholds).filter(|(value, least)| value.as_f64().unwrap() >= **least);
        assert_eq!(answer["labels"].as_array().unwrap().len(), count.count(), "{answer}");
    }
    let scores = place.run(&["eval", "--adapter=adapter", "--data=dev.csv", "--json"]).succeeded().json();
    assert_eq!(scores["scores"], trained["dev_scores"], "with the thresholds that were sealed");
    for told in [["inspect", "adapter"].as_slice(), &["ablate", "--adapter=adapter", "--data=dev.csv"]] {
        let more: &[&str] = if told[0] == "inspect" { &[] } else { &["--model", "TINY"] };
        let model = tiny_bert();
        let arguments: Vec<&str> = told
            .iter()
            .chain(more)
            .map(|word| if *word == "TINY" { model.to_str().unwrap() } else { word })
            .collect();
        place.run_bare(&arguments).succeeded();
    }
    for (flags, expected) in [
        (["--kind=multi-label", "--calibrate"], "`--calibrate` is given for multi-label"),
        (["--kind=multi-label", "--metric=f1"], "metric `f1` does not measure multi-label"),
        (["--kind=multi-label", "--class-weights=auto"], "`--class-weights` is given for multi-label"),
    ] {
        let refused = place.train("csv", &[&flags[..], &["--overwrite"]].concat());
        assert!(refused.code == Some(2) && refused.stderr.contains(expected), "{}", refused.stderr);
    }
    place.write("train.csv", OPINIONS);
    place.write("dev.csv", OPINIONS);
    let refused = place.train("csv", &["--overwrite", "--fit-thresholds"]);
    assert!(refused.stderr.contains("`--fit-thresholds` is given for classification"), "{}", refused.stderr);
}

/// The answers stay, and their probabilities are those that the temperature gives.
#[test]
fn probabilities_are_calibrated_on_the_dev_rows() {
    let place = Place::new();
    place.write("train.csv", OPINIONS);
    // Half of the labels are wrong, so that nothing is certain.
    place.write("dev.csv", OPINIONS.replace("film,0", "film,1").replace("story,0", "story,1"));
    let answers = || place.run(&["predict", "--adapter=adapter", "--input=dev.csv"]).succeeded().json_lines();
    let scores = || place.run(&["eval", "--adapter=adapter", "--data=dev.csv", "--json"]).succeeded().json();
    let error = |scores: &Value| scores["scores"]["expected_calibration_error"].as_f64().unwrap();
    place.train("csv", &[]).succeeded();
    let (plain, before) = (answers(), scores());
    let done = place.train("csv", &["--overwrite", "--calibrate"]).succeeded();
    assert!(done.stdout.contains("\ncalibr.  temperature "), "{}", done.stdout);
    let (calibrated, after) = (answers(), scores());
    assert_eq!(labels(&calibrated), labels(&plain));
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(place.path("adapter/adapter.json")).unwrap()).unwrap();
    let fitted = &manifest["calibration"];
    let temperature = fitted["temperature"].as_f64().unwrap();
    assert!((temperature - 1.0).abs() > 0.1, "{fitted}");
    for (plain, calibrated) in plain.iter().zip(&calibrated) {
        // Of two classes the odds are those of the logits, to the power 1 / T.
        let odds = |answer: &Value| {
            let probability = answer["probabilities"]["1"].as_f64().unwrap();
            (probability / (1.0 - probability)).ln()
        };
        let (expected, found) = (odds(plain) / temperature, odds(calibrated));
        assert!((found - expected).abs() < 1e-3 * expected.abs(), "{calibrated} of {plain} by {temperature}");
    }
    assert_eq!(
        (error(&before), error(&after)),
        (fitted["error_before"].as_f64().unwrap(), fitted["error_after"].as_f64().unwrap())
    );
    let told = place.run_bare(&["inspect", "adapter"]).succeeded().stdout;
    assert!(told.contains("\ncalibrated   temperature "), "{told}");
    let told = place.run(&["eval", "--adapter=adapter", "--data=dev.csv"]).succeeded().stdout;
    assert!(told.contains("(expected calibration error)"), "{told}");
}

#[test]
fn classes_count_with_their_weights() {
    let place = Place::new();
    place.write("train.csv", OPINIONS);
    place.write("dev.csv", OPINIONS);
    let flags = ["--class-weights", "auto", "--class-weights", "0=3", "--json"];
    place.train("csv", &flags).succeeded();
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(place.path("adapter/adapter.json")).unwrap()).unwrap();
    let expected = serde_json::json!({ "auto": true, "given": { "0": 3.0 } });
    assert_eq!(manifest["training"]["options"]["class_weights"], expected);
    let report = std::fs::read_to_string(place.path("adapter/report.html")).unwrap();
    assert!(report.contains("--class-weights auto --class-weights 0=3"), "the command that repeats it");
    let unknown = place.train("csv", &["--overwrite", "--class-weights", "2=3"]);
    assert_snapshot!(place.told(&unknown), @r"
    exit code 2
    error: `--class-weights` is 2, expected `auto` or one of the labels `0`, `1`, and the flag once for each
    ");
    let wrong = place.train("csv", &["--overwrite", "--class-weights", "0=-3"]);
    assert!(wrong.stderr.contains("a weight of 0.0001 to 10000; found `0=-3`"), "{}", wrong.stderr);
}

#[test]
fn training_tells_people_what_came_out() {
    let place = Place::new();
    place.write("train.csv", OPINIONS);
    place.write("dev.csv", OPINIONS);
    let done = place.train("csv", &[]).succeeded();
    let words: Vec<&str> = done.stdout.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(words, ["score", "best", "trained", "time", "adapter", "report"], "{}", done.stdout);
    assert!(done.stdout.starts_with("score    accuracy 1.0000 on 8 dev rows (majority 0.5000)\n"));
    assert_eq!(done.stderr.lines().count(), 30, "one line for each evaluation: {}", done.stderr);
    // The log: 60 steps and 30 evaluations.
    let log = std::fs::read_to_string(place.path("adapter.log.jsonl")).unwrap();
    let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |kind: &str| events.iter().filter(|event| event["event"] == kind).count();
    assert_eq!((count("step"), count("evaluation"), events.len()), (60, 30, 90));
    let expected = ["adapter", "adapter.log.jsonl", "dev.csv", "train.csv"].map(str::to_owned);
    assert_eq!(place.names(), expected.into(), "nothing else is written, the cache neither");
}

#[test]
fn a_run_that_is_not_above_its_baseline_says_what_to_try() {
    let place = Place::new();
    let note = |dev: &str, more: &[&str]| {
        place.write("train.csv", OPINIONS);
        place.write("dev.csv", dev);
        let done = place.train("csv", &[&["--overwrite"], more].concat()).succeeded();
        done.stderr.lines().find(|line| line.starts_with("note: the score")).map(str::to_owned)
    };
    let same = "text,label\nthe same film,0\nthe same film,1\n";
    let of = |baseline: &str| {
        format!(
            "note: the score is not above the baseline ({baseline}): try another `--lr` than 0.002 (a lower one if the loss jumps or \
             stands still), more `--epochs` or more rows"
        )
    };
    assert_eq!(note(same, &["--lr", "0.002"]), Some(of("majority")));
    // One answer to both has no correlation, and neither has the mean.
    assert_eq!(note(same, &["--lr", "0.002", "--kind", "regression"]), Some(of("mean score")));
    assert_eq!(note(OPINIONS, &[]), None);
}

#[test]
fn the_upper_layers_alone_are_adapted() {
    let place = Place::new();
    place.write("train.csv", OPINIONS);
    place.write("dev.csv", OPINIONS);
    let trained = place.train("csv", &["--adapt-from-layer=1", "--json"]).succeeded().json();
    // Two adapters of width 8 on 32 features, two layer normalisations, a head of two classes.
    assert_eq!(trained["trained_parameters"], 2 * (2 * 32 * 8 + 32 + 8) + 2 * 64 + 2 * 33);
    assert!(trained["tokens_per_second"].as_f64().is_some(), "tokens pass the upper layer");
    let scores = place.run(&["eval", "--adapter=adapter", "--data=dev.csv", "--json"]).succeeded().json();
    assert_eq!(scores["scores"]["accuracy"], 1.0, "{scores}");
    let told = place.run_bare(&["inspect", "adapter"]).succeeded().stdout;
    let method = told.lines().find(|line| line.starts_with("method")).unwrap();
    assert_snapshot!(method, @"method       houlsby from layer 1, bottleneck 8, gelu, mean pooling, at most 32 tokens");
    let card = std::fs::read_to_string(place.path("adapter/README.md")).unwrap();
    assert!(card.contains("from layer 1 (counted from 0), bottleneck 8"), "{card}");
    let expected = ["adapter", "adapter.log.jsonl", "dev.csv", "train.csv"].map(str::to_owned);
    assert_eq!(place.names(), expected.into(), "nothing temporary is left");
}

#[test]
fn every_method_trains_and_answers() {
    for (method, rate) in
        [("pfeiffer", "0.02"), ("full", "0.005"), ("top-1", "0.005"), ("layernorm", "0.05"), ("bias", "0.05")]
    {
        let place = Place::new();
        place.write("train.csv", OPINIONS);
        place.write("dev.csv", OPINIONS);
        place.train("csv", &["--method", method, "--lr", rate]).succeeded();
        let scores = place.run(&["eval", "--adapter=adapter", "--data=dev.csv", "--json"]).succeeded().json();
        assert_eq!(scores["scores"]["accuracy"], 1.0, "{method}: {scores}");
        let told = place.run_bare(&["inspect", "adapter"]).succeeded().stdout;
        assert!(told.lines().any(|line| line.starts_with(&format!("method       {method}"))), "{told}");
        let card = std::fs::read_to_string(place.path("adapter/README.md")).unwrap();
        assert!(card.contains(&format!("method {method}, ")) && card.contains("## Source"), "{card}");
    }
}

#[test]
fn adapters_are_worth_what_is_lost_without_them() {
    let place = Place::with_adapter();
    let ablate = ["ablate", "--adapter=adapter", "--data=dev.csv"];
    let ablated =
        place.run(&[&ablate[..], &["--json", "--report=ablation.html"]].concat()).succeeded().json();
    assert_eq!(ablated["whole"], 1.0, "{ablated}");
    let spans: Vec<(u64, u64)> = ablated["without"]
        .as_array()
        .unwrap()
        .iter()
        .map(|span| (span["first"].as_u64().unwrap(), span["last"].as_u64().unwrap()))
        .collect();
    assert_eq!(spans, [(0, 0), (0, 1), (1, 1)]);
    let page = std::fs::read_to_string(place.path("ablation.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("What each layer&#39;s adapters are worth"), "{page}");
    place.run(&[&ablate[..], &["--report=ablation.svg"]].concat()).succeeded();
    let figure = std::fs::read_to_string(place.path("ablation.svg")).unwrap();
    assert!(
        figure.starts_with("<svg ") && figure.contains(">accuracy without the adapters of some layers"),
        "{figure}"
    );
    let told = place.run(&ablate).succeeded().stdout;
    assert!(told.starts_with("accuracy with all adapters: 1.0000\n"), "{told}");

    // Told before anything is evaluated: the adapter's numbers, which are not there, are not missed yet.
    let numbers = place.path("adapter/adapter.safetensors");
    std::fs::rename(&numbers, place.path("away")).unwrap();
    let nowhere = place.run(&[&ablate[..], &["--report=nowhere/ablation.svg"]].concat());
    assert!(nowhere.stderr.contains("nowhere/ablation.svg"), "{}", nowhere.stderr);
    std::fs::rename(place.path("away"), &numbers).unwrap();
    let over = place.run(&[&ablate[..], &["--report=dev.csv"]].concat());
    assert_snapshot!(place.told(&over), @r#"
    exit code 2
    error: `--report dev.csv` is a file that is read
    "#);
    place.train("csv", &["--method=head", "--overwrite"]).succeeded();
    assert_snapshot!(place.told(&place.run(&ablate)), @r#"
    exit code 2
    error: `adapter` was trained with the method `head`, which has no adapters
    "#);
}

#[test]
fn the_number_of_threads_does_not_change_the_adapter() {
    let place = Place::new();
    let rows: String = (0..12).map(|_| OPINIONS.split_once('\n').unwrap().1).collect();
    for name in ["train.csv", "dev.csv"] {
        place.write(name, format!("text,label\n{rows}"));
    }
    let mut files = BTreeSet::new();
    for threads in ["1", "2", "3"] {
        let options = ["--threads", threads, "--overwrite", "--batch-size", "64", "--epochs", "2"];
        place.train("csv", &options).succeeded();
        files.insert(std::fs::read(place.path("adapter/adapter.safetensors")).unwrap());
    }
    assert_eq!(files.len(), 1);
}

#[test]
fn a_base_in_8_bits_is_trained_on_and_recorded_and_answered_on() {
    let place = Place::new();
    let rows: String = (0..12).map(|_| OPINIONS.split_once('\n').unwrap().1).collect();
    for name in ["train.csv", "dev.csv"] {
        place.write(name, format!("text,label\n{rows}"));
    }
    let (mut files, mut answers) = (BTreeSet::new(), BTreeSet::new());
    for threads in ["1", "2"] {
        let options = ["--base=int8", "--threads", threads, "--overwrite", "--batch-size", "64"];
        place.train("csv", &options).succeeded();
        for name in ["adapter.safetensors", "adapter.json"] {
            files.insert(std::fs::read(place.path("adapter").join(name)).unwrap());
        }
        let done = place.run(&["predict", "--adapter=adapter", "--input=dev.csv", "--threads", threads]);
        assert_eq!(done.stderr, "", "the base is what the adapter was trained on");
        answers.insert(done.succeeded().stdout);
    }
    assert_eq!((files.len(), answers.len()), (2, 1), "one of each, at 1 and 2 threads");
    let manifest = std::fs::read(place.path("adapter/adapter.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["base"]["precision"], "int8");
    let scores = place.run(&["eval", "--adapter=adapter", "--data=dev.csv", "--json"]).succeeded();
    assert_eq!(scores.stderr, "");
    assert_eq!(scores.json()["scores"]["accuracy"], 1.0, "{}", scores.stdout);
    let told = without_digests(&place.run_bare(&["inspect", "adapter"]).succeeded().stdout);
    let base = told.lines().find(|line| line.starts_with("base")).unwrap();
    assert!(base.contains("numbers, read in int8; weights"), "{base}");
    let card = std::fs::read_to_string(place.path("adapter/README.md")).unwrap();
    assert!(card.contains("encoder `tiny-bert`, its linear layers in 8 bits: "), "{card}");
}

#[test]
fn another_precision_than_in_training_is_told() {
    let place = Place::with_adapter();
    let predict = ["predict", "--adapter=adapter", "--input=dev.csv"];
    let own = place.run(&predict).succeeded();
    let same = place.run(&[&predict[..], &["--base=f32"]].concat()).succeeded();
    assert_eq!((same.stdout.as_str(), same.stderr.as_str()), (own.stdout.as_str(), ""));
    let other = place.run(&[&predict[..], &["--base=int8"]].concat()).succeeded();
    assert_ne!(other.stdout, own.stdout, "probabilities differ in some digit");
    assert_eq!(labels(&other.json_lines()), labels(&own.json_lines()));
    let eval = ["eval", "--adapter=adapter", "--data=dev.csv", "--json", "--base=int8"];
    let scored = place.run(&eval).succeeded();
    assert_eq!(scored.stderr, other.stderr);
    assert_snapshot!(scored.stderr, @"warning: adapter `adapter` was trained on a base in f32 and answers on one in int8");
    // What was written before there was a choice is of the only precision that there was.
    let manifest = std::fs::read_to_string(place.path("adapter/adapter.json")).unwrap();
    let before = manifest.replace(",\n    \"precision\": \"f32\"", "");
    assert_ne!(before, manifest);
    place.write("adapter/adapter.json", before);
    let old = place.run(&predict).succeeded();
    assert_eq!((old.stdout.as_str(), old.stderr.as_str()), (own.stdout.as_str(), ""));
}

#[test]
fn an_unknown_precision() {
    let place = Place::with_adapter();
    assert_snapshot!(place.told(&place.run(&["predict", "--adapter=adapter", "--base=int4"])), @r#"
    exit code 2
    error: invalid value 'int4' for '--base <PRECISION>': unknown precision `int4`; known: f32, int8

    For more information, try '--help'.
    "#);
    let manifest = std::fs::read_to_string(place.path("adapter/adapter.json")).unwrap();
    place.write("adapter/adapter.json", manifest.replace("\"f32\"", "\"int4\""));
    assert_snapshot!(place.told(&place.run(&["predict", "--adapter=adapter", "--input=dev.csv"])), @r"
    exit code 2
    error: `adapter/adapter.json` is not an adapter's description: unknown variant `int4`, expected `f32` or `int8` at line 34 column 23
    ");
}

#[test]
fn an_adapter_is_replaced_only_with_overwrite() {
    let place = Place::with_adapter();
    let before = std::fs::read(place.path("adapter/adapter.safetensors")).unwrap();
    let refused = place.train("csv", &["--seed=7"]);
    assert_snapshot!(place.told(&refused), @r"
    exit code 2
    error: `adapter` exists

    hint: pass `--overwrite` to replace it
    ");
    assert_eq!(std::fs::read(place.path("adapter/adapter.safetensors")).unwrap(), before);
    place.train("csv", &["--seed=7", "--overwrite"]).succeeded();
    assert_ne!(std::fs::read(place.path("adapter/adapter.safetensors")).unwrap(), before);
}

#[test]
fn what_is_no_adapter_is_never_replaced() {
    let place = Place::new();
    place.write("train.csv", OPINIONS);
    place.write("dev.csv", OPINIONS);
    std::fs::create_dir(place.path("adapter")).unwrap();
    place.write("adapter/thesis.txt", "years of work");
    assert_snapshot!(place.told(&place.train("csv", &["--overwrite"])), @r"
    exit code 2
    error: `adapter` exists and is not an adapter folder

    hint: name another folder: what is no adapter is replaced under no flag
    ");
    assert_eq!(std::fs::read_to_string(place.path("adapter/thesis.txt")).unwrap(), "years of work");
}

// -------------------------------------------------------------------------------------- predict as a filter

/// Feeds standard input and waits for the end.
fn feed(mut child: Child, input: Vec<u8>) -> Done {
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        // The command may end before it has read everything.
        let _ = stdin.write_all(&input);
    });
    let done = Done::of(child.wait_with_output().unwrap());
    writer.join().unwrap();
    done
}

#[test]
fn bad_rows_are_answered_in_their_place() {
    let place = Place::with_adapter();
    let done = feed(place.spawn_predict(&[]), b"good film\nb\xffd film\n\nbad film\n \n".to_vec());
    assert_eq!(done.code, Some(1));
    let lines = done.json_lines();
    assert_eq!(lines.len(), 5);
    assert_eq!((&lines[0]["label"], &lines[3]["label"]), (&Value::from("1"), &Value::from("0")));
    let error = |row: usize| lines[row]["error"].as_str().unwrap();
    assert_eq!(error(1), "standard input:2: byte 2 of the line (0xff) is not UTF-8");
    assert_eq!(error(2), "standard input:3: `text` is empty");
    assert_eq!(error(4), "standard input:5: `text` is empty");
    assert_eq!(done.stderr, "warning: 3 rows could not be used\n");
}

#[test]
fn pairs_are_refused_where_single_texts_are_expected() {
    let place = Place::with_adapter();
    let rows = "{\"sentence1\": \"good\", \"sentence2\": \"bad\"}\n";
    let done = feed(place.spawn_predict(&["--format=jsonl"]), rows.into());
    assert_eq!(done.code, Some(1));
    assert!(done.json_lines()[0]["error"].as_str().unwrap().ends_with("expected one text, found a pair"));
}

#[test]
fn a_file_of_the_other_kind_is_one_error_and_not_one_a_row() {
    let place = Place::with_adapter();
    place.write("pairs.tsv", "sentence1\tsentence2\ngood\tbad\n");
    assert_snapshot!(place.told(&place.run(&["predict", "--adapter=adapter", "--input=pairs.tsv"])), @r"
    exit code 2
    error: pairs.tsv: the adapter answers single texts, found pairs of texts

    hint: choose the column with `--text-column <NAME>`
    ");
}

#[test]
fn a_slow_writer_is_answered_at_once() {
    let place = Place::with_adapter();
    let mut child = place.spawn_predict(&[]);
    let mut stdin = child.stdin.take().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, answers) = channel();
    let reader = std::thread::spawn(move || {
        for line in stdout.lines() {
            sender.send(line.unwrap()).unwrap();
        }
    });
    for (text, label) in [("good film", "1"), ("bad film", "0"), ("good music", "1")] {
        writeln!(stdin, "{text}").unwrap();
        stdin.flush().unwrap();
        let line = answers.recv_timeout(PATIENCE).expect("an answer before the input ends");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["label"], label);
    }
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    reader.join().unwrap();
    assert!(answers.try_recv().is_err(), "no more answers than rows");
}

#[test]
fn many_rows_keep_their_order() {
    const ROWS: usize = 20_000;
    let place = Place::with_adapter();
    let text = |row: usize| if row % 7 < 3 { "good film" } else { "bad film" };
    let input: String = (0..ROWS).map(|row| format!("{}\n", text(row))).collect();
    let done = feed(place.spawn_predict(&[]), input.into_bytes()).succeeded();
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(lines.len(), ROWS);
    for (row, line) in lines.iter().enumerate() {
        // The same text has the same answer to the last digit, whatever stands beside it.
        assert_eq!(line, if text(row) == "good film" { &lines[0] } else { &lines[3] }, "row {row}");
    }
    assert_ne!(lines[0], lines[3]);
}

#[cfg(target_os = "linux")]
#[test]
fn endless_input_is_read_in_bounded_memory() {
    let place = Place::with_adapter();
    let mut child = place.spawn_predict(&[]);
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        let rows = "good film\n".repeat(1000);
        // Ends when the command is gone.
        while stdin.write_all(rows.as_bytes()).is_ok() {}
    });
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let mut after = |rows: usize| {
        assert_eq!(answers.by_ref().take(rows).filter(Result::is_ok).count(), rows);
        resident()
    };
    let (early, late) = (after(5_000), after(60_000));
    // 60 000 rows and answers held would be more than 8 MB.
    assert!(late < early + 4_000, "{early} kB after 5 000 rows, {late} kB after 65 000");
    child.kill().unwrap();
    child.wait().unwrap();
    writer.join().unwrap();
}

#[test]
fn a_closed_pipe_is_no_error() {
    let place = Place::with_adapter();
    let mut child = place.spawn_predict(&[]);
    let mut stdin = child.stdin.take().unwrap();
    drop(child.stdout.take());
    let writer = std::thread::spawn(move || while writeln!(stdin, "good film").is_ok() {});
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    writer.join().unwrap();
}

#[test]
fn answers_go_to_a_file_where_one_is_named() {
    let place = Place::with_adapter();
    let done =
        place.run(&["predict", "--adapter=adapter", "--input=dev.csv", "--output=answers.jsonl"]).succeeded();
    assert_eq!(done.stdout, "");
    assert_eq!(std::fs::read_to_string(place.path("answers.jsonl")).unwrap().lines().count(), 8);
}

// ------------------------------------------------------------------------------------------------- Ctrl-C

/// Starts a long run, waits for `begun` to be in its log, interrupts it and returns its end.
#[cfg(unix)]
fn interrupted(place: &Place, begun: &str, more: &[&str]) -> Done {
    place.write("train.csv", OPINIONS);
    place.write("dev.csv", OPINIONS);
    let model = tiny_bert();
    let arguments = ["train", "--train=train.csv", "--dev=dev.csv", "--out=adapter", "--epochs=1000000"];
    let model = ["--bottleneck=4", "--max-length=32", "--model", model.to_str().unwrap()];
    let child =
        place.command(&[&arguments[..], &model, more].concat()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    let log = place.path("adapter.log.jsonl");
    while !std::fs::read_to_string(&log).is_ok_and(|log| log.contains(begun)) {
        assert!(start.elapsed() < PATIENCE, "no `{begun}` in the log");
        std::thread::sleep(Duration::from_millis(5));
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    Done::of(child.wait_with_output().unwrap())
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_keeps_its_best_adapter() {
    let place = Place::new();
    let done = interrupted(&place, "\"evaluation\"", &["--json"]);
    assert_eq!(done.code, Some(130), "a script can tell it from a whole run");
    assert_eq!(done.json()["ending"], "interrupted");
    let expected = ["adapter", "adapter.log.jsonl", "dev.csv", "train.csv"].map(str::to_owned);
    assert_eq!(place.names(), expected.into(), "nothing temporary is left");
    place.run(&["eval", "--adapter=adapter", "--data=dev.csv"]).succeeded();
    let manifest = std::fs::read_to_string(place.path("adapter/adapter.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["training"]["ending"], "interrupted");
    let card = std::fs::read_to_string(place.path("adapter/README.md")).unwrap();
    assert!(card.contains("the run: interrupted"), "{card}");
}

#[cfg(unix)]
#[test]
fn a_run_interrupted_before_its_first_evaluation_leaves_no_adapter() {
    let place = Place::new();
    let done = interrupted(&place, "\"step\"", &["--eval-every=1000000000"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(130), ""));
    let expected = ["adapter.log.jsonl", "dev.csv", "train.csv"].map(str::to_owned);
    assert_eq!(place.names(), expected.into(), "nothing temporary is left");
}

// -------------------------------------------------------------------------------------------- error messages

/// What `train` says of a training file, with a good dev file.
fn refused_training(name: &str, content: impl AsRef<[u8]>) -> String {
    let place = Place::new();
    place.write(name, content);
    place.write("dev.csv", OPINIONS);
    let done = place.run(&["train", "--train", name, "--dev=dev.csv", "--out=adapter"]);
    assert!(!place.path("adapter").exists());
    place.told(&done)
}

#[test]
fn a_missing_column() {
    assert_snapshot!(refused_training("train.csv", "review,stars\ngood,1\nbad,0\n"), @r#"
    exit code 2
    error: train.csv:1: no text column, found `review`, `stars`

    hint: the first line names the columns: `sentence` or `text`, or for pairs `sentence1` `sentence2` or `text_a` `text_b`; name others with `--text-column <NAME>` and `--text-b-column <NAME>`
    "#);
    assert_snapshot!(refused_training("train.csv", "text,stars\ngood,1\nbad,0\n"), @r#"
    exit code 2
    error: train.csv:1: no label column `label`, found `text`, `stars`

    hint: name it with `--label-column <NAME>`
    "#);
    assert_snapshot!(refused_training("train.jsonl", "{\"text\": \"good\"}\n"), @r#"
    exit code 2
    error: train.jsonl:1: label `label` is missing

    hint: name another label column with `--label-column <NAME>`
    "#);
}

#[test]
fn an_empty_text() {
    assert_snapshot!(refused_training("train.csv", "text,label\ngood,1\n  ,0\n"), @r#"
    exit code 2
    error: train.csv:3: `text` is empty
    "#);
}

#[test]
fn a_wrong_number_of_fields() {
    assert_snapshot!(refused_training("train.csv", "text,label\ngood,1\nbad, really bad,0\n"), @r#"
    exit code 2
    error: train.csv:3: expected 2 fields, found 3

    hint: a CSV field that holds a comma stands between quotes; pass `--format tsv` for tab-separated data
    "#);
    assert_snapshot!(refused_training("train.tsv", "text\tlabel\ngood\t1\nbad\n"), @r#"
    exit code 2
    error: train.tsv:3: expected 2 fields, found 1

    hint: pass `--format csv` for comma-separated data
    "#);
}

#[test]
fn bytes_that_are_not_utf8() {
    assert_snapshot!(refused_training("train.csv", b"text,label\ngood,1\ncaf\xe9,0\n"), @r#"
    exit code 2
    error: train.csv:3: byte 4 of the line (0xe9) is not UTF-8

    hint: convert the file, e.g. with `iconv -f WINDOWS-1252 -t UTF-8`
    "#);
}

#[test]
fn one_class_only() {
    assert_snapshot!(refused_training("train.csv", "text,label\ngood,1\nbetter,1\n"), @r#"
    exit code 2
    error: train.csv: expected at least two labels, found only `1`
    "#);
}

#[test]
fn no_rows() {
    assert_snapshot!(refused_training("train.csv", ""), @r#"
    exit code 2
    error: train.csv: no rows

    hint: the first row of CSV and TSV names the columns, and the rows come after it; is it the right file?
    "#);
    assert_snapshot!(refused_training("train.csv", "text,label\n"), @r#"
    exit code 2
    error: train.csv: no rows

    hint: the first row of CSV and TSV names the columns, and the rows come after it; is it the right file?
    "#);
}

#[test]
fn an_unknown_extension() {
    assert_snapshot!(refused_training("train.data", OPINIONS), @r#"
    exit code 2
    error: train.data: cannot tell the format from the file name

    hint: known are `.csv`, `.tsv`, `.tab`, `.jsonl`, `.ndjson`, `.parquet`, `.conll`, `.json` (SQuAD) and `.txt` (plain lines); pass `--format csv`, `tsv`, `jsonl`, `parquet`, `conll`, `squad` or `lines`
    "#);
}

#[test]
fn a_missing_file() {
    let place = Place::with_adapter();
    assert_snapshot!(place.told(&place.run(&["train", "--train=no.csv", "--dev=dev.csv", "--out=other"])), @r#"
    exit code 2
    error: cannot open `no.csv`: No such file or directory (os error 2)
    "#);
    assert_snapshot!(place.told(&place.run(&["eval", "--adapter=adapter", "--data=no.csv"])), @r#"
    exit code 2
    error: cannot open `no.csv`: No such file or directory (os error 2)
    "#);
    assert_snapshot!(place.told(&place.run(&["predict", "--adapter=adapter", "--input=no.csv"])), @r#"
    exit code 2
    error: cannot read `no.csv`: No such file or directory (os error 2)
    "#);
}

#[test]
fn parquet_files_are_trained_on_scored_and_answered() {
    let place = Place::new();
    for split in ["train", "dev"] {
        place.write(&format!("{split}.parquet"), parquet("glue-cola.parquet"));
    }
    place.train("parquet", &[]).succeeded();
    let scores = place.run(&["eval", "--adapter=adapter", "--data=dev.parquet", "--json"]).succeeded().json();
    assert_eq!(scores["rows"], 6, "{scores}");
    let answers = place.run(&["predict", "--adapter=adapter", "--input=dev.parquet"]).succeeded();
    let labels: Vec<Value> = answers.json_lines().iter().map(|answer| answer["label"].clone()).collect();
    assert_eq!(labels.len(), 6);
    assert!(labels.iter().all(|label| label == "acceptable" || label == "unacceptable"), "{labels:?}");
    let piped = feed(place.spawn_predict(&["--format=parquet"]), parquet("glue-cola.parquet"));
    assert_eq!(piped.stdout, answers.stdout);
    let report = place.run(&["check-data", "--train=train.parquet", "--dev=dev.parquet", "--json"]);
    assert_eq!(report.json()["splits"][0]["labels"][0]["label"], "unacceptable");
    let cut = parquet("glue-cola.parquet");
    place.write("train.parquet", &cut[..cut.len() - 1]);
    let told = place.told(&place.run(&["eval", "--adapter=adapter", "--data=train.parquet"]));
    assert_snapshot!(told, @r#"
    exit code 2
    error: train.parquet: expected a Parquet file, found none: `PAR1` is not at its beginning and its end

    hint: a file of another format needs its extension, or `--format`
    "#);
    // The `parquet` crate panics on this one, and nothing is printed of it.
    let mut damaged = parquet("glue-cola.parquet");
    damaged[14] = 14;
    place.write("train.parquet", &damaged);
    let told = place.told(&place.run(&["eval", "--adapter=adapter", "--data=train.parquet"]));
    assert_snapshot!(told, @r#"
    exit code 2
    error: train.parquet:1: the Parquet file is damaged: what it holds cannot be decoded

    hint: fetch or write the file again
    "#);
}

#[test]
fn an_unknown_label() {
    let place = Place::with_adapter();
    place.write("unknown.csv", "text,label\ngood film,1\nbad film,5\n");
    let training = place.run(&["train", "--train=train.csv", "--dev=unknown.csv", "--out=other"]);
    assert_snapshot!(place.told(&training), @r#"
    exit code 2
    error: unknown.csv:3: unknown label `5`, expected one of `0`, `1`

    hint: labels are those of the training data; they are compared exactly
    "#);
    let evaluation = place.run(&["eval", "--adapter=adapter", "--data=unknown.csv"]);
    assert_eq!(place.told(&evaluation), place.told(&training));
}

#[test]
fn a_label_that_is_no_number() {
    let place = Place::new();
    place.write("train.csv", "text,label\ngood,1.5\nbad,low\n");
    let arguments = ["train", "--train=train.csv", "--dev=train.csv", "--out=other", "--kind=regression"];
    assert_snapshot!(place.told(&place.run(&arguments)), @r#"
    exit code 2
    error: train.csv:3: label `low` is not a finite number

    hint: a regression label is a number; for named classes use classification
    "#);
}

#[test]
fn an_unknown_model() {
    let place = Place::with_adapter();
    let arguments = ["eval", "--adapter=adapter", "--data=dev.csv", "--model", "bert-enormous"];
    assert_snapshot!(place.told(&place.run_bare(&arguments)), @r#"
    exit code 2
    error: unknown model `bert-enormous`: expected a known name (`minilm`) or a folder

    hint: pass a known name (`minilm`), or a folder with `config.json`, `model.safetensors`, `tokenizer.json`: `--model <DIR>`
    "#);
    std::fs::create_dir(place.path("half")).unwrap();
    place.write("half/config.json", "{}");
    let arguments = ["eval", "--adapter=adapter", "--data=dev.csv", "--model", "half"];
    assert_snapshot!(place.told(&place.run_bare(&arguments)), @r#"
    exit code 2
    error: model folder `half` has no `model.safetensors`, `tokenizer.json`

    hint: pass a folder with `config.json`, `model.safetensors`, `tokenizer.json`: `--model <DIR>`
    "#);
}

#[test]
fn a_missing_adapter() {
    let place = Place::with_adapter();
    assert_snapshot!(place.told(&place.run(&["eval", "--adapter=nowhere", "--data=dev.csv"])), @r#"
    exit code 2
    error: cannot read `nowhere/adapter.json`: No such file or directory (os error 2)

    hint: an adapter is the folder that `grafter train --out <DIR>` wrote, or one of a bank, `<BANK>/tasks/<NAME>/<VERSION>`
    "#);
    assert_snapshot!(place.told(&place.run(&["predict", "--adapter=nowhere"])), @r#"
    exit code 2
    error: cannot read `nowhere/adapter.json`: No such file or directory (os error 2)

    hint: an adapter is the folder that `grafter train --out <DIR>` wrote, or one of a bank, `<BANK>/tasks/<NAME>/<VERSION>`
    "#);
}

#[test]
fn an_adapter_on_another_base() {
    let place = Place::with_adapter();
    std::fs::create_dir(place.path("other")).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(tiny_bert().join(name), place.path("other").join(name)).unwrap();
    }
    let mut bytes = std::fs::read(place.path("other/model.safetensors")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    place.write("other/model.safetensors", bytes);
    let arguments = ["predict", "--adapter=adapter", "--model=other", "--input=dev.csv"];
    assert_snapshot!(place.told(&place.run_bare(&arguments)), @r#"
    exit code 2
    error: adapter `adapter` does not fit this model: its encoder's SHA-256 is SHA256, this one's SHA256

    hint: it was trained on `tiny-bert`; pass `--model <NAME or DIR>` of that model
    "#);
}

#[test]
fn a_model_that_is_not_supported() {
    let place = Place::with_adapter();
    std::fs::create_dir(place.path("other")).unwrap();
    for name in ["model.safetensors", "tokenizer.json"] {
        std::fs::copy(tiny_bert().join(name), place.path("other").join(name)).unwrap();
    }
    place.write("other/config.json", "{\"model_type\": \"gpt2\"}");
    let arguments = ["eval", "--adapter=adapter", "--model=other", "--data=dev.csv"];
    assert_snapshot!(place.told(&place.run_bare(&arguments)), @r#"
    exit code 2
    error: `other/config.json`: `model_type` is `gpt2`; supported: `bert`, `roberta`, `xlm-roberta`, `distilbert`, `electra`, `mpnet`, `modernbert`, `deberta-v2`

    hint: `grafter pull minilm` fetches a model that is
    "#);
}

#[test]
fn a_wrong_metric() {
    let place = Place::new();
    place.write("train.csv", OPINIONS);
    place.write("dev.csv", OPINIONS);
    let arguments =
        ["train", "--train=train.csv", "--dev=dev.csv", "--out=other", "--max-length=32", "--metric"];
    let with = |metric: &str| place.told(&place.run(&[&arguments[..], &[metric]].concat()));
    assert_snapshot!(with("pearson"), @r#"
    exit code 2
    error: metric `pearson` does not measure classification

    hint: for classification use `accuracy`, `f1`, `macro-f1`, `matthews`
    "#);
    assert_snapshot!(with("bleu"), @r#"
    exit code 2
    error: invalid value 'bleu' for '--metric <NAME>': unknown metric `bleu`; known: accuracy, f1, macro-f1, micro-f1, matthews, pearson, spearman, exact-match, token-f1

    For more information, try '--help'.
    "#);
}

#[test]
fn an_option_out_of_range() {
    let place = Place::new();
    place.write("train.csv", OPINIONS);
    let arguments = ["train", "--train=train.csv", "--dev=train.csv", "--out=other"];
    let with = |options: &[&str]| place.told(&place.run(&[&arguments[..], options].concat()));
    assert_snapshot!(with(&["--max-length=65"]), @r#"
    exit code 2
    error: `--max-length` is 65, expected 3 to 64 with this model
    "#);
    assert_snapshot!(with(&["--max-length=32", "--adapt-from-layer=2"]), @r#"
    exit code 2
    error: `--adapt-from-layer` is 2, expected 0 to 1 with this model
    "#);
    assert_snapshot!(with(&["--max-length=32", "--adapt-from-layer=1", "--method=head"]), @r#"
    exit code 2
    error: `--adapt-from-layer` is given for head, expected a method with adapters, houlsby or pfeiffer
    "#);
    assert_snapshot!(with(&["--max-length=32", "--lr=nan"]), @r#"
    exit code 2
    error: `--lr` is NaN, expected a number above 0
    "#);
}

#[test]
fn an_unknown_flag() {
    let place = Place::new();
    assert_snapshot!(place.told(&place.run_bare(&["eval", "--adaptor=x"])), @r#"
    exit code 2
    error: unexpected argument '--adaptor' found

      tip: a similar argument exists: '--adapter'

    Usage: grafter eval --adapter <DIR> --data <FILE>...

    For more information, try '--help'.
    "#);
    assert_snapshot!(place.told(&place.run_bare(&["evaluate"])), @r#"
    exit code 2
    error: unrecognized subcommand 'evaluate'

      tip: some similar subcommands exist: 'ablate', 'eval'

    Usage: grafter [OPTIONS] <COMMAND>

    For more information, try '--help'.
    "#);
}

#[test]
fn pairs_for_a_task_on_single_texts() {
    let place = Place::with_adapter();
    place.write("pairs.csv", "text_a,text_b,label\ngood,film,1\nbad,film,0\n");
    assert_snapshot!(place.told(&place.run(&["eval", "--adapter=adapter", "--data=pairs.csv"])), @r#"
    exit code 2
    error: pairs.csv: expected single texts, found pairs of texts

    hint: choose the text columns with `--text-column` and `--text-b-column`
    "#);
}

#[test]
fn answers_that_cannot_be_written() {
    let place = Place::with_adapter();
    let done = place.run(&["predict", "--adapter=adapter", "--input=dev.csv", "--output=no/where.jsonl"]);
    assert_snapshot!(place.told(&done), @r#"
    exit code 2
    error: cannot write `no/where.jsonl`: No such file or directory (os error 2)
    "#);
}

#[test]
fn an_adapter_in_a_folder_that_is_not_there_yet() {
    let place = Place::new();
    place.write("train.csv", OPINIONS);
    let files = ["train", "--train=train.csv", "--dev=train.csv", "--out=new/deep/adapter", "--epochs=1"];
    place.run(&[&files[..], &QUICK].concat()).succeeded();
    assert!(place.path("new/deep/adapter/adapter.json").is_file());
}

#[test]
fn sizes_of_a_model_that_would_take_all_memory() {
    // Memory is taken for tensors that the file holds, never for what the configuration claims.
    const HIDDEN: usize = 1 << 20;
    let place = Place::with_adapter();
    std::fs::create_dir(place.path("absurd")).unwrap();
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, shape) in [
        ("embeddings.word_embeddings.weight", vec![1, HIDDEN]),
        ("embeddings.position_embeddings.weight", vec![1, HIDDEN]),
        ("embeddings.token_type_embeddings.weight", vec![1, HIDDEN]),
        ("embeddings.LayerNorm.weight", vec![HIDDEN]),
        ("embeddings.LayerNorm.bias", vec![HIDDEN]),
    ] {
        let offsets = [end, end + 4 * HIDDEN];
        header.insert(
            name.to_owned(),
            serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": offsets}),
        );
        end = offsets[1];
    }
    let header = Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + end, 0);
    place.write("absurd/model.safetensors", bytes);
    let config = std::fs::read(tiny_bert().join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    for (field, value) in
        [("hidden_size", HIDDEN), ("vocab_size", 1), ("max_position_embeddings", 1), ("type_vocab_size", 1)]
    {
        config[field] = value.into();
    }
    place.write("absurd/config.json", config.to_string());
    std::fs::copy(tiny_bert().join("tokenizer.json"), place.path("absurd/tokenizer.json")).unwrap();
    let done = place.run_bare(&["eval", "--adapter=adapter", "--model=absurd", "--data=dev.csv"]);
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(
        done.stderr.contains("has no tensor `encoder.layer.0.attention.self.query.weight`"),
        "{}",
        done.stderr
    );
}

#[test]
fn files_that_are_read_are_never_written_over() {
    let place = Place::with_adapter();
    place.write("train.csv", OPINIONS);
    let train = ["train", "--train=train.csv", "--dev=train.csv", "--out=other", "--log=train.csv"];
    assert_snapshot!(place.told(&place.run(&[&train[..], &QUICK].concat())), @r#"
    exit code 2
    error: `--log train.csv` is a file that is read
    "#);
    let predict = ["predict", "--adapter=adapter", "--input=train.csv", "--output=./train.csv"];
    assert_snapshot!(place.told(&place.run(&predict)), @r#"
    exit code 2
    error: `--output ./train.csv` is a file that is read
    "#);
    assert_eq!(std::fs::read_to_string(place.path("train.csv")).unwrap(), OPINIONS);
}

/// `--input` is `-`, which says nothing of the file that standard input comes from.
#[cfg(unix)]
#[test]
fn the_file_behind_standard_input_is_never_written_over() {
    let place = Place::with_adapter();
    place.write("texts.txt", "good film\n");
    let model = tiny_bert();
    let predict = ["predict", "--adapter=adapter", "--output=texts.txt", "--model", model.to_str().unwrap()];
    let mut command = place.command(&predict);
    let input = std::fs::File::open(place.path("texts.txt")).unwrap();
    let done = Done::of(command.stdin(input).output().unwrap());
    assert_eq!(done.code, Some(2));
    assert_eq!(done.stderr, "error: `--output texts.txt` is a file that is read\n");
    assert_eq!(std::fs::read_to_string(place.path("texts.txt")).unwrap(), "good film\n");
}

#[test]
fn a_log_in_the_folder_of_the_adapter_is_refused_before_training() {
    let place = Place::new();
    place.write("train.csv", OPINIONS);
    for log in ["other/log.jsonl", "other", "./x/../other/log.jsonl"] {
        let train = ["train", "--train=train.csv", "--dev=train.csv", "--out=other", "--log", log];
        let done = place.run(&train);
        assert_eq!(done.code, Some(2), "{log}");
        let expected = format!("error: `--log {log}` and `--out other` are in each other's way\n");
        assert!(done.stderr.starts_with(&expected), "{}", done.stderr);
    }
    assert_eq!(place.names(), ["train.csv".to_owned()].into(), "nothing was created");
}

/// Messages that nobody can read are lost; the adapter is not.
#[cfg(target_os = "linux")]
#[test]
fn standard_error_on_a_full_disk_does_not_cost_the_adapter() {
    let place = Place::new();
    place.write("train.csv", OPINIONS);
    let model = tiny_bert();
    let train = ["train", "--train=train.csv", "--dev=train.csv", "--out=adapter", "--epochs=2", "--model"];
    let mut command = place.command(&[&train[..], &[model.to_str().unwrap()], &QUICK].concat());
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert_eq!(command.stderr(full).output().unwrap().status.code(), Some(0));
    place.run(&["eval", "--adapter=adapter", "--data=train.csv"]).succeeded();
}

#[test]
fn outputs_are_never_written_into_the_folder_of_an_adapter() {
    let place = Place::with_adapter();
    let before = std::fs::read(place.path("adapter/adapter.json")).unwrap();
    let done =
        place.run(&["predict", "--adapter=adapter", "--input=dev.csv", "--output=adapter/adapter.json"]);
    assert_snapshot!(place.told(&done), @r"
    exit code 2
    error: `--output adapter/adapter.json` lies in the folder of an adapter

    hint: write it beside that folder
    ");
    let done =
        place.run(&["train", "--train=train.csv", "--dev=dev.csv", "--out=b", "--log=adapter/adapter.json"]);
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert_eq!(std::fs::read(place.path("adapter/adapter.json")).unwrap(), before);
}

#[test]
fn a_log_replaces_only_the_log_of_an_earlier_run() {
    let place = Place::with_adapter();
    place.write("notes.txt", "years of work");
    let train = ["train", "--train=train.csv", "--dev=dev.csv", "--out=b", "--log=notes.txt"];
    assert_snapshot!(place.told(&place.run(&train)), @r"
    exit code 2
    error: `notes.txt` exists and is not the log of a run

    hint: name another file with `--log`, or remove this one
    ");
    assert_eq!(std::fs::read_to_string(place.path("notes.txt")).unwrap(), "years of work");

    // The old adapter keeps its log until there is a new one.
    let log = || std::fs::read_to_string(place.path("adapter.log.jsonl")).unwrap();
    let before = log();
    let files = ["train", "--train=train.csv", "--dev=dev.csv", "--out=adapter", "--overwrite"];
    let diverging = place.run(&[&files[..], &["--batch-size=4", "--lr=1e30", "--warmup=0"]].concat());
    assert_eq!(diverging.code, Some(2));
    assert!(diverging.stderr.contains("the loss became"), "{}", diverging.stderr);
    assert_eq!(log(), before);
    place.train("csv", &["--overwrite", "--epochs", "1"]).succeeded();
    assert!(log().lines().count() < before.lines().count());
    assert!(!place.path("adapter.log.jsonl.new").exists());
}

#[test]
fn a_target_without_a_name_is_refused() {
    let place = Place::new();
    place.write("train.csv", OPINIONS);
    let done = place.run(&["train", "--train=train.csv", "--dev=train.csv", "--out=."]);
    assert_snapshot!(place.told(&done), @r"
    exit code 2
    error: `.` ends in no name for the adapter's folder

    hint: name a folder, such as `./adapter`
    ");
}

#[test]
fn a_metric_that_is_blind_on_the_dev_rows_is_refused_before_training() {
    let place = Place::new();
    place.write("train.csv", "text,label\na,1\nb,2\nc,3\n");
    place.write("dev.csv", "text,label\na,2\nb,2\n");
    let done = place.train("csv", &["--kind=regression"]);
    assert_snapshot!(place.told(&done), @r"
    exit code 2
    error: metric `pearson` cannot tell evaluations apart on dev rows that all have the same score

    hint: use other dev rows
    ");
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_that_cannot_be_written_does_not_cost_the_adapter() {
    let place = Place::new();
    place.write("train.csv", OPINIONS);
    let train =
        ["train", "--train=train.csv", "--dev=train.csv", "--out=other", "--log=/dev/full", "--epochs=1"];
    let done = place.run(&[&train[..], &QUICK].concat());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let told = "warning: the log of the run is not whole: cannot write `/dev/full`: No space left on device";
    assert!(done.stderr.contains(told), "{}", done.stderr);
    place.run(&["eval", "--adapter=other", "--data=train.csv"]).succeeded();
}

#[cfg(target_os = "linux")]
#[test]
fn an_input_that_breaks_is_an_error_and_not_a_row() {
    let place = Place::with_adapter();
    let done = place.run(&["predict", "--adapter=adapter", "--input=.", "--format=lines"]);
    assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{}", done.stderr);
}

#[test]
fn check_data_names_what_training_would_stop_at() {
    let place = Place::new();
    let rows: String = (0..20_000).map(|row| format!("text {row},label{row}\n")).collect();
    place.write("train.csv", format!("text,label\nlong,{}\n{rows}", "x".repeat(1025)));
    let done = place.run(&["check-data", "--train=train.csv", "--max-length=32", "--json"]);
    assert_eq!(done.code, Some(1));
    let report = done.json();
    assert_eq!(report["usable"], false);
    let train = &report["splits"][0];
    assert_eq!((train["rows"].as_u64(), train["rejected"].as_u64()), (Some(16_384), Some(3_617)));
    let [long, first] = [0, 1].map(|row| &train["rejected_rows"][row]);
    assert_eq!(long["line"], 2);
    assert!(long["reason"].as_str().unwrap().ends_with("has 1025 bytes, the most is 1024"));
    assert_eq!(first["line"], 16_387);
    assert_eq!(first["reason"], "more than 16384 different labels");
}

#[cfg(target_os = "linux")]
#[test]
fn a_pipe_that_cannot_be_copied_is_told_with_the_folder_of_the_copy() {
    let place = Place::new();
    place.write("dev.csv", OPINIONS);
    let fifo = place.path("train.csv");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let writer = std::thread::spawn(move || std::fs::OpenOptions::new().write(true).open(fifo).map(drop));
    let arguments = ["train", "--train=train.csv", "--dev=dev.csv", "--out=other"];
    let done = Done::of(place.command(&arguments).env("TMPDIR", "/no/such/folder").output().unwrap());
    writer.join().unwrap().unwrap();
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    let expected = "cannot copy `train.csv` to a temporary file in `/no/such/folder`: ";
    assert!(done.stderr.contains(expected) && done.stderr.contains("hint: "), "{}", done.stderr);
}

#[test]
fn shells_and_man_are_told_of_every_command() {
    let place = Place::new();
    let help = place.run_bare(&["--help"]).succeeded().stdout;
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // A long description goes on in lines that are indented further.
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?.split(' ').next())
        .filter(|command| *command != "help")
        .collect();
    assert!(commands.len() > 12, "{help}");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = place.run_bare(&["completions", shell]).succeeded().stdout;
        assert!(commands.iter().all(|command| script.contains(command)), "{shell}");
    }
    assert_eq!(place.run_bare(&["completions", "cmd"]).code, Some(2));
    place.run_bare(&["man", "--out=pages"]).succeeded();
    for command in commands {
        let page = std::fs::read_to_string(place.path(&format!("pages/grafter-{command}.1"))).unwrap();
        assert!(page.contains(".SH NAME"), "{command}");
    }
    assert!(place.path("pages/grafter-bank-verify.1").is_file());
}

/// Trained, scored and answered with entities and with tags of words, from two formats.
#[test]
fn words_with_tags() {
    let sentences = "he O\nlondon B-person\nspoke O\n\nin O\nparis B-place\n\nshe O\nlondon B-person\nberlin I-person\nwas O\n\n\
                     it O\nwas O\nnew O\n\nin O\nrome B-place\n. O\n";
    let place = Place::new();
    for name in ["train.conll", "dev.conll"] {
        place.write(name, sentences);
    }
    let checked = place.run(&["check-data", "--train=train.conll", "--dev=dev.conll", "--kind=entities"]);
    let checked = checked.succeeded().stdout;
    for told in ["entities    person  2   50.0 %", "place   2   50.0 %", "10 words in none", "5 usable rows"]
    {
        assert!(checked.contains(told), "{told}: {checked}");
    }
    let flags = ["--kind=entities", "--epochs", "60", "--json"];
    let trained = place.train("conll", &flags).succeeded().json();
    assert_eq!((&trained["metric"], &trained["score"]), (&Value::from("micro-f1"), &Value::from(1.0)));
    let scores = place.run(&["eval", "--adapter=adapter", "--data=dev.conll", "--json"]).succeeded().json();
    assert_eq!(scores["scores"], trained["dev_scores"]);
    let told = place.run(&["eval", "--adapter=adapter", "--data=dev.conll"]).succeeded().stdout;
    assert!(
        told.contains("micro-f1   1.0000  (of all entities)\n") && told.contains("person     1.0000"),
        "{told}"
    );
    let answers = |file: &str| {
        let input = format!("--input={file}");
        place.run(&["predict", "--adapter=adapter", &input]).succeeded().json_lines()
    };
    let of_conll = answers("dev.conll");
    let told = &of_conll[2]["entities"][0];
    assert_eq!((&told["type"], &told["text"]), (&Value::from("person"), &Value::from("london berlin")));
    assert_eq!(
        (&told["start"], &told["end"], &told["words"]),
        (&4.into(), &17.into(), &serde_json::json!([1, 3]))
    );
    assert_eq!(of_conll[3], serde_json::json!({ "entities": [] }));
    place.write("words.jsonl", "{\"words\": [\"she\", \"london\", \"berlin\", \"was\"]}\n");
    assert_eq!(answers("words.jsonl")[0], of_conll[2]);
    place.write("texts.txt", "she london berlin was\n");
    let mut of_text = answers("texts.txt");
    assert_eq!(of_text[0]["entities"][0].as_object_mut().unwrap().shift_remove("words"), None);
    assert_eq!(of_text[0]["entities"][0]["score"], told["score"], "the same tokens, however they came");
    place.write("iob1.conll", sentences.replace("B-", "I-"));
    let as_it_is = place.run(&["eval", "--adapter=adapter", "--data=iob1.conll"]);
    assert_eq!(as_it_is.code, Some(2));
    assert!(
        as_it_is.stderr.contains("iob1.conll:2: tag `I-person` of word 2 continues no entity"),
        "{}",
        as_it_is.stderr
    );
    let read = ["eval", "--adapter=adapter", "--data=iob1.conll", "--tag-scheme=iob1", "--json"];
    assert_eq!(place.run(&read).succeeded().json()["scores"], trained["dev_scores"]);
    let report = std::fs::read_to_string(place.path("adapter/report.html")).unwrap();
    assert!(
        report.contains("an entity is right if its type and all of its words are"),
        "the report shows the types"
    );

    let trained =
        place.train("conll", &["--kind=tags", "--epochs", "1", "--overwrite", "--json"]).succeeded().json();
    assert_eq!(trained["metric"], "accuracy");
    let told = answers("texts.txt");
    assert_eq!(told[0]["words"], serde_json::json!(["she", "london", "berlin", "was"]));
    assert_eq!(told[0]["tags"].as_array().unwrap().len(), 4);
    for (flags, expected) in [
        (["--kind=classification", "--overwrite"], "the format `conll` has a tag for each word"),
        (["--kind=entities", "--calibrate"], "`--calibrate` is given for entities"),
        (["--kind=entities", "--metric=pearson"], "metric `pearson` does not measure entities"),
        (["--kind=tags", "--tag-scheme=iob1"], "`--tag-scheme` is for a task of the kind entities"),
    ] {
        let refused = place.train(
            "conll",
            &[&flags[..], &["--overwrite"][..usize::from(flags[1] != "--overwrite")]].concat(),
        );
        assert!(refused.code == Some(2) && refused.stderr.contains(expected), "{}", refused.stderr);
    }
}
