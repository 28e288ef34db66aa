//! The answers to the dev rows: scores beside the baseline, what is confused, the worst rows with their texts.

use std::ops::Range;

use serde::Serialize;

use super::TrainReport;
use crate::data::{DataError, LabelledRows, TaskKind};
use crate::entities::{kind_name, spans};
use crate::metrics::{AnswerPart, AnswerScores, ClassScores, ClassificationScores, EntityScores, Scores};
use crate::report::chart::{Axis, Cell, HeatMap, Labels, Mark, Plot, Point, Series, number};
use crate::report::number::grouped;
use crate::report::page::{Paragraph, Section};
use crate::report::table::{Column, Table};
use crate::review::{Review, WorstAnswer};
use crate::text::{escape, listed};

/// Labels up to which the whole confusion matrix is drawn.
pub(super) const MATRIX_LABELS: usize = 30;
/// Labels up to which each has its line.
const LISTED_LABELS: usize = 60;
/// Words, or entities, of a row that are listed.
const LISTED_WORDS: usize = 12;
/// Characters of a text that are shown.
const TEXT_CHARACTERS: usize = 400;
/// Characters of a label that are shown.
const LABEL_CHARACTERS: usize = 60;

/// The texts of the worst rows.
#[derive(Clone, Debug)]
pub enum Texts {
    /// They are shown: for each of [`Review::worst`], its line in the file and its text, or two texts of a pair.
    Shown(Vec<RowText>),
    /// They were not wanted.
    LeftOut,
    /// The dev rows could not be read again; what the error said.
    Unreadable(String),
}

/// A row as a report quotes it.
#[derive(Clone, Debug, Default)]
pub struct RowText {
    /// The line it starts on, counted from 1.
    pub line: u64,
    /// The text, cut; of a pair both.
    pub text: String,
    /// The words, where it came as such.
    pub words: Vec<String>,
    /// The texts to choose from, cut.
    pub choices: Vec<String>,
    /// The context of a question, whole.
    pub context: String,
}

impl Texts {
    /// Reads the dev rows once more for the texts of the worst of them; no other text is kept.
    pub fn of(review: &Review, dev: &dyn LabelledRows) -> Self {
        read_texts(review, dev).map_or_else(|error| Self::Unreadable(error.to_string()), Self::Shown)
    }
}

fn read_texts(review: &Review, dev: &dyn LabelledRows) -> Result<Vec<RowText>, DataError> {
    let mut texts = vec![RowText::default(); review.worst.len()];
    if texts.is_empty() {
        return Ok(texts);
    }
    // To the end: only there a file tells that it was changed.
    for (place, row) in dev.read()?.enumerate() {
        let row = row?;
        if let Some(worst) = review.worst.iter().position(|worst| worst.row == place) {
            let mut text = escape(&row.text, TEXT_CHARACTERS);
            if let (Some(context), true) = (&row.text_b, row.answers.is_some()) {
                let (line, context) = (row.line, context.clone());
                texts[worst] = RowText { line, text, context, ..RowText::default() };
                continue;
            }
            if let Some(second) = &row.text_b {
                text += "\u{2003}|\u{2003}";
                text += &escape(second, TEXT_CHARACTERS);
            }
            let words = row.words.iter().flatten().map(|word| row.text[word.clone()].to_owned()).collect();
            let choices = row.choices.iter().map(|choice| escape(choice, TEXT_CHARACTERS)).collect();
            texts[worst] = RowText { line: row.line, text, words, choices, context: String::new() };
        }
    }
    Ok(texts)
}

/// How good the answers to questions with and without an answer are.
fn answerable(scores: &AnswerScores) -> Table {
    let all = AnswerPart { rows: scores.rows, exact_match: scores.exact_match, f1: scores.f1 };
    let parts = [
        ("with an answer", scores.answerable.as_ref()),
        ("without an answer", scores.unanswerable.as_ref()),
        ("all", Some(&all)),
    ];
    let row = |(name, part): (&str, &AnswerPart)| {
        vec![name.to_owned(), decimals(part.exact_match), decimals(part.f1), part.rows.to_string()]
    };
    let numbers = ["exact match", "F1 of the words", "rows"].map(|name| (name.to_owned(), Column::Number));
    Table {
        caption:
            "How many answers are right word for word, and how many words they share with the right ones"
                .to_owned(),
        columns: [("questions".to_owned(), Column::Name)].into_iter().chain(numbers).collect(),
        rows: parts.into_iter().filter_map(|(name, part)| Some(row((name, part?)))).collect(),
    }
}

/// A part of a context, or where it is if the context is not shown.
fn span(range: Option<&Range<usize>>, context: Option<&str>) -> String {
    let Some(range) = range else { return "none".to_owned() };
    match context.and_then(|context| context.get(range.clone())) {
        Some(text) => escape(text, TEXT_CHARACTERS),
        None => format!("bytes {} to {}", range.start, range.end),
    }
}

fn decimals(value: f64) -> String {
    format!("{value:.4}")
}

fn share(part: f64) -> String {
    format!("{:.1} %", 100.0 * part)
}

impl TrainReport<'_> {
    fn label(&self, class: usize) -> String {
        let labels = &self.grafted.adapter.manifest().task.labels;
        labels.get(class).map_or_else(|| class.to_string(), |label| escape(label, LABEL_CHARACTERS))
    }

    /// Several labels.
    fn set(&self, labels: &[usize]) -> String {
        let names: Vec<String> = labels.iter().map(|label| self.label(*label)).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// All scores beside those of a constant answer.
    pub(super) fn scores(&self) -> Section {
        let manifest = self.grafted.adapter.manifest();
        let training = &self.grafted.training;
        let rows = |scores: &Scores| -> Vec<(String, Option<f64>)> {
            let metrics =
                crate::metrics::Metric::ALL.into_iter().filter(|metric| scores.get(*metric).is_ok());
            let mut rows: Vec<(String, Option<f64>)> = metrics
                .map(|metric| (metric.describe(&manifest.task.labels), scores.get(metric).ok().flatten()))
                .collect();
            if let Scores::Regression(scores) = scores {
                rows.push(("mean squared error".to_owned(), scores.mean_squared_error));
            }
            rows
        };
        let text = |value: Option<f64>| value.map_or("–".to_owned(), decimals);
        let (own, baseline) = (rows(&training.dev_scores), rows(&training.baseline));
        let table = Table {
            caption: String::new(),
            columns: vec![
                ("metric".to_owned(), Column::Name),
                ("this adapter".to_owned(), Column::Number),
                ("baseline".to_owned(), Column::Number),
            ],
            rows: own
                .into_iter()
                .zip(baseline)
                .map(|((name, value), (_, baseline))| vec![name, text(value), text(baseline)])
                .collect(),
        };
        let constant = manifest.task.constant_answer();
        let note = format!(
            "On {} dev rows, with the parameters of step {}. The baseline always gives {constant}.",
            grouped(training.dev_rows),
            training.best_step
        );
        Section::new("Scores").with(&table).with(&Paragraph(note))
    }

    /// What is taken for what; for regression the answers over the true scores.
    pub(super) fn confusions(&self) -> Section {
        let review = &self.grafted.review;
        match &review.scores {
            Scores::Classification(scores) | Scores::Tags(scores) => {
                let section = Section::new("Confusions");
                let section = match scores.confusion.len() {
                    1..=MATRIX_LABELS => section.with(&self.matrix(scores)),
                    _ => section.with(&self.confused_pairs()),
                };
                section.with(&self.per_class(&scores.per_class))
            }
            Scores::MultiLabel(scores) => Section::new("Labels").with(&self.per_class(&scores.per_class)),
            Scores::Entities(scores) => Section::new("Types").with(&self.per_type(scores)),
            Scores::Regression(_) => Section::new("Answers").with(&self.answers()),
            Scores::Choices(_) => Section::new("Answers").with(&Paragraph(
                "Each row has texts of its own to choose from: there are no labels to take for others."
                    .to_owned(),
            )),
            Scores::Answers(scores) => Section::new("Answers").with(&answerable(scores)),
        }
    }

    /// Precision, recall and F1 of each type of entities.
    fn per_type(&self, scores: &EntityScores) -> Table {
        let tags = &self.grafted.adapter.manifest().task.labels;
        let all = ("all".to_owned(), [scores.precision, scores.recall, scores.micro_f1], scores.support());
        let types = scores.per_type.iter().enumerate().map(|(kind, of)| {
            (escape(kind_name(tags, kind), LABEL_CHARACTERS), [of.precision, of.recall, of.f1], of.support)
        });
        let row = |(name, values, support): (String, [f64; 3], u64)| {
            let mut row = vec![name];
            row.extend(values.map(decimals));
            row.push(support.to_string());
            row
        };
        let numbers = ["precision", "recall", "F1", "entities"].map(|name| (name.to_owned(), Column::Number));
        Table {
            caption: "Precision, recall and F1 of each type; an entity is right if its type and all of its words are"
                .to_owned(),
            columns: [("type".to_owned(), Column::Name)].into_iter().chain(numbers).collect(),
            rows: types.chain([all]).map(row).collect(),
        }
    }

    /// What the tags of a row say: its entities, or the tags of the words where `other` has another one.
    fn tags(&self, tags: &[usize], other: &[usize], words: Option<&[String]>) -> String {
        let task = &self.grafted.adapter.manifest().task;
        let word = |place: usize| match words.and_then(|words| words.get(place)) {
            Some(word) => escape(word, LABEL_CHARACTERS),
            None => format!("word {}", place + 1),
        };
        let said: Vec<String> = if task.kind == TaskKind::Entities {
            let others = spans(other);
            let of_one = spans(tags).into_iter().filter(|span| !others.contains(span));
            of_one
                .map(|span| {
                    let words: Vec<String> = span.words.map(word).collect();
                    format!(
                        "{} ({})",
                        words.join(" "),
                        escape(kind_name(&task.labels, span.kind), LABEL_CHARACTERS)
                    )
                })
                .collect()
        } else {
            let wrong = tags.iter().enumerate().filter(|(place, tag)| other.get(*place) != Some(tag));
            wrong.map(|(place, tag)| format!("{} ({})", word(place), self.label(*tag))).collect()
        };
        if said.is_empty() { "none".to_owned() } else { listed(said, LISTED_WORDS) }
    }

    fn matrix(&self, scores: &ClassificationScores) -> HeatMap {
        let labels: Vec<String> = (0..scores.confusion.len()).map(|class| self.label(class)).collect();
        let cells = scores.confusion.iter().map(|row| {
            let total: u64 = row.iter().sum();
            row.iter()
                .map(|count| Cell { value: *count as f64 / total as f64, text: count.to_string() })
                .collect()
        });
        HeatMap {
            title: "Answers to the rows of each label".to_owned(),
            cells: cells.collect(),
            rows: Labels { name: "label".to_owned(), labels: labels.clone() },
            columns: Labels { name: "answer".to_owned(), labels },
            range: Some((0.0, 1.0)),
            scale: "share of the label's rows".to_owned(),
        }
    }

    fn confused_pairs(&self) -> Table {
        let confused = &self.grafted.review.confused;
        Table {
            caption: if confused.is_empty() {
                "No label was taken for another one.".to_owned()
            } else {
                "The labels that are most often taken for others".to_owned()
            },
            columns: vec![
                ("label".to_owned(), Column::Name),
                ("answer".to_owned(), Column::Name),
                ("rows".to_owned(), Column::Number),
            ],
            rows: confused
                .iter()
                .map(|pair| vec![self.label(pair.label), self.label(pair.answer), pair.rows.to_string()])
                .collect(),
        }
    }

    fn per_class(&self, scores: &[ClassScores]) -> Table {
        let mut classes: Vec<usize> = (0..scores.len()).collect();
        let mut caption = "Precision, recall and F1 of each label".to_owned();
        if classes.len() > LISTED_LABELS {
            classes.retain(|class| scores[*class].support > 0);
            classes.sort_by(|a, b| scores[*a].f1.total_cmp(&scores[*b].f1));
            classes.truncate(LISTED_LABELS);
            caption = format!(
                "The {} labels with the lowest F1 of those that have dev rows; all {} are in report.json",
                classes.len(),
                grouped(scores.len())
            );
        }
        let row = |class: usize| {
            let of = &scores[class];
            let mut row = vec![self.label(class)];
            row.extend([of.precision, of.recall, of.f1].map(decimals));
            row.push(of.support.to_string());
            row
        };
        let numbers = ["precision", "recall", "F1", "rows"].map(|name| (name.to_owned(), Column::Number));
        Table {
            caption,
            columns: [("label".to_owned(), Column::Name)].into_iter().chain(numbers).collect(),
            rows: classes.into_iter().map(row).collect(),
        }
    }

    fn answers(&self) -> Plot {
        let answers = &self.grafted.review.sample;
        let points: Vec<Point> = answers
            .iter()
            .map(|(target, answer)| Point::new(f64::from(*target), f64::from(*answer)))
            .collect();
        let least = points.iter().map(|point| point.x).fold(f64::INFINITY, f64::min);
        let most = points.iter().map(|point| point.x).fold(f64::NEG_INFINITY, f64::max);
        let all = self.grafted.training.dev_rows;
        Plot {
            title: match answers.len() < all {
                true => format!("{} of {} dev rows, evenly picked", answers.len(), grouped(all)),
                false => "All dev rows".to_owned(),
            },
            x: Axis::linear("true score"),
            y: Axis::linear("answer"),
            series: vec![
                Series { name: "a dev row".to_owned(), mark: Mark::Points, points, ..Series::default() },
                Series {
                    name: "where answer and score are the same".to_owned(),
                    mark: Mark::Dashed,
                    points: vec![Point::new(least, least), Point::new(most, most)],
                    ..Series::default()
                },
            ],
        }
    }

    /// The worst rows.
    pub(super) fn mistakes(&self) -> Section {
        let worst = &self.grafted.review.worst;
        let kind = self.grafted.adapter.manifest().task.kind;
        let section =
            Section::new(if kind == TaskKind::Regression { "Largest errors" } else { "Worst mistakes" });
        if worst.is_empty() {
            return section.with(&Paragraph("Every dev row was answered rightly.".to_owned()));
        }
        let told = match kind {
            TaskKind::Classification => "The wrong answers whose label was thought least probable.",
            TaskKind::MultiLabel => "The rows that were not wholly right with the largest loss.",
            TaskKind::Entities => {
                "The texts with the largest loss, with the entities that were missed and those that were none."
            }
            TaskKind::Tags => "The texts with the largest loss, with the words that were answered wrongly.",
            TaskKind::Regression => "The answers that are furthest from the score.",
            TaskKind::MultipleChoice => "The wrong answers whose right choice was thought least probable.",
            TaskKind::QuestionAnswering => "The wrong answers that were thought most probable.",
        };
        let section = section.with(&Paragraph(told.to_owned()));
        let section = match &self.texts {
            Texts::Shown(_) => section,
            Texts::LeftOut => section.with(&Paragraph("The texts were left out.".to_owned())),
            Texts::Unreadable(error) => section
                .with(&Paragraph(format!("The dev rows could not be read again for their texts: {error}."))),
        };
        section.with(&self.worst_table(kind))
    }

    fn worst_table(&self, kind: TaskKind) -> Table {
        let texts = match &self.texts {
            Texts::Shown(texts) => Some(texts),
            Texts::LeftOut | Texts::Unreadable(_) => None,
        };
        let row = |(place, worst): (usize, &crate::review::WorstRow)| {
            let worst_place = place;
            let (line, text) = match texts.and_then(|texts| texts.get(place)) {
                Some(row) => (row.line.to_string(), Some(row.text.clone())),
                None => ((worst.row + 1).to_string(), None),
            };
            let mut cells = vec![line];
            cells.extend(text);
            cells.extend(match &worst.answer {
                WorstAnswer::Class { label, answer, probability, label_probability } => vec![
                    self.label(*label),
                    share(*label_probability),
                    self.label(*answer),
                    share(*probability),
                ],
                WorstAnswer::Set { labels, answer } => {
                    vec![self.set(labels), self.set(answer), decimals(worst.loss)]
                }
                WorstAnswer::Tags { labels, answer } => {
                    let words = texts.and_then(|texts| texts.get(place)).map(|row| &row.words[..]);
                    vec![
                        self.tags(labels, answer, words),
                        self.tags(answer, labels, words),
                        decimals(worst.loss),
                    ]
                }
                WorstAnswer::Choice { right, answer, probability, right_probability } => {
                    let text = |place: &usize| {
                        let known = texts
                            .and_then(|texts| texts.get(worst_place))
                            .and_then(|row| row.choices.get(*place));
                        known.cloned().unwrap_or_else(|| format!("choice {place}"))
                    };
                    vec![text(right), share(*right_probability), text(answer), share(*probability)]
                }
                WorstAnswer::Span { right, answer } => {
                    let context = texts.and_then(|texts| texts.get(worst_place)).map(|row| &row.context[..]);
                    vec![
                        span(right.as_ref(), context),
                        span(answer.as_ref(), context),
                        share(1.0 - (-worst.loss).exp()),
                    ]
                }
                WorstAnswer::Score { target, answer } => vec![
                    number(f64::from(*target)),
                    number(f64::from(*answer)),
                    number(f64::from(*answer) - f64::from(*target)),
                ],
            });
            cells
        };
        let mut columns = vec![(if texts.is_some() { "line" } else { "row" }, Column::Number)];
        columns.extend(texts.map(|_| ("text", Column::Text)));
        columns.extend(match kind {
            TaskKind::Classification => vec![
                ("label", Column::Name),
                ("its probability", Column::Number),
                ("answer", Column::Name),
                ("its probability", Column::Number),
            ],
            TaskKind::MultipleChoice => vec![
                ("right choice", Column::Text),
                ("its probability", Column::Number),
                ("answer", Column::Text),
                ("its probability", Column::Number),
            ],
            TaskKind::QuestionAnswering => vec![
                ("right answer", Column::Text),
                ("answer", Column::Text),
                ("its probability", Column::Number),
            ],
            TaskKind::Entities => {
                vec![("missed", Column::Text), ("wrong", Column::Text), ("loss", Column::Number)]
            }
            TaskKind::Tags => {
                vec![("tags", Column::Text), ("answer", Column::Text), ("loss", Column::Number)]
            }
            TaskKind::MultiLabel => {
                vec![("labels", Column::Name), ("answer", Column::Name), ("loss", Column::Number)]
            }
            TaskKind::Regression => {
                vec![("score", Column::Number), ("answer", Column::Number), ("error", Column::Number)]
            }
        });
        Table {
            caption: String::new(),
            columns: columns.into_iter().map(|(name, column)| (name.to_owned(), column)).collect(),
            rows: self.grafted.review.worst.iter().enumerate().map(row).collect(),
        }
    }

    /// The worst rows as numbers: where they are and what was answered, without their texts.
    pub(super) fn worst_numbers(&self) -> Vec<WorstNumbers> {
        let worst = self.grafted.review.worst.iter();
        worst
            .map(|worst| {
                let (label, answer) = match &worst.answer {
                    WorstAnswer::Class { label, answer, .. } => (Said::Class(*label), Said::Class(*answer)),
                    WorstAnswer::Choice { right, answer, .. } => (Said::Class(*right), Said::Class(*answer)),
                    WorstAnswer::Span { right, answer } => {
                        let bytes = |range: &Option<Range<usize>>| {
                            Said::Bytes(range.as_ref().map(|range| [range.start, range.end]))
                        };
                        (bytes(right), bytes(answer))
                    }
                    WorstAnswer::Set { labels, answer } | WorstAnswer::Tags { labels, answer } => {
                        (Said::Set(labels.clone()), Said::Set(answer.clone()))
                    }
                    WorstAnswer::Score { target, answer } => (Said::Score(*target), Said::Score(*answer)),
                };
                WorstNumbers { row: worst.row + 1, loss: worst.loss, label, answer }
            })
            .collect()
    }
}

/// A worst row in `report.json`.
#[derive(Serialize)]
pub(super) struct WorstNumbers {
    /// Counted from 1.
    row: usize,
    loss: f64,
    label: Said,
    answer: Said,
}

/// A class by its place among the labels, several of them, those of each word, or a score.
#[derive(Serialize)]
#[serde(untagged)]
enum Said {
    Class(usize),
    Set(Vec<usize>),
    Score(f32),
    /// Where a part of a context begins and ends; nothing for no answer.
    Bytes(Option<[usize; 2]>),
}
