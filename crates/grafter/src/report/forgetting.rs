//! The page of a sequence of tasks: the score of each after each training, for adapters and for sequential fine-tuning.

use super::chart::{Cell, HeatMap, Labels};
use super::page::{Page, Paragraph, Section};
use crate::forgetting::ForgettingMatrix;

/// The page; the first matrix is that of the tasks that were kept.
pub fn page(matrices: &[ForgettingMatrix], base: &str, rows: &str) -> Page {
    let tasks = matrices.first().map_or(0, |matrix| matrix.tasks.len());
    let text = format!(
        "{tasks} tasks were trained one after another on `{base}`, each without the rows of the earlier ones, and after each \
         training all tasks so far were scored on their {rows} rows. A row of the matrix is a moment: what stands below the \
         diagonal is what became of a task while others were trained. Colours go by the score."
    );
    let mut page = Page::new("What is left of each task", format!("{tasks} tasks in a sequence"))
        .with(Section::new("How to read this").with(&Paragraph(text)));
    for matrix in matrices {
        page = page.with(
            Section::new(&matrix.method)
                .with(&Paragraph(summary(matrix)))
                .with(&heat_map(matrix, range(matrices))),
        );
    }
    page
}

/// What was lost, in a sentence or two.
pub fn summary(matrix: &ForgettingMatrix) -> String {
    if matrix.earlier().all(|task| matrix.lost(task) == Some(0.0)) {
        return "Every task scores after the last training exactly what it scored after its own.".to_owned();
    }
    let defined = matrix.earlier().filter_map(|task| Some((task, matrix.lost(task)?)));
    let mut text = match (matrix.mean_lost(), defined.max_by(|a, b| a.1.total_cmp(&b.1))) {
        (Some(mean), Some((worst, lost))) => format!(
            "After the last training the earlier tasks score {:.1} points less than after their own in the mean, `{}` {:.1} \
             points.",
            100.0 * mean,
            matrix.tasks[worst].name,
            100.0 * lost
        ),
        _ => String::new(),
    };
    for task in matrix.earlier().filter(|task| matrix.lost(*task).is_none()) {
        text += &format!(
            " Of `{}` a score is not defined, as where every answer is the same.",
            matrix.tasks[task].name
        );
    }
    text.trim_start().to_owned()
}

/// One scale for all, so that colours can be compared.
fn range(matrices: &[ForgettingMatrix]) -> Option<(f64, f64)> {
    let all = || matrices.iter().flat_map(|matrix| matrix.scores.iter().flatten().flatten().copied());
    let (lowest, highest) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    (lowest < highest).then_some((shown(lowest), shown(highest)))
}

/// A score in the unit and with the digits of the cells.
fn shown(score: f64) -> f64 {
    (1000.0 * score).round() / 10.0
}

fn heat_map(matrix: &ForgettingMatrix, range: Option<(f64, f64)>) -> HeatMap {
    let count = matrix.tasks.len();
    let cell = |after: usize, task: usize| match matrix.scores[after].get(task) {
        Some(Some(score)) => Cell { value: shown(*score), text: format!("{:.1}", 100.0 * score) },
        Some(None) => Cell::of(f64::NAN),
        None => Cell { value: f64::NAN, text: String::new() },
    };
    let metrics = matrix.tasks.iter().map(|task| format!("{} ({})", task.name, task.metric));
    HeatMap {
        title: "Scores, times 100".to_owned(),
        rows: Labels {
            name: "the task trained last".to_owned(),
            labels: matrix.tasks.iter().map(|task| task.name.clone()).collect(),
        },
        columns: Labels { name: "the task that is scored".to_owned(), labels: metrics.collect() },
        cells: (0..count).map(|after| (0..count).map(|task| cell(after, task)).collect()).collect(),
        range,
        scale: "score, times 100".to_owned(),
    }
}
