//! Any adapter that there can be, written and read: every method on its widths and layers, every head, every kind of task, any
//! names, any numbers. What comes back is what was sealed, to the last bit, and is written as the same bytes again. On the tiny
//! random model that `reference/tiny_bert.py` wrote.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use grafter::adapter::{
    Adapter, AdapterActivation, AdapterConfig, BaseRecord, Bottleneck, CARD_FILE, FORMAT_VERSION, HeadForm,
    ImportRecord, MANIFEST_FILE, Manifest, Method, Pooling, ScoreScale, TaskLayout, TaskRecord, WEIGHTS_FILE,
    read_manifest,
};
use grafter::calibration::Calibration;
use grafter::data::TaskKind;
use grafter::digest::sha256_hex;
use grafter::model::Model;
use grafter::random::Random;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use safetensors::tensor::{Dtype, TensorView};

static MODEL: LazyLock<Model> = LazyLock::new(|| Model::read(&model_folder(), "tiny-bert").unwrap());

const LAYERS: usize = 2;

fn model_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-bert")
}

fn activation() -> impl Strategy<Value = AdapterActivation> {
    use AdapterActivation::{Gelu, GeluTanh, Relu, Silu, Tanh};
    prop::sample::select(vec![Relu, Gelu, GeluTanh, Silu, Tanh])
}

/// What fits the tiny model, for a task whose pooling and number of outputs are known later.
fn config() -> impl Strategy<Value = AdapterConfig> {
    let widths =
        prop::collection::vec(0..5_usize, LAYERS).prop_filter("a width", |widths| widths != &[0; LAYERS]);
    let grafted = prop_oneof![
        (1..9_usize, 0..LAYERS).prop_map(|(width, layer)| (Bottleneck::Same(width), layer)),
        widths.prop_map(|widths| (Bottleneck::Layers(widths), 0)),
    ];
    let adapters = (prop::sample::select(vec![Method::Houlsby, Method::Pfeiffer]), grafted, any::<bool>())
        .prop_map(|(method, (bottleneck, layer), freeze)| {
            (method, bottleneck, layer, freeze && method == Method::Houlsby)
        });
    let without = vec![
        Method::Full,
        Method::TopLayers(1),
        Method::TopLayers(2),
        Method::LayerNorm,
        Method::Bias,
        Method::Head,
    ];
    let others = prop::sample::select(without).prop_map(|method| (method, Bottleneck::Same(64), 0, false));
    let head = prop_oneof![Just(HeadForm::Linear), activation().prop_map(HeadForm::Dense)];
    let pooling = prop::sample::select(vec![Pooling::Cls, Pooling::First, Pooling::Mean]);
    (prop_oneof![adapters, others], activation(), pooling, head).prop_map(
        |((method, bottleneck, adapt_from_layer, freeze_layernorm), activation, pooling, head)| {
            AdapterConfig {
                method,
                bottleneck,
                activation,
                adapt_from_layer,
                freeze_layernorm,
                pooling,
                head,
                outputs: 0,
            }
        },
    )
}

/// Names as no program would choose them: quotes, backslashes, control characters, other alphabets, nothing at all.
fn name() -> impl Strategy<Value = String> {
    let odd = [
        "",
        " ",
        "\"",
        "\\",
        "\\u0000",
        "\0",
        "a\nb",
        "\u{1f}",
        "|",
        "`",
        "<b>&",
        "\u{202e}b",
        "é",
        "e\u{301}",
        "🦉",
        "null",
    ];
    prop_oneof![prop::sample::select(odd.to_vec()).prop_map(str::to_owned), any::<String>()]
}

/// Two or more different names.
fn names() -> impl Strategy<Value = Vec<String>> {
    prop::collection::btree_set(name(), 2..7)
        .prop_map(|names| names.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
}

/// A task of every kind.
fn task() -> impl Strategy<Value = TaskRecord> {
    let record = |kind, pair, labels| TaskRecord { kind, pair, labels, scores: None, no_answer: false };
    let labelled = vec![TaskKind::Classification, TaskKind::MultiLabel];
    let kinds = prop::collection::btree_set("[^\0]{1,6}", 1..4);
    let entities = kinds.prop_map(move |kinds| {
        let tags = kinds.iter().flat_map(|kind| [format!("B-{kind}"), format!("I-{kind}")]);
        record(TaskKind::Entities, false, ["O".to_owned()].into_iter().chain(tags).collect())
    });
    let finite = || prop::num::f32::ANY.prop_filter("finite", |value| value.is_finite());
    let scale = (finite(), finite().prop_filter("above 0", |value| *value > 0.0));
    prop_oneof![
        (prop::sample::select(labelled), any::<bool>(), names())
            .prop_map(move |(kind, pair, labels)| record(kind, pair, labels)),
        names().prop_map(move |labels| record(TaskKind::Tags, false, labels)),
        entities,
        (any::<bool>(), scale).prop_map(move |(pair, (mean, std))| TaskRecord {
            scores: Some(ScoreScale { mean, std }),
            ..record(TaskKind::Regression, pair, Vec::new())
        }),
        any::<bool>().prop_map(move |pair| record(TaskKind::MultipleChoice, pair, Vec::new())),
        any::<bool>().prop_map(move |no_answer| TaskRecord {
            no_answer,
            ..record(TaskKind::QuestionAnswering, true, Vec::new())
        }),
    ]
}

/// What was fitted to a task, of one that it can be fitted to: any numbers in the range.
fn fitted(task: &TaskRecord, numbers: &[f64]) -> (Option<Calibration>, Option<Vec<f64>>) {
    match task.kind {
        TaskKind::Classification => {
            let [error_before, error_after] = [numbers[1], numbers[2]];
            (Some(Calibration { temperature: numbers[0] + 1e-300, rows: 7, error_before, error_after }), None)
        }
        TaskKind::MultiLabel => {
            (None, Some(numbers.iter().cycle().take(task.labels.len()).copied().collect()))
        }
        TaskKind::QuestionAnswering if task.no_answer => (None, Some(vec![numbers[0] * 1e300])),
        _ => (None, None),
    }
}

/// Finite numbers of all sizes, those among them that a file in text would round or lose.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let special = [
        0.0,
        -0.0,
        f32::MIN_POSITIVE,
        f32::from_bits(1),
        -f32::from_bits(3),
        f32::MAX,
        f32::MIN,
        f32::EPSILON,
    ];
    let mut random = Random::new(seed);
    (0..count)
        .map(|_| {
            let bits = random.bits();
            let any = f32::from_bits((bits >> 32) as u32);
            if any.is_finite() && !bits.is_multiple_of(5) {
                any
            } else {
                special[bits as usize % special.len()]
            }
        })
        .collect()
}

/// Everything about an adapter but its numbers.
fn described() -> impl Strategy<Value = Manifest> {
    let texts = (any::<String>(), name(), name(), prop::option::of(name()));
    let files = prop::collection::btree_map(name(), "[0-9a-f]{64}", 0..3);
    let numbers = (prop::collection::vec(0.0..=1.0_f64, 7), any::<bool>());
    (config(), task(), 3..=64_usize, numbers, texts, files).prop_map(
        |(config, task, max_length, (numbers, fit), (tool, format, name, base), files)| {
            let pooling = if task.kind.reads_words() { Pooling::Words } else { config.pooling };
            let (calibration, thresholds) = if fit { fitted(&task, &numbers) } else { (None, None) };
            Manifest {
                format_version: FORMAT_VERSION,
                tool,
                max_length,
                stride: (task.kind == TaskKind::QuestionAnswering).then_some(max_length / 3),
                adapter: AdapterConfig { pooling, outputs: task.outputs(), ..config },
                task,
                base: BaseRecord { name: format.clone(), ..BaseRecord::of(&MODEL) },
                trained_parameters: 0,
                training: None,
                imported: Some(ImportRecord { format, name, base, files }),
                calibration,
                thresholds,
                weights_sha256: String::new(),
            }
        },
    )
}

/// Writes a folder by hand, with the tensors under the names of the list; nothing of the code that saves takes part.
fn write_by_hand(folder: &Path, manifest: &mut Manifest, values: &[f32], layout: &TaskLayout) {
    let tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)> = layout
        .list()
        .specs()
        .iter()
        .map(|spec| {
            let bytes = values[spec.range.clone()].iter().flat_map(|value| value.to_le_bytes()).collect();
            (spec.name.clone(), (spec.shape.clone(), bytes))
        })
        .collect();
    let views = tensors
        .iter()
        .map(|(name, (shape, bytes))| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    let bytes = safetensors::serialize(views, None).unwrap();
    manifest.trained_parameters = values.len();
    manifest.weights_sha256 = sha256_hex(&bytes);
    std::fs::create_dir(folder).unwrap();
    std::fs::write(folder.join(WEIGHTS_FILE), bytes).unwrap();
    std::fs::write(folder.join(MANIFEST_FILE), serde_json::to_vec(&*manifest).unwrap()).unwrap();
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_adapter_comes_back_as_it_was_sealed(manifest in described(), seed in any::<u64>()) {
        let mut manifest = manifest;
        prop_assert_eq!(manifest.adapter.check_on(&MODEL.encoder().config), Ok(()));
        let layout = TaskLayout::new(&manifest.adapter, &MODEL.encoder().config);
        let values = values(layout.list().len(), seed);
        let folder = tempfile::tempdir().unwrap();
        let [by_hand, saved, again] = ["by hand", "saved", "again"].map(|name| folder.path().join(name));
        write_by_hand(&by_hand, &mut manifest, &values, &layout);

        let first = Adapter::load(&by_hand, &MODEL).unwrap();
        prop_assert_eq!(first.manifest(), &manifest);
        prop_assert_eq!(bits(first.parameters().values()), bits(&values));
        first.save(&saved, false).unwrap();
        prop_assert_eq!(&read_manifest(&saved).unwrap(), &manifest);
        let second = Adapter::load(&saved, &MODEL).unwrap();
        prop_assert_eq!(bits(second.parameters().values()), bits(&values));
        second.save(&again, false).unwrap();
        for file in [WEIGHTS_FILE, MANIFEST_FILE, CARD_FILE] {
            let read = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
            prop_assert!(read(&saved) == read(&again), "{}", file);
        }
    }
}

/// The property above holds of what is drawn: everything is.
#[test]
fn every_kind_of_adapter_occurs() {
    let mut runner = TestRunner::deterministic();
    let (mut methods, mut kinds, mut dense) = (BTreeMap::new(), BTreeMap::new(), 0);
    for _ in 0..200 {
        let manifest = described().new_tree(&mut runner).unwrap().current();
        *methods.entry(manifest.adapter.method).or_insert(0) += 1;
        *kinds.entry(manifest.task.kind.name()).or_insert(0) += 1;
        dense += usize::from(manifest.adapter.head != HeadForm::Linear);
    }
    assert_eq!((methods.len(), kinds.len()), (8, 7), "{methods:?} {kinds:?}");
    assert!((50..150).contains(&dense), "{dense}");
}
