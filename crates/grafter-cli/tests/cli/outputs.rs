//! Where `predict` writes: lines, compressed lines, Parquet.

use super::*;

#[test]
fn the_name_of_the_output_says_what_it_is() {
    let place = Place::with_adapter();
    place.write("texts.txt", "good\nbad\n\ngood good\n");
    place.write("again.gz", "");
    let predict =
        |output: &str| place.run(&["predict", "--adapter=adapter", "--input=texts.txt", "--output", output]);
    assert_eq!(predict("plain.jsonl").code, Some(1));
    let expected = std::fs::read_to_string(place.path("plain.jsonl")).unwrap();
    assert_eq!(expected.lines().count(), 4);
    let before = place.names().len();
    for name in ["answers.jsonl.gz", "answers.jsonl.zst", "again.gz", "answers.parquet"] {
        assert_eq!(predict(name).code, Some(1), "{name}");
    }
    assert_eq!(place.names().len(), before + 3, "no temporary file is left");
    // What is compressed is read as what was written: each line is a text.
    place.write(
        "lines.jsonl",
        expected.lines().map(|line| format!("{}\n", serde_json::json!({"text": line}))).collect::<String>(),
    );
    let of_lines =
        |input: &[&str]| place.run(&[&["predict", "--adapter=adapter"], input].concat()).succeeded().stdout;
    let plain = of_lines(&["--input=lines.jsonl"]);
    for name in ["answers.jsonl.gz", "answers.jsonl.zst", "again.gz"] {
        assert!(of_lines(&["--format=lines", "--input", name]) == plain, "{name}");
    }
    let bytes = std::fs::read(place.path("answers.parquet")).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    // The labels that were answered, as labels.
    let columns = ["--text-column=label", "--label-column=score"];
    let scored = [&["predict", "--adapter=adapter", "--input=answers.parquet"][..], &columns].concat();
    let of_labels = place.run(&scored);
    assert_eq!((of_labels.code, of_labels.stdout.lines().count()), (Some(1), 4));
    // However the rows came in, the same bytes.
    place.write("good.txt", "good\nbad\ngood good\n");
    let from_file = ["predict", "--adapter=adapter", "--input=good.txt", "--output=file.parquet"];
    place.run(&from_file).succeeded();
    let mut slow = place.spawn_predict(&["--output=slow.parquet"]);
    let mut stdin = slow.stdin.take().unwrap();
    for line in ["good\n", "bad\n", "good good\n"] {
        stdin.write_all(line.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(stdin);
    assert!(slow.wait().unwrap().success());
    let bytes = |name: &str| std::fs::read(place.path(name)).unwrap();
    assert!(bytes("slow.parquet") == bytes("file.parquet"));
}

#[test]
fn an_output_that_cannot_be_is_told_and_nothing_is_left() {
    let place = Place::with_adapter();
    place.write("texts.txt", "good\n");
    place.write("broken.csv.gz", b"\x1f\x8b\x08\x00");
    place.write("kept.parquet", "as it was");
    std::fs::create_dir(place.path("folder.parquet")).unwrap();
    let before = place.names();
    let predict = |input: &str, output: &str| {
        place.told(&place.run(&["predict", "--adapter=adapter", "--input", input, "--output", output]))
    };
    assert_snapshot!(predict("texts.txt", "answers.parquet.gz"), @r#"
    exit code 2
    error: cannot write `answers.parquet.gz`: Parquet is compressed in itself: name it `.parquet`
    "#);
    assert_snapshot!(predict("texts.txt", "folder.parquet"), @r#"
    exit code 2
    error: cannot write `folder.parquet`: it is there and no plain file
    "#);
    assert_snapshot!(predict("texts.txt", "none/answers.parquet"), @r#"
    exit code 2
    error: cannot write `none/answers.parquet`: No such file or directory (os error 2)
    "#);
    assert_snapshot!(predict("broken.csv.gz", "kept.parquet"), @r#"
    exit code 2
    error: broken.csv.gz:0: cannot read: unexpected end of file
    "#);
    assert_eq!(place.names(), before);
    assert_eq!(std::fs::read_to_string(place.path("kept.parquet")).unwrap(), "as it was");
}

/// Ctrl-C while nothing comes in.
#[cfg(unix)]
#[test]
fn an_interrupted_table_leaves_nothing() {
    let place = Place::with_adapter();
    let before = place.names();
    let mut child = place.spawn_predict(&["--output=answers.parquet"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"good\n").unwrap();
    let begin = Instant::now();
    while place.names() == before {
        assert!(begin.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
    // The file is there before the handler is.
    std::thread::sleep(Duration::from_millis(300));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(place.names(), before);
}
