//! Models of ONNX that adapters are exported as. They are run by `rten`, a runtime that shares no code with this program, and
//! held against what PyTorch computed in float64 (the fixtures of `parity.rs`) for every family and method, padded and alone;
//! ONNX Runtime is held against by `reference/onnx_check.py`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use grafter::adapter::{
    Adapter, AdapterConfig, BaseRecord, FORMAT_VERSION, ImportRecord, Manifest, ParameterSpec, Pooling,
    ScoreScale, TaskParameters, TaskRecord,
};
use grafter::batch::{TokenIds, Word};
use grafter::calibration::Calibration;
use grafter::data::TaskKind;
use grafter::digest::sha256_hex;
use grafter::encoder::{BasePrecision, EncoderConfig};
use grafter::graft::GraftOptions;
use grafter::model::Model;
use grafter::onnx::proto::{FLOAT, GraphProto, INT64, ModelProto};
use grafter::onnx::{OnnxError, OnnxModel, export};
use grafter::predict::{Query, logits};
use grafter::random::Random;
use prost::Message;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

/// Relative to the largest entry: that of `parity.rs` for PyTorch's float64 against our float32.
const PARITY_TOLERANCE: f32 = 1.3e-5;
/// Between padded and alone, absolute: the same operations on the same numbers, but for the order of sums.
const PADDING_TOLERANCE: f32 = 1e-5;
/// What leaving a tensor out changes at least: far more than any tolerance.
const MATTERS: f32 = 1e-3;
/// Of a probability: a softmax in f32 beside one in f64.
const PROBABILITY_TOLERANCE: f64 = 1e-6;

/// Every family, method, pooling, head and activation.
const CASES: [&str; 37] = [
    "bias_cls",
    "deberta_bias",
    "deberta_biased_full",
    "deberta_full",
    "deberta_gelu",
    "deberta_layernorm",
    "deberta_top",
    "distilbert_dense",
    "distilbert_full",
    "distilbert_relu",
    "electra_dense",
    "electra_gelu",
    "electra_small",
    "electra_small_full",
    "full_cls",
    "layernorm_mean",
    "mean_silu_regression",
    "modernbert_bias",
    "modernbert_biased",
    "modernbert_biased_top",
    "modernbert_full",
    "modernbert_gelu",
    "modernbert_layernorm",
    "modernbert_pfeiffer",
    "modernbert_top",
    "mpnet_full",
    "mpnet_layernorm",
    "odd_gelu_pair",
    "pfeiffer_gelu",
    "roberta_dense",
    "roberta_full",
    "roberta_gelu",
    "tiny_relu",
    "top_mean_regression",
    "wide_gelu_tanh",
    "words_dense_full",
    "words_houlsby",
];

/// What the scores of a regression were before they were standardised.
const SCALE: ScoreScale = ScoreScale { mean: 2.5, std: 1.5 };

const TOKENIZER: &str = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
    "pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
    "model":{"type":"WordLevel","vocab":{"[UNK]":0,"good":1,"bad":2},"unk_token":"[UNK]"}}"#;

fn fixture(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity").join(case)
}

/// A case of `parity.rs`: its base, its task as an adapter, its rows, and the logits that PyTorch computed.
struct Case {
    name: &'static str,
    model: Model,
    adapter: Adapter,
    rows: Vec<TokenIds>,
    expected: Vec<f32>,
}

impl Case {
    fn load(name: &'static str) -> Self {
        Self::load_as(name, |_| {})
    }

    /// With a manifest that differs.
    fn load_as(name: &'static str, change: Change) -> Self {
        let case: Value =
            serde_json::from_slice(&std::fs::read(fixture(name).join("case.json")).unwrap()).unwrap();
        let model = model(name, BasePrecision::F32);
        let text = |field: &str| case[field].as_str().unwrap_or_default().replace('_', "-");
        let or = |field: &str, default: &str| case[field].as_str().unwrap_or(default).parse().unwrap();
        let regression = text("task") == "regression";
        let config = GraftOptions {
            method: case["method"].as_str().unwrap_or("houlsby").parse().unwrap(),
            bottleneck: case["bottleneck"].as_u64().unwrap() as usize,
            activation: text("adapter_activation").parse().unwrap(),
            pooling: text("pooling").parse().unwrap(),
            head: or("head", "linear"),
            freeze_layernorm: case["freeze_layernorm"].as_bool().unwrap_or(false),
            ..GraftOptions::default()
        }
        .config(case["num_labels"].as_u64().unwrap() as usize);
        let weights = std::fs::read(fixture(name).join("task.safetensors")).unwrap();
        let adapter = adapter_of(name, weights, (&model, config, regression), change);
        let ids =
            |value: &Value| value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        let words = |row: &Value| {
            let first_tokens = row["words"].as_array().into_iter().flatten();
            first_tokens
                .map(|token| Word { token: token.as_u64().unwrap() as u32, ..Word::default() })
                .collect()
        };
        let row = |row: &Value| TokenIds {
            ids: ids(&row["ids"]),
            type_ids: ids(&row["type_ids"]),
            words: words(row),
            ..TokenIds::default()
        };
        let rows = case["sequences"].as_array().unwrap().iter().map(row).collect();
        let expected = std::fs::read(fixture(name).join("expected.safetensors")).unwrap();
        let mut expected = floats(&expected, "logits");
        if regression {
            expected.iter_mut().for_each(|value| *value = SCALE.restore(*value));
        }
        Self { name, model, adapter, rows, expected }
    }

    /// A task of random numbers on the base of a case, with random rows, and what this program computes.
    fn made(name: &'static str, config: AdapterConfig, seed: u64) -> Self {
        let model = model(name, BasePrecision::F32);
        let encoder = model.encoder();
        let mut task = TaskParameters::initialise(&config, encoder, 0.3, seed);
        let mut random = Random::new(seed);
        // What was the encoder's is moved, too.
        for value in task.split_mut().1 {
            *value += (random.bits() % 2001) as f32 / 1e4 - 0.1;
        }
        let rows = random_rows(&encoder.config, config.pooling, seed);
        let queries: Vec<Query<'_>> = rows.iter().map(|tokens| Query { tokens, task: &task }).collect();
        let expected = logits(encoder, &queries).concat();
        let weights = written(&task);
        let adapter = adapter_of(name, weights, (&model, config, false), |_| {});
        Self { name, model, adapter, rows, expected }
    }

    fn exported(&self) -> OnnxModel {
        export(&self.adapter, &self.model).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn outputs(&self) -> usize {
        self.adapter.manifest().adapter.outputs
    }
}

fn model(case: &str, precision: BasePrecision) -> Model {
    let base = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture(case).join(name), base.path().join(name)).unwrap();
    }
    std::fs::write(base.path().join("tokenizer.json"), TOKENIZER).unwrap();
    Model::read_in(base.path(), case, precision).unwrap()
}

/// A short and a long row and some between, of random tokens.
fn random_rows(config: &EncoderConfig, pooling: Pooling, seed: u64) -> Vec<TokenIds> {
    let mut random = Random::new(seed);
    let limit = config.max_length();
    let row = |length: usize| {
        let mut below = |limit: usize| (random.bits() % limit as u64) as u32;
        let first = (0..length as u32).step_by(2).map(|token| Word { token, ..Word::default() });
        TokenIds {
            ids: (0..length).map(|_| below(config.vocab_size)).collect(),
            type_ids: (0..length).map(|_| below(config.type_vocab_size.max(1))).collect(),
            words: if pooling == Pooling::Words { first.collect() } else { Vec::new() },
            ..TokenIds::default()
        }
    };
    [3, limit, 1, limit / 3, limit - 7].map(row).into()
}

/// The numbers of a task as `adapter.safetensors` has them.
fn written(task: &TaskParameters) -> Vec<u8> {
    let bytes: Vec<u8> = task.values().iter().flat_map(|value| value.to_le_bytes()).collect();
    let view = |spec: &ParameterSpec| {
        let range = 4 * spec.range.start..4 * spec.range.end;
        (spec.name.clone(), TensorView::new(Dtype::F32, spec.shape.clone(), &bytes[range]).unwrap())
    };
    safetensors::serialize(task.layout().list().specs().iter().map(view), None).unwrap()
}

/// A task on a model, by way of an adapter's folder.
fn adapter_of(
    name: &str,
    weights: Vec<u8>,
    (model, config, regression): (&Model, AdapterConfig, bool),
    change: Change,
) -> Adapter {
    let labels = (0..config.outputs).map(|label| format!("label {label}"));
    let count =
        SafeTensors::deserialize(&weights).unwrap().iter().map(|(_, tensor)| tensor.data().len() / 4).sum();
    let mut manifest = Manifest {
        format_version: FORMAT_VERSION,
        tool: "a test".to_owned(),
        task: TaskRecord {
            kind: match config.pooling {
                _ if regression => TaskKind::Regression,
                Pooling::Words => TaskKind::Tags,
                Pooling::Cls | Pooling::First | Pooling::Mean => TaskKind::Classification,
            },
            pair: false,
            labels: if regression { Vec::new() } else { labels.collect() },
            scores: regression.then_some(SCALE),
            no_answer: false,
        },
        max_length: model.encoder().config.max_length(),
        stride: None,
        adapter: config,
        base: BaseRecord::of(model),
        trained_parameters: count,
        training: None,
        imported: Some(ImportRecord {
            format: "a fixture".to_owned(),
            name: name.to_owned(),
            base: None,
            files: BTreeMap::new(),
        }),
        calibration: None,
        thresholds: None,
        weights_sha256: sha256_hex(&weights),
    };
    change(&mut manifest);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("adapter.safetensors"), weights).unwrap();
    std::fs::write(folder.path().join("adapter.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
    Adapter::load(folder.path(), model).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn floats(bytes: &[u8], name: &str) -> Vec<f32> {
    let tensors = SafeTensors::deserialize(bytes).unwrap();
    let tensor = tensors.tensor(name).unwrap();
    tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// What a test has otherwise in a manifest.
type Change = fn(&mut Manifest);

/// What stands in the place of padding.
#[derive(Clone, Copy)]
struct Padding {
    id: u32,
    longest: usize,
}

/// What `rten` gives for rows that are padded to one length: the outputs by their names.
fn run(bytes: &[u8], rows: &[TokenIds], padding: Padding) -> BTreeMap<String, Vec<f32>> {
    try_run(bytes, rows, padding).unwrap()
}

fn try_run(
    bytes: &[u8],
    rows: &[TokenIds],
    padding: Padding,
) -> Result<BTreeMap<String, Vec<f32>>, rten::RunError> {
    let model = rten::Model::load(bytes.to_vec()).unwrap();
    let padded = |of: &dyn Fn(&TokenIds) -> Vec<u32>, fill: u32| -> Vec<i32> {
        let row = |row: &TokenIds| {
            let mut values = of(row);
            values.resize(padding.longest, fill);
            values
        };
        rows.iter().flat_map(row).map(|value| value as i32).collect()
    };
    let shape = [rows.len(), padding.longest];
    let mut inputs = Vec::new();
    for id in model.input_ids() {
        let values = match model.node_info(*id).unwrap().name().unwrap() {
            "input_ids" => padded(&|row| row.ids.clone(), padding.id),
            "attention_mask" => padded(&|row| vec![1; row.ids.len()], 0),
            "token_type_ids" => padded(&|row| row.type_ids.clone(), 0),
            other => panic!("input `{other}`"),
        };
        inputs.push((*id, rten::Value::from_shape(shape, values).unwrap().into()));
    }
    let outputs = model.run(inputs, model.output_ids(), None)?;
    let name = |id| model.node_info(id).unwrap().name().unwrap().to_owned();
    let values = |value: rten::Value| {
        if rows[0].words.is_empty() {
            let (shape, values) = value.into_shape_vec::<f32, 2>().unwrap();
            assert_eq!(shape[0], rows.len());
            return values;
        }
        // Of each token; those of the words are picked.
        let ([batch, tokens, outputs], values) = value.into_shape_vec::<f32, 3>().unwrap();
        assert_eq!([batch, tokens], shape);
        let places = rows.iter().enumerate().flat_map(|(row, tokens_of)| {
            tokens_of.words.iter().map(move |word| row * tokens + word.token as usize)
        });
        places.flat_map(|place| values[place * outputs..][..outputs].to_vec()).collect()
    };
    Ok(model.output_ids().iter().map(|id| name(*id)).zip(outputs.into_iter().map(values)).collect())
}

fn longest(rows: &[TokenIds]) -> usize {
    rows.iter().map(|row| row.ids.len()).max().unwrap()
}

fn assert_close(what: &str, actual: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let difference = (actual - expected).abs();
        assert!(
            difference <= tolerance,
            "{what}[{index}] is {actual}, expected {expected}, off by {difference:e}"
        );
    }
}

#[test]
fn another_runtime_computes_what_pytorch_computes() {
    for name in CASES {
        let case = Case::load(name);
        let exported = case.exported();
        let padding = Padding { id: 1, longest: longest(&case.rows) };
        let together = &run(exported.bytes(), &case.rows, padding)["logits"];
        let largest = case.expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        assert_close(&format!("{name}: logits"), together, &case.expected, PARITY_TOLERANCE * largest);
    }
}

/// Whatever stands in the padding, and however much of it there is.
#[test]
fn a_padded_row_is_answered_as_it_is_alone() {
    for name in CASES {
        let case = Case::load(name);
        let exported = case.exported();
        let alone: Vec<f32> = case
            .rows
            .iter()
            .flat_map(|row| {
                let padding = Padding { id: 1, longest: row.ids.len() };
                run(exported.bytes(), std::slice::from_ref(row), padding)["logits"].clone()
            })
            .collect();
        let limit = case.model.encoder().config.max_length();
        for padding in [
            Padding { id: 1, longest: longest(&case.rows) },
            Padding { id: 0, longest: limit },
            Padding { id: 7, longest: limit },
        ] {
            let padded = &run(exported.bytes(), &case.rows, padding)["logits"];
            let what = format!("{name}, padded with {} to {}", padding.id, padding.longest);
            assert_close(&what, padded, &alone, PADDING_TOLERANCE);
        }
    }
}

/// One token more than there are positions for is an error of the runtime and no wrong answer.
#[test]
fn too_long_a_sequence_is_refused_by_the_runtime() {
    for name in CASES {
        let case = Case::load(name);
        let limit = case.model.encoder().config.max_length();
        let bytes = case.exported().bytes().to_vec();
        let answered = |longest| try_run(&bytes, &case.rows, Padding { id: 7, longest });
        assert!(answered(limit).is_ok() && answered(limit + 1).is_err(), "{name}");
    }
}

#[test]
fn probabilities_are_those_of_the_adapter() {
    let changes: [(&str, Change); 3] = [
        ("as they are", |_| {}),
        ("calibrated", |manifest| {
            let (error_before, error_after) = (0.1, 0.05);
            manifest.calibration = Some(Calibration { temperature: 2.5, rows: 8, error_before, error_after });
        }),
        ("several labels", |manifest| manifest.task.kind = TaskKind::MultiLabel),
    ];
    let mut seen = Vec::new();
    for (what, change) in changes {
        let case = Case::load_as("tiny_relu", change);
        let exported = case.exported();
        let outputs = run(exported.bytes(), &case.rows, Padding { id: 0, longest: longest(&case.rows) });
        let rows =
            outputs["logits"].chunks(case.outputs()).zip(outputs["probabilities"].chunks(case.outputs()));
        for (logits, found) in rows {
            for (found, expected) in found.iter().zip(case.adapter.probabilities(logits)) {
                assert!(
                    (f64::from(*found) - expected).abs() <= PROBABILITY_TOLERANCE,
                    "{what}: {found}, {expected}"
                );
            }
        }
        seen.push(outputs["probabilities"].clone());
    }
    assert!(seen[0] != seen[1] && seen[1] != seen[2], "each is another function");
}

#[test]
fn the_program_computes_the_same() {
    for name in [
        "tiny_relu",
        "roberta_dense",
        "mpnet_full",
        "electra_small",
        "mean_silu_regression",
        "modernbert_gelu",
        "deberta_gelu",
    ] {
        let case = Case::load(name);
        let queries: Vec<Query<'_>> =
            case.rows.iter().map(|tokens| Query { tokens, task: case.adapter.parameters() }).collect();
        let mut ours = logits(case.model.encoder(), &queries).concat();
        if let Some(scale) = case.adapter.manifest().task.scores {
            ours.iter_mut().for_each(|value| *value = scale.restore(*value));
        }
        let padding = Padding { id: 1, longest: longest(&case.rows) };
        let theirs = &run(case.exported().bytes(), &case.rows, padding)["logits"];
        assert_close(name, theirs, &ours, 1e-5);
    }
}

/// The fixtures of the families whose layers or attention have another form than BERT's leave some methods, heads and poolings out.
/// What this program computes is held against PyTorch by `parity.rs` in each of their parts.
#[test]
fn every_method_on_layers_of_another_form_is_computed_as_by_the_program() {
    for name in ["modernbert_gelu", "modernbert_biased", "deberta_gelu", "deberta_biased_full", "deberta_top"]
    {
        let methods = ["houlsby", "pfeiffer", "full", "top-1", "top-2", "layernorm", "bias", "head"];
        let poolings = [Pooling::Words, Pooling::Mean, Pooling::First];
        let heads = ["linear", "dense", "dense-relu", "dense-gelu", "dense-silu"];
        let mut made = 0;
        for (place, method) in methods.iter().enumerate() {
            for (seed, pooling) in poolings.into_iter().enumerate() {
                let options = GraftOptions {
                    method: method.parse().unwrap(),
                    bottleneck: 5,
                    max_length: 16,
                    pooling,
                    head: heads[(place + seed) % heads.len()].parse().unwrap(),
                    freeze_layernorm: *method == "houlsby" && seed == 1,
                    ..GraftOptions::default()
                };
                if options.check(&model(name, BasePrecision::F32)).is_err() {
                    assert_eq!((name, *method), ("modernbert_gelu", "bias"), "no part of it has a bias");
                    continue;
                }
                let mut config = options.config(3);
                config.adapt_from_layer = usize::from(*method == "pfeiffer" && seed == 2);
                let case = Case::made(name, config, seed as u64);
                let bytes = case.exported().bytes().to_vec();
                assert_sound(name, &ModelProto::decode(&bytes[..]).unwrap());
                let padding = Padding { id: 7, longest: longest(&case.rows) };
                let what = format!("{name}, {method}, {pooling}");
                let largest = case.expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
                assert_close(
                    &what,
                    &run(&bytes, &case.rows, padding)["logits"],
                    &case.expected,
                    1e-5 * largest,
                );
                made += 1;
            }
        }
        assert!(made >= 21, "{name}: {made}");
    }
}

/// Without one of the fixed tensors the answers are others, so that the comparisons above look at each of them. A key's bias
/// alone does nothing: a softmax is the same when a constant is added to what it reads. It is no constant where positions turn it, or where the products with
/// positions are of the keys.
#[test]
fn every_number_and_the_mask_matter() {
    for name in CASES {
        let case = Case::load(name);
        let bytes = case.exported().bytes().to_vec();
        let model = ModelProto::decode(&bytes[..]).unwrap();
        let config = &case.model.encoder().config;
        // Few rows may hardly read a number.
        let mut rows = random_rows(config, case.adapter.manifest().adapter.pooling, 1);
        rows.extend_from_slice(&case.rows);
        let padding = Padding { id: 1, longest: config.max_length() };
        let answers = |bytes: &[u8]| run(bytes, &rows, padding)["logits"].clone();
        let whole = answers(&bytes);
        let tensors = &graph(&model).initializer;
        let by_position = config.relative.as_ref().is_some_and(|relative| relative.counts()[1]);
        let keys_are_told_apart = config.pre_norm.is_some() || by_position;
        let matters = |name: &str| match name {
            "constant.least" | "constant.window" => true,
            _ if name.ends_with(".key.bias") => keys_are_told_apart,
            // A shift of all rows, of which a query's products with their keys are the same for all distances.
            "relative_embeddings.layer_norm.bias" => by_position,
            _ => !name.starts_with("constant."),
        };
        for (index, tensor) in tensors.iter().enumerate() {
            let tensor_name = tensor.name.as_deref().unwrap();
            if !matters(tensor_name) {
                continue;
            }
            let mut without = model.clone();
            without.graph.as_mut().unwrap().initializer[index].raw_data.as_mut().unwrap().fill(0);
            let changed = answers(&without.encode_to_vec());
            let most = whole.iter().zip(&changed).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(most > MATTERS, "{name}: without `{tensor_name}` answers differ by {most:e}");
        }
    }
}

// ---------------------------------------------------------------------------------------------- the file's structure

fn graph(model: &ModelProto) -> &GraphProto {
    model.graph.as_ref().unwrap()
}

fn named<'a>(names: impl Iterator<Item = &'a Option<String>>) -> Vec<&'a str> {
    names.map(|name| name.as_deref().unwrap()).collect()
}

fn assert_sound(case: &str, model: &ModelProto) {
    let graph = graph(model);
    let nodes = named(graph.node.iter().map(|node| &node.name));
    assert_eq!(
        nodes.iter().collect::<HashSet<_>>().len(),
        nodes.len(),
        "{case}: a name of a node is there twice"
    );
    let mut known: HashSet<&str> = HashSet::new();
    let given = graph
        .input
        .iter()
        .map(|input| &input.name)
        .chain(graph.initializer.iter().map(|tensor| &tensor.name));
    for name in named(given) {
        assert!(known.insert(name), "{case}: `{name}` is there twice");
    }
    let mut read: HashSet<&str> = HashSet::new();
    for node in &graph.node {
        for input in &node.input {
            assert!(known.contains(input.as_str()), "{case}: `{input}` is read before it is there");
            read.insert(input);
        }
        for output in &node.output {
            assert!(known.insert(output), "{case}: `{output}` is there twice");
        }
    }
    let outputs = named(graph.output.iter().map(|output| &output.name));
    assert!(outputs.iter().all(|output| known.contains(output)), "{case}: an output is nobody's result");
    read.extend(&outputs);
    let unused: Vec<_> = known.difference(&read).collect();
    assert!(unused.is_empty(), "{case}: nothing reads {unused:?}");
    for tensor in &graph.initializer {
        let numbers: i64 = tensor.dims.iter().product();
        let size = match tensor.data_type {
            Some(FLOAT) => 4,
            Some(INT64) => 8,
            other => panic!("{case}: type {other:?}"),
        };
        let bytes = tensor.raw_data.as_ref().unwrap().len();
        assert_eq!(bytes as i64, numbers * size, "{case}: `{}`", tensor.name.as_ref().unwrap());
    }
}

#[test]
fn every_file_is_sound_and_the_same_again() {
    for name in CASES {
        let case = Case::load(name);
        let exported = case.exported();
        let model = ModelProto::decode(exported.bytes()).unwrap();
        assert_sound(name, &model);
        assert_eq!(case.exported().bytes(), exported.bytes(), "{name}");
        assert_eq!(model.encoded_len(), exported.bytes().len(), "{name}: nothing is left over");
        assert_eq!((model.ir_version, model.opset_import[0].version), (Some(8), Some(17)));
        let inputs = named(graph(&model).input.iter().map(|input| &input.name));
        assert_eq!(inputs, exported.inputs(), "{name}");
        let types = ["bert", "electra"].contains(&case.model.encoder().config.family.name())
            || name == "deberta_biased_full";
        assert_eq!(inputs.contains(&"token_type_ids"), types, "{name}");
        let outputs = named(graph(&model).output.iter().map(|output| &output.name));
        assert_eq!(outputs, exported.outputs(), "{name}");
        assert_eq!(
            outputs.contains(&"probabilities"),
            case.adapter.manifest().task.scores.is_none(),
            "{name}"
        );
    }
}

/// Adapters are where people look for them, under the names of `adapter.safetensors`, and every number of a task is somewhere.
#[test]
fn what_was_trained_is_found_by_its_name() {
    for name in CASES {
        let case = Case::load(name);
        let model = ModelProto::decode(case.exported().bytes()).unwrap();
        let graph = graph(&model);
        let tensors: BTreeMap<&str, &[u8]> = graph
            .initializer
            .iter()
            .map(|tensor| (tensor.name.as_deref().unwrap(), tensor.raw_data.as_deref().unwrap()))
            .collect();
        let parameters = case.adapter.parameters();
        for spec in parameters.layout().list().specs() {
            // It is laid out by distance.
            if spec.name == "relative_bias.weight" {
                assert!(tensors.contains_key("relative_bias.by_distance"), "{name}");
                continue;
            }
            let bytes =
                tensors.get(spec.name.as_str()).unwrap_or_else(|| panic!("{name} has no `{}`", spec.name));
            let mut found: Vec<[u8; 4]> = bytes.as_chunks::<4>().0.to_vec();
            let values = &parameters.values()[spec.range.clone()];
            let mut expected: Vec<[u8; 4]> = values.iter().map(|value| value.to_le_bytes()).collect();
            // A matrix is transposed: the same numbers in another order.
            found.sort_unstable();
            expected.sort_unstable();
            // One row of types is one row; RoBERTa has no more.
            assert_eq!(found, expected, "{name}: `{}`", spec.name);
        }
    }
    let case = Case::load("tiny_relu");
    let model = ModelProto::decode(case.exported().bytes()).unwrap();
    let nodes = named(graph(&model).node.iter().map(|node| &node.name));
    for expected in
        ["layer.1.attention.adapter.down", "layer.1.feed_forward.adapter.up", "layer.0.attention.query"]
    {
        assert!(nodes.contains(&expected), "{nodes:?}");
    }
}

#[test]
fn the_file_says_what_it_is() {
    let case = Case::load_as("tiny_relu", |manifest| {
        manifest.task.kind = TaskKind::MultiLabel;
        manifest.task.labels[0] = "\"quoted\", and a comma".to_owned();
        manifest.thresholds = Some(vec![0.25, 0.5, 0.125]);
    });
    let model = ModelProto::decode(case.exported().bytes()).unwrap();
    let said: BTreeMap<&str, &str> = model
        .metadata_props
        .iter()
        .map(|entry| (entry.key.as_deref().unwrap(), entry.value.as_deref().unwrap()))
        .collect();
    assert_eq!(said.len(), model.metadata_props.len(), "no name is there twice");
    let parsed = |name: &str| serde_json::from_str::<Value>(said[name]).unwrap();
    assert_eq!(parsed("grafter.labels"), json!(["\"quoted\", and a comma", "label 1", "label 2"]));
    assert_eq!(parsed("grafter.thresholds"), json!([0.25, 0.5, 0.125]));
    assert_eq!((said["grafter.task"], said["grafter.pair"]), ("multi-label", "false"));
    assert_eq!(said["grafter.max_length"], case.adapter.manifest().max_length.to_string());
    assert_eq!(said["grafter.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(said["grafter.adapter_sha256"], case.adapter.digest());
    assert_eq!(said["grafter.base.weights_sha256"], case.model.encoder().weights_sha256());
    assert_eq!(said["grafter.base.tokenizer_sha256"], case.model.tokenizer().sha256());
    assert!(!said.contains_key("grafter.temperature"));
}

// ------------------------------------------------------------------------------------------------ what is refused

#[test]
fn what_cannot_be_exported_is_refused() {
    let case = Case::load("tiny_relu");
    let other = model("full_cls", BasePrecision::F32);
    assert!(matches!(export(&case.adapter, &other), Err(OnnxError::Adapter(_))));
    let int8 = model("tiny_relu", BasePrecision::Int8);
    let error = export(&case.adapter, &int8).unwrap_err();
    assert_eq!(error.to_string(), "the model was read in int8, and an ONNX model holds it in f32");
}

#[test]
fn a_file_is_written_whole_and_replaced_only_when_asked() {
    let case = Case::load("tiny_relu");
    let exported = case.exported();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    exported.write(&path, false).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), exported.bytes());
    std::fs::write(&path, "something else").unwrap();
    let error = exported.write(&path, false).unwrap_err();
    assert!(
        matches!(error, OnnxError::Exists { .. }) && error.hint().unwrap().contains("--overwrite"),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"something else");
    exported.write(&path, true).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), exported.bytes());
    for overwrite in [false, true] {
        assert!(matches!(exported.write(folder.path(), overwrite), Err(OnnxError::NotAFile { .. })));
        let absent = folder.path().join("absent/model.onnx");
        assert!(matches!(exported.write(&absent, overwrite), Err(OnnxError::Io { .. })));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is written");
    #[cfg(unix)]
    for (name, target) in [("link", "model.onnx"), ("dangling", "absent")] {
        let link = folder.path().join(name);
        std::os::unix::fs::symlink(target, &link).unwrap();
        assert!(matches!(exported.write(&link, true), Err(OnnxError::NotAFile { .. })));
        assert!(link.symlink_metadata().unwrap().is_symlink(), "a link stays");
    }
}

#[test]
fn every_pooling_is_among_the_cases() {
    let poolings: HashSet<String> =
        CASES.iter().map(|case| Case::load(case).adapter.manifest().adapter.pooling.to_string()).collect();
    assert_eq!(poolings.len(), Pooling::NAMES.len());
}
