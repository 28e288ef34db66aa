//! The probability from which on a row has a label, for each label the one with the best F1 on the dev rows.
//!
//! A label that few rows have is seldom probable, and then one half is never reached (Lewis et al. 1996; Yang 2001). Nothing
//! here knows files or names.

use grafter_nn::loss::sigmoid;

use crate::calibration::EachRow;

/// Probabilities that are held in memory at the same time: those of so many labels as fit.
const HELD: usize = 1 << 22;

/// Fits a threshold for each of so many labels to the labels of some rows, in ascending order. A label that no row has keeps one
/// half.
/// # Errors
/// If the rows cannot be read.
/// # Panics
/// If a row has no set of labels.
pub fn fit<R: EachRow + ?Sized>(rows: &R, labels: usize, sets: &[Vec<usize>]) -> Result<Vec<f64>, R::Error> {
    let at_once = (HELD / sets.len().max(1)).clamp(1, labels.max(1));
    let mut thresholds = Vec::with_capacity(labels);
    for first in (0..labels).step_by(at_once) {
        let group = first..(first + at_once).min(labels);
        let mut seen: Vec<Vec<(f64, bool)>> = vec![Vec::with_capacity(sets.len()); group.len()];
        rows.each(&mut |row, logits| {
            for (seen, label) in seen.iter_mut().zip(group.clone()) {
                seen.push((sigmoid(logits[label]), sets[row].binary_search(&label).is_ok()));
            }
        })?;
        thresholds.extend(seen.into_iter().map(best));
    }
    Ok(thresholds)
}

/// The threshold with the best F1, in the middle between the last probability that reaches it and the next one below; of equals
/// the one that is reached least often.
fn best(mut seen: Vec<(f64, bool)>) -> f64 {
    seen.sort_by(|a, b| b.0.total_cmp(&a.0));
    let all = seen.iter().filter(|(_, has)| *has).count();
    let (mut right, mut best, mut threshold) = (0, 0.0, 0.5);
    for (place, (probability, has)) in seen.iter().enumerate() {
        right += usize::from(*has);
        let next = seen.get(place + 1).map_or(0.0, |(next, _)| *next);
        // Equal probabilities are on the same side.
        if next == *probability && place + 1 < seen.len() {
            continue;
        }
        let f1 = 2.0 * right as f64 / (all + place + 1) as f64;
        if f1 > best {
            best = f1;
            threshold = f64::midpoint(*probability, next);
        }
    }
    threshold
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::probable_labels;

    fn logit(probability: f64) -> f32 {
        (probability / (1.0 - probability)).ln() as f32
    }

    #[test]
    fn the_threshold_with_the_best_f1_is_found() {
        // In order: right, wrong, right, right, wrong. F1 with the first 4: 2 · 3 / (3 + 4).
        let seen = vec![(0.3, true), (0.45, false), (0.6, true), (0.1, false), (0.2, true)];
        assert!((best(seen) - 0.15).abs() < 1e-12);
        // All of the best first: between the last of them and the next.
        assert!((best(vec![(0.4, true), (0.1, false), (0.3, true)]) - 0.2).abs() < 1e-12);
        // Equal ones are taken together or not at all.
        assert!((best(vec![(0.4, true), (0.4, false), (0.2, false)]) - 0.3).abs() < 1e-12);
        // The last of all.
        assert!((best(vec![(0.4, false), (0.2, true)]) - 0.1).abs() < 1e-12);
        assert_eq!(best(vec![(0.9, false), (0.2, false)]), 0.5);
    }

    #[test]
    fn thresholds_are_those_of_their_labels() {
        let rows: Vec<Vec<f32>> = [[0.3, 0.9], [0.1, 0.8], [0.2, 0.6]]
            .iter()
            .map(|row| row.iter().map(|probability| logit(*probability)).collect())
            .collect();
        let sets = [vec![0, 1], vec![1], vec![0]];
        let thresholds = fit(&rows[..], 2, &sets).unwrap();
        assert!((thresholds[0] - 0.15).abs() < 1e-6 && (thresholds[1] - 0.7).abs() < 1e-6, "{thresholds:?}");
        let answers: Vec<Vec<usize>> =
            rows.iter().map(|row| probable_labels(row, Some(&thresholds))).collect();
        assert_eq!(answers, sets);
    }
}
