//! DeBERTa on a tiny random model whose files are those of the published v3 models in small, made of the tiny BERT's: what every
//! family promises, and what only relative embeddings have. That they compute what PyTorch computes is for `parity.rs`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod checkpoint;
mod family;
mod lengths;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use checkpoint::{Tensors, folder_like, model_of, tensors_of, write};
use family::{
    bits, check_bytes, check_forms, config, gradients, hidden_states, names, options, sequence, sequences,
    trained,
};
use grafter::adapter::{
    Adapter, AdapterActivation, AdapterConfig, HeadForm, MANIFEST_FILE, Method, Pooling, TaskLayout,
    TaskParameters,
};
use grafter::adapterhub;
use grafter::batch::{PackedBatch, TokenIds};
use grafter::data::Row;
use grafter::encoder::activations::{Activations, Keep, Segment};
use grafter::encoder::{BasePrecision, Encoder, EncoderDropout, ForwardPass};
use grafter::gradient::{GradientEngine, Target};
use grafter::model::Model;
use grafter::predict::{Query, batch_logits, logits, row_logits};
use grafter::prefix::Constant;
use grafter::random::Random;
use grafter::row_encoding::encode_row;
use grafter_nn::dropout::Dropout;
use safetensors::Dtype;
use serde_json::{Value, json};
use tempfile::TempDir;

const HIDDEN: usize = 32;
const LAYERS: usize = 3;
/// Rows of the relative embeddings, twice as many as there are buckets.
const ROWS: usize = 16;

static MODEL: LazyLock<Model> = LazyLock::new(|| model_of(&folder(|_| {}), &tensors()));

const METHODS: [Method; 8] = [
    Method::Houlsby,
    Method::Pfeiffer,
    Method::Full,
    Method::TopLayers(1),
    Method::TopLayers(2),
    Method::LayerNorm,
    Method::Bias,
    Method::Head,
];

fn tiny_bert() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-bert")
}

/// As `microsoft/deberta-v3-base` has it, but for the sizes.
fn folder(change: impl FnOnce(&mut Value)) -> TempDir {
    folder_like(&tiny_bert(), |config| {
        let get = |field: &str| config[field].clone();
        *config = json!({
            "model_type": "deberta-v2", "vocab_size": get("vocab_size"), "hidden_size": HIDDEN,
            "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": get("intermediate_size"),
            "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
            "max_position_embeddings": 64, "type_vocab_size": 0, "layer_norm_eps": 1e-7, "initializer_range": 0.02,
            "relative_attention": true, "position_buckets": ROWS / 2, "norm_rel_ebd": "layer_norm",
            "share_att_key": true, "pos_att_type": "p2c|c2p", "max_relative_positions": -1,
            "position_biased_input": false,
        });
        change(config);
    })
}

fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..count).map(|_| (random.bits() % 2001) as f32 / 1e3 - 1.0).collect()
}

/// A checkpoint with the head of its pretraining, and with a table of positions, as the published ones have.
fn tensors() -> Tensors {
    let mut named = Tensors::new();
    for (name, tensor) in tensors_of(&tiny_bert()) {
        if name.contains("token_type") || name.starts_with("pooler.") {
            continue;
        }
        let mut name = format!("deberta.{name}");
        for part in ["query", "key", "value"] {
            name = name.replace(&format!("self.{part}."), &format!("self.{part}_proj."));
        }
        if name.contains("layer.0.") {
            let moved = tensor.1.iter().rev().copied().collect();
            named.insert(name.replace("layer.0.", "layer.2."), (tensor.0.clone(), moved));
        }
        named.insert(name, tensor);
    }
    let scale: Vec<f32> = noise(HIDDEN, 2).iter().map(|value| 1.0 + 0.3 * value).collect();
    let relative = [
        ("deberta.encoder.rel_embeddings.weight", vec![ROWS, HIDDEN], noise(ROWS * HIDDEN, 1)),
        ("deberta.encoder.LayerNorm.weight", vec![HIDDEN], scale),
        ("deberta.encoder.LayerNorm.bias", vec![HIDDEN], noise(HIDDEN, 3)),
        ("lm_predictions.lm_head.dense.weight", vec![HIDDEN, HIDDEN], noise(HIDDEN * HIDDEN, 4)),
    ];
    named.extend(relative.map(|(name, shape, values)| (name.to_owned(), (shape, values))));
    named
}

/// The same weights under another configuration.
fn changed(field: &str, value: Value) -> Model {
    let mut tensors = tensors();
    let types = (vec![2, HIDDEN], noise(2 * HIDDEN, 5));
    tensors.insert("deberta.embeddings.token_type_embeddings.weight".to_owned(), types);
    model_of(&folder(|config| config[field] = value), &tensors)
}

fn upper(layer: usize) -> AdapterConfig {
    AdapterConfig { adapt_from_layer: layer, ..config(Method::Houlsby, 3) }
}

/// Adapters far from zero, and what is the encoder's moved: a mix-up shows in every logit.
fn task(config: &AdapterConfig, seed: u64) -> TaskParameters {
    let mut task = TaskParameters::initialise(config, MODEL.encoder(), 0.3, seed);
    let values = task.split_mut().1;
    let moved = noise(values.len(), seed);
    values.iter_mut().zip(moved).for_each(|(value, moved)| *value += 0.1 * moved);
    task
}

fn answers(encoder: &Encoder, task: &TaskParameters, rows: &[TokenIds]) -> Vec<Vec<f32>> {
    let queries: Vec<Query<'_>> = rows.iter().map(|tokens| Query { tokens, task }).collect();
    logits(encoder, &queries)
}

// ------------------------------------------------------------------------------------------------- its files

#[test]
fn every_number_of_the_encoder_is_read_and_no_other() {
    let read = |name: &&String| name.starts_with("deberta.") && !name.contains("position_embeddings");
    let tensors = tensors();
    let held: usize = tensors.keys().filter(read).map(|name| tensors[name].1.len()).sum();
    assert_eq!(MODEL.encoder().parameter_count(), held);
    let full = task(&config(Method::Full, 3), 1);
    assert_eq!(full.values().len(), held + 3 * (HIDDEN + 1), "all of it trains, and the task's head");
    assert!(!MODEL.encoder().has_pooler());
    assert_eq!(MODEL.encoder().config.max_length(), 64);
    // With positions and types in the embeddings their tables are read too.
    let biased = changed("position_biased_input", json!(true));
    assert_eq!(biased.encoder().parameter_count(), held + 64 * HIDDEN);
    let typed = changed("type_vocab_size", json!(2));
    assert_eq!(typed.encoder().parameter_count(), held + 2 * HIDDEN);
    // A tokenizer gives a pair types; without a table none is read.
    let pair = encode_row(&MODEL, &Row::pair("a good film", "it was bad"), 40).unwrap();
    assert!(pair.type_ids.contains(&1));
    let none = TokenIds { type_ids: vec![0; pair.ids.len()], ..pair.clone() };
    let head = task(&config(Method::Head, 3), 1);
    let of = |model: &Model, tokens: &TokenIds| {
        bits(&answers(model.encoder(), &head, std::slice::from_ref(tokens)))
    };
    assert_eq!(of(&MODEL, &pair), of(&MODEL, &none));
    assert_ne!(of(&typed, &pair), of(&typed, &none));
}

#[test]
fn weights_are_read_with_and_without_prefix_in_fewer_bits_and_from_several_files() {
    check_forms(&MODEL, &|| folder(|_| {}), &tensors(), ("deberta.", "encoder.LayerNorm"));
}

#[test]
fn tensors_that_are_missing_or_of_another_shape_are_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Tensors), field: &str, value: Value| {
        let (folder, mut tensors) = (folder(|config| config[field] = value), tensors());
        change(&mut tensors);
        write(&folder.path().join("model.safetensors"), &tensors, Dtype::F32);
        Model::read(folder.path(), "model").map(|_| ()).unwrap_err().to_string()
    };
    for name in [
        "encoder.rel_embeddings.weight",
        "encoder.LayerNorm.bias",
        "encoder.layer.1.attention.self.key_proj.weight",
    ] {
        let name = format!("deberta.{name}");
        let told = refused(&|tensors| drop(tensors.remove(&name).unwrap()), "legacy", json!(true));
        assert!(told.ends_with(&format!("has no tensor `{name}`")), "{told}");
    }
    let told = refused(&|_| {}, "position_buckets", json!(10));
    assert!(told.contains("rel_embeddings.weight`") && told.contains("[20, 32]"), "{told}");
    // Without buckets there is a row for each distance.
    let told = refused(&|_| {}, "position_buckets", json!(-1));
    assert!(told.contains("rel_embeddings.weight`") && told.contains("[128, 32]"), "{told}");
    let told = refused(&|_| {}, "type_vocab_size", json!(2));
    assert!(told.ends_with("has no tensor `deberta.embeddings.token_type_embeddings.weight`"), "{told}");
}

// --------------------------------------------------------------------------------------------- what trains

/// All layers read the relative embeddings: what trains them trains the encoder's own in all layers.
#[test]
fn relative_embeddings_train_where_no_layer_stays_as_it_is() {
    let relative = |config: &AdapterConfig| -> Vec<String> {
        names(MODEL.encoder(), config).into_iter().filter(|name| name.starts_with("relative_")).collect()
    };
    let (bias, scale) = ("relative_embeddings.layer_norm.bias", "relative_embeddings.layer_norm.weight");
    for method in METHODS {
        let expected: &[&str] = match method {
            Method::Full => &[bias, scale, "relative_embeddings.weight"],
            Method::LayerNorm => &[bias, scale],
            Method::Bias => &[bias],
            _ => &[],
        };
        assert_eq!(relative(&config(method, 3)), expected, "{method}");
    }
    assert_eq!(relative(&upper(1)), [""; 0]);
    let full = names(MODEL.encoder(), &config(Method::Full, 3));
    assert!(full.contains("embeddings.words.weight") && !full.contains("embeddings.positions.weight"));
    let without = changed("norm_rel_ebd", json!("none"));
    let layout = TaskLayout::new(&config(Method::LayerNorm, 3), &without.encoder().config);
    assert!(layout.list().specs().iter().all(|spec| !spec.name.starts_with("relative_")));
}

#[test]
fn what_a_model_does_not_have_cannot_be_asked_for() {
    let mut pooled = options(Method::Houlsby);
    pooled.pooling = Pooling::Cls;
    let told = pooled.check(&MODEL).unwrap_err().to_string();
    assert!(told.contains("no pooler of the model is read"), "{told}");
    for method in METHODS {
        options(method).check(&MODEL).unwrap();
    }
    let adapter = trained(&MODEL, Method::Houlsby);
    let error = adapterhub::export(&adapter, &MODEL, "task").map(|_| ()).unwrap_err();
    assert!(error.to_string().ends_with("family `deberta-v2`"), "{error}");
}

/// Each method computes the same function where its numbers are those that all of the encoder trains with, so what it trains has
/// the same gradient: nothing is left out of the way back, wherever it ends.
#[test]
fn a_gradient_does_not_hang_on_what_else_trains() {
    let (rows, none) = (sequences(MODEL.encoder()), EncoderDropout::none());
    let full = TaskParameters::initialise(&config(Method::Full, 3), MODEL.encoder(), 0.0, 1);
    let by_name = |task: &TaskParameters| -> BTreeMap<String, Vec<f32>> {
        let gradients = gradients(MODEL.encoder(), task, &rows, &none).1;
        let specs = task.layout().list().specs();
        specs.iter().map(|spec| (spec.name.clone(), gradients[spec.range.clone()].to_vec())).collect()
    };
    let expected = by_name(&full);
    let mut lists: Vec<AdapterConfig> = METHODS.iter().map(|method| config(*method, 3)).collect();
    lists.extend((1..LAYERS).map(upper));
    lists.push(AdapterConfig { freeze_layernorm: true, ..upper(0) });
    for config in lists {
        let mut task = TaskParameters::initialise(&config, MODEL.encoder(), 0.0, 1);
        task.set_head_values(full.head_values());
        for (name, gradient) in by_name(&task).into_iter().filter(|(name, _)| !name.contains(".adapter.")) {
            assert!(gradient == expected[&name], "{}: `{name}`", config.method);
            assert!(gradient.iter().any(|value| *value != 0.0), "`{name}`");
        }
    }
    // No text is so long that a distance of 64 or more would read the first row or the last.
    let of_rows = &expected["relative_embeddings.weight"];
    let read: Vec<bool> = of_rows.chunks(HIDDEN).map(|row| row.iter().any(|value| *value != 0.0)).collect();
    assert_eq!(read[1..], [true; ROWS - 1]);
    assert!(!read[0], "its bucket is below that of the longest distance");
}

/// With each kind of dropout alone and with all, the gradient is that of the loss that the same masks give.
#[test]
fn gradients_go_through_everything_that_is_dropped() {
    let rows = sequences(MODEL.encoder());
    let all = EncoderDropout::training(&MODEL.encoder().config, 5, 3);
    let none = EncoderDropout { key: all.key, ..EncoderDropout::none() };
    let kinds = [
        EncoderDropout { hidden: all.hidden, ..none },
        EncoderDropout { attention: all.attention, ..none },
        all,
    ];
    for method in [Method::Full, Method::Bias, Method::LayerNorm, Method::Houlsby, Method::TopLayers(2)] {
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

/// The same of what the relative embeddings pass through alone, with half of them dropped: along the gradient of some tensors, the loss
/// changes by its length.
#[test]
fn gradients_of_relative_embeddings_go_through_their_mask() {
    let rows = sequences(MODEL.encoder());
    let all = EncoderDropout::training(&MODEL.encoder().config, 5, 3);
    let dropout = EncoderDropout { hidden: Dropout::new(0.5), key: all.key, ..EncoderDropout::none() };
    type Picked = fn(&str) -> bool;
    let relative: Picked = |name| name.starts_with("relative_");
    let projections: Picked = |name| name.contains(".query.") || name.contains(".key.");
    for (method, picked) in [
        (Method::Full, relative),
        (Method::LayerNorm, relative),
        (Method::Bias, relative),
        (Method::Full, projections),
        (Method::TopLayers(2), projections),
        (Method::Bias, projections),
    ] {
        let task = task(&config(method, 3), 4);
        let mut gradient = gradients(MODEL.encoder(), &task, &rows, &dropout).1;
        for spec in task.layout().list().specs().iter().filter(|spec| !picked(&spec.name)) {
            gradient[spec.range.clone()].fill(0.0);
        }
        let length = gradient.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        let step = 4e-3;
        let moved = |sign: f64| {
            let values = task.values().iter().zip(&gradient);
            let values =
                values.map(|(value, d)| value + (sign * step * f64::from(*d) / length) as f32).collect();
            let moved = TaskParameters::from_values(task.layout().clone(), values);
            gradients(MODEL.encoder(), &moved, &rows, &dropout).0
        };
        let difference = (moved(1.0) - moved(-1.0)) / (2.0 * step);
        // Losses in f32 over a step of 4e-3.
        let off = (difference - length).abs() / length;
        println!("{method}: {off:e} of {length}");
        assert!(off < 2e-3, "{method}: {length} by the gradient, {difference} by difference");
    }
}

/// The rows that relative embeddings lose are drawn for the batch, whatever its chunks read of them.
#[test]
fn a_mask_of_relative_embeddings_hangs_on_no_other_text() {
    let dropout = EncoderDropout::training(&MODEL.encoder().config, 5, 3);
    let task = task(&config(Method::Full, 3), 4);
    let states = |rows: &[TokenIds]| {
        let batch = PackedBatch::new(rows);
        let chunk = &batch.chunks()[0];
        let mut activations = Activations::default();
        let pass = ForwardPass {
            chunk,
            segments: &[Segment::whole(chunk, Some(&task))],
            dropout: &dropout,
            keep: Keep::Nothing,
        };
        MODEL.encoder().forward(pass, &mut activations);
        activations.hidden()[..5 * HIDDEN].to_vec()
    };
    assert!(
        states(&[sequence(MODEL.encoder(), 5, 1), sequence(MODEL.encoder(), 40, 2)])
            == states(&[sequence(MODEL.encoder(), 5, 1)])
    );
    // Nor on what trains: where a layer's projections are the base's own the rows are dropped, too.
    let losses =
        [Method::Full, Method::Houlsby, Method::Pfeiffer, Method::LayerNorm, Method::Bias].map(|method| {
            // In all layers something trains.
            let mut task = TaskParameters::initialise(&config(method, 3), MODEL.encoder(), 0.0, 1);
            let head = vec![0.01; task.head_values().len()];
            task.set_head_values(
                &head.iter().enumerate().map(|(i, v)| v * (i % 7) as f32).collect::<Vec<_>>(),
            );
            gradients(
                MODEL.encoder(),
                &task,
                &sequences(MODEL.encoder()),
                &EncoderDropout { pooled: Dropout::NONE, ..dropout },
            )
            .0
        });
    assert!(losses[1..].iter().all(|loss| loss.to_bits() == losses[0].to_bits()), "{losses:?}");
    let rates = |value: f64| {
        let model = changed("pooler_dropout", json!(value));
        let dropout = EncoderDropout::training(&model.encoder().config, 1, 0);
        (dropout.before_dense.is_none(), dropout.pooled.is_none())
    };
    assert_eq!([rates(0.0), rates(0.3)], [(true, false), (false, false)]);
    let head = changed("cls_dropout", json!(0.0));
    assert!(EncoderDropout::training(&head.encoder().config, 1, 0).pooled.is_none());
}

// ------------------------------------------------------------------------------------------- what always holds

#[test]
fn an_adapter_of_zeros_is_the_bare_encoder() {
    let bare = hidden_states(MODEL.encoder(), None);
    for method in METHODS {
        let zero = TaskParameters::initialise(&config(method, 2), MODEL.encoder(), 0.0, 3);
        // Also where the task computes the positions' queries and keys itself, which are a constant of the base otherwise.
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
    let folder = folder(|_| {});
    write(&folder.path().join("model.safetensors"), &tensors(), Dtype::F32);
    let int8 = Model::read_in(folder.path(), "tiny-deberta", BasePrecision::Int8).unwrap();
    let mut found = Vec::new();
    for model in [&*MODEL, &int8] {
        let mut configs: Vec<AdapterConfig> = METHODS.iter().map(|method| config(*method, 3)).collect();
        configs.push(AdapterConfig { adapt_from_layer: 2, ..config(Method::Houlsby, 2) });
        configs.push(AdapterConfig {
            pooling: Pooling::First,
            head: HeadForm::Dense(AdapterActivation::Gelu),
            ..config(Method::Pfeiffer, 2)
        });
        let tasks: Vec<TaskParameters> =
            configs.iter().enumerate().map(|(seed, config)| task(config, seed as u64)).collect();
        let rows = sequences(MODEL.encoder());
        let queries: Vec<Query<'_>> = (0..3 * rows.len())
            .map(|place| Query { tokens: &rows[place % rows.len()], task: &tasks[place * 3 % tasks.len()] })
            .collect();
        let together = logits(model.encoder(), &queries);
        let alone: Vec<Vec<f32>> =
            queries.iter().flat_map(|query| logits(model.encoder(), &[*query])).collect();
        assert!(alone.iter().flatten().all(|value| value.is_finite()));
        assert_eq!(bits(&together), bits(&alone));
        found.push(together.concat());
    }
    let norm = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let differences: Vec<f32> = found[0].iter().zip(&found[1]).map(|(a, b)| a - b).collect();
    // As in `int8.rs`: each product is off by about one hundredth of its size.
    let off = norm(&differences) / norm(&found[0]);
    assert!(off > 0.0 && off < 0.05, "{off}");
}

#[test]
fn logits_and_gradients_from_what_is_kept_are_those_of_the_whole_network() {
    let (encoder, rows) = (MODEL.encoder(), sequences(MODEL.encoder()));
    let dropout = EncoderDropout::training(&encoder.config, 7, 3);
    let targets: Vec<Target<'_>> = (0..rows.len()).map(|row| Target::Class(row % 3)).collect();
    let mut configs: Vec<AdapterConfig> = (1..LAYERS).map(upper).collect();
    configs.extend([Method::TopLayers(1), Method::TopLayers(2)].map(|method| config(method, 3)));
    for config in configs {
        let task = task(&config, 1);
        let Some(Constant::States(layer)) = Constant::of(task.layout()) else { panic!("{config:?}") };
        let batch = PackedBatch::new(&rows);
        let kept = Constant::States(layer).compute(encoder, &batch);
        let whole = answers(encoder, &task, &rows);
        let mut engine = GradientEngine::default();
        let (loss, gradients) = engine.compute(encoder, &task, &batch, &targets, &dropout);
        let expected = (loss, gradients.to_vec());
        let batch = batch.with_states(layer, kept);
        let found = batch_logits(encoder, &batch, &vec![&task; rows.len()]);
        assert_eq!(bits(&found), bits(&whole), "{config:?}");
        let (loss, gradients) = engine.compute(encoder, &task, &batch, &targets, &dropout);
        assert!((loss, gradients.to_vec()) == expected, "{config:?}");
    }
    for method in [Method::LayerNorm, Method::Bias, Method::Full] {
        assert!(Constant::of(task(&config(method, 3), 1).layout()).is_none(), "{method}");
    }
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
    let (weights, bare) = ("model.safetensors", self::folder(|_| {}));
    write(&bare.path().join(weights), &tensors(), Dtype::F32);
    let changes = [
        ("max_relative_positions", json!(48)),
        ("pos_att_type", json!("c2p")),
        ("pos_att_type", json!(["p2c"])),
        ("norm_rel_ebd", json!("none")),
        ("position_biased_input", json!(true)),
        ("layer_norm_eps", json!(1e-3)),
    ];
    for (field, value) in changes {
        let other = self::folder(|config| config[field] = value.clone());
        std::fs::copy(bare.path().join(weights), other.path().join(weights)).unwrap();
        let other = Model::read(other.path(), "model").unwrap();
        let error = Adapter::load(&path, &other).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(&format!("`{field}`")), "{field}: {error}");
        assert!(hidden_states(other.encoder(), None) != hidden_states(MODEL.encoder(), None), "{field}");
    }
    // What was written in another way is the same model.
    let same = self::folder(|config| {
        config["pos_att_type"] = json!(["c2p", "p2c"]);
        config["max_relative_positions"] = json!(64);
        config["legacy"] = json!(true);
        config["pooler_hidden_act"] = json!("gelu");
    });
    std::fs::copy(bare.path().join(weights), same.path().join(weights)).unwrap();
    Adapter::load(&path, &Model::read(same.path(), "model").unwrap()).unwrap();
    // An adapter that does not say is not taken for one that does.
    let manifest = path.join(MANIFEST_FILE);
    let mut json: Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    let sealed = json["base"]["config"].as_object_mut().unwrap();
    assert_eq!(sealed.len(), 5 + 5);
    sealed.remove("pos_att_type").unwrap();
    std::fs::write(&manifest, json.to_string()).unwrap();
    assert!(Adapter::load(&path, &MODEL).is_err());
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads_and_leaves_the_encoder_alone() {
    check_bytes(&MODEL, &METHODS);
}
