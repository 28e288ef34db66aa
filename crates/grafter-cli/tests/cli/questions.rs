//! Choices and questions: from files to answers by every command, and what is refused by name.

use serde_json::json;

use super::*;

/// Rows whose right choice is the friendly word, in places one after another.
fn choices() -> Vec<(String, [&'static str; 3], usize)> {
    let (good, bad) = (["wonderful", "lovely", "brilliant", "nice"], ["awful", "dull", "boring", "terrible"]);
    let texts = ["the film was", "the music was", "the food was", "the story was", "the room was", "it was"];
    let row = |(place, text): (usize, &&str)| {
        let right = place % 3;
        let choice = |at: usize| if at == right { good[place % 4] } else { bad[(place + at) % 4] };
        ((*text).to_owned(), [choice(0), choice(1), choice(2)], right)
    };
    texts.iter().enumerate().map(row).collect()
}

fn choice_lines() -> String {
    let line = |(text, choices, label)| {
        json!({ "text": text, "choices": choices, "label": label }).to_string() + "\n"
    };
    choices().into_iter().map(line).collect()
}

fn choice_table(header: &str) -> String {
    let line = |(text, choices, label): (String, [&str; 3], usize)| {
        format!("{text},{},{label}\n", choices.join(","))
    };
    format!("{header}\n{}", choices().into_iter().map(line).collect::<String>())
}

/// A question, and its answer with the character where that begins, if there is one.
type Asked = (&'static str, Option<(&'static str, usize)>);

/// Contexts with their questions: the answer and its first character, or none. The last is read in two windows.
fn contexts() -> Vec<(String, Vec<Asked>)> {
    let one = |animal: &'static str, colour: &'static str| {
        let context = format!("the {animal} was {colour}");
        (
            context,
            vec![("who", Some((animal, 4))), ("what", Some((colour, 9 + animal.len()))), ("when", None)],
        )
    };
    let far = format!("{}the fish was white", "one ".repeat(30));
    let asked = vec![("who", Some(("fish", 124))), ("what", Some(("white", 133))), ("when", None)];
    vec![one("cat", "red"), one("dog", "blue"), one("bird", "green"), (far, asked)]
}

/// A document as SQuAD has it; of answers alone where each question has one.
fn squad(with_none: bool) -> String {
    let paragraph = |(context, asked): (String, Vec<Asked>)| {
        let asked = asked.into_iter().filter(|(_, answer)| with_none || answer.is_some());
        let question = |(question, answer): Asked| {
            let answers: Vec<Value> =
                answer.iter().map(|(text, start)| json!({ "text": text, "answer_start": start })).collect();
            json!({ "id": question, "question": question, "answers": answers, "is_impossible": answer.is_none() })
        };
        json!({ "context": context, "qas": asked.map(question).collect::<Vec<_>>() })
    };
    let paragraphs: Vec<Value> = contexts().into_iter().map(paragraph).collect();
    json!({ "version": "v2.0", "data": [{ "title": "animals", "paragraphs": paragraphs }] }).to_string()
}

/// The same questions as JSON Lines.
fn question_lines() -> String {
    let lines = contexts().into_iter().flat_map(|(context, asked)| {
        asked.into_iter().map(move |(question, answer)| {
            let (texts, starts): (Vec<&str>, Vec<usize>) = answer.into_iter().unzip();
            let answers = json!({ "text": texts, "answer_start": starts });
            json!({ "question": question, "context": context, "answers": answers }).to_string() + "\n"
        })
    });
    lines.collect()
}

/// A gzip file of stored blocks (RFC 1951, section 3.2.4; RFC 1952, sections 2.3 and 8).
fn gzipped(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    let crc = content.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    });
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    file.extend(length.to_le_bytes());
    file.extend((!length).to_le_bytes());
    file.extend(content);
    file.extend((!crc).to_le_bytes());
    file.extend(u32::from(length).to_le_bytes());
    file
}

const CHOOSE: [&str; 3] = ["--kind=multiple-choice", "--epochs", "60"];
const ANSWER: [&str; 3] = ["--kind=question-answering", "--epochs", "60"];

impl Place {
    /// The same content to train on and as dev rows.
    fn of(extension: &str, content: impl AsRef<[u8]>) -> Self {
        let place = Self::new();
        for split in ["train", "dev"] {
            place.write(&format!("{split}.{extension}"), &content);
        }
        place
    }

    fn answers(&self, more: &[&str]) -> Vec<Value> {
        self.run(&[&["predict", "--adapter=adapter"], more].concat()).succeeded().json_lines()
    }

    /// What the adapter answers to rows on standard input.
    fn answers_to(&self, format: &str, input: &str) -> Vec<Value> {
        let format = format!("--format={format}");
        feed(self.spawn_predict(&[&format]), input.as_bytes().to_vec()).succeeded().json_lines()
    }

    fn content(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}

#[test]
fn choices_are_learnt_from_every_form() {
    let place = Place::of("jsonl", choice_lines());
    let trained = place.train("jsonl", &[&CHOOSE[..], &["--json"]].concat()).succeeded().json();
    assert_eq!((&trained["metric"], &trained["score"]), (&"accuracy".into(), &1.0.into()), "{trained}");
    // The first place is right in two of six rows.
    assert!((trained["baseline"].as_f64().unwrap() - 1.0 / 3.0).abs() < 1e-12, "{trained}");
    let answers = place.answers(&["--input=dev.jsonl"]);
    for (answer, (_, choices, right)) in answers.iter().zip(choices()) {
        assert_eq!((&answer["choice"], &answer["text"]), (&right.into(), &choices[right].into()), "{answer}");
        let probabilities: Vec<f64> =
            answer["probabilities"].as_array().unwrap().iter().flat_map(Value::as_f64).collect();
        assert_eq!((probabilities.len(), answer["score"].as_f64()), (3, Some(probabilities[right])));
        assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{answer}");
    }
    assert_eq!(place.answers_to("jsonl", &choice_lines()), answers);
    // A row may have another number of choices, and need not say which one is right.
    let two =
        place.answers_to("jsonl", "{\"text\": \"the film was\", \"choices\": [\"awful\", \"wonderful\"]}\n");
    assert_eq!((&two[0]["choice"], two[0]["probabilities"].as_array().unwrap().len()), (&1.into(), 2));
    // The order of the choices decides nothing.
    let rows = choices().into_iter().map(|(text, choices, _)| {
        let turned: Vec<&str> = choices.into_iter().rev().collect();
        json!({ "text": text, "choices": turned }).to_string() + "\n"
    });
    for (turned, answer) in place.answers_to("jsonl", &rows.collect::<String>()).iter().zip(&answers) {
        assert_eq!(turned["text"], answer["text"]);
    }

    let eval = ["eval", "--adapter=adapter", "--data=dev.jsonl"];
    let scores = place.run(&[&eval[..], &["--json"]].concat()).succeeded().json();
    assert_eq!(scores["scores"], trained["dev_scores"]);
    assert_snapshot!(place.run(&eval).succeeded().stdout, @r"
    6 rows
    accuracy  1.0000  (of 6 rows)
    ");
    let digest = trained_numbers(&place);
    // The columns have names that are known, or are named; compressed files are read as others.
    let named = ["--choices-column", "a,b,c"];
    for (extension, content, more) in [
        ("csv", choice_table("text,choice1,choice2,choice3,label").into_bytes(), &[][..]),
        ("csv", choice_table("text,a,b,c,label").into_bytes(), &named),
        ("tsv", choice_table("text,ending0,ending1,ending2,label").replace(',', "\t").into_bytes(), &[]),
        ("jsonl.gz", gzipped(choice_lines().as_bytes()), &[]),
    ] {
        let place = Place::of(extension, content);
        place.train(extension, &[&CHOOSE[..], more].concat()).succeeded();
        assert_eq!(trained_numbers(&place), digest, "the same rows give the same adapter: {extension}");
        let dev = format!("--data=dev.{extension}");
        let eval = [&["eval", "--adapter=adapter", &dev, "--json"], more].concat();
        assert_eq!(place.run(&eval).succeeded().json()["scores"], trained["dev_scores"]);
        let dev = format!("--input=dev.{extension}");
        assert_eq!(place.answers(&[&[&dev[..]], more].concat()), answers, "{extension}");
        again_by_its_own_settings(&place);
    }
}

/// The digest of what was trained.
fn trained_numbers(place: &Place) -> Value {
    place.read("adapter/adapter.json")["weights_sha256"].clone()
}

/// `run.toml` gives the same adapter.
fn again_by_its_own_settings(place: &Place) {
    place.run(&["train", "--config=adapter/run.toml", "--out=again"]).succeeded();
    let again = place.read("again/adapter.json")["weights_sha256"].clone();
    assert_eq!(again, trained_numbers(place), "{}", place.content("adapter/run.toml"));
}

#[test]
fn questions_are_learnt_from_every_form() {
    let place = Place::of("json", squad(true));
    let trained = place.train("json", &[&ANSWER[..], &["--json"]].concat()).succeeded().json();
    assert_eq!((&trained["metric"], &trained["score"]), (&"token-f1".into(), &1.0.into()), "{trained}");
    assert!((trained["baseline"].as_f64().unwrap() - 1.0 / 3.0).abs() < 1e-12, "a third has no answer");
    let answers = place.answers(&["--input=dev.json"]);
    let right = contexts().into_iter().flat_map(|(_, asked)| asked).map(|(_, answer)| answer);
    for (answer, right) in answers.iter().zip(right) {
        let (text, start) = right.map_or(("", None), |(text, start)| (text, Some(start)));
        let end = start.map_or(Value::Null, |start| (start + text.len()).into());
        assert_eq!(
            (&answer["answer"], &answer["start"], &answer["end"]),
            (&text.into(), &json!(start), &end)
        );
        assert!((0.0..=1.0).contains(&answer["score"].as_f64().unwrap()), "{answer}");
    }
    assert_eq!(place.answers_to("squad", &squad(true)), answers);
    assert_eq!(place.answers_to("jsonl", &question_lines()), answers);
    // What the answers are need not be known, and characters are counted, not bytes.
    let context = "é é the cat was red";
    let asked = place.answers_to("jsonl", &json!({ "question": "who", "context": context }).to_string());
    let [start, end] = ["start", "end"].map(|end| asked[0][end].as_u64().unwrap() as usize);
    let told: String = context.chars().skip(start).take(end - start).collect();
    assert!(start > 3 && asked[0]["answer"] == told.as_str(), "{asked:?}");

    let eval = ["eval", "--adapter=adapter", "--data=dev.json"];
    let scores = place.run(&[&eval[..], &["--json"]].concat()).succeeded().json();
    assert_eq!(scores["scores"], trained["dev_scores"]);
    assert_snapshot!(place.run(&eval).succeeded().stdout, @r"
    12 rows
    token-f1     1.0000  (of the words of an answer)
    exact-match  1.0000

    questions             f1   exact    rows
    with an answer     1.0000  1.0000       8
    without an answer  1.0000  1.0000       4
    ");
    let digest = trained_numbers(&place);
    let renamed = question_lines().replace("\"question\"", "\"q\"").replace("\"answers\"", "\"said\"");
    for (extension, content, more) in [
        ("jsonl", question_lines().into_bytes(), &[][..]),
        ("jsonl", renamed.into_bytes(), &["--text-column=q", "--label-column=said"]),
        ("json.gz", gzipped(squad(true).as_bytes()), &[]),
        ("any", squad(true).into_bytes(), &["--format=squad"]),
    ] {
        let place = Place::of(extension, content);
        place.train(extension, &[&ANSWER[..], more].concat()).succeeded();
        assert_eq!(trained_numbers(&place), digest, "the same rows give the same adapter: {extension}");
        let dev = format!("--data=dev.{extension}");
        let eval = [&["eval", "--adapter=adapter", &dev, "--json"], more].concat();
        assert_eq!(place.run(&eval).succeeded().json()["scores"], trained["dev_scores"]);
        let dev = format!("--input=dev.{extension}");
        assert_eq!(place.answers(&[&[&dev[..]], more].concat()), answers, "{extension}");
        again_by_its_own_settings(&place);
    }
}

/// `check-data`, `inspect`, `compare`, a bank, `export` and the report, of both kinds.
#[test]
fn every_command_knows_choices() {
    let place = Place::of("jsonl", choice_lines());
    assert_snapshot!(checked(&place, "jsonl", "multiple-choice"), @r"
    train train.jsonl
      rows        6 usable rows
      right       choice 0  2   33.3 %
                  choice 1  2   33.3 %
                  choice 2  2   33.3 %
      duplicates  none
      tokens      median 7, 95th percentile 7, longest 7
      cut         none is longer than 32 tokens

    dev dev.jsonl
      rows        6 usable rows
      right       choice 0  2   33.3 %
                  choice 1  2   33.3 %
                  choice 2  2   33.3 %
      duplicates  none
      tokens      median 7, 95th percentile 7, longest 7
      cut         none is longer than 32 tokens
      overlap     6 rows with a text that is in train too (lines 1 = 1, 2 = 2, 3 = 3, 4 = 4, 5 = 5, …)

    usable: training on these files would start
    ");
    let told = place.train("jsonl", &[&CHOOSE[..], &["--fit-thresholds"]].concat());
    assert!(told.stderr.contains("`--fit-thresholds` is given for multiple-choice"), "{}", told.stderr);
    place.train("jsonl", &CHOOSE).succeeded();
    let inspected = place.run_bare(&["inspect", "adapter"]).succeeded().stdout;
    assert!(inspected.contains("task         multiple-choice of texts with choices\n"), "{inspected}");
    assert!(inspected.contains("(most frequent place 0.3333, chose the step)"), "{inspected}");
    let card = place.content("adapter/README.md");
    assert!(card.contains("pipeline_tag: multiple-choice\n"), "{card}");
    assert!(card.contains("always gives the choice in the most frequent place"), "{card}");
    compared(&place, "jsonl", ("multiple-choice", "accuracy", "choices"));
    let answers = place.answers(&["--input=dev.jsonl"]);
    banked(&place, "dev.jsonl", &answers);
    exported(&place, "multiple-choice");
}

#[test]
fn every_command_knows_questions() {
    let place = Place::of("json", squad(true));
    assert_snapshot!(checked(&place, "json", "question-answering"), @r"
    train train.json
      rows        12 usable rows
      questions   an answer  8   66.7 %
                  no answer  4   33.3 %
      duplicates  none
      tokens      median 8, 95th percentile 38, longest 38
      windows     3 rows, 25.00 %, longer than 32 tokens with their contexts

    dev dev.json
      rows        12 usable rows
      questions   an answer  8   66.7 %
                  no answer  4   33.3 %
      duplicates  none
      tokens      median 8, 95th percentile 38, longest 38
      windows     3 rows, 25.00 %, longer than 32 tokens with their contexts
      overlap     12 rows with a text that is in train too (lines 1 = 1, 2 = 2, 3 = 3, 4 = 4, 5 = 5, …)

    usable: training on these files would start
    ");
    place.train("json", &[&ANSWER[..], &["--fit-thresholds", "--stride=8"]].concat()).succeeded();
    let inspected = place.run_bare(&["inspect", "adapter"]).succeeded().stdout;
    for told in [
        "task         question-answering of questions with their contexts\n",
        "words pooling, at most 32 tokens a window, which share 8\n",
        "no answer    from a threshold of ",
        "(no answer 0.3333, chose the step)",
    ] {
        assert!(inspected.contains(told), "{told}: {inspected}");
    }
    let settings = place.content("adapter/run.toml");
    assert!(settings.contains("stride = 8\n") && settings.contains("fit-thresholds = true\n"), "{settings}");
    again_by_its_own_settings(&place);
    let card = place.content("adapter/README.md");
    assert!(card.contains("pipeline_tag: question-answering\n"), "{card}");
    assert!(
        card.contains(
            "A question gets no answer where the logits of none exceed those of the best part by more than "
        ),
        "{card}"
    );
    assert!(!card.contains("A row has a label"), "{card}");
    compared(&place, "json", ("question-answering", "token-f1", "answers"));
    let answers = place.answers(&["--input=dev.json"]);
    banked(&place, "dev.json", &answers);
    exported(&place, "question-answering");
}

/// As ONNX, where the choices of a row, or the windows of a context, are rows of their own; AdapterHub has no such heads here.
fn exported(place: &Place, kind: &str) {
    let told = place.run(&["export", "--adapter=adapter", "--onnx=model.onnx", "--json"]).succeeded().json();
    assert_eq!(told["outputs"], json!(["logits"]));
    let refused = place.run(&["export", "--adapter=adapter", "--out=hub"]);
    let head = format!("the head, since those for {kind} are not written");
    assert!(refused.code == Some(2) && refused.stderr.contains(&head), "{}", refused.stderr);
}

fn checked(place: &Place, extension: &str, kind: &str) -> String {
    let [train, dev] = ["train", "dev"].map(|split| format!("--{split}={split}.{extension}"));
    let kind = format!("--kind={kind}");
    place.run(&["check-data", &train, &dev, &kind, "--max-length=32"]).succeeded().stdout
}

/// Two methods on the files of a place, whose best are told with their difference.
fn compared(place: &Place, extension: &str, (kind, metric, kept): (&str, &str, &str)) {
    std::fs::create_dir(place.path("folder")).unwrap();
    for split in ["train", "dev", "test"] {
        let from = place.path(&format!("{}.{extension}", if split == "test" { "dev" } else { split }));
        std::fs::copy(from, place.path(&format!("folder/{split}.{extension}"))).unwrap();
    }
    let kind = format!("--kind={kind}");
    let compare = [
        "compare",
        "--out=out",
        "--task=own=folder",
        &kind,
        "--method=houlsby,head",
        "--bottleneck=4",
        "--seed=1,2",
        "--epochs=3",
        "--max-length=32",
        "--json",
    ];
    let results = place.run(&compare).succeeded().json();
    let task = &results["tasks"][0];
    assert_eq!((&task["metric"], &results["finished"]), (&metric.into(), &4.into()), "{results}");
    assert!(task["methods"][1]["dev_difference"]["interval"]["low"].is_number(), "{task}");
    let record = place.read("out/trials/own.head.lr1e-2.seed1.json");
    assert_eq!(record["dev"], record["test"], "the same rows");
    let scored = record["dev"]["answers"].as_object().unwrap().keys().collect::<Vec<_>>();
    assert_eq!(scored, [kept], "{record}");
    // Nothing is trained again: what is kept gives the same results.
    let again = place.run(&compare).succeeded();
    assert_eq!(again.json()["tasks"], results["tasks"]);
    assert_eq!(again.stderr, "4 of 4 trials were finished before\n");
}

/// A bank with the adapter of a place.
fn banked(place: &Place, dev: &str, answers: &[Value]) {
    place.run(&["bank", "init", "bank"]).succeeded();
    place.run(&["bank", "add", "bank", "adapter", "--task=own"]).succeeded();
    let probes = format!("--probes={dev}");
    place.run(&["bank", "add", "bank", "adapter", "--task=probed", &probes]).succeeded();
    let verified = place.run(&["bank", "verify", "bank"]).succeeded().stdout;
    assert_eq!(verified.matches("to the last bit").count(), 2, "{verified}");
    let input = format!("--input={dev}");
    let told = place.run(&["predict", "--bank=bank", &input]).succeeded().json_lines();
    for (told, answer) in told.iter().zip(answers) {
        assert_eq!((&told["own"], &told["probed"]), (answer, answer));
    }
    assert_eq!(told.len(), answers.len());
}

/// Tasks of several kinds: those that the rows are for answer, the others say why not.
#[test]
fn tasks_of_several_kinds_answer_what_is_theirs() {
    let place = Place::of("jsonl", choice_lines());
    place.run(&["bank", "init", "bank"]).succeeded();
    place.train("jsonl", &["--kind=multiple-choice", "--epochs", "1"]).succeeded();
    place.run(&["bank", "add", "bank", "adapter", "--task=tone"]).succeeded();
    place.write("train.json", squad(true));
    place.write("dev.json", squad(true));
    place.train("json", &["--kind=question-answering", "--epochs", "1", "--overwrite"]).succeeded();
    place.run(&["bank", "add", "bank", "adapter", "--task=facts"]).succeeded();
    place.write("one.jsonl", "{\"question\": \"who\", \"context\": \"the cat was red\"}\n");
    let columns = ["--text-column=question", "--text-b-column=context"];
    let pairs = [&["predict", "--bank=bank", "--input=one.jsonl"][..], &columns].concat();
    let told = place.run(&pairs).succeeded().json_lines();
    assert!(told[0]["facts"]["answer"].is_string() && told[0].get("tone").is_none(), "{told:?}");
    let both = place.run(&[&pairs[..], &["--tasks=facts,tone"]].concat());
    assert_eq!(both.code, Some(1), "{}", both.stderr);
    assert_eq!(both.json_lines()[0]["tone"]["error"], "line 1: expected one text, found a pair");
    // Nobody asked for those that cannot answer, whatever the form of the file.
    place.write("one.csv", "question,context\nwho,the cat was red\n");
    let of_csv = [&["predict", "--bank=bank", "--input=one.csv"][..], &columns].concat();
    assert_eq!(place.run(&of_csv).succeeded().json_lines(), told);
    let texts = place.run(&["predict", "--bank=bank", "--tasks=tone", "--input=dev.json"]);
    assert!(
        texts.stderr.contains("`squad` is for a task of the kind question-answering"),
        "{}",
        texts.stderr
    );
}

// ------------------------------------------------------------------------------------------- what is refused

fn refused(place: &Place, extension: &str, more: &[&str]) -> String {
    let [train, dev] = ["train", "dev"].map(|split| format!("--{split}={split}.{extension}"));
    let short = ["train", &train, &dev, "--out=adapter", "--bottleneck=8", "--epochs=1", "--overwrite"];
    let length = if more.contains(&"--max-length=3") { &[][..] } else { &["--max-length=32"] };
    let done = place.run(&[&short[..], length, more].concat());
    assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{}", done.stderr);
    done.stderr
}

#[test]
fn wrong_rows_are_named_with_file_and_line() {
    let (choose, answer) = ("--kind=multiple-choice", "--kind=question-answering");
    let question = |answers: &str| {
        format!(
            "{}{{\"question\": \"who\", \"context\": \"the cat\", \"answers\": {answers}}}\n",
            question_lines()
        )
    };
    let choice = |rest: &str| format!("{}{{\"text\": \"it was\", {rest}}}\n", choice_lines());
    for (content, kind, expected) in [
        (
            question(r#"[{"text": "cat", "answer_start": 3}]"#),
            answer,
            "train.jsonl:13: answer `cat` does not stand at character 3 of its context\n\nhint: starts count characters from \
             0, not bytes\n",
        ),
        (question("null"), answer, "train.jsonl:13: answers `answers` are missing\n\nhint: "),
        (
            question("\"cat\""),
            answer,
            "train.jsonl:13: `answers` must be `{\"text\": [..], \"answer_start\": [..]}` or a list",
        ),
        (
            choice(r#""choices": ["a", "b"], "label": 2"#),
            choose,
            "train.jsonl:7: label `2` is none of the 2 choices, counted from 0 or `A`\n",
        ),
        (
            choice(r#""choices": ["a"], "label": 0"#),
            choose,
            "train.jsonl:7: expected 2 to 256 choices, found 1\n",
        ),
        (choice(r#""choices": ["a", ""], "label": 0"#), choose, "train.jsonl:7: `choices` is empty\n"),
        (choice(r#""choices": ["a", "b"]"#), choose, "train.jsonl:7: label `label` is missing\n"),
        (
            choice(r#""label": 0"#),
            choose,
            "train.jsonl:7: cannot tell the columns of choices, found `text`, `label`\n",
        ),
        // Of the other kind.
        (question_lines(), choose, "train.jsonl:1: cannot tell the columns of choices"),
        (choice_lines(), answer, "train.jsonl:1: `--text-column`: no column `question`"),
    ] {
        let place = Place::of("jsonl", &content);
        let told = refused(&place, "jsonl", &[kind]);
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

#[test]
fn wrong_files_are_named() {
    let (choose, answer) = ("--kind=multiple-choice", "--kind=question-answering");
    let columns = "text,a,b,c,label";
    for (extension, content, more, expected) in [
        (
            "json",
            "[]".to_owned(),
            &[answer][..],
            "train.json: not a document of questions as SQuAD has it: invalid type: sequence",
        ),
        (
            "json",
            "{\"data\": [{\"title\": \"t\"}]}".to_owned(),
            &[answer],
            "missing field `paragraphs` at line 1 column 24",
        ),
        (
            "json",
            squad(true),
            &[],
            "train.json: the format `squad` is for a task of the kind question-answering",
        ),
        ("json", squad(true), &[choose], "the format `squad` is for a task of the kind question-answering"),
        (
            "csv",
            "question,context,answers\nwho,the cat,cat\n".to_owned(),
            &[answer],
            "the format `csv` is not read for question-answering",
        ),
        ("csv", choice_table(columns), &[choose], "train.csv:1: cannot tell the columns of choices"),
        (
            "csv",
            choice_table(columns),
            &[choose, "--choices-column=a,d"],
            "train.csv:1: `--choices-column`: no column `d`",
        ),
        ("csv", choice_table(columns), &[choose, "--choices-column=a"], "train.csv:1: "),
        (
            "csv",
            choice_table(columns),
            &["--choices-column=a,b"],
            "`--choices-column` is for a task of the kind multiple-choice",
        ),
        ("csv", OPINIONS.to_owned(), &["--stride=8"], "`--stride` is given for classification"),
        (
            "jsonl",
            choice_lines(),
            &[choose, "--metric=macro-f1"],
            "metric `macro-f1` does not measure multiple-choice",
        ),
        (
            "json",
            squad(true),
            &[answer, "--metric=accuracy"],
            "metric `accuracy` does not measure question-answering",
        ),
        (
            "json",
            squad(true),
            &[answer, "--pooling=first"],
            "`--pooling` is first, expected words for question-answering",
        ),
        ("json", squad(true), &[answer, "--calibrate"], "`--calibrate` is given for question-answering"),
        (
            "json",
            squad(false),
            &[answer, "--fit-thresholds"],
            "`--fit-thresholds` is given for questions that all have an answer, expected some without",
        ),
        (
            "json",
            squad(true),
            &[answer, "--stride=14"],
            "`--stride` is 14, expected at most 13 with windows of 32 tokens",
        ),
        ("jsonl", choice_lines(), &[choose, "--max-length=3"], "`--max-length` is 3, expected 4 to 64"),
    ] {
        let place = Place::of(extension, content);
        let told = refused(&place, extension, more);
        assert!(told.contains(expected), "{expected}: {told}");
        assert!(!place.path("adapter").exists());
    }
    for (kind, expected) in [
        (choose, "train.parquet: cannot tell the columns of choices, found "),
        (answer, "train.parquet: `--text-column`: no column `question`, found "),
    ] {
        let place = Place::of("parquet", parquet("glue-cola.parquet"));
        let told = refused(&place, "parquet", &[kind]);
        assert!(told.contains(expected), "{expected}: {told}");
    }
    let broken = gzipped(squad(true).as_bytes());
    let place = Place::of("json.gz", &broken[..broken.len() - 20]);
    let told = refused(&place, "json.gz", &[answer]);
    assert!(told.contains("train.json.gz"), "{told}");
}

#[test]
fn questions_without_answers_come_from_training() {
    let place = Place::new();
    place.write("train.json", squad(false));
    place.write("dev.json", squad(true));
    let told = refused(&place, "json", &["--kind=question-answering"]);
    let expected = "dev.json:3: the question has no answer, and all of the training rows have one\n\nhint: train on rows with";
    assert!(told.contains(expected), "{told}");
    // Where training has none, no answer is withheld.
    place.write("dev.json", squad(false));
    place.train("json", &["--kind=question-answering", "--epochs", "1"]).succeeded();
    let inspected = place.run_bare(&["inspect", "adapter"]).succeeded().stdout;
    assert!(!inspected.contains("\nno answer  "), "{inspected}");
    for answer in place.answers(&["--input=dev.json"]) {
        assert_ne!(answer["answer"], "", "{answer}");
    }
}

#[test]
fn rows_of_another_task_are_refused() {
    let place = Place::of("json", squad(true));
    place.write("choices.jsonl", choice_lines());
    place.write("opinions.csv", OPINIONS);
    place.train("json", &["--kind=question-answering", "--epochs", "1"]).succeeded();
    let eval = |file: &str| {
        let data = format!("--data={file}");
        let done = place.run(&["eval", "--adapter=adapter", &data]);
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""));
        done.stderr
    };
    assert!(eval("opinions.csv").contains("the format `csv` is not read for question-answering"));
    let told = eval("choices.jsonl");
    assert!(told.contains("choices.jsonl:1: `--text-column`: no column `question`"), "{told}");
    // A row that cannot be used is told in its place, and what is no document ends the command.
    let lines = "{\"question\": \"who\"}\n{\"question\": \"who\", \"context\": \"the cat\"}\n";
    let done = feed(place.spawn_predict(&["--format=jsonl"]), lines.as_bytes().to_vec());
    let told = done.json_lines();
    assert_eq!((done.code, told.len()), (Some(1), 2), "{}", done.stderr);
    assert_eq!(
        told[0]["error"],
        "standard input:1: `--text-b-column`: no column `context`, found `question`"
    );
    assert!(told[1]["answer"].is_string(), "{told:?}");
    let done = feed(place.spawn_predict(&["--format=squad"]), b"{}".to_vec());
    assert_eq!(done.code, Some(2));
    assert!(
        done.stderr.contains("not a document of questions as SQuAD has it: missing field `data`"),
        "{}",
        done.stderr
    );
    let texts = feed(place.spawn_predict(&[]), b"who is it\n".to_vec());
    assert_eq!(texts.code, Some(2));
    let expected = "standard input: the format `lines` is not read for question-answering\n\nhint: ";
    assert!(texts.stderr.contains(expected), "{}", texts.stderr);

    place.write("train.jsonl", choice_lines());
    place.write("dev.jsonl", choice_lines());
    place.train("jsonl", &["--kind=multiple-choice", "--epochs", "1", "--overwrite"]).succeeded();
    assert!(eval("dev.json").contains("the format `squad` is for a task of the kind question-answering"));
    assert!(eval("opinions.csv").contains("opinions.csv:1: cannot tell the columns of choices"));
    let texts = feed(place.spawn_predict(&[]), b"who is it\n".to_vec());
    assert_eq!(texts.code, Some(2));
    let expected = "standard input: the format `lines` is not read for multiple-choice\n\nhint: ";
    assert!(texts.stderr.contains(expected), "{}", texts.stderr);
    let one = feed(
        place.spawn_predict(&["--format=jsonl"]),
        b"{\"text\": \"it\", \"choices\": [\"a\"]}\n".to_vec(),
    );
    assert_eq!(one.json_lines()[0]["error"], "standard input:1: expected 2 to 256 choices, found 1");
}

/// The sections of the report that are of these kinds.
#[test]
fn reports_show_what_was_chosen_and_answered() {
    // The dev rows say other answers than the training rows, so that there are mistakes.
    let place = Place::of("jsonl", choice_lines());
    let wrong = choice_lines().replace("\"label\":0", "\"label\":1");
    place.write("dev.jsonl", wrong);
    place.train("jsonl", &["--kind=multiple-choice", "--epochs", "60"]).succeeded();
    let page = place.content("adapter/report.html");
    for part in [
        "Each row has texts of its own to choose from",
        "whose right choice was thought least probable",
        "wonderful",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let numbers = place.read("adapter/report.json");
    assert_eq!(numbers["scores"]["kind"], "multiple-choice", "{numbers}");

    let place = Place::of("json", squad(true));
    place.write(
        "dev.json",
        squad(true).replace(
            "\"answers\":[{\"text\":\"cat\",\"answer_start\":4}]",
            "\"answers\":[{\"text\":\"the\",\"answer_start\":0}]",
        ),
    );
    place.train("json", &ANSWER).succeeded();
    let page = place.content("adapter/report.html");
    for part in [
        "with an answer",
        "without an answer",
        "F1 of the words",
        "The wrong answers that were thought most probable",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let page = place.content("adapter/report.html");
    assert!(page.contains("cat"), "what was answered is quoted from its context");
    place.train("json", &[&ANSWER[..], &["--overwrite", "--no-report-texts"]].concat()).succeeded();
    let page = place.content("adapter/report.html");
    assert!(page.contains("bytes 4 to 7") && !page.contains("cat"), "{page}");
}
