//! Metrics against scikit-learn and SciPy (`reference/metrics.py`), and what must hold for any predictions.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use grafter::metrics::{
    ClassificationScores, MultiLabelScores, RegressionScores, accuracy, confusion_matrix, f1_binary,
    f1_macro, matthews, mean_squared_error, pearson, spearman,
};
use proptest::prelude::*;
use serde::Deserialize;

/// Both sides sum at most 250 terms in `f64`, in another order.
const TOLERANCE: f64 = 1e-12;

#[derive(Deserialize)]
struct Fixture {
    classification: Vec<ClassificationCase>,
    regression: Vec<RegressionCase>,
    multi_label: Vec<MultiLabelCase>,
}

#[derive(Deserialize)]
struct MultiLabelCase {
    name: String,
    labels: usize,
    targets: Vec<Vec<usize>>,
    predictions: Vec<Vec<usize>>,
    micro_f1: f64,
    macro_f1: f64,
    accuracy: f64,
    hamming_loss: f64,
    precision: Vec<f64>,
    recall: Vec<f64>,
    f1: Vec<f64>,
    support: Vec<u64>,
}

#[derive(Deserialize)]
struct ClassificationCase {
    name: String,
    classes: usize,
    targets: Vec<usize>,
    predictions: Vec<usize>,
    accuracy: f64,
    f1_binary: Vec<f64>,
    f1_macro: f64,
    matthews: f64,
    confusion: Vec<Vec<u64>>,
    precision: Vec<f64>,
    recall: Vec<f64>,
    f1: Vec<f64>,
    support: Vec<u64>,
}

#[derive(Deserialize)]
struct RegressionCase {
    name: String,
    targets: Vec<f64>,
    predictions: Vec<f64>,
    pearson: Option<f64>,
    spearman: Option<f64>,
    mean_squared_error: f64,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/metrics.json")).unwrap()
}

#[track_caller]
fn assert_close(what: &str, found: f64, expected: f64) {
    let bound = TOLERANCE * expected.abs().max(1.0);
    assert!((found - expected).abs() <= bound, "{what}: expected {expected}, found {found}");
}

#[test]
fn several_labels_are_scored_as_by_scikit_learn() {
    for case in fixture().multi_label {
        let scores = MultiLabelScores::compute(&case.targets, &case.predictions, case.labels).unwrap();
        assert_close(&format!("{}: micro f1", case.name), scores.micro_f1, case.micro_f1);
        assert_close(&format!("{}: macro f1", case.name), scores.macro_f1, case.macro_f1);
        assert_close(&format!("{}: accuracy", case.name), scores.accuracy, case.accuracy);
        assert_close(&format!("{}: hamming loss", case.name), scores.hamming_loss, case.hamming_loss);
        assert_eq!(scores.per_class.len(), case.labels);
        for (label, of) in scores.per_class.iter().enumerate() {
            assert_close(
                &format!("{}: precision of {label}", case.name),
                of.precision,
                case.precision[label],
            );
            assert_close(&format!("{}: recall of {label}", case.name), of.recall, case.recall[label]);
            assert_close(&format!("{}: f1 of {label}", case.name), of.f1, case.f1[label]);
            assert_eq!(of.support, case.support[label], "{}", case.name);
        }
    }
}

#[test]
fn classification_is_that_of_scikit_learn() {
    for case in fixture().classification {
        let (t, p, k) = (&case.targets, &case.predictions, case.classes);
        assert_close(&case.name, accuracy(t, p).unwrap(), case.accuracy);
        assert_close(&case.name, f1_macro(t, p, k).unwrap(), case.f1_macro);
        assert_close(&case.name, matthews(t, p, k).unwrap(), case.matthews);
        assert_eq!(confusion_matrix(t, p, k).unwrap(), case.confusion, "{}", case.name);
        let scores = ClassificationScores::compute(t, p, k).unwrap();
        assert_close(&case.name, scores.accuracy, case.accuracy);
        assert_close(&case.name, scores.macro_f1, case.f1_macro);
        assert_close(&case.name, scores.matthews, case.matthews);
        assert_eq!(scores.confusion, case.confusion);
        assert_eq!(scores.f1, (k == 2).then(|| f1_binary(t, p, 1).unwrap()));
        for (class, of_class) in scores.per_class.iter().enumerate() {
            assert_close(&case.name, f1_binary(t, p, class).unwrap(), case.f1_binary[class]);
            assert_close(&case.name, of_class.precision, case.precision[class]);
            assert_close(&case.name, of_class.recall, case.recall[class]);
            assert_close(&case.name, of_class.f1, case.f1[class]);
            assert_eq!(of_class.support, case.support[class]);
        }
    }
}

#[test]
fn regression_is_that_of_scipy() {
    for case in fixture().regression {
        let (t, p) = (&case.targets, &case.predictions);
        let found = [pearson(t, p).unwrap(), spearman(t, p).unwrap()];
        for (found, expected) in found.into_iter().zip([case.pearson, case.spearman]) {
            assert_eq!(found.is_some(), expected.is_some(), "{}", case.name);
            assert_close(&case.name, found.unwrap_or(0.0), expected.unwrap_or(0.0));
        }
        assert_close(&case.name, mean_squared_error(t, p).unwrap(), case.mean_squared_error);
    }
}

/// Targets and predictions.
type ClassRows = Vec<(usize, usize)>;

/// Targets and predictions of one to five classes, and an order to put the rows in.
fn classes() -> impl Strategy<Value = (usize, ClassRows, ClassRows)> {
    (1_usize..6).prop_flat_map(|classes| {
        let rows = prop::collection::vec((0..classes, 0..classes), 1..40);
        rows.prop_flat_map(move |rows| (Just(classes), Just(rows.clone()), Just(rows).prop_shuffle()))
    })
}

/// Pairs of numbers with many ties.
fn numbers() -> impl Strategy<Value = Vec<(f64, f64)>> {
    prop::collection::vec(((-20_i32..20).prop_map(f64::from), -1e3_f64..1e3), 1..40)
}

proptest! {
    #[test]
    fn class_scores_are_in_range_and_know_no_order((classes, rows, shuffled) in classes()) {
        let score = |rows: &[(usize, usize)]| {
            let (targets, predictions): (Vec<_>, Vec<_>) = rows.iter().copied().unzip();
            ClassificationScores::compute(&targets, &predictions, classes).unwrap()
        };
        let scores = score(&rows);
        prop_assert_eq!(&scores, &score(&shuffled));
        prop_assert!((0.0..=1.0).contains(&scores.accuracy));
        prop_assert!((0.0..=1.0).contains(&scores.macro_f1));
        prop_assert!((-1.0 - TOLERANCE..=1.0 + TOLERANCE).contains(&scores.matthews));
        prop_assert!(scores.per_class.iter().all(|class| (0.0..=1.0).contains(&class.f1)));
        prop_assert_eq!(scores.per_class.iter().map(|class| class.support).sum::<u64>(), scores.rows);
    }

    #[test]
    fn correlations_are_in_range_and_know_no_order(rows in numbers(), turn in 0_usize..40) {
        let (x, y): (Vec<_>, Vec<_>) = rows.iter().copied().unzip();
        let turned = |values: &[f64]| {
            let mut values = values.to_vec();
            values.rotate_left(turn % rows.len());
            values
        };
        for correlation in [pearson, spearman] {
            let value = correlation(&x, &y).unwrap();
            let of_turned = correlation(&turned(&x), &turned(&y)).unwrap();
            prop_assert_eq!(value.is_some(), of_turned.is_some());
            if let (Some(value), Some(of_turned)) = (value, of_turned) {
                prop_assert!((-1.0..=1.0).contains(&value));
                prop_assert!((value - of_turned).abs() < 1e-9);
                prop_assert_eq!(correlation(&y, &x).unwrap(), Some(value));
            }
        }
    }

    #[test]
    fn spearman_knows_only_the_order_of_values(rows in numbers()) {
        let (x, y): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let cubed: Vec<f64> = x.iter().map(|value| value * value * value + 7.0).collect();
        let falling: Vec<f64> = x.iter().map(|value| -value).collect();
        let value = spearman(&x, &y).unwrap();
        prop_assert_eq!(spearman(&cubed, &y).unwrap(), value);
        let of_falling = spearman(&falling, &y).unwrap();
        prop_assert_eq!(of_falling.is_some(), value.is_some());
        prop_assert!((of_falling.unwrap_or(0.0) + value.unwrap_or(0.0)).abs() < 1e-9);
    }

    #[test]
    fn any_numbers_are_scored_without_a_panic(rows in prop::collection::vec(any::<(f32, f32)>(), 1..20)) {
        let (x, y): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let scores = RegressionScores::compute(&x, &y).unwrap();
        prop_assert!(scores.pearson.is_none_or(|value| (-1.0..=1.0).contains(&value)));
        prop_assert!(scores.spearman.is_none_or(|value| (-1.0..=1.0).contains(&value)));
    }
}
