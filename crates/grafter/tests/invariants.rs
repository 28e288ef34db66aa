//! What must hold whatever the numbers are: the same seed gives the same bytes on any number of threads, a row in a
//! batch is answered as it is alone, the encoder stays frozen, an adapter file gives back what was trained, and a run
//! that ends early keeps its best evaluation. All on a tiny random model that `reference/tiny_bert.py` wrote.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use grafter::ablation::Ablation;
use grafter::adapter::{
    Adapter, AdapterActivation, AdapterConfig, Bottleneck, CARD_FILE, HeadForm, MANIFEST_FILE, Method,
    Pooling, TaskLayout, TaskParameters, WEIGHTS_FILE,
};
use grafter::batch::{PackedBatch, TokenIds};
use grafter::data::{Dataset, LabelledFile, LabelledRows, Row, Source, Targets, TaskKind};
use grafter::digest::sha256_file;
use grafter::encoded::EncodedRows;
use grafter::encoder::activations::{Activations, Keep, Segment};
use grafter::encoder::{Encoder, EncoderDropout, ForwardPass};
use grafter::eval::{Answers, evaluate};
use grafter::forgetting::SequentialFineTuning;
use grafter::gradient::{GradientEngine, Target};
use grafter::graft::{Beginning, GraftError, GraftOptions, Grafted, graft, graft_from};
use grafter::metrics::{Metric, Scores};
use grafter::model::Model;
use grafter::predict::{Prediction, Query, logits, predict, row_logits};
use grafter::prefix::NotKept;
use grafter::random::Random;
use grafter::store::Budget;
use grafter::train::{
    Ending, EvaluationReport, StepReport, TrainData, TrainError, TrainObserver, TrainOptions, TrainState,
    train,
};
use proptest::prelude::*;
use safetensors::SafeTensors;

static MODEL: LazyLock<Model> = LazyLock::new(|| Model::read(&model_folder(), "tiny-bert").unwrap());

fn model_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-bert")
}

/// Rows whose label is decided by one word among fillers.
fn decidable_by_a_word(rows: usize, fillers: usize, words: &[(&str, &str)], seed: u64) -> String {
    const FILLERS: [&str; 12] =
        ["the", "film", "was", "and", "a", "story", "actor", "it", "music", "I", "saw", "an"];
    let mut random = Random::new(seed);
    let mut pick = |below: usize| (random.bits() % below as u64) as usize;
    let mut text = "text\tlabel\n".to_owned();
    for row in 0..rows {
        let (word, label) = words[row % words.len()];
        let mut sentence: Vec<&str> = (0..fillers + pick(3)).map(|_| FILLERS[pick(FILLERS.len())]).collect();
        sentence.insert(pick(sentence.len() + 1), word);
        text += &format!("{}\t{label}\n", sentence.join(" "));
    }
    text
}

fn read(text: &str, kind: TaskKind) -> Dataset {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.tsv");
    std::fs::write(&path, text).unwrap();
    Dataset::read_train(&Source::new(path), kind).unwrap()
}

const OPINIONS: [(&str, &str); 4] =
    [("good", "positive"), ("bad", "negative"), ("wonderful", "positive"), ("terrible", "negative")];

/// Training and dev rows of one task.
fn opinions() -> (Dataset, Dataset) {
    let rows = |count, seed| read(&decidable_by_a_word(count, 2, &OPINIONS, seed), TaskKind::Classification);
    (rows(96, 1), rows(32, 2))
}

fn options() -> GraftOptions {
    let defaults = GraftOptions::default();
    GraftOptions {
        bottleneck: 8,
        max_length: 48,
        train: TrainOptions { epochs: Some(2), learning_rate: Some(5e-3), ..defaults.train.clone() },
        ..defaults
    }
}

/// What makes a random encoder learn: it has seen no language, so every word's meaning must come from the rows.
fn thorough() -> GraftOptions {
    let mut options = options();
    options.bottleneck = 16;
    options.pooling = Pooling::Mean;
    options.train =
        TrainOptions { epochs: Some(20), learning_rate: Some(1e-2), dropout: false, ..options.train };
    options
}

fn config(bottleneck: usize, pooling: Pooling, outputs: usize) -> AdapterConfig {
    GraftOptions { bottleneck, pooling, ..GraftOptions::default() }.config(outputs)
}

fn bits(rows: &[Vec<f32>]) -> Vec<Vec<u32>> {
    rows.iter().map(|row| row.iter().map(|value| value.to_bits()).collect()).collect()
}

/// Token ids that are no words in particular.
fn sequence(length: usize, seed: u64) -> TokenIds {
    let mut random = Random::new(seed);
    let vocabulary = MODEL.encoder().config.vocab_size as u64;
    let ids = (0..length).map(|_| (random.bits() % vocabulary) as u32).collect();
    TokenIds {
        ids,
        type_ids: (0..length).map(|token| u32::from(token > length / 2)).collect(),
        ..TokenIds::default()
    }
}

/// Writes down what it is told, and ends the run where it is asked to.
#[derive(Default)]
struct Recorder {
    steps: Vec<StepReport>,
    evaluations: Vec<EvaluationReport>,
    not_kept: usize,
    break_at_step: Option<u64>,
    break_at_evaluation: Option<usize>,
}

impl TrainObserver for Recorder {
    fn not_kept(&mut self, _reason: &NotKept) {
        self.not_kept += 1;
    }

    fn step(&mut self, report: &StepReport) -> ControlFlow<()> {
        self.steps.push(*report);
        if self.break_at_step == Some(report.step) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn evaluation(&mut self, report: &EvaluationReport) -> ControlFlow<()> {
        self.evaluations.push(*report);
        let ended = self.break_at_evaluation == Some(self.evaluations.len());
        if ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Every method on the tiny model, which has two layers.
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

// ---------------------------------------------------------------------------------------------- the same bytes

/// `adapter.safetensors` and `adapter.json` of a run on so many threads.
fn adapter_files(method: Method, adapt_from_layer: usize, threads: usize, seed: u64) -> (Vec<u8>, Vec<u8>) {
    let rows = |count, from| read(&decidable_by_a_word(count, 18, &OPINIONS, from), TaskKind::Classification);
    let (train_rows, dev_rows) = (rows(64, 1), rows(32, 2));
    let mut options = options();
    options.method = method;
    options.adapt_from_layer = adapt_from_layer;
    options.train.batch_size = 32;
    options.train.seed = seed;
    assert!(options.train.dropout && MODEL.encoder().config.hidden_dropout_prob > 0.0, "dropout is on");
    let encoded =
        grafter::row_encoding::encode_rows(&MODEL, &train_rows.rows[..32], options.max_length).unwrap();
    assert!(PackedBatch::new(&encoded).chunks().len() >= 4, "several chunks for several threads");

    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("adapter");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        assert_eq!(rayon::current_num_threads(), threads);
        let grafted = graft(&MODEL, &train_rows, &dev_rows, &options, &mut ()).unwrap();
        grafted.adapter.save(&out, false).unwrap();
    });
    (std::fs::read(out.join(WEIGHTS_FILE)).unwrap(), std::fs::read(out.join(MANIFEST_FILE)).unwrap())
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads() {
    let adapted_from_1 = [(Method::Houlsby, 1), (Method::Pfeiffer, 1)];
    for (method, layer) in METHODS.map(|method| (method, 0)).into_iter().chain(adapted_from_1) {
        let one = adapter_files(method, layer, 1, 7);
        for threads in [2, 4] {
            let several = adapter_files(method, layer, threads, 7);
            assert!(one.0 == several.0, "{WEIGHTS_FILE} with 1 and {threads} threads");
            assert!(one.1 == several.1, "{MANIFEST_FILE} with 1 and {threads} threads");
        }
        let other_seed = adapter_files(method, layer, 2, 8);
        assert!(one.0 != other_seed.0, "another seed gives other numbers");
    }
}

#[test]
fn rows_in_memory_and_rows_read_from_files_give_the_same_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, count, seed| {
        let path = folder.path().join(name);
        std::fs::write(&path, decidable_by_a_word(count, 2, &OPINIONS, seed)).unwrap();
        Source::new(path)
    };
    let (train_file, dev_file) = (file("train.tsv", 96, 1), file("dev.tsv", 32, 2));
    let (train_rows, dev_rows) = opinions();
    let expected = graft(&MODEL, &train_rows, &dev_rows, &options(), &mut ()).unwrap();
    let train_file = LabelledFile::read_train(&train_file, TaskKind::Classification).unwrap();
    let dev_file = LabelledFile::read_eval(&dev_file, train_file.task()).unwrap();
    // All tokens in memory, and the most of them in a temporary file.
    for memory_bytes in [u64::MAX, 1_000] {
        let mut options = options();
        options.train.budget.memory_bytes = memory_bytes;
        let grafted = graft(&MODEL, &train_file, &dev_file, &options, &mut ()).unwrap();
        assert_eq!(grafted.adapter.manifest().task, expected.adapter.manifest().task);
        assert_eq!(grafted.adapter.parameters().values(), expected.adapter.parameters().values());
    }
    let in_memory = evaluate(&MODEL, &expected.adapter, &dev_rows).unwrap();
    assert_eq!(evaluate(&MODEL, &expected.adapter, &dev_file).unwrap(), in_memory);
}

// --------------------------------------------------------------------------------------- in a batch as alone

fn two_tasks() -> [TaskParameters; 2] {
    let encoder = MODEL.encoder();
    // Adapters far from zero, so that a mix-up of tasks shows in every logit.
    [
        TaskParameters::initialise(&config(3, Pooling::Cls, 2), encoder, 0.3, 1),
        TaskParameters::initialise(&config(8, Pooling::Mean, 5), encoder, 0.3, 2),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_row_in_a_batch_is_answered_as_it_is_alone(
        rows in prop::collection::vec((prop_oneof![1..=3usize, 1..=64usize], 0..2usize, any::<u64>()), 32..60)
    ) {
        let tasks = two_tasks();
        let sequences: Vec<TokenIds> = rows.iter().map(|(length, _, seed)| sequence(*length, *seed)).collect();
        let queries: Vec<Query<'_>> = rows
            .iter()
            .zip(&sequences)
            .map(|((_, task, _), tokens)| Query { tokens, task: &tasks[*task] })
            .collect();
        let together = logits(MODEL.encoder(), &queries);
        let alone: Vec<Vec<f32>> =
            queries.iter().flat_map(|query| logits(MODEL.encoder(), std::slice::from_ref(query))).collect();
        prop_assert!(alone.iter().flatten().all(|value| value.is_finite()));
        for ((_, task, _), row) in rows.iter().zip(&alone) {
            prop_assert_eq!(row.len(), tasks[*task].layout().config().outputs);
        }
        prop_assert_eq!(bits(&together), bits(&alone));
    }
}

#[test]
fn the_shortest_sequences_have_different_answers() {
    let tasks = two_tasks();
    let sequences: Vec<TokenIds> = (1..=4).map(|length| sequence(length, 11)).collect();
    let queries: Vec<Query<'_>> = sequences.iter().map(|tokens| Query { tokens, task: &tasks[1] }).collect();
    let answers: BTreeSet<Vec<u32>> = bits(&logits(MODEL.encoder(), &queries)).into_iter().collect();
    assert_eq!(answers.len(), 4, "the batch is read to the last token");
}

#[test]
fn more_rows_than_fit_into_one_pass_keep_their_order() {
    let task = &two_tasks()[0];
    let sequences: Vec<TokenIds> = (0..400).map(|row| sequence(20 + row % 45, row as u64)).collect();
    let tokens: usize = sequences.iter().map(|sequence| sequence.ids.len()).sum();
    assert!(tokens > 2 * 8192, "several passes: {tokens}");
    let queries: Vec<Query<'_>> = sequences.iter().map(|tokens| Query { tokens, task }).collect();
    let together = logits(MODEL.encoder(), &queries);
    assert_eq!(together.len(), queries.len());
    for row in (0..queries.len()).step_by(37) {
        let alone = logits(MODEL.encoder(), &queries[row..=row]);
        assert_eq!(bits(&together[row..=row]), bits(&alone), "row {row}");
    }
}

// -------------------------------------------------------------------------------------------- near identity

fn hidden_states(encoder: &Encoder, batch: &PackedBatch, task: Option<&TaskParameters>) -> Vec<f32> {
    let mut states = Vec::new();
    for chunk in batch.chunks() {
        let mut activations = Activations::default();
        let segments = [Segment::whole(&chunk, task)];
        let (segments, dropout) = (&segments, &EncoderDropout::none());
        let pass = ForwardPass { chunk: &chunk, segments, dropout, keep: Keep::Nothing };
        encoder.forward(pass, &mut activations);
        states.extend_from_slice(activations.hidden());
    }
    states
}

fn largest_difference(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max)
}

#[test]
fn a_fresh_adapter_is_nearly_the_bare_encoder() {
    let encoder = MODEL.encoder();
    let sequences: Vec<TokenIds> = (0..8).map(|row| sequence(5 + 4 * row, row as u64)).collect();
    let batch = PackedBatch::new(&sequences);
    let bare = hidden_states(encoder, &batch, None);
    let difference = |init_std: f32| {
        let relu = AdapterConfig { activation: AdapterActivation::Relu, ..config(8, Pooling::Cls, 2) };
        let task = TaskParameters::initialise(&relu, encoder, init_std, 3);
        largest_difference(&hidden_states(encoder, &batch, Some(&task)), &bare)
    };
    // With biases at zero, `W_up · relu(W_down · x)` is quadratic in the standard deviation: ten times that, a
    // hundred times the difference, up to higher orders and rounding.
    let (small, large) = (difference(3e-3), difference(3e-2));
    assert!((80.0..125.0).contains(&(large / small)), "{small} at 3e-3, {large} at 3e-2");
    // Each product of a cut normal row is at most 2σ times the 1-norm of what it reads; states are of order 1 here.
    let worst = 4.0 * 3e-3f64.powi(2) * 8.0 * 32.0 * encoder.config.num_hidden_layers as f64 * 2.0;
    assert!(small > 0.0 && small < worst, "{small}, expected less than {worst}");
}

#[test]
fn an_adapter_of_zeros_is_the_bare_encoder() {
    let encoder = MODEL.encoder();
    let sequences: Vec<TokenIds> = (1..20).map(|row| sequence(3 * row, row as u64)).collect();
    let batch = PackedBatch::new(&sequences);
    let bits = |states: Vec<f32>| states.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
    for (activation, pooling) in
        [(AdapterActivation::Relu, Pooling::Cls), (AdapterActivation::Gelu, Pooling::Mean)]
    {
        let config = AdapterConfig { activation, ..config(8, pooling, 2) };
        let zero = TaskParameters::initialise(&config, encoder, 0.0, 3);
        assert_eq!(
            bits(hidden_states(encoder, &batch, Some(&zero))),
            bits(hidden_states(encoder, &batch, None)),
            "{activation}"
        );
    }
}

// ------------------------------------------------------------------------------------ what training changes

#[test]
fn training_reaches_every_dev_row_of_a_separable_task_and_leaves_the_encoder_alone() {
    let weights = model_folder().join("model.safetensors");
    let (in_memory, on_disk) = (MODEL.encoder().digest_in_memory(), sha256_file(&weights).unwrap());
    let rows = |count, seed| read(&decidable_by_a_word(count, 2, &OPINIONS, seed), TaskKind::Classification);
    let (train_rows, dev_rows) = (rows(320, 1), rows(40, 2));
    let mut recorder = Recorder::default();
    let grafted = graft(&MODEL, &train_rows, &dev_rows, &thorough(), &mut recorder).unwrap();

    let mean = |steps: &[StepReport]| steps.iter().map(|step| step.loss).sum::<f64>() / steps.len() as f64;
    let steps = &recorder.steps;
    let (first, last) = (mean(&steps[..6]), mean(&steps[steps.len() - 6..]));
    assert!(last < 0.1 * first, "loss of the first steps {first}, of the last {last}");
    let Scores::Classification(mut scores) = evaluate(&MODEL, &grafted.adapter, &dev_rows).unwrap() else {
        panic!("a classification task has scores of classification")
    };
    assert!(scores.expected_calibration_error.take().is_some_and(|error| error < 0.1), "{scores:?}");
    assert_eq!(scores.accuracy, 1.0, "{scores:?}");
    let sealed = &grafted.training.dev_scores;
    assert_eq!(*sealed, Scores::Classification(scores).without_confusion());
    assert_eq!((grafted.ending, grafted.steps), (Ending::Completed, 20 * 320 / 16));

    assert_eq!(MODEL.encoder().digest_in_memory(), in_memory, "the numbers in memory");
    assert_eq!(sha256_file(&weights).unwrap(), on_disk, "the file");
    assert_eq!(MODEL.encoder().weights_sha256(), on_disk);
}

#[test]
fn what_trains_is_the_list_and_every_gradient_of_it() {
    let dense = HeadForm::Dense(AdapterActivation::Tanh);
    let readings = [
        (Pooling::Cls, HeadForm::Linear),
        (Pooling::Mean, HeadForm::Linear),
        (Pooling::First, dense),
        (Pooling::Cls, dense),
    ];
    let of_methods = METHODS.into_iter().flat_map(|method| readings.map(|reading| (method, reading)));
    for (method, (pooling, head)) in of_methods {
        let config = AdapterConfig { method, head, ..config(4, pooling, 3) };
        let task = TaskParameters::initialise(&config, MODEL.encoder(), 0.1, 5);
        let list = task.layout().list();
        let by_shape: usize = list.specs().iter().map(|spec| spec.shape.iter().product::<usize>()).sum();
        assert_eq!(list.len(), by_shape);
        let batch = PackedBatch::new(&[sequence(9, 1), sequence(14, 2), sequence(30, 3)]);
        let targets = [Target::Class(0), Target::Class(1), Target::Class(2)];
        let mut engine = GradientEngine::default();
        let (_, gradients) =
            engine.compute(MODEL.encoder(), &task, &batch, &targets, &EncoderDropout::none());
        assert_eq!(gradients.len(), list.len());
        for spec in list.specs() {
            let moves = gradients[spec.range.clone()].iter().any(|gradient| *gradient != 0.0);
            assert!(moves, "{method}: `{}` has a gradient", spec.name);
        }
    }
}

/// `Σ w·g / Σ w` of the rows' own gradients, in a network and of a head alone.
#[test]
fn rows_count_in_the_gradient_with_their_weights() {
    let rows = [sequence(9, 1), sequence(14, 2), sequence(30, 3)];
    let (classes, weights) = ([0, 2, 1], [0.5_f32, 3.0, 1.25]);
    let none = EncoderDropout::none();
    let weighted = |scale: f32| -> Vec<Target> {
        let target =
            |(class, weight): (&usize, f32)| Target::Weighted { class: *class, weight: weight * scale };
        classes.iter().zip(weights).map(target).collect()
    };
    for method in [Method::Houlsby, Method::Head] {
        let task = TaskParameters::initialise(
            &AdapterConfig { method, ..config(4, Pooling::Mean, 3) },
            MODEL.encoder(),
            0.1,
            5,
        );
        let mut engine = GradientEngine::default();
        let mut compute = |rows: &[TokenIds], targets: &[Target]| {
            let batch = PackedBatch::new(rows);
            let (loss, gradients) = engine.compute(MODEL.encoder(), &task, &batch, targets, &none);
            (loss, gradients.to_vec())
        };
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let (mut expected_loss, mut expected) = (0.0, vec![0.0; task.values().len()]);
        for ((row, class), weight) in rows.iter().zip(classes).zip(weights) {
            let share = f64::from(weight) / total;
            let (loss, gradients) = compute(std::slice::from_ref(row), &[Target::Class(class)]);
            expected_loss += share * loss;
            for (sum, gradient) in expected.iter_mut().zip(gradients) {
                *sum += share * f64::from(gradient);
            }
        }
        let (loss, gradients) = compute(&rows, &weighted(1.0));
        assert!((loss - expected_loss).abs() < 1e-6 * expected_loss, "{loss}, expected {expected_loss}");
        let largest = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        for (gradient, expected) in gradients.iter().zip(&expected) {
            let off = (f64::from(*gradient) - expected).abs() / largest;
            assert!(off < 1e-5, "{method}: {gradient}, expected {expected}");
        }
        // Only how the weights are to each other counts; twice as much is exact.
        assert_eq!(compute(&rows, &weighted(2.0)), (loss, gradients));
        let plain: Vec<Target> = classes.iter().map(|class| Target::Class(*class)).collect();
        let ones: Vec<Target> =
            classes.iter().map(|class| Target::Weighted { class: *class, weight: 1.0 }).collect();
        assert_eq!(compute(&rows, &ones), compute(&rows, &plain));
    }
}

/// Widths of their own, one layer without an adapter, and layer normalisations that stay the encoder's.
#[test]
fn a_bottleneck_for_each_layer_trains_where_it_has_a_width() {
    let layers = MODEL.encoder().config.num_hidden_layers;
    let mut widths = vec![3; layers];
    widths[0] = 0;
    let config = AdapterConfig {
        bottleneck: Bottleneck::Layers(widths),
        freeze_layernorm: true,
        ..config(4, Pooling::Mean, 2)
    };
    assert_eq!(config.check(layers), Ok(()));
    let mut task = TaskParameters::initialise(&config, MODEL.encoder(), 0.3, 5);
    let hidden = MODEL.encoder().config.hidden_size;
    let adapters = 2 * (layers - 1) * (2 * 3 * hidden + 3 + hidden);
    assert_eq!(task.layout().list().len(), adapters + 2 * (hidden + 1));
    assert_eq!(task.layout().frozen_layers(), 1, "the layer without an adapter is the bare encoder's");
    // The same numbers as adapters from layer 1 on, so the same answers.
    let upper = AdapterConfig { bottleneck: 3.into(), adapt_from_layer: 1, ..config.clone() };
    let layout = TaskLayout::new(&upper, &MODEL.encoder().config);
    assert_eq!(layout.list(), task.layout().list());
    let batch = PackedBatch::new(&[sequence(9, 1), sequence(14, 2)]);
    let other = TaskParameters::from_values(layout, task.values().to_vec());
    let states = |task: &TaskParameters| {
        let states = hidden_states(MODEL.encoder(), &batch, Some(task));
        states.iter().map(|value| value.to_bits()).collect::<Vec<u32>>()
    };
    assert_eq!(states(&task), states(&other));
    let before = states(&task);
    task.split_mut().1[0] += 1.0;
    assert_ne!(states(&task), before);

    for wrong in [Bottleneck::Layers(vec![3; layers + 1]), Bottleneck::Layers(vec![0; layers])] {
        let unfit = AdapterConfig { bottleneck: wrong, ..config.clone() }.check(layers).unwrap_err();
        assert_eq!(unfit.field, "bottleneck", "{unfit:?}");
    }
    let unfit = AdapterConfig { adapt_from_layer: 1, ..config.clone() }.check(layers).unwrap_err();
    assert_eq!(unfit.field, "adapt_from_layer", "{unfit:?}");
    let unfit = AdapterConfig { method: Method::Pfeiffer, ..config }.check(layers).unwrap_err();
    assert_eq!(unfit.field, "freeze_layernorm", "{unfit:?}");
}

#[test]
fn every_trained_tensor_moves_in_a_run() {
    let (train_rows, dev_rows) = opinions();
    let mut options = options();
    // No decay, so that only a gradient moves a number.
    options.train.optimizer.weight_decay = 0.0;
    let grafted = graft(&MODEL, &train_rows, &dev_rows, &options, &mut ()).unwrap();
    let after = grafted.adapter.parameters();
    let layout = TaskLayout::new(after.layout().config(), &MODEL.encoder().config);
    let before = TaskParameters::initialise(
        layout.config(),
        MODEL.encoder(),
        options.train.init_std,
        options.train.seed,
    );
    for spec in layout.list().specs() {
        let range = spec.range.clone();
        assert!(before.values()[range.clone()] != after.values()[range], "`{}` moved", spec.name);
    }
}

/// Removing adapters is what a network without them computes: the same numbers in a list that has none there.
#[test]
fn an_adapter_without_its_lower_layers_is_one_that_adapts_the_upper_ones() {
    let upper = AdapterConfig { adapt_from_layer: 1, ..config(4, Pooling::Mean, 2) };
    let whole = TaskParameters::initialise(&config(4, Pooling::Mean, 2), MODEL.encoder(), 0.5, 5);
    let layout = TaskLayout::new(&upper, &MODEL.encoder().config);
    let value = |name: &str| {
        let spec = whole.layout().list().specs().iter().find(|spec| spec.name == name).unwrap();
        whole.values()[spec.range.clone()].to_vec()
    };
    let values = layout.list().specs().iter().flat_map(|spec| value(&spec.name)).collect();
    // The layer normalisations begin as the encoder's, so those that the list leaves out are the same.
    let upper = TaskParameters::from_values(layout, values);
    let tokens = sequence(14, 2);
    let logits = |task: &TaskParameters| logits(MODEL.encoder(), &[Query { tokens: &tokens, task }]);
    assert_eq!(logits(&whole.without_adapters(0..=0)), logits(&upper));
    assert_ne!(logits(&whole), logits(&upper));

    let (train_rows, dev_rows) = opinions();
    let grafted = graft(&MODEL, &train_rows, &dev_rows, &options(), &mut ()).unwrap();
    let mut told = Vec::new();
    let ablation = |follow: &mut dyn FnMut(usize, usize) -> ControlFlow<()>| {
        Ablation::compute(&MODEL, &grafted.adapter, &dev_rows, Metric::Accuracy, follow).unwrap()
    };
    let all = ablation(&mut |done, all| {
        told.push((done, all));
        ControlFlow::Continue(())
    });
    let all = all.unwrap();
    assert_eq!(told, [(1, 4), (2, 4), (3, 4)]);
    assert_eq!(all.layers, [0, 1]);
    let spans: Vec<(usize, usize)> = all.without.iter().map(|span| (span.first, span.last)).collect();
    assert_eq!(spans, [(0, 0), (0, 1), (1, 1)]);
    let dev = &grafted.training.dev_scores;
    assert_eq!(all.whole, dev.get(Metric::Accuracy).unwrap());
    assert_eq!(ablation(&mut |_, _| ControlFlow::Break(())), None);
}

#[test]
fn the_method_head_trains_the_head_alone() {
    let (train_rows, dev_rows) = opinions();
    let options = GraftOptions { method: Method::Head, pooling: Pooling::Mean, ..options() };
    let grafted = graft(&MODEL, &train_rows, &dev_rows, &options, &mut ()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("adapter");
    grafted.adapter.save(&out, false).unwrap();
    let bytes = std::fs::read(out.join(WEIGHTS_FILE)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut shapes: Vec<(String, Vec<usize>)> =
        tensors.iter().map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec())).collect();
    shapes.sort();
    assert_eq!(shapes, [("head.bias".to_owned(), vec![2]), ("head.weight".to_owned(), vec![2, 32])]);
    assert_eq!(grafted.adapter.manifest().trained_parameters, 2 * 33);
    let loaded = Adapter::load(&out, &MODEL).unwrap();
    assert_eq!(loaded.parameters().values(), grafted.adapter.parameters().values());
}

const NUMBERS: [(&str, &str); 5] =
    [("one", "1000"), ("two", "2000"), ("three", "3000"), ("four", "4000"), ("five", "5000")];

#[test]
fn scores_come_back_in_their_unit() {
    let rows = |count, seed| read(&decidable_by_a_word(count, 2, &NUMBERS, seed), TaskKind::Regression);
    let (train_rows, dev_rows) = (rows(320, 1), rows(40, 2));
    let grafted = graft(&MODEL, &train_rows, &dev_rows, &thorough(), &mut ()).unwrap();
    let scale = grafted.adapter.manifest().task.scores.unwrap();
    // The labels are 1000 to 5000 equally often: mean 3000, standard deviation 1000 · √2.
    assert_eq!(scale.mean, 3000.0);
    assert!((f64::from(scale.std) - 2f64.sqrt() * 1000.0).abs() < 0.01, "{scale:?}");

    let answers = predict(&MODEL, &grafted.adapter, &dev_rows.rows).unwrap();
    let outputs = row_logits(&MODEL, &grafted.adapter, &dev_rows.rows).unwrap();
    let mut squared = 0.0;
    for ((row, answer), output) in dev_rows.rows.iter().zip(&answers).zip(&outputs) {
        let Prediction::Score { score } = answer else { panic!("a regression answers with a score") };
        assert_eq!(*score, output[0] * scale.std + scale.mean);
        let label: f32 = row.label.as_deref().unwrap().parse().unwrap();
        squared += f64::from(score - label).powi(2);
    }
    let Scores::Regression(scores) = evaluate(&MODEL, &grafted.adapter, &dev_rows).unwrap() else {
        panic!("a regression task has scores of regression")
    };
    assert!(scores.pearson.unwrap() > 0.95, "{scores:?}");
    let mean_squared_error = scores.mean_squared_error.unwrap();
    let by_hand = squared / dev_rows.rows.len() as f64;
    assert!((mean_squared_error - by_hand).abs() < 1e-6 * by_hand, "{mean_squared_error} {by_hand}");
    // The variance of the labels is 2e6.
    assert!(by_hand < 0.2 * 2e6, "{by_hand}");
}

// ------------------------------------------------------------------------------------------------- the folder

fn grafted() -> (Grafted, Dataset) {
    let (train_rows, dev_rows) = opinions();
    let grafted = graft(&MODEL, &train_rows, &dev_rows, &options(), &mut ()).unwrap();
    (grafted, dev_rows)
}

#[test]
fn more_rows_than_are_scored_together_have_the_scores_of_all() {
    let rows = |count, seed| read(&decidable_by_a_word(count, 2, &NUMBERS, seed), TaskKind::Regression);
    let grafted = graft(&MODEL, &rows(96, 1), &rows(32, 2), &options(), &mut ()).unwrap();
    // Each row has an answer of its own: blocks out of order would be seen.
    let many = rows(2_500, 3);
    let logits = row_logits(&MODEL, &grafted.adapter, &many.rows).unwrap();
    let task = &grafted.adapter.manifest().task;
    let mut answers = Answers::to(&many.targets, task.scores);
    logits.iter().for_each(|logits| answers.push(logits, &[]));
    let expected = answers.scores(task, &many.targets).unwrap();
    assert_eq!(evaluate(&MODEL, &grafted.adapter, &many).unwrap(), expected);
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn save_load_predict_gives_the_same_bits() {
    let (grafted, dev_rows) = grafted();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("adapter");
    grafted.adapter.save(&out, false).unwrap();
    assert_eq!(
        names_in(&out),
        [CARD_FILE, MANIFEST_FILE, WEIGHTS_FILE].map(str::to_owned).into(),
        "the three files and nothing else"
    );
    assert_eq!(names_in(folder.path()), ["adapter".to_owned()].into(), "nothing temporary is left");

    // A model read a second time, so that nothing is shared with the one that trained.
    let model = Model::read(&model_folder(), "under another name").unwrap();
    let loaded = Adapter::load(&out, &model).unwrap();
    assert_eq!(loaded.manifest(), grafted.adapter.manifest());
    let before = row_logits(&MODEL, &grafted.adapter, &dev_rows.rows).unwrap();
    let after = row_logits(&model, &loaded, &dev_rows.rows).unwrap();
    assert_eq!(bits(&before), bits(&after));

    // Written again it is the same file, and replacing leaves nothing behind.
    let bytes = std::fs::read(out.join(WEIGHTS_FILE)).unwrap();
    loaded.save(&out, true).unwrap();
    assert_eq!(std::fs::read(out.join(WEIGHTS_FILE)).unwrap(), bytes);
    assert_eq!(names_in(folder.path()), ["adapter".to_owned()].into());
    assert_eq!(names_in(&out).len(), 3);
}

#[test]
fn an_adapter_of_the_upper_layers_comes_back_as_it_was() {
    let (train_rows, dev_rows) = opinions();
    let options = GraftOptions { adapt_from_layer: 1, ..options() };
    let grafted = graft(&MODEL, &train_rows, &dev_rows, &options, &mut ()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("adapter");
    grafted.adapter.save(&out, false).unwrap();
    let loaded = Adapter::load(&out, &MODEL).unwrap();
    assert_eq!(loaded.manifest(), grafted.adapter.manifest());
    assert_eq!(loaded.manifest().adapter.adapt_from_layer, 1);
    assert_eq!(loaded.parameters().values(), grafted.adapter.parameters().values());
    assert!(loaded.parameters().layout().list().specs()[0].name.starts_with("layer.1."));
}

#[test]
fn an_adapter_from_before_there_was_a_lowest_layer_adapts_all() {
    let (grafted, _) = grafted();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("adapter");
    grafted.adapter.save(&out, false).unwrap();
    let manifest = out.join(MANIFEST_FILE);
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    assert_eq!(json["adapter"].as_object_mut().unwrap().remove("adapt_from_layer"), Some(0.into()));
    std::fs::write(&manifest, json.to_string()).unwrap();
    assert_eq!(Adapter::load(&out, &MODEL).unwrap().manifest(), grafted.adapter.manifest());
}

#[test]
fn the_file_holds_the_names_and_shapes_of_the_list() {
    let (grafted, _) = grafted();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("adapter");
    grafted.adapter.save(&out, false).unwrap();
    let bytes = std::fs::read(out.join(WEIGHTS_FILE)).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let in_file: BTreeSet<(String, Vec<usize>)> =
        tensors.iter().map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec())).collect();
    let specs = grafted.adapter.parameters().layout().list().specs();
    let in_list: BTreeSet<(String, Vec<usize>)> =
        specs.iter().map(|spec| (spec.name.clone(), spec.shape.clone())).collect();
    assert_eq!(in_list.len(), specs.len(), "no name twice");
    assert_eq!(in_file, in_list);
    // Two for the embeddings, two sites a layer with four of the adapter and two of the normalisation, the head.
    assert_eq!(in_list.len(), 2 + 2 * 2 * (4 + 2) + 2);
}

// ---------------------------------------------------------------------------------------------- ends of a run

/// Rows of two classes in turns.
fn encoded(rows: &[TokenIds]) -> EncodedRows {
    let targets = Targets::Classes((0..rows.len()).map(|row| row % 2).collect());
    let mut encoded = EncodedRows::new(targets, None, &Budget::default());
    let rows: Vec<Vec<TokenIds>> = rows.iter().map(|row| vec![row.clone()]).collect();
    encoded.append(&rows).unwrap();
    encoded
}

/// Runs the bare loop on 32 rows in batches of 8 (4 steps an epoch), with the scores of the evaluations given.
fn run_with_scores(
    options: &TrainOptions,
    scores: &[f64],
    recorder: &mut Recorder,
) -> Result<(TrainState, Ending), TrainError> {
    let rows: Vec<TokenIds> = (0..32).map(|row| sequence(4 + row % 7, row as u64)).collect();
    let (rows, dev) = (encoded(&rows), encoded(&rows[..8]));
    let rest = RefCell::new(scores.iter());
    let score = |answers: &Answers| {
        let Answers::Classes(answers) = answers else { panic!("classes are answered with classes") };
        assert_eq!(answers.len(), 8, "one answer for each dev row");
        *rest.borrow_mut().next().expect("no more evaluations than scores")
    };
    let data = TrainData { train: &rows, dev: &dev, begin: None, checkpoints: None, score: &score };
    train(MODEL.encoder(), &config(4, Pooling::Cls, 2), options, &data, recorder)
}

fn short_run() -> TrainOptions {
    TrainOptions {
        epochs: Some(5),
        batch_size: 8,
        learning_rate: Some(1e-2),
        ..GraftOptions::default().train
    }
}

fn evaluated_at(recorder: &Recorder) -> Vec<u64> {
    recorder.evaluations.iter().map(|report| report.step).collect()
}

#[test]
fn a_run_of_fewer_steps_ends_with_an_evaluation_and_the_schedule_with_it() {
    let mut recorder = Recorder::default();
    let options = TrainOptions { max_steps: Some(6), ..short_run() };
    let (state, ending) = run_with_scores(&options, &[0.1; 2], &mut recorder).unwrap();
    assert_eq!((state.step, ending), (6, Ending::Completed));
    assert_eq!(evaluated_at(&recorder), [4, 6]);
    assert!(recorder.steps.iter().all(|report| report.total_steps == 6));
    let last = recorder.steps[5].learning_rate;
    assert!(last < 0.3 * 1e-2, "{last} at the last step");
    let mut whole = Recorder::default();
    let options = TrainOptions { max_steps: Some(21), ..short_run() };
    run_with_scores(&options, &[0.1; 5], &mut whole).unwrap();
    assert_eq!(whole.steps.len(), 20, "no more than the epochs have");
}

#[test]
fn a_run_that_is_all_warm_up_trains() {
    for (max_steps, rates) in [(1, vec![1e-2]), (3, vec![0.0, 5e-3, 1e-2])] {
        let mut recorder = Recorder::default();
        let options = TrainOptions { max_steps: Some(max_steps), warmup: 1.0, ..short_run() };
        run_with_scores(&options, &[0.1], &mut recorder).unwrap();
        let found: Vec<f64> = recorder.steps.iter().map(|report| report.learning_rate).collect();
        assert_eq!(found, rates);
    }
}

#[test]
fn evaluations_come_when_they_are_asked_for() {
    let mut recorder = Recorder::default();
    run_with_scores(&short_run(), &[0.1; 5], &mut recorder).unwrap();
    assert_eq!(evaluated_at(&recorder), [4, 8, 12, 16, 20], "each epoch's end");
    assert_eq!(recorder.evaluations.iter().map(|report| report.epoch).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(recorder.steps.len(), 20);
    assert!(recorder.steps.iter().all(|step| step.total_steps == 20));

    let mut recorder = Recorder::default();
    let options = TrainOptions { eval_every: Some(6), ..short_run() };
    run_with_scores(&options, &[0.1; 4], &mut recorder).unwrap();
    assert_eq!(evaluated_at(&recorder), [6, 12, 18, 20], "every six steps and at the end");
}

#[test]
fn the_best_evaluation_is_kept_whatever_comes_after() {
    let mut whole = Recorder::default();
    let (state, ending) = run_with_scores(&short_run(), &[0.1, 0.7, 0.7, 0.3, 0.2], &mut whole).unwrap();
    assert_eq!(ending, Ending::Completed);
    let best: Vec<bool> = whole.evaluations.iter().map(|report| report.best).collect();
    assert!(whole.evaluations[2].loss < whole.evaluations[1].loss, "the rows are learnt by heart");
    assert_eq!(best, [true, true, true, false, false], "of equals the one with the lower loss is the best");

    let mut cut = Recorder { break_at_evaluation: Some(3), ..Recorder::default() };
    let (at_three, ending) = run_with_scores(&short_run(), &[0.1, 0.7, 0.7], &mut cut).unwrap();
    assert_eq!((ending, at_three.step), (Ending::Interrupted, 12));
    assert_eq!(state.best_parameters().values(), at_three.parameters.values(), "those of step 12");
    assert_ne!(state.best_parameters().values(), state.parameters.values(), "not the last ones");
    let best_task = state.best_parameters();
    let best = state.best.unwrap();
    assert_eq!(best.step, 12);

    // The answers are kept with the parameters: the dev rows are not asked again.
    let dev: Vec<TokenIds> = (0..8).map(|row| sequence(4 + row % 7, row as u64)).collect();
    let queries: Vec<Query<'_>> = dev.iter().map(|tokens| Query { tokens, task: &best_task }).collect();
    let mut answers = Answers::Classes(Vec::new());
    logits(MODEL.encoder(), &queries).iter().for_each(|logits| answers.push(logits, &[]));
    assert_eq!(best.seen.answers, answers);
}

#[test]
fn a_score_that_is_not_a_number_is_worse_than_any() {
    let (state, _) =
        run_with_scores(&short_run(), &[f64::NAN, -0.5, f64::NAN, -0.6, f64::NAN], &mut Recorder::default())
            .unwrap();
    let best = state.best.unwrap();
    assert_eq!((best.step, best.score), (8, -0.5));
}

#[test]
fn patience_ends_a_run_without_progress() {
    let mut recorder = Recorder::default();
    let options = TrainOptions { patience: Some(2), ..short_run() };
    let (state, ending) = run_with_scores(&options, &[0.1, 0.5, 0.4, 0.5], &mut recorder).unwrap();
    assert_eq!(ending, Ending::EarlyStopped);
    assert_eq!(evaluated_at(&recorder), [4, 8, 12, 16]);
    assert_eq!(
        (state.step, state.best.unwrap().step),
        (16, 16),
        "an equal score is kept, but is no progress"
    );

    // Progress in between gives new patience.
    let (state, ending) =
        run_with_scores(&options, &[0.1, 0.0, 0.2, 0.1, 0.3], &mut Recorder::default()).unwrap();
    assert_eq!((ending, state.step), (Ending::Completed, 20));
}

#[test]
fn an_interrupted_run_keeps_its_best_evaluation_or_is_an_error() {
    let mut recorder = Recorder { break_at_step: Some(11), ..Recorder::default() };
    let (state, ending) = run_with_scores(&short_run(), &[0.5, 0.4], &mut recorder).unwrap();
    assert_eq!((ending, state.step), (Ending::Interrupted, 11));
    assert_eq!(recorder.steps.len(), 11, "it ends after the step that it was interrupted in");
    assert_eq!(state.best.unwrap().step, 4);

    let mut recorder = Recorder { break_at_step: Some(3), ..Recorder::default() };
    let error = run_with_scores(&short_run(), &[], &mut recorder).unwrap_err();
    assert_eq!(error.to_string(), "interrupted at step 3, before the first evaluation");
}

/// Ends a run in the `evaluation`-th evaluation, or while rows are encoded.
#[derive(Default)]
struct Leaver {
    evaluations: usize,
    evaluation: usize,
    places: Vec<(usize, usize)>,
    leaves_encoding_at: Option<usize>,
}

impl TrainObserver for Leaver {
    fn encoding(&mut self, done: usize, rows: usize) -> ControlFlow<()> {
        self.places.push((done, rows));
        if self.leaves_encoding_at == Some(done) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn step(&mut self, _: &StepReport) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn evaluating(&mut self, done: usize, rows: usize) -> ControlFlow<()> {
        self.places.push((done, rows));
        if self.evaluations + 1 == self.evaluation {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn evaluation(&mut self, _: &EvaluationReport) -> ControlFlow<()> {
        self.evaluations += 1;
        ControlFlow::Continue(())
    }
}

#[test]
fn a_run_can_be_ended_within_an_evaluation() {
    // 300 rows of 48 tokens are two groups.
    let rows: Vec<TokenIds> = (0..300).map(|row| sequence(48, row)).collect();
    let (rows, dev) = (encoded(&rows[..8]), encoded(&rows));
    let data = TrainData { train: &rows, dev: &dev, begin: None, checkpoints: None, score: &|_| 0.5 };
    let options = TrainOptions { epochs: Some(3), ..short_run() };
    let run =
        |leaver: &mut Leaver| train(MODEL.encoder(), &config(4, Pooling::Mean, 2), &options, &data, leaver);
    let mut first = Leaver { evaluation: 1, ..Leaver::default() };
    let error = run(&mut first).unwrap_err();
    assert!(matches!(error, TrainError::Interrupted { step: 1 }), "{error}");
    assert_eq!(first.places, [(8_192 / 48, 300)]);

    let mut second = Leaver { evaluation: 2, ..Leaver::default() };
    let (state, ending) = run(&mut second).unwrap();
    assert_eq!((ending, state.step, state.best.unwrap().step), (Ending::Interrupted, 2, 1));
}

#[test]
fn a_run_can_be_ended_while_rows_are_encoded() {
    let rows = |count, seed| read(&decidable_by_a_word(count, 2, &OPINIONS, seed), TaskKind::Classification);
    let (train_rows, dev_rows) = (rows(1_100, 1), rows(40, 2));
    for (leaves_at, expected) in
        [(1_024, vec![(1_024, 1_140)]), (1_140, vec![(1_024, 1_140), (1_100, 1_140), (1_140, 1_140)])]
    {
        let mut leaver = Leaver { leaves_encoding_at: Some(leaves_at), ..Leaver::default() };
        let error = graft(&MODEL, &train_rows, &dev_rows, &options(), &mut leaver).unwrap_err();
        assert!(matches!(error, GraftError::Train(TrainError::Interrupted { step: 0 })), "{error}");
        assert_eq!(leaver.places, expected);
    }
}

#[test]
fn a_loss_that_is_not_a_number_ends_the_run() {
    let options = TrainOptions { learning_rate: Some(1e30), warmup: 0.0, ..short_run() };
    let mut recorder = Recorder::default();
    let error = run_with_scores(&options, &[], &mut recorder).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { step: 2, loss } if !loss.is_finite()), "{error}");
    assert!(error.to_string().ends_with("at step 2, before the first evaluation"), "{error}");

    // The rate rises from zero: the first step changes nothing and is evaluated, after the second nothing is a number.
    let options = TrainOptions { warmup: 0.2, eval_every: Some(1), ..options };
    let mut recorder = Recorder::default();
    let (state, ending) = run_with_scores(&options, &[0.5], &mut recorder).unwrap();
    assert_eq!((ending, evaluated_at(&recorder)), (Ending::Diverged, vec![1]));
    let start = TaskParameters::initialise(
        state.parameters.layout().config(),
        MODEL.encoder(),
        options.init_std,
        options.seed,
    );
    assert_eq!(state.best_parameters().values(), start.values());
}

#[test]
fn a_run_without_rows_is_an_error() {
    let row = [sequence(3, 1)];
    let run = |train_rows: &[TokenIds], dev: &[TokenIds]| {
        let data = TrainData {
            train: &encoded(train_rows),
            dev: &encoded(dev),
            begin: None,
            checkpoints: None,
            score: &|_| 0.0,
        };
        let ended = train(MODEL.encoder(), &config(4, Pooling::Cls, 2), &short_run(), &data, &mut ());
        ended.unwrap_err().to_string()
    };
    assert_eq!(run(&[], &row), "there are no training rows");
    assert_eq!(run(&row, &[]), "there are no dev rows");
}

#[test]
fn a_batch_of_no_rows_is_an_error() {
    let options = TrainOptions { batch_size: 0, ..short_run() };
    let error = run_with_scores(&options, &[], &mut Recorder::default()).unwrap_err();
    assert_eq!(error.to_string(), "expected batches of 1 row or more, found 0");
}

#[test]
fn options_out_of_range_are_refused_by_their_flag() {
    let (train_rows, dev_rows) = opinions();
    let message = |change: &dyn Fn(&mut GraftOptions)| {
        let mut options = options();
        change(&mut options);
        graft(&MODEL, &train_rows, &dev_rows, &options, &mut ()).unwrap_err().to_string()
    };
    assert_eq!(message(&|o| o.max_length = 65), "`--max-length` is 65, expected 3 to 64 with this model");
    assert_eq!(message(&|o| o.bottleneck = 0), "`--bottleneck` is 0, expected 1 or more");
    assert_eq!(
        message(&|o| o.adapt_from_layer = 2),
        "`--adapt-from-layer` is 2, expected 0 to 1 with this model"
    );
    assert_eq!(
        message(&|o| (o.method, o.adapt_from_layer) = (Method::Head, 1)),
        "`--adapt-from-layer` is 1, expected 0 with the method `head`, which has no adapters"
    );
    assert_eq!(message(&|o| o.train.epochs = Some(0)), "`--epochs` is 0, expected 1 or more");
    assert_eq!(message(&|o| o.train.max_steps = Some(0)), "`--max-steps` is 0, expected 1 or more");
    assert_eq!(message(&|o| o.train.batch_size = 0), "`--batch-size` is 0, expected 1 or more");
    assert_eq!(message(&|o| o.train.eval_every = Some(0)), "`--eval-every` is 0, expected 1 or more");
    assert_eq!(message(&|o| o.train.learning_rate = Some(-1.0)), "`--lr` is -1, expected a number above 0");
    assert_eq!(
        message(&|o| o.train.learning_rate = Some(f64::NAN)),
        "`--lr` is NaN, expected a number above 0"
    );
    assert_eq!(message(&|o| o.train.warmup = 1.5), "`--warmup` is 1.5, expected 0 to 1");
    assert_eq!(message(&|o| o.train.init_std = -1.0), "`--init-std` is -1, expected 0 or more");
    assert_eq!(message(&|o| o.max_length = 2), "`--max-length` is 2, expected 3 to 64 with this model");
}

// ---------------------------------------------------------------------------------------------------- dropout

/// What one more sequence, at the end of a batch, adds to the sum of the losses and to the sum of the gradients.
fn share_of_the_last(before: &[TokenIds], last: &TokenIds, task: &TaskParameters) -> (f64, Vec<f64>) {
    let dropout = EncoderDropout::training(&MODEL.encoder().config, 9, 4);
    let sums = |sequences: &[TokenIds]| {
        let batch = PackedBatch::new(sequences);
        let targets = vec![Target::Class(1); sequences.len()];
        let mut engine = GradientEngine::default();
        let (loss, gradients) = engine.compute(MODEL.encoder(), task, &batch, &targets, &dropout);
        let count = sequences.len() as f64;
        let sums: Vec<f64> = gradients.iter().map(|gradient| f64::from(*gradient) * count).collect();
        (loss * count, sums)
    };
    let with: Vec<TokenIds> = before.iter().chain([last]).cloned().collect();
    let ((loss, gradients), (less, fewer)) = (sums(&with), sums(before));
    (loss - less, gradients.iter().zip(&fewer).map(|(with, without)| with - without).collect())
}

#[test]
fn dropout_depends_on_the_place_in_the_batch_and_not_on_the_chunk() {
    let task = TaskParameters::initialise(&config(4, Pooling::Mean, 2), MODEL.encoder(), 0.1, 5);
    let last = sequence(12, 99);
    let prefix = |count: usize, length: usize| -> Vec<TokenIds> {
        (0..count).map(|row| sequence(length, row as u64)).collect()
    };
    // The same place, with neighbours of other lengths: the sequence falls into other chunks.
    let (short, long) = (prefix(20, 1), prefix(20, 40));
    let chunks = |sequences: &[TokenIds]| {
        let with: Vec<TokenIds> = sequences.iter().chain([&last]).cloned().collect();
        let batch = PackedBatch::new(&with);
        batch.chunks().iter().map(|chunk| chunk.sequences()).collect::<Vec<_>>()
    };
    assert_ne!(chunks(&short), chunks(&long));
    let (loss, gradients) = share_of_the_last(&short, &last, &task);
    let (same_loss, same_gradients) = share_of_the_last(&long, &last, &task);
    // Differences of sums of 21 losses and gradients of order one, in f32: 1e-4 is some hundred roundings.
    let worst = gradients.iter().zip(&same_gradients).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!((loss - same_loss).abs() < 1e-4, "{loss} {same_loss}");
    assert!(worst < 1e-4, "{worst}");
    // Another place has other masks.
    let (other_loss, _) = share_of_the_last(&prefix(21, 40), &last, &task);
    assert!((loss - other_loss).abs() > 1e-3, "{loss} {other_loss}");
}

// -------------------------------------------------------------------------------------------------- tokenizer

#[test]
fn padding_and_truncation_of_the_tokenizer_file_are_switched_off() {
    let file = std::fs::read_to_string(model_folder().join("tokenizer.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&file).unwrap();
    assert_eq!(json["padding"]["strategy"]["Fixed"], 128, "the file asks for padding");
    assert_eq!(json["truncation"]["max_length"], 128, "the file asks for truncation");
    let encode = |text: &str, max_length| MODEL.tokenizer().encode(text, None, max_length).unwrap();
    assert_eq!(encode("good", 64).ids.len(), 3, "[CLS] good [SEP]");
    let long = "good ".repeat(300);
    assert_eq!(encode(&long, 400).ids.len(), 302);
    let cut = encode(&long, 64);
    assert_eq!((cut.ids.len(), cut.truncated), (64, true));
    let row = Row::single(long);
    let encoded = grafter::row_encoding::encode_rows(&MODEL, &[row], 64).unwrap();
    assert_eq!(encoded[0], cut);
}

#[test]
fn fine_tuning_in_a_sequence_goes_on_with_one_encoder_and_keeps_each_head() {
    let (train_rows, dev_rows) = opinions();
    let mut options = GraftOptions { method: Method::Full, ..options() };
    options.train.epochs = Some(2);
    options.train.learning_rate = Some(1e-3);
    let mut tuning = SequentialFineTuning::default();
    let mut answers = Vec::new();
    for seed in [1, 2] {
        options.train.seed = seed;
        let data: (&dyn LabelledRows, &dyn LabelledRows) = (&train_rows, &dev_rows);
        let beginning = Beginning { earlier: tuning.current(), ..Beginning::default() };
        let grafted = graft_from(&beginning, &MODEL, data, &options, &mut ()).unwrap();
        answers.push(row_logits(&MODEL, &grafted.adapter, &dev_rows.rows).unwrap());
        tuning.push(grafted.adapter);
    }
    let now: Vec<Adapter> = tuning.tasks(&MODEL.encoder().config).collect();
    let now: Vec<_> = now.iter().map(|task| row_logits(&MODEL, task, &dev_rows.rows).unwrap()).collect();
    // The last task is as it was trained; the first has another encoder beneath its head.
    assert_eq!(now[1], answers[1]);
    assert_ne!(now[0], answers[0]);
    // The second began where the first ended, so that it is another than one trained from the frozen encoder.
    let alone = graft(&MODEL, &train_rows, &dev_rows, &options, &mut ()).unwrap().adapter;
    assert_ne!(row_logits(&MODEL, &alone, &dev_rows.rows).unwrap(), answers[1]);
}

#[test]
fn a_task_takes_over_what_another_made_of_the_encoder_and_no_head() {
    let config = |outputs| GraftOptions { method: Method::Full, ..GraftOptions::default() }.config(outputs);
    let encoder = MODEL.encoder();
    let mut task = TaskParameters::initialise(&config(2), encoder, 0.1, 1);
    let before = task.clone();
    let layout = TaskLayout::new(&config(3), &encoder.config);
    let values: Vec<f32> = (0..layout.list().len()).map(|place| place as f32).collect();
    let other = TaskParameters::from_values(layout, values);
    task.take_encoder_of(&other);
    for spec in task.layout().list().specs() {
        let found = &task.values()[spec.range.clone()];
        if spec.name.starts_with("head.") {
            assert_eq!(found, &before.values()[spec.range.clone()], "{}", spec.name);
        } else {
            let theirs = other.layout().list().specs().iter().find(|their| their.name == spec.name).unwrap();
            assert_eq!(found, &other.values()[theirs.range.clone()], "{}", spec.name);
        }
    }
    task.set_head_values(&[7.0; 66]);
    assert_eq!(task.head_values(), [7.0; 66]);
}

#[test]
fn what_is_constant_of_the_rows_has_the_memory_that_is_left() {
    let (train_rows, dev_rows) = opinions();
    let mut options = GraftOptions { adapt_from_layer: 1, ..options() };
    // Where there can be no file, what has no room in memory is not kept.
    options.train.budget.folder = Some(PathBuf::from("/nowhere/to/be/found"));
    let mut run = |training_bytes| {
        options.train.budget.training_bytes = training_bytes;
        let mut recorder = Recorder::default();
        let digest =
            graft(&MODEL, &train_rows, &dev_rows, &options, &mut recorder).map(|run| run.adapter.digest());
        (digest, recorder.not_kept)
    };
    let (without_end, not_kept) = run(None);
    assert_eq!(not_kept, 0);
    let Err(GraftError::Train(TrainError::Memory { needed, free, .. })) = run(Some(100_000)).0 else {
        panic!("there was memory enough")
    };
    let least = 100_000 - free + needed;
    let (with_least, not_kept) = run(Some(least));
    assert_eq!(not_kept, 1);
    assert_eq!(with_least.unwrap(), without_end.unwrap());
    assert!(run(Some(least - 1)).0.is_err());
    assert_eq!(run(Some(least + (1 << 24))).1, 0);
}

#[test]
fn a_run_that_the_machine_is_too_small_for_is_refused_before_its_first_step() {
    let (train_rows, dev_rows) = opinions();
    let mut options = options();
    options.train.budget.training_bytes = Some(1 << 30);
    let fits = graft(&MODEL, &train_rows, &dev_rows, &options, &mut ()).unwrap();
    options.train.budget.training_bytes = Some(100_000);
    let mut recorder = Recorder::default();
    let error = graft(&MODEL, &train_rows, &dev_rows, &options, &mut recorder).unwrap_err();
    let GraftError::Train(TrainError::Memory { tokens, needed, free, .. }) = error else { panic!("{error}") };
    assert!(needed > free && (4..48).contains(&tokens), "{needed} {free} {tokens}");
    // The rows are counted: their tokens at least.
    let tokens_bytes = 4 * 4 * train_rows.rows.len() as u64;
    assert!((1..100_000 - tokens_bytes).contains(&free), "{free}");
    assert!(recorder.steps.is_empty());
    // The limit decides nothing else.
    options.train.budget.training_bytes = None;
    let without = graft(&MODEL, &train_rows, &dev_rows, &options, &mut ()).unwrap();
    assert_eq!(without.adapter.digest(), fits.adapter.digest());
}
