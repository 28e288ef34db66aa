//! Adapters of AdapterHub, read and written, on the folders that `reference/adapterhub.py` wrote with the real library:
//! what it answers with them is what they answer here, and what is written is what was read.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};

use grafter::adapter::{Adapter, AdapterActivation, AdapterConfig, Bottleneck, HeadForm, Method, Pooling};
use grafter::adapterhub::{AdapterHubError, ImportOptions, Loss, export, import};
use grafter::batch::{PackedBatch, TokenIds, Word};
use grafter::data::{Dataset, Source, TaskKind};
use grafter::encoder::activations::{Activations, Keep, Segment};
use grafter::encoder::{EncoderDropout, ForwardPass};
use grafter::graft::{GraftOptions, graft};
use grafter::model::Model;
use grafter::predict::{Query, logits};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Relative to the largest entry of the tensor: ten times what the library's own float32 is off its float64, at most
/// 6.3e-7 (`reference/README.md`).
const TOLERANCE: f32 = 6.3e-6;

const CASES: [&str; 14] = [
    "bert_bare",
    "bert_houlsby",
    "bert_houlsby_pooler",
    "bert_pfeiffer",
    "bert_pfeiffer_map",
    "bert_regression",
    "bert_tagging",
    "bert_version_1",
    "bert_version_1_inv",
    "distilbert_pfeiffer",
    "electra_houlsby",
    "roberta_houlsby",
    "roberta_tagging_dense",
    "xlm_roberta_pfeiffer",
];
/// Saved from a bare encoder, so that it has no head.
const BARE: &str = "bert_bare";
/// Whose head fits that.
const ITS_HEAD: &str = "bert_houlsby";

const TOKENIZER: &str = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
    "pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
    "model":{"type":"WordLevel","vocab":{"[UNK]":0,"good":1,"bad":2},"unk_token":"[UNK]"}}"#;

const SINGLE: ImportOptions = ImportOptions { pair: false, max_length: 16 };

fn fixture(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/adapterhub").join(case)
}

/// The base of a case with some tokenizer, and a copy of its adapter, with a head in any case.
fn copy(case: &str) -> (Model, TempDir) {
    let base = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture(case).join(name), base.path().join(name)).unwrap();
    }
    std::fs::write(base.path().join("tokenizer.json"), TOKENIZER).unwrap();
    let model = Model::read(base.path(), case).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let heads = if case == BARE { fixture(ITS_HEAD) } else { fixture(case) };
    for (of, is_head) in [(fixture(case), false), (heads, true)] {
        for entry in std::fs::read_dir(of.join("adapter")).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name.contains("head") == is_head {
                std::fs::copy(entry.path(), folder.path().join(name)).unwrap();
            }
        }
    }
    (model, folder)
}

/// The tensors of a file in f32; numbers of other types are widened.
fn tensor(bytes: &[u8], name: &str) -> Vec<f32> {
    let tensors = SafeTensors::deserialize(bytes).unwrap();
    let tensor = tensors.tensor(name).unwrap();
    let words = tensor.data().as_chunks::<4>().0.iter();
    match tensor.dtype() {
        Dtype::F32 => words.map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Dtype::I32 => words.map(|bytes| i32::from_le_bytes(*bytes) as f32).collect(),
        Dtype::I64 => {
            tensor.data().as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes) as f32).collect()
        }
        other => panic!("{name} is {other:?}"),
    }
}

fn sequences(expected: &[u8]) -> Vec<TokenIds> {
    let ids = tensor(expected, "input_ids");
    let types = tensor(expected, "token_type_ids");
    let mut from = 0;
    let mut cut = |length: f32| {
        let range = from..from + length as usize;
        from = range.end;
        let part = |of: &[f32]| of[range.clone()].iter().map(|id| *id as u32).collect();
        TokenIds { ids: part(&ids), type_ids: part(&types), ..TokenIds::default() }
    };
    tensor(expected, "lengths").into_iter().map(&mut cut).collect()
}

/// Each token as a word of its own.
fn every_token(mut sequences: Vec<TokenIds>) -> Vec<TokenIds> {
    for sequence in &mut sequences {
        sequence.words =
            (0..sequence.ids.len() as u32).map(|token| Word { token, ..Word::default() }).collect();
    }
    sequences
}

fn assert_close(what: &str, actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let off = (actual - expected).abs() / (TOLERANCE * largest);
        assert!(off <= 1.0, "{what}[{index}] is {actual}, expected {expected}: {off} times the tolerance");
    }
}

fn answers(model: &Model, adapter: &Adapter, sequences: &[TokenIds]) -> Vec<f32> {
    let task = adapter.parameters();
    let queries: Vec<Query<'_>> = sequences.iter().map(|tokens| Query { tokens, task }).collect();
    logits(model.encoder(), &queries).concat()
}

fn last_hidden(model: &Model, adapter: &Adapter, sequences: &[TokenIds]) -> Vec<f32> {
    let batch = PackedBatch::new(sequences);
    let mut activations = Activations::default();
    let mut hidden = Vec::new();
    for chunk in &batch.chunks() {
        let segments = [Segment::whole(chunk, Some(adapter.parameters()))];
        let dropout = &EncoderDropout::none();
        let pass = ForwardPass { chunk, segments: &segments, dropout, keep: Keep::Nothing };
        model.encoder().forward(pass, &mut activations);
        hidden.extend_from_slice(activations.hidden());
    }
    hidden
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn imported_adapters_answer_as_the_library_does() {
    for case in CASES {
        let (model, folder) = copy(case);
        let adapter =
            import(folder.path(), &model, &SINGLE).unwrap_or_else(|error| panic!("{case}: {error}"));
        let expected = std::fs::read(fixture(case).join("expected.safetensors")).unwrap();
        let sequences = sequences(&expected);
        let hidden = last_hidden(&model, &adapter, &sequences);
        assert_close(&format!("{case}: hidden"), &hidden, &tensor(&expected, "hidden"));
        if case != BARE {
            let sequences =
                if adapter.manifest().task.kind.of_words() { every_token(sequences) } else { sequences };
            let logits = answers(&model, &adapter, &sequences);
            assert_close(&format!("{case}: logits"), &logits, &tensor(&expected, "logits"));
        }
    }
}

#[test]
fn descriptions_become_ours() {
    for case in CASES {
        let (model, folder) = copy(case);
        let adapter = import(folder.path(), &model, &SINGLE).unwrap();
        let manifest = adapter.manifest();
        let told: Value =
            serde_json::from_slice(&std::fs::read(fixture(case).join("case.json")).unwrap()).unwrap();
        let config = &manifest.adapter;
        assert_eq!(json!(config.method), told["method"], "{case}");
        assert_eq!(json!(config.activation), told["activation"], "{case}");
        let layers = model.encoder().config.num_hidden_layers;
        let widths: Vec<usize> = (0..layers).map(|layer| config.bottleneck.of_layer(layer)).collect();
        assert_eq!(json!(widths), told["bottlenecks"], "{case}");
        assert_eq!(config.freeze_layernorm, config.method == Method::Houlsby, "{case}");
        if case != BARE {
            let labels = &told["head"]["labels"];
            match manifest.task.kind {
                TaskKind::Regression => assert_eq!(labels.as_array().unwrap().len(), 1, "{case}"),
                TaskKind::Classification | TaskKind::MultiLabel => {
                    assert_eq!(json!(manifest.task.labels), *labels, "{case}");
                }
                TaskKind::MultipleChoice | TaskKind::QuestionAnswering => panic!("no such head is read"),
                TaskKind::Entities | TaskKind::Tags => {
                    assert_eq!(
                        (json!(manifest.task.labels), &told["head"]["head_type"]),
                        (labels.clone(), &json!("tagging"))
                    );
                    assert_eq!(manifest.task.kind == TaskKind::Entities, case == "bert_tagging");
                }
            }
            let use_pooler = told["head"]["use_pooler"] == json!(true);
            assert_eq!(config.pooling == Pooling::Cls, use_pooler, "{case}");
        }
        assert!(
            manifest.training.is_none() && manifest.imported.as_ref().unwrap().files.len() == 4,
            "{case}"
        );
        // And as a sealed folder like any other.
        let sealed = folder.path().join("sealed");
        adapter.save(&sealed, false).unwrap();
        let again = Adapter::load(&sealed, &model).unwrap();
        assert_eq!(again.manifest(), manifest);
        assert_eq!(bits(again.parameters().values()), bits(adapter.parameters().values()));
    }
}

/// Written again, every tensor has the bits and the name that the library gave it, and the description decides the same.
#[test]
fn what_is_written_is_what_was_read() {
    for case in CASES {
        let (model, folder) = copy(case);
        let adapter = import(folder.path(), &model, &SINGLE).unwrap();
        let exported = export(&adapter, &model, "task").unwrap();
        assert_eq!(exported.losses(), [], "{case}");
        let out = folder.path().join("exported");
        exported.write(&out).unwrap();
        let refused = exported.write(&out).unwrap_err();
        assert!(matches!(refused, AdapterHubError::Exists { .. }), "{refused}");
        for name in ["adapter.safetensors", "model_head.safetensors"] {
            let Ok(theirs) = std::fs::read(folder.path().join(name)) else { continue };
            let ours = std::fs::read(out.join(name)).unwrap();
            let (theirs, ours) =
                (SafeTensors::deserialize(&theirs).unwrap(), SafeTensors::deserialize(&ours).unwrap());
            if case != BARE {
                let sorted = |tensors: &SafeTensors<'_>| {
                    let mut names: Vec<String> = tensors.names().into_iter().map(str::to_owned).collect();
                    names.sort_unstable();
                    names
                };
                assert_eq!(sorted(&ours), sorted(&theirs), "{case}");
                for (name, tensor) in theirs.iter() {
                    let ours = ours.tensor(name).unwrap();
                    assert_eq!(
                        (ours.shape(), ours.data()),
                        (tensor.shape(), tensor.data()),
                        "{case}: {name}"
                    );
                }
            }
        }
        let again = import(&out, &model, &SINGLE).unwrap();
        assert_eq!(again.manifest().adapter, adapter.manifest().adapter, "{case}");
        assert_eq!(again.manifest().task, adapter.manifest().task, "{case}");
        assert_eq!(bits(again.parameters().values()), bits(adapter.parameters().values()), "{case}");
    }
}

/// What the library writes today, this program writes too, but for the numbers of the reduction and the model's name.
#[test]
fn descriptions_are_written_as_the_library_writes_them() {
    for case in
        ["bert_houlsby", "distilbert_pfeiffer", "electra_houlsby", "roberta_houlsby", "xlm_roberta_pfeiffer"]
    {
        let (model, folder) = copy(case);
        let adapter = import(folder.path(), &model, &SINGLE).unwrap();
        for (name, bytes) in export(&adapter, &model, "task").unwrap().files() {
            if !name.ends_with(".json") {
                continue;
            }
            let mut theirs: Value =
                serde_json::from_slice(&std::fs::read(folder.path().join(name)).unwrap()).unwrap();
            theirs["model_name"] = json!(case);
            let ours: Value = serde_json::from_slice(bytes).unwrap();
            assert_eq!(ours, theirs, "{case}: {name}");
            assert_eq!(*bytes, serde_json::to_vec_pretty(&theirs).unwrap(), "{case}: {name}, sorted");
        }
    }
}

// --------------------------------------------------------------------------------------------- what is refused

/// Writes a safetensors file anew with its tensors changed.
fn change(path: &Path, change: impl FnOnce(&mut Vec<(String, Vec<usize>, Vec<u8>)>)) {
    let bytes = std::fs::read(path).unwrap();
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = SafeTensors::deserialize(&bytes)
        .unwrap()
        .iter()
        .map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec(), tensor.data().to_vec()))
        .collect();
    tensors.sort();
    change(&mut tensors);
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn edit(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    edit(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

/// The message of importing a changed copy of a case, its folder named `DIR`.
fn refusal(case: &str, spoil: impl FnOnce(&Path)) -> String {
    let (model, folder) = copy(case);
    spoil(folder.path());
    let error = import(folder.path(), &model, &SINGLE).map(|_| ()).expect_err("it must be refused");
    error.to_string().replace(&folder.path().display().to_string(), "DIR")
}

#[test]
fn a_file_with_tensors_of_the_base_is_refused() {
    let norm = "bert.encoder.layer.0.output.LayerNorm.weight";
    let message = refusal("bert_houlsby", |folder| {
        change(&folder.join("adapter.safetensors"), |tensors| {
            tensors.push((norm.to_owned(), vec![16], vec![0; 64]));
        });
    });
    assert_eq!(
        message,
        format!("`DIR/adapter.safetensors` has a tensor `{norm}` that does not belong to the adapter `task`")
    );
    let message = refusal("bert_houlsby", |folder| {
        change(&folder.join("model_head.safetensors"), |tensors| {
            tensors.push(("heads.other.1.bias".to_owned(), vec![1], vec![0; 4]));
        });
    });
    assert!(message.contains("`heads.other.1.bias`"), "{message}");
}

/// The library saves `task2` beside `task`, whose name is the beginning of its own.
#[test]
fn a_head_that_the_library_saved_beside_it_is_passed_over() {
    let (model, folder) = copy("bert_houlsby");
    let expected = import(folder.path(), &model, &SINGLE).unwrap();
    change(&folder.path().join("model_head.safetensors"), |tensors| {
        tensors.push(("heads.task2.1.bias".to_owned(), vec![1], vec![0; 4]));
    });
    let adapter = import(folder.path(), &model, &SINGLE).unwrap();
    assert_eq!(bits(adapter.parameters().values()), bits(expected.parameters().values()));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let config = |name: &'static str, value: Value| {
        move |folder: &Path| edit(&folder.join("adapter_config.json"), |file| file[name] = value)
    };
    let cases: Vec<(String, &str)> = vec![
        (refusal("bert_houlsby", config("peft_type", json!("LORA"))), "of PEFT (`peft_type` is `LORA`)"),
        (refusal("bert_houlsby", config("hidden_size", json!(768))), "`hidden_size` 768, this one has 16"),
        (
            refusal("bert_houlsby", config("model_type", json!("gpt2"))),
            "`model_type` gpt2, this one has bert",
        ),
        (refusal("bert_houlsby", config("name", json!("a.b"))), "`name` is `\"a.b\"`"),
        (refusal("bert_houlsby", config("name", json!("other"))), "has no tensor `bert.encoder.layer.0"),
        (refusal("bert_houlsby", config("config", json!("lora"))), "`config` is `\"lora\"`"),
        (refusal("bert_houlsby", config("config", json!([1]))), "`config` is `[1]`"),
        (
            refusal("bert_houlsby", |folder| {
                std::fs::remove_file(folder.join("head_config.json")).unwrap();
            }),
            "`DIR` has no `head_config.json`",
        ),
        (
            refusal("bert_houlsby", |folder| {
                std::fs::remove_file(folder.join("adapter.safetensors")).unwrap();
            }),
            "`DIR` has neither `adapter.safetensors` nor `pytorch_adapter.bin`",
        ),
        (
            refusal("bert_houlsby", |folder| {
                change(&folder.join("adapter.safetensors"), |tensors| drop(tensors.remove(0)));
            }),
            "has no tensor `bert.encoder.layer.0.attention.output.adapters.task.adapter_down.0.bias`",
        ),
        (
            refusal("bert_houlsby", |folder| {
                change(&folder.join("adapter.safetensors"), |tensors| {
                    tensors[0].2[..4].copy_from_slice(&f32::NAN.to_le_bytes());
                });
            }),
            "expected finite numbers, got NaN or infinity",
        ),
        (
            refusal("bert_houlsby", |folder| {
                change(&folder.join("adapter.safetensors"), |tensors| {
                    let (shape, bytes) = (vec![2, 2], tensors[0].2.clone());
                    tensors[0] = (tensors[0].0.clone(), shape, bytes);
                });
            }),
            "expected [4], got [2, 2]",
        ),
        (
            refusal("bert_houlsby", |folder| {
                std::fs::write(folder.join("adapter.safetensors"), b"no tensors").unwrap();
            }),
            "is not a valid safetensors file",
        ),
        (
            refusal("bert_pfeiffer_map", |folder| {
                std::fs::write(folder.join("pytorch_adapter.bin"), b"cos\nsystem\n(S'true'\ntR.").unwrap();
            }),
            "`DIR/pytorch_adapter.bin`",
        ),
        (
            refusal("roberta_houlsby", |folder| {
                edit(&folder.join("head_config.json"), |file| {
                    file["config"]["use_pooler"] = json!(true);
                });
            }),
            "`use_pooler` is true, supported: false, since no pooler of the model is read",
        ),
    ];
    for (message, expected) in cases {
        assert!(message.contains(expected), "expected `{expected}` in: {message}");
    }
}

// --------------------------------------------------------------------------------------------- what is trained here

fn trained(model: &Model, kind: TaskKind, options: &GraftOptions) -> Adapter {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.tsv");
    let rows = match kind {
        TaskKind::MultiLabel => "text\tlabel\ngood\tyes,new\nbad\tno\ngood good\tyes\nbad bad\t\n",
        TaskKind::Classification => "text\tlabel\ngood\tyes\nbad\tno\ngood good\tyes\nbad bad\tno\n",
        TaskKind::Regression => "text\tlabel\ngood\t4.5\nbad\t1.25\ngood good\t5\nbad bad\t0.5\n",
        TaskKind::Entities => "good B-x\nbad I-x\n\nbad O\n",
        TaskKind::Tags => "good yes\nbad no\n\nbad no\n",
        TaskKind::MultipleChoice => "{\"text\":\"good\",\"choices\":[\"yes\",\"no\"],\"label\":0}\n",
        TaskKind::QuestionAnswering => {
            "{\"question\":\"good\",\"context\":\"bad day\",\"answers\":[{\"text\":\"day\",\"answer_start\":4}]}\n"
        }
    };
    let path = match kind {
        TaskKind::Entities | TaskKind::Tags => path.with_extension("conll"),
        TaskKind::MultipleChoice | TaskKind::QuestionAnswering => path.with_extension("jsonl"),
        TaskKind::Classification | TaskKind::MultiLabel | TaskKind::Regression => path,
    };
    std::fs::write(&path, rows).unwrap();
    let rows = Dataset::read_train(&Source::new(path), kind).unwrap();
    graft(model, &rows, &rows, options, &mut ()).unwrap().adapter
}

fn options() -> GraftOptions {
    let mut options = GraftOptions {
        bottleneck: 3,
        activation: AdapterActivation::GeluTanh,
        pooling: Pooling::First,
        head: HeadForm::Dense(AdapterActivation::Tanh),
        freeze_layernorm: true,
        max_length: 8,
        ..GraftOptions::default()
    };
    options.train.init_std = 0.1;
    options.train.max_steps = Some(3);
    options
}

#[test]
fn a_trained_adapter_comes_back_with_the_same_answers() {
    let (model, folder) = copy("bert_houlsby");
    let texts: Vec<TokenIds> = [vec![1], vec![2, 1], vec![0, 2, 2]]
        .map(|ids: Vec<u32>| TokenIds { type_ids: vec![0; ids.len()], ids, ..TokenIds::default() })
        .into();
    for (place, options) in [
        options(),
        GraftOptions { method: Method::Pfeiffer, freeze_layernorm: false, ..options() },
        GraftOptions { pooling: Pooling::Cls, head: HeadForm::Linear, ..options() },
        GraftOptions { adapt_from_layer: 1, ..options() },
    ]
    .into_iter()
    .enumerate()
    {
        let adapter = trained(&model, TaskKind::Classification, &options);
        let exported = export(&adapter, &model, "my-task").unwrap();
        assert_eq!(exported.losses(), []);
        let out = folder.path().join(format!("{place}"));
        exported.write(&out).unwrap();
        let again = import(&out, &model, &SINGLE).unwrap();
        assert_eq!(again.manifest().task, adapter.manifest().task);
        assert_eq!(bits(&answers(&model, &again, &texts)), bits(&answers(&model, &adapter, &texts)));
    }
}

/// The head of a regression has learnt standardised scores; there is no place for their scale in the files, so that the head
/// itself gives the scores.
#[test]
fn a_regression_gives_its_scores_without_a_scale() {
    let (model, folder) = copy("bert_houlsby");
    let adapter = trained(&model, TaskKind::Regression, &options());
    let scale = adapter.manifest().task.scores.unwrap();
    assert!(scale.std > 1.0 && scale.mean > 2.0, "{scale:?}");
    let out = folder.path().join("out");
    export(&adapter, &model, "task").unwrap().write(&out).unwrap();
    let again = import(&out, &model, &SINGLE).unwrap();
    let texts = [TokenIds { ids: vec![1, 2], type_ids: vec![0, 0], ..TokenIds::default() }];
    let (here, there) = (answers(&model, &adapter, &texts), answers(&model, &again, &texts));
    assert_close("scores", &there, &[here[0] * scale.std + scale.mean]);
}

/// The head gives the logits that a temperature gives here.
#[test]
fn a_temperature_is_worked_into_the_head() {
    let (model, folder) = copy("bert_houlsby");
    let mut options = GraftOptions { calibrate: true, ..options() };
    // So few steps that not every answer is right.
    options.train.max_steps = Some(1);
    let adapter = trained(&model, TaskKind::Classification, &options);
    assert!((adapter.temperature() - 1.0).abs() > 0.1, "{}", adapter.temperature());
    let out = folder.path().join("out");
    let exported = export(&adapter, &model, "task").unwrap();
    assert_eq!(exported.losses(), []);
    exported.write(&out).unwrap();
    let again = import(&out, &model, &SINGLE).unwrap();
    assert_eq!(again.temperature(), 1.0);
    let texts = [TokenIds { ids: vec![1, 2], type_ids: vec![0, 0], ..TokenIds::default() }];
    let (here, there) = (answers(&model, &adapter, &texts), answers(&model, &again, &texts));
    for (here, there) in adapter.probabilities(&here).iter().zip(again.probabilities(&there)) {
        assert!((here - there).abs() < 1e-6, "{here}, {there}");
    }
}

#[test]
fn several_labels_come_back() {
    let (model, folder) = copy("bert_houlsby");
    let adapter = trained(&model, TaskKind::MultiLabel, &options());
    let out = folder.path().join("out");
    export(&adapter, &model, "task").unwrap().write(&out).unwrap();
    let again = import(&out, &model, &SINGLE).unwrap();
    assert_eq!(again.manifest().task, adapter.manifest().task);
    assert_eq!(bits(again.parameters().values()), bits(adapter.parameters().values()));
    let fitted = GraftOptions { fit_thresholds: true, ..options() };
    let adapter = trained(&model, TaskKind::MultiLabel, &fitted);
    assert_eq!(export(&adapter, &model, "task").unwrap().losses(), [Loss::Thresholds]);
}

#[test]
fn tags_of_words_come_back() {
    let (model, folder) = copy("bert_houlsby");
    let options = GraftOptions { pooling: Pooling::Mean, ..options() };
    for (place, (kind, head)) in
        [(TaskKind::Entities, HeadForm::Linear), (TaskKind::Tags, options.head)].into_iter().enumerate()
    {
        let adapter = trained(&model, kind, &GraftOptions { head, ..options.clone() });
        let exported = export(&adapter, &model, "task").unwrap();
        assert_eq!(exported.losses(), []);
        let out = folder.path().join(format!("{place}"));
        exported.write(&out).unwrap();
        let again = import(&out, &model, &SINGLE).unwrap();
        assert_eq!(again.manifest().task, adapter.manifest().task);
        assert_eq!(again.manifest().adapter, adapter.manifest().adapter);
        assert_eq!(bits(again.parameters().values()), bits(adapter.parameters().values()));
        // Words are of one text: as a task of pairs nothing could read it again.
        let error = import(&out, &model, &ImportOptions { pair: true, ..SINGLE }).unwrap_err();
        assert!(matches!(error, AdapterHubError::PairOfWords { .. }), "{error}");
    }
}

#[test]
fn what_the_files_cannot_hold_is_named() {
    let (model, _folder) = copy("bert_houlsby");
    let tuned = GraftOptions { freeze_layernorm: false, ..options() };
    let adapter = trained(&model, TaskKind::Classification, &tuned);
    // Two layers with two each and that of the embeddings, a scale and a shift.
    assert_eq!(
        export(&adapter, &model, "task").unwrap().losses(),
        [Loss::LayerNorms { numbers: 5 * 2 * 16 }]
    );
    let mean = GraftOptions { pooling: Pooling::Mean, ..options() };
    let adapter = trained(&model, TaskKind::Classification, &mean);
    let exported = export(&adapter, &model, "task").unwrap();
    assert_eq!(exported.losses(), [Loss::Head { pooling: Pooling::Mean }]);
    assert_eq!(
        exported.files().iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        ["adapter_config.json", "adapter.safetensors", "README.md"]
    );
    let head = GraftOptions { method: Method::Head, freeze_layernorm: false, ..options() };
    let adapter = trained(&model, TaskKind::Classification, &head);
    let refused = export(&adapter, &model, "task").unwrap_err();
    assert!(matches!(refused, AdapterHubError::Method { .. }), "{refused}");
    let adapter = trained(&model, TaskKind::Classification, &options());
    for name in ["", "a.b", "a b", "é", "../a", "train", "_apply"] {
        let refused = export(&adapter, &model, name).unwrap_err();
        assert!(matches!(refused, AdapterHubError::Name { .. }), "{refused}");
    }
}

#[test]
fn a_width_for_each_layer_is_written_as_one() {
    let (model, folder) = copy("bert_pfeiffer_map");
    let adapter = import(folder.path(), &model, &SINGLE).unwrap();
    assert_eq!(adapter.manifest().adapter.bottleneck, Bottleneck::Layers(vec![0, 8, 2]));
    let exported = export(&adapter, &model, "task").unwrap();
    let file: Value = serde_json::from_slice(&exported.files()[0].1).unwrap();
    assert_eq!(file["config"]["leave_out"], json!([0]));
    let config: AdapterConfig = adapter.manifest().adapter.clone();
    assert_eq!(config.check(3), Ok(()));
}
