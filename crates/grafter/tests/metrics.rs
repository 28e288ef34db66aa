//! Metrics against scikit-learn and SciPy (`reference/metrics.py`), those of answers against the evaluation of SQuAD
//! (`reference/answers.py`), and what must hold for any predictions.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use grafter::calibration::CalibrationBins;
use grafter::metrics::{
    AnswerPart, AnswerScores, BestSpan, ClassificationScores, MultiLabelScores, RegressionScores, accuracy,
    best_no_answer_threshold, confusion_matrix, exact_match, f1_binary, f1_macro, matthews,
    mean_squared_error, normalised, overlap, pearson, spearman,
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
    calibration: Vec<CalibrationCase>,
}

#[derive(Deserialize)]
struct CalibrationCase {
    name: String,
    logits: Vec<Vec<f32>>,
    classes: Vec<usize>,
    temperature: f64,
    error: f64,
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

/// By the bins of scikit-learn's `calibration_curve`.
#[test]
fn the_calibration_error_is_that_of_the_curve_of_scikit_learn() {
    for case in fixture().calibration {
        let mut bins = CalibrationBins::default();
        for (logits, class) in case.logits.iter().zip(&case.classes) {
            bins.push(logits, case.temperature, *class);
        }
        assert_close(&case.name, bins.error(), case.error);
    }
}

#[derive(Deserialize)]
struct AnswersFixture {
    normalised: Vec<(String, String)>,
    /// What so many characters in a row do to an article after them: 1 if it stays.
    articles: Vec<(u8, u32)>,
    spaces: Vec<u32>,
    answers: Vec<AnswerCase>,
    parts: Vec<PartCase>,
    thresholds: Vec<ThresholdCase>,
}

#[derive(Deserialize)]
struct AnswerCase {
    answer: String,
    right: Vec<String>,
    exact: bool,
    f1: f64,
}

/// The number of questions, the share of exact matches, the mean F1.
type ExpectedPart = (u64, f64, f64);

#[derive(Deserialize)]
struct PartCase {
    name: String,
    first: usize,
    end: usize,
    all: ExpectedPart,
    answerable: Option<ExpectedPart>,
    unanswerable: Option<ExpectedPart>,
}

#[derive(Deserialize)]
struct ThresholdCase {
    name: String,
    rows: Vec<(f64, f64, bool)>,
    threshold: f64,
    f1: f64,
    with_it: f64,
    /// Whether `threshold` has the F1 `f1` that the script says it has.
    holds: bool,
}

fn answers_fixture() -> AnswersFixture {
    serde_json::from_str(include_str!("fixtures/answers.json")).unwrap()
}

#[test]
fn answers_are_normalised_as_in_the_evaluation_of_squad() {
    for (text, expected) in answers_fixture().normalised {
        assert_eq!(normalised(&text), expected, "{text:?}");
    }
}

#[test]
fn words_and_white_space_are_those_of_python_for_every_character() {
    let fixture = answers_fixture();
    // Unicode 14, which wrote the fixture, does not know these.
    let unknown = 2;
    let kinds = fixture.articles.iter().flat_map(|(kind, count)| (0..*count).map(move |_| *kind));
    let mut seen = 0;
    for (code, kind) in (0..).zip(kinds) {
        let Some(character) = char::from_u32(code).filter(|_| kind != unknown) else { continue };
        let article = normalised(&format!("{character}the"));
        assert_eq!(article.ends_with("the"), kind == 1, "article after {code:#x}");
        let spaced = normalised(&format!("x{character}y"));
        assert_eq!(spaced.contains(' '), fixture.spaces.contains(&code), "space at {code:#x}");
        seen += 1;
    }
    assert!(seen > 280_000, "{seen} characters");
}

#[test]
fn answers_are_scored_as_in_the_evaluation_of_squad() {
    let fixture = answers_fixture();
    for case in &fixture.answers {
        let what = format!("{:?} of {:?}", case.answer, case.right);
        assert_eq!(exact_match(&case.answer, &case.right), case.exact, "{what}");
        assert_close(&what, overlap(&case.answer, &case.right), case.f1);
    }
    let assert_part = |what: &str, found: Option<AnswerPart>, expected: Option<ExpectedPart>| {
        assert_eq!(found.map(|part| part.rows), expected.map(|part| part.0), "{what}");
        if let (Some(found), Some((_, exact_match, f1))) = (found, expected) {
            assert_close(&format!("{what}: exact match"), found.exact_match, exact_match);
            assert_close(&format!("{what}: f1"), found.f1, f1);
        }
    };
    for case in &fixture.parts {
        let rows = &fixture.answers[case.first..case.end];
        let rows = rows.iter().map(|row| (row.answer.as_str(), row.right.as_slice()));
        let AnswerScores { rows, exact_match, f1, answerable, unanswerable } =
            AnswerScores::compute(rows).unwrap();
        assert_part(&case.name, Some(AnswerPart { rows, exact_match, f1 }), Some(case.all));
        assert_part(&format!("{}, answerable", case.name), answerable, case.answerable);
        assert_part(&format!("{}, unanswerable", case.name), unanswerable, case.unanswerable);
    }
}

/// The mean F1 with a threshold.
fn f1_with(rows: &[BestSpan], threshold: f64) -> f64 {
    let of = |row: &BestSpan| match row.difference > threshold {
        true => f64::from(u8::from(!row.answerable)),
        false => row.f1,
    };
    rows.iter().map(of).sum::<f64>() / rows.len() as f64
}

#[test]
fn the_threshold_is_that_of_the_evaluation_of_squad_where_that_holds() {
    let (mut held, mut better) = (0, 0);
    for case in answers_fixture().thresholds {
        let rows = case.rows.iter().map(|row| BestSpan { difference: row.0, f1: row.1, answerable: row.2 });
        let rows: Vec<BestSpan> = rows.collect();
        let found = best_no_answer_threshold(rows.iter().copied()).unwrap();
        assert_close(&case.name, f1_with(&rows, found.threshold), found.f1);
        assert_close(&case.name, f1_with(&rows, case.threshold), case.with_it);
        if case.holds {
            assert_eq!(found.threshold, case.threshold, "{}", case.name);
            assert_close(&case.name, found.f1, case.f1);
            held += 1;
        } else {
            assert!(case.with_it < case.f1, "{}", case.name);
            assert!(found.f1 > case.with_it - TOLERANCE, "{}: found {found:?}", case.name);
            better += usize::from(found.f1 > case.with_it + TOLERANCE);
        }
    }
    assert!(held >= 12 && better >= 2, "{held} held, {better} could be better");
}

/// Texts of few words, so that some are alike.
fn text() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec!["owl", "Owl.", "sea", "the", "a", "", "-", "\u{a0}red"]);
    prop::collection::vec(words, 0..6).prop_map(|words| words.join(" "))
}

/// Differences with many that are equal, F1, and whether there is an answer.
fn spans() -> impl Strategy<Value = Vec<BestSpan>> {
    let row = (-4_i8..4, 0_u8..5, any::<bool>()).prop_map(|(difference, f1, answerable)| BestSpan {
        difference: f64::from(difference),
        f1: if answerable { f64::from(f1) / 4.0 } else { f64::from(f1 / 4) },
        answerable,
    });
    prop::collection::vec(row, 1..20)
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
    fn f1_of_two_answers_knows_no_order_and_is_1_where_they_match(one in text(), other in text()) {
        let f1 = overlap(&one, &[&other]);
        prop_assert_eq!(f1.to_bits(), overlap(&other, &[&one]).to_bits());
        prop_assert!((0.0..=1.0).contains(&f1));
        prop_assert!(!exact_match(&one, &[&other]) || f1 == 1.0);
        prop_assert_eq!(exact_match(&one, &[&other]), normalised(&one) == normalised(&other));
    }

    #[test]
    fn a_further_right_answer_takes_nothing_away(one in text(), right in text(), further in "x[a-z]{0,2}") {
        // Unless it is the first, without which there is no answer.
        prop_assume!(!normalised(&right).is_empty());
        let both = [right.as_str(), &further];
        prop_assert_eq!(overlap(&one, &both), overlap(&one, &both[..1]).max(overlap(&one, &both[1..])));
        prop_assert_eq!(exact_match(&one, &both), exact_match(&one, &both[..1]) || exact_match(&one, &both[1..]));
    }

    #[test]
    fn any_text_is_normalised_once_for_all(text in ".{0,30}") {
        let once = normalised(&text);
        prop_assert!(!once.starts_with(' ') && !once.ends_with(' ') && !once.contains("  "));
        prop_assert_eq!(normalised(&once), once);
    }

    #[test]
    fn no_threshold_is_better_than_the_best(rows in spans(), turn in 0_usize..20) {
        let found = best_no_answer_threshold(rows.iter().copied()).unwrap();
        prop_assert_eq!(found.f1, f1_with(&rows, found.threshold));
        for threshold in (-9..9).map(|half| f64::from(half) / 2.0) {
            prop_assert!(f1_with(&rows, threshold) <= found.f1, "{threshold} is better than {found:?}");
        }
        // Quarters are summed without rounding.
        let mut turned = rows;
        let places = turned.len();
        turned.rotate_left(turn % places);
        prop_assert_eq!(best_no_answer_threshold(turned).unwrap(), found);
    }

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
