//! A bank for all tests, made once, and copies of it for those that change it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::json;
use tempfile::TempDir;

const OPINIONS: &str = "text,label\ngood film,1\nbad film,0\na good story,1\na bad story,0\nthe actor was good,1\n\
                        the actor was bad,0\ngood music,1\nbad music,0\n";
const SPAM: &str = "text,label\nwin a prize,spam\nsend the letter,ham\nwin money,spam\nsend music,ham\n";
const PAIRS: &str = "sentence1,sentence2,label\na film,a film,same\na film,a book,other\nmusic,music,same\n\
                     music,a letter,other\n";
const TOPICS: &str = "text,label\ngood film,\"film,good\"\nbad film,film\ngood music,good\nbad music,\n";
const NAMES: &str = "he O\nlondon B-person\nspoke O\n\nin O\nparis B-place\n\nshe O\nlondon B-person\nberlin I-person\nwas O\n\n\
                     it O\nwas O\nnew O\n\nin O\nrome B-place\n. O\n";
const STARS: &str = "text,label\ngood film,5\nbad film,1\na good story,4\na bad story,2\n";

/// Tasks of the bank that answer single texts.
pub const SINGLE: [&str; 3] = ["reviews", "spam", "stars"];

pub fn tiny_bert() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../grafter/tests/fixtures/tiny-bert").canonicalize().unwrap()
}

pub fn grafter(folder: &Path, arguments: &[&str]) -> String {
    let model = tiny_bert();
    let output = Command::new(env!("CARGO_BIN_EXE_grafter"))
        .args(arguments)
        .args(["--model", model.to_str().unwrap()])
        .current_dir(folder)
        .env("HF_HUB_OFFLINE", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Trains a task into `bank` in a folder.
pub fn train(folder: &Path, task: &str, rows: &str, more: &[&str]) {
    let file = format!("{task}.csv");
    std::fs::write(folder.join(&file), rows).unwrap();
    let (train, dev) = (format!("--train={file}"), format!("--dev={file}"));
    let arguments = ["train", &train, &dev, "--bank=bank", "--task", task, "--epochs=3", "--batch-size=4"];
    let length = if more.iter().any(|flag| flag.starts_with("--max-length")) {
        "--no-report"
    } else {
        "--max-length=32"
    };
    let settings = ["--bottleneck=8", length, "--no-dropout", "--pooling=mean"];
    grafter(folder, &[&arguments[..], &settings, more].concat());
}

fn shared() -> &'static Path {
    static SHARED: OnceLock<TempDir> = OnceLock::new();
    SHARED
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            grafter(folder.path(), &["bank", "init", "bank"]);
            train(folder.path(), "reviews", OPINIONS, &[]);
            train(folder.path(), "spam", SPAM, &["--adapt-from-layer=1", "--max-length=16"]);
            train(folder.path(), "stars", STARS, &["--kind=regression"]);
            train(folder.path(), "alike", PAIRS, &[]);
            folder
        })
        .path()
}

/// A folder with a bank of the tasks `reviews`, `spam`, `stars` and `alike`, of its own.
pub fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&shared().join("bank"), &folder.path().join("bank"));
    folder
}

/// A bank with a task of several labels, `topics`.
pub fn add_several_labels(folder: &Path) {
    train(folder, "topics", TOPICS, &["--kind=multi-label"]);
}

/// A bank with a task of entities, `names`.
pub fn add_entities(folder: &Path) {
    std::fs::write(folder.join("names.conll"), NAMES).unwrap();
    let flags = [
        "--bank=bank",
        "--task=names",
        "--kind=entities",
        "--epochs=60",
        "--lr=0.01",
        "--batch-size=4",
        "--max-length=32",
        "--no-dropout",
    ];
    grafter(folder, &[&["train", "--train=names.conll", "--dev=names.conll"], &flags[..]].concat());
}

/// A bank with a task that chooses, `tone`, and one that answers questions, `facts`.
pub fn add_choices_and_questions(folder: &Path) {
    let friendly =
        ["lovely", "nice", "wonderful", "brilliant"].iter().enumerate().map(|(place, friendly)| {
            let mut choices = ["awful", "dull"].map(str::to_owned).to_vec();
            choices.insert(place % 3, (*friendly).to_owned());
            json!({ "text": "it was", "choices": choices, "label": place % 3 }).to_string() + "\n"
        });
    add_lines(folder, ("tone", "multiple-choice"), &friendly.collect::<String>());
    let animals = [("cat", "red"), ("dog", "blue"), ("bird", "green")].iter().flat_map(|(animal, colour)| {
        let context = format!("the {animal} was {colour}");
        let answers = json!([{ "text": animal, "answer_start": 4 }]);
        [("who", answers), ("when", json!([]))].map(|(question, answers)| {
            json!({ "question": question, "context": context, "answers": answers }).to_string() + "\n"
        })
    });
    add_lines(folder, ("facts", "question-answering"), &animals.collect::<String>());
}

/// Trains a task of a kind into the bank on JSON Lines.
fn add_lines(folder: &Path, (task, kind): (&str, &str), lines: &str) {
    let file = format!("{task}.jsonl");
    std::fs::write(folder.join(&file), lines).unwrap();
    let (train, dev, kind) = (format!("--train={file}"), format!("--dev={file}"), format!("--kind={kind}"));
    let arguments = ["train", &train, &dev, &kind, "--bank=bank", "--task", task];
    let settings =
        ["--bottleneck=8", "--epochs=60", "--lr=0.02", "--batch-size=4", "--max-length=32", "--no-dropout"];
    grafter(folder, &[&arguments[..], &settings].concat());
}

/// A bank with a new version of `reviews`.
pub fn add_version(folder: &Path) {
    train(folder, "reviews", OPINIONS, &["--seed=7", "--new-version"]);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
