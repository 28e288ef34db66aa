//! Table 1 of Houlsby et al. 2019 for the tasks that were run: the paper's rows, and ours beneath them.

use grafter::compare::Results;
use grafter::report::page::{Paragraph, Section};
use grafter::report::table::{Column, Table};
use serde::Serialize;

use super::super::compare::Beside;
use super::{TASKS, Task};
use crate::terminal::aligned;

/// The rows of the paper; with each the numbers that a task trains, in percent of the base's.
const PAPER_ROWS: [(&str, f64); 3] =
    [("paper: full", 100.0), ("paper: adapters 8-256", 3.6), ("paper: adapters 64", 2.1)];

/// The table, as `--json` prints it; scores are times 100.
#[derive(Serialize)]
pub struct Table1 {
    /// What each row was measured on.
    about: String,
    /// The tasks that were run, in the paper's order.
    tasks: Vec<&'static str>,
    /// The paper's, then ours.
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    /// What a task trains, in percent of the base's numbers.
    trained_percent: Option<f64>,
    /// A score for each task.
    scores: Vec<Option<f64>>,
    /// Of all tasks, where each has a score.
    mean: Option<f64>,
}

impl Row {
    fn new(name: String, trained_percent: Option<f64>, scores: Vec<Option<f64>>) -> Self {
        let all: Option<Vec<f64>> = scores.iter().copied().collect();
        let mean = all.filter(|all| !all.is_empty()).map(|all| all.iter().sum::<f64>() / all.len() as f64);
        Self { name, trained_percent, scores, mean }
    }

    fn cells(&self) -> Vec<String> {
        let shown = |score: &Option<f64>| score.map_or("–".to_owned(), |score| format!("{score:.1}"));
        let name = std::iter::once(self.name.clone());
        let trained = [self.trained_percent.map_or("–".to_owned(), |percent| format!("{percent:.1} %"))];
        name.chain(trained).chain(self.scores.iter().map(shown)).chain([shown(&self.mean)]).collect()
    }
}

impl Table1 {
    pub fn of(results: &Results) -> Self {
        let place =
            |task: &'static Task| Some((task, results.tasks.iter().find(|result| result.task == task.name)?));
        let tasks: Vec<_> = TASKS.iter().filter_map(place).collect();
        let paper = PAPER_ROWS.iter().enumerate().map(|(place, (name, trained))| {
            let scores = tasks.iter().map(|(task, _)| Some(task.paper[place])).collect();
            Row::new((*name).to_owned(), Some(*trained), scores)
        });
        let mut rows: Vec<Row> = paper.collect();
        let splits: &[&str] =
            if tasks.iter().any(|(_, task)| task.test_rows.is_some()) { &["dev", "test"] } else { &["dev"] };
        for (place, average) in results.averages.iter().enumerate() {
            for split in splits {
                let scores = tasks.iter().map(|(_, task)| {
                    let best = task.best(&task.methods[place])?;
                    let spread = if *split == "dev" { best.dev } else { best.test };
                    spread.map(|spread| 100.0 * spread.mean)
                });
                let trained = average.share_of_base.map(|share| 100.0 * share);
                rows.push(Row::new(format!("{}, {split}", average.candidate), trained, scores.collect()));
            }
        }
        let about = format!(
            "Houlsby et al. 2019, table 1: BERT-large on GLUE's hidden test rows, MNLI on matched ones; beneath it `{}` on the \
             rows that are here; means over the tasks that are here",
            crate::commands::printable(&results.base.name)
        );
        Self { about, tasks: tasks.iter().map(|(task, _)| task.name).collect(), rows }
    }

    fn headings(&self) -> Vec<&'static str> {
        ["", "trained"].into_iter().chain(self.tasks.iter().copied()).chain(["mean"]).collect()
    }

    /// As it is shown beside the results.
    pub fn beside(&self) -> Beside {
        let json = serde_json::to_value(self).expect("a table is plain data");
        Beside {
            section: self.section(),
            text: format!("\n{}", self.text()),
            json: std::iter::once(("table_1".to_owned(), json)).collect(),
        }
    }

    fn text(&self) -> String {
        let headings = self.headings().into_iter().map(str::to_owned).collect();
        let rows: Vec<Vec<String>> =
            std::iter::once(headings).chain(self.rows.iter().map(Row::cells)).collect();
        format!("{}\n{}", self.about, aligned(&rows))
    }

    fn section(&self) -> Section {
        let kind = |name: &str| if name.is_empty() { Column::Name } else { Column::Number };
        let columns = self.headings().into_iter().map(|name| (name.to_owned(), kind(name))).collect();
        let rows = self.rows.iter().map(Row::cells).collect();
        Section::new("Beneath the paper")
            .with(&Paragraph(format!("{}.", self.about.replace('`', ""))))
            .with(&Table { caption: "Table 1, scores times 100".to_owned(), columns, rows })
    }
}
