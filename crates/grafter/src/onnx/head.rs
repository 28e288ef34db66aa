//! From the hidden states to what the model gives: pooling, the head, and the answers in the form in which they are read.

use super::graph::Value;
use super::network::{Mask, Network, Numbers};
use super::proto::{AttributeProto, Dimension};
use crate::adapter::{Pooling, TaskRecord};
use crate::data::TaskKind;

/// What the head gives: class by class, or the scores themselves.
pub(super) const LOGITS: &str = "logits";
/// Of classes and labels.
pub(super) const PROBABILITIES: &str = "probabilities";
/// Rows.
pub(super) const BATCH: &str = "batch";
/// Tokens of the longest row.
pub(super) const SEQUENCE: &str = "sequence";

/// One output of the model.
pub(super) struct Answer {
    pub name: &'static str,
    pub shape: Vec<Dimension>,
    pub description: &'static str,
}

/// What the head reads.
struct Pooled {
    value: Value,
    /// Its sides before the last, which is `hidden`.
    sides: Vec<Dimension>,
}

impl Network<'_> {
    /// What a task answers, by hidden states `[batch, sequence, hidden]`; logits are divided by the temperature before they
    /// become probabilities.
    pub fn answers(
        &mut self,
        hidden: &Value,
        mask: &Mask,
        (task, temperature): (&TaskRecord, f64),
    ) -> Vec<Answer> {
        let pooled = self.pooled(hidden, mask);
        let mut shape = pooled.sides;
        shape.push(Dimension::Fixed(self.task.layout().config().outputs));
        let answer = |name, description| Answer { name, shape: shape.clone(), description };
        if let Some(scale) = task.scores {
            let output = self.head("head", &pooled.value);
            let (std, mean) =
                (self.graph.constant("std", scale.std), self.graph.constant("mean", scale.mean));
            let scaled = self.graph.op("Mul", "scores.scaled", &[&output, &std], Vec::new());
            self.graph.op("Add", LOGITS, &[&scaled, &mean], Vec::new());
            return vec![answer(LOGITS, "the score, in the unit of the training scores")];
        }
        let logits = self.head(LOGITS, &pooled.value);
        let description = match task.kind {
            TaskKind::MultipleChoice => {
                "one number for each choice, which is a row; the largest is the answer"
            }
            TaskKind::QuestionAnswering => {
                "of each token how likely it begins the answer, and how likely it ends it"
            }
            _ => "one number for each label, in the order of `grafter.labels`",
        };
        let mut answers = vec![answer(LOGITS, description)];
        match task.kind {
            TaskKind::Classification | TaskKind::Entities | TaskKind::Tags => {
                let mut scores = logits;
                if temperature != 1.0 {
                    let divisor = self.graph.constant("temperature", temperature as f32);
                    scores = self.graph.op("Div", "logits.by_temperature", &[&scores, &divisor], Vec::new());
                }
                let last = vec![AttributeProto::int("axis", -1)];
                self.graph.op("Softmax", PROBABILITIES, &[&scores], last);
                answers.push(answer(PROBABILITIES, "of each label; they sum to 1"));
            }
            TaskKind::MultiLabel => {
                self.graph.op("Sigmoid", PROBABILITIES, &[&logits], Vec::new());
                answers.push(answer(PROBABILITIES, "of each label alone"));
            }
            // One that has no scale, which no training writes: the output is the score.
            TaskKind::Regression => {}
            // The choices of one question are several rows, and so are the windows of a context.
            TaskKind::MultipleChoice | TaskKind::QuestionAnswering => {}
        }
        answers
    }

    fn pooled(&mut self, hidden: &Value, mask: &Mask) -> Pooled {
        let one_a_row = vec![Dimension::Named(BATCH)];
        match self.task.layout().config().pooling {
            Pooling::First => Pooled { value: self.first(hidden), sides: one_a_row },
            Pooling::Mean => Pooled { value: self.mean(hidden, mask), sides: one_a_row },
            // Of each token: which of them are the first of a word, the caller knows.
            Pooling::Words => Pooled {
                value: hidden.clone(),
                sides: vec![Dimension::Named(BATCH), Dimension::Named(SEQUENCE)],
            },
            Pooling::Cls => {
                let first = self.first(hidden);
                let frozen = self.encoder.pooler.as_ref();
                let frozen =
                    frozen.expect("a task with `cls` pooling is only made on an encoder with a pooler");
                let numbers = Numbers::of(frozen, self.task.pooler());
                let dense = self.graph.linear_of("pooler", &first, numbers.whole());
                let value = self.graph.op("Tanh", "pooler.activation", &[&dense], Vec::new());
                Pooled { value, sides: one_a_row }
            }
        }
    }

    /// The hidden state of the first token.
    fn first(&mut self, hidden: &Value) -> Value {
        let index = self.graph.indices("zero", &[], &[0]);
        self.graph.op("Gather", "pooled.first", &[hidden, &index], vec![AttributeProto::int("axis", 1)])
    }

    /// The mean of the hidden states of all tokens; zero of a row that has none.
    fn mean(&mut self, hidden: &Value, mask: &Mask) -> Value {
        let graph = &mut self.graph;
        let axis = graph.list_of(1);
        let (nothing, one) = (graph.constant("nothing", 0.0), graph.constant("one", 1.0));
        let tokens = graph.op("Where", "pooled.is_token", &[&mask.is_padding, &nothing, &one], Vec::new());
        let last = graph.indices("axes_2", &[1], &[2]);
        let weights = graph.op("Unsqueeze", "pooled.weights", &[&tokens, &last], Vec::new());
        let kept = graph.op("Mul", "pooled.tokens", &[hidden, &weights], Vec::new());
        let flat = |keep: i64| vec![AttributeProto::int("keepdims", keep)];
        let sum = graph.op("ReduceSum", "pooled.sum", &[&kept, &axis], flat(0));
        let count = graph.op("ReduceSum", "pooled.counted", &[&tokens, &axis], flat(1));
        let count = graph.op("Max", "pooled.count", &[&count, &one], Vec::new());
        graph.op("Div", "pooled.mean", &[&sum, &count], Vec::new())
    }

    /// The task's head, whose result has a name of its own.
    fn head(&mut self, result: &str, pooled: &Value) -> Value {
        let mut read = pooled.clone();
        if let Some((dense, activation)) = self.task.head_dense() {
            let inner = self.graph.linear_of("head.dense", pooled, dense);
            read = self.graph.activation("head.activation", activation, &inner);
        }
        let head = self.graph.linear("head", self.task.head());
        self.graph.apply(result, &read, &head)
    }
}
