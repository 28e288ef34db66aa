//! Tasks that answer the words of a text: files of words with tags, the tokens that words begin with (against Hugging Face's
//! tokenizers, `reference/words.py`), scores of entities (against `seqeval`, `reference/entities.py`), and what must hold of
//! answers to words as it does of answers to texts.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use grafter::adapter::{Adapter, Method, Pooling};
use grafter::bank::{Answered, Probes};
use grafter::data::{
    DataError, Dataset, LabelUse, LabelledFile, LabelledRows, Row, Source, TagScheme, Targets, TaskKind,
};
use grafter::eval::{Answers, evaluate};
use grafter::graft::{GraftOptions, graft};
use grafter::metrics::{EntityScores, Metric, Scores};
use grafter::model::Model;
use grafter::panel::Panel;
use grafter::predict::{Prediction, predict, row_logits};
use grafter::random::Random;
use grafter::store::Budget;
use grafter::tokenizer::{Tokenizer, TokenizerError};
use grafter::train::TrainOptions;
use serde::Deserialize;
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

static MODEL: LazyLock<Model> =
    LazyLock::new(|| Model::read(&fixtures().join("tiny-bert"), "tiny-bert").unwrap());

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn write(&self, name: &str, content: &str) -> Source {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        Source::new(path)
    }

    #[track_caller]
    fn refused(&self, source: &Source, kind: TaskKind) -> String {
        let error = LabelledFile::read_train(source, kind).unwrap_err();
        assert_eq!(error.to_string(), Dataset::read_train(source, kind).unwrap_err().to_string());
        let folder = format!("{}{}", self.0.path().display(), std::path::MAIN_SEPARATOR);
        error.to_string().replace(&folder, "")
    }
}

fn tag_names(data: &Dataset) -> Vec<String> {
    data.task.scheme.labels().unwrap().names().to_vec()
}

fn words(row: &Row) -> Vec<&str> {
    row.words.as_ref().unwrap().iter().map(|word| &row.text[word.clone()]).collect()
}

const CONLL: &str = "-DOCSTART- -X- O O\n\nAda NNP B-person\nLovelace NNP I-person\nwrote VBD O\n\n\nLondon NNP B-place\n\
                     . . O\n";

#[test]
fn sentences_of_conll_are_rows_of_words() {
    let files = Files::new();
    let source = files.write("rows.conll", CONLL);
    let data = Dataset::read_train(&source, TaskKind::Entities).unwrap();
    assert_eq!(tag_names(&data), ["O", "B-person", "I-person", "B-place", "I-place"]);
    assert_eq!(data.targets, Targets::Entities(vec![vec![1, 2, 0], vec![3, 0]], 5));
    assert_eq!((data.rows[0].text.as_str(), data.rows[0].line), ("Ada Lovelace wrote", 3));
    assert_eq!(words(&data.rows[0]), ["Ada", "Lovelace", "wrote"]);
    assert_eq!((words(&data.rows[1]), data.rows[1].line), (vec!["London", "."], 8));
    // The same with tabs, other ends of lines, and no line feed at the end.
    let tabs = CONLL.trim_end().replace(' ', "\t").replace('\n', "\r\n");
    let other = Dataset::read_train(&files.write("rows.bio", &tabs), TaskKind::Entities).unwrap();
    assert_eq!((&other.rows, &other.targets), (&data.rows, &data.targets));
    // A file that is read again gives the same rows.
    let file = LabelledFile::read_train(&source, TaskKind::Entities).unwrap();
    let again: Vec<Row> = file.read().unwrap().map(|row| row.unwrap().into_owned()).collect();
    assert_eq!((&again, file.targets()), (&data.rows, &data.targets));
    // As tags that mark nothing, in the order of their bytes.
    let tags = Dataset::read_train(&source, TaskKind::Tags).unwrap();
    assert_eq!(tag_names(&tags), ["B-person", "B-place", "I-person", "O"]);
    assert_eq!(tags.targets, Targets::Tags(vec![vec![0, 2, 3], vec![1, 3]], 4));
}

#[test]
fn json_lines_hold_lists_of_words_and_tags() {
    let files = Files::new();
    let lines = "{\"id\": 1, \"tokens\": [\"Ada\", \"New York\", 5], \"ner_tags\": [\"B-p\", \"O\", \"O\"]}\n\n\
                 {\"tokens\": [\"she\"], \"ner_tags\": [\"O\"]}\n";
    let data = Dataset::read_train(&files.write("rows.jsonl", lines), TaskKind::Entities).unwrap();
    assert_eq!(data.targets, Targets::Entities(vec![vec![1, 0, 0], vec![0]], 3));
    assert_eq!(words(&data.rows[0]), ["Ada", "New York", "5"]);
    assert_eq!((data.rows[0].text.as_str(), data.rows[1].line), ("Ada New York 5", 3));
    let named = lines.replace("tokens", "w").replace("ner_tags", "t");
    let mut source = files.write("named.jsonl", &named);
    let error = files.refused(&source, TaskKind::Entities);
    assert_eq!(error, "named.jsonl:1: cannot tell the column of words, found `id`, `w`, `t`");
    (source.columns.text, source.columns.label) = (Some("w".to_owned()), Some("t".to_owned()));
    assert_eq!(Dataset::read_train(&source, TaskKind::Entities).unwrap().rows, data.rows);
}

/// Of three files that other programs wrote: with class names, with the older names within lists and small pages, and of polars,
/// which keeps no names.
#[test]
fn parquet_holds_lists_of_words_and_tags() {
    let file = |name: &str| Source::new(fixtures().join(format!("parquet/{name}.parquet")));
    for name in ["words", "words_old", "words_polars"] {
        let mut reader = file(name).open(LabelUse::Tags { scheme: None, needed: true }).unwrap();
        let rows: Vec<_> = reader.by_ref().map(|row| row.map_err(|error| error.to_string())).collect();
        let row = |place: usize| rows[place].as_ref().unwrap();
        assert_eq!(words(row(0)), ["Ada", "Lovelace", "wrote"], "{name}");
        assert_eq!((words(row(4)), row(4).line), (vec!["New York", "and", "Rome"], 5), "{name}");
        let tags: Vec<&str> = row(4).label.as_deref().unwrap().split('\u{1f}').collect();
        assert_eq!(tags, if name == "words_polars" { ["3", "0", "3"] } else { ["B-place", "O", "B-place"] });
        for (place, line) in [(2, 3), (5, 6)] {
            let error = rows[place].as_ref().unwrap_err();
            assert!(error.ends_with(&format!("{name}.parquet:{line}: `tokens` is empty")), "{error}");
        }
    }
    let mut skipping = file("words");
    skipping.skip_empty = true;
    let data = Dataset::read_train(&skipping, TaskKind::Entities).unwrap();
    assert_eq!(tag_names(&data), ["O", "B-person", "I-person", "B-place", "I-place"]);
    assert_eq!(data.targets, Targets::Entities(vec![vec![1, 2, 0], vec![0, 3], vec![0], vec![3, 0, 3]], 5));
    let data = Dataset::read_train(&skipping, TaskKind::Tags).unwrap();
    assert_eq!(
        tag_names(&data),
        ["O", "B-person", "I-person", "B-place"],
        "in the order of the file's names"
    );
    // In prediction words stand where there is no text.
    let rows: Vec<_> = file("words").open(LabelUse::Optional).unwrap().collect();
    assert_eq!(words(rows[1].as_ref().unwrap()), ["in", "London"]);
    let topics = Dataset::read_train(&file("topics"), TaskKind::MultiLabel).unwrap();
    assert_eq!(topics.targets, Targets::Sets(vec![vec![0, 1], vec![], vec![], vec![1]]));
    let error = Dataset::read_train(&file("topics"), TaskKind::Classification).unwrap_err().to_string();
    assert!(
        error.ends_with("`label` must be a string, number or Boolean, found a list of strings"),
        "{error}"
    );
    let error = Dataset::read_train(&file("topics"), TaskKind::Tags).unwrap_err().to_string();
    assert!(error.ends_with("cannot tell the column of words, found `text`, `label`"), "{error}");
}

#[test]
fn other_schemes_mark_the_same_entities() {
    let files = Files::new();
    let file = |name, tags: &str| {
        let lines: Vec<String> = tags.split(' ').map(|tag| format!("w {tag}\n")).collect();
        files.write(name, &lines.concat())
    };
    let expected = Dataset::read_train(&file("a.conll", "B-a I-a B-a O B-b"), TaskKind::Entities).unwrap();
    for (scheme, tags) in [(TagScheme::Iob1, "I-a I-a B-a O I-b"), (TagScheme::Iobes, "B-a E-a S-a O S-b")] {
        let mut source = file("b.conll", tags);
        assert!(Dataset::read_train(&source, TaskKind::Entities).is_err(), "{tags} is no IOB2");
        source.columns.tag_scheme = Some(scheme);
        let data = Dataset::read_train(&source, TaskKind::Entities).unwrap();
        assert_eq!((&data.task, &data.targets), (&expected.task, &expected.targets));
        let error = files.refused(&source, TaskKind::Tags);
        assert_eq!(error, "`--tag-scheme` is for a task of the kind entities, this one is of the kind tags");
    }
}

#[test]
fn tags_that_form_no_entities_are_told_with_their_line() {
    let files = Files::new();
    for (content, kind, expected) in [
        (
            "a O\nb O\n\nc O\nd I-x\n",
            TaskKind::Entities,
            "5: tag `I-x` of word 2 continues no entity: it stands after `O`",
        ),
        (
            "a I-x\nb O\n",
            TaskKind::Entities,
            "1: tag `I-x` of word 1 continues no entity: it stands at the beginning",
        ),
        (
            "a O\nb B\n",
            TaskKind::Entities,
            "2: tag `B` of word 2 is not of iob2, which has `O`, `B-` or `I-` and a type",
        ),
        ("a O\nb\n", TaskKind::Entities, "2: expected 2 columns, as in the sentence's first line, found 1"),
        ("a\nb\n", TaskKind::Tags, "1: word 1 has no tag"),
        ("a\tO\nb\t\n", TaskKind::Tags, "2: word 2 has no tag"),
        ("a\tO\n\tO\n", TaskKind::Tags, "2: word 2 is empty"),
        ("a O\nb O\n", TaskKind::Entities, ": expected at least two labels, found only `O`"),
        ("a N\nb N\n", TaskKind::Tags, ": expected at least two labels, found only `N`"),
        ("\n\n-DOCSTART- O\n", TaskKind::Tags, ": no rows"),
    ] {
        let error = files.refused(&files.write("x.conll", content), kind);
        let place = if expected.starts_with(':') { "" } else { ":" };
        assert_eq!(error, format!("x.conll{place}{expected}"), "{content:?}");
    }
    for (line, expected) in [
        (r#"{"tokens": ["a", "b"], "tags": ["O"]}"#, "expected a tag for each of 2 words, found 1"),
        (r#"{"tokens": ["a", " "], "tags": ["O", "O"]}"#, "word 2 is empty"),
        (r#"{"tokens": ["a"], "tags": [" "]}"#, "word 1 has no tag"),
        (r#"{"tokens": [], "tags": []}"#, "`tokens` is empty"),
        (r#"{"tokens": ["a"], "tags": "O"}"#, "`tags` must be a list of strings, found a string"),
        (r#"{"tokens": "a b", "tags": ["O"]}"#, "`tokens` must be a list of strings, found a string"),
        (
            r#"{"tokens": ["a"], "tags": ["O"], "label": 1}"#,
            "cannot tell the column of tags, found `tokens`, `tags`, `label`",
        ),
        (r#"{"tokens": ["a"]}"#, "cannot tell the column of tags, found `tokens`"),
        ("{\"tokens\": [\"a\"], \"tags\": [\"\\u001f\"]}", "a label holds the control character U+001F"),
    ] {
        let error = files.refused(&files.write("x.jsonl", line), TaskKind::Tags);
        assert_eq!(error, format!("x.jsonl:1: {expected}"), "{line}");
    }
    // A tag that training did not know, in the line of its word.
    let train = Dataset::read_train(&files.write("train.conll", CONLL), TaskKind::Entities).unwrap();
    let unknown = files.write("dev.conll", "he O\nleft O\nRome B-city\n");
    let error = Dataset::read_eval(&unknown, &train.task).unwrap_err().to_string();
    assert!(
        error.contains("dev.conll:3: unknown label `B-city`, expected one of `O`, `B-person`"),
        "{error}"
    );
    // White space of other alphabets is a part of a word, and no word by itself.
    let data = dataset("New\u{a0}York B-place\n. O\n", TaskKind::Entities);
    assert_eq!(words(&data.rows[0]), ["New\u{a0}York", "."]);
    let error = files.refused(&files.write("x.conll", "a O\n\u{a0} O\n"), TaskKind::Tags);
    assert_eq!(error, "x.conll:2: word 2 is empty");
    let many: String = (0..9000).map(|kind| format!("a B-t{kind}\n")).collect();
    let error = files.refused(&files.write("x.conll", &many), TaskKind::Entities);
    assert_eq!(error, "x.conll: more than 16384 tags, of which each type of entities has two");
    // The other tag of a type that is known is known.
    let known =
        Dataset::read_eval(&files.write("dev.conll", "he B-place\nleft I-place\n"), &train.task).unwrap();
    assert_eq!(known.targets, Targets::Entities(vec![vec![3, 4]], 5));
}

#[test]
fn a_sentence_has_no_more_words_than_a_row_may_have() {
    let files = Files::new();
    let most = "a X\n".repeat(16_384);
    let rows = |content: &str, labels| {
        let rows = files.write("x.conll", content).open(labels).unwrap();
        rows.map(|row| match row {
            Ok(row) => words(&row).len().to_string(),
            Err(error) => error.to_string().rsplit_once("x.conll:").unwrap().1.to_owned(),
        })
        .collect::<Vec<String>>()
    };
    for labels in [LabelUse::Tags { scheme: None, needed: true }, LabelUse::Optional] {
        assert_eq!(rows(&format!("{most}\nb Y\n"), labels), ["16384", "1"]);
        // The rest of the sentence is no row.
        let long = rows(&format!("{most}a X\na X\n\nb Y\n"), labels);
        assert_eq!(long, ["16385: more than 16384 words", "1"]);
    }
}

#[test]
fn formats_and_kinds_must_fit() {
    let files = Files::new();
    let csv = files.write("x.csv", "text,label\na,O\n");
    assert_eq!(files.refused(&csv, TaskKind::Tags), "x.csv: the format `csv` has no words with tags");
    let conll = files.write("x.conll", CONLL);
    let error = LabelledFile::read_train(&conll, TaskKind::Classification).unwrap_err();
    assert!(
        matches!(error, DataError::OnlyTags { .. })
            && error.hint().unwrap().contains("the kind entities or tags")
    );
    let mut named = conll;
    named.columns.text = Some("word".to_owned());
    let error = files.refused(&named, TaskKind::Tags);
    assert_eq!(error, "x.conll:1: `--text-column`: the format `conll` has no named columns");
}

#[derive(Deserialize)]
struct WordCases {
    max_length: usize,
    #[serde(rename = "word-piece")]
    word_piece: Vec<WordCase>,
    #[serde(rename = "byte-level")]
    byte_level: Vec<WordCase>,
    unigram: Vec<WordCase>,
}

#[derive(Deserialize)]
struct WordCase {
    words: Vec<String>,
    ids: Vec<u32>,
    first_tokens: Vec<u32>,
}

fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::read(&fixtures().join("words").join(name), 1000).unwrap()
}

#[test]
fn words_have_the_tokens_that_hugging_face_gives_them() {
    let file = std::fs::read_to_string(fixtures().join("words/cases.json")).unwrap();
    let WordCases { max_length, word_piece, byte_level, unigram } = serde_json::from_str(&file).unwrap();
    for (name, cases) in [("word-piece", word_piece), ("byte-level", byte_level), ("unigram", unigram)] {
        let tokenizer = tokenizer(name);
        assert!(cases.len() > 4);
        for case in cases {
            let row = Row::of_words(&case.words);
            let ranges = row.words.unwrap();
            let encoded = tokenizer.encode_words(&row.text, Some(&ranges), max_length).unwrap();
            assert_eq!(encoded.ids, case.ids, "{name}: {:?}", case.words);
            let first: Vec<u32> = encoded.words.iter().map(|word| word.token).collect();
            assert_eq!(first, case.first_tokens, "{name}: {:?}", case.words);
            assert!(encoded.words.iter().zip(&ranges).all(|(word, range)| word.range == *range), "{name}");
            assert_eq!(
                encoded.truncated,
                case.first_tokens.len() < case.words.len() || encoded.ids.len() == max_length
            );
        }
    }
}

#[test]
fn words_of_nothing_are_unknown_and_huge_ones_are_cut() {
    let tokenizer = tokenizer("word-piece");
    let encode = |words: &[&str]| {
        let row = Row::of_words(words);
        tokenizer.encode_words(&row.text, row.words.as_deref(), 16).unwrap()
    };
    // `[UNK]` is 1, `[CLS]` 2, `[SEP]` 3.
    let encoded = encode(&["\u{200b}\u{7}", "the"]);
    assert_eq!(
        (encoded.ids[..2].to_vec(), encoded.words[0].token, encoded.words[1].token),
        (vec![2, 1], 1, 2)
    );
    assert_eq!(encode(&["the", "\u{7}"]).words.len(), 2);
    let huge = "the ".repeat(300_000);
    let encoded = encode(&["the", &huge]);
    assert!(encoded.truncated && encoded.words.len() == 2 && encoded.ids.len() == 16);
    let many = vec!["the"; 100_000];
    let encoded = encode(&many);
    assert!(encoded.truncated && encoded.words.len() == 14);
    let row = Row::of_words(["the"]);
    let error = tokenizer.encode_words(&row.text, row.words.as_deref(), 2).unwrap_err();
    assert!(matches!(error, TokenizerError::NoRoom { max_length: 2, special: 2 }));
}

#[test]
fn a_text_is_cut_into_words_alike_for_every_tokenizer() {
    for (name, text, expected) in [
        ("word-piece", "  Ada didn't  go,\tno", vec!["Ada", "didn", "'", "t", "go", ",", "no"]),
        ("byte-level", "Ada wrote, in  London.", vec!["Ada", "wrote", ",", "in", "London", "."]),
        ("unigram", "the old train, late", vec!["the", "old", "train", ",", "late"]),
        (
            "unigram",
            "U.S. \u{4e2d}\u{6587} o\u{2019}B",
            vec!["U", ".", "S", ".", "\u{4e2d}", "\u{6587}", "o", "\u{2019}", "B"],
        ),
    ] {
        let encoded = tokenizer(name).encode_words(text, None, 64).unwrap();
        let found: Vec<&str> = encoded.words.iter().map(|word| &text[word.range.clone()]).collect();
        assert_eq!(found, expected, "{name}");
        // Not by what stands around them: the tokens are those of the same words in a file.
        let row = Row::of_words(&found);
        let of_words = tokenizer(name).encode_words(&row.text, row.words.as_deref(), 64).unwrap();
        assert_eq!(encoded.ids, of_words.ids, "{name}");
        if name == "word-piece" {
            assert_eq!(encoded.ids, tokenizer(name).encode(text, None, 64).unwrap().ids);
        }
    }
}

#[derive(Deserialize)]
struct EntityCases {
    cases: Vec<EntityCase>,
}

#[derive(Deserialize)]
struct EntityCase {
    name: String,
    tags: usize,
    targets: Vec<Vec<usize>>,
    predictions: Vec<Vec<usize>>,
    micro_f1: f64,
    precision: f64,
    recall: f64,
    macro_f1: f64,
    accuracy: f64,
    per_type: Vec<TypeCase>,
}

#[derive(Deserialize)]
struct TypeCase {
    precision: f64,
    recall: f64,
    f1: f64,
    support: f64,
}

#[test]
fn entities_are_scored_as_by_seqeval() {
    let file = std::fs::read_to_string(fixtures().join("entities.json")).unwrap();
    let EntityCases { cases } = serde_json::from_str(&file).unwrap();
    assert!(cases.len() > 10);
    for case in cases {
        let scores = EntityScores::compute(&case.targets, &case.predictions, case.tags).unwrap();
        let mut pairs = vec![
            ("micro f1", scores.micro_f1, case.micro_f1),
            ("precision", scores.precision, case.precision),
            ("recall", scores.recall, case.recall),
            ("macro f1", scores.macro_f1, case.macro_f1),
            ("accuracy", scores.accuracy, case.accuracy),
        ];
        assert_eq!(scores.per_type.len(), case.per_type.len());
        for (found, expected) in scores.per_type.iter().zip(&case.per_type) {
            pairs.extend([
                ("precision of a type", found.precision, expected.precision),
                ("recall of a type", found.recall, expected.recall),
                ("f1 of a type", found.f1, expected.f1),
                ("support", found.support as f64, expected.support),
            ]);
        }
        for (what, found, expected) in pairs {
            assert!(
                (found - expected).abs() < 1e-12,
                "{}: {what} is {found}, expected {expected}",
                case.name
            );
        }
    }
}

/// Sentences with names: a person after `he` or `she`, of one word or two, a place after `in`.
fn sentences(rows: usize, seed: u64) -> String {
    const FILLERS: [&str; 8] = ["the", "film", "was", "and", "it", "new", "not", "over"];
    let mut random = Random::new(seed);
    let mut pick = |below: usize| (random.bits() % below as u64) as usize;
    let mut text = String::new();
    for row in 0..rows {
        let mut lines: Vec<String> = (0..1 + pick(4)).map(|_| format!("{} O", FILLERS[pick(8)])).collect();
        let entity = match row % 4 {
            0 => "he O\nfranklyn B-person\n",
            1 => "she O\nfranklyn B-person\nbromer I-person\n",
            2 => "in O\nqux B-place\n",
            _ => "",
        };
        lines.insert(pick(lines.len() + 1), entity.trim_end().to_owned());
        lines.retain(|line| !line.is_empty());
        text += &lines.join("\n");
        text += "\n\n";
    }
    text
}

fn dataset(content: &str, kind: TaskKind) -> Dataset {
    Dataset::read_train(&Files::new().write("rows.conll", content), kind).unwrap()
}

fn options(method: Method) -> GraftOptions {
    let defaults = GraftOptions::default();
    GraftOptions {
        method,
        bottleneck: 16,
        max_length: 48,
        train: TrainOptions {
            epochs: Some(20),
            learning_rate: Some(1e-2),
            dropout: false,
            ..defaults.train.clone()
        },
        ..defaults
    }
}

fn trained(kind: TaskKind, options: &GraftOptions) -> (Adapter, Dataset, Scores) {
    let (train, dev) = (dataset(&sentences(96, 1), kind), dataset(&sentences(32, 2), kind));
    let grafted = graft(&MODEL, &train, &dev, options, &mut ()).unwrap();
    (grafted.adapter, dev, grafted.review.scores)
}

#[test]
fn entities_are_learnt_evaluated_and_answered() {
    let (adapter, dev, scores) = trained(TaskKind::Entities, &options(Method::Houlsby));
    assert_eq!(adapter.manifest().adapter.pooling, Pooling::Words);
    let f1 = scores.get(Metric::MicroF1).unwrap().unwrap();
    assert!(f1 > 0.95, "{scores:?}");
    assert_eq!(evaluate(&MODEL, &adapter, &dev).unwrap(), scores, "the sealed adapter scores the same");
    let row = Row::of_words(["it", "was", "she", "franklyn", "bromer", "in", "qux"]);
    let Prediction::Entities { entities, truncated } = predict(&MODEL, &adapter, &[row]).unwrap().remove(0)
    else {
        panic!("expected entities")
    };
    let told: Vec<_> = entities
        .iter()
        .map(|entity| (entity.kind.as_str(), entity.text.as_str(), entity.start, entity.end, entity.words))
        .collect();
    assert_eq!(
        told,
        [("person", "franklyn bromer", 11, 26, Some([3, 5])), ("place", "qux", 30, 33, Some([6, 7]))]
    );
    assert!(!truncated && entities.iter().all(|entity| entity.score > 0.5 && entity.score <= 1.0));
    // Of a text the characters are counted, not the bytes.
    let text = Row::single("é it was she franklyn  bromer in qux");
    let Prediction::Entities { entities, .. } = predict(&MODEL, &adapter, &[text]).unwrap().remove(0) else {
        panic!("expected entities")
    };
    assert_eq!((entities[0].start, entities[0].end, entities[0].words), (13, 29, None));
    assert_eq!(entities[0].text, "franklyn  bromer");
}

#[test]
fn tags_are_learnt_by_every_method_and_kept_states_change_nothing() {
    for (method, adapt_from_layer) in
        [(Method::Head, 0), (Method::Full, 0), (Method::Pfeiffer, 0), (Method::Houlsby, 1)]
    {
        let mut options = GraftOptions { adapt_from_layer, ..options(method) };
        options.train.dropout = true;
        let (adapter, _, scores) = trained(TaskKind::Tags, &options);
        let Scores::Tags(of_words) = &scores else { panic!("{scores:?}") };
        assert!(of_words.rows > 100 && of_words.accuracy > 0.6, "{method}: {}", of_words.accuracy);
        let mut unkept = options;
        unkept.train.budget = Budget { memory_bytes: 0, total_bytes: 0, ..Budget::default() };
        let (again, ..) = trained(TaskKind::Tags, &unkept);
        assert_eq!(again.manifest().weights_sha256, adapter.manifest().weights_sha256, "{method}");
        let Prediction::Tags { words, tags, scores, truncated } =
            predict(&MODEL, &adapter, &[Row::single("in qux")]).unwrap().remove(0)
        else {
            panic!("expected tags")
        };
        assert_eq!(
            (words, tags.len(), scores.len(), truncated),
            (vec!["in".to_owned(), "qux".to_owned()], 2, 2, false)
        );
    }
}

#[test]
fn words_are_answered_alike_alone_in_a_batch_beside_other_tasks_and_on_any_threads() {
    let (entities, dev, _) = trained(TaskKind::Entities, &options(Method::Houlsby));
    let (tags, ..) = trained(TaskKind::Tags, &options(Method::Head));
    let together = row_logits(&MODEL, &entities, &dev.rows).unwrap();
    for (row, logits) in dev.rows.iter().zip(&together) {
        let alone = row_logits(&MODEL, &entities, std::slice::from_ref(row)).unwrap();
        assert_eq!(
            alone[0].iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        );
        assert_eq!(logits.len(), row.words.as_ref().unwrap().len() * 5, "a row of logits for each word");
    }
    let panel = Panel::new(&MODEL, vec![&entities, &tags]).unwrap();
    let (of_entities, of_tags) =
        (predict(&MODEL, &entities, &dev.rows).unwrap(), predict(&MODEL, &tags, &dev.rows).unwrap());
    for ((answers, one), other) in panel.answer(&dev.rows).into_iter().zip(of_entities).zip(of_tags) {
        let answers: Vec<Prediction> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, [one, other]);
    }
    let digest = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            trained(TaskKind::Entities, &options(Method::Houlsby)).0.manifest().weights_sha256.clone()
        })
    };
    assert_eq!(digest(1), digest(3));
}

/// With words of which no plain text can be made again.
#[test]
fn probes_of_a_bank_keep_the_words() {
    let (adapter, ..) = trained(TaskKind::Entities, &options(Method::Houlsby));
    let rows = [Row::of_words(["\u{200b}"]), Row::of_words(["she", "franklyn-bromer", "in", "qux"])];
    let probes = Probes::take(&MODEL, &adapter, &rows).unwrap();
    let kept: Probes = serde_json::from_str(&serde_json::to_string(&probes).unwrap()).unwrap();
    assert_eq!(kept.ask_again(&MODEL, &adapter).unwrap(), Answered::Same { logits: (1 + 4) * 5 });
}

#[test]
fn words_beyond_the_cut_are_not_answered_and_never_right() {
    let (adapter, ..) = trained(TaskKind::Entities, &options(Method::Houlsby));
    let mut long: Vec<&str> = vec!["the"; 60];
    long.extend(["she", "franklyn", "bromer"]);
    let row = Row::of_words(&long);
    let Prediction::Entities { entities, truncated } = predict(&MODEL, &adapter, &[row]).unwrap().remove(0)
    else {
        panic!("expected entities")
    };
    assert!(truncated && entities.iter().all(|entity| entity.words.unwrap()[1] <= 46));
    let mut content: Vec<String> = long[..61].iter().map(|word| format!("{word} O\n")).collect();
    content.extend([
        "franklyn B-person\n".to_owned(),
        "bromer I-person\n".to_owned(),
        "\nqux B-place\n".to_owned(),
    ]);
    let data = dataset(&content.concat(), TaskKind::Entities);
    let Scores::Entities(scores) = evaluate(&MODEL, &adapter, &data).unwrap() else { panic!("entities") };
    assert_eq!((scores.words, scores.per_type[0].support), (64, 1));
    assert_eq!(scores.per_type[0].recall, 0.0, "what cannot be seen is missed");
    let mut answers = Answers::to(&data.targets, None);
    answers.push(&[0.0; 5], &[]);
    assert_eq!(answers, Answers::Entities(vec![vec![0]], 5));
}

#[test]
fn settings_that_do_not_fit_words_are_refused() {
    let (train, dev) =
        (dataset(&sentences(8, 1), TaskKind::Entities), dataset(&sentences(8, 2), TaskKind::Entities));
    let refused =
        |options: GraftOptions| graft(&MODEL, &train, &dev, &options, &mut ()).unwrap_err().to_string();
    let plain = || options(Method::Houlsby);
    assert_eq!(
        refused(GraftOptions { pooling: Pooling::Cls, ..plain() }),
        "`--pooling` is cls, expected words for entities"
    );
    let calibrated = refused(GraftOptions { calibrate: true, ..plain() });
    assert!(calibrated.contains("`--calibrate` is given for entities"), "{calibrated}");
    let metric = refused(GraftOptions { metric: Some(Metric::Matthews), ..plain() });
    assert_eq!(metric, "metric `matthews` does not measure entities");
    let files = Files::new();
    let blind = Dataset::read_eval(&files.write("dev.conll", "a O\n"), &train.task).unwrap();
    let error = graft(&MODEL, &train, &blind, &plain(), &mut ()).unwrap_err().to_string();
    assert!(error.contains("none of which has an entity"), "{error}");
}
