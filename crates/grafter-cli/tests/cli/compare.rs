//! `compare` and `tune`: what they run, keep, continue and refuse.

use super::*;

/// Two seeds of two methods, one of them in two widths, on one task: six trials.
const GRID: [&str; 9] = [
    "compare",
    "--out=out",
    "--task=opinions=opinions",
    "--method=houlsby,head",
    "--bottleneck=4,8",
    "--seed=1,2",
    "--epochs=2",
    "--batch-size=4",
    "--max-length=32",
];
const TUNE: [&str; 9] = [
    "tune",
    "--train=opinions/train.csv",
    "--dev=opinions/dev.csv",
    "--out=adapter",
    "--bottleneck=4,8",
    "--lr=0.001,0.02",
    "--epochs=5",
    "--batch-size=4",
    "--max-length=32",
];

/// A place with the task `opinions`.
fn place() -> Place {
    let place = Place::new();
    std::fs::create_dir(place.path("opinions")).unwrap();
    for split in ["train", "dev", "test"] {
        place.write(&format!("opinions/{split}.csv"), OPINIONS);
    }
    place
}

impl Place {
    fn compare(&self, more: &[&str]) -> Done {
        self.run(&[&GRID[..], more].concat())
    }

    fn tune(&self, more: &[&str]) -> Done {
        self.run(&[&TUNE[..], more].concat())
    }

    /// `results.json` of a folder, without times.
    fn results(&self, folder: &str) -> Value {
        let mut results = self.read(&format!("{folder}/results.json"));
        without_seconds(&mut results);
        results
    }

    pub(super) fn read(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    fn trials(&self) -> BTreeSet<String> {
        self.names_in("out/trials").into_iter().filter(|name| name.ends_with(".json")).collect()
    }

    /// The names in a folder, of which there are none if it is missing.
    fn names_in(&self, folder: &str) -> BTreeSet<String> {
        let Ok(entries) = std::fs::read_dir(self.path(folder)) else { return BTreeSet::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Starts a comparison of long trials and waits until one is finished.
    fn begun(&self) -> Child {
        let model = tiny_bert();
        let arguments = [&GRID[..], &LONG, &["--jobs=1", "--model", model.to_str().unwrap()]].concat();
        let mut command = self.command(&arguments);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let start = Instant::now();
        while self.trials().is_empty() {
            assert!(start.elapsed() < PATIENCE, "no trial is finished");
            std::thread::sleep(Duration::from_millis(2));
        }
        child
    }
}

/// Trials that take long enough to be stopped within.
const LONG: [&str; 1] = ["--max-steps=300"];

fn without_seconds(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| name != "seconds");
            fields.values_mut().for_each(without_seconds);
        }
        Value::Array(items) => items.iter_mut().for_each(without_seconds),
        _ => {}
    }
}

#[test]
fn a_comparison_trains_chooses_and_writes() {
    let place = place();
    let done = place.compare(&["--json"]).succeeded();
    let results = done.json();
    assert_eq!(
        (&results["left"], &results["finished"], &results["planned"]),
        (&0.into(), &6.into(), &6.into())
    );
    assert_eq!(results["reference"], "houlsby", "the first, for `full` is not among them");
    let task = &results["tasks"][0];
    assert_eq!(
        (&task["metric"], &task["dev_rows"], &task["test_rows"]),
        (&"accuracy".into(), &8.into(), &8.into())
    );
    let settings = task["settings"].as_array().unwrap();
    let names: Vec<&Value> = settings.iter().map(|setting| &setting["bottleneck"]).collect();
    assert_eq!(names, [&4.into(), &8.into(), &Value::Null]);
    // The method with the better of its widths, with each of them, and the head.
    let methods = task["methods"].as_array().unwrap();
    let forms: Vec<[&Value; 2]> =
        methods.iter().map(|method| [&method["method"], &method["bottleneck"]]).collect();
    let of = |method: &str, bottleneck: Value| [Value::from(method), bottleneck];
    let expected = [
        of("houlsby", Value::Null),
        of("houlsby", 4.into()),
        of("houlsby", 8.into()),
        of("head", Value::Null),
    ];
    assert_eq!(forms, expected.each_ref().map(|form| form.each_ref()));
    let best = |method: usize| methods[method]["best"].as_u64().unwrap() as usize;
    assert_eq!([best(1), best(2), best(3)], [0, 1, 2]);
    for setting in settings {
        assert_eq!(setting["seeds"], serde_json::json!([1, 2]));
    }
    let dev = |method: usize| settings[best(method)]["dev"]["mean"].as_f64().unwrap();
    assert_eq!(dev(0), dev(1).max(dev(2)));
    let expected = dev(3) - dev(0);
    let difference = &methods[3]["dev_difference"];
    assert_eq!(difference["difference"].as_f64(), Some(expected));
    let ends =
        [&difference["interval"]["low"], &difference["interval"]["high"]].map(|end| end.as_f64().unwrap());
    assert!(ends[0] <= expected && expected <= ends[1], "{difference}");
    assert_eq!(methods[0]["dev_difference"], Value::Null, "the reference itself");
    let of_widths = [1, 2].map(|width| methods[width]["dev_difference"]["difference"].as_f64().unwrap());
    assert_eq!(of_widths, [1, 2].map(|width| dev(width) - dev(0)));
    // Two adapters of width 4 a layer on 32 features, five layer normalisations, a head of two classes.
    assert_eq!(settings[0]["trained_parameters"], 4 * (2 * 32 * 4 + 32 + 4) + 5 * 64 + 2 * 33);
    // The dev and the test rows are the same here.
    let record = place.read("out/trials/opinions.head.lr1e-2.seed1.json");
    assert_eq!(record["dev"], record["test"]);
    assert_eq!(record["dev"]["answers"]["classes"].as_array().unwrap().len(), 8);
    // The page: tables and figures, nothing loaded, nothing run.
    let page = std::fs::read_to_string(place.path("out/report.html")).unwrap();
    for part in ["Methods compared", "Dev score by trained numbers", "dev less houlsby"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for loads in ["<script", "<link", "http://", "https://", "NaN"] {
        assert!(!page.contains(loads), "{loads}");
    }
    // The figures of the page are files too.
    place.write("out/figures/gone.trained-numbers.svg", "of a task that is gone");
    place.compare(&[]).succeeded();
    let figures = place.names_in("out/figures");
    assert_eq!(page.matches("<figcaption>").count(), figures.len(), "{figures:?}");
    assert!(figures.contains("opinions.trained-numbers.svg"), "{figures:?}");
    for name in &figures {
        let figure = std::fs::read_to_string(place.path("out/figures").join(name)).unwrap();
        assert!(figure.contains(">opinions: Dev score by ") && !figure.contains("NaN"), "{name}: {figure}");
    }
    let csv = std::fs::read_to_string(place.path("out/results.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 6, "{csv}");
    assert!(csv.lines().nth(1).unwrap().starts_with("opinions,houlsby,4,0.001,0.01,1,completed,"), "{csv}");
    assert!(!place.path("out/adapters").exists(), "adapters are not kept unless asked for");
}

#[test]
fn people_read_a_table() {
    let place = place();
    std::fs::create_dir(place.path("more")).unwrap();
    for split in ["train", "dev"] {
        place.write(&format!("more/{split}.csv"), OPINIONS);
    }
    let done = place.compare(&["--task=more=more", "--jobs=1", "--metric=more=f1"]).succeeded();
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(lines[0], "opinions: accuracy, 8 training rows, 8 dev rows, 8 test rows");
    let columns =
        ["method", "setting", "trained", "seeds", "dev", "test", "dev less houlsby", "test less houlsby"];
    assert!(columns.iter().all(|column| lines[1].contains(column)), "{}", lines[1]);
    assert!(lines[4].starts_with("houlsby 8  bottleneck 8, lr 1e-3 "), "{}", lines[4]);
    assert!(lines[5].starts_with("head       lr 1e-2 "), "{}", lines[5]);
    assert_eq!(lines[7], "more: f1, 8 training rows, 8 dev rows");
    assert!(!lines[8].contains("test"), "{}", lines[8]);
    assert_eq!(lines[14], "average over the tasks");
    assert!(lines[18].starts_with("houlsby 8  2 of 2 tasks "), "{}", lines[18]);
    let cells: Vec<&str> = lines[18].split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(cells[3], "2", "seeds: {}", lines[18]);
    let told =
        "12 of 12 trials finished; `houlsby 8` has this one width, `houlsby` the best width of each task";
    assert!(lines.last().unwrap().starts_with(told), "{}", done.stdout);
    assert_eq!(done.stderr.lines().count(), 13, "a line for each trial: {}", done.stderr);
    assert!(
        done.stderr.starts_with("note: task `more`: the metric is f1 of `1`\n[1/12] opinions.houlsby.b4-lr1e-3-std1e-2.seed1: accuracy "),
        "{}",
        done.stderr
    );
    // A width of one task alone may be the best there, and is no row of its own.
    let done = place.compare(&["--bottleneck=2"]).succeeded();
    let rows = |name: &str| done.stdout.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(["houlsby 2 ", "houlsby 4 ", "houlsby 8 "].map(rows), [0, 3, 3], "{}", done.stdout);
}

#[test]
fn a_killed_comparison_goes_on_where_it_was() {
    let place = place();
    place.compare(&LONG).succeeded();
    let whole = place.results("out");
    let csv = |place: &Place| {
        let csv = std::fs::read_to_string(place.path("out/results.csv")).unwrap();
        csv.lines().map(|line| line.rsplit_once(',').unwrap().0.to_owned()).collect::<Vec<String>>()
    };
    let whole_csv = csv(&place);
    std::fs::rename(place.path("out"), place.path("whole")).unwrap();
    let mut child = place.begun();
    child.kill().unwrap();
    child.wait().unwrap();
    let before = place.trials();
    assert!(before.len() < 6, "it was killed before its end");
    let stamps = |names: &BTreeSet<String>| -> Vec<_> {
        let modified =
            |name: &String| place.path("out/trials").join(name).metadata().unwrap().modified().unwrap();
        names.iter().map(modified).collect()
    };
    let stamps_before = stamps(&before);
    // Killed in the middle of writing a file: what is left of it is no record.
    place.write("out/trials/.grafter-half", "{\"id\":");
    let done = place.compare(&LONG).succeeded();
    assert!(
        done.stderr.contains(&format!("{} of 6 trials were finished before", before.len())),
        "{}",
        done.stderr
    );
    assert_eq!(stamps(&before), stamps_before, "finished trials are not repeated");
    assert_eq!(place.results("out"), whole);
    assert_eq!(csv(&place), whole_csv);
}

/// The right answers are of the rows that are there when the plan is written.
#[test]
fn a_comparison_that_ended_while_it_began_takes_the_rows_that_are_there_now() {
    let place = place();
    place.compare(&[]).succeeded();
    for gone in ["compare.json", "results.json", "results.csv", "report.html"] {
        std::fs::remove_file(place.path("out").join(gone)).unwrap();
    }
    std::fs::remove_dir_all(place.path("out/trials")).unwrap();
    let before = place.read("out/tasks/opinions.json");
    let turned = OPINIONS.replace(",1\n", ",?\n").replace(",0\n", ",1\n").replace(",?\n", ",0\n");
    for split in ["train", "dev", "test"] {
        place.write(&format!("opinions/{split}.csv"), &turned);
    }
    place.compare(&[]).succeeded();
    let now = place.read("out/tasks/opinions.json");
    assert_ne!(now["dev"], before["dev"]);
    std::fs::remove_dir_all(place.path("out")).unwrap();
    place.compare(&[]).succeeded();
    assert_eq!(now, place.read("out/tasks/opinions.json"));
}

#[test]
fn right_answers_that_are_gone_are_told_before_anything_is_trained() {
    let place = place();
    place.compare(&[]).succeeded();
    std::fs::remove_file(place.path("out/tasks/opinions.json")).unwrap();
    let trials = place.trials();
    let other = ["--train=opinions/train.csv", "--dev=opinions/dev.csv", "--out=out", "--method=bias"];
    let done =
        place.run(&[&["compare", "--epochs=2", "--batch-size=4", "--max-length=32"], &other[..]].concat());
    assert_eq!(
        (done.code, &done.stderr[..]),
        (
            Some(2),
            "error: `out` has trials of task `opinions`, and not its right answers\n\n\
             hint: name that task with `--task` too: then they are written again\n"
        )
    );
    assert_eq!(place.trials(), trials);
    place.compare(&[]).succeeded();
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_is_finished() {
    let place = place();
    let child = place.begun();
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let done = Done::of(child.wait_with_output().unwrap());
    assert_eq!(done.code, Some(130), "{}", done.stderr);
    let finished = place.trials().len();
    let told = format!("interrupted: {} of 6 trials left; the same command continues", 6 - finished);
    assert!(done.stderr.contains(&told), "{}", done.stderr);
    assert_eq!(place.results("out")["finished"], finished, "the results so far are written");
}

#[test]
fn the_number_of_jobs_and_threads_does_not_change_the_results() {
    let place = place();
    let mut seen = BTreeSet::new();
    for (folder, jobs, threads) in [("a", "1", "1"), ("b", "3", "3"), ("c", "1", "2"), ("d", "9", "2")] {
        let out = format!("--out={folder}");
        let grid = [&GRID[..1], &GRID[2..]].concat();
        place.run(&[&grid[..], &[&out, "--jobs", jobs, "--threads", threads]].concat()).succeeded();
        seen.insert(place.results(folder).to_string());
    }
    assert_eq!(seen.len(), 1);
}

#[test]
fn more_seeds_and_tasks_are_added_to_a_comparison() {
    let place = place();
    place.compare(&["--jobs=1"]).succeeded();
    let before = place.trials();
    std::fs::create_dir(place.path("more")).unwrap();
    for split in ["train", "dev"] {
        place.write(&format!("more/{split}.csv"), OPINIONS);
    }
    let grid: Vec<&str> = GRID.into_iter().filter(|flag| !flag.starts_with("--seed")).collect();
    let done = place.run(&[&grid[..], &["--seed=3", "--task=more=more", "--json"]].concat()).succeeded();
    let results = done.json();
    // Those of before, seed 3 of the first task, seed 3 of the second.
    assert_eq!((&results["planned"], &results["finished"]), (&(6 + 3 + 3).into(), &(6 + 3 + 3).into()));
    assert_eq!(results["tasks"][0]["settings"][2]["seeds"], serde_json::json!([1, 2, 3]));
    assert_eq!(results["tasks"][1]["settings"][2]["seeds"], serde_json::json!([3]));
    assert!(place.trials().is_superset(&before));
}

#[test]
fn a_trial_that_diverges_is_recorded_and_the_others_go_on() {
    let place = place();
    let done = place.compare(&["--lr=1e-3,1e30", "--json"]).succeeded();
    let results = done.json();
    assert_eq!(results["finished"], 12);
    let record = place.read("out/trials/opinions.houlsby.b4-lr1e30-std1e-2.seed1.json");
    assert_eq!(
        (&record["ending"], &record["dev"], &record["test"]),
        (&"diverged".into(), &Value::Null, &Value::Null)
    );
    for method in results["tasks"][0]["methods"].as_array().unwrap() {
        let best = &results["tasks"][0]["settings"][method["best"].as_u64().unwrap() as usize];
        assert_eq!((&best["learning_rate"], &best["diverged"]), (&0.001.into(), &0.into()));
    }
    assert!(done.stderr.contains("b4-lr1e30-std1e-2.seed1: accuracy –, diverged, "), "{}", done.stderr);
    // Again nothing is run: divergence is a result.
    let done = place.compare(&["--lr=1e-3,1e30"]).succeeded();
    assert_eq!(done.stderr, "12 of 12 trials were finished before\n");
    assert!(done.stdout.contains("12 of 12 trials finished, "), "{}", done.stdout);
}

#[test]
fn a_budget_ends_a_comparison_between_trials() {
    let place = place();
    let done = place.compare(&["--budget=0s", "--json"]).succeeded();
    assert_eq!(done.stderr, "the time is over: 6 of 6 trials left; the same command continues\n");
    assert_eq!((&done.json()["left"], &done.json()["finished"]), (&6.into(), &0.into()));
    let done = place.compare(&["--budget=0s"]).succeeded();
    assert!(done.stdout.contains("head       not finished\n"), "{}", done.stdout);
    assert_eq!(place.compare(&["--json"]).succeeded().json()["finished"], 6);
}

#[test]
fn test_rows_without_labels_are_left_out_and_that_is_told() {
    let place = place();
    place.write("opinions/test.csv", "text\ngood\nbad\n");
    let done = place.compare(&["--seed=1"]);
    assert_snapshot!(done.stderr.lines().next().unwrap(), @"note: task `opinions`: the test rows are left out, for opinions/test.csv:1: no label column `label`, found `text`");
    assert_eq!(place.results("out")["tasks"][0]["test_rows"], Value::Null);
}

#[test]
fn a_regression_is_compared_by_its_correlation() {
    let place = Place::new();
    let rows = "text,label\none,1000\ntwo,2000\nthree,3000\nthe number one,1000\nthe number two,2000\n";
    for name in ["train.csv", "dev.csv", "test.csv"] {
        place.write(name, rows);
    }
    let grid = ["compare", "--train=train.csv", "--dev=dev.csv", "--test=test.csv", "--kind=regression"];
    let more =
        ["--method=head,houlsby", "--bottleneck=4", "--max-length=32", "--out=out", "--json", "--keep"];
    let results = place.run(&[&grid[..], &more].concat()).succeeded().json();
    let task = &results["tasks"][0];
    assert_eq!((&task["task"], &task["metric"]), (&"task".into(), &"pearson".into()));
    assert!(task["methods"][1]["dev_difference"]["interval"]["low"].is_number(), "{task}");
    let adapter = "out/adapters/task.houlsby.b4-lr1e-3-std1e-2.seed42";
    let scores = place.run(&["eval", "--adapter", adapter, "--data=test.csv", "--json"]).succeeded().json();
    let record = place.read("out/trials/task.houlsby.b4-lr1e-3-std1e-2.seed42.json");
    assert_eq!(
        record["test"]["scores"], scores["scores"],
        "`eval` says the same of the adapter that was kept"
    );
}

// ------------------------------------------------------------------------------------------------ refusals

#[test]
fn a_folder_of_another_comparison_is_refused() {
    let place = place();
    place.compare(&["--seed=1"]).succeeded();
    let refused = |more: &[&str]| place.told(&place.compare(more));
    assert_snapshot!(refused(&["--warmup=0.2"]), @r#"
    exit code 2
    error: `out` was begun with options: `train.warmup` `0.1`, this command has `0.2`

    hint: name another `--out` for another comparison
    "#);
    assert_snapshot!(refused(&["--base=int8"]), @r#"
    exit code 2
    error: `out` was begun with base: `precision` `f32`, this command has `int8`

    hint: name another `--out` for another comparison
    "#);
    assert_snapshot!(refused(&["--metric=f1"]), @r#"
    exit code 2
    note: task `opinions`: the metric is f1 of `1`
    error: `out` was begun with task `opinions`: `metric` `accuracy`, this command has `f1`

    hint: name another `--out` for another comparison
    "#);
    place.write("opinions/dev.csv", format!("{OPINIONS}fine,1\n"));
    assert_snapshot!(refused(&[]), @r#"
    exit code 2
    error: `out` was begun with task `opinions`: `dev.sha256` `SHA256`, this command has `SHA256`

    hint: name another `--out` for another comparison
    "#);
    place.write("opinions/dev.csv", OPINIONS);
    let mut plan = place.read("out/compare.json");
    plan["tool"] = "grafter 0.0.1".into();
    place.write("out/compare.json", plan.to_string());
    let told = refused(&[]).replace(env!("CARGO_PKG_VERSION"), "VERSION");
    assert_snapshot!(told, @r#"
    exit code 2
    error: `out` was begun with the program `grafter 0.0.1` (layout 2), this command has `grafter VERSION` (layout 2)

    hint: name another `--out` for another comparison
    "#);
}

#[test]
fn a_folder_that_is_no_comparison_is_refused_and_left_as_it_is() {
    let place = place();
    let grid: Vec<&str> = GRID.into_iter().filter(|flag| !flag.starts_with("--out")).collect();
    let done = place.run(&[&grid[..], &["--out=opinions"]].concat());
    let told = place.told(&done);
    assert!(
        told.starts_with(
            "exit code 2\nerror: `opinions` exists and is not the folder of a comparison: it holds `"
        ),
        "{told}"
    );
    assert_eq!(std::fs::read_dir(place.path("opinions")).unwrap().count(), 3);
}

#[test]
fn a_folder_in_use_is_refused() {
    let place = place();
    place.compare(&["--budget=0s"]).succeeded();
    let lock = std::fs::File::open(place.path("out/lock")).unwrap();
    lock.lock().unwrap();
    assert_snapshot!(place.told(&place.compare(&[])), @r#"
    exit code 2
    error: `out` is in use by another `grafter`

    hint: wait for it, or name another `--out`
    "#);
    drop(lock);
    place.compare(&[]).succeeded();
}

#[test]
fn a_broken_record_is_an_error_and_not_a_result() {
    let place = place();
    place.compare(&[]).succeeded();
    let name = "out/trials/opinions.head.lr1e-2.seed1.json";
    place.write(name, "{}");
    assert_snapshot!(place.told(&place.compare(&[])), @r#"
    exit code 2
    error: `out/trials/opinions.head.lr1e-2.seed1.json` cannot be used: missing field `id` at line 1 column 2

    hint: a trial whose record is removed is run again
    "#);
    std::fs::copy(place.path("out/trials/opinions.head.lr1e-2.seed2.json"), place.path(name)).unwrap();
    assert_snapshot!(place.told(&place.compare(&[])), @r#"
    exit code 2
    error: `out/trials/opinions.head.lr1e-2.seed1.json` cannot be used: it is the record of trial `opinions.head.lr1e-2.seed2`

    hint: a trial whose record is removed is run again
    "#);
    std::fs::remove_file(place.path(name)).unwrap();
    place.compare(&[]).succeeded();
}

#[test]
fn an_adapter_that_cannot_be_kept_costs_no_trial() {
    let place = place();
    std::fs::create_dir(place.path("out")).unwrap();
    place.compare(&["--budget=0s"]).succeeded();
    // Where the adapters' folder would be.
    place.write("out/adapters", "in the way");
    let done = place.compare(&["--keep", "--jobs=1"]);
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert_eq!(place.trials().len(), 1, "the first is recorded, no other began: {}", done.stderr);
    std::fs::remove_file(place.path("out/adapters")).unwrap();
    let done = place.compare(&["--keep", "--jobs=1"]).succeeded();
    let told = "1 of 6 trials were finished before\nthe adapters of 1 trial are not there: remove their files in `trials`";
    assert!(done.stderr.starts_with(told), "{}", done.stderr);
    assert_eq!(std::fs::read_dir(place.path("out/adapters")).unwrap().count(), 5);
}

#[test]
fn results_that_cannot_be_written_cost_no_trial() {
    let place = place();
    std::fs::create_dir_all(place.path("out/trials")).unwrap();
    place.compare(&["--budget=0s"]).succeeded();
    std::fs::remove_file(place.path("out/results.json")).unwrap();
    std::fs::create_dir(place.path("out/results.json")).unwrap();
    let told = place.told(&place.compare(&["--jobs=1"]));
    assert!(told.contains("error: cannot write `out/results.json`: "), "{told}");
    assert!(
        told.ends_with("hint: trials that are recorded are kept; the same command continues\n"),
        "{told}"
    );
    assert_eq!(place.trials().len(), 6);
}

#[test]
fn tasks_that_cannot_be_compared() {
    let place = place();
    let refused = |more: &[&str]| {
        place.told(&place.run(&[&["compare", "--out=out", "--max-length=32"], more].concat()))
    };
    assert_snapshot!(refused(&["--task=a=nowhere", "--method=head"]), @r#"
    exit code 2
    error: task `a`: `nowhere` is no folder

    hint: a task's folder holds `train` and `dev`, and `test` where it is labelled; `--train FILE --dev FILE` name the files of a single task
    "#);
    assert_snapshot!(refused(&["--task=a=opinions", "--task=a=opinions", "--method=head"]), @r#"
    exit code 2
    error: task `a` is named twice
    "#);
    assert_snapshot!(refused(&["--task=a/b=opinions", "--method=head"]), @r#"
    exit code 2
    error: task name `a/b` is not 1 to 64 letters, digits, `-` and `_`
    "#);
    assert_snapshot!(refused(&["--task=a=opinions", "--method=head", "--metric=pearson"]), @r#"
    exit code 2
    error: task `a`: metric `pearson` does not measure classification

    hint: for classification use `accuracy`, `f1`, `macro-f1`, `matthews`
    "#);
    assert_snapshot!(refused(&["--task=a=opinions", "--method=head", "--metric=b=f1"]), @r#"
    exit code 2
    error: `--metric` names the task `b`, which there is not
    "#);
    assert_snapshot!(refused(&["--task=a=opinions", "--method=houlsby", "--bottleneck=0"]), @r#"
    exit code 2
    error: `--bottleneck` is 0, expected 1 or more
    "#);
    place.write("opinions/dev.tsv", OPINIONS);
    assert_snapshot!(refused(&["--task=a=opinions", "--method=head"]), @r#"
    exit code 2
    error: task `a`: `opinions` has both `dev.csv` and `dev.tsv`

    hint: remove one of them
    "#);
    std::fs::remove_file(place.path("opinions/dev.tsv")).unwrap();
    std::fs::remove_file(place.path("opinions/dev.csv")).unwrap();
    assert_snapshot!(refused(&["--task=a=opinions", "--method=head"]), @r#"
    exit code 2
    error: task `a`: `opinions` has no `dev.tsv`, `.csv`, `.jsonl`, `.parquet`, `.conll` or `.json`, compressed or not

    hint: a task's folder holds `train` and `dev`, and `test` where it is labelled
    "#);
    assert!(!place.path("out").exists(), "what is refused leaves nothing");
}

#[test]
fn grids_that_cannot_be_read() {
    let place = place();
    let refused = |more: &[&str]| {
        let told = place.told(&place.run(&[&["compare", "--out=out", "--task=a=opinions"], more].concat()));
        told.lines().take(2).collect::<Vec<_>>().join("\n")
    };
    assert!(refused(&["--method=huolsby"]).contains("unknown method `huolsby`"));
    assert!(refused(&["--method="]).starts_with("exit code 2\nerror: "));
    assert!(refused(&[]).contains("required arguments were not provided"));
    assert!(refused(&["--method=head", "--seed="]).starts_with("exit code 2\nerror: "));
    let told = refused(&["--method=head", "--budget=30"]);
    assert!(told.contains("expected a time as in `90s`, `30m` or `1h30m`, found `30`"), "{told}");
    let told = place.told(&place.run(&["compare", "--out=out", "--method=head"]));
    assert!(told.contains("--task <NAME=DIR>"), "{told}");
}

// ---------------------------------------------------------------------------------------------------- tune

fn files(place: &Place, adapter: &str) -> Vec<Vec<u8>> {
    let names = ["adapter.safetensors", "adapter.json", "README.md"];
    names.map(|name| std::fs::read(place.path(adapter).join(name)).unwrap()).into()
}

#[test]
fn tune_ends_with_the_adapter_that_train_would_give() {
    let place = place();
    let done = place.tune(&["--json"]).succeeded();
    let report = done.json();
    let best = &report["best"];
    assert_eq!(report["results"]["finished"], 2 * 2 * 2, "two widths, two rates, two seeds");
    let settings = report["results"]["tasks"][0]["settings"].as_array().unwrap();
    let means = settings.iter().map(|setting| setting["dev"]["mean"].as_f64().unwrap());
    assert_eq!(report["mean"].as_f64(), means.max_by(f64::total_cmp));
    let value = |name: &str| best[name].to_string();
    let arguments = [
        "train",
        "--train=opinions/train.csv",
        "--dev=opinions/dev.csv",
        "--out=trained",
        "--epochs=5",
        "--batch-size=4",
        "--max-length=32",
        // A card tells of a report that lies beside it.
        "--no-report",
    ];
    let setting =
        ["--bottleneck", &value("bottleneck"), "--lr", &value("learning_rate"), "--seed", &value("seed")];
    place.run(&[&arguments[..], &setting].concat()).succeeded();
    assert_eq!(files(&place, "adapter"), files(&place, "trained"));
    let kept: Vec<_> = std::fs::read_dir(place.path("adapter.trials/adapters")).unwrap().collect();
    assert_eq!(kept.len(), 1, "of the others only the results are kept");
}

#[test]
fn tune_goes_on_and_replaces_its_own_adapter_alone() {
    let place = place();
    let done = place.tune(&["--budget=0s"]);
    assert_snapshot!(place.told(&done), @r#"
    exit code 2
    the time is over: 8 of 8 trials left; the same command continues
    error: no trial was finished in the time

    hint: allow more with `--budget`; the same command continues
    "#);
    let done = place.tune(&["--seed=1"]).succeeded();
    let words: Vec<&str> = done.stdout.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(words, ["best", "adapter", "written", "trials"], "{}", done.stdout);
    let first = files(&place, "adapter");
    // The adapters of the trials are gone: the best is trained again, to the same bytes.
    std::fs::remove_dir_all(place.path("adapter.trials/adapters")).unwrap();
    let done = place.tune(&["--seed=1"]).succeeded();
    assert!(done.stderr.contains("was not kept and is trained again"), "{}", done.stderr);
    assert_eq!(files(&place, "adapter"), first);
    place.tune(&[]).succeeded();
    // Another adapter is not replaced.
    place.write("train.csv", OPINIONS);
    place.write("dev.csv", OPINIONS);
    place.train("csv", &["--overwrite"]).succeeded();
    let other = files(&place, "adapter");
    let done = place.tune(&[]);
    assert_eq!(done.code, Some(2));
    assert!(done.stderr.starts_with("error: `adapter` exists"), "{}", done.stderr);
    assert_eq!(files(&place, "adapter"), other);
    place.tune(&["--overwrite"]).succeeded();
}

#[test]
fn tune_where_everything_diverges() {
    let place = place();
    let tune: Vec<&str> = TUNE.into_iter().filter(|flag| !flag.starts_with("--lr")).collect();
    let done = place.run(&[&tune[..], &["--lr=1e30", "--jobs=1"]].concat());
    let told = place.told(&done);
    let end: Vec<&str> = told.lines().rev().take(3).collect();
    assert_eq!(end[2], "error: no setting has a score with each of its seeds", "{told}");
    assert_eq!(end[0], "hint: smaller learning rates with `--lr` help most often", "{told}");
    assert!(!place.path("adapter").exists());
    let done = place.tune(&["--trials=adapter/trials"]);
    assert!(done.stderr.contains("are in each other's way"), "{}", done.stderr);
}

// ----------------------------------------------------------------------------------------------- reproduce

#[test]
fn glue_is_read_in_both_layouts_and_shown_beneath_the_paper() {
    let place = Place::new();
    for folder in ["sst2", "CoLA", "STS-B", "MNLI"] {
        std::fs::create_dir_all(place.path("glue").join(folder)).unwrap();
    }
    let cola = "gj04\t1\t\tthe actor was good\nbc\t0\t*\tfilm bad a\ngj04\t1\t\ta good \"story\nbc\t0\t*\twas the bad\n";
    let stsb =
        "index\tsentence1\tsentence2\tscore\n0\tone\ttwo\t1.5\n1\tred\tred\t5.0\n2\tblue\tnever\t0.2\n";
    let mnli = "index\tsentence1_parse\tsentence1\tsentence2\tlabel1\tgold_label\n0\t( one )\tone\ttwo\tx\tneutral\n\
                1\t( one )\tred\tred\tx\tentailment\n2\t( one )\tblue\tnever\tx\tcontradiction\n";
    for split in ["train", "dev", "test"] {
        place.write(&format!("glue/sst2/{split}.tsv"), OPINIONS.replace(',', "\t"));
    }
    for split in ["train", "dev"] {
        place.write(&format!("glue/CoLA/{split}.tsv"), cola);
        place.write(&format!("glue/STS-B/{split}.tsv"), stsb);
    }
    place.write("glue/MNLI/train.tsv", mnli);
    place.write("glue/MNLI/dev_matched.tsv", mnli);
    let glue =
        ["reproduce", "glue", "--data=glue", "--out=out", "--method=head", "--epochs=1", "--max-length=32"];
    let done = place.run(&glue).succeeded();
    let table: Vec<&str> = done.stdout.lines().rev().take(6).collect();
    let cells = |line: &str| line.rsplit("  ").filter(|cell| !cell.is_empty()).count();
    assert_eq!(
        table[5].split_whitespace().collect::<Vec<_>>(),
        ["trained", "cola", "sst2", "stsb", "mnli", "mean"]
    );
    // (60.5 + 94.9 + 87.6 + 86.7) / 4
    assert_eq!(
        table[4].split_whitespace().collect::<Vec<_>>(),
        ["paper:", "full", "100.0", "%", "60.5", "94.9", "87.6", "86.7", "82.4"]
    );
    assert!(table[1].starts_with("head, dev") && cells(table[1]) == 7, "{}", table[1]);
    let test: Vec<&str> = table[0].split_whitespace().collect();
    assert_eq!(
        (test[..2].to_vec(), test[3..5].to_vec(), test[6..].to_vec()),
        (vec!["head,", "test"], vec!["%", "–"], vec!["–", "–", "–"])
    );
    let page = std::fs::read_to_string(place.path("out/report.html")).unwrap();
    assert!(page.contains("Houlsby et al. 2019, table 1") && page.contains("paper: adapters 8-256"));
    let json = place.run(&[&glue[..], &["--json"]].concat()).succeeded().json();
    assert_eq!(json["table_1"]["tasks"], serde_json::json!(["cola", "sst2", "stsb", "mnli"]));
    let rows = &json["table_1"]["rows"];
    assert_eq!((&rows[0]["name"], &rows[0]["scores"][0]), (&"paper: full".into(), &60.5.into()));
    assert_eq!(rows[3]["name"], "head, dev");
    let dev = results_mean(&json["tasks"][0]);
    assert!((rows[3]["scores"][0].as_f64().unwrap() - 100.0 * dev).abs() < 1e-9);
    let results = place.results("out");
    let metrics: Vec<&Value> =
        results["tasks"].as_array().unwrap().iter().map(|task| &task["metric"]).collect();
    assert_eq!(metrics, ["matthews", "accuracy", "spearman", "accuracy"]);
    assert_eq!(results["tasks"][0]["dev_rows"], 4, "no row of CoLA is taken for a header");
    let done = place.run(&glue).succeeded();
    assert_eq!(done.stderr, "4 of 4 trials were finished before\n");
    // As in the paper, the best of the widths and each of them.
    let widths = ["--task=sst2", "--method=houlsby", "--bottleneck=2,4", "--out=widths", "--json"];
    let json = place
        .run(&[&["reproduce", "glue", "--data=glue"], &glue[5..], &widths[..]].concat())
        .succeeded()
        .json();
    let names: Vec<&Value> =
        json["table_1"]["rows"].as_array().unwrap()[3..].iter().map(|row| &row["name"]).collect();
    let expected = [
        "houlsby, dev",
        "houlsby, test",
        "houlsby 2, dev",
        "houlsby 2, test",
        "houlsby 4, dev",
        "houlsby 4, test",
    ];
    assert_eq!(names, expected);
    let told = place.told(&place.run(&["reproduce", "glue", "--data=out", "--out=other"]));
    assert_snapshot!(told, @r#"
    exit code 2
    error: `out` has no folder of a task of GLUE

    hint: known are cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, and GLUE's own names
    "#);
}

/// The mean dev score of the first method's best setting on a task.
fn results_mean(task: &Value) -> f64 {
    let best = task["methods"][0]["best"].as_u64().unwrap() as usize;
    task["settings"][best]["dev"]["mean"].as_f64().unwrap()
}

/// Where files name their classes in words, the one that the paper's F1 is of may come first.
#[test]
fn f1_of_another_class_is_not_shown_beneath_the_paper() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("glue/mrpc")).unwrap();
    let rows = "sentence1\tsentence2\tlabel\na\tb\tyes\nc\td\tno\ne\tf\tno\n";
    let glue = ["reproduce", "glue", "--data=glue", "--method=head", "--epochs=1", "--max-length=32"];
    for (yes, no, refused) in [("1", "0", false), ("equivalent", "not_equivalent", true)] {
        let rows = rows.replace("yes", yes).replace("no", no);
        for split in ["train", "dev"] {
            place.write(&format!("glue/mrpc/{split}.tsv"), &rows);
        }
        let done = place.run(&[&glue[..], &[&format!("--out={no}")]].concat());
        assert_eq!(done.code, Some(if refused { 2 } else { 0 }), "{}", done.stderr);
        let told = match refused {
            true => {
                "error: task `mrpc`: F1 is of the second class, which is `not_equivalent`, and the paper's"
            }
            false => "note: task `mrpc`: the metric is f1 of `1`\n",
        };
        assert!(done.stderr.contains(told), "{}", done.stderr);
    }
}

/// A Parquet file with bytes between its data and its footer that nothing reads: of the size of the file that it stands for.
fn of_size(file: &[u8], size_bytes: u64) -> Vec<u8> {
    let tail = file.len() - 8;
    let footer = tail - u32::from_le_bytes(file[tail..tail + 4].try_into().unwrap()) as usize;
    let more = vec![0; size_bytes as usize - file.len()];
    [&file[..footer], &more, &file[footer..]].concat()
}

/// What the cache holds is not fetched, and a start looks at sizes only, as with models.
#[test]
fn glue_of_the_hub_is_taken_from_the_cache() {
    let place = Place::new();
    let glue = grafter::hub::KNOWN_DATA.iter().find(|data| data.name == "glue").unwrap();
    let commit = format!("cache/datasets/glue/{}", glue.revision);
    for part in glue.parts.iter().filter(|part| ["cola", "qqp", "stsb"].contains(&part.name)) {
        let folder = format!("{commit}/{}", part.name);
        std::fs::create_dir_all(place.path(&folder)).unwrap();
        for file in part.files {
            let rows = of_size(&parquet(&format!("glue-{}.parquet", part.name)), file.size_bytes);
            place.write(&format!("{folder}/{}", file.name), rows);
        }
    }
    let run = |more: &[&str]| {
        let glue = ["reproduce", "glue", "--out=out", "--method=head", "--epochs=1", "--max-length=32"];
        place.run(&[&glue[..], more].concat())
    };
    let done = run(&["--task=stsb,qqp,cola"]).succeeded();
    let from = format!("GLUE is `nyu-mll/glue` of the Hugging Face hub at commit {}\n", glue.revision);
    assert!(done.stderr.starts_with(&from), "{}", done.stderr);
    assert!(done.stderr.contains(": rows with an empty text are left out: 1\n"), "{}", done.stderr);
    let results = place.results("out");
    let tasks = results["tasks"].as_array().unwrap();
    let of = |name: &str| tasks.iter().map(|task| task[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("task"), ["cola", "stsb", "qqp"], "in the order of the table");
    assert_eq!(of("metric"), ["matthews", "spearman", "f1"]);
    assert_eq!(of("dev_rows"), [6, 3, 5]);
    // F1 is of the second class, which is `duplicate` as on the hub; in the order of the bytes it would be the first.
    let answers: Value =
        serde_json::from_slice(&std::fs::read(place.path("out/tasks/qqp.json")).unwrap()).unwrap();
    assert_eq!(answers["dev"]["classes"], serde_json::json!([1, 1, 0, 0, 0]));
    // The same folder by its path is the same comparison.
    let again = run(&[&format!("--data={commit}")]).succeeded();
    assert!(again.stderr.ends_with("3 of 3 trials were finished before\n"), "{}", again.stderr);
    // What the cache does not hold would be fetched, and the network is switched off.
    let told = place.told(&run(&["--task=rte"]));
    assert_snapshot!(told, @r#"
    exit code 2
    GLUE is `nyu-mll/glue` of the Hugging Face hub at commit bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c
    fetching `glue/rte` from the Hugging Face hub (`nyu-mll/glue`)
    error: data set `glue/rte` could not be fetched:
      the Hugging Face hub (`nyu-mll/glue`): `HF_HUB_OFFLINE` is set and the files are not in the hub's own cache

    hint: unset `HF_HUB_OFFLINE`, or pass a folder with the files: `--data <DIR>`
    "#);
    assert_snapshot!(place.told(&run(&["--task=cola,wnli"])), @r#"
    exit code 2
    error: `--task`: no task `wnli` in table 1

    hint: known are cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte
    "#);
    assert_snapshot!(place.told(&run(&["--task=rte", "--data=out"])), @r#"
    exit code 2
    error: `out` has no folder of the task `rte`

    hint: its name is `rte`, or GLUE's own, `RTE`
    "#);
}
