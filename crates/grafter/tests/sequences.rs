//! Rows of several sequences, those of their choices or of the windows of their context: what must hold of them as it does of rows
//! of one. The same bytes on any number of threads, alone and beside other rows and tasks, and whether or not what is constant
//! is kept. On the tiny random model that `reference/tiny_bert.py` wrote.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use grafter::adapter::{Adapter, MANIFEST_FILE, Method, WEIGHTS_FILE};
use grafter::data::{Dataset, LabelledRows, Row, Source, TaskKind};
use grafter::encoded::EncodedRows;
use grafter::eval::evaluate;
use grafter::graft::{GraftOptions, graft};
use grafter::metrics::{Metric, Scores};
use grafter::model::Model;
use grafter::panel::Panel;
use grafter::predict::{Prediction, predict, row_logits};
use grafter::random::Random;
use grafter::row_encoding::RowEncoding;
use grafter::store::Budget;
use grafter::train::TrainOptions;
use serde_json::json;

static MODEL: LazyLock<Model> = LazyLock::new(|| {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-bert");
    Model::read(&folder, "tiny-bert").unwrap()
});

const KINDS: [TaskKind; 2] = [TaskKind::MultipleChoice, TaskKind::QuestionAnswering];

struct Words(Random);

impl Words {
    fn below(&mut self, most: usize) -> usize {
        (self.0.bits() % most as u64) as usize
    }

    fn some(&mut self, most: usize) -> Vec<&'static str> {
        const FILLERS: [&str; 8] = ["the", "film", "was", "and", "it", "new", "not", "over"];
        (0..1 + self.below(most)).map(|_| FILLERS[self.below(8)]).collect()
    }
}

/// Texts of which the one with `good` is right, in rows of two to seven.
fn choices(rows: usize, seed: u64) -> Dataset {
    let mut words = Words(Random::new(seed));
    let lines = (0..rows).map(|_| {
        let text = words.some(12).join(" ");
        let mut texts: Vec<Vec<&str>> = (0..2 + words.below(6)).map(|_| words.some(9)).collect();
        let right = words.below(texts.len());
        texts[right].push("good");
        let texts: Vec<String> = texts.iter().map(|text| text.join(" ")).collect();
        json!({"text": text, "choices": texts, "label": right}).to_string() + "\n"
    });
    read(&lines.collect::<String>(), TaskKind::MultipleChoice)
}

/// Contexts of one to six windows, of which the word `good` answers the question; some lack it.
fn questions(rows: usize, seed: u64) -> Dataset {
    let mut words = Words(Random::new(seed));
    let lines = (0..rows).map(|row| {
        let question = words.some(3).join(" ");
        let mut context = words.some(60);
        let place = words.below(context.len() + 1);
        let start = context[..place].iter().map(|word| word.len() + 1).sum::<usize>();
        let (mut texts, mut starts) = (Vec::new(), Vec::new());
        if row % 5 != 4 {
            context.insert(place, "good");
            texts.push("good");
            starts.push(start);
        }
        let answers = json!({"text": texts, "answer_start": starts});
        json!({"question": question, "context": context.join(" "), "answers": answers}).to_string() + "\n"
    });
    read(&lines.collect::<String>(), TaskKind::QuestionAnswering)
}

fn read(content: &str, kind: TaskKind) -> Dataset {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, content).unwrap();
    Dataset::read_train(&Source::new(path), kind).unwrap()
}

fn rows(kind: TaskKind, rows: usize, seed: u64) -> Dataset {
    if kind == TaskKind::MultipleChoice { choices(rows, seed) } else { questions(rows, seed) }
}

fn options(kind: TaskKind, method: Method) -> GraftOptions {
    let defaults = GraftOptions::default();
    GraftOptions {
        method,
        bottleneck: 8,
        max_length: 24,
        stride: (kind == TaskKind::QuestionAnswering).then_some(5),
        train: TrainOptions {
            epochs: Some(2),
            batch_size: 12,
            learning_rate: Some(1e-2),
            ..defaults.train.clone()
        },
        ..defaults
    }
}

fn trained(kind: TaskKind, options: &GraftOptions) -> Adapter {
    graft(&MODEL, &rows(kind, 40, 1), &rows(kind, 20, 2), options, &mut ()).unwrap().adapter
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

fn on_threads<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
}

#[test]
fn a_row_is_answered_as_it_is_alone_on_any_threads() {
    for kind in KINDS {
        let adapter = trained(kind, &options(kind, Method::Houlsby));
        let data = rows(kind, 60, 3);
        let together = row_logits(&MODEL, &adapter, &data.rows).unwrap();
        for threads in [1, 3] {
            assert_eq!(on_threads(threads, || row_logits(&MODEL, &adapter, &data.rows)).unwrap(), together);
        }
        for (row, logits) in data.rows.iter().zip(&together) {
            let alone = row_logits(&MODEL, &adapter, std::slice::from_ref(row)).unwrap();
            assert_eq!(bits(&alone[0]), bits(logits), "{kind}");
            if kind == TaskKind::MultipleChoice {
                assert_eq!(logits.len(), row.choices.len());
            }
        }
        let lengths = |least| together.iter().filter(|logits| logits.len() > least).count();
        assert!(lengths(2) > 20, "rows of several sequences");
        // What evaluates and trains reads the rows from where they are kept, with the same logits.
        let encoding = RowEncoding::of(adapter.manifest());
        let sequences: Vec<_> = data.rows.iter().map(|row| encoding.encode(&MODEL, row).unwrap()).collect();
        assert!(sequences.iter().any(|row| row.len() > 3));
        let mut encoded = EncodedRows::new(data.targets.clone(), None, &Budget::default());
        encoded.append(&sequences).unwrap();
        for group in encoded.groups() {
            let batch = encoded.batch(group.clone()).unwrap();
            let tasks = vec![adapter.parameters(); batch.sequences()];
            let logits = grafter::predict::batch_logits(MODEL.encoder(), &batch, &tasks);
            for (row, logits) in group.clone().zip(encoded.by_row(group, logits)) {
                assert_eq!(bits(&logits), bits(&together[row]), "{kind}");
            }
        }
    }
}

/// A panel of both kinds and of others, on rows that each is for and rows that it is not for.
#[test]
fn tasks_beside_each_other_answer_as_they_do_alone() {
    let adapters: Vec<Adapter> = KINDS
        .iter()
        .flat_map(|kind| {
            let upper = GraftOptions { adapt_from_layer: 1, ..options(*kind, Method::Houlsby) };
            let other = GraftOptions { max_length: 32, ..options(*kind, Method::Head) };
            [options(*kind, Method::Houlsby), upper, other].map(|options| trained(*kind, &options))
        })
        .collect();
    let mut asked: Vec<Row> = choices(9, 4).rows;
    asked.extend(questions(9, 5).rows);
    asked.push(Row::single("the film"));
    // The same context again, and a question without its answers.
    asked.push(Row { answers: None, ..asked[9].clone() });
    let panel = Panel::new(&MODEL, adapters.iter().collect()).unwrap();
    let mut answered = 0;
    for (row, answers) in asked.iter().zip(panel.answer(&asked)) {
        for (adapter, answer) in adapters.iter().zip(answers) {
            match (answer, predict(&MODEL, adapter, std::slice::from_ref(row))) {
                (Ok(answer), Ok(alone)) => {
                    assert_eq!(answer, alone[0]);
                    answered += 1;
                }
                (Err(beside), Err(alone)) => {
                    assert_eq!(format!("line {}: {beside}", row.line), alone.to_string());
                }
                (beside, alone) => panic!("{beside:?} beside others, {alone:?} alone"),
            }
        }
    }
    assert_eq!(answered, 3 * 9 + 3 * 10);
}

/// `adapter.safetensors` and `adapter.json` of a run on so many threads.
fn files(kind: TaskKind, options: &GraftOptions, threads: usize) -> [Vec<u8>; 2] {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("adapter");
    on_threads(threads, || trained(kind, options).save(&out, false).unwrap());
    [WEIGHTS_FILE, MANIFEST_FILE].map(|name| std::fs::read(out.join(name)).unwrap())
}

#[test]
fn a_run_gives_the_same_bytes_on_any_number_of_threads() {
    for kind in KINDS {
        let data = rows(kind, 40, 1);
        let mut encoded = EncodedRows::new(data.targets.clone(), None, &Budget::default());
        let encoding = options(kind, Method::Full).encoding(kind);
        let sequences: Vec<_> = data.rows.iter().map(|row| encoding.encode(&MODEL, row).unwrap()).collect();
        encoded.append(&sequences).unwrap();
        let batch = encoded.batch(0..12).unwrap();
        assert!(batch.chunks().len() >= 4 && batch.sequences() > 24, "several chunks of rows of sequences");
        for method in [Method::Houlsby, Method::Full, Method::Head] {
            let mut options = options(kind, method);
            options.fit_thresholds = kind == TaskKind::QuestionAnswering;
            assert!(options.train.dropout, "dropout is on");
            let one = files(kind, &options, 1);
            for threads in [2, 5] {
                assert!(files(kind, &options, threads) == one, "{kind}, {method}, {threads} threads");
            }
        }
    }
}

#[test]
fn what_is_kept_below_what_trains_changes_no_bit() {
    for kind in KINDS {
        for (method, adapt_from_layer) in [(Method::Head, 0), (Method::Houlsby, 1), (Method::TopLayers(1), 0)]
        {
            let digest = |budget: Budget| {
                let mut options = GraftOptions { adapt_from_layer, ..options(kind, method) };
                options.train.budget = budget;
                assert!(options.train.dropout, "dropout is on");
                trained(kind, &options).manifest().weights_sha256.clone()
            };
            let computed_anew = digest(Budget { total_bytes: 0, ..Budget::default() });
            for memory_bytes in [u64::MAX, 4_321, 0] {
                let kept = digest(Budget { memory_bytes, ..Budget::default() });
                assert_eq!(kept, computed_anew, "{kind}, {method}, {memory_bytes} bytes in memory");
            }
        }
    }
}

#[test]
fn both_kinds_are_learnt_and_a_saved_adapter_scores_the_same() {
    for (kind, metric) in [(KINDS[0], Metric::Accuracy), (KINDS[1], Metric::ExactMatch)] {
        let mut options = options(kind, Method::Houlsby);
        options.train.epochs = Some(25);
        options.train.dropout = false;
        let (train, dev) = (rows(kind, 96, 1), rows(kind, 40, 2));
        let grafted = graft(&MODEL, &train, &dev, &options, &mut ()).unwrap();
        let scores = &grafted.review.scores;
        let score = scores.get(metric).unwrap().unwrap();
        assert!(score > 0.9, "{kind}: {scores:?}");
        let folder = tempfile::tempdir().unwrap();
        grafted.adapter.save(&folder.path().join("adapter"), false).unwrap();
        let adapter = Adapter::load(&folder.path().join("adapter"), &MODEL).unwrap();
        let again: Scores = evaluate(&MODEL, &adapter, &dev as &dyn LabelledRows).unwrap();
        assert_eq!(&again, scores);
        let right =
            dev.rows.iter().zip(predict(&MODEL, &adapter, &dev.rows).unwrap()).filter(|(row, answer)| {
                match answer {
                    Prediction::Choice { choice, text, .. } => {
                        assert_eq!(text, &row.choices[*choice]);
                        Some(choice.to_string()) == row.label
                    }
                    Prediction::Answer { answer, start, end, .. } => {
                        let context = row.text_b.as_deref().unwrap();
                        let span = start.zip(*end).map_or("", |(start, end)| &context[start..end]);
                        assert_eq!(span, answer);
                        answer
                            == row
                                .answers
                                .as_ref()
                                .unwrap()
                                .first()
                                .map_or("", |range| &context[range.clone()])
                    }
                    other => panic!("{other:?}"),
                }
            });
        assert_eq!(right.count() as f64 / dev.rows.len() as f64, score);
    }
}

/// The choices of a row pass the encoder together in training; to choose the best evaluation by, they need not.
#[test]
fn choices_that_are_too_long_together_are_refused_in_training_alone() {
    let texts: Vec<String> =
        (0..256).map(|choice| format!("the film was {choice} {}", "new ".repeat(40))).collect();
    let line = |texts: &[String]| json!({"text": "it was", "choices": texts, "label": 1}).to_string() + "\n";
    let (long, short) = (line(&texts), line(&texts[..2]));
    let kind = TaskKind::MultipleChoice;
    let (long, short) = (read(&(short.clone() + &long), kind), read(&short, kind));
    let options = GraftOptions { max_length: 48, ..options(kind, Method::Head) };
    let error = graft(&MODEL, &long, &short, &options, &mut ()).unwrap_err();
    let told = error.to_string();
    assert!(
        told.contains(":2: the choices have ") && told.ends_with("at most 8192 can be trained on"),
        "{told}"
    );
    graft(&MODEL, &short, &long, &options, &mut ()).unwrap();
}
