//! Each candidate over all tasks.

use super::compute::{Draws, Split, less};
use super::{AverageResult, Candidate, Delta, SettingResult, TaskResult};
use crate::compare::statistics::{RESAMPLES, mean, percentile_interval};

/// The mean of each candidate's best settings, and of their differences draw by draw.
pub(super) fn averages(
    candidates: &[Candidate],
    reference: Candidate,
    tasks: &[TaskResult],
    draws: &[Vec<[Draws; 2]>],
) -> Vec<AverageResult> {
    let of_reference = candidates.iter().position(|candidate| *candidate == reference);
    let average = |(place, candidate): (usize, &Candidate)| {
        let best: Vec<Option<&SettingResult>> =
            tasks.iter().map(|task| task.best(&task.methods[place])).collect();
        let over = |value: &dyn Fn(&SettingResult) -> Option<f64>| {
            mean(&best.iter().map(|best| value((*best)?)).collect::<Option<Vec<f64>>>()?)
        };
        let delta = |split: Split| {
            let reference = of_reference.filter(|reference| *reference != place)?;
            let (mut differences, mut of_tasks) = (Vec::new(), Vec::new());
            for (task, draws) in tasks.iter().zip(draws) {
                let method = &task.methods[place];
                let delta = match split {
                    Split::Dev => method.dev_difference,
                    Split::Test if task.test_rows.is_none() => continue,
                    Split::Test => method.test_difference,
                };
                differences.push(delta?.difference);
                let of = |place: usize| draws[place][split.index()].as_ref();
                of_tasks.push(less(of(place)?, of(reference)?));
            }
            let means: Vec<Option<f64>> = (0..RESAMPLES)
                .map(|draw| mean(&of_tasks.iter().map(|task| task[draw]).collect::<Option<Vec<f64>>>()?))
                .collect();
            Some(Delta { difference: mean(&differences)?, interval: percentile_interval(&means) })
        };
        let with_test = tasks.iter().zip(&best).filter(|(task, _)| task.test_rows.is_some());
        let test = with_test.map(|(_, best)| Some((*best)?.test?.mean)).collect::<Option<Vec<f64>>>();
        let seeds = best.iter().map(|best| Some((*best)?.seeds.len())).collect::<Option<Vec<usize>>>();
        AverageResult {
            candidate: *candidate,
            tasks: best.iter().flatten().count(),
            seeds: seeds.and_then(|seeds| Some([*seeds.iter().min()?, *seeds.iter().max()?])),
            dev: over(&|best| Some(best.dev?.mean)),
            test: test.and_then(|test| mean(&test)),
            dev_difference: delta(Split::Dev),
            test_difference: delta(Split::Test),
            share_of_base: over(&|best| best.share_of_base),
            seconds: over(&|best| best.seconds),
            adapter_bytes: over(&|best| best.adapter_bytes.map(|bytes| bytes as f64)),
        }
    };
    candidates.iter().enumerate().map(average).collect()
}
