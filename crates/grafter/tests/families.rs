//! Families of encoders and the ways in which checkpoints store them, on the tiny random BERT that `reference/tiny_bert.py` wrote: put
//! under the names of another family, its numbers give the same answers to the last bit. That the families compute what
//! PyTorch computes is for `parity.rs`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod checkpoint;
mod lengths;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use checkpoint::{Tensors, folder_like, model_of, tensors_of, write};
use grafter::adapter::{Adapter, Method};
use grafter::data::{Dataset, Row, Source, TaskKind};
use grafter::digest::sha256_hex;
use grafter::encoder::{EncoderDropout, Family};
use grafter::graft::{GraftOptions, graft};
use grafter::model::Model;
use grafter::predict::{Query, logits, row_logits};
use grafter::row_encoding::encode_row;
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use tempfile::TempDir;

const HIDDEN: usize = 32;

fn tiny_bert() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-bert")
}

fn tensors() -> Tensors {
    tensors_of(&tiny_bert())
}

fn folder(change: impl FnOnce(&mut Value)) -> TempDir {
    folder_like(&tiny_bert(), change)
}

fn refusal(folder: &TempDir) -> String {
    let error = Model::read(folder.path(), "model").map(|_| ()).expect_err("it must be refused");
    error.to_string().replace(&folder.path().display().to_string(), "DIR")
}

/// The tiny BERT without token types: all tokens are of type 0, whose row stands for nothing.
fn untyped_bert() -> (Model, Tensors) {
    let mut tensors = tensors();
    tensors.get_mut("embeddings.token_type_embeddings.weight").unwrap().1.fill(0.0);
    (model_of(&folder(|_| {}), &tensors), tensors)
}

fn distilbert() -> Model {
    let (_, bert) = untyped_bert();
    let renamed = |name: &str| {
        if name.contains("token_type") || name.starts_with("pooler.") {
            return None;
        }
        let mut name = name.replace("encoder.layer.", "transformer.layer.");
        for (theirs, ours) in [
            ("attention.self.query", "attention.q_lin"),
            ("attention.self.key", "attention.k_lin"),
            ("attention.self.value", "attention.v_lin"),
            ("attention.output.dense", "attention.out_lin"),
            ("attention.output.LayerNorm", "sa_layer_norm"),
            ("intermediate.dense", "ffn.lin1"),
            ("output.dense", "ffn.lin2"),
            ("output.LayerNorm", "output_layer_norm"),
        ] {
            name = name.replace(theirs, ours);
        }
        Some(format!("distilbert.{name}"))
    };
    let tensors = bert.into_iter().filter_map(|(name, tensor)| Some((renamed(&name)?, tensor))).collect();
    let folder = folder(|config| {
        let get = |field: &str| config[field].clone();
        *config = json!({
            "model_type": "distilbert", "vocab_size": get("vocab_size"), "dim": get("hidden_size"),
            "n_layers": get("num_hidden_layers"), "n_heads": get("num_attention_heads"),
            "hidden_dim": get("intermediate_size"), "activation": get("hidden_act"),
            "max_position_embeddings": get("max_position_embeddings"), "layer_norm_eps": 0.5,
        });
    });
    model_of(&folder, &tensors)
}

fn roberta(model_type: &str) -> Model {
    let (_, mut tensors) = untyped_bert();
    tensors.get_mut("embeddings.token_type_embeddings.weight").unwrap().0[0] = 1;
    tensors.get_mut("embeddings.token_type_embeddings.weight").unwrap().1.truncate(HIDDEN);
    // Two rows that no token reads.
    let positions = tensors.get_mut("embeddings.position_embeddings.weight").unwrap();
    positions.0[0] += 2;
    positions.1.splice(0..0, [1e30; 2 * HIDDEN]);
    let tensors = tensors.into_iter().map(|(name, tensor)| (format!("roberta.{name}"), tensor)).collect();
    let folder = folder(|config| {
        config["model_type"] = json!(model_type);
        config["pad_token_id"] = json!(1);
        config["type_vocab_size"] = json!(1);
        config["max_position_embeddings"] = json!(config["max_position_embeddings"].as_u64().unwrap() + 2);
    });
    model_of(&folder, &tensors)
}

fn electra() -> Model {
    let (_, tensors) = untyped_bert();
    let tensors = tensors.into_iter().map(|(name, tensor)| (format!("electra.{name}"), tensor)).collect();
    let folder = folder(|config| {
        config["model_type"] = json!("electra");
        config["embedding_size"] = config["hidden_size"].clone();
    });
    model_of(&folder, &tensors)
}

/// With one number by distance for each of its heads, or none at all.
fn mpnet(by_distance: impl Fn(usize) -> f32) -> Model {
    let (_, bert) = untyped_bert();
    let renamed = |name: &str| {
        if name.contains("token_type") {
            return None;
        }
        let mut name = name.to_owned();
        for (theirs, ours) in [
            ("attention.self.query", "attention.attn.q"),
            ("attention.self.key", "attention.attn.k"),
            ("attention.self.value", "attention.attn.v"),
            ("attention.output.dense", "attention.attn.o"),
            ("attention.output.LayerNorm", "attention.LayerNorm"),
        ] {
            name = name.replace(theirs, ours);
        }
        Some(format!("mpnet.{name}"))
    };
    let mut tensors: Tensors =
        bert.into_iter().filter_map(|(name, tensor)| Some((renamed(&name)?, tensor))).collect();
    let positions = tensors.get_mut("mpnet.embeddings.position_embeddings.weight").unwrap();
    positions.0[0] += 2;
    positions.1.splice(0..0, [1e30; 2 * HIDDEN]);
    let folder = folder(|config| {
        config["model_type"] = json!("mpnet");
        config["pad_token_id"] = json!(1);
        config["relative_attention_num_buckets"] = json!(32);
        config["max_position_embeddings"] = json!(config["max_position_embeddings"].as_u64().unwrap() + 2);
    });
    let config = std::fs::read(folder.path().join("config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    let heads = config["num_attention_heads"].as_u64().unwrap() as usize;
    let bias = (0..32 * heads).map(by_distance).collect();
    tensors.insert("mpnet.encoder.relative_attention_bias.weight".to_owned(), (vec![32, heads], bias));
    model_of(&folder, &tensors)
}

fn rows() -> Dataset {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.tsv");
    let rows = "good film\tx\nbad film\ty\na good story\tx\na bad story\ty\n".repeat(4);
    std::fs::write(&path, format!("text\tlabel\n{rows}")).unwrap();
    Dataset::read_train(&Source::new(path), TaskKind::Classification).unwrap()
}

fn trained(model: &Model, method: Method) -> Adapter {
    let mut options = GraftOptions { method, bottleneck: 4, max_length: 16, ..GraftOptions::default() };
    options.train.epochs = Some(2);
    options.train.dropout = false;
    graft(model, &rows(), &rows(), &options, &mut ()).unwrap().adapter
}

#[test]
fn another_family_with_the_same_numbers_gives_the_same_answers() {
    let (bert, _) = untyped_bert();
    let texts = [Row::single("a good film"), Row::single("bad music, and a very long text of many words")];
    for method in [
        Method::Houlsby,
        Method::Pfeiffer,
        Method::Full,
        Method::TopLayers(1),
        Method::LayerNorm,
        Method::Bias,
        Method::Head,
    ] {
        let expected = trained(&bert, method);
        let answers = row_logits(&bert, &expected, &texts).unwrap();
        for model in [distilbert(), roberta("roberta"), roberta("xlm-roberta"), electra(), mpnet(|_| 0.0)] {
            let family = model.encoder().config.family;
            let adapter = trained(&model, method);
            // Where the tables train, that of the token types does too, and moves all answers.
            if method != Method::Full {
                assert_eq!(row_logits(&model, &adapter, &texts).unwrap(), answers, "{family}, {method}");
            }
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("adapter");
            adapter.save(&path, false).unwrap();
            let read = Adapter::load(&path, &model).unwrap();
            assert_eq!(read.parameters().values(), adapter.parameters().values());
            assert!(Adapter::load(&path, &bert).is_err(), "{family} is another base");
        }
    }
}

#[test]
fn any_mix_of_lengths_is_answered_as_each_row_alone() {
    let by_distance = |place: usize| (place % 7) as f32 * 0.5 - 1.0;
    for model in [distilbert(), roberta("roberta"), electra(), mpnet(by_distance)] {
        lengths::check_any_lengths(&model);
    }
}

/// The bias by distance is a part of every answer, the same whatever stands beside a text, and a task that trains all of the
/// encoder has one of its own.
#[test]
fn a_bias_by_distance_belongs_to_the_base_or_to_a_task() {
    let model = mpnet(|place| (place % 7) as f32 * 0.5 - 1.0);
    let texts = [Row::single("a good film"), Row::single("bad music, and a very long text of many words")];
    let head = trained(&model, Method::Head);
    let full = trained(&model, Method::Full);
    let answers = |model: &Model, adapter: &Adapter| row_logits(model, adapter, &texts).unwrap();
    for adapter in [&head, &full] {
        let together = answers(&model, adapter);
        for (text, together) in texts.iter().zip(&together) {
            let alone = row_logits(&model, adapter, std::slice::from_ref(text)).unwrap();
            assert_eq!(alone, std::slice::from_ref(together));
        }
    }
    let own = full.parameters().relative_bias().unwrap();
    assert_eq!(own.len(), 32 * model.encoder().config.num_attention_heads);
    assert!(head.parameters().relative_bias().is_none());
    // Near distances occur in the training rows, those past 128 tokens do not: only weight decay could move them.
    let frozen = |place: usize| (place % 7) as f32 * 0.5 - 1.0;
    assert_ne!(own[0], frozen(0));
    // Both tasks in one batch.
    let tokens: Vec<_> = texts.iter().map(|text| encode_row(&model, text, 16).unwrap()).collect();
    let queries: Vec<Query<'_>> = tokens
        .iter()
        .flat_map(|tokens| [&head, &full].map(|adapter| Query { tokens, task: adapter.parameters() }))
        .collect();
    let mixed = logits(model.encoder(), &queries);
    let (of_head, of_full) = (answers(&model, &head), answers(&model, &full));
    assert_eq!(mixed, [of_head[0].clone(), of_full[0].clone(), of_head[1].clone(), of_full[1].clone()]);
    // The same numbers on a base with another bias.
    let other = mpnet(|_| 0.0);
    let task = head.parameters();
    let queries: Vec<Query<'_>> = tokens.iter().map(|tokens| Query { tokens, task }).collect();
    assert_ne!(logits(other.encoder(), &queries), of_head);
    assert_ne!(other.encoder().digest_in_memory(), model.encoder().digest_in_memory());
    assert_eq!(other.encoder().parameter_count(), model.encoder().parameter_count());
}

#[test]
fn a_family_has_what_it_has() {
    let (distilbert, roberta) = (distilbert(), roberta("roberta"));
    let (bert, _) = untyped_bert();
    assert!(bert.encoder().has_pooler());
    for model in [&distilbert, &roberta] {
        assert!(!model.encoder().has_pooler(), "none that is read");
        assert_eq!(model.encoder().config.max_length(), bert.encoder().config.max_length());
        // What a numeric name counts: no table of types, two rows of positions more and one of types less.
        let count = model.encoder().parameter_count() as i64 - bert.encoder().parameter_count() as i64;
        let pooler = (HIDDEN * (HIDDEN + 1)) as i64;
        let rows = if model.encoder().config.family == Family::Roberta { 1 } else { -2 };
        assert_eq!(count, rows * HIDDEN as i64 - pooler);
    }
    // A pair's second text has type 1, which DistilBERT does not read and RoBERTa does not have.
    let pair = Row::pair("a good film", "a bad film");
    assert_eq!(encode_row(&distilbert, &pair, 16).unwrap().type_ids.iter().max(), Some(&1));
    assert_eq!(encode_row(&roberta, &pair, 16).unwrap().type_ids.iter().max(), Some(&0));
    // DistilBERT has an epsilon of its own, whatever the file says, and a rate for the head.
    let config = &distilbert.encoder().config;
    assert_eq!((config.layer_norm_eps, config.classifier_dropout), (1e-12, Some(0.2)));
    // What RoBERTa's file leaves out.
    assert_eq!((roberta.encoder().config.first_position, bert.encoder().config.first_position), (2, 0));
    // Nothing is dropped after DistilBERT's attention.
    let rates = |model: &Model| {
        let dropout = EncoderDropout::training(&model.encoder().config, 1, 0);
        (dropout.attention_output.is_none(), dropout.hidden.is_none())
    };
    assert_eq!([rates(&distilbert), rates(&roberta)], [(true, false), (false, false)]);
}

#[test]
fn settings_of_a_family_that_are_not_supported() {
    let refused = |change: fn(&mut Value)| refusal(&folder(change));
    assert_eq!(
        refused(|config| config["model_type"] = json!("t5")),
        "`DIR/config.json`: `model_type` is `t5`; supported: `bert`, `roberta`, `xlm-roberta`, `distilbert`, `electra`, `mpnet`, `modernbert`, `deberta-v2`"
    );
    assert_eq!(
        refused(|config| {
            config["model_type"] = json!("roberta");
            config["pad_token_id"] = json!(0);
        }),
        "`DIR/config.json`: `pad_token_id` is `0`; supported: `1`"
    );
    assert_eq!(
        refused(|config| {
            config["model_type"] = json!("roberta");
            config["pad_token_id"] = json!(1);
            config["max_position_embeddings"] = json!(2);
        }),
        "`DIR/config.json`: `max_position_embeddings` is 2, expected 3 to 1048576"
    );
    assert_eq!(
        refused(|config| config["model_type"] = json!("electra")),
        "`DIR/config.json`: `embedding_size` is `128`; supported: 1 to `hidden_size`"
    );
    assert_eq!(
        refused(|config| {
            config["model_type"] = json!("mpnet");
            config["relative_attention_num_buckets"] = json!(16);
        }),
        "`DIR/config.json`: `relative_attention_num_buckets` is `16`; supported: `32`"
    );
    // By the names that the file has.
    let distilbert = |name: &'static str, value: Value| {
        refusal(&folder(|config| {
            *config = json!({
                "model_type": "distilbert", "vocab_size": 9, "hidden_size": 6, "num_hidden_layers": 1,
                "num_attention_heads": 3, "hidden_dim": 8, "max_position_embeddings": 4,
            });
            config[name] = value;
        }))
    };
    assert_eq!(
        distilbert("num_attention_heads", json!(5)),
        "`DIR/config.json`: `n_heads` is 5, expected a divisor of `dim` 6"
    );
    assert!(
        distilbert("activation", json!("x"))
            .starts_with("`DIR/config.json`: `activation` is `x`; supported: ")
    );
    assert_eq!(
        distilbert("seq_classif_dropout", json!(1.5)),
        "`DIR/config.json`: `seq_classif_dropout` is 1.5, expected 0 or more and less than 1"
    );
    // What another family would mind.
    let bert = folder(|config| {
        config["pad_token_id"] = json!(-1);
        config["embedding_size"] = json!(7);
    });
    assert!(model_of(&bert, &tensors()).encoder().has_pooler());
    let message = refused(|config| config["model_type"] = json!("distilbert"));
    assert_eq!(
        message,
        "`DIR/config.json` is not an encoder's configuration: missing field `hidden_dim` at line 1 column "
            .to_owned()
            + message.rsplit(' ').next().unwrap()
    );
}

#[test]
fn fewer_bits_are_read_as_the_numbers_that_they_are() {
    for (dtype, name) in [(Dtype::F16, "F16"), (Dtype::BF16, "BF16")] {
        let folder = folder(|_| {});
        let path = folder.path().join("model.safetensors");
        write(&path, &tensors(), dtype);
        let short = Model::read(folder.path(), "model").unwrap();
        assert_eq!(short.encoder().stored_as(), name);
        let mut rounded = tensors();
        for value in rounded.values_mut().flat_map(|(_, values)| values) {
            *value = if dtype == Dtype::F16 {
                f16::from_f32(*value).into()
            } else {
                bf16::from_f32(*value).into()
            };
        }
        assert_ne!(rounded, tensors());
        let whole = model_of(&folder, &rounded);
        assert_eq!(whole.encoder().stored_as(), "F32");
        assert_eq!(whole.encoder().digest_in_memory(), short.encoder().digest_in_memory());
        assert_ne!(whole.encoder().weights_sha256(), short.encoder().weights_sha256());
    }
}

#[test]
fn what_else_a_file_holds_is_passed_over() {
    let folder = folder(|_| {});
    // As `bert-base-uncased` has it: a model with a head, from TensorFlow, and a counter.
    let renamed = |name: &str| {
        let name =
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        format!("bert.{name}")
    };
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors()
        .into_iter()
        .map(|(name, (shape, values))| {
            (renamed(&name), shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
        })
        .collect();
    let counter = [0u8; 16];
    let views = bytes
        .iter()
        .map(|(name, shape, bytes)| {
            (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
        })
        .chain([(
            "bert.embeddings.position_ids",
            TensorView::new(Dtype::I64, vec![1, 2], &counter).unwrap(),
        )]);
    let path = folder.path().join("model.safetensors");
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
    let model = Model::read(folder.path(), "model").unwrap();
    assert_eq!(model.encoder().stored_as(), "F32");
    let plain = Model::read(&tiny_bert(), "model").unwrap();
    assert_eq!(model.encoder().digest_in_memory(), plain.encoder().digest_in_memory());
}

/// The tiny BERT in two files and their index.
fn sharded() -> TempDir {
    let folder = folder(|_| {});
    let (mut first, mut second) = (tensors(), tensors());
    first.retain(|name, _| name.starts_with("encoder.layer.0"));
    second.retain(|name, _| !name.starts_with("encoder.layer.0"));
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let mut map = BTreeMap::new();
    for (name, tensors) in names.into_iter().zip([&first, &second]) {
        write(&folder.path().join(name), tensors, Dtype::F32);
        map.extend(tensors.keys().map(|tensor| (tensor.clone(), name)));
    }
    write_index(&folder, &json!({ "metadata": {}, "weight_map": map }));
    folder
}

fn write_index(folder: &TempDir, index: &Value) {
    std::fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
}

#[test]
fn weights_in_several_files_are_those_in_one() {
    let folder = sharded();
    let whole = Model::read(&tiny_bert(), "model").unwrap();
    let several = Model::read(folder.path(), "model").unwrap();
    assert_eq!(several.encoder().digest_in_memory(), whole.encoder().digest_in_memory());
    let digest = |file: &str| sha256_hex(&std::fs::read(folder.path().join(file)).unwrap());
    let both = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"].map(digest).concat();
    assert_eq!(several.encoder().weights_sha256(), sha256_hex(both.as_bytes()));
    assert_eq!(grafter::hub::cached(folder.path().to_str().unwrap()).as_deref(), Some(folder.path()));
    // The same tensor twice is a mistake of whoever made the files.
    let twice = sharded();
    write(&twice.path().join("model-00001-of-00002.safetensors"), &tensors(), Dtype::F32);
    let told = refusal(&twice);
    assert!(told.starts_with("`DIR/model-00002-of-00002.safetensors`: it holds tensor `"), "{told}");
    // A single file comes first.
    write(&folder.path().join("model.safetensors"), &tensors(), Dtype::F32);
    let single = Model::read(folder.path(), "model").unwrap();
    assert_ne!(single.encoder().weights_sha256(), several.encoder().weights_sha256());
}

#[test]
fn an_index_names_files_beside_it_and_nothing_else() {
    for name in ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "model.bin"] {
        let folder = sharded();
        write_index(&folder, &json!({ "weight_map": { "embeddings.LayerNorm.weight": name } }));
        assert_eq!(
            refusal(&folder),
            format!(
                "`DIR/model.safetensors.index.json`: `{name}` is not the name of a safetensors file beside it"
            )
        );
    }
    let folder = sharded();
    write_index(&folder, &json!({ "weight_map": {} }));
    assert_eq!(refusal(&folder), "`DIR/model.safetensors.index.json`: it lists no file");
    write_index(&folder, &json!([]));
    assert!(
        refusal(&folder).starts_with("`DIR/model.safetensors.index.json`: invalid"),
        "{}",
        refusal(&folder)
    );
    let folder = sharded();
    std::fs::remove_file(folder.path().join("model-00002-of-00002.safetensors")).unwrap();
    assert!(refusal(&folder).starts_with("cannot read `DIR/model-00002-of-00002.safetensors`: "));
    let folder = sharded();
    write_index(&folder, &json!({ "weight_map": { "x": "model-00001-of-00002.safetensors" } }));
    // The only file that is listed lacks it.
    assert_eq!(
        refusal(&folder),
        "`DIR/model-00001-of-00002.safetensors` has no tensor `embeddings.word_embeddings.weight`"
    );
    let folder = sharded();
    let mut fewer = tensors();
    fewer.retain(|name, _| !name.starts_with("encoder.layer.0") && !name.contains("token_type"));
    write(&folder.path().join("model-00002-of-00002.safetensors"), &fewer, Dtype::F32);
    assert_eq!(
        refusal(&folder),
        "`DIR/model.safetensors.index.json` has no tensor `embeddings.token_type_embeddings.weight`"
    );
}
