//! Broken, foreign and malicious files: every adapter folder and model folder that is not what it should be is refused
//! with a message that names the file and what was expected and found, and no folder of the user is ever harmed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use grafter::adapter::{
    Adapter, AdapterError, CARD_FILE, MANIFEST_FILE, WEIGHTS_FILE, check_target, read_manifest,
};
use grafter::data::{Dataset, Row, Source, TaskKind};
use grafter::digest::{sha256_file, sha256_hex};
use grafter::encoder::BasePrecision;
use grafter::eval::{EvalError, evaluate};
use grafter::graft::{GraftOptions, graft};
use grafter::model::Model;
use grafter::predict::{PredictError, predict, row_logits};
use grafter::row_encoding::{MAX_ROW_TOKENS, encode_rows};
use grafter::tokenizer::TokenizerError;
use grafter::train::TrainOptions;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tempfile::TempDir;

static MODEL: LazyLock<Model> = LazyLock::new(|| Model::read(&model_folder(), "tiny-bert").unwrap());
static ADAPTER: LazyLock<Adapter> = LazyLock::new(|| trained(TaskKind::Classification));

fn model_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-bert")
}

fn trained(kind: TaskKind) -> Adapter {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.tsv");
    std::fs::write(&path, "text\tlabel\ngood film\t1\nbad film\t0\na good story\t1\na bad story\t0\n")
        .unwrap();
    let rows = Dataset::read_train(&Source::new(path), kind).unwrap();
    let defaults = GraftOptions::default();
    let train = TrainOptions { epochs: Some(1), ..defaults.train.clone() };
    let options = GraftOptions { bottleneck: 4, max_length: 32, train, ..defaults };
    graft(&MODEL, &rows, &rows, &options, &mut ()).unwrap().adapter
}

/// A good adapter in a temporary folder.
fn adapter_folder() -> (TempDir, PathBuf) {
    saved(&ADAPTER)
}

fn saved(adapter: &Adapter) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("adapter");
    adapter.save(&out, false).unwrap();
    (folder, out)
}

/// What loading says, with the temporary folder called `DIR`.
fn refusal(folder: &TempDir, adapter: &Path) -> String {
    let error = Adapter::load(adapter, &MODEL).expect_err("it must be refused");
    error.to_string().replace(&folder.path().display().to_string(), "DIR")
}

/// A tensor by name: type, shape, bytes.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn tensors_of(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    tensors
        .iter()
        .map(|(name, tensor)| {
            (name.to_owned(), (tensor.dtype(), tensor.shape().to_vec(), tensor.data().to_vec()))
        })
        .collect()
}

fn write_tensors(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn change_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(path, serde_json::to_string_pretty(&json).unwrap()).unwrap();
}

/// An adapter whose tensors were changed by someone who sealed it again.
fn resealed(change: impl FnOnce(&mut Tensors)) -> String {
    let (folder, adapter) = adapter_folder();
    let path = adapter.join(WEIGHTS_FILE);
    let mut tensors = tensors_of(&path);
    change(&mut tensors);
    write_tensors(&path, &tensors);
    let sha256 = sha256_file(&path).unwrap();
    change_json(&adapter.join(MANIFEST_FILE), |json| json["weights_sha256"] = json!(sha256));
    refusal(&folder, &adapter)
}

/// An adapter whose description was changed.
fn described(change: impl FnOnce(&mut Value)) -> String {
    let (folder, adapter) = adapter_folder();
    change_json(&adapter.join(MANIFEST_FILE), change);
    refusal(&folder, &adapter)
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

// ---------------------------------------------------------------------------------------- weights of an adapter

#[test]
fn the_adapter_that_the_tests_break_is_whole() {
    let (_folder, adapter) = adapter_folder();
    Adapter::load(&adapter, &MODEL).unwrap();
    // Written by another safetensors writer in the same order and sealed again, it is still whole.
    let path = adapter.join(WEIGHTS_FILE);
    write_tensors(&path, &tensors_of(&path));
    let sha256 = sha256_file(&path).unwrap();
    change_json(&adapter.join(MANIFEST_FILE), |json| json["weights_sha256"] = json!(sha256));
    Adapter::load(&adapter, &MODEL).unwrap();
}

/// What another program wrote with other spaces and sealed is whole, and whatever is made of it is whole too.
#[test]
fn an_adapter_of_another_layout_is_sealed_anew_where_it_is_saved() {
    let (folder, adapter) = adapter_folder();
    let path = adapter.join(WEIGHTS_FILE);
    let bytes = std::fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&bytes[8..8 + length]).unwrap().replacen(':', " :", 8);
    let other = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[8 + length..]].concat();
    std::fs::write(&path, &other).unwrap();
    let sha256 = sha256_file(&path).unwrap();
    change_json(&adapter.join(MANIFEST_FILE), |json| json["weights_sha256"] = json!(sha256));
    let read = Adapter::load(&adapter, &MODEL).unwrap();
    let copy = folder.path().join("copy");
    read.save(&copy, false).unwrap();
    assert_eq!(std::fs::read(copy.join(WEIGHTS_FILE)).unwrap(), bytes, "as this program lays it out");
    let again = Adapter::load(&copy, &MODEL).unwrap();
    assert_eq!(again.digest(), read.digest());
    assert_eq!(sha256_file(&copy.join(MANIFEST_FILE)).unwrap(), read.digest());
}

#[test]
fn truncated_weights() {
    for keep in [0, 4, 100, 5_000] {
        let (folder, adapter) = adapter_folder();
        let path = adapter.join(WEIGHTS_FILE);
        let bytes = std::fs::read(&path).unwrap();
        assert!(keep < bytes.len());
        std::fs::write(&path, &bytes[..keep]).unwrap();
        let message = refusal(&folder, &adapter);
        // Below the size of one adapter it is told by its size, above by its format.
        let by_size = format!("expected to fit into `adapter.safetensors` of {keep} bytes");
        let by_format = "`DIR/adapter/adapter.safetensors` is not a valid safetensors file: ";
        assert!(message.ends_with(&by_size) || message.starts_with(by_format), "{keep}: {message}");
    }
}

#[test]
fn a_header_that_lies() {
    let (folder, adapter) = adapter_folder();
    let path = adapter.join(WEIGHTS_FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let message = refusal(&folder, &adapter);
    assert!(
        message.starts_with("`DIR/adapter/adapter.safetensors` is not a valid safetensors file: "),
        "{message}"
    );

    // Two tensors on the same bytes.
    let header = br#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend([0; 4096]);
    std::fs::write(&path, &bytes).unwrap();
    let message = refusal(&folder, &adapter);
    assert!(
        message.starts_with("`DIR/adapter/adapter.safetensors` is not a valid safetensors file: "),
        "{message}"
    );
}

#[test]
fn a_flipped_bit() {
    let (folder, adapter) = adapter_folder();
    let path = adapter.join(WEIGHTS_FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    let sealed = sha256_hex(&bytes);
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let expected =
        format!("`DIR/adapter/adapter.safetensors` has SHA-256 {}, sealed was {sealed}", sha256_hex(&bytes));
    assert_eq!(refusal(&folder, &adapter), expected);
}

#[test]
fn a_tensor_too_many() {
    let message = resealed(|tensors| {
        tensors.insert("layer.7.extra".to_owned(), (Dtype::F32, vec![1], floats(&[1.0])));
    });
    let expected =
        "`DIR/adapter/adapter.safetensors` has a tensor `layer.7.extra` that does not belong to the adapter";
    assert_eq!(message, expected);
}

#[test]
fn a_tensor_too_few() {
    let message = resealed(|tensors| {
        tensors.remove("layer.1.attention.adapter.up.bias").unwrap();
    });
    let expected = "`DIR/adapter/adapter.safetensors` has no tensor `layer.1.attention.adapter.up.bias`";
    assert_eq!(message, expected);
}

#[test]
fn a_tensor_of_another_shape() {
    // Transposed: as many numbers, and still another tensor.
    let message = resealed(|tensors| {
        tensors.get_mut("layer.0.feed_forward.adapter.down.weight").unwrap().1.reverse();
    });
    let expected = "`DIR/adapter/adapter.safetensors`: tensor `layer.0.feed_forward.adapter.down.weight` \
                    expected [4, 32], got [32, 4]";
    assert_eq!(message, expected);
}

#[test]
fn a_tensor_of_another_type() {
    let message = resealed(|tensors| {
        tensors.insert("head.bias".to_owned(), (Dtype::F16, vec![2], vec![0; 4]));
    });
    let expected = "`DIR/adapter/adapter.safetensors`: tensor `head.bias` expected type F32, got type F16";
    assert_eq!(message, expected);
}

#[test]
fn a_number_that_is_not_finite() {
    for value in [f32::NAN, f32::INFINITY] {
        let message = resealed(|tensors| {
            tensors.get_mut("head.bias").unwrap().2 = floats(&[0.0, value]);
        });
        let expected = "`DIR/adapter/adapter.safetensors`: tensor `head.bias` expected finite numbers, got NaN or infinity";
        assert_eq!(message, expected);
    }
}

#[test]
fn missing_files() {
    for name in [WEIGHTS_FILE, MANIFEST_FILE] {
        let (folder, adapter) = adapter_folder();
        std::fs::remove_file(adapter.join(name)).unwrap();
        let message = refusal(&folder, &adapter);
        assert!(message.starts_with(&format!("cannot read `DIR/adapter/{name}`: ")), "{message}");
    }
    // The card is for people.
    let (_folder, adapter) = adapter_folder();
    std::fs::remove_file(adapter.join(CARD_FILE)).unwrap();
    Adapter::load(&adapter, &MODEL).unwrap();
}

// ------------------------------------------------------------------------------------ description of an adapter

#[test]
fn a_description_that_is_no_json() {
    for text in ["", "{", "[]", "\u{feff}{}", "{\"format_version\": \"1\"}", "{\"format_version\": -1}"] {
        let (folder, adapter) = adapter_folder();
        std::fs::write(adapter.join(MANIFEST_FILE), text).unwrap();
        let message = refusal(&folder, &adapter);
        let expected = "`DIR/adapter/adapter.json` is not an adapter's description: ";
        assert!(message.starts_with(expected), "{text:?}: {message}");
    }
    let (folder, adapter) = adapter_folder();
    std::fs::write(adapter.join(MANIFEST_FILE), b"{\"format_version\": 1, \"tool\": \"\xff\"}").unwrap();
    assert!(refusal(&folder, &adapter).contains("`DIR/adapter/adapter.json`"));
    // Nested without end: refused, not a stack overflow.
    let (folder, adapter) = adapter_folder();
    std::fs::write(adapter.join(MANIFEST_FILE), "[".repeat(1_000_000)).unwrap();
    assert!(refusal(&folder, &adapter).contains("is not an adapter's description"));
}

#[test]
fn a_field_that_is_missing_or_unknown() {
    let message = described(|json| {
        json.as_object_mut().unwrap().remove("max_length").unwrap();
    });
    assert!(message.contains("missing field `max_length`"), "{message}");
    let message = described(|json| json["adapter"]["method"] = json!("lora"));
    assert!(message.contains("unknown method `lora`; known: houlsby, pfeiffer, full, "), "{message}");
    let message = described(|json| json["adapter"]["pooling"] = json!("max"));
    assert!(message.contains("unknown variant `max`"), "{message}");
    let message = described(|json| json["adapter"]["bottleneck"] = json!(-4));
    assert!(message.contains("invalid value: integer `-4`"), "{message}");
}

#[test]
fn another_version_of_the_layout() {
    for version in [0, 2, 4_000_000_000u32] {
        // What else a later version says is not looked at.
        let (folder, adapter) = adapter_folder();
        std::fs::write(adapter.join(MANIFEST_FILE), format!("{{\"format_version\": {version}}}")).unwrap();
        let expected =
            format!("`DIR/adapter/adapter.json` has format version {version}, this program reads 1");
        assert_eq!(refusal(&folder, &adapter), expected);
    }
}

#[test]
fn sizes_that_would_take_all_memory() {
    for bottleneck in [1 << 20, 1u64 << 40, u64::MAX] {
        let message = described(|json| json["adapter"]["bottleneck"] = json!(bottleneck));
        let expected = format!(
            "`DIR/adapter/adapter.json`: size of the adapter is bottleneck {bottleneck}, 2 outputs, expected to fit \
             into `adapter.safetensors` of "
        );
        assert!(message.starts_with(&expected), "{message}");
    }
    let message = described(|json| json["adapter"]["outputs"] = json!(u64::MAX));
    assert_eq!(
        message,
        format!("`DIR/adapter/adapter.json`: `adapter.outputs` is {}, expected 2 as the task has", u64::MAX)
    );
    let message = described(|json| json["adapter"]["bottleneck"] = json!(0));
    assert_eq!(message, "`DIR/adapter/adapter.json`: `adapter.bottleneck` is 0, expected 1 or more");
    let message = described(|json| json["adapter"]["bottleneck"] = json!(5));
    let expected = "`DIR/adapter/adapter.safetensors`: tensor `layer.0.attention.adapter.down.weight` expected \
                    [5, 32], got [4, 32]";
    assert_eq!(message, expected);
}

#[test]
fn more_and_longer_labels_than_a_task_may_have() {
    let labels: Vec<String> = (0..20_000).map(|label| label.to_string()).collect();
    let begin = "`DIR/adapter/adapter.json` is not an adapter's description: ";
    let message = described(|json| json["task"]["labels"] = json!(labels));
    assert!(
        message.starts_with(&format!("{begin}`task.labels` has more than 16384 names at line")),
        "{message}"
    );
    let message = described(|json| json["task"]["labels"] = json!(["a", "b".repeat(1025)]));
    assert!(
        message
            .starts_with(&format!("{begin}name 2 of `task.labels` has 1025 bytes, the most is 1024 at line")),
        "{message}"
    );
}

#[test]
fn another_method_than_the_tensors_are_of() {
    let message = described(|json| json["adapter"]["method"] = json!("head"));
    assert!(message.contains("that does not belong to the adapter"), "{message}");
}

#[test]
fn a_lowest_layer_that_the_encoder_does_not_have() {
    for layer in [2, u64::MAX] {
        let message = described(|json| json["adapter"]["adapt_from_layer"] = json!(layer));
        let expected = format!(
            "`DIR/adapter/adapter.json`: `adapter.adapt_from_layer` is {layer}, expected 0 to 1 with this model"
        );
        assert_eq!(message, expected);
    }
    let message = described(|json| json["adapter"]["adapt_from_layer"] = json!(1));
    let expected = "`DIR/adapter/adapter.safetensors` has a tensor `embeddings.layer_norm.bias` that does not belong to \
                    the adapter";
    assert_eq!(message, expected);
    let message = described(|json| {
        json["adapter"]["method"] = json!("head");
        json["adapter"]["adapt_from_layer"] = json!(1);
    });
    let expected = "`DIR/adapter/adapter.json`: `adapter.adapt_from_layer` is 1, expected 0 with the method `head`, which \
                    has no adapters";
    assert_eq!(message, expected);
    let message = described(|json| json["adapter"]["method"] = json!("top-3"));
    let expected =
        "`DIR/adapter/adapter.json`: `adapter.method` is top-3, expected top-1 to top-2 with this model";
    assert_eq!(message, expected);
}

#[test]
fn labels_that_do_not_fit() {
    let message = described(|json| json["task"]["labels"] = json!(["0", "1", "2"]));
    assert_eq!(message, "`DIR/adapter/adapter.json`: `adapter.outputs` is 2, expected 3 as the task has");
    for labels in [json!([]), json!(["only"]), json!(["twice", "twice"])] {
        let message = described(|json| json["task"]["labels"] = labels);
        assert!(
            message.starts_with("`DIR/adapter/adapter.json`: `task.labels` is not usable ("),
            "{message}"
        );
        assert!(message.ends_with("), expected two or more names"), "{message}");
    }
}

#[test]
fn a_scale_of_scores_that_does_not_fit() {
    let message = described(|json| json["task"]["scores"] = json!({"mean": 0.0, "std": 1.0}));
    assert!(message.starts_with("`DIR/adapter/adapter.json`: `task.scores` is "), "{message}");
    assert!(message.ends_with("expected what classification needs"), "{message}");

    let regression = trained(TaskKind::Regression);
    let describe = |scores: Value| {
        let (folder, adapter) = saved(&regression);
        change_json(&adapter.join(MANIFEST_FILE), |json| json["task"]["scores"] = scores);
        refusal(&folder, &adapter)
    };
    assert_eq!(
        describe(json!(null)),
        "`DIR/adapter/adapter.json`: `task.scores` is None, expected what regression needs"
    );
    for std in [json!(0.0), json!(-1.0)] {
        let message = describe(json!({"mean": 0.0, "std": std}));
        assert!(message.ends_with("expected finite, `std` above 0"), "{message}");
    }
    for (mean, std) in [(json!("x"), json!(1.0)), (json!(0.0), json!(1e39)), (json!(null), json!(1.0))] {
        let message = describe(json!({"mean": mean, "std": std}));
        assert!(message.contains("is not an adapter's description"), "{message}");
    }
}

/// An adapter of a kind, described in another way.
fn described_of(kind: TaskKind, lines: &str) -> impl Fn(&dyn Fn(&mut Value)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, lines).unwrap();
    let rows = Dataset::read_train(&Source::new(path), kind).unwrap();
    let defaults = GraftOptions::default();
    let train = TrainOptions { epochs: Some(1), ..defaults.train.clone() };
    let fit_thresholds = kind == TaskKind::QuestionAnswering;
    let options = GraftOptions { bottleneck: 4, max_length: 32, fit_thresholds, train, ..defaults };
    let adapter = graft(&MODEL, &rows, &rows, &options, &mut ()).unwrap().adapter;
    move |change| {
        let (folder, path) = saved(&adapter);
        Adapter::load(&path, &MODEL).unwrap();
        change_json(&path.join(MANIFEST_FILE), change);
        refusal(&folder, &path).replace("`DIR/adapter/adapter.json`", "FILE")
    }
}

#[test]
fn a_description_of_choices_that_does_not_fit() {
    let line = "{\"text\": \"film\", \"choices\": [\"good\", \"bad\"], \"label\": 0}\n".repeat(2);
    let refused = described_of(TaskKind::MultipleChoice, &line);
    for (found, expected) in [
        (
            refused(&|json| json["stride"] = json!(4)),
            "FILE: `stride` is Some(4), expected what multiple-choice needs",
        ),
        (
            refused(&|json| json["task"]["no_answer"] = json!(true)),
            "FILE: `task.no_answer` is true, expected false of multiple-choice",
        ),
        (
            refused(&|json| json["thresholds"] = json!([0.5])),
            "FILE: `thresholds` is 1 numbers, expected of several labels 0 to 1 for each, of questions without an answer \
             one number",
        ),
        (
            refused(&|json| json["adapter"]["outputs"] = json!(2)),
            "FILE: `adapter.outputs` is 2, expected 1 as the task has",
        ),
        (
            refused(&|json| json["adapter"]["pooling"] = json!("words")),
            "FILE: `adapter.pooling` is words, expected what a task of the kind multiple-choice reads",
        ),
        (
            refused(&|json| json["task"]["scores"] = json!({"mean": 0.0, "std": 1.0})),
            "FILE: `task.scores` is Some(ScoreScale { mean: 0.0, std: 1.0 }), expected what multiple-choice needs",
        ),
        (
            refused(&|json| {
                json["calibration"] =
                    json!({"temperature": 1.5, "rows": 2, "error_before": 0.1, "error_after": 0.1});
            }),
            "FILE: `calibration` is a temperature of 1.5 of multiple-choice, expected of a classification, a temperature \
             above 0",
        ),
    ] {
        assert_eq!(found, expected);
    }
    let labelled = refused(&|json| json["task"]["labels"] = json!(["a", "b"]));
    assert_eq!(labelled, "FILE: `task.labels` is 2 names, expected none of multiple-choice");
}

#[test]
fn a_description_of_questions_that_does_not_fit() {
    let line = |answers: &str| {
        format!("{{\"question\": \"film\", \"context\": \"a good film\", \"answers\": {answers}}}\n")
    };
    let lines = line("[]") + &line("[{\"text\": \"good\", \"answer_start\": 2}]");
    let refused = described_of(TaskKind::QuestionAnswering, &lines);
    let thresholds = "of several labels 0 to 1 for each, of questions without an answer one number";
    for (found, expected) in [
        (
            refused(&|json| drop(json.as_object_mut().unwrap().remove("stride"))),
            "`stride` is None, expected what question-answering needs",
        ),
        (
            refused(&|json| json["stride"] = json!(null)),
            "`stride` is None, expected what question-answering needs",
        ),
        (
            refused(&|json| json["stride"] = json!(32)),
            "`stride` is 32, expected less than `max_length`, which is 32",
        ),
        (
            refused(&|json| json["stride"] = json!(u64::MAX)),
            "`stride` is 18446744073709551615, expected less than `max_length`, which is 32",
        ),
        (
            refused(&|json| json["thresholds"] = json!([])),
            &format!("`thresholds` is 0 numbers, expected {thresholds}"),
        ),
        (
            refused(&|json| json["thresholds"] = json!([0.5, 1.0])),
            &format!("`thresholds` is 2 numbers, expected {thresholds}"),
        ),
        (
            refused(&|json| json["task"]["no_answer"] = json!(false)),
            &format!("`thresholds` is 1 numbers, expected {thresholds}"),
        ),
        (
            refused(&|json| json["task"]["pair"] = json!(false)),
            "`task.pair` is false, expected questions with their contexts",
        ),
        (
            refused(&|json| json["adapter"]["outputs"] = json!(1)),
            "`adapter.outputs` is 1, expected 2 as the task has",
        ),
        (
            refused(&|json| json["adapter"]["pooling"] = json!("mean")),
            "`adapter.pooling` is mean, expected what a task of the kind question-answering reads",
        ),
    ] {
        assert_eq!(found, format!("FILE: {expected}"));
    }
    for stride in [json!(-1), json!(1.5), json!("4")] {
        let message = refused(&|json| json["stride"] = stride.clone());
        assert!(message.contains("is not an adapter's description"), "{message}");
    }
    for threshold in [json!(null), json!("0"), json!([null])] {
        let message = refused(&|json| json["thresholds"] = json!([threshold]));
        assert!(message.contains("is not an adapter's description"), "{message}");
    }
}

#[test]
fn a_longest_length_that_the_encoder_does_not_have() {
    for length in [0, 65, 1u64 << 40] {
        let message = described(|json| json["max_length"] = json!(length));
        let expected = format!("`DIR/adapter/adapter.json`: `max_length` is {length}, expected 1 to 64");
        assert_eq!(message, expected);
    }
}

// ------------------------------------------------------------------------------------------------- other bases

/// A copy of the tiny model.
fn model_copy() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(model_folder().join(name), folder.path().join(name)).unwrap();
    }
    folder
}

#[test]
fn an_encoder_with_one_other_number_is_another_base() {
    let (folder, adapter) = adapter_folder();
    let copy = model_copy();
    Adapter::load(&adapter, &Model::read(copy.path(), "copy").unwrap()).expect("a copy is the same base");

    let path = copy.path().join("model.safetensors");
    let mut tensors = tensors_of(&path);
    tensors.get_mut("pooler.dense.bias").unwrap().2[0] ^= 1;
    write_tensors(&path, &tensors);
    let other = Model::read(copy.path(), "copy").unwrap();
    let error = Adapter::load(&adapter, &other).unwrap_err();
    let expected = format!(
        "adapter `DIR/adapter` does not fit this model: its encoder's SHA-256 is {}, this one's {}",
        sha256_file(&model_folder().join("model.safetensors")).unwrap(),
        sha256_file(&path).unwrap()
    );
    assert_eq!(error.to_string().replace(&folder.path().display().to_string(), "DIR"), expected);
    assert_eq!(
        error.hint().unwrap(),
        "it was trained on `tiny-bert`; pass `--model <NAME or DIR>` of that model"
    );
}

#[test]
fn another_tokenizer_is_another_base() {
    let (_folder, adapter) = adapter_folder();
    let copy = model_copy();
    change_json(&copy.path().join("tokenizer.json"), |json| json["normalizer"]["lowercase"] = json!(false));
    let error = Adapter::load(&adapter, &Model::read(copy.path(), "copy").unwrap()).unwrap_err();
    assert!(matches!(error, AdapterError::OtherBase { part: "tokenizer's SHA-256", .. }), "{error}");
}

/// The weights are the same bytes, but the network computes something else with them.
#[test]
fn another_configuration_is_another_base() {
    let (folder, adapter) = adapter_folder();
    for (field, value, expected) in [
        ("num_attention_heads", json!(8), "its `num_attention_heads` is 2, this one's 8"),
        ("hidden_act", json!("relu"), "its `hidden_act` is gelu, this one's relu"),
        ("layer_norm_eps", json!(1e-5), "its `layer_norm_eps` is 1e-12, this one's 1e-5"),
        ("num_hidden_layers", json!(1), "its `num_hidden_layers` is 2, this one's 1"),
    ] {
        let copy = model_copy();
        change_json(&copy.path().join("config.json"), |json| json[field] = value);
        let error = Adapter::load(&adapter, &Model::read(copy.path(), "copy").unwrap()).unwrap_err();
        let message = error.to_string().replace(&folder.path().display().to_string(), "DIR");
        assert_eq!(message, format!("adapter `DIR/adapter` does not fit this model: {expected}"));
    }
    // What acts in training only decides no answer.
    let copy = model_copy();
    change_json(&copy.path().join("config.json"), |json| json["hidden_dropout_prob"] = json!(0.0));
    Adapter::load(&adapter, &Model::read(copy.path(), "copy").unwrap()).unwrap();
}

#[test]
fn an_adapter_answers_on_its_own_model_and_for_its_own_task_only() {
    let adapter = trained(TaskKind::Classification);
    let copy = model_copy();
    change_json(&copy.path().join("config.json"), |json| json["hidden_act"] = json!("relu"));
    let other = Model::read(copy.path(), "copy").unwrap();
    let error = predict(&other, &adapter, &[Row::single("good film")]).unwrap_err();
    assert!(matches!(error, PredictError::Adapter(AdapterError::OtherBase { .. })), "{error}");

    let model = Model::read(&model_folder(), "tiny-bert").unwrap();
    let error = predict(&model, &adapter, &[Row::pair("good", "film")]).unwrap_err();
    assert_eq!(error.to_string(), "line 1: expected one text, found a pair");

    let mut data = rows();
    evaluate(&model, &adapter, &data).unwrap();
    data.task.pair = true;
    let error = evaluate(&model, &adapter, &data).unwrap_err();
    assert!(matches!(error, EvalError::OtherTask { .. }), "{error}");
}

/// Every number is finite, and the sums are not.
#[test]
fn an_answer_that_is_not_a_number_is_an_error_and_not_the_first_class() {
    let (_folder, adapter) = {
        let sound = trained(TaskKind::Classification);
        let (folder, path) = saved(&sound);
        let weights = path.join(WEIGHTS_FILE);
        let mut tensors = tensors_of(&weights);
        for name in ["head.weight", "head.bias"] {
            let bytes = &mut tensors.get_mut(name).unwrap().2;
            *bytes = floats(&vec![f32::MAX; bytes.len() / 4]);
        }
        write_tensors(&weights, &tensors);
        let sha256 = sha256_file(&weights).unwrap();
        change_json(&path.join(MANIFEST_FILE), |json| json["weights_sha256"] = json!(sha256));
        let model = Model::read(&model_folder(), "tiny-bert").unwrap();
        let adapter = Adapter::load(&path, &model).unwrap();
        (folder, adapter)
    };
    let model = Model::read(&model_folder(), "tiny-bert").unwrap();
    let data = rows();
    let error = evaluate(&model, &adapter, &data).unwrap_err();
    assert!(
        matches!(&error, EvalError::Row { line: 2, error, .. } if matches!(**error, PredictError::NotANumber)),
        "{error}"
    );
    assert_eq!(error.to_string(), format!("{}:2: the answer is not a number", data.file));
}

#[test]
fn an_adapter_that_cannot_take_its_place_is_kept_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    // Someone put a file there after the target was checked.
    std::fs::write(out.join("thesis.txt"), "years of work").unwrap();
    let adapter = trained(TaskKind::Classification);
    let error = adapter.save_or_keep(&out, true).unwrap_err();
    let AdapterError::Kept { kept, .. } = &error else { panic!("{error}") };
    assert_eq!(
        error.to_string(),
        format!(
            "`{}` exists and is not an adapter folder; the adapter was kept in `{}`",
            out.display(),
            kept.display()
        )
    );
    let model = Model::read(&model_folder(), "tiny-bert").unwrap();
    let loaded = Adapter::load(kept, &model).unwrap();
    assert_eq!(loaded.parameters().values(), adapter.parameters().values());
    assert_eq!(std::fs::read_to_string(out.join("thesis.txt")).unwrap(), "years of work");
}

// ------------------------------------------------------------------------------------------------- overwriting

#[test]
fn an_adapter_is_replaced_only_when_asked_to() {
    let (folder, adapter) = adapter_folder();
    let before = std::fs::read(adapter.join(MANIFEST_FILE)).unwrap();
    let regression = trained(TaskKind::Regression);
    let error = regression.save(&adapter, false).unwrap_err();
    assert_eq!(error.to_string(), format!("`{}` exists", adapter.display()));
    assert_eq!(error.hint().unwrap(), "pass `--overwrite` to replace it");
    assert_eq!(std::fs::read(adapter.join(MANIFEST_FILE)).unwrap(), before);

    regression.save(&adapter, true).unwrap();
    assert_eq!(read_manifest(&adapter).unwrap().task.kind, TaskKind::Regression);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn what_is_no_adapter_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let thesis = folder.path().join("thesis");
    std::fs::create_dir(&thesis).unwrap();
    std::fs::write(thesis.join("chapter.txt"), "years of work").unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "a file").unwrap();
    for target in [&thesis, &file] {
        for overwrite in [false, true] {
            let expected = format!("`{}` exists and is not an adapter folder", target.display());
            assert_eq!(check_target(target, overwrite).unwrap_err().to_string(), expected);
            assert_eq!(ADAPTER.save(target, overwrite).unwrap_err().to_string(), expected);
        }
    }
    assert_eq!(std::fs::read_to_string(thesis.join("chapter.txt")).unwrap(), "years of work");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a file");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside them");
}

#[test]
fn an_empty_folder_is_taken_and_parents_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    ADAPTER.save(&empty, false).unwrap();
    Adapter::load(&empty, &MODEL).unwrap();
    let deep = folder.path().join("a/b/c");
    ADAPTER.save(&deep, false).unwrap();
    Adapter::load(&deep, &MODEL).unwrap();
}

#[test]
fn a_parent_that_cannot_hold_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = ADAPTER.save(&file.join("adapter"), false).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot create `{}`: ", file.display())), "{error}");
}

#[cfg(unix)]
#[test]
fn a_parent_that_cannot_be_written() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let locked = folder.path().join("locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(locked.join("probe"), "").is_ok() {
        println!("skipped: this user may write anywhere");
        return;
    }
    let error = ADAPTER.save(&locked.join("adapter"), false).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot create a folder in `{}`: ", locked.display())), "{error}");
}

// ------------------------------------------------------------------------------------------------- checkpoints

/// What reading says of a copy of the tiny model, changed, with its folder called `DIR`.
fn checkpoint(change: impl FnOnce(&Path)) -> String {
    let folder = model_copy();
    change(folder.path());
    let error = Model::read(folder.path(), "broken").map(|_| ()).expect_err("it must be refused");
    error.to_string().replace(&folder.path().display().to_string(), "DIR")
}

fn configured(change: impl FnOnce(&mut Value)) -> String {
    checkpoint(|folder| change_json(&folder.join("config.json"), change))
}

fn with_tensors(change: impl FnOnce(&mut Tensors)) -> String {
    checkpoint(|folder| {
        let path = folder.join("model.safetensors");
        let mut tensors = tensors_of(&path);
        change(&mut tensors);
        write_tensors(&path, &tensors);
    })
}

#[test]
fn a_checkpoint_without_a_file() {
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        let message = checkpoint(|folder| std::fs::remove_file(folder.join(name)).unwrap());
        assert!(message.starts_with(&format!("cannot read `DIR/{name}`: ")), "{message}");
    }
}

#[test]
fn a_checkpoint_that_ends_early() {
    for keep in [0, 7, 200, 60_000] {
        let message = checkpoint(|folder| {
            let path = folder.join("model.safetensors");
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..keep]).unwrap();
        });
        let expected = "`DIR/model.safetensors` is not a valid safetensors file: ";
        assert!(message.starts_with(expected), "{keep}: {message}");
    }
    let message = checkpoint(|folder| std::fs::write(folder.join("config.json"), "{\"model_type\"").unwrap());
    assert!(message.starts_with("`DIR/config.json` is not an encoder's configuration: "), "{message}");
    let message = checkpoint(|folder| std::fs::write(folder.join("tokenizer.json"), "{\"model\"").unwrap());
    assert!(message.starts_with("`DIR/tokenizer.json` is not a tokenizer: "), "{message}");
}

#[test]
fn a_checkpoint_with_other_tensors() {
    let message = with_tensors(|tensors| {
        tensors.remove("encoder.layer.1.output.dense.bias").unwrap();
    });
    assert_eq!(message, "`DIR/model.safetensors` has no tensor `encoder.layer.1.output.dense.bias`");

    let message = with_tensors(|tensors| {
        tensors.get_mut("encoder.layer.0.intermediate.dense.weight").unwrap().1.reverse();
    });
    let expected = "`DIR/model.safetensors`: tensor `encoder.layer.0.intermediate.dense.weight` expected [64, 32], \
                    got [32, 64]";
    assert_eq!(message, expected);

    let message = with_tensors(|tensors| {
        let (_, shape, bytes) = tensors["pooler.dense.bias"].clone();
        tensors.insert("pooler.dense.bias".to_owned(), (Dtype::I32, shape, bytes));
    });
    assert_eq!(
        message,
        "`DIR/model.safetensors`: tensor `pooler.dense.bias` expected type F32, F16, BF16, got type I32"
    );
}

#[test]
fn a_checkpoint_with_the_names_of_a_model_with_a_head_is_read() {
    let folder = model_copy();
    let path = folder.path().join("model.safetensors");
    let prefixed =
        tensors_of(&path).into_iter().map(|(name, tensor)| (format!("bert.{name}"), tensor)).collect();
    write_tensors(&path, &prefixed);
    let model = Model::read(folder.path(), "prefixed").unwrap();
    assert_eq!(model.encoder().digest_in_memory(), MODEL.encoder().digest_in_memory());
}

#[test]
fn settings_that_are_not_supported() {
    assert_eq!(
        configured(|json| {
            json.as_object_mut().unwrap().remove("model_type").unwrap();
        }),
        "`DIR/config.json`: `model_type` is `none`; supported: `bert`, `roberta`, `xlm-roberta`, `distilbert`, `electra`, `mpnet`, `modernbert`, `deberta-v2`"
    );
    assert_eq!(
        configured(|json| json["hidden_act"] = json!("gelu_fast")),
        "`DIR/config.json`: `hidden_act` is `gelu_fast`; supported: `gelu`, `gelu_new`, `gelu_pytorch_tanh`, \
         `relu`, `silu`"
    );
    assert_eq!(
        configured(|json| json["position_embedding_type"] = json!("relative_key")),
        "`DIR/config.json`: `position_embedding_type` is `relative_key`; supported: `absolute`"
    );
    assert_eq!(
        configured(|json| json["is_decoder"] = json!(true)),
        "`DIR/config.json`: `is_decoder` is `true`; supported: `false`"
    );
}

#[test]
fn sizes_out_of_range() {
    assert_eq!(
        configured(|json| json["num_attention_heads"] = json!(5)),
        "`DIR/config.json`: `num_attention_heads` is 5, expected a divisor of `hidden_size` 32"
    );
    for (field, largest) in [
        ("vocab_size", 1 << 24),
        ("hidden_size", 1 << 20),
        ("num_hidden_layers", 1 << 10),
        ("num_attention_heads", 1 << 20),
        ("intermediate_size", 1 << 20),
        ("max_position_embeddings", 1 << 20),
        ("type_vocab_size", 1 << 20),
    ] {
        for value in [0, largest + 1, u64::MAX] {
            let message = configured(|json| json[field] = json!(value));
            let expected = format!("`DIR/config.json`: `{field}` is {value}, expected 1 to {largest}");
            assert_eq!(message, expected);
        }
    }
    for (field, value) in [
        ("hidden_dropout_prob", json!(1.0)),
        ("attention_probs_dropout_prob", json!(-0.1)),
        ("layer_norm_eps", json!(-1e-12)),
    ] {
        let message = configured(|json| json[field] = value);
        assert!(message.starts_with(&format!("`DIR/config.json`: `{field}` is ")), "{message}");
        assert!(message.ends_with("expected 0 or more and less than 1"), "{message}");
    }
    let message = configured(|json| json["hidden_size"] = json!(-32));
    assert!(message.starts_with("`DIR/config.json` is not an encoder's configuration: "), "{message}");
}

#[test]
fn sizes_whose_products_do_not_fit_into_integers() {
    for field in ["hidden_size", "intermediate_size"] {
        let folder = model_copy();
        change_json(&folder.path().join("config.json"), |json| json[field] = json!(66_312));
        let error = |precision| Model::read_in(folder.path(), "wide", precision).map(|_| ()).unwrap_err();
        let expected = format!("`{field}` is 66312, expected at most 66311 with a base in int8");
        assert!(error(BasePrecision::Int8).to_string().ends_with(&expected));
        assert!(!error(BasePrecision::F32).to_string().contains("int8"));
    }
}

#[test]
fn sizes_that_the_weights_do_not_have() {
    for (field, value, expected) in [
        (
            "vocab_size",
            16_000_000,
            "tensor `embeddings.word_embeddings.weight` expected [16000000, 32], got [323, 32]",
        ),
        (
            "hidden_size",
            1 << 20,
            "tensor `embeddings.word_embeddings.weight` expected [323, 1048576], got [323, 32]",
        ),
        (
            "intermediate_size",
            1 << 20,
            "tensor `encoder.layer.0.intermediate.dense.weight` expected [1048576, 32], got [64, 32]",
        ),
        (
            "max_position_embeddings",
            512,
            "tensor `embeddings.position_embeddings.weight` expected [512, 32], got [64, 32]",
        ),
        (
            "type_vocab_size",
            1,
            "tensor `embeddings.token_type_embeddings.weight` expected [1, 32], got [2, 32]",
        ),
    ] {
        let message = configured(|json| json[field] = json!(value));
        assert_eq!(message, format!("`DIR/model.safetensors`: {expected}"));
    }
    let message = configured(|json| json["num_hidden_layers"] = json!(3));
    assert_eq!(
        message,
        "`DIR/model.safetensors` has no tensor `encoder.layer.2.attention.self.query.weight`"
    );
}

#[test]
fn a_tokenizer_with_more_tokens_than_the_encoder() {
    let message = checkpoint(|folder| {
        change_json(&folder.join("tokenizer.json"), |json| json["model"]["vocab"]["brandnew"] = json!(323));
    });
    assert_eq!(message, "`DIR/tokenizer.json` has 324 tokens, but the encoder's vocabulary has 323");
    // Few tokens, one of them with a number far out.
    let message = checkpoint(|folder| {
        change_json(&folder.join("tokenizer.json"), |json| json["model"]["vocab"]["the"] = json!(4_000_000));
    });
    assert_eq!(message, "`DIR/tokenizer.json` has 4000001 tokens, but the encoder's vocabulary has 323");
}

fn rows() -> Dataset {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.tsv");
    // Class 0 is the more frequent one: logits that are NaN are read as class 0 and score well.
    std::fs::write(&path, "text\tlabel\ngood film\t0\nbad film\t1\na good story\t0\na bad story\t0\n")
        .unwrap();
    Dataset::read_train(&Source::new(path), TaskKind::Classification).unwrap()
}

fn trained_at(model: &Model, learning_rate: f64) -> Option<Adapter> {
    let defaults = GraftOptions::default();
    let train = TrainOptions {
        epochs: Some(5),
        learning_rate: Some(learning_rate),
        warmup: 0.0,
        eval_every: Some(1),
        ..defaults.train.clone()
    };
    let options = GraftOptions { bottleneck: 4, max_length: 32, train, ..defaults };
    graft(model, &rows(), &rows(), &options, &mut ()).ok().map(|grafted| grafted.adapter)
}

#[test]
fn a_diverged_run_never_keeps_parameters_that_answer_nan() {
    let model = Model::read(&model_folder(), "tiny-bert").unwrap();
    for rate in [1e20, 1e30, 1e300] {
        let Some(adapter) = trained_at(&model, rate) else { continue };
        let logits = row_logits(&model, &adapter, &rows().rows).unwrap();
        assert!(logits.iter().flatten().all(|logit| logit.is_finite()), "lr {rate}: {logits:?}");
    }
}

#[test]
fn replacing_an_adapter_keeps_files_that_are_not_its_own() {
    let model = Model::read(&model_folder(), "tiny-bert").unwrap();
    let adapter = trained_at(&model, 1e-3).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("adapter");
    adapter.save(&out, false).unwrap();
    std::fs::write(out.join("notes.txt"), "mine").unwrap();
    let error = adapter.save(&out, true).unwrap_err();
    assert!(
        error.to_string().ends_with("holds `notes.txt`, which does not belong to the adapter"),
        "{error}"
    );
    assert!(out.join("notes.txt").exists() && out.join("adapter.json").exists(), "nothing was lost");
}

fn with_tokenizer(change: impl FnOnce(&mut Value)) -> Model {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(model_folder().join(name), folder.path().join(name)).unwrap();
    }
    let path = folder.path().join("tokenizer.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    std::fs::write(&path, json.to_string()).unwrap();
    Model::read(folder.path(), "changed").unwrap()
}

#[test]
fn special_tokens_of_the_post_processor_lie_in_the_vocabulary() {
    let model =
        with_tokenizer(|json| json["post_processor"]["special_tokens"]["[CLS]"]["ids"] = json!([99999]));
    let error = encode_rows(&model, &[Row::single("good film")], 32).unwrap_err();
    assert!(matches!(error, TokenizerError::UnknownId { id: 99999, .. }), "{error}");
}

#[test]
fn a_text_without_tokens_is_an_error() {
    let model = with_tokenizer(|json| json["post_processor"] = Value::Null);
    let error = encode_rows(&model, &[Row::single("\u{200b}\u{7}")], 32).unwrap_err();
    assert!(matches!(error, TokenizerError::NoTokens), "{error}");
}

#[test]
fn a_row_that_cannot_be_encoded_is_named_by_its_place() {
    let model = with_tokenizer(|json| json["post_processor"] = Value::Null);
    let mut data = rows();
    data.rows[1].text = "\u{200b}\u{7}".to_owned();
    let options = GraftOptions { bottleneck: 4, max_length: 32, ..GraftOptions::default() };
    let error = graft(&model, &data, &data, &options, &mut ()).unwrap_err();
    assert_eq!(error.to_string(), format!("{}:3: the tokenizer gives no token for a text", data.file));
}

#[test]
fn a_length_without_room_for_a_pair_is_refused() {
    let model = Model::read(&model_folder(), "tiny-bert").unwrap();
    let mut data = rows();
    data.task.pair = true;
    let options = GraftOptions { bottleneck: 4, max_length: 3, ..GraftOptions::default() };
    let error = graft(&model, &data, &data, &options, &mut ()).unwrap_err();
    let expected = "`--max-length` is 3, expected 4 to 64 with this model and pairs of texts";
    assert_eq!(error.to_string(), expected);
}

/// The template names the text twice, so that what was cut to fit does not fit.
#[test]
fn a_template_that_repeats_a_text_cannot_make_it_too_long() {
    let model = with_tokenizer(|json| {
        let single = json["post_processor"]["single"].as_array_mut().unwrap();
        let text = single[1].clone();
        single.insert(1, text);
    });
    let long = "good ".repeat(100);
    let error = encode_rows(&model, &[Row::single(long)], 32).unwrap_err();
    assert!(matches!(error, TokenizerError::TooLong { tokens: 62, max_length: 32 }), "{error}");
}

#[test]
fn a_long_text_without_white_space_is_cut_as_the_whole_of_it_would_be() {
    let model = Model::read(&model_folder(), "tiny-bert").unwrap();
    // Each character is a word of its own, as in Chinese.
    let text = "!".repeat(60_000);
    let tokens = encode_rows(&model, &[Row::single(text.clone())], 16).unwrap();
    let whole = model.tokenizer().encode(&text, None, 100_000).unwrap();
    assert_eq!((tokens[0].ids.len(), tokens[0].truncated), (16, true));
    assert_eq!(tokens[0].ids[..15], whole.ids[..15]);
}

/// As above, of the second text.
#[test]
fn a_template_that_repeats_a_context_cannot_make_it_too_long() {
    let model = with_tokenizer(|json| {
        let pair = json["post_processor"]["pair"].as_array_mut().unwrap();
        let context = pair[3].clone();
        pair.insert(3, context);
    });
    let context = "good ".repeat(100);
    let error = model.tokenizer().encode_windows("film", &context, (32, 4), MAX_ROW_TOKENS).unwrap_err();
    assert!(matches!(error, TokenizerError::TooLong { max_length: 32, .. }), "{error}");
}
