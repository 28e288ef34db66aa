//! How settings and results are set in a table, on the terminal and on a page. Scores are times 100, as in the papers.

use super::{AverageResult, Candidate, Delta, Results, Setting, SettingResult, Spread, TaskResult};

/// What stands where there is nothing.
pub const NONE: &str = "–";

/// A share in percent.
pub fn share(share: Option<f64>) -> String {
    share.map_or(NONE.to_owned(), |share| format!("{:.2} %", 100.0 * share))
}

/// Seconds with a decimal.
pub fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or(NONE.to_owned(), |seconds| format!("{seconds:.1}"))
}

/// How many seeds are behind a setting's scores, and of how many if some are missing.
pub fn seeds(setting: &SettingResult) -> String {
    match setting.seeds.len() {
        all if all == setting.planned => all.to_string(),
        some => format!("{some} of {}", setting.planned),
    }
}

/// How many seeds are behind the scores of an average: one number, or the fewest and the most.
pub fn seeds_over_tasks(seeds: Option<[usize; 2]>) -> String {
    match seeds {
        None => NONE.to_owned(),
        Some([fewest, most]) if fewest == most => most.to_string(),
        Some([fewest, most]) => format!("{fewest} to {most}"),
    }
}

/// A score, times 100.
pub fn score(value: Option<f64>) -> String {
    value.map_or(NONE.to_owned(), |value| format!("{:.2}", 100.0 * value))
}

/// The best setting of a candidate, with what the others of the candidate do not have in common.
pub fn best_setting_text(task: &TaskResult, candidate: Candidate, best: &Setting) -> String {
    let stds = task.settings_of(candidate).any(|other| other.setting.init_std != best.init_std);
    setting_text(best, stds)
}

/// What is to be told of rows with a width, where there are some.
pub fn told_of_widths(results: &Results) -> Option<String> {
    let of_width = |average: &&AverageResult| average.candidate.bottleneck.is_some();
    let candidate @ Candidate { method, .. } = results.averages.iter().rfind(of_width)?.candidate;
    Some(format!(
        "`{candidate}` has this one width, `{method}` the best width of each task, among those with most seeds"
    ))
}

/// `bottleneck 64, lr 1e-3`, and `std 1e-2` if it is asked for.
pub fn setting_text(setting: &Setting, std: bool) -> String {
    let mut parts = Vec::new();
    parts.extend(setting.bottleneck.map(|bottleneck| format!("bottleneck {bottleneck}")));
    parts.push(format!("lr {:e}", setting.learning_rate));
    parts.extend(setting.init_std.filter(|_| std).map(|std| format!("std {std:e}")));
    parts.join(", ")
}

/// Mean and standard deviation, times 100.
pub fn spread(spread: Option<Spread>) -> String {
    match spread {
        None => NONE.to_owned(),
        Some(Spread { mean, std: None }) => format!("{:.2}", 100.0 * mean),
        Some(Spread { mean, std: Some(std) }) => format!("{:.2} ± {:.2}", 100.0 * mean, 100.0 * std),
    }
}

/// A difference and its interval, times 100.
pub fn delta(delta: Option<Delta>) -> String {
    match delta {
        None => NONE.to_owned(),
        Some(Delta { difference, interval: None }) => format!("{:+.2}", 100.0 * difference),
        Some(Delta { difference, interval: Some(interval) }) => {
            format!(
                "{:+.2} [{:+.2}, {:+.2}]",
                100.0 * difference,
                100.0 * interval.low,
                100.0 * interval.high
            )
        }
    }
}
