//! `bank`, and `train` and `predict` with a bank: what comes in answers as it did, nothing that ends in the middle does
//! harm, and every refusal says what to do.

use super::*;

const SPAM: &str = "text,label\nwin a prize,spam\nsend the letter,ham\nwin money,spam\nsend music,ham\nwin now,spam\n\
                    a letter,ham\nwin win,spam\nthe music,ham\n";
const PAIRS: &str = "sentence1,sentence2,label\na film,a film,same\na film,a book,other\nmusic,music,same\n\
                     music,a letter,other\n";

impl Place {
    /// `train` into the bank `bank`, on a file of its own.
    fn train_into(&self, task: &str, content: &str, more: &[&str]) -> Done {
        let file = format!("{task}.csv");
        self.write(&file, content);
        let (train, dev) = (format!("--train={file}"), format!("--dev={file}"));
        let arguments =
            ["train", &train, &dev, "--bank=bank", "--task", task, "--epochs=3", "--batch-size=4"];
        self.run(&[&arguments[..], &QUICK, more].concat())
    }

    /// A bank with the tasks `reviews` and `spam`.
    fn with_bank() -> Self {
        let place = Self::new();
        place.run(&["bank", "init", "bank"]).succeeded();
        place.train_into("reviews", OPINIONS, &[]).succeeded();
        place.train_into("spam", SPAM, &[]).succeeded();
        place
    }

    fn verdicts(&self) -> Vec<(String, String)> {
        let verified = self.run(&["bank", "verify", "bank", "--json"]).json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        verified
            .as_array()
            .unwrap()
            .iter()
            .map(|line| (text(&line["task"]), text(&line["verdict"])))
            .collect()
    }

    fn tasks(&self) -> Vec<String> {
        let list = self.run_bare(&["bank", "list", "bank", "--json"]).succeeded().json();
        list["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|task| task["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn same(tasks: &[&str]) -> Vec<(String, String)> {
    tasks.iter().map(|task| ((*task).to_owned(), "same".to_owned())).collect()
}

#[test]
fn tasks_are_trained_into_a_bank_and_answer_together() {
    let place = Place::with_bank();
    assert_eq!(place.tasks(), ["reviews", "spam"]);
    assert_eq!(place.verdicts(), same(&["reviews", "spam"]));
    place.write("texts.txt", "a good film\nwin money\n");
    let input = ["predict", "--bank=bank", "--input=texts.txt"];
    let together = place.run(&input).succeeded().json_lines();
    assert_eq!(together.len(), 2);
    for task in ["reviews", "spam"] {
        let alone = place.run(&[&input[..], &["--tasks", task]].concat()).succeeded().json_lines();
        for (together, alone) in together.iter().zip(&alone) {
            assert_eq!(together[task], alone[task], "to the last digit");
            assert!(alone[task]["label"].is_string());
        }
    }
    // The order is that of the question.
    let asked = place.run(&[&input[..], &["--tasks=spam,reviews"]].concat()).succeeded();
    assert!(asked.stdout.starts_with("{\"spam\":"), "{}", asked.stdout);
    // By version, and as the adapter's folder alone.
    let list = place.run_bare(&["bank", "list", "bank", "--json"]).json();
    let version = list["tasks"][0]["version"].as_str().unwrap();
    let asked = format!("reviews@{}", &version[..10]);
    let by_version = place.run(&[&input[..], &["--tasks", &asked]].concat()).succeeded().json_lines();
    assert_eq!(by_version[0][&asked], together[0]["reviews"]);
    let folder = format!("--adapter=bank/tasks/reviews/{version}");
    let by_folder = place.run(&["predict", &folder, "--input=texts.txt"]).succeeded().json_lines();
    assert_eq!(by_folder[1], together[1]["reviews"]);
}

#[test]
fn a_bank_tells_people_what_is_in_it() {
    let place = Place::with_bank();
    let list = place.run_bare(&["bank", "list", "bank"]).succeeded();
    let lines: Vec<&str> = list.stdout.lines().collect();
    assert_eq!(lines.len(), 5, "{}", list.stdout);
    assert!(lines[1].starts_with("reviews") && lines[2].starts_with("spam"), "{}", list.stdout);
    let json = place.run_bare(&["bank", "list", "bank", "--json"]).json();
    let (base, all) = (json["base_parameters"].as_f64().unwrap(), json["total_times_base"].as_f64().unwrap());
    let trained: f64 = (0..2).map(|task| json["tasks"][task]["trained_parameters"].as_f64().unwrap()).sum();
    assert!((all - (base + trained) / base).abs() < 1e-12);
    assert!(lines[4].contains(&format!("{all:.2} times")), "{}", lines[4]);
    let verified = place.run(&["bank", "verify", "bank"]).succeeded();
    assert_eq!(verified.stdout.matches("to the last bit").count(), 2, "{}", verified.stdout);
    assert!(verified.stdout.ends_with("2 versions: nothing was forgotten\n"), "{}", verified.stdout);
}

#[test]
fn a_changed_task_is_found_and_named_and_the_others_are_not() {
    let place = Place::with_bank();
    let list = place.run_bare(&["bank", "list", "bank", "--json"]).json();
    let version = list["tasks"][1]["version"].as_str().unwrap();
    let weights = place.path(&format!("bank/tasks/spam/{version}/adapter.safetensors"));
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let verified = place.run(&["bank", "verify", "bank"]);
    assert_eq!(verified.code, Some(1));
    let changed: Vec<&str> = verified.stdout.lines().filter(|line| line.contains("CHANGED")).collect();
    assert!(changed.len() == 1 && changed[0].starts_with("spam@"), "{}", verified.stdout);
    let json = place.run(&["bank", "verify", "bank", "--json"]);
    assert_eq!(json.code, Some(1));
    let verdict = |task: usize| json.json()[task]["verdict"].as_str().unwrap().to_owned();
    assert_eq!((verdict(0), verdict(1)), ("same".to_owned(), "changed".to_owned()));
    // Nobody is answered by it.
    place.write("texts.txt", "a good film\n");
    let refused = place.run(&["predict", "--bank=bank", "--input=texts.txt"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""));
    // Nor by one whose versions cannot be read. It stands in no other's way.
    place.write("bank/tasks/spam/task.json", "{");
    let refused = place.run(&["predict", "--bank=bank", "--input=texts.txt"]);
    assert!(refused.stderr.contains("spam/task.json"), "{}", refused.stderr);
    place.run(&["predict", "--bank=bank", "--input=texts.txt", "--tasks=reviews"]).succeeded();
    let list = place.run_bare(&["bank", "list", "bank"]).succeeded();
    assert!(list.stdout.contains("reviews") && !list.stdout.contains("spam"), "{}", list.stdout);
    assert!(list.stderr.contains("warning: `spam` cannot be read"), "{}", list.stderr);
    let json = place.run_bare(&["bank", "list", "bank", "--json"]).succeeded().json();
    assert_eq!(
        (json["tasks"].as_array().unwrap().len(), &json["broken"][0]["name"]),
        (1, &Value::from("spam"))
    );
    let verified = place.run(&["bank", "verify", "bank"]);
    assert_eq!(verified.code, Some(1));
    assert!(verified.stdout.contains("\nspam  CHANGED  "), "{}", verified.stdout);
    let nested = place.run_bare(&["inspect", "bank"]);
    assert!(nested.stderr.contains("hint: it is a bank"), "{}", nested.stderr);
}

#[test]
fn an_adapter_of_its_own_comes_into_a_bank_with_probes_of_a_file_or_made_up() {
    let place = Place::with_adapter();
    place.run(&["bank", "init", "bank"]).succeeded();
    place.run(&["bank", "add", "bank", "adapter", "--task=made-up"]).succeeded();
    place.run(&["bank", "add", "bank", "adapter", "--task=of-a-file", "--probes=dev.csv"]).succeeded();
    assert_eq!(place.verdicts(), same(&["made-up", "of-a-file"]));
    let probes = |task: &str| {
        let folder = std::fs::read_dir(place.path(&format!("bank/tasks/{task}"))).unwrap();
        let folder = folder.map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
        std::fs::read_to_string(folder.join("probes.json")).unwrap()
    };
    assert!(probes("of-a-file").contains("the actor was good"));
    assert!(!probes("made-up").contains("the actor was good"));
    // What a training run keeps is decided by a flag.
    place.train_into("kept", OPINIONS, &[]).succeeded();
    place.train_into("not-kept", OPINIONS, &["--made-up-probes", "--no-report"]).succeeded();
    assert!(probes("kept").contains("the actor was good"));
    assert!(!probes("not-kept").contains("the actor was good"));
}

#[test]
fn a_new_version_becomes_the_newest_and_goes_again() {
    let place = Place::with_bank();
    let version = |place: &Place| {
        let list = place.run_bare(&["bank", "list", "bank", "--json"]).json();
        (
            list["tasks"][0]["version"].as_str().unwrap().to_owned(),
            list["tasks"][0]["versions"].as_u64().unwrap(),
        )
    };
    let (first, _) = version(&place);
    let taken = place.train_into("reviews", OPINIONS, &["--seed=7"]);
    assert_snapshot!(place.told(&taken), @r"
    exit code 2
    error: the bank has a task `reviews`

    hint: `--new-version` adds a version, which becomes what `reviews` means; the earlier one stays
    ");
    place.train_into("reviews", OPINIONS, &["--seed=7", "--new-version"]).succeeded();
    let (second, versions) = version(&place);
    assert_ne!(first, second);
    assert_eq!(versions, 2);
    assert_eq!(place.verdicts(), same(&["reviews", "reviews", "spam"]));
    place.run_bare(&["bank", "remove", "bank", &format!("reviews@{second}")]).succeeded();
    assert_eq!(version(&place), (first, 1));
    place.run_bare(&["bank", "remove", "bank", "reviews"]).succeeded();
    assert_eq!(place.tasks(), ["spam"]);
    assert_eq!(place.verdicts(), same(&["spam"]));
}

#[test]
fn a_task_on_pairs_answers_pairs_beside_one_on_single_texts() {
    let place = Place::with_bank();
    place.train_into("alike", PAIRS, &[]).succeeded();
    place.write("texts.txt", "a good film\n");
    // Of a file of single texts those that can answer.
    let all = place.run(&["predict", "--bank=bank", "--input=texts.txt"]).succeeded().json_lines();
    assert_eq!(all[0].as_object().unwrap().keys().collect::<Vec<_>>(), ["reviews", "spam"]);
    let done = place.run(&["predict", "--bank=bank", "--input=texts.txt", "--tasks=alike,reviews"]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let answers = done.json_lines();
    assert_eq!(answers[0]["alike"]["error"], "line 1: expected a pair, found one text");
    let twice = place.run(&["predict", "--bank=bank", "--input=texts.txt", "--tasks=spam,spam"]);
    assert_eq!((twice.code, twice.stdout.as_str()), (Some(2), ""));
    assert!(answers[0]["reviews"]["label"].is_string());
    let only = place.run(&["predict", "--bank=bank", "--input=texts.txt", "--tasks=alike"]);
    assert_eq!(only.code, Some(2), "{}", only.stderr);
    assert!(only.stderr.contains("the tasks answer pairs of texts, found single texts"), "{}", only.stderr);
}

#[test]
fn refusals_say_what_to_do() {
    let place = Place::with_bank();
    let told = |arguments: &[&str]| place.told(&place.run_bare(arguments));
    assert_snapshot!(told(&["bank", "list", "nowhere"]), @r"
    exit code 2
    error: `nowhere` is not a bank

    hint: `grafter bank init nowhere` makes one
    ");
    assert_snapshot!(told(&["bank", "remove", "bank", "reviws"]), @r"
    exit code 2
    error: the bank has no task `reviws`

    hint: it has reviews, spam
    ");
    assert_snapshot!(told(&["predict", "--bank=bank", "--tasks=reviews@00000000"]).lines().take(2).collect::<Vec<_>>().join("\n"), @r"
    exit code 2
    error: no version of the bank's task is `reviews@00000000`
    ");
    assert_snapshot!(told(&["bank", "remove", "bank", "../spam"]), @r"
    exit code 2
    error: invalid value '../spam' for '<NAME[@VERSION]>': `../spam` is no name of a task, expected `[a-z0-9][a-z0-9._-]*` of at most 64 characters

    For more information, try '--help'.
    ");
    assert_snapshot!(told(&["bank", "verify", "bank"]), @r"
    exit code 2
    error: the bank's model is called `tiny-bert`, which is no known model

    hint: pass its folder as `--model <DIR>`
    ");
    assert_snapshot!(place.told(&place.run(&["bank", "init", "bank"])), @r"
    exit code 2
    error: `bank` exists and is not empty

    hint: it is a bank already: `train --bank` and `bank add` put tasks into it
    ");
    place.run(&["bank", "init", "empty"]).succeeded();
    assert_snapshot!(place.told(&place.run(&["predict", "--bank=empty"])), @r"
    exit code 2
    error: the bank `empty` has no task yet

    hint: `grafter train --bank <BANK> --task <NAME>` trains one into it
    ");
    assert_snapshot!(place.told(&place.train_into("new", OPINIONS, &["--log=bank/log.jsonl"])), @r"
    exit code 2
    error: `--log bank/log.jsonl` and `--bank bank` are in each other's way

    hint: write the log beside the bank, not in it
    ");
    assert_eq!(place.verdicts(), same(&["reviews", "spam"]));
}

/// However far a process came that was killed, every task is there as it was or not at all.
#[test]
fn a_process_that_is_killed_leaves_a_whole_bank() {
    let place = Place::with_adapter();
    place.run(&["bank", "init", "bank"]).succeeded();
    let model = tiny_bert();
    let add = |task: &str| {
        let task = format!("--task={task}");
        let arguments = ["bank", "add", "bank", "adapter", &task, "--model", model.to_str().unwrap()];
        place.command(&arguments).spawn().unwrap()
    };
    let begun = Instant::now();
    assert!(add("first").wait().unwrap().success());
    let whole = begun.elapsed();
    // From the first instant to after the last: the kills fall into every part of the work.
    const KILLS: u32 = 40;
    let mut killed = 0;
    for kill in 0..KILLS {
        let mut child = add(&format!("task-{kill}"));
        std::thread::sleep(whole * kill / (KILLS - 10));
        killed += usize::from(child.try_wait().unwrap().is_none());
        let _ = child.kill();
        child.wait().unwrap();
    }
    assert!(killed >= 5, "only {killed} were killed before their end");
    let tasks = place.tasks();
    assert!(tasks.contains(&"first".to_owned()), "{tasks:?}");
    assert!(place.verdicts().iter().all(|(_, verdict)| verdict == "same"));
    assert_eq!(place.verdicts().len(), tasks.len());
    // What was left lying is cleared by the next.
    assert!(add("last").wait().unwrap().success());
    assert_eq!(std::fs::read_dir(place.path("bank/incoming")).unwrap().count(), 0);
}

#[test]
fn processes_that_change_a_bank_at_once_all_succeed() {
    let place = Place::with_adapter();
    place.run(&["bank", "init", "bank"]).succeeded();
    let model = tiny_bert();
    let children: Vec<Child> = (0..6)
        .map(|task| {
            let task = format!("--task=task-{task}");
            let arguments = ["bank", "add", "bank", "adapter", &task, "--model", model.to_str().unwrap()];
            place.command(&arguments).spawn().unwrap()
        })
        .collect();
    for child in children {
        Done::of(child.wait_with_output().unwrap()).succeeded();
    }
    let expected: Vec<String> = (0..6).map(|task| format!("task-{task}")).collect();
    assert_eq!(place.tasks(), expected);
}

const TASKS: &str = "[[task]]\nname = \"reviews\"\ntrain = \"data/reviews.csv\"\ndev = \"data/reviews.csv\"\n\n\
                     [[task]]\nname = \"spam\"\ntrain = \"data/spam.csv\"\ndev = \"data/spam.csv\"\n\
                     test = \"data/test.csv\"\nmetric = \"f1\"\n\n\
                     [[task]]\nname = \"rating\"\ntrain = \"data/rating.csv\"\ndev = \"data/rating.csv\"\nkind = \"regression\"\n";
const RATINGS: &str =
    "text,label\ngood film,5\nbad film,1\na good story,4.5\na bad story,2\ngood music,5\nbad music,1.5\n";

/// A bank without tasks and the files of a sequence of three.
fn with_sequence() -> Place {
    let place = Place::new();
    place.run(&["bank", "init", "bank"]).succeeded();
    std::fs::create_dir(place.path("data")).unwrap();
    for (name, content) in [("reviews", OPINIONS), ("spam", SPAM), ("test", SPAM), ("rating", RATINGS)] {
        place.write(&format!("data/{name}.csv"), content);
    }
    place.write("tasks.toml", TASKS);
    place
}

#[test]
fn a_sequence_shows_what_is_left_of_each_task() {
    let place = with_sequence();
    let flags =
        ["train", "--bank=bank", "--sequence=tasks.toml", "--epochs=20", "--batch-size=4", "--lr=0.02"];
    let done = place.run(&[&flags[..], &QUICK].concat()).succeeded();
    assert_eq!(place.tasks(), ["rating", "reviews", "spam"]);
    assert!(place.verdicts().iter().all(|(_, verdict)| verdict == "same"));
    let matrices: Value =
        serde_json::from_slice(&std::fs::read(place.path("bank.forgetting.json")).unwrap()).unwrap();
    assert_eq!(matrices.as_array().unwrap().len(), 2);
    for matrix in matrices.as_array().unwrap() {
        let task = |task: &Value| format!("{} {}", task["name"], task["metric"]).replace('"', "");
        let tasks: Vec<String> = matrix["tasks"].as_array().unwrap().iter().map(task).collect();
        assert_eq!(tasks, ["reviews accuracy", "spam f1", "rating pearson"]);
        let lengths: Vec<usize> =
            matrix["scores"].as_array().unwrap().iter().map(|row| row.as_array().unwrap().len()).collect();
        assert_eq!(lengths, [1, 2, 3]);
    }
    let score =
        |matrix: usize, after: usize, task: usize| matrices[matrix]["scores"][after][task].as_f64().unwrap();
    // To the last digit.
    for task in 0..2 {
        for after in task..3 {
            assert_eq!(score(0, after, task), score(0, task, task));
        }
    }
    assert!(score(0, 0, 0) > 0.9 && score(0, 1, 1) > 0.9, "{matrices}");
    assert!(done.stdout.contains("exactly what it scored after its own"), "{}", done.stdout);
    let page = std::fs::read_to_string(place.path("bank.forgetting.html")).unwrap();
    for method in
        ["houlsby, each task with its own adapter", "full, one model fine-tuned on each task in turn"]
    {
        assert!(page.contains(method), "{method}");
    }
    // The same names again are refused before anything is trained.
    let again = place.run(&flags);
    assert_eq!(again.code, Some(2));
    assert!(again.stderr.contains("the bank has a task `reviews`"), "{}", again.stderr);
    assert_eq!(again.stdout, "");
}

/// A bank in which the first two tasks of the sequence were trained before something ended it.
#[test]
fn a_sequence_that_was_interrupted_goes_on_where_it_was() {
    let flags = ["train", "--bank=bank", "--no-fine-tuning", "--epochs=3", "--batch-size=4", "--sequence"];
    let run = |place: &Place, more: &[&str]| place.run(&[&flags[..], more, &QUICK].concat());
    let numbers = |place: &Place| std::fs::read_to_string(place.path("bank.forgetting.json")).unwrap();
    let whole = with_sequence();
    run(&whole, &["tasks.toml"]).succeeded();

    let place = with_sequence();
    let third = TASKS.find("[[task]]\nname = \"rating\"").unwrap();
    place.write("begun.toml", &TASKS[..third]);
    run(&place, &["begun.toml"]).succeeded();
    let refused = run(&place, &["tasks.toml"]);
    assert!(refused.stderr.contains("hint: `--continue` goes on"), "{}", refused.stderr);
    let refused = run(&place, &["tasks.toml", "--continue", "--seed=7"]);
    assert!(refused.stderr.contains("the bank's task `reviews` was trained otherwise"), "{}", refused.stderr);
    // The second was trained and not scored yet.
    let both = numbers(&place);
    let mut matrices: Value = serde_json::from_str(&both).unwrap();
    for field in ["tasks", "scores"] {
        matrices[0][field].as_array_mut().unwrap().pop();
    }
    place.write("bank.forgetting.json", matrices.to_string());
    run(&place, &["begun.toml", "--continue"]).succeeded();
    assert_eq!(numbers(&place), both);

    let refused = |told: &str| {
        let refused = run(&place, &["tasks.toml", "--continue"]);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""));
        assert!(refused.stderr.contains(told), "{told}: {}", refused.stderr);
    };
    std::fs::remove_file(place.path("bank.forgetting.json")).unwrap();
    refused("lacks the scores of 2");
    place.write("bank.forgetting.json", "[]");
    refused("lacks the scores of 2");
    place.write("bank.forgetting.json", "{");
    refused("holds no scores");
    matrices[0]["tasks"] = serde_json::from_str::<Value>(&both).unwrap()[0]["tasks"].clone();
    place.write("bank.forgetting.json", matrices.to_string());
    refused("is of other tasks");
    place.write("bank.forgetting.json", &both);
    // Other rows under the same names.
    place.write("data/test.csv", SPAM.replace("win money", "win a house"));
    refused("is of other tasks, or of other rows");
    place.write("data/test.csv", SPAM);
    place.write("data/spam.csv", format!("{SPAM}one more,spam\n"));
    refused("the bank's task `spam` was trained on other rows");
    place.write("data/spam.csv", SPAM);
    // Another sequence would take the report's place.
    place.write("third.toml", &TASKS[third..]);
    let other = run(&place, &["third.toml"]);
    assert!(other.stderr.contains("is the report of another sequence"), "{}", other.stderr);
    place.write("bank.forgetting.json", &both);
    let done = run(&place, &["tasks.toml", "--continue"]).succeeded();
    assert!(done.stdout.starts_with("3 of 3: rating"), "{}", done.stdout);
    assert_eq!(numbers(&place), numbers(&whole));
    let versions = |place: &Place| place.run_bare(&["bank", "list", "bank"]).succeeded().stdout;
    assert_eq!(versions(&place), versions(&whole));
    // All is done.
    let again = run(&place, &["tasks.toml", "--continue"]).succeeded();
    assert!(!again.stdout.contains("of 3: "), "{}", again.stdout);
    assert_eq!(numbers(&place), numbers(&whole));
}

#[test]
fn a_list_of_tasks_that_cannot_be_used_is_refused_before_training() {
    let place = with_sequence();
    let told = |list: &str| {
        place.write("bad.toml", list);
        let done = place.run(&["train", "--bank=bank", "--sequence=bad.toml"]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""));
        done.stderr
    };
    let task = "name = \"a\"\ntrain = \"data/spam.csv\"\ndev = \"data/spam.csv\"\n";
    for (list, part) in [
        ("", "missing field `task`"),
        ("task = []", "no task"),
        ("[[task]]\nname = \"a\"\n", "missing field `train`"),
        (&format!("[[task]]\n{task}epochs = 3\n"), "unknown field `epochs`"),
        (&format!("[[task]]\n{task}[[task]]\n{task}"), "two tasks are called `a`"),
        (&format!("[[task]]\n{}", task.replace("\"a\"", "\"../a\"")), "`../a` is no name of a task"),
        (&format!("[[task]]\n{}", task.replace("spam", "none")), "data/none.csv"),
        (&format!("[[task]]\n{task}metric = \"pearson\"\n"), "pearson"),
        (&format!("[[task]]\n{task}kind = \"regression\"\n"), "data/spam.csv:2"),
        ("[[task", "bad.toml"),
    ] {
        let stderr = told(list);
        assert!(stderr.contains(part), "{list}: {stderr}");
    }
    assert!(place.tasks().is_empty());
}
