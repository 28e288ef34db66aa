//! The tables that people read. Scores are times 100, as in the papers.

use grafter::compare::cells::{
    NONE, best_setting_text, delta, score, seconds, seeds, seeds_over_tasks, share, spread, told_of_widths,
};
use grafter::compare::{MethodResult, Results, TaskResult};

use crate::terminal::{aligned, bytes, counted};

/// A table for each task and one of the averages.
pub fn tables(results: &Results) -> String {
    let mut text = String::new();
    for task in &results.tasks {
        text += &task_table(task, results);
        text.push('\n');
    }
    if results.tasks.len() > 1 {
        text += &average_table(results);
        text.push('\n');
    }
    let diverged =
        results.trials.iter().filter(|trial| trial.ending == grafter::train::Ending::Diverged).count();
    text += &format!("{} of {} finished", results.finished, counted(results.planned, "trial"));
    if diverged > 0 {
        text += &format!(", {diverged} diverged");
    }
    let widths = told_of_widths(results).map_or(String::new(), |told| format!("; {told}"));
    text += &format!(
        "{widths}; scores times 100, of the setting that is best on dev, mean ± standard deviation over the seeds; in \
         brackets the {:.0} % interval of the paired bootstrap over the rows\n",
        100.0 * results.level
    );
    text
}

/// The columns of scores are left out where there are no test rows.
fn row(
    cells: [String; 4],
    scores: [[String; 2]; 2],
    [seconds, bytes]: [String; 2],
    test: bool,
) -> Vec<String> {
    let scores = scores.into_iter().flat_map(|[dev, of_test]| [Some(dev), test.then_some(of_test)]);
    cells.into_iter().chain(scores.flatten()).chain([seconds, bytes]).collect()
}

fn heading(results: &Results, test: bool) -> Vec<String> {
    let less = |split: &str| format!("{split} less {}", results.reference);
    let scores = [["dev".to_owned(), "test".to_owned()], [less("dev"), less("test")]];
    row(
        ["method", "setting", "trained", "seeds"].map(str::to_owned),
        scores,
        ["seconds", "bytes"].map(str::to_owned),
        test,
    )
}

fn task_table(task: &TaskResult, results: &Results) -> String {
    let of_test = task.test_rows.map_or(String::new(), |rows| format!(", {}", counted(rows, "test row")));
    let title = format!(
        "{}: {}, {}, {}{of_test}\n",
        task.task,
        task.metric,
        counted(task.train_rows, "training row"),
        counted(task.dev_rows, "dev row")
    );
    let test = task.test_rows.is_some();
    let mut rows = vec![heading(results, test)];
    rows.extend(task.asked_for().map(|method| method_row(task, method)));
    title + &aligned(&rows)
}

fn method_row(task: &TaskResult, method: &MethodResult) -> Vec<String> {
    let candidate = method.candidate;
    let Some(best) = task.best(method) else {
        return vec![candidate.to_string(), task.why_no_best(candidate).to_owned()];
    };
    row(
        [
            candidate.to_string(),
            best_setting_text(task, candidate, &best.setting),
            share(best.share_of_base),
            seeds(best),
        ],
        [
            [spread(best.dev), spread(best.test)],
            [delta(method.dev_difference), delta(method.test_difference)],
        ],
        [seconds(best.seconds), best.adapter_bytes.map_or(NONE.to_owned(), bytes)],
        task.test_rows.is_some(),
    )
}

fn average_table(results: &Results) -> String {
    let test = results.tasks.iter().any(|task| task.test_rows.is_some());
    let mut rows = vec![heading(results, test)];
    for average in &results.averages {
        let tasks = format!("{} of {}", average.tasks, counted(results.tasks.len(), "task"));
        rows.push(row(
            [
                average.candidate.to_string(),
                tasks,
                share(average.share_of_base),
                seeds_over_tasks(average.seeds),
            ],
            [
                [score(average.dev), score(average.test)],
                [delta(average.dev_difference), delta(average.test_difference)],
            ],
            [
                seconds(average.seconds),
                average.adapter_bytes.map_or(NONE.to_owned(), |count| bytes(count as u64)),
            ],
            test,
        ));
    }
    format!("average over the tasks\n{}", aligned(&rows))
}
