//! The engine of `grafter check-data`: reads everything that can be read and counts what is there.
//!
//! Goes on after bad rows. Keeps a digest of each text, and of all labels of a row, and never the text itself, so a large file needs
//! little memory. Reports only; what is printed, and which finding is an error, is decided by the caller.

mod lengths;
mod report;

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use self::lengths::Histogram;
use super::choices::place;
use super::dataset::{MAX_CLASSES, looks_like_scores};
use super::labels::{Spread, check_length, join, parts, score};
use super::{
    DataError, LabelSet, LabelUse, OUTSIDE, Row, RowError, RowErrorKind, Source, SourceFile, TaskKind,
    Warning,
};
pub use report::{
    CheckReport, LabelCount, LengthStats, Overlap, Problem, RejectedRow, RepeatedText, Repeats, ScoreStats,
    Split, SplitReport, Truncation,
};

/// The files to check together.
#[derive(Debug, Clone)]
pub struct CheckFiles {
    /// The file to train on.
    pub train: Source,
    /// The file to choose by.
    pub dev: Option<Source>,
    /// The file to report on; it may lack labels.
    pub test: Option<Source>,
}

/// How to check.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// What the labels are taken for.
    pub kind: TaskKind,
    /// The most tokens of a row that are used; more are cut off.
    pub max_length: usize,
    /// How many rejected rows, and how many repeated texts, are listed for each file; all are counted.
    pub max_listed: usize,
}

/// Reads all files and reports; `count_tokens` gives a row's tokens before anything is cut off.
///
/// # Errors
/// A file that cannot be opened, or whose header cannot be used. Everything else is in the report.
pub fn check_data(
    files: &CheckFiles,
    options: &CheckOptions,
    count_tokens: &dyn Fn(&Row) -> usize,
) -> Result<CheckReport, DataError> {
    let mut report = CheckReport {
        kind: options.kind,
        max_length: options.max_length,
        splits: Vec::new(),
        overlaps: Vec::new(),
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    let mut label_ids = LabelIds::default();
    let mut earlier: Vec<(Split, Texts, Files)> = Vec::new();
    let mut known = None;
    let sources = [
        (Split::Train, Some(&files.train)),
        (Split::Dev, files.dev.as_ref()),
        (Split::Test, files.test.as_ref()),
    ];
    for (split, source) in sources {
        let Some(source) = source else { continue };
        let mut check = SplitCheck::new(split, options, &earlier);
        check.all_answered = report
            .splits
            .first()
            .is_some_and(|train| train.labels.iter().all(|count| count.label != NO_ANSWER));
        let class_names = check.read(source, known.as_ref(), &mut label_ids, count_tokens)?;
        let spread = check.spread;
        let files = std::mem::take(&mut check.files);
        let (split_report, texts, overlaps) = check.finish(known.as_ref(), class_names.as_deref());
        if split == Split::Train {
            known = label_set(&split_report, class_names.as_deref(), &mut report);
            let checked = spread.check(&split_report.file.as_str().into());
            report.problems.extend(checked.err().as_ref().map(problem));
        }
        file_problems(&split_report, &mut report);
        report.splits.push(split_report);
        report.overlaps.extend(overlaps);
        earlier.push((split, texts, files));
    }
    Ok(report)
}

/// The labels of the training file, or a problem; warns if they look like scores.
fn label_set(
    train: &SplitReport,
    class_names: Option<&[String]>,
    report: &mut CheckReport,
) -> Option<LabelSet> {
    let file = train.file.as_str().into();
    let only = match (report.kind, &train.scores, train.labels.as_slice()) {
        (TaskKind::Regression, Some(scores), _) if scores.min == scores.max => Some(scores.min.to_string()),
        (TaskKind::Regression, ..) => None,
        (TaskKind::Entities, _, [outside]) if outside.label != OUTSIDE => None,
        (TaskKind::MultipleChoice | TaskKind::QuestionAnswering, ..) => None,
        (_, _, [label]) => Some(label.label.clone()),
        _ => None,
    };
    if let Some(label) = only {
        report.problems.push(problem(&DataError::OneLabel { file, label }));
    }
    let unanswered =
        report.kind == TaskKind::QuestionAnswering && train.labels.iter().all(|count| count.label != ANSWER);
    let unlabelled = report.kind == TaskKind::MultiLabel && train.labels.is_empty();
    if (unanswered || unlabelled) && train.rows > 0 {
        report.problems.push(problem(&DataError::NoLabels { file: train.file.as_str().into() }));
    }
    let names = || train.labels.iter().map(|count| count.label.as_str());
    let rows = usize::try_from(train.rows).unwrap_or(usize::MAX);
    if report.kind == TaskKind::Classification && looks_like_scores(names(), rows) {
        let warning = Warning::LooksLikeRegression { labels: train.labels.len(), rows };
        let message = format!("{}: {warning}", train.file);
        report.warnings.push(Problem { message, hint: warning.hint() });
    }
    if matches!(report.kind, TaskKind::Regression | TaskKind::MultipleChoice | TaskKind::QuestionAnswering) {
        return None;
    }
    // Fewer than two labels are reported above, in words of their own.
    LabelSet::of_file(names(), class_names).ok()
}

/// Problems of one file as a whole, and with the training file.
fn file_problems(split: &SplitReport, report: &mut CheckReport) {
    if split.rows == 0 {
        report.problems.push(problem(&DataError::Empty { file: split.file.as_str().into() }));
    }
    let train_pair = report.splits.first().and_then(|train| train.pair);
    if let (Some(expected_pair), Some(pair)) = (train_pair, split.pair)
        && expected_pair != pair
    {
        let file = split.file.as_str().into();
        report.problems.push(problem(&DataError::PairMismatch { file, expected_pair }));
    }
}

fn problem(error: &DataError) -> Problem {
    Problem { message: error.to_string(), hint: error.hint() }
}

/// Half of a SHA-256: with a million rows, a chance below 10⁻²⁶ that two of them share it.
type Half = [u8; 16];

/// The first occurrence of each text.
type Texts = HashMap<Half, Occurrence>;

/// Where a text stands, and its label's id. One is held for each text, so it is small.
#[derive(Clone, Copy)]
struct Occurrence {
    line: u64,
    /// The place of its file among those of the split.
    file: u32,
    label: u32,
}

impl Occurrence {
    const NO_LABEL: u32 = u32::MAX;

    fn conflicts(self, other: Self) -> bool {
        self.label != Self::NO_LABEL && other.label != Self::NO_LABEL && self.label != other.label
    }
}

/// The files of a split; empty where it is one, which needs no name beside its lines.
type Files = Vec<String>;

fn name_of(files: &[String], place: u32) -> Option<String> {
    files.get(place as usize).cloned()
}

/// Labels as small numbers, the same in all files. The tags of a sentence are one label, and nearly always another one.
#[derive(Default)]
struct LabelIds(HashMap<Half, u32>);

impl LabelIds {
    fn id(&mut self, label: &str, kind: TaskKind) -> u32 {
        // Scores are the same if their numbers are: `5` is `5.000`.
        let name = match (kind, score(label)) {
            (TaskKind::Regression, Ok(score)) => score.to_string(),
            // So are sets in another order.
            (TaskKind::MultiLabel, _) => {
                let mut labels: Vec<&str> = parts(label).collect();
                labels.sort_unstable();
                join(labels).ok().flatten().unwrap_or_default()
            }
            _ => label.to_owned(),
        };
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(half(Sha256::new().chain_update(name))).or_insert(next)
    }
}

/// What is counted of questions.
const ANSWER: &str = "an answer";
const NO_ANSWER: &str = "no answer";

/// The state of reading one file.
struct SplitCheck<'a> {
    options: &'a CheckOptions,
    earlier: &'a [(Split, Texts, Files)],
    report: SplitReport,
    files: Files,
    /// The place of the file that is read.
    file: u32,
    overlaps: Vec<Overlap>,
    texts: Texts,
    /// Whether all questions of the training file have an answer, so that those of the others must.
    all_answered: bool,
    labels: HashMap<String, u64>,
    score_sum: f64,
    /// Of the scores.
    spread: Spread,
    chars: Histogram,
    tokens: Histogram,
}

impl<'a> SplitCheck<'a> {
    fn new(split: Split, options: &'a CheckOptions, earlier: &'a [(Split, Texts, Files)]) -> Self {
        let overlap = |also_in| Overlap { split, also_in, repeats: Repeats::default() };
        Self {
            options,
            earlier,
            report: SplitReport {
                split,
                file: String::new(),
                pair: None,
                rows: 0,
                rejected: 0,
                rejected_rows: Vec::new(),
                unlabelled: 0,
                labels: Vec::new(),
                scores: None,
                duplicates: Repeats::default(),
                chars: LengthStats::default(),
                tokens: LengthStats::default(),
                truncated: Truncation { rows: 0, share: 0.0 },
            },
            files: Files::new(),
            file: 0,
            overlaps: earlier.iter().map(|(split, ..)| overlap(*split)).collect(),
            texts: Texts::new(),
            all_answered: false,
            labels: HashMap::new(),
            score_sum: 0.0,
            spread: Spread::default(),
            chars: Histogram::default(),
            tokens: Histogram::default(),
        }
    }

    /// Reads the file; gives the names that it gives its classes.
    fn read(
        &mut self,
        source: &Source,
        known: Option<&LabelSet>,
        label_ids: &mut LabelIds,
        count_tokens: &dyn Fn(&Row) -> usize,
    ) -> Result<Option<Vec<String>>, DataError> {
        let labels = match (self.options.kind, self.report.split) {
            (TaskKind::Classification | TaskKind::Regression, Split::Test) => LabelUse::Optional,
            (kind, split) => match source.columns.label_use(kind)? {
                LabelUse::Several { separator, .. } => {
                    LabelUse::Several { separator, needed: split != Split::Test }
                }
                LabelUse::Tags { scheme, .. } => LabelUse::Tags { scheme, needed: split != Split::Test },
                LabelUse::Choices { .. } => LabelUse::Choices { needed: split != Split::Test },
                LabelUse::Answers { .. } => LabelUse::Answers { needed: split != Split::Test },
                labels => labels,
            },
        };
        let mut reader = source.open(labels)?;
        self.report.file = reader.name().to_string();
        if source.files.len() > 1 {
            self.files = source.files.iter().map(SourceFile::name).collect();
        }
        while let Some(row) = reader.next() {
            // They come one after another, and some may have no rows.
            while self.files.get(self.file as usize).is_some_and(|file| **file != **reader.file()) {
                self.file += 1;
            }
            match row {
                Ok(row) => match self.take_label(&row, known) {
                    Ok(()) => self.take_row(&row, label_ids, count_tokens(&row)),
                    Err(kind) => self.reject(row.line, &kind),
                },
                Err(RowError { line, kind, .. }) => self.reject(line, &kind),
            }
        }
        self.report.pair = reader.is_pair();
        Ok(reader.class_names().map(<[String]>::to_vec))
    }

    fn reject(&mut self, line: u64, kind: &RowErrorKind) {
        self.report.rejected += 1;
        if self.report.rejected_rows.len() < self.options.max_listed {
            let file = name_of(&self.files, self.file);
            let rejected = RejectedRow { file, line, reason: kind.to_string(), hint: kind.hint() };
            self.report.rejected_rows.push(rejected);
        }
    }

    fn take_label(&mut self, row: &Row, known: Option<&LabelSet>) -> Result<(), RowErrorKind> {
        if self.options.kind == TaskKind::QuestionAnswering {
            match &row.answers {
                None => self.report.unlabelled += 1,
                Some(answers) => {
                    if answers.is_empty() && self.all_answered {
                        return Err(RowErrorKind::Unanswerable);
                    }
                    let label = if answers.is_empty() { NO_ANSWER } else { ANSWER };
                    *self.labels.entry(label.to_owned()).or_default() += 1;
                }
            }
            return Ok(());
        }
        let Some(label) = &row.label else {
            self.report.unlabelled += 1;
            return Ok(());
        };
        match self.options.kind {
            TaskKind::MultipleChoice => {
                let place = place(label, row.choices.len())?;
                *self.labels.entry(format!("choice {place}")).or_default() += 1;
            }
            TaskKind::QuestionAnswering => {}
            TaskKind::Classification => self.take_classes([label.as_str()], known)?,
            TaskKind::MultiLabel | TaskKind::Tags => self.take_classes(parts(label), known)?,
            // The type of each entity, and `O` for each word of none.
            TaskKind::Entities => {
                // A tag is a label, its prefix included.
                if known.is_none() {
                    parts(label).try_for_each(check_length)?;
                }
                self.labels.entry(OUTSIDE.to_owned()).or_default();
                let begins = |tag: &'_ str| tag == OUTSIDE || tag.starts_with("B-");
                let kinds = parts(label).filter(|tag| begins(tag));
                self.take_classes(kinds.map(|tag| tag.strip_prefix("B-").unwrap_or(tag)), known)?;
            }
            TaskKind::Regression => {
                let score = f64::from(score(label)?);
                self.spread.add(label);
                self.score_sum += score;
                let scores =
                    self.report.scores.get_or_insert(ScoreStats { min: score, max: score, mean: 0.0 });
                scores.min = scores.min.min(score);
                scores.max = scores.max.max(score);
            }
        }
        Ok(())
    }

    /// Counts the labels of a row, all or, if one cannot be used, none.
    fn take_classes<'l>(
        &mut self,
        labels: impl IntoIterator<Item = &'l str>,
        known: Option<&LabelSet>,
    ) -> Result<(), RowErrorKind> {
        let labels: Vec<&str> = labels.into_iter().collect();
        let mut new = 0;
        for label in &labels {
            match known {
                Some(known) => drop(known.class_of(label)?),
                None if self.labels.contains_key(*label) => {}
                None => {
                    check_length(label)?;
                    new += 1;
                }
            }
        }
        if self.labels.len() + new > MAX_CLASSES && new > 0 {
            return Err(RowErrorKind::TooManyLabels { limit: MAX_CLASSES });
        }
        labels.into_iter().for_each(|label| *self.labels.entry(label.to_owned()).or_default() += 1);
        Ok(())
    }

    fn take_row(&mut self, row: &Row, label_ids: &mut LabelIds, tokens: usize) {
        self.report.rows += 1;
        let texts = [&row.text].into_iter().chain(&row.text_b).chain(&row.choices);
        let chars = texts.map(|text| text.chars().count()).sum();
        self.chars.add(chars);
        self.tokens.add(tokens);
        self.report.truncated.rows += u64::from(tokens > self.options.max_length);

        let digest = digest(row);
        // Of several labels none is an answer, too.
        let none = (self.options.kind == TaskKind::MultiLabel).then_some("");
        let label = row.label.as_deref().or(none).map(|label| label_ids.id(label, self.options.kind));
        let label = label.unwrap_or(Occurrence::NO_LABEL);
        let here = Occurrence { line: row.line, file: self.file, label };
        let max_listed = self.options.max_listed;
        for (overlap, (_, texts, files)) in self.overlaps.iter_mut().zip(self.earlier) {
            if let Some(first) = texts.get(&digest) {
                count_repeat(&mut overlap.repeats, (here, &self.files), (*first, files), max_listed);
            }
        }
        let repeats = &mut self.report.duplicates;
        match self.texts.get(&digest) {
            Some(first) => count_repeat(repeats, (here, &self.files), (*first, &self.files), max_listed),
            None => {
                self.texts.insert(digest, here);
            }
        }
    }

    fn finish(
        mut self,
        known: Option<&LabelSet>,
        class_names: Option<&[String]>,
    ) -> (SplitReport, Texts, Vec<Overlap>) {
        let rows = self.report.rows;
        self.report.chars = self.chars.stats();
        self.report.tokens = self.tokens.stats();
        if rows > 0 {
            self.report.truncated.share = self.report.truncated.rows as f64 / rows as f64;
        }
        let labelled = rows - self.report.unlabelled.min(rows);
        if let Some(scores) = &mut self.report.scores {
            scores.mean = self.score_sum / labelled as f64;
        }
        let mut names: Vec<String> =
            match (known, LabelSet::of_file(self.labels.keys().map(String::as_str), class_names)) {
                (Some(known), _) => known.names().to_vec(),
                (None, Ok(set)) => set.names().to_vec(),
                (None, Err(_)) => self.labels.keys().cloned().collect(),
            };
        if labelled == 0 {
            names.clear();
        }
        let count = |label: String| LabelCount { rows: self.labels.get(&label).copied().unwrap_or(0), label };
        self.report.labels = names.into_iter().map(count).collect();
        (self.report, self.texts, self.overlaps)
    }
}

fn count_repeat(
    repeats: &mut Repeats,
    (here, files): (Occurrence, &[String]),
    (first, first_files): (Occurrence, &[String]),
    max_listed: usize,
) {
    let conflicting = here.conflicts(first);
    repeats.rows += 1;
    repeats.conflicting += u64::from(conflicting);
    if repeats.listed.len() < max_listed {
        repeats.listed.push(RepeatedText {
            file: name_of(files, here.file),
            line: here.line,
            first_file: name_of(first_files, first.file),
            first_line: first.line,
            conflicting,
        });
    }
}

/// Of a row's texts.
fn digest(row: &Row) -> Half {
    let mut hasher = Sha256::new();
    // The length keeps the pair ("ab", "c") apart from ("a", "bc").
    hasher.update((row.text.len() as u64).to_le_bytes());
    hasher.update(&row.text);
    hasher.update([u8::from(row.text_b.is_some())]);
    hasher.update(row.text_b.as_deref().unwrap_or_default());
    for choice in &row.choices {
        hasher.update((choice.len() as u64).to_le_bytes());
        hasher.update(choice);
    }
    half(hasher)
}

fn half(hasher: Sha256) -> Half {
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize()[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_kept_in_few_bytes_however_long_they_are() {
        let mut ids = LabelIds::default();
        let tags = |words: usize| ["B-place"; 5_000][..words].join("\u{1f}");
        for words in 1..=100 {
            assert_eq!(ids.id(&tags(50 * words), TaskKind::Entities), words as u32 - 1);
        }
        assert_eq!(ids.id(&tags(50), TaskKind::Entities), 0);
        let kept: usize = ids.0.keys().map(|kept| kept.len()).sum();
        assert_eq!(kept, 100 * 16);
        assert_eq!(ids.id("5", TaskKind::Regression), ids.id("5.000", TaskKind::Regression));
        assert_eq!(ids.id("a\u{1f}b", TaskKind::MultiLabel), ids.id("b\u{1f}a", TaskKind::MultiLabel));
        assert_ne!(ids.id("a\u{1f}b", TaskKind::Tags), ids.id("b\u{1f}a", TaskKind::Tags));
    }
}
