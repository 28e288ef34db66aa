//! Measures of answers to questions: exact match and F1 of the official evaluation of SQuAD, 2.0, and its choice of when to withhold
//! an answer.
//!
//! Rajpurkar et al. 2016, section 5, and Rajpurkar et al. 2018, section 5. What counts is the official script, which
//! `transformers.data.metrics.squad_metrics` repeats; its percentages are fractions here. Answers are texts: where in a context they
//! lie is not looked at.

use serde::{Deserialize, Serialize};

use super::MetricError;

const ARTICLES: [&str; 3] = ["a", "an", "the"];

/// A text as answers are compared: in lower case, without ASCII punctuation, without the words `a`, `an` and `the`, its words with one
/// space between them.
///
/// Punctuation goes first, so that `a.m.` is the word `am` and `(the)` an article. What a word is made of, and what white space is, is
/// as in Python.
pub fn normalised(text: &str) -> String {
    let lower = text.to_lowercase();
    let kept: String = lower.chars().filter(|character| !character.is_ascii_punctuation()).collect();
    let mut spaced = String::with_capacity(kept.len());
    let mut rest = kept.as_str();
    while let Some(first) = rest.chars().next() {
        let word = is_of_word(first);
        let end = rest.find(|character| is_of_word(character) != word).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        spaced.push_str(if ARTICLES.contains(&run) { " " } else { run });
        rest = after;
    }
    let words: Vec<&str> = spaced.split(is_space).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

/// `\w` of Python's `re`, for text without `_`: letters and numbers. Unlike [`char::is_alphanumeric`] it has no vowel signs and no
/// letters in circles.
fn is_of_word(character: char) -> bool {
    let inside = ALPHABETIC_NO_LETTER.partition_point(|bound| *bound <= u32::from(character)) % 2 == 1;
    character.is_alphanumeric() && !inside
}

/// White space of Python's `str.split`: that of Unicode, and the four ASCII separators.
fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}

/// The characters up to Unicode 14 that are alphabetic by Unicode's property and neither letters nor numbers by their category (most
/// are vowel signs, in Mn and Mc): where each range begins and where it has ended. Ranges go on over what is not alphabetic.
const ALPHABETIC_NO_LETTER: [u32; 322] = [
    0x345, 0x370, 0x5b0, 0x5c8, 0x610, 0x61b, 0x64b, 0x660, 0x670, 0x671, 0x6d6, 0x6e5, 0x6e7, 0x6ee, 0x711,
    0x712, 0x730, 0x740, 0x7a6, 0x7b1, 0x816, 0x818, 0x81b, 0x824, 0x825, 0x828, 0x829, 0x82d, 0x8d4, 0x904,
    0x93a, 0x93c, 0x93e, 0x950, 0x955, 0x958, 0x962, 0x964, 0x981, 0x984, 0x9be, 0x9cd, 0x9d7, 0x9d8, 0x9e2,
    0x9e4, 0xa01, 0xa04, 0xa3e, 0xa52, 0xa70, 0xa72, 0xa75, 0xa84, 0xabe, 0xacd, 0xae2, 0xae4, 0xafa, 0xb04,
    0xb3e, 0xb58, 0xb62, 0xb64, 0xb82, 0xb83, 0xbbe, 0xbcd, 0xbd7, 0xbd8, 0xc00, 0xc05, 0xc3e, 0xc57, 0xc62,
    0xc64, 0xc81, 0xc84, 0xcbe, 0xcd7, 0xce2, 0xce4, 0xd00, 0xd04, 0xd3e, 0xd4d, 0xd57, 0xd58, 0xd62, 0xd64,
    0xd81, 0xd84, 0xdcf, 0xde0, 0xdf2, 0xdf4, 0xe31, 0xe32, 0xe34, 0xe3b, 0xe4d, 0xe4e, 0xeb1, 0xeb2, 0xeb4,
    0xebd, 0xecd, 0xece, 0xf71, 0xf84, 0xf8d, 0xfbd, 0x102b, 0x103f, 0x1056, 0x105a, 0x105e, 0x1061, 0x1062,
    0x1065, 0x1067, 0x106e, 0x1071, 0x1075, 0x1082, 0x108e, 0x108f, 0x1090, 0x109a, 0x109e, 0x1712, 0x1714,
    0x1732, 0x1734, 0x1752, 0x1754, 0x1772, 0x1774, 0x17b6, 0x17c9, 0x1885, 0x1887, 0x18a9, 0x18aa, 0x1920,
    0x1939, 0x1a17, 0x1a1c, 0x1a55, 0x1a75, 0x1abf, 0x1b05, 0x1b35, 0x1b44, 0x1b80, 0x1b83, 0x1ba1, 0x1bae,
    0x1be7, 0x1bf2, 0x1c24, 0x1c37, 0x1dd3, 0x1df5, 0x24b6, 0x24ea, 0x2de0, 0x2e00, 0xa674, 0xa67c, 0xa69e,
    0xa6a0, 0xa802, 0xa803, 0xa80b, 0xa80c, 0xa823, 0xa828, 0xa880, 0xa882, 0xa8b4, 0xa8c6, 0xa8ff, 0xa900,
    0xa926, 0xa92b, 0xa947, 0xa953, 0xa980, 0xa984, 0xa9b4, 0xa9c0, 0xa9e5, 0xa9e6, 0xaa29, 0xaa37, 0xaa43,
    0xaa44, 0xaa4c, 0xaa4e, 0xaa7b, 0xaa7e, 0xaab0, 0xaab1, 0xaab2, 0xaab5, 0xaab7, 0xaab9, 0xaabe, 0xaabf,
    0xaaeb, 0xaaf0, 0xaaf5, 0xaaf6, 0xabe3, 0xabeb, 0xfb1e, 0xfb1f, 0x10376, 0x1037b, 0x10a01, 0x10a10,
    0x10d24, 0x10d28, 0x10eab, 0x10ead, 0x11000, 0x11003, 0x11038, 0x11046, 0x11073, 0x11075, 0x11080,
    0x11083, 0x110b0, 0x110c3, 0x11100, 0x11103, 0x11127, 0x11133, 0x11145, 0x11147, 0x11180, 0x11183,
    0x111b3, 0x111c0, 0x111ce, 0x111d0, 0x1122c, 0x1123f, 0x112df, 0x112e9, 0x11300, 0x11304, 0x1133e,
    0x1134d, 0x11357, 0x11358, 0x11362, 0x11364, 0x11435, 0x11446, 0x114b0, 0x114c2, 0x115af, 0x115bf,
    0x115dc, 0x115de, 0x11630, 0x11641, 0x116ab, 0x116b6, 0x1171d, 0x1172b, 0x1182c, 0x11839, 0x11930,
    0x1193d, 0x11940, 0x11941, 0x11942, 0x11943, 0x119d1, 0x119e0, 0x119e4, 0x119e5, 0x11a01, 0x11a0b,
    0x11a35, 0x11a3a, 0x11a3b, 0x11a3f, 0x11a51, 0x11a5c, 0x11a8a, 0x11a98, 0x11c2f, 0x11c3f, 0x11c92,
    0x11cb7, 0x11d31, 0x11d44, 0x11d47, 0x11d48, 0x11d8a, 0x11d97, 0x11ef3, 0x11ef7, 0x16f4f, 0x16f50,
    0x16f51, 0x16f93, 0x16ff0, 0x16ff2, 0x1bc9e, 0x1bc9f, 0x1e000, 0x1e02b, 0x1e947, 0x1e948, 0x1f130,
    0x1f18a,
];

/// Whether an answer is one of the right ones, as [`normalised`].
///
/// As in SQuAD 2.0, right answers of which nothing is left do not count, and where none is left the right one is to give no answer: an
/// empty text, or one of which nothing is left.
pub fn exact_match<S: AsRef<str>>(answer: &str, right: &[S]) -> bool {
    score(answer, right).0
}

/// F1 of the words of an answer and a right one, as [`normalised`], each word as often as it occurs: the most of all right answers.
///
/// `2 p r / (p + r)` of the share `p` of the answer's words and the share `r` of the right one's that are in both; 0 if none is. Which
/// right answers count is as with [`exact_match`]; no answer where there is none has 1.
pub fn overlap<S: AsRef<str>>(answer: &str, right: &[S]) -> f64 {
    score(answer, right).1
}

fn score<S: AsRef<str>>(answer: &str, right: &[S]) -> (bool, f64) {
    let answer = normalised(answer);
    let texts = right.iter().map(|text| normalised(text.as_ref())).filter(|text| !text.is_empty());
    let scores = texts.map(|text| (text == answer, f1_of_words(&answer, &text)));
    let best = scores.reduce(|best, other| (best.0 || other.0, best.1.max(other.1)));
    best.unwrap_or_else(|| (answer.is_empty(), f64::from(u8::from(answer.is_empty()))))
}

/// Of texts as [`normalised`], the second not empty.
fn f1_of_words(answer: &str, right: &str) -> f64 {
    let sorted = |text| {
        let mut words: Vec<&str> = str::split(text, ' ').filter(|word| !word.is_empty()).collect();
        words.sort_unstable();
        words
    };
    let (answer, right) = (sorted(answer), sorted(right));
    let (mut common, mut at) = (0_usize, 0);
    for word in &answer {
        at += right[at..].iter().take_while(|other| *other < word).count();
        if right.get(at) == Some(word) {
            common += 1;
            at += 1;
        }
    }
    if common == 0 {
        return 0.0;
    }
    let (precision, recall) = (common as f64 / answer.len() as f64, common as f64 / right.len() as f64);
    2.0 * precision * recall / (precision + recall)
}

/// The scores of answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerScores {
    /// The number of questions.
    pub rows: u64,
    /// The share of questions whose answer is exactly right, see [`exact_match`].
    pub exact_match: f64,
    /// The mean of the questions' F1, see [`overlap`].
    pub f1: f64,
    /// The questions that have an answer, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answerable: Option<AnswerPart>,
    /// The questions that have none, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unanswerable: Option<AnswerPart>,
}

/// The scores of some of the questions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AnswerPart {
    /// The number of these questions.
    pub rows: u64,
    /// The share of them whose answer is exactly right.
    pub exact_match: f64,
    /// The mean of their F1.
    pub f1: f64,
}

impl AnswerScores {
    /// All scores of answers, each with the right ones. A question without right answers is unanswerable, and the answer to it an empty
    /// text.
    ///
    /// # Errors
    /// No rows.
    pub fn compute<'a, S: AsRef<str> + 'a>(
        rows: impl IntoIterator<Item = (&'a str, &'a [S])>,
    ) -> Result<Self, MetricError> {
        let mut tally = AnswerTally::default();
        rows.into_iter().for_each(|(answer, right)| tally.add(answer, right));
        tally.scores()
    }
}

/// Collects the scores of answers that come one after another. Its size does not depend on how many there are.
#[derive(Debug, Clone, Default)]
pub struct AnswerTally {
    answerable: Sums,
    unanswerable: Sums,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    rows: u64,
    exact: u64,
    f1: f64,
}

impl AnswerTally {
    /// Adds the answer to one question; without right answers the question is unanswerable.
    pub fn add<S: AsRef<str>>(&mut self, answer: &str, right: &[S]) {
        let (exact, f1) = score(answer, right);
        let sums = if right.is_empty() { &mut self.unanswerable } else { &mut self.answerable };
        sums.rows += 1;
        sums.exact += u64::from(exact);
        sums.f1 += f1;
    }

    /// The scores of all that was added.
    ///
    /// # Errors
    /// No rows.
    pub fn scores(&self) -> Result<AnswerScores, MetricError> {
        let all = Sums {
            rows: self.answerable.rows + self.unanswerable.rows,
            exact: self.answerable.exact + self.unanswerable.exact,
            f1: self.answerable.f1 + self.unanswerable.f1,
        };
        let AnswerPart { rows, exact_match, f1 } = all.part().ok_or(MetricError::Empty)?;
        let (answerable, unanswerable) = (self.answerable.part(), self.unanswerable.part());
        Ok(AnswerScores { rows, exact_match, f1, answerable, unanswerable })
    }
}

impl Sums {
    fn part(&self) -> Option<AnswerPart> {
        let rows = self.rows as f64;
        (self.rows > 0).then(|| AnswerPart {
            rows: self.rows,
            exact_match: self.exact as f64 / rows,
            f1: self.f1 / rows,
        })
    }
}

/// The best span that was found for a question, and whether to give it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BestSpan {
    /// How much more no answer is preferred to the span: the score of no answer less that of the span.
    pub difference: f64,
    /// F1 of the span, see [`overlap`]. Where there is no answer it is 1 if nothing is left of the span; the official script's search
    /// for a threshold has 0 there, unless the span is empty as it is.
    pub f1: f64,
    /// Whether the question has an answer.
    pub answerable: bool,
}

/// From where on an answer is withheld.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NoAnswerThreshold {
    /// The answer is withheld where [`BestSpan::difference`] is greater, and given where it is equal or less.
    pub threshold: f64,
    /// The least difference above it, if there is one.
    pub next: Option<f64>,
    /// The mean F1 of the questions it was chosen on, with this threshold.
    pub f1: f64,
}

impl NoAnswerThreshold {
    /// Half-way to the next difference: it parts the questions it was chosen on as [`threshold`](Self::threshold) does, and leaves
    /// as much room on either side for others.
    pub fn middle(self) -> f64 {
        // Beyond is the difference of a question that has no span.
        let next = self.next.filter(|next| *next < f64::from(f32::MAX));
        next.map_or(self.threshold, |next| self.threshold + (next - self.threshold) / 2.0)
    }
}

/// The threshold with the highest mean F1: a withheld answer has 1 where the question has none, and 0 where it has one.
///
/// Of equally good thresholds it is the least one, which withholds most; where to withhold all answers is best, it is 0, or just below
/// the least difference if that is not above 0. This is `find_best_thresh` of the official script, with the same result wherever the
/// script's threshold has the F1 that the script says it has. It has not in two cases. Questions with the same difference are all
/// withheld or none, where the script counts a part of them, by their order. And the script says 0 for withholding all answers also
/// where differences are below, as it was made for probabilities.
///
/// The order of rows does not matter, up to the rounding of the sum.
///
/// # Errors
/// No rows; a difference or an F1 that is not finite.
pub fn best_no_answer_threshold(
    rows: impl IntoIterator<Item = BestSpan>,
) -> Result<NoAnswerThreshold, MetricError> {
    let mut rows: Vec<BestSpan> = rows.into_iter().collect();
    if let Some(row) = rows.iter().position(|row| !row.difference.is_finite() || !row.f1.is_finite()) {
        return Err(MetricError::NotFinite { row });
    }
    // -0 is 0, so that the order of numbers is also that of `total_cmp`.
    rows.iter_mut().for_each(|row| row.difference += 0.0);
    rows.sort_by(|one, other| one.difference.total_cmp(&other.difference));
    let least = rows.first().ok_or(MetricError::Empty)?.difference;
    let mut sum = rows.iter().filter(|row| !row.answerable).count() as f64;
    let (mut best, mut threshold) = (sum, least.next_down().min(0.0));
    for same in rows.chunk_by(|one, other| one.difference == other.difference) {
        for row in same {
            sum += if row.answerable { row.f1 } else { row.f1 - 1.0 };
        }
        if sum > best {
            (best, threshold) = (sum, same[0].difference);
        }
    }
    let next = rows.iter().map(|row| row.difference).find(|difference| *difference > threshold);
    Ok(NoAnswerThreshold { threshold, next, f1: best / rows.len() as f64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [&str; 0] = [];

    #[test]
    fn articles_and_punctuation_and_white_space_go() {
        for (text, expected) in [
            ("The  Quick, brown\tFOX!", "quick brown fox"),
            ("a.m. (the)", "am"),
            ("another theatre an-the", "another theatre anthe"),
            ("the", ""),
            ("the\u{a0}\u{1c}owl", "owl"),
            ("a–b", "–b"),
            ("ΟΔΟΣ İ", "οδος i\u{307}"),
        ] {
            assert_eq!(normalised(text), expected, "{text:?}");
        }
    }

    #[test]
    fn words_count_as_often_as_they_are_in_both() {
        assert_eq!(
            overlap("red red blue", &["red blue blue blue"]),
            2.0 * (2.0 / 3.0) * 0.5 / (2.0 / 3.0 + 0.5)
        );
        assert_eq!(overlap("green", &["red", "green sea"]), 2.0 * 1.0 * 0.5 / 1.5);
        assert_eq!(overlap("green", &["red"]), 0.0);
    }

    #[test]
    fn no_answer_is_right_where_there_is_none() {
        for right in [&NONE[..], &["", "the"]] {
            assert!(exact_match("", right) && exact_match("The!", right) && !exact_match("x", right));
            assert_eq!((overlap("", right), overlap("an", right), overlap("x", right)), (1.0, 1.0, 0.0));
        }
        // Of those that are right one is left.
        assert!(!exact_match("", &["the", "x"]) && exact_match("x", &["the", "x"]));
        assert_eq!(overlap("", &["the", "x"]), 0.0);
    }

    #[test]
    fn the_middle_parts_what_the_threshold_parts() {
        let span =
            |difference, answerable| BestSpan { difference, f1: f64::from(u8::from(answerable)), answerable };
        let found =
            best_no_answer_threshold([span(-20.0, true), span(10.0, false), span(-24.0, true)]).unwrap();
        assert_eq!(found, NoAnswerThreshold { threshold: -20.0, next: Some(10.0), f1: 1.0 });
        assert_eq!(found.middle(), -5.0);
        let all = best_no_answer_threshold([span(-20.0, true), span(-24.0, true)]).unwrap();
        assert_eq!((all.next, all.middle()), (None, -20.0));
        // One without any span is no neighbour.
        let none = best_no_answer_threshold([span(-20.0, true), span(f64::MAX, false)]).unwrap();
        assert_eq!((none.next, none.middle()), (Some(f64::MAX), -20.0));
        let withheld = best_no_answer_threshold([span(5.0, false), span(7.0, false)]).unwrap();
        assert_eq!((withheld.threshold, withheld.middle()), (0.0, 2.5));
    }

    #[test]
    fn parts_are_scored_where_there_are_any() {
        let (right, none): (&[&str], &[&str]) = (&["blue sea"], &[]);
        let scores = AnswerScores::compute([("sea", right), ("", none), ("sea", none)]).unwrap();
        let third = 2.0 / 3.0;
        assert_eq!(scores.answerable, Some(AnswerPart { rows: 1, exact_match: 0.0, f1: third }));
        assert_eq!(scores.unanswerable, Some(AnswerPart { rows: 2, exact_match: 0.5, f1: 0.5 }));
        assert_eq!((scores.rows, scores.exact_match), (3, 1.0 / 3.0));
        assert!((scores.f1 - (third + 1.0) / 3.0).abs() < 1e-12);
        let json = serde_json::to_string(&scores).unwrap();
        assert_eq!(serde_json::from_str::<AnswerScores>(&json).unwrap(), scores);
        let scores = AnswerScores::compute([("sea", right)]).unwrap();
        assert!(scores.unanswerable.is_none());
        let nothing: [(&str, &[&str]); 0] = [];
        assert_eq!(AnswerScores::compute(nothing), Err(MetricError::Empty));
    }

    fn span(difference: f64, f1: f64, answerable: bool) -> BestSpan {
        BestSpan { difference, f1, answerable }
    }

    #[test]
    fn a_threshold_does_what_it_says_where_differences_are_equal_or_negative() {
        // The official script says 2, with an F1 of 1: it counts the first of the two.
        let rows = [span(2.0, 1.0, true), span(2.0, 0.0, false)];
        let found = best_no_answer_threshold(rows).unwrap();
        assert_eq!(found, NoAnswerThreshold { threshold: 0.0, next: Some(2.0), f1: 0.5 });
        // The official script says 0, which withholds nothing.
        let found = best_no_answer_threshold([span(-2.0, 0.0, false), span(-3.0, 0.0, true)]).unwrap();
        assert!(found.threshold < -3.0 && found.threshold > -3.001 && found.f1 == 0.5, "{found:?}");
        // 0 itself is not greater than 0.
        let found = best_no_answer_threshold([span(-0.0, 0.0, false)]).unwrap();
        assert!(found.threshold < 0.0 && found.f1 == 1.0, "{found:?}");
        let found = best_no_answer_threshold([span(0.0, 0.5, true), span(-0.0, 0.5, true)]).unwrap();
        assert_eq!((found.threshold.to_bits(), found.f1), (0, 0.5));
    }

    #[test]
    fn what_has_no_threshold_is_an_error() {
        assert_eq!(best_no_answer_threshold([]), Err(MetricError::Empty));
        for bad in [span(f64::NAN, 0.0, true), span(f64::INFINITY, 0.0, true), span(0.0, f64::NAN, true)] {
            let error = best_no_answer_threshold([span(0.0, 0.0, true), bad]).unwrap_err();
            assert_eq!(error, MetricError::NotFinite { row: 1 });
            assert_eq!(error.to_string(), "expected finite scores, found another in row 2");
        }
    }
}
