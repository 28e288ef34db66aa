//! Several files, and patterns of names, in place of one file.

use super::*;

/// The header and every second line from `first` on.
fn half(first: bool) -> String {
    let (header, rows) = OPINIONS.split_once('\n').unwrap();
    let lines: Vec<&str> = rows.lines().collect();
    let (one, two) = lines.split_at(lines.len() / 2);
    let half = if first { one } else { two };
    format!("{header}\n{}\n", half.join("\n"))
}

impl Place {
    /// The halves of the training file, and the whole.
    fn with_halves() -> Self {
        let place = Self::new();
        place.write("whole.csv", OPINIONS);
        place.write("part-1.csv", half(true));
        place.write("part-2.csv", half(false));
        place
    }

    fn train_on(&self, files: &[&str], out: &str) -> Done {
        let short: Vec<&str> = SHORT.iter().flat_map(|(flag, value)| [*flag, value]).collect();
        let rest = ["--dev", "whole.csv", "--out", out];
        self.run(&[&["train"], files, &rest, &QUICK, &short].concat())
    }
}

#[test]
fn halves_of_a_file_train_the_adapter_of_the_whole() {
    let place = Place::with_halves();
    place.train_on(&["--train", "whole.csv"], "whole").succeeded();
    for (out, files) in [
        ("pattern", &["--train", "part-*.csv"][..]),
        ("values", &["--train", "part-1.csv", "part-2.csv"]),
        ("flags", &["--train", "part-1.csv", "--train", "part-2.csv"]),
    ] {
        place.train_on(files, out).succeeded();
        for name in ["adapter.safetensors", "adapter.json"] {
            let bytes = |folder: &str| std::fs::read(place.path(folder).join(name)).unwrap();
            assert!(bytes(out) == bytes("whole"), "{out}: {name}");
        }
        let settings = std::fs::read_to_string(place.path(out).join("run.toml")).unwrap();
        assert!(settings.contains("\ntrain = [\"part-1.csv\",\"part-2.csv\"]\n"), "{settings}");
    }
    // What the report says repeats the run.
    std::fs::copy(place.path("pattern/run.toml"), place.path("run.toml")).unwrap();
    place.run(&["train", "--config=run.toml", "--out=again"]).succeeded();
    let bytes = |folder: &str| std::fs::read(place.path(folder).join("adapter.safetensors")).unwrap();
    assert!(bytes("again") == bytes("whole"));
    let scores = |data: &[&str]| {
        place.run(&[&["eval", "--adapter=whole", "--json"], data].concat()).succeeded().stdout
    };
    assert_eq!(scores(&["--data", "part-1.csv", "part-2.csv"]), scores(&["--data=whole.csv"]));
    let answers =
        |input: &[&str]| place.run(&[&["predict", "--adapter=whole"], input].concat()).succeeded().stdout;
    assert_eq!(answers(&["--input=part-?.csv"]), answers(&["--input=whole.csv"]));
}

#[test]
fn what_several_files_cannot_be_is_told() {
    let place = Place::with_halves();
    place.write("part-3.tsv", "text\tlabel\n");
    let told = |files: &[&str]| place.told(&place.train_on(files, "adapter"));
    assert_snapshot!(told(&["--train", "none-*.csv"]), @r#"
    exit code 2
    error: no file matches `none-*.csv`

    hint: `*` stands for any part of a name and `**` for any folders; keep a pattern in quotes from the shell
    "#);
    assert_snapshot!(told(&["--train", "part-1.csv", "part-*.csv"]), @r#"
    exit code 2
    error: part-1.csv: the same file is named twice
    "#);
    assert_snapshot!(told(&["--train", "part-*"]), @r#"
    exit code 2
    error: part-3.tsv: expected the format `csv`, as of part-1.csv, found `tsv`
    "#);
    assert_eq!(
        place.names(),
        Place::with_halves().names().into_iter().chain(["part-3.tsv".into()]).collect()
    );
}

#[test]
fn compare_finds_the_parts_of_a_split() {
    let place = Place::with_halves();
    std::fs::create_dir(place.path("task")).unwrap();
    for (from, to) in [
        ("part-1.csv", "train-00000-of-00002.csv"),
        ("part-2.csv", "train-00001-of-00002.csv"),
        ("whole.csv", "validation.csv"),
    ] {
        std::fs::copy(place.path(from), place.path("task").join(to)).unwrap();
    }
    let compare = |out: &str, data: &[&str]| {
        let flags = ["compare", "--method=head", "--epochs=1", "--batch-size=4", "--json", "--out", out];
        place.run(&[&flags, data].concat())
    };
    let parts = compare("parts", &["--task=data=task"]).succeeded().json();
    let whole = compare("whole", &["--train=whole.csv", "--dev=whole.csv"]).succeeded().json();
    let scores = |results: &Value| results["tasks"][0]["settings"][0]["dev"].clone();
    assert_eq!(scores(&parts), scores(&whole));
    assert_ne!(scores(&parts), Value::Null, "{parts}");
    std::fs::remove_file(place.path("task/train-00001-of-00002.csv")).unwrap();
    assert_snapshot!(place.told(&compare("other", &["--task=data=task"])), @r#"
    exit code 2
    error: task `data`: `task` has `train-00000-of-00002.csv` and not `train-00001-of-00002.csv`

    hint: bring all parts into the folder, or name the files with `--train` and `--dev`
    "#);
}
