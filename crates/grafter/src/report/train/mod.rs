//! The report of one training run: a page for people, and its numbers for programs.
//!
//! [`Grafted`] is what the run did and what came out; there is no clock in it, so that the same run gives the same bytes. The page quotes texts of the dev rows that were answered worst, if [`Texts`] brings them.

mod answers;
mod curves;
mod facts;
mod flags;

use self::flags::Flags;
pub use answers::{RowText, Texts};

use serde::Serialize;

use self::answers::{MATRIX_LABELS, WorstNumbers};
use self::curves::{smoothed, thinned};
use super::chart::{Axis, Colour, Mark, Plot, Point, Series};
use super::number::grouped;
use super::page::{Code, Folded, Page, Paragraph, Section};
use super::table::{Facts, Tile, Tiles};
use crate::adapter::Companion;
use crate::data::{Source, TaskKind};
use crate::graft::Grafted;
use crate::metrics::{Metric, Scores};
use crate::train::{EvaluationReport, StepReport};

/// Points that a curve has at most.
const CURVE_POINTS: usize = 1000;
/// Steps from which a curve is shown smoothed as well.
const SMOOTHED_STEPS: usize = 40;

/// Everything that the report of a run is made of.
pub struct TrainReport<'a> {
    /// What the run gave.
    pub grafted: &'a Grafted,
    /// The training file; of its path only the name is told.
    pub train: &'a Source,
    /// The dev file; of its path only the name is told.
    pub dev: &'a Source,
    /// The texts of the rows that were answered worst.
    pub texts: Texts,
}

/// `report.json`. Classes are places among `labels`.
#[derive(Serialize)]
struct Numbers<'a> {
    train_rows: usize,
    dev_rows: usize,
    steps: u64,
    best_step: u64,
    metric: Metric,
    labels: &'a [String],
    /// Without the matrix where the page has none.
    scores: Scores,
    baseline: &'a Scores,
    evaluations: &'a [EvaluationReport],
    confused: Vec<(usize, usize, u64)>,
    worst: Vec<WorstNumbers>,
}

impl TrainReport<'_> {
    /// The page and its numbers, as [`Adapter::save_with`](crate::adapter::Adapter::save_with) takes them.
    pub fn files(&self) -> Vec<(Companion, Vec<u8>)> {
        vec![
            (Companion::Report, self.page().to_html().into_bytes()),
            (Companion::ReportNumbers, self.numbers().into_bytes()),
            (Companion::History, self.grafted.history.steps_csv().into_bytes()),
            (Companion::Evaluations, self.grafted.history.evaluations_csv().into_bytes()),
            (Companion::Settings, self.flags().toml().into_bytes()),
        ]
    }

    fn flags(&self) -> Flags {
        Flags::of(self.grafted, self.train, self.dev)
    }

    /// The page.
    pub fn page(&self) -> Page {
        let manifest = self.grafted.adapter.manifest();
        let method = manifest.adapter.method;
        let encoder =
            if method.fine_tunes() { "beginning with the encoder" } else { "on the frozen encoder" };
        let subtitle = format!(
            "{} of {} with {method}, {encoder} {}",
            manifest.task.kind,
            self.train.own_name(),
            manifest.base.name
        );
        Page::new("Training report", crate::text::escape(&subtitle, 200))
            .with(self.summary())
            .with(self.curves())
            .with(self.scores())
            .with(self.confusions())
            .with(self.mistakes())
            .with(self.run())
    }

    fn summary(&self) -> Section {
        let manifest = self.grafted.adapter.manifest();
        let training = &self.grafted.training;
        let value = |scores: &Scores| match scores.get(training.metric) {
            Ok(Some(value)) => format!("{value:.4}"),
            _ => "–".to_owned(),
        };
        let share = 100.0 * manifest.trained_parameters as f64 / manifest.base.parameters.max(1) as f64;
        let tile = |name: String, value: String, more: String| Tile { name, value, more };
        let tiles = Tiles(vec![
            tile(
                format!("{} on the dev rows", training.metric.describe(&manifest.task.labels)),
                value(&training.dev_scores),
                format!("baseline {}", value(&training.baseline)),
            ),
            tile(
                "trained numbers".to_owned(),
                grouped(manifest.trained_parameters),
                format!("{share:.2} % of the base's {}", grouped(manifest.base.parameters)),
            ),
            tile(
                "rows".to_owned(),
                grouped(training.train_rows),
                format!("to learn from, {} to check by", grouped(training.dev_rows)),
            ),
            tile(
                "steps".to_owned(),
                grouped(training.steps as usize),
                format!("the best at step {}", grouped(training.best_step as usize)),
            ),
        ]);
        let section = Section::new("Summary").with(&tiles);
        let cut = self.grafted.truncated_train + self.grafted.truncated_dev;
        if cut == 0 {
            return section;
        }
        let cut = format!(
            "{} training rows and {} dev rows, {}, were cut.",
            grouped(self.grafted.truncated_train),
            grouped(self.grafted.truncated_dev),
            manifest.task.kind.too_long(manifest.max_length)
        );
        section.with(&Paragraph(cut))
    }

    fn curves(&self) -> Section {
        let small = Folded::new("Learning rate and size of the gradients")
            .with(&self.of_steps("Learning rate", "learning rate", |step| step.learning_rate))
            .with(&self.of_steps("Norm of the gradients before clipping", "norm", |step| step.grad_norm));
        Section::new("Curves").with(&self.loss_curve()).with(&self.score_curve()).with(&small)
    }

    fn loss_curve(&self) -> Plot {
        let raw = self.curve(|step| step.loss);
        let mut series = Vec::new();
        let training = |name: &str, mark, colour, points: Vec<Point>| Series {
            name: name.to_owned(),
            mark,
            colour,
            points: thinned(points, CURVE_POINTS),
        };
        if raw.len() >= SMOOTHED_STEPS {
            let smooth = smoothed(&raw);
            series.push(training("training, each step", Mark::Faint, Colour::Next, raw));
            series.push(training("training, smoothed", Mark::Line, Colour::Before, smooth));
        } else {
            series.push(training("training", Mark::Line, Colour::Next, raw));
        }
        series.push(Series {
            name: "dev rows".to_owned(),
            mark: Mark::LineAndPoints,
            points: self.of_evaluations(|evaluation| evaluation.loss),
            ..Series::default()
        });
        let unit = match self.grafted.adapter.manifest().task.kind {
            TaskKind::Classification | TaskKind::MultipleChoice => "loss (cross entropy, nats)",
            TaskKind::Entities | TaskKind::Tags => "loss (cross entropy of a word, nats)",
            TaskKind::QuestionAnswering => "loss (cross entropy of beginning and end, nats)",
            TaskKind::MultiLabel => "loss (binary cross entropy of a label, nats)",
            TaskKind::Regression => "loss (squared error of standardised scores)",
        };
        Plot { title: "Loss".to_owned(), x: Axis::linear("step"), y: Axis::linear(unit), series }
    }

    fn score_curve(&self) -> Plot {
        let manifest = self.grafted.adapter.manifest();
        let training = &self.grafted.training;
        let metric = training.metric.describe(&manifest.task.labels);
        let points = self.of_evaluations(|evaluation| evaluation.score);
        let mut series = Vec::new();
        let ends = self.grafted.history.evaluations.first().zip(self.grafted.history.evaluations.last());
        if let (Ok(Some(value)), Some((first, last))) = (training.baseline.get(training.metric), ends) {
            let at = |step: u64| Point::new(step as f64, value);
            series.push(Series {
                name: "baseline".to_owned(),
                mark: Mark::Dashed,
                points: vec![at(first.step), at(last.step)],
                ..Series::default()
            });
        }
        let kept =
            self.grafted.history.evaluations.iter().find(|evaluation| evaluation.step == training.best_step);
        series.push(Series {
            name: "evaluations".to_owned(),
            mark: Mark::LineAndPoints,
            points,
            ..Series::default()
        });
        series.extend(kept.map(|evaluation| Series {
            name: "kept".to_owned(),
            mark: Mark::Rings,
            points: vec![Point::new(evaluation.step as f64, evaluation.score)],
            ..Series::default()
        }));
        Plot {
            title: "Score on the dev rows".to_owned(),
            x: Axis::linear("step"),
            y: Axis::linear(metric),
            series,
        }
    }

    fn of_evaluations(&self, value: impl Fn(&EvaluationReport) -> f64) -> Vec<Point> {
        let evaluations = self.grafted.history.evaluations.iter();
        let points = evaluations.map(|evaluation| {
            let point = Point::new(evaluation.step as f64, value(evaluation));
            point.noted(format!("epoch {}", evaluation.epoch))
        });
        thinned(points.collect(), CURVE_POINTS)
    }

    /// A number of each step as a curve.
    fn curve(&self, value: impl Fn(&StepReport) -> f64) -> Vec<Point> {
        self.grafted.history.steps.iter().map(|step| Point::new(step.step as f64, value(step))).collect()
    }

    fn of_steps(&self, title: &str, name: &str, value: impl Fn(&StepReport) -> f64) -> Plot {
        let points = thinned(self.curve(value), CURVE_POINTS);
        Plot {
            title: title.to_owned(),
            x: Axis::linear("step"),
            y: Axis::linear(name),
            series: vec![Series { name: name.to_owned(), points, ..Series::default() }],
        }
    }

    fn run(&self) -> Section {
        let files = "The numbers of this page lie beside it: history.csv has every step, evaluations.csv every \
                     evaluation, report.json the scores, run.toml the settings. The adapter is adapter.safetensors with adapter.json; it holds no \
                     text.";
        Section::new("The run")
            .with(&Facts(facts::facts(self.grafted, self.train, self.dev)))
            .with(&Paragraph("To run it again, in the folder of the files:".to_owned()))
            .with(&Code(self.flags().command()))
            .with(&Paragraph(files.to_owned()))
    }

    fn numbers(&self) -> String {
        let manifest = self.grafted.adapter.manifest();
        let training = &self.grafted.training;
        let confused = &self.grafted.review.confused;
        let numbers = Numbers {
            train_rows: training.train_rows,
            dev_rows: training.dev_rows,
            steps: training.steps,
            best_step: training.best_step,
            metric: training.metric,
            labels: &manifest.task.labels,
            scores: match manifest.task.labels.len() {
                0..=MATRIX_LABELS => self.grafted.review.scores.clone(),
                _ => training.dev_scores.clone(),
            },
            baseline: &training.baseline,
            evaluations: &self.grafted.history.evaluations,
            confused: confused.iter().map(|pair| (pair.label, pair.answer, pair.rows)).collect(),
            worst: self.worst_numbers(),
        };
        let json = serde_json::to_string_pretty(&numbers).expect("numbers and names are plain data");
        json + "\n"
    }
}
