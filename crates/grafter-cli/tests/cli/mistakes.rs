//! What is typed wrong: each mistake is refused, or told, before it costs a run.

use super::*;

/// Standard error of what must be refused.
fn refused(place: &Place, arguments: &[&str]) -> String {
    let done = place.run(arguments);
    assert_eq!((done.code, &*done.stdout), (Some(2), ""), "{arguments:?}: {}", done.stderr);
    done.stderr
}

fn with_opinions() -> Place {
    let place = Place::new();
    place.write("train.csv", OPINIONS);
    place.write("dev.csv", OPINIONS);
    place
}

const FILES: [&str; 3] = ["train", "--train=train.csv", "--dev=dev.csv"];

#[test]
fn flags_of_adapters_are_refused_where_no_method_has_any() {
    let place = with_opinions();
    let files = ["--train=train.csv", "--dev=dev.csv", "--out=out"];
    for (command, methods, flag) in [
        ("train", "head", "--bottleneck=8"),
        ("train", "full", "--activation=relu"),
        ("train", "bias", "--init-std=0.1"),
        ("compare", "head,bias", "--bottleneck=8,64"),
        ("compare", "full,top-1", "--init-std=0.1"),
        ("compare", "head", "--activation=relu"),
        ("compare", "head", "--adapt-from-layer=1"),
        ("tune", "layernorm", "--bottleneck=8"),
    ] {
        let method = format!("--method={methods}");
        let told = refused(&place, &[&[command, &method, flag][..], &files].concat());
        let (flag, _) = flag.split_once('=').unwrap();
        let methods = methods.replace(',', ", ");
        let expected = format!(
            "error: `{flag}` is given for {methods}, expected a method with adapters, houlsby or pfeiffer\n"
        );
        assert_eq!(told, expected, "{command}");
    }
    assert_eq!(place.names(), ["dev.csv".to_owned(), "train.csv".to_owned()].into(), "nothing was written");
    // Beside a method that has adapters they hold for that one.
    let both =
        ["compare", "--method=head,houlsby", "--bottleneck=4", "--epochs=1", "--max-length=32", "--json"];
    place.run(&[&both[..], &files].concat()).succeeded();
}

#[test]
fn the_mean_is_refused_where_words_are_read() {
    let place = Place::new();
    place.write("train.conll", "Ada B-a\nwrote O\n\nLondon B-b\n");
    let files = ["--train=train.conll", "--dev=train.conll", "--out=out", "--pooling=mean"];
    for command in [&["train"][..], &["compare", "--method=houlsby"], &["tune"]] {
        let told = refused(&place, &[command, &["--kind=entities"], &files].concat());
        assert_eq!(told, "error: `--pooling` is mean, expected words for entities\n", "{command:?}");
    }
}

#[test]
fn flags_of_a_bank_are_refused_without_one() {
    let place = with_opinions();
    for flag in ["--task=x", "--new-version", "--made-up-probes", "--continue", "--no-fine-tuning"] {
        let told = refused(&place, &[&FILES[..], &["--out=out", flag]].concat());
        let (name, _) = flag.split_once('=').unwrap_or((flag, ""));
        assert!(told.contains("cannot be used with") && told.contains(name), "{flag}: {told}");
    }
    let told = refused(&place, &["predict", "--adapter=adapter", "--tasks=x", "--input=train.csv"]);
    assert!(told.contains("cannot be used with") && told.contains("--tasks"), "{told}");
}

#[test]
fn a_run_without_a_place_is_told_of_both() {
    let place = with_opinions();
    let done = place.run_bare(&FILES);
    assert_snapshot!(place.told(&done), @r#"
    exit code 2
    error: the following required arguments were not provided:
      <--out <DIR>|--bank <BANK>>

    Usage: grafter train [OPTIONS] --train <FILE>... --dev <FILE>... --out <DIR>
           grafter train [OPTIONS] --train <FILE>... --dev <FILE>... --bank <BANK> --task <NAME>
           grafter train [OPTIONS] --bank <BANK> --sequence <TOML>

    For more information, try '--help'.
    "#);
    let told = place.told(&place.run_bare(&[&FILES[..], &["--bank=bank"]].concat()));
    assert_snapshot!(told, @r#"
    exit code 2
    error: the following required arguments were not provided:
      <--task <NAME>|--sequence <TOML>>

    Usage: grafter train [OPTIONS] --train <FILE>... --dev <FILE>... --out <DIR>
           grafter train [OPTIONS] --train <FILE>... --dev <FILE>... --bank <BANK> --task <NAME>
           grafter train [OPTIONS] --bank <BANK> --sequence <TOML>

    For more information, try '--help'.
    "#);
    let help = place.run_bare(&["train", "--help"]).succeeded().stdout;
    assert!(
        help.contains("Usage: grafter train [OPTIONS] --train <FILE>... --dev <FILE>... --out <DIR>\n"),
        "{help}"
    );
}

#[test]
fn numbers_are_told_as_what_they_should_be() {
    let place = with_opinions();
    for (flag, expected) in [
        ("--epochs=1.5", "expected a whole number that is not negative\n"),
        ("--epochs=-1", "expected a whole number that is not negative\n"),
        ("--bottleneck=8,16", "expected a whole number that is not negative; this flag takes one\n"),
        ("--lr=fast", "expected a number such as 0.001 or 1e-3\n"),
        ("--warmup=10%", "expected a number such as 0.001 or 1e-3\n"),
    ] {
        let told = refused(&place, &[&FILES[..], &["--out=out", flag]].concat());
        assert!(told.contains(expected), "{flag}: {told}");
    }
    let told = refused(&place, &["tune", "--train=train.csv", "--dev=dev.csv", "--out=out", "--seed=1-3"]);
    assert!(told.contains("; a range is none\n"), "{told}");
}

#[test]
fn a_folder_is_no_file_and_a_file_no_folder() {
    let place = with_opinions();
    std::fs::create_dir(place.path("rows.csv")).unwrap();
    let done = place.run(&["check-data", "--train=rows.csv"]);
    assert_snapshot!(place.told(&done), @r#"
    exit code 2
    error: `rows.csv` is a folder, expected a file

    hint: name its files, all of one kind with a pattern, as `'rows.csv/*.csv'`
    "#);
    let done = place.run(&["compare", "--task=a=train.csv", "--method=head", "--out=out"]);
    assert_snapshot!(place.told(&done), @r#"
    exit code 2
    error: task `a`: `train.csv` is no folder

    hint: a task's folder holds `train` and `dev`, and `test` where it is labelled; `--train FILE --dev FILE` name the files of a single task
    "#);
}

#[test]
fn a_list_of_objects_is_told_how_it_becomes_lines() {
    let place = Place::new();
    let list = r#"[{"text": "good", "label": 1}, {"text": "bad", "label": 0}]"#;
    for (name, kind) in [
        ("rows.json", "classification"),
        ("rows.jsonl", "classification"),
        ("rows.json", "question-answering"),
    ] {
        place.write(name, list);
        let (file, kind) = (format!("--train={name}"), format!("--kind={kind}"));
        let told = refused(&place, &["train", &file, "--dev=rows.json", "--out=out", &kind]);
        assert!(told.contains("\nhint: ") && told.contains("`jq -c '.[]'`"), "{name}: {told}");
    }
}

#[test]
fn comments_among_words_are_told() {
    let place = Place::new();
    place.write("train.conll", "# text = Ada wrote\nAda B-a\nwrote O\n");
    let told = refused(
        &place,
        &["train", "--train=train.conll", "--dev=train.conll", "--out=out", "--kind=entities"],
    );
    assert!(told.contains("are read as words: take them out, e.g. with `grep -v '^# '`"), "{told}");
}

#[test]
fn rows_that_are_cut_are_counted_in_scores() {
    let place = Place::with_adapter();
    let long = format!("text,label\n{},1\nbad film,0\n", "good film ".repeat(40));
    place.write("long.csv", long);
    let eval = |more: &[&str]| place.run(&[&["eval", "--adapter=adapter"], more].concat()).succeeded();
    let told = eval(&["--data=long.csv"]).stdout;
    assert!(told.starts_with("2 rows, 1 of them longer than 32 tokens\n"), "{told}");
    assert_eq!(eval(&["--data=long.csv", "--json"]).json()["truncated"], 1);
    assert!(eval(&["--data=dev.csv"]).stdout.starts_with("8 rows\n"));
    assert_eq!(eval(&["--data=dev.csv", "--json"]).json()["truncated"], 0);
}

#[test]
fn scores_as_json_have_the_names_of_what_they_are_of() {
    let place = Place::new();
    for name in ["train.conll", "dev.conll"] {
        place.write(name, "Ada B-person\nLovelace I-person\nwrote O\n\nLondon B-place\nis O\n");
    }
    let trained = place.train("conll", &["--kind=entities", "--json"]).succeeded().json();
    let scored = place.run(&["eval", "--adapter=adapter", "--data=dev.conll", "--json"]).succeeded().json();
    for (told, scores) in [(&trained, &trained["dev_scores"]), (&scored, &scored["scores"])] {
        assert_eq!(told["types"], serde_json::json!(["person", "place"]));
        assert_eq!(told["labels"].as_array().unwrap().len(), 5);
        assert_eq!(scores["per_type"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn events_that_cannot_be_written_do_not_cost_the_adapter() {
    let place = with_opinions();
    place.write("taken", "");
    let done = place.train("csv", &["--tensorboard=taken", "--epochs", "1"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr.contains("warning: the event file of the run is not whole: cannot write `taken`: "),
        "{}",
        done.stderr
    );
    assert!(done.stdout.contains("adapter  adapter, "), "{}", done.stdout);
}

#[test]
fn the_same_rows_for_training_and_choosing_are_told() {
    let place = with_opinions();
    let warning =
        "is among the training rows and among the dev rows: the score tells nothing of other texts\n";
    let run = |dev: &str, out: &str| {
        let files = ["train", "--train=train.csv", dev, out, "--epochs=1"];
        place.run(&[&files[..], &QUICK].concat()).succeeded().stderr
    };
    let told = run("--dev=./train.csv", "--out=a");
    assert!(told.contains(&format!("warning: `./train.csv` {warning}")), "{told}");
    assert!(!run("--dev=dev.csv", "--out=b").contains("warning: "));
    // Nor is a score of one label alone.
    place.write("one.csv", "text,label\ngood film,1\ngood music,1\n");
    let told = run("--dev=one.csv", "--out=c");
    let warning =
        "warning: one.csv: all rows have the label `1`: the score does not tell how others are answered\n";
    assert!(told.contains(warning), "{told}");
    let told = place.run(&["eval", "--adapter=c", "--data=one.csv"]).succeeded().stderr;
    assert!(told.contains(warning), "{told}");
}

/// Whatever command trains on them.
#[test]
fn what_may_not_be_meant_of_rows_is_told_of_every_task() {
    let place = with_opinions();
    place.write("one.csv", "text,label\ngood film,1\ngood music,1\n");
    let same = "is among the training rows and among the test rows: the score tells nothing of other texts\n";
    let only = "one.csv: all rows have the label `1`: the score does not tell how others are answered\n";
    let files = ["compare", "--train=train.csv", "--dev=one.csv", "--test=train.csv", "--out=out"];
    let told = place.run(&[&files[..], &["--method=houlsby"], &QUICK].concat()).succeeded().stderr;
    assert!(told.contains(&format!("warning: `train.csv` {same}")), "{told}");
    assert!(told.contains(&format!("note: task `task`: {only}")), "{told}");

    place.run(&["bank", "init", "bank"]).succeeded();
    place.write(
        "tasks.toml",
        "[[task]]\nname = \"opinion\"\ntrain = \"train.csv\"\ndev = \"one.csv\"\ntest = \"train.csv\"\n",
    );
    let list = ["train", "--bank=bank", "--sequence=tasks.toml", "--no-fine-tuning"];
    let told = place.run(&[&list[..], &QUICK].concat()).succeeded().stderr;
    assert!(told.contains(&format!("warning: `train.csv` {same}")), "{told}");
    assert!(told.contains(&format!("warning: {only}")), "{told}");
}

#[test]
fn an_adapter_in_the_place_of_a_bank_is_told() {
    let place = Place::with_adapter();
    let done = place.run_bare(&["bank", "list", "adapter"]);
    assert_snapshot!(place.told(&done), @r#"
    exit code 2
    error: `adapter` is not a bank

    hint: it is an adapter: `grafter bank add` puts it into a bank, and `--adapter` names it where one answers
    "#);
    place.run(&["bank", "init", "bank"]).succeeded();
    let done = place.run(&["bank", "init", "bank"]);
    assert_snapshot!(place.told(&done), @r#"
    exit code 2
    error: `bank` exists and is not empty

    hint: it is a bank already: `train --bank` and `bank add` put tasks into it
    "#);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let told = refused(&place, &["serve", "--bank=bank", "--port", &port]);
    assert!(
        told.ends_with(
            "hint: another program listens there: name another port with `--port`; 0 takes a free one\n"
        ),
        "{told}"
    );
}

#[test]
fn limits_and_addresses_of_the_server_that_cannot_be_are_told() {
    let place = Place::new();
    for (flag, expected) in [
        ("--timeout=0", "expected more than 0 seconds\n"),
        ("--header-timeout=0", "expected more than 0 seconds\n"),
        ("--host=localhost", "expected an address such as 127.0.0.1 (this machine alone) or 0.0.0.0\n"),
    ] {
        let told = refused(&place, &["serve", "--bank=bank", flag]);
        assert!(told.contains(expected), "{flag}: {told}");
    }
}

#[test]
fn what_answers_and_what_is_compared_is_told_in_both_ways() {
    let place = Place::new();
    let told = refused(&place, &["predict", "--input=texts.txt"]);
    assert!(told.contains("\n  <--adapter <DIR>|--bank <BANK>>\n"), "{told}");
    let told = refused(&place, &["compare", "--method=head", "--out=out"]);
    assert!(told.contains("\n  <--task <NAME=DIR>|--train <FILE>...>\n"), "{told}");
}

#[test]
fn a_weight_of_no_label_is_told_with_the_labels() {
    let place = with_opinions();
    let done = place.run(&[&FILES[..], &["--out=out", "--class-weights=0=2,1=1"]].concat());
    assert_snapshot!(place.told(&done), @r#"
    exit code 2
    error: `--class-weights` is 0=2,1, expected `auto` or one of the labels `0`, `1`, and the flag once for each
    "#);
}

#[test]
fn the_page_of_an_ablation_is_named() {
    let place = Place::with_adapter();
    let ablate = ["ablate", "--adapter=adapter", "--data=dev.csv", "--report=page.html"];
    let told = place.run(&ablate).succeeded().stdout;
    assert!(told.ends_with("\n\nreport  page.html\n"), "{told}");
    assert!(std::fs::read_to_string(place.path("page.html")).unwrap().ends_with("</html>\n"));
}

/// Bytes that are nowhere: what an archive holds may be far larger than the archive.
#[cfg(target_os = "linux")]
#[test]
fn a_model_that_the_machine_has_no_memory_for_is_refused_before_it_is_read() {
    let place = with_opinions();
    std::fs::create_dir(place.path("base")).unwrap();
    for file in ["config.json", "tokenizer.json"] {
        std::fs::copy(tiny_bert().join(file), place.path("base").join(file)).unwrap();
    }
    let weights = std::fs::File::create(place.path("base/model.safetensors")).unwrap();
    weights.set_len(1 << 40).unwrap();
    for command in [&["inspect", "base"][..], &[FILES[0], FILES[1], FILES[2], "--model=base", "--out=out"]] {
        let done = place.run_bare(command);
        assert_eq!((done.code, &*done.stdout), (Some(2), ""), "{command:?}: {}", done.stderr);
        let told = "the model `base` takes 2199.02 GB of memory while it is read, ";
        assert!(done.stderr.starts_with(&format!("error: {told}")), "{}", done.stderr);
    }
}
