//! The steps of a run as curves: smoothed, and thinned to what a page can show.

use crate::report::chart::Point;

/// How many values the running mean looks back over: a twentieth of the curve, but neither so few that noise stays nor so
/// many that it lags behind what it shows.
const SMOOTHED_OVER: std::ops::RangeInclusive<usize> = 5..=100;

/// The running mean of a curve, in which each value weighs a little less than the next one.
pub(super) fn smoothed(points: &[Point]) -> Vec<Point> {
    let over = (points.len() / 20).clamp(*SMOOTHED_OVER.start(), *SMOOTHED_OVER.end());
    let memory = 1.0 - 1.0 / over as f64;
    let (mut sum, mut weight) = (0.0, 0.0);
    let mean = |point: &Point| {
        sum = memory * sum + point.y;
        weight = memory * weight + 1.0;
        Point::new(point.x, sum / weight)
    };
    points.iter().map(mean).collect()
}

/// At most `most` points of a curve, or two if that is more. Of equal stretches the lowest and the highest stay, so that
/// no spike is lost.
pub(super) fn thinned(points: Vec<Point>, most: usize) -> Vec<Point> {
    if points.len() <= most {
        return points;
    }
    let stretch = points.len().div_ceil((most / 2).max(1));
    let mut kept = Vec::with_capacity(most);
    for stretch in points.chunks(stretch) {
        let by_height = |a: &usize, b: &usize| stretch[*a].y.total_cmp(&stretch[*b].y);
        let low = (0..stretch.len()).min_by(by_height).unwrap_or(0);
        let high = (0..stretch.len()).max_by(by_height).unwrap_or(0);
        kept.push(stretch[low.min(high)].clone());
        if low != high {
            kept.push(stretch[low.max(high)].clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(values: impl IntoIterator<Item = f64>) -> Vec<Point> {
        values.into_iter().enumerate().map(|(x, y)| Point::new(x as f64, y)).collect()
    }

    #[test]
    fn a_thinned_curve_keeps_its_spikes() {
        let mut values: Vec<f64> = (0..10_000).map(|step| 1.0 / f64::from(step + 1)).collect();
        values[7_777] = 50.0;
        values[8_888] = -3.0;
        let kept = thinned(curve(values), 1000);
        assert!(kept.len() <= 1000 && kept.len() > 900, "{}", kept.len());
        assert!(kept.iter().any(|point| (point.x, point.y) == (7_777.0, 50.0)));
        assert!(kept.iter().any(|point| (point.x, point.y) == (8_888.0, -3.0)));
        assert!(kept.windows(2).all(|pair| pair[0].x < pair[1].x));
        assert_eq!(thinned(curve([1.0, 2.0]), 1000).len(), 2);
        assert_eq!(thinned(curve([1.0; 5]), 0).len(), 2);
    }

    #[test]
    fn a_smoothed_constant_is_that_constant() {
        assert!(smoothed(&curve([0.5; 9])).iter().all(|point| (point.y - 0.5).abs() < 1e-12));
        // Over five values: (0.8 · 1 + 2) / (0.8 + 1).
        assert!((smoothed(&curve([1.0, 2.0]))[1].y - 2.8 / 1.8).abs() < 1e-12);
    }
}
