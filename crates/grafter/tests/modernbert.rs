//! ModernBERT on the tiny random model that `reference/tiny_modernbert.py` wrote, whose files are those of the published models
//! in small: what every family promises, and what only its layers have. That they compute what PyTorch computes is for
//! `parity.rs`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod checkpoint;
mod family;
mod lengths;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use checkpoint::{Tensors, folder_like, tensors_of, write};
use family::{
    bits, check_bytes, check_forms, config, gradients, hidden_states, names, options, sequence, sequences,
    targets, trained,
};
use grafter::adapter::{
    Adapter, AdapterActivation, AdapterConfig, HeadForm, MANIFEST_FILE, Method, Pooling, Site, TaskParameters,
};
use grafter::adapterhub;
use grafter::bank::{Add, Bank, Incoming, Probes, Verdict, generated_rows};
use grafter::batch::{PackedBatch, TokenIds};
use grafter::data::{Row, TaskKind};
use grafter::encoder::{BasePrecision, EncoderDropout};
use grafter::gradient::GradientEngine;
use grafter::graft::GraftOptions;
use grafter::model::Model;
use grafter::predict::{Query, batch_logits, logits, row_logits};
use grafter::prefix::Constant;
use grafter::random::Random;
use grafter::row_encoding::encode_row;
use safetensors::Dtype;
use serde_json::{Value, json};
use tempfile::TempDir;

static MODEL: LazyLock<Model> = LazyLock::new(|| Model::read(&model_folder(), "tiny-modernbert").unwrap());

const HIDDEN: usize = 32;
const LAYERS: usize = 4;

const METHODS: [Method; 7] = [
    Method::Houlsby,
    Method::Pfeiffer,
    Method::Full,
    Method::TopLayers(1),
    Method::TopLayers(3),
    Method::LayerNorm,
    Method::Head,
];

fn model_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-modernbert")
}

/// Every method that can train this model; none of its parts has a bias.
/// Adapters far from zero, and what is the encoder's moved: a mix-up shows in every logit.
fn task(config: &AdapterConfig, seed: u64) -> TaskParameters {
    let mut task = TaskParameters::initialise(config, MODEL.encoder(), 0.3, seed);
    let mut random = Random::new(seed);
    for value in task.split_mut().1 {
        *value += (random.bits() % 2001) as f32 / 1e4 - 0.1;
    }
    task
}

fn tensors() -> Tensors {
    tensors_of(&model_folder())
}

fn folder(change: impl FnOnce(&mut Value)) -> TempDir {
    folder_like(&model_folder(), change)
}

/// The same weights under another configuration.
fn changed(change: impl FnOnce(&mut Value)) -> Model {
    let (folder, weights) = (folder(change), "model.safetensors");
    std::fs::copy(model_folder().join(weights), folder.path().join(weights)).unwrap();
    Model::read(folder.path(), "model").unwrap()
}

// ------------------------------------------------------------------------------------------------- its files

#[test]
fn every_number_of_the_encoder_is_read_and_the_head_of_its_pretraining_is_not() {
    let held: usize = tensors()
        .iter()
        .filter(|(name, _)| name.starts_with("model."))
        .map(|(_, (_, values))| values.len())
        .sum();
    assert!(tensors().keys().any(|name| name == "head.dense.weight"));
    assert_eq!(MODEL.encoder().parameter_count(), held);
    let full = task(&config(Method::Full, 3), 1);
    assert_eq!(full.values().len(), held + 3 * (HIDDEN + 1), "all of it trains, and the task's head");
    assert!(!MODEL.encoder().has_pooler());
    assert_eq!(MODEL.encoder().config.max_length(), 64);
}

#[test]
fn weights_are_read_with_and_without_prefix_in_fewer_bits_and_from_several_files() {
    check_forms(&MODEL, &|| folder(|_| {}), &tensors(), ("model.", "layers.1."));
}

#[test]
fn tensors_that_are_missing_or_of_another_shape_are_refused_by_name() {
    for name in
        ["model.final_norm.weight", "model.layers.1.attn_norm.weight", "model.layers.0.attn.Wqkv.weight"]
    {
        let mut fewer = tensors();
        fewer.remove(name).unwrap();
        let folder = folder(|_| {});
        write(&folder.path().join("model.safetensors"), &fewer, Dtype::F32);
        let error = Model::read(folder.path(), "model").map(|_| ()).unwrap_err();
        assert!(error.to_string().ends_with(&format!("has no tensor `{name}`")), "{error}");
    }
    // One half of what a gated network needs.
    let mut narrow = tensors();
    let wi = narrow.get_mut("model.layers.2.mlp.Wi.weight").unwrap();
    (wi.0[0], wi.1) = (24, wi.1[..24 * HIDDEN].to_vec());
    let folder = folder(|_| {});
    write(&folder.path().join("model.safetensors"), &narrow, Dtype::F32);
    let error = Model::read(folder.path(), "model").map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("`model.layers.2.mlp.Wi.weight`") && error.contains("[48, 32]"), "{error}");
    // A bias that the configuration asks for.
    let folder = self::folder(|config| config["mlp_bias"] = json!(true));
    write(&folder.path().join("model.safetensors"), &tensors(), Dtype::F32);
    let error = Model::read(folder.path(), "model").map(|_| ()).unwrap_err().to_string();
    assert!(error.ends_with("has no tensor `model.layers.0.mlp.Wi.bias`"), "{error}");
}

/// The ids that `PreTrainedTokenizerFast` of `transformers` gives for this file.
#[test]
fn texts_and_pairs_have_the_tokens_of_its_tokenizer() {
    let single = encode_row(&MODEL, &Row::single("a good film"), 64).unwrap();
    assert_eq!(single.ids, [361, 64, 220, 70, 339, 220, 69, 316, 76, 362]);
    let pair = Row::pair("a good film", "it was bad");
    let tokens = encode_row(&MODEL, &pair, 64).unwrap();
    let expected = [361, 64, 220, 70, 339, 220, 69, 316, 76, 362, 284, 220, 86, 302, 220, 65, 270, 362];
    assert_eq!(tokens.ids, expected);
    // What a tokenizer says of types is not read.
    let ones = TokenIds { type_ids: vec![7; tokens.ids.len()], ..tokens.clone() };
    let task = task(&config(Method::Houlsby, 2), 1);
    let answers = |tokens: &TokenIds| bits(&logits(MODEL.encoder(), &[Query { tokens, task: &task }]));
    assert_eq!(answers(&tokens), answers(&ones));
    let cut = encode_row(&MODEL, &pair, 9).unwrap();
    assert_eq!((cut.ids.len(), cut.truncated), (9, true));
    assert_eq!([cut.ids[0], cut.ids[8]], [361, 362]);
}

// --------------------------------------------------------------------------------------------- what trains

#[test]
fn a_list_holds_what_the_checkpoint_holds() {
    for method in METHODS {
        for name in names(MODEL.encoder(), &config(method, 3)) {
            let own = name.starts_with("head.") || name.contains(".adapter.");
            assert!(own || !name.ends_with(".bias"), "{method}: `{name}` is not in the checkpoint");
        }
    }
    let norms = |layers: std::ops::Range<usize>| -> BTreeSet<String> {
        let of_layer = |layer: usize| {
            // The first layer reads what the normalisation of the embeddings gives.
            let sites = if layer == 0 { &["feed_forward"][..] } else { &["attention", "feed_forward"] };
            sites.iter().map(move |site| format!("layer.{layer}.{site}.layer_norm.weight"))
        };
        layers.flat_map(of_layer).chain(["final_layer_norm.weight".to_owned()]).collect()
    };
    let head = BTreeSet::from(["head.weight".to_owned(), "head.bias".to_owned()]);
    let embeddings = BTreeSet::from(["embeddings.layer_norm.weight".to_owned()]);
    let expected = &(&norms(0..LAYERS) | &embeddings) | &head;
    assert_eq!(names(MODEL.encoder(), &config(Method::LayerNorm, 3)), expected);
    let houlsby = names(MODEL.encoder(), &config(Method::Houlsby, 3));
    assert_eq!(houlsby.iter().filter(|name| name.contains(".adapter.")).count(), 4 * 2 * LAYERS);
    assert!(expected.is_subset(&houlsby));
    // The normalisation after all layers is the last one's.
    let upper = AdapterConfig { adapt_from_layer: 2, ..config(Method::Houlsby, 3) };
    let upper: BTreeSet<String> =
        names(MODEL.encoder(), &upper).into_iter().filter(|name| !name.contains(".adapter.")).collect();
    assert_eq!(upper, &norms(2..LAYERS) | &head);
    let top = names(MODEL.encoder(), &config(Method::TopLayers(1), 3));
    assert!(top.contains("final_layer_norm.weight") && top.contains("layer.3.attention.key.weight"));
    assert!(top.iter().all(|name| !name.starts_with("layer.2") && !name.starts_with("embeddings")));
    let pfeiffer = names(MODEL.encoder(), &config(Method::Pfeiffer, 3));
    assert_eq!(pfeiffer.len(), 4 * LAYERS + 2);
    assert!(names(MODEL.encoder(), &config(Method::Full, 3)).contains("embeddings.words.weight"));
    assert!(!names(MODEL.encoder(), &config(Method::Full, 3)).contains("embeddings.positions.weight"));
}

#[test]
fn what_a_model_does_not_have_cannot_be_asked_for() {
    let refused = |change: &dyn Fn(&mut GraftOptions)| {
        let mut options = options(Method::Houlsby);
        change(&mut options);
        options.check(&MODEL).unwrap_err().to_string()
    };
    let bias = refused(&|options| options.method = Method::Bias);
    assert!(bias.contains("--method") && bias.contains("no part of this model has a bias"), "{bias}");
    let pooler = refused(&|options| options.pooling = Pooling::Cls);
    assert!(pooler.contains("no pooler of the model is read"), "{pooler}");
    let length = refused(&|options| options.max_length = 65);
    assert!(length.contains("--max-length"), "{length}");
    for method in METHODS {
        options(method).check(&MODEL).unwrap();
    }
    let adapter = trained(&MODEL, Method::Houlsby);
    let error = adapterhub::export(&adapter, &MODEL, "task").map(|_| ()).unwrap_err();
    assert!(error.to_string().ends_with("family `modernbert`"), "{error}");
}

/// Each method computes the same function where its numbers are those that all of the encoder trains with, so what it trains has
/// the same gradient: nothing is left out of the way back, wherever it ends.
#[test]
fn a_gradient_does_not_hang_on_what_else_trains() {
    let rows = sequences(MODEL.encoder());
    let none = EncoderDropout::none();
    let full = task(&config(Method::Full, 3), 1);
    let full = TaskParameters::initialise(full.layout().config(), MODEL.encoder(), 0.0, 1);
    let by_name = |task: &TaskParameters, gradients: Vec<f32>| -> BTreeMap<String, Vec<f32>> {
        let specs = task.layout().list().specs();
        specs.iter().map(|spec| (spec.name.clone(), gradients[spec.range.clone()].to_vec())).collect()
    };
    let expected = by_name(&full, gradients(MODEL.encoder(), &full, &rows, &none).1);
    let upper = |layer| AdapterConfig { adapt_from_layer: layer, ..config(Method::Houlsby, 3) };
    let mut lists: Vec<AdapterConfig> = METHODS.iter().map(|method| config(*method, 3)).collect();
    lists.extend((1..LAYERS).map(upper));
    lists.extend((1..LAYERS).map(|layer| AdapterConfig { freeze_layernorm: true, ..upper(layer) }));
    let mut adapters: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for config in lists {
        let mut task = TaskParameters::initialise(&config, MODEL.encoder(), 0.0, 1);
        task.set_head_values(full.head_values());
        let head = full.head_values().to_vec();
        assert_eq!(task.head_values(), head);
        for (name, gradient) in by_name(&task, gradients(MODEL.encoder(), &task, &rows, &none).1) {
            let expected = if name.contains(".adapter.") {
                // Pfeiffer's adapter stands elsewhere.
                adapters.entry(format!("{} {name}", config.method)).or_insert_with(|| gradient.clone())
            } else {
                &expected[&name]
            };
            assert!(gradient == *expected, "{}, layer {}: `{name}`", config.method, config.adapt_from_layer);
            // With both matrices at zero, only the last bias of an adapter has a gradient.
            if !name.contains(".adapter.") || name.ends_with("up.bias") {
                assert!(gradient.iter().any(|value| *value != 0.0), "`{name}`");
            }
        }
    }
}

/// With each kind of dropout alone and with all, the gradient is that of the loss that the same masks give.
#[test]
fn gradients_go_through_everything_that_is_dropped() {
    let rows = sequences(MODEL.encoder());
    let all = EncoderDropout::training(&MODEL.encoder().config, 5, 3);
    let none = EncoderDropout { key: all.key, ..EncoderDropout::none() };
    let kinds = [
        EncoderDropout { hidden: all.hidden, ..none },
        EncoderDropout { attention_output: all.attention_output, ..none },
        EncoderDropout { feed_forward: all.feed_forward, ..none },
        EncoderDropout { attention: all.attention, ..none },
        EncoderDropout { pooled: all.pooled, ..none },
        all,
    ];
    for method in [Method::Full, Method::Houlsby, Method::Pfeiffer] {
        let config = AdapterConfig { activation: AdapterActivation::Gelu, ..config(method, 3) };
        let task = task(&config, 4);
        let without = gradients(MODEL.encoder(), &task, &rows, &none).0;
        for (kind, dropout) in kinds.iter().enumerate() {
            let (loss, gradient) = gradients(MODEL.encoder(), &task, &rows, dropout);
            assert!(loss != without, "{method}, kind {kind}");
            let length = gradient.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            let step = 2e-3;
            let moved = |sign: f64| {
                let values = task.values().iter().zip(&gradient);
                let values =
                    values.map(|(value, d)| value + (sign * step * f64::from(*d) / length) as f32).collect();
                let moved = TaskParameters::from_values(task.layout().clone(), values);
                gradients(MODEL.encoder(), &moved, &rows, dropout).0
            };
            let difference = (moved(1.0) - moved(-1.0)) / (2.0 * step);
            // The third derivative, and losses in f32 over a step of 2e-3.
            let off = (difference - length).abs() / length;
            assert!(
                off < 2e-3,
                "{method}, kind {kind}: {length} by the gradient, {difference} by difference"
            );
        }
    }
}

// ------------------------------------------------------------------------------------------- what always holds

#[test]
fn an_adapter_of_zeros_is_the_bare_encoder() {
    let bare = hidden_states(MODEL.encoder(), None);
    for method in METHODS {
        let zero = TaskParameters::initialise(&config(method, 2), MODEL.encoder(), 0.0, 3);
        assert!(hidden_states(MODEL.encoder(), Some(&zero)) == bare, "{method}");
        let other = task(&config(method, 2), 3);
        assert_eq!(hidden_states(MODEL.encoder(), Some(&other)) == bare, method == Method::Head, "{method}");
    }
}

#[test]
fn any_mix_of_lengths_is_answered_as_each_row_alone() {
    lengths::check_any_lengths(&MODEL);
}

/// All methods in one batch, each text asked for by several of them, in f32 and in 8 bits.
#[test]
fn a_row_is_answered_in_a_batch_as_alone() {
    let int8 = Model::read_in(&model_folder(), "tiny-modernbert", BasePrecision::Int8).unwrap();
    for model in [&*MODEL, &int8] {
        let mut configs: Vec<AdapterConfig> = METHODS.iter().map(|method| config(*method, 3)).collect();
        configs.push(AdapterConfig { adapt_from_layer: 3, ..config(Method::Houlsby, 2) });
        configs.push(AdapterConfig {
            pooling: Pooling::First,
            head: HeadForm::Dense(AdapterActivation::Gelu),
            ..config(Method::Pfeiffer, 2)
        });
        let tasks: Vec<TaskParameters> =
            configs.iter().enumerate().map(|(seed, config)| task(config, seed as u64)).collect();
        let rows = sequences(MODEL.encoder());
        let queries: Vec<Query<'_>> = (0..3 * rows.len())
            .map(|place| Query { tokens: &rows[place % rows.len()], task: &tasks[place * 5 % tasks.len()] })
            .collect();
        let together = logits(model.encoder(), &queries);
        let alone: Vec<Vec<f32>> =
            queries.iter().flat_map(|query| logits(model.encoder(), &[*query])).collect();
        assert!(alone.iter().flatten().all(|value| value.is_finite()));
        assert_eq!(bits(&together), bits(&alone));
    }
}

#[test]
fn logits_and_gradients_from_what_is_kept_are_those_of_the_whole_network() {
    let (encoder, rows) = (MODEL.encoder(), sequences(MODEL.encoder()));
    let dropout = EncoderDropout::training(&encoder.config, 7, 3);
    let upper = |layer| AdapterConfig { adapt_from_layer: layer, ..config(Method::Houlsby, 3) };
    let mut configs: Vec<AdapterConfig> = (1..LAYERS).map(upper).collect();
    configs.extend([Method::TopLayers(1), Method::TopLayers(3)].map(|method| config(method, 3)));
    configs.push(AdapterConfig { adapt_from_layer: 2, ..config(Method::Pfeiffer, 3) });
    for config in configs {
        let task = task(&config, 1);
        let Some(Constant::States(layer)) = Constant::of(task.layout()) else { panic!("{config:?}") };
        assert_eq!(layer, config.first_trained_layer(LAYERS));
        let batch = PackedBatch::new(&rows);
        let kept = Constant::States(layer).compute(encoder, &batch);
        let queries: Vec<Query<'_>> = rows.iter().map(|tokens| Query { tokens, task: &task }).collect();
        let whole = logits(encoder, &queries);
        let (mut engine, targets) = (GradientEngine::default(), targets(&rows));
        let (loss, gradients) = engine.compute(encoder, &task, &batch, &targets, &dropout);
        let expected = (loss, gradients.to_vec());
        let batch = batch.with_states(layer, kept);
        assert_eq!(
            bits(&batch_logits(encoder, &batch, &vec![&task; rows.len()])),
            bits(&whole),
            "{config:?}"
        );
        let (loss, gradients) = engine.compute(encoder, &task, &batch, &targets, &dropout);
        assert!((loss, gradients.to_vec()) == expected, "{config:?}");
    }
    // What the head reads comes after the last normalisation.
    let head = task(&config(Method::Head, 3), 1);
    let queries: Vec<Query<'_>> = rows.iter().map(|tokens| Query { tokens, task: &head }).collect();
    let kept = Constant::Pooled(Pooling::Mean).compute(encoder, &PackedBatch::new(&rows));
    assert_eq!(
        bits(&grafter::head::logits_of_pooled(&head, &PackedBatch::new(&rows), &kept)),
        bits(&logits(encoder, &queries))
    );
}

#[test]
fn a_run_in_8_bits_trains_and_answers_nearly_as_in_f32() {
    let int8 = Model::read_in(&model_folder(), "tiny-modernbert", BasePrecision::Int8).unwrap();
    let task = task(&config(Method::Houlsby, 3), 1);
    let rows = sequences(MODEL.encoder());
    let answers = |model: &Model| -> Vec<f32> {
        let queries: Vec<Query<'_>> = rows.iter().map(|tokens| Query { tokens, task: &task }).collect();
        logits(model.encoder(), &queries).concat()
    };
    let (exact, found) = (answers(&MODEL), answers(&int8));
    let norm = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let differences: Vec<f32> = exact.iter().zip(&found).map(|(a, b)| a - b).collect();
    // As in `int8.rs`: each product is off by about one hundredth of its size.
    let off = norm(&differences) / norm(&exact);
    assert!(off > 0.0 && off < 0.05, "{off}");
    let before = int8.encoder().digest_in_memory();
    let adapter = trained(&int8, Method::Houlsby);
    assert_eq!(int8.encoder().digest_in_memory(), before);
    assert_eq!(row_logits(&int8, &adapter, &[Row::single("a good film")]).unwrap()[0].len(), 2);
}

// ----------------------------------------------------------------------------------------- what decides

#[test]
fn an_adapter_comes_back_as_it_was_and_belongs_to_this_configuration() {
    let texts = [
        Row::single("a good film"),
        Row::single("it was bad, and the plot was dull and much too long for me"),
    ];
    let folder = tempfile::tempdir().unwrap();
    for method in METHODS {
        let adapter = trained(&MODEL, method);
        let path = folder.path().join(method.to_string());
        adapter.save(&path, false).unwrap();
        let read = Adapter::load(&path, &MODEL).unwrap();
        assert_eq!(read.parameters().values(), adapter.parameters().values());
        let answers = |adapter: &Adapter| bits(&row_logits(&MODEL, adapter, &texts).unwrap());
        assert_eq!(answers(&read), answers(&adapter));
    }
    let path = folder.path().join("houlsby");
    type Change = (&'static str, Value);
    let changes: [Change; 5] = [
        ("global_rope_theta", json!(80_000.0)),
        ("local_rope_theta", json!(5_000.0)),
        ("local_attention", json!(10)),
        ("global_attn_every_n_layers", json!(2)),
        ("norm_eps", json!(1e-6)),
    ];
    for (field, value) in changes {
        let other = changed(|config| config[field] = value.clone());
        let error = Adapter::load(&path, &other).map(|_| ()).unwrap_err().to_string();
        let field = if field == "norm_eps" { "layer_norm_eps" } else { field };
        assert!(error.contains(&format!("`{field}`")), "{field}: {error}");
        assert!(hidden_states(other.encoder(), None) != hidden_states(MODEL.encoder(), None), "{field}");
    }
    // What was written in another way is the same model.
    let newer = changed(|config| {
        let config = config.as_object_mut().unwrap();
        for old in ["global_rope_theta", "local_rope_theta", "global_attn_every_n_layers"] {
            config.remove(old);
        }
        let rope = |theta: f64| json!({ "rope_type": "default", "rope_theta": theta });
        let both = json!({ "full_attention": rope(160_000.0), "sliding_attention": rope(10_000.0) });
        config.insert("rope_parameters".to_owned(), both);
        let (whole, local) = ("full_attention", "sliding_attention");
        config.insert("layer_types".to_owned(), json!([whole, local, local, whole]));
    });
    assert_eq!(newer.encoder().config, MODEL.encoder().config);
    Adapter::load(&path, &newer).unwrap();
    // An adapter that does not say is not taken for one that does.
    let manifest = path.join(MANIFEST_FILE);
    let mut json: Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    let sealed = json["base"]["config"].as_object_mut().unwrap();
    assert_eq!(sealed.len(), 5 + 7);
    sealed.remove("local_attention").unwrap();
    std::fs::write(&manifest, json.to_string()).unwrap();
    assert!(Adapter::load(&path, &MODEL).is_err());
}

/// What other families' adapters are sealed to is what it was.
#[test]
fn adapters_of_other_families_hold_nothing_of_this_one() {
    let bert = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-bert");
    let bert = Model::read(&bert, "tiny-bert").unwrap();
    let sealed = serde_json::to_value(bert.encoder().config.deciding()).unwrap();
    let fields: Vec<&String> = sealed.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        ["model_type", "num_hidden_layers", "num_attention_heads", "hidden_act", "layer_norm_eps"]
    );
    let adapter = trained(&bert, Method::Houlsby);
    assert!(row_logits(&MODEL, &adapter, &[Row::single("a good film")]).is_err());
}

/// A window wider than any text is none, and layers with the same angles and no window are all alike.
#[test]
fn windows_and_angles_are_those_of_the_layer() {
    let whole = |every: usize| {
        changed(|config| {
            config["local_attention"] = json!(126);
            config["local_rope_theta"] = json!(null);
            config["global_attn_every_n_layers"] = json!(every);
        })
    };
    let alike = hidden_states(whole(3).encoder(), None);
    assert!(alike == hidden_states(whole(1).encoder(), None));
    let narrow = changed(|config| config["local_rope_theta"] = json!(null));
    assert!(alike != hidden_states(narrow.encoder(), None), "texts are longer than the window");
    // A text that the window holds does not know of it.
    let short = [sequence(MODEL.encoder(), 5, 1)];
    let task = task(&config(Method::Houlsby, 2), 1);
    let answers = |model: &Model| {
        let queries: Vec<Query<'_>> = short.iter().map(|tokens| Query { tokens, task: &task }).collect();
        bits(&logits(model.encoder(), &queries))
    };
    assert_eq!(answers(&whole(3)), answers(&narrow));
    assert_ne!(answers(&narrow), answers(&MODEL), "the angles of the local layers are others");
}

#[test]
fn a_bank_holds_its_tasks() {
    let folder = tempfile::tempdir().unwrap();
    let bank = Bank::init(&folder.path().join("bank"), &MODEL).unwrap();
    for method in [Method::Houlsby, Method::Pfeiffer] {
        let adapter = trained(&MODEL, method);
        let probes =
            Probes::take(&MODEL, &adapter, &generated_rows(TaskKind::Classification, false, 16)).unwrap();
        let incoming = Incoming { adapter: &adapter, probes: &probes, companions: &[] };
        bank.add(&method.to_string().parse().unwrap(), &incoming, Add::New).unwrap();
    }
    let verified = bank.verify(&MODEL, |_| {}).unwrap();
    assert_eq!(verified.len(), 2);
    assert!(verified.iter().all(|found| found.verdict() == Verdict::Same));
    let other = changed(|config| config["local_attention"] = json!(10));
    assert!(bank.verify(&other, |_| {}).is_err(), "another base");
}

#[test]
fn the_adapters_of_a_layer_can_be_removed() {
    let config = AdapterConfig { freeze_layernorm: true, ..config(Method::Houlsby, 2) };
    let task = TaskParameters::initialise(&config, MODEL.encoder(), 0.3, 1);
    assert!(task.adapter(0, Site::Attention).is_some());
    let states = |task: &TaskParameters| hidden_states(MODEL.encoder(), Some(task));
    assert!(states(&task.without_adapters(1..=2)) != states(&task));
    assert!(states(&task.without_adapters(0..=LAYERS - 1)) == hidden_states(MODEL.encoder(), None));
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads_and_leaves_the_encoder_alone() {
    check_bytes(&MODEL, &METHODS);
}
