//! What is constant of a text below everything that trains: computed once, kept in memory or in a file, shared between
//! tasks, it must give the bits that the whole network gives. On the tiny random model that `reference/tiny_bert.py`
//! wrote, which has two layers.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use grafter::adapter::{AdapterActivation, AdapterConfig, HeadForm, Method, Pooling, TaskParameters};
use grafter::batch::{PackedBatch, TokenIds};
use grafter::data::Targets;
use grafter::encoded::EncodedRows;
use grafter::encoder::EncoderDropout;
use grafter::eval::Answers;
use grafter::gradient::{GradientEngine, Target};
use grafter::graft::GraftOptions;
use grafter::head;
use grafter::model::Model;
use grafter::predict::{Query, batch_logits, logits};
use grafter::prefix::{Constant, NotKept, Prefix};
use grafter::random::Random;
use grafter::store::Budget;
use grafter::train::{
    Ending, EvaluationReport, StepReport, TrainData, TrainError, TrainObserver, TrainOptions, train,
};

static MODEL: LazyLock<Model> = LazyLock::new(|| {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-bert");
    Model::read(&folder, "tiny-bert").unwrap()
});

/// Token ids that are no words in particular.
fn sequence(length: usize, seed: u64) -> TokenIds {
    let mut random = Random::new(seed);
    let vocabulary = MODEL.encoder().config.vocab_size as u64;
    let ids = (0..length).map(|_| (random.bits() % vocabulary) as u32).collect();
    let type_ids = (0..length).map(|token| u32::from(token > length / 2)).collect();
    TokenIds { ids, type_ids, ..TokenIds::default() }
}

fn sequences(count: usize) -> Vec<TokenIds> {
    (0..count).map(|row| sequence(2 + 5 * row % 17, row as u64)).collect()
}

fn houlsby(adapt_from_layer: usize, pooling: Pooling) -> AdapterConfig {
    GraftOptions { bottleneck: 4, adapt_from_layer, pooling, ..GraftOptions::default() }.config(3)
}

fn head_alone(pooling: Pooling) -> AdapterConfig {
    AdapterConfig { method: Method::Head, ..houlsby(0, pooling) }
}

/// Each pooling, and each head.
const READINGS: [(Pooling, HeadForm); 4] = [
    (Pooling::Cls, HeadForm::Linear),
    (Pooling::Mean, HeadForm::Linear),
    (Pooling::First, HeadForm::Dense(AdapterActivation::Tanh)),
    (Pooling::Mean, HeadForm::Dense(AdapterActivation::Gelu)),
];

/// Adapters far from zero, so that a mix-up shows in every logit.
fn task(config: &AdapterConfig, seed: u64) -> TaskParameters {
    TaskParameters::initialise(config, MODEL.encoder(), 0.3, seed)
}

fn bits(rows: &[Vec<f32>]) -> Vec<Vec<u32>> {
    rows.iter().map(|row| row.iter().map(|value| value.to_bits()).collect()).collect()
}

/// All in memory; the limit inside a row and inside a vector; all in the file.
fn budgets() -> [Budget; 4] {
    [u64::MAX, 4_321, 3, 0].map(|memory_bytes| Budget { memory_bytes, ..Budget::default() })
}

/// Rows of three classes in turns, of which the first is `first`.
fn encoded(rows: &[TokenIds], first: usize) -> EncodedRows {
    let targets = Targets::Classes((first..first + rows.len()).map(|row| row % 3).collect());
    let mut encoded = EncodedRows::new(targets, None, &Budget::default());
    let rows: Vec<Vec<TokenIds>> = rows.iter().map(|row| vec![row.clone()]).collect();
    encoded.append(&rows).unwrap();
    encoded
}

fn compute(constant: Constant, rows: &[TokenIds], budget: &Budget) -> Result<Prefix, NotKept> {
    Prefix::compute(MODEL.encoder(), constant, &[&encoded(rows, 0)], budget, |_| ControlFlow::Continue(()))
}

#[test]
fn what_is_constant_follows_from_what_trains() {
    let constant = |config: &AdapterConfig| Constant::of(task(config, 1).layout());
    assert_eq!(constant(&houlsby(0, Pooling::Mean)), None);
    assert_eq!(constant(&houlsby(1, Pooling::Mean)), Some(Constant::States(1)));
    assert_eq!(constant(&head_alone(Pooling::Cls)), Some(Constant::Pooled(Pooling::Cls)));
}

#[test]
fn the_list_begins_at_the_lowest_adapted_layer() {
    let names = |layer| -> Vec<String> {
        let task = task(&houlsby(layer, Pooling::Mean), 1);
        task.layout().list().specs().iter().map(|spec| spec.name.clone()).collect()
    };
    let upper: Vec<String> = names(0)
        .into_iter()
        .filter(|name| !name.starts_with("embeddings.") && !name.starts_with("layer.0."))
        .collect();
    assert_eq!(upper.len(), 2 * (4 + 2) + 2, "two sites of a layer, and the head");
    assert_eq!(names(1), upper);
}

#[test]
fn logits_and_gradients_from_what_is_kept_are_those_of_the_whole_network() {
    let encoder = MODEL.encoder();
    let rows = sequences(20);
    let targets: Vec<Target> = (0..rows.len()).map(|row| Target::Class(row % 3)).collect();
    // With dropout above and none below, whether something is kept or not.
    let dropout = EncoderDropout::training(&encoder.config, 7, 3);
    assert!(!dropout.hidden.is_none() && !dropout.attention.is_none() && !dropout.pooled.is_none());
    for (pooling, head) in READINGS {
        for config in [houlsby(1, pooling), head_alone(pooling)] {
            let task = task(&AdapterConfig { head, ..config }, 1);
            let constant = Constant::of(task.layout()).unwrap();
            let queries: Vec<Query<'_>> = rows.iter().map(|tokens| Query { tokens, task: &task }).collect();
            let whole = logits(encoder, &queries);
            let batch = PackedBatch::new(&rows);
            assert_eq!(batch.chunks().len(), 2, "a chunk takes its part of what is kept");
            let mut engine = GradientEngine::default();
            let (loss, gradients) = engine.compute(encoder, &task, &batch, &targets, &dropout);
            let expected = (loss, gradients.to_vec());
            let (undropped, _) = engine.compute(encoder, &task, &batch, &targets, &EncoderDropout::none());
            assert_ne!(undropped, loss, "dropout acts above");
            for budget in budgets() {
                let prefix = compute(constant, &rows, &budget).unwrap();
                let kept = prefix.read(0..rows.len()).unwrap();
                let Constant::States(layer) = constant else {
                    assert_eq!(bits(&head::logits_of_pooled(&task, &batch, &kept)), bits(&whole));
                    continue;
                };
                let batch = batch.clone().with_states(layer, kept);
                let tasks = vec![&task; rows.len()];
                assert_eq!(bits(&batch_logits(encoder, &batch, &tasks)), bits(&whole), "{budget:?}");
                let (loss, gradients) = engine.compute(encoder, &task, &batch, &targets, &dropout);
                assert_eq!((loss, gradients.to_vec()), expected, "{budget:?}");
            }
        }
    }
}

/// The gradients of the head alone are one sum from what is kept, and one for each chunk otherwise.
#[test]
fn the_head_alone_has_the_gradients_of_the_whole_network() {
    let encoder = MODEL.encoder();
    let rows: Vec<TokenIds> = (0..9).map(|row| sequence(2 + row % 5, row as u64)).collect();
    let targets: Vec<Target> = (0..rows.len()).map(|row| Target::Class(row % 3)).collect();
    let dropout = EncoderDropout::training(&encoder.config, 7, 3);
    let batch = PackedBatch::new(&rows);
    assert_eq!(batch.chunks().len(), 1);
    for (pooling, head) in READINGS {
        let task = task(&AdapterConfig { head, ..head_alone(pooling) }, 1);
        let mut engine = GradientEngine::default();
        let (loss, gradients) = engine.compute(encoder, &task, &batch, &targets, &dropout);
        let expected = (loss, gradients.to_vec());
        let kept = compute(Constant::Pooled(pooling), &rows, &Budget::default()).unwrap().read(0..rows.len());
        let (loss, gradients) = engine.compute_from_pooled(&task, &kept.unwrap(), &targets, &dropout);
        assert_eq!((loss, gradients.to_vec()), expected);
    }
}

#[test]
fn rows_are_read_in_any_order() {
    let rows = sequences(12);
    let order = [7, 0, 11, 7, 3];
    let picked: Vec<TokenIds> = order.iter().map(|row| rows[*row].clone()).collect();
    for constant in [Constant::States(1), Constant::States(2), Constant::Pooled(Pooling::Mean)] {
        let expected = constant.compute(MODEL.encoder(), &PackedBatch::new(&picked));
        for budget in budgets() {
            let prefix = compute(constant, &rows, &budget).unwrap();
            assert_eq!(prefix.read(order.into_iter()).unwrap(), expected, "{constant:?} {budget:?}");
        }
    }
}

#[test]
fn what_is_too_large_or_cannot_be_written_is_not_kept() {
    let rows = sequences(12);
    let bytes = 4 * 32 * rows.iter().map(|row| row.ids.len() as u64).sum::<u64>();
    let exact = Budget { total_bytes: bytes, ..Budget::default() };
    compute(Constant::States(1), &rows, &exact).unwrap();
    let less = Budget { total_bytes: bytes - 1, ..Budget::default() };
    let error = compute(Constant::States(1), &rows, &less).unwrap_err();
    assert!(matches!(error, NotKept::TooLarge { bytes: found, most } if found == bytes && most == bytes - 1));
    let nowhere = Budget { memory_bytes: 0, folder: Some("no/such/folder".into()), ..Budget::default() };
    let error = compute(Constant::States(1), &rows, &nowhere).unwrap_err();
    assert!(matches!(error, NotKept::File(_)), "{error}");
    let place = "a temporary file in `no/such/folder` cannot be used: ";
    assert!(error.to_string().starts_with(place), "{error}");
}

/// Writes down whether something was computed once, and why nothing was kept.
#[derive(Default)]
struct Recorder {
    rows: usize,
    not_kept: Vec<String>,
    tokens: usize,
}

impl TrainObserver for Recorder {
    fn prefix(&mut self, done: usize, _: usize) -> ControlFlow<()> {
        self.rows = done;
        ControlFlow::Continue(())
    }
    fn not_kept(&mut self, reason: &NotKept) {
        self.not_kept.push(reason.to_string());
    }
    fn step(&mut self, report: &StepReport) -> ControlFlow<()> {
        self.tokens += report.tokens;
        ControlFlow::Continue(())
    }
    fn evaluation(&mut self, _: &EvaluationReport) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Two epochs of four steps with dropout.
fn two_epochs() -> TrainOptions {
    TrainOptions {
        epochs: Some(2),
        batch_size: 8,
        learning_rate: Some(1e-2),
        ..GraftOptions::default().train
    }
}

/// The numbers and the dev losses of a run with dropout.
fn run(config: &AdapterConfig, budget: Budget, observer: &mut dyn TrainObserver) -> (Vec<f32>, f64) {
    run_with(config, &TrainOptions { budget, ..two_epochs() }, observer)
}

fn run_with(
    config: &AdapterConfig,
    options: &TrainOptions,
    observer: &mut dyn TrainObserver,
) -> (Vec<f32>, f64) {
    let rows = sequences(40);
    let (train_rows, dev_rows) = (encoded(&rows[..30], 0), encoded(&rows[30..], 30));
    // By the places of the answers, so that an evaluation that mixes up rows shows.
    let score = |answers: &Answers| {
        let Answers::Classes(answers) = answers else { panic!("classes are answered with classes") };
        answers.iter().enumerate().map(|(row, class)| (row * class) as f64).sum()
    };
    let data =
        TrainData { train: &train_rows, dev: &dev_rows, begin: None, checkpoints: None, score: &score };
    assert!(options.dropout);
    let (state, ending) = train(MODEL.encoder(), config, options, &data, observer).unwrap();
    assert_eq!(ending, Ending::Completed);
    (state.parameters.values().to_vec(), state.best.unwrap().loss)
}

#[test]
fn a_run_has_the_same_bytes_wherever_what_is_constant_lies() {
    let tokens: usize = 2 * sequences(40)[..30].iter().map(|row| row.ids.len()).sum::<usize>();
    let mut whole = Recorder::default();
    run(&houlsby(0, Pooling::Mean), Budget::default(), &mut whole);
    assert_eq!((whole.rows, whole.tokens), (0, tokens), "nothing is constant");
    let config = houlsby(1, Pooling::Mean);
    let none = Budget { total_bytes: 1, ..Budget::default() };
    let mut anew = Recorder::default();
    let expected = run(&config, none, &mut anew);
    assert_eq!(anew.not_kept, ["0.0 GB would be needed, at most 0.0 GB are used"]);
    assert_eq!((anew.rows, anew.tokens), (0, tokens));
    for budget in budgets() {
        let mut kept = Recorder::default();
        assert_eq!(run(&config, budget.clone(), &mut kept), expected, "{budget:?}");
        assert_eq!((kept.rows, kept.not_kept.len(), kept.tokens), (40, 0, tokens));
    }
    // The head alone.
    let mut anew = Recorder::default();
    let expected = run(&head_alone(Pooling::Mean), Budget { total_bytes: 1, ..Budget::default() }, &mut anew);
    assert_eq!((anew.not_kept.len(), anew.tokens), (1, tokens));
    for budget in budgets() {
        let mut kept = Recorder::default();
        assert_eq!(run(&head_alone(Pooling::Mean), budget, &mut kept), expected);
        assert_eq!((kept.rows, kept.tokens), (40, 0), "no token passes the encoder in a step");
    }
}

/// Training rows that come once, or not at all, pass the frozen layers in their own step, or not at all.
#[test]
fn only_rows_that_come_again_are_kept() {
    let rows = sequences(40);
    let tokens: usize = rows[..30].iter().map(|row| row.ids.len()).sum();
    for config in [houlsby(1, Pooling::Mean), head_alone(Pooling::Mean)] {
        let run = |max_steps, budget| {
            let mut recorder = Recorder::default();
            let options = TrainOptions { max_steps: Some(max_steps), budget, ..two_epochs() };
            (run_with(&config, &options, &mut recorder), recorder)
        };
        for (steps, kept) in [(1, 10), (4, 10), (5, 40)] {
            let (anew, _) = run(steps, Budget { total_bytes: 1, ..Budget::default() });
            let (found, recorder) = run(steps, Budget::default());
            assert_eq!(found, anew, "{steps} steps");
            assert_eq!((recorder.rows, recorder.not_kept.len()), (kept, 0), "{steps} steps");
            if steps == 4 {
                assert_eq!(recorder.tokens, tokens, "each row once");
            }
        }
    }
}

#[test]
fn a_run_can_be_ended_while_what_is_constant_is_computed() {
    struct Impatient;
    impl TrainObserver for Impatient {
        fn prefix(&mut self, done: usize, rows: usize) -> ControlFlow<()> {
            assert!(0 < done && done <= rows);
            ControlFlow::Break(())
        }
        fn step(&mut self, _: &StepReport) -> ControlFlow<()> {
            unreachable!("the run has ended")
        }
        fn evaluation(&mut self, _: &EvaluationReport) -> ControlFlow<()> {
            unreachable!("the run has ended")
        }
    }
    let rows = encoded(&[sequence(4, 1)], 0);
    let data = TrainData { train: &rows, dev: &rows, begin: None, checkpoints: None, score: &|_| 0.0 };
    let options = GraftOptions::default().train;
    for config in [houlsby(1, Pooling::Mean), head_alone(Pooling::Mean)] {
        let error = train(MODEL.encoder(), &config, &options, &data, &mut Impatient).unwrap_err();
        assert!(matches!(error, TrainError::Interrupted { step: 0 }), "{error}");
    }
}

/// A task whose lower adapters are zero and whose lower layer normalisations are the encoder's is the bare encoder
/// below, so what lies above has the same gradients whether or not the task trains below as well.
#[test]
fn gradients_are_those_of_a_task_that_adapts_all_layers_and_changes_nothing_below() {
    let encoder = MODEL.encoder();
    let rows = sequences(9);
    let batch = PackedBatch::new(&rows);
    let targets: Vec<Target> = (0..rows.len()).map(|row| Target::Class(row % 3)).collect();
    for (pooling, head) in READINGS {
        let upper = task(&AdapterConfig { head, ..houlsby(1, pooling) }, 1);
        let whole = AdapterConfig { head, ..houlsby(0, pooling) };
        let mut all = TaskParameters::initialise(&whole, encoder, 0.0, 2);
        let specs = upper.layout().list().specs();
        let (layout, values) = all.split_mut();
        let places: Vec<_> = specs
            .iter()
            .map(|spec| {
                layout.list().specs().iter().find(|other| other.name == spec.name).unwrap().range.clone()
            })
            .collect();
        for (spec, place) in specs.iter().zip(&places) {
            values[place.clone()].copy_from_slice(&upper.values()[spec.range.clone()]);
        }
        let mut engine = GradientEngine::default();
        let none = EncoderDropout::none();
        let (expected_loss, expected) = engine.compute(encoder, &all, &batch, &targets, &none);
        let expected = expected.to_vec();
        let (loss, gradients) = engine.compute(encoder, &upper, &batch, &targets, &none);
        assert_eq!(loss, expected_loss);
        for (spec, place) in specs.iter().zip(places) {
            let gradient = &gradients[spec.range.clone()];
            assert!(gradient.iter().any(|value| *value != 0.0), "`{}` has a gradient", spec.name);
            assert_eq!(gradient, &expected[place], "`{}`", spec.name);
        }
    }
}

#[test]
fn tasks_that_are_asked_for_the_same_text_answer_as_they_do_alone() {
    let encoder = MODEL.encoder();
    let tasks = [
        task(&houlsby(0, Pooling::Mean), 1),
        task(&houlsby(1, Pooling::Cls), 2),
        task(&houlsby(1, Pooling::Mean), 3),
        task(&head_alone(Pooling::Mean), 4),
        task(&head_alone(Pooling::Cls), 5),
    ];
    let mut texts = sequences(29);
    // The same words with other types are another text; no task of either trains the first layer.
    texts.push(TokenIds { type_ids: vec![0; texts[27].ids.len()], ..texts[27].clone() });
    // Every text with another choice of tasks, far from each other in the order.
    let queries: Vec<Query<'_>> = (0..tasks.len())
        .flat_map(|task| texts.iter().enumerate().map(move |(row, tokens)| (row, task, tokens)))
        .filter(|(row, task, _)| (row + 1) >> task & 1 == 1)
        .map(|(_, task, tokens)| Query { tokens, task: &tasks[task] })
        .collect();
    let together = logits(encoder, &queries);
    let alone: Vec<Vec<f32>> =
        queries.iter().flat_map(|query| logits(encoder, std::slice::from_ref(query))).collect();
    assert_eq!(bits(&together), bits(&alone));
}

#[test]
#[should_panic = "nothing is trained below the hidden states at hand"]
fn hidden_states_above_what_trains_are_refused() {
    let rows = sequences(3);
    let batch = PackedBatch::new(&rows);
    let states = Constant::States(2).compute(MODEL.encoder(), &batch);
    let task = task(&houlsby(1, Pooling::Mean), 1);
    batch_logits(MODEL.encoder(), &batch.with_states(2, states), &[&task; 3]);
}
