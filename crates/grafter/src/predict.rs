//! Logits of rows, each with the task that it is asked for: the one path of evaluation, prediction and serving. (A run
//! scores its dev rows from what it kept of them, see [`crate::prefix`], if it kept something.)
//!
//! Rows of different tasks may stand in one batch; the frozen products run once over all tokens. Several tasks that are
//! asked for the same text share the layers that none of them changes. A row's logits are the same to the last bit
//! whatever stands beside it (see [`grafter_nn::gemm`]).

use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use grafter_nn::loss::{sigmoid, softmax};
use rayon::prelude::*;
use serde::Serialize;
use thiserror::Error;

use crate::adapter::{Adapter, AdapterError, Manifest, TaskParameters, TaskRecord, is_false};
use crate::batch::{Chunk, PackedBatch, TokenIds, groups_by_tokens};
use crate::data::{Row, TaskKind};
use crate::encoder::activations::{Activations, Keep, Segment};
use crate::encoder::{Encoder, EncoderDropout, ForwardPass};
use crate::entities::{Span, kind_name, spans};
use crate::head::{self, HeadActivations, HeadInput};
use crate::model::Model;
use crate::prefix::Constant;
use crate::question_answering::SpanAnswer;
use crate::row_encoding::{MAX_ROW_TOKENS, RowEncoding, in_order};
use crate::tokenizer::TokenizerError;

/// One row and the task that answers it.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The text or pair.
    pub tokens: &'a TokenIds,
    /// The task.
    pub task: &'a TaskParameters,
}

/// Why rows could not be answered.
#[derive(Debug, Error)]
pub enum PredictError {
    /// A text could not be encoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The adapter does not belong to the model.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// A row has one text too many or too few.
    #[error("{}", if *expected_pair { "expected a pair, found one text" } else { "expected one text, found a pair" })]
    Pair {
        /// Whether the task is on pairs.
        expected_pair: bool,
    },
    /// A row has texts to choose from and the task chooses none, or the reverse.
    #[error("{}", if *expected_choices { "expected two or more choices, found fewer" } else { "expected no choices, found some" })]
    Choices {
        /// Whether the task is to choose.
        expected_choices: bool,
    },
    /// The network's answer is NaN or infinite.
    #[error("the answer is not a number")]
    NotANumber,
    /// One of several rows could not be answered.
    #[error("line {line}: {error}")]
    Row {
        /// Where the row comes from.
        line: u64,
        /// Why.
        error: Box<PredictError>,
    },
}

/// Logits of each query, in the order of the queries: as many as its task has outputs.
///
/// Where several queries ask for the same text, the layers below all of their tasks' adapters run once for them.
pub fn logits(encoder: &Encoder, queries: &[Query<'_>]) -> Vec<Vec<f32>> {
    let mut answers = vec![Vec::new(); queries.len()];
    for (layers, places) in by_shared_layers(queries) {
        for group in groups_by_tokens(&places, |place| queries[*place].tokens.ids.len()) {
            let sequences: Vec<&TokenIds> = group.iter().map(|place| queries[*place].tokens).collect();
            let tasks: Vec<&TaskParameters> = group.iter().map(|place| queries[*place].task).collect();
            let batch = PackedBatch::new(sequences.iter().copied());
            let batch = match layers {
                0 => batch,
                _ => batch.with_states(layers, shared_states(encoder, layers, &sequences)),
            };
            for (place, logits) in group.iter().zip(batch_logits(encoder, &batch, &tasks)) {
                answers[*place] = logits;
            }
        }
    }
    answers
}

/// What the encoder knows of a text.
fn text(tokens: &TokenIds) -> (&[u32], &[u32]) {
    (&tokens.ids, &tokens.type_ids)
}

/// Places of the queries by how many layers they share with others of the same text: those of one task together where
/// they share none, equal texts together otherwise.
fn by_shared_layers(queries: &[Query<'_>]) -> BTreeMap<usize, Vec<usize>> {
    let mut known = HashMap::new();
    let mut texts: Vec<(usize, Vec<usize>)> = Vec::new();
    for (place, query) in queries.iter().enumerate() {
        let frozen = query.task.layout().frozen_layers();
        let index = *known.entry(text(query.tokens)).or_insert(texts.len());
        match texts.get_mut(index) {
            Some((layers, places)) => {
                *layers = frozen.min(*layers);
                places.push(place);
            }
            None => texts.push((frozen, vec![place])),
        }
    }
    let mut by_layers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (layers, places) in texts {
        let shared = if places.len() > 1 { layers } else { 0 };
        by_layers.entry(shared).or_default().extend(places);
    }
    // Rows of one task that stand together are one segment, whose products are as large as they can be.
    let mut tasks = HashMap::new();
    for query in queries {
        let next = tasks.len();
        tasks.entry(std::ptr::from_ref(query.task)).or_insert(next);
    }
    let task = |place: &usize| tasks[&std::ptr::from_ref(queries[*place].task)];
    by_layers.entry(0).or_default().sort_unstable_by_key(|place| (task(place), *place));
    by_layers
}

/// The hidden states that enter a layer, `[tokens, hidden]`, of sequences among which equal ones stand together.
fn shared_states(encoder: &Encoder, layer: usize, sequences: &[&TokenIds]) -> Vec<f32> {
    let texts = || sequences.chunk_by(|a, b| text(a) == text(b));
    let batch = PackedBatch::new(texts().map(|equal| equal[0]));
    let once = Constant::States(layer).compute(encoder, &batch);
    let mut rest = &once[..];
    let mut states = Vec::new();
    for equal in texts() {
        let (first, later) = rest.split_at(equal[0].ids.len() * encoder.config.hidden_size);
        equal.iter().for_each(|_| states.extend(first));
        rest = later;
    }
    states
}

/// Token ids of one row for an adapter's task, sequence by sequence.
/// # Errors
/// If the row is not of the task's form; see [`RowEncoding::encode`].
pub fn encode_for(model: &Model, adapter: &Adapter, row: &Row) -> Result<Vec<TokenIds>, PredictError> {
    encode_for_within(model, adapter, row, MAX_ROW_TOKENS)
}

/// The same of a row whose sequences may have so many tokens together.
/// # Errors
/// As of [`encode_for`].
pub fn encode_for_within(
    model: &Model,
    adapter: &Adapter,
    row: &Row,
    most_tokens: usize,
) -> Result<Vec<TokenIds>, PredictError> {
    fits(&adapter.manifest().task, row)?;
    Ok(RowEncoding::of(adapter.manifest()).encode_within(model, row, most_tokens)?)
}

/// That a row is of a task's form.
/// # Errors
/// If it is a pair and the task is on single texts, or the reverse; if it has choices and the task chooses none, or the reverse.
pub fn fits(task: &TaskRecord, row: &Row) -> Result<(), PredictError> {
    let expected_pair = task.pair;
    if row.text_b.is_some() != expected_pair {
        return Err(PredictError::Pair { expected_pair });
    }
    let expected_choices = task.kind == TaskKind::MultipleChoice;
    if row.choices.is_empty() == expected_choices || row.choices.len() == 1 {
        return Err(PredictError::Choices { expected_choices });
    }
    Ok(())
}

/// Logits of rows by one adapter, in the order of the rows: those of all sequences of a row one after another.
/// # Errors
/// If the adapter belongs to another model, a row cannot be encoded, or a logit is not a number.
pub fn row_logits<R: Borrow<Row> + Sync>(
    model: &Model,
    adapter: &Adapter,
    rows: &[R],
) -> Result<Vec<Vec<f32>>, PredictError> {
    Ok(answered(model, adapter, rows)?.into_iter().map(|(_, logits)| logits).collect())
}

/// A row as tokens, sequence by sequence, and the logits of all of them.
type Answered = (Vec<TokenIds>, Vec<f32>);

/// Tokens and logits of rows by one adapter, the sequences of a row together.
pub(crate) fn answered<R: Borrow<Row> + Sync>(
    model: &Model,
    adapter: &Adapter,
    rows: &[R],
) -> Result<Vec<Answered>, PredictError> {
    adapter.check_model(model)?;
    let at = |line, error| PredictError::Row { line, error: Box::new(error) };
    let tokens =
        in_order(rows, |row| encode_for(model, adapter, row)).map_err(|(line, error)| at(line, error))?;
    let query = |tokens| Query { tokens, task: adapter.parameters() };
    let queries: Vec<Query<'_>> = tokens.iter().flatten().map(query).collect();
    let mut of_sequences = logits(model.encoder(), &queries).into_iter();
    let logits: Vec<Vec<f32>> = tokens.iter().map(|row| of_row(row.len(), &mut of_sequences)).collect();
    match logits.iter().position(|logits| !are_numbers(logits)) {
        Some(row) => Err(at(rows[row].borrow().line, PredictError::NotANumber)),
        None => Ok(tokens.into_iter().zip(logits).collect()),
    }
}

/// The logits of a row of so many sequences, which are the next ones.
pub fn of_row(sequences: usize, logits: &mut impl Iterator<Item = Vec<f32>>) -> Vec<f32> {
    match sequences {
        1 => logits.next().unwrap_or_default(),
        several => logits.take(several).flatten().collect(),
    }
}

/// The bytes in its context of what each two logits of a question are of.
pub(crate) fn candidates(sequences: &[TokenIds]) -> Vec<Range<usize>> {
    sequences.iter().flat_map(|sequence| sequence.words.iter().map(|word| word.range.clone())).collect()
}

/// Answers of an adapter to rows, in their order.
/// # Errors
/// As of [`row_logits`].
pub fn predict(model: &Model, adapter: &Adapter, rows: &[Row]) -> Result<Vec<Prediction>, PredictError> {
    let answered = answered(model, adapter, rows)?.into_iter().zip(rows);
    Ok(answered.map(|((tokens, logits), row)| Prediction::new(adapter, (row, &tokens), &logits)).collect())
}

/// Whether logits can be read as an answer: NaN and infinity cannot.
pub fn are_numbers(logits: &[f32]) -> bool {
    logits.iter().all(|logit| logit.is_finite())
}

thread_local! {
    /// Buffers that stay with the thread: taking fresh memory for every batch cost 3 % of inference. They are as large as
    /// the largest chunk that the thread has seen.
    static WORKSPACE: RefCell<(Activations, HeadActivations)> = RefCell::default();
}

/// Logits of each sequence of a batch, which may bring hidden states, each by a task of its own.
/// # Panics
/// If there are not as many tasks as sequences, or one trains something below the hidden states.
pub fn batch_logits(encoder: &Encoder, batch: &PackedBatch, tasks: &[&TaskParameters]) -> Vec<Vec<f32>> {
    assert_eq!(tasks.len(), batch.sequences(), "one task for each sequence");
    let chunks = batch.chunks();
    let rows: Vec<Vec<Vec<f32>>> = chunks
        .par_iter()
        .with_max_len(1)
        .map(|chunk| {
            let tasks = &tasks[chunk.first_sequence..][..chunk.sequences()];
            WORKSPACE.with_borrow_mut(|buffers| chunk_logits(encoder, chunk, tasks, buffers))
        })
        .collect();
    rows.into_iter().flatten().collect()
}

fn chunk_logits(
    encoder: &Encoder,
    chunk: &Chunk<'_>,
    tasks: &[&TaskParameters],
    (activations, head): &mut (Activations, HeadActivations),
) -> Vec<Vec<f32>> {
    let none = EncoderDropout::none();
    let some: Vec<_> = tasks.iter().map(|task| Some(*task)).collect();
    let segments = Segment::of_tasks(chunk, &some);
    let pass = ForwardPass { chunk, segments: &segments, dropout: &none, keep: Keep::Nothing };
    encoder.forward(pass, activations);
    let mut rows = Vec::with_capacity(tasks.len());
    for segment in segments {
        let task = tasks[segment.sequences.start];
        let (sequences, hidden_states) = (segment.sequences, activations.hidden());
        let words = sequences.clone().map(|sequence| chunk.words(sequence).len());
        head::forward(&HeadInput { encoder, chunk, sequences, hidden_states }, task, &none, head);
        rows.extend(head::by_sequence(task, head, words));
    }
    rows
}

/// What a task answers for one row.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Prediction {
    /// One of the task's classes.
    Class {
        /// The name of the most probable class.
        label: String,
        /// Its probability.
        score: f64,
        /// Probability of every class, in the order of the task's labels.
        probabilities: serde_json::Map<String, serde_json::Value>,
    },
    /// Any number of the task's labels.
    Labels {
        /// Their names, in the order of the task's labels.
        labels: Vec<String>,
        /// Probability of every label, in the order of the task's labels.
        probabilities: serde_json::Map<String, serde_json::Value>,
    },
    /// A number, in the unit of the training scores.
    Score {
        /// The number.
        score: f32,
    },
    /// Spans of words.
    Entities {
        /// In the order of the text.
        entities: Vec<Entity>,
        /// Whether the text was cut to the longest length: what is beyond has no answer.
        #[serde(skip_serializing_if = "is_false")]
        truncated: bool,
    },
    /// A tag for each word.
    Tags {
        /// The words, as far as the text was read.
        words: Vec<String>,
        /// The most probable tag of each.
        tags: Vec<String>,
        /// Its probability.
        scores: Vec<f64>,
        /// Whether the text was cut to the longest length: what is beyond has no answer.
        #[serde(skip_serializing_if = "is_false")]
        truncated: bool,
    },
    /// One of the row's own texts.
    Choice {
        /// Its place among them, counted from 0.
        choice: usize,
        /// The text.
        text: String,
        /// Its probability.
        score: f64,
        /// Probability of each, in their order.
        probabilities: Vec<f64>,
    },
    /// A part of the row's context.
    Answer {
        /// What of the context it is; empty where there is none.
        answer: String,
        /// Its first character in the context, counted from 0.
        #[serde(skip_serializing_if = "Option::is_none")]
        start: Option<usize>,
        /// The character after its last.
        #[serde(skip_serializing_if = "Option::is_none")]
        end: Option<usize>,
        /// Its probability among all parts of its window of the context, and no answer.
        score: f64,
    },
}

/// A span of words in an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entity {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What of the text it is.
    pub text: String,
    /// Its first character in the text, counted from 0; of a text that came as words, in these with a space between them.
    pub start: usize,
    /// The character after its last.
    pub end: usize,
    /// Of a text that came as words: its first word, counted from 0, and the word after its last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<[usize; 2]>,
    /// The mean probability of the tags of its words.
    pub score: f64,
}

impl Prediction {
    /// Reads an adapter's logits for a row and its tokens, sequence by sequence.
    pub fn new(adapter: &Adapter, (row, sequences): (&Row, &[TokenIds]), logits: &[f32]) -> Self {
        let task = &adapter.manifest().task;
        match (task.kind, sequences) {
            (TaskKind::Entities | TaskKind::Tags, [tokens]) => {
                return Self::of_words(adapter, (row, tokens), logits);
            }
            (TaskKind::MultipleChoice, _) => return Self::of_choices(row, logits),
            (TaskKind::QuestionAnswering, _) => {
                return Self::of_context(adapter.manifest(), (row, sequences), logits);
            }
            _ => {}
        }
        if let Some(scale) = task.scores {
            return Self::Score { score: scale.restore(logits[0]) };
        }
        let probabilities = adapter.probabilities(logits);
        let named = task.labels.iter().cloned().zip(probabilities.iter().map(|value| (*value).into()));
        if task.kind == TaskKind::MultiLabel {
            let labels = probable_labels(logits, adapter.manifest().thresholds.as_deref());
            let labels = labels.into_iter().map(|label| task.labels[label].clone()).collect();
            return Self::Labels { labels, probabilities: named.collect() };
        }
        let best = best_class(logits);
        Self::Class {
            label: task.labels[best].clone(),
            score: probabilities[best],
            probabilities: named.collect(),
        }
    }

    fn of_choices(row: &Row, logits: &[f32]) -> Self {
        let probabilities = softmax(logits);
        let choice = best_class(logits);
        let text = row.choices.get(choice).cloned().unwrap_or_default();
        Self::Choice { choice, text, score: probabilities[choice], probabilities }
    }

    fn of_context(manifest: &Manifest, (row, sequences): (&Row, &[TokenIds]), logits: &[f32]) -> Self {
        let context = row.text_b.as_deref().unwrap_or_default();
        let found = SpanAnswer::read(logits, &candidates(sequences));
        let Some(range) = found.given(manifest.no_answer_threshold()) else {
            return Self::Answer {
                answer: String::new(),
                start: None,
                end: None,
                score: found.null_probability,
            };
        };
        let start = context[..range.start].chars().count();
        let answer = context[range].to_owned();
        let end = start + answer.chars().count();
        Self::Answer { answer, start: Some(start), end: Some(end), score: found.probability }
    }

    fn of_words(adapter: &Adapter, (row, tokens): (&Row, &TokenIds), logits: &[f32]) -> Self {
        let task = &adapter.manifest().task;
        let of_words = || logits.chunks_exact(task.labels.len());
        let tags: Vec<usize> = of_words().map(best_class).collect();
        let scores: Vec<f64> =
            of_words().zip(&tags).map(|(logits, tag)| adapter.probabilities(logits)[*tag]).collect();
        let truncated = tokens.truncated;
        if task.kind == TaskKind::Tags {
            let words = tokens.words.iter().map(|word| row.text[word.range.clone()].to_owned()).collect();
            let tags = tags.into_iter().map(|tag| task.labels[tag].clone()).collect();
            return Self::Tags { words, tags, scores, truncated };
        }
        let characters = |range: Range<usize>| row.text[range].chars().count();
        // Each entity's beginning is counted from the one before: a long text is passed once.
        let (mut byte, mut character) = (0, 0);
        let entities = spans(&tags).into_iter().map(|Span { kind, words }| {
            let range = tokens.words[words.start].range.start..tokens.words[words.end - 1].range.end;
            let start = character + characters(byte..range.start);
            (byte, character) = (range.start, start);
            let of_words = &scores[words.clone()];
            Entity {
                kind: kind_name(&task.labels, kind).to_owned(),
                start,
                end: start + characters(range.clone()),
                text: row.text[range].to_owned(),
                score: of_words.iter().sum::<f64>() / of_words.len() as f64,
                words: row.words.is_some().then_some([words.start, words.end]),
            }
        });
        Self::Entities { entities: entities.collect(), truncated }
    }
}

/// The threshold of a label that has none of its own.
pub const DEFAULT_THRESHOLD: f64 = 0.5;

/// The labels whose probability reaches their threshold, [`DEFAULT_THRESHOLD`] without one, in ascending order.
pub fn probable_labels(logits: &[f32], thresholds: Option<&[f64]>) -> Vec<usize> {
    let least =
        |label: usize| thresholds.and_then(|all| all.get(label)).copied().unwrap_or(DEFAULT_THRESHOLD);
    (0..logits.len()).filter(|label| sigmoid(logits[*label]) >= least(*label)).collect()
}

/// The class of the largest logit; the first of equals.
pub fn best_class(logits: &[f32]) -> usize {
    let mut best = 0;
    for (class, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = class;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::Method;
    use crate::checkpoint::read_encoder;
    use crate::graft::GraftOptions;

    #[test]
    fn equal_texts_share_the_layers_below_all_of_their_tasks() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-bert");
        let encoder = read_encoder(&folder).expect("a model of two layers");
        let task = |method, adapt_from_layer| {
            let options = GraftOptions { method, adapt_from_layer, ..GraftOptions::default() };
            TaskParameters::initialise(&options.config(2), &encoder, 0.1, 1)
        };
        let (all, upper, head) = (task(Method::Houlsby, 0), task(Method::Houlsby, 1), task(Method::Head, 0));
        let texts: Vec<TokenIds> = (1..6)
            .map(|length| TokenIds { ids: vec![7; length], type_ids: vec![0; length], ..TokenIds::default() })
            .collect();
        let asked = [
            (0, &upper),
            (1, &head),
            (2, &upper),
            (3, &all),
            (4, &upper),
            (3, &upper),
            (0, &head),
            (1, &head),
            (4, &upper),
        ];
        let queries: Vec<Query<'_>> =
            asked.iter().map(|(text, task)| Query { tokens: &texts[*text], task }).collect();
        let expected = [(0, vec![2, 5, 3]), (1, vec![0, 6, 4, 8]), (2, vec![1, 7])];
        assert_eq!(by_shared_layers(&queries), BTreeMap::from(expected));
    }
}
