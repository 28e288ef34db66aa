//! Labelled rows one after another: of a file that is read anew for each pass and never held, or of a [`Dataset`].
//!
//! A file is read strictly: the first row that cannot be used is the error. A training file decides the task (label
//! names, single texts or pairs); every other file is held to it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use super::choices::place;
use super::dataset::{eval_warnings, train_warnings};
use super::file::{Bytes, Input};
use super::labels::{Spread, check_length, parts, score};
use super::tags::complete;
use super::{
    DataError, Dataset, FileRows, LabelScheme, LabelSet, MAX_CLASSES, OUTSIDE, Question, Row, RowError,
    RowErrorKind, Source, Targets, TaskKind, TaskSpec, Warning,
};

/// Rows in their order.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<Cow<'a, Row>, DataError>> + 'a>;

/// Labelled rows whose task and targets are known, and which can be read again and again.
pub trait LabelledRows {
    /// The file's name, as messages give it.
    fn file(&self) -> &Arc<str>;
    /// What the rows are examples of.
    fn task(&self) -> &TaskSpec;
    /// The target of each row.
    fn targets(&self) -> &Targets;
    /// Reads the rows from the first on.
    ///
    /// # Errors
    /// If the file cannot be read again; the rows themselves are errors if it has changed.
    fn read(&self) -> Result<Rows<'_>, DataError>;
}

impl LabelledRows for Dataset {
    fn file(&self) -> &Arc<str> {
        &self.file
    }

    fn task(&self) -> &TaskSpec {
        &self.task
    }

    fn targets(&self) -> &Targets {
        &self.targets
    }

    fn read(&self) -> Result<Rows<'_>, DataError> {
        Ok(Box::new(self.rows.iter().map(|row| Ok(Cow::Borrowed(row)))))
    }
}

/// Rows that are in memory as text together, and their bytes: a block ends with the row that reaches either.
const BLOCK_ROWS: usize = 1024;
const BLOCK_BYTES: usize = 4 << 20;

/// Reads rows in blocks of at most 1,024, fewer where they are long: as much text as is in memory together.
///
/// # Errors
/// The blocks are errors where the rows are.
pub fn blocks(mut rows: Rows<'_>) -> impl Iterator<Item = Result<Vec<Cow<'_, Row>>, DataError>> {
    std::iter::from_fn(move || {
        let (mut block, mut bytes) = (Vec::new(), 0);
        while block.len() < BLOCK_ROWS && bytes < BLOCK_BYTES {
            match rows.next() {
                Some(Ok(row)) => {
                    bytes += row.text_bytes();
                    block.push(row);
                }
                Some(Err(error)) => return Some(Err(error)),
                None => break,
            }
        }
        (!block.is_empty()).then_some(Ok(block))
    })
}

/// A labelled file, or several that are read one after another, read once for its task and its targets, and read again for its texts.
#[derive(Debug)]
pub struct LabelledFile {
    /// What the first reading told.
    told: Told,
    source: Source,
    inputs: Vec<Input>,
}

impl LabelledFile {
    /// Reads a file to train on, whose labels define the task.
    ///
    /// # Errors
    /// As of [`Dataset::read_train`].
    pub fn read_train(source: &Source, kind: TaskKind) -> Result<Self, DataError> {
        Self::open(source, kind, |reader| read_train(reader, kind, drop))
    }

    /// Reads a file to evaluate on, whose rows must be examples of `task`.
    ///
    /// # Errors
    /// As of [`Dataset::read_eval`].
    pub fn read_eval(source: &Source, task: &TaskSpec) -> Result<Self, DataError> {
        Self::open(source, task.scheme.kind(), |reader| read_eval(reader, task, drop))
    }

    /// What may not be meant.
    pub fn warnings(&self) -> &[Warning] {
        &self.told.warnings
    }

    fn open(
        source: &Source,
        kind: TaskKind,
        read: impl FnOnce(FileRows<Bytes>) -> Result<Told, DataError>,
    ) -> Result<Self, DataError> {
        let inputs = source.inputs()?;
        let told = read(source.reader(&inputs, source.columns.label_use(kind)?)?)?;
        Ok(Self { told, source: source.clone(), inputs })
    }

    fn check_unchanged(&self) -> Result<(), DataError> {
        match self.inputs.iter().find(|input| !input.is_unchanged()) {
            Some(input) => Err(DataError::Changed { file: input.name.clone() }),
            None => Ok(()),
        }
    }
}

impl LabelledRows for LabelledFile {
    fn file(&self) -> &Arc<str> {
        &self.told.file
    }

    fn task(&self) -> &TaskSpec {
        &self.told.task
    }

    fn targets(&self) -> &Targets {
        &self.told.targets
    }

    fn read(&self) -> Result<Rows<'_>, DataError> {
        let labels = self.source.columns.label_use(self.told.task.scheme.kind())?;
        let rows = self.source.reader(&self.inputs, labels);
        // What is wrong with a file that was cut is that it was.
        let explained = |error: DataError| self.check_unchanged().err().unwrap_or(error);
        let rows = rows.map_err(explained)?;
        let rows = rows.map(move |row| row.map(Cow::Owned).map_err(|error| explained(error.into())));
        let end = std::iter::once_with(|| self.check_unchanged()).filter_map(Result::err).map(Err);
        Ok(Box::new(rows.chain(end)))
    }
}

/// What a file tells beside its rows.
#[derive(Debug)]
pub(super) struct Told {
    pub file: Arc<str>,
    pub task: TaskSpec,
    pub targets: Targets,
    pub warnings: Vec<Warning>,
}

/// Reads a file to train on; each row is passed to `keep`.
pub(super) fn read_train<R: Read>(
    reader: FileRows<R>,
    kind: TaskKind,
    keep: impl FnMut(Row),
) -> Result<Told, DataError> {
    let file = reader.name().clone();
    let (pair, scheme, targets, skipped) = match kind {
        TaskKind::Classification => train_classes(reader, keep)?,
        TaskKind::MultiLabel => train_sets(reader, keep)?,
        TaskKind::Regression => train_scores(reader, keep)?,
        TaskKind::Entities | TaskKind::Tags => train_tags(reader, kind, keep)?,
        TaskKind::MultipleChoice => train_choices(reader, keep)?,
        TaskKind::QuestionAnswering => train_questions(reader, keep)?,
    };
    let warnings = train_warnings(&scheme, &targets, skipped);
    Ok(Told { file, task: TaskSpec { scheme, pair }, targets, warnings })
}

/// Whether rows are pairs, their classes, which have their order when all labels are known, and how many were left out.
fn train_classes<R: Read>(
    reader: FileRows<R>,
    keep: impl FnMut(Row),
) -> Result<(bool, LabelScheme, Targets, usize), DataError> {
    let mut targets = Vec::new();
    let (pair, set, places, skipped) = train_labels(reader, keep, |label, seen| {
        targets.push(seen.number(label)?);
        Ok(())
    })?;
    targets.iter_mut().for_each(|class| *class = places[*class]);
    Ok((pair, LabelScheme::Classes(set), Targets::Classes(targets), skipped))
}

/// As [`train_classes`], of rows with any number of labels.
fn train_sets<R: Read>(
    reader: FileRows<R>,
    keep: impl FnMut(Row),
) -> Result<(bool, LabelScheme, Targets, usize), DataError> {
    let mut targets = Vec::new();
    let (pair, set, places, skipped) = train_labels(reader, keep, |label, seen| {
        targets.push(parts(label).map(|label| seen.number(label)).collect::<Result<Vec<usize>, _>>()?);
        Ok(())
    })?;
    for classes in &mut targets {
        classes.iter_mut().for_each(|class| *class = places[*class]);
        classes.sort_unstable();
    }
    Ok((pair, LabelScheme::Sets(set), Targets::Sets(targets), skipped))
}

/// As [`train_classes`], of words with tags; where these mark entities, each type has all of its tags whether they occur or not.
fn train_tags<R: Read>(
    reader: FileRows<R>,
    kind: TaskKind,
    keep: impl FnMut(Row),
) -> Result<(bool, LabelScheme, Targets, usize), DataError> {
    let (file, class_names) = (reader.name().clone(), reader.class_names().map(<[String]>::to_vec));
    let (mut targets, mut seen) = (Vec::new(), Seen::default());
    let (pair, bad_label, skipped) = read_all(reader, keep, |row| {
        targets.push(each_tag(label_of(row), |tag| seen.number(tag))?);
        Ok(())
    })?;
    bad_label.map_or(Ok(()), Err)?;
    if let Some(label) = seen.only().filter(|only| kind == TaskKind::Tags || only == OUTSIDE) {
        return Err(DataError::OneLabel { file, label });
    }
    let tags = || seen.0.keys().map(String::as_str);
    let set = match kind {
        TaskKind::Entities => LabelSet::from_names(complete(tags()))?,
        _ => LabelSet::of_file(tags(), class_names.as_deref())?,
    };
    if set.len() > MAX_CLASSES {
        return Err(DataError::TooManyTags { file, limit: MAX_CLASSES });
    }
    let bad = || DataError::BadLabelSet { names: class_names.unwrap_or_default() };
    let places = seen.places(&set).ok_or_else(bad)?;
    for tags in &mut targets {
        tags.iter_mut().for_each(|tag| *tag = places[*tag]);
    }
    let count = set.len();
    Ok(match kind {
        TaskKind::Entities => (pair, LabelScheme::Entities(set), Targets::Entities(targets, count), skipped),
        _ => (pair, LabelScheme::Tags(set), Targets::Tags(targets, count), skipped),
    })
}

/// Whether rows are pairs, the labels that `take` saw, in their order, the place there of each number, and how many rows were left
/// out.
fn train_labels<R: Read>(
    reader: FileRows<R>,
    keep: impl FnMut(Row),
    mut take: impl FnMut(&str, &mut Seen) -> Result<(), Refused>,
) -> Result<(bool, LabelSet, Vec<usize>, usize), DataError> {
    let (file, class_names) = (reader.name().clone(), reader.class_names().map(<[String]>::to_vec));
    let mut seen = Seen::default();
    let (pair, bad_label, skipped) = read_all(reader, keep, |row| take(label_of(row), &mut seen))?;
    bad_label.map_or(Ok(()), Err)?;
    if seen.0.is_empty() {
        return Err(DataError::NoLabels { file });
    }
    if let Some(label) = seen.only() {
        return Err(DataError::OneLabel { file, label });
    }
    let (set, places) = seen.in_order(class_names.as_deref())?;
    Ok((pair, set, places, skipped))
}

/// The labels of a training file, numbered as they come: their order is known when all are.
#[derive(Default)]
struct Seen(HashMap<String, usize>);

impl Seen {
    fn number(&mut self, label: &str) -> Result<usize, RowErrorKind> {
        let next = self.0.len();
        match self.0.get(label) {
            Some(number) => Ok(*number),
            None => {
                check_length(label)?;
                // Of a wrong column every label may be another one: no more of them are held.
                if next == MAX_CLASSES {
                    return Err(RowErrorKind::TooManyLabels { limit: MAX_CLASSES });
                }
                Ok(*self.0.entry(label.to_owned()).or_insert(next))
            }
        }
    }

    /// The label, if there is just one.
    fn only(&self) -> Option<String> {
        match (self.0.len(), self.0.keys().next()) {
            (1, Some(label)) => Some(label.clone()),
            _ => None,
        }
    }

    /// The labels in their order, and the place there of each number.
    fn in_order(&self, class_names: Option<&[String]>) -> Result<(LabelSet, Vec<usize>), DataError> {
        let set = LabelSet::of_file(self.0.keys().map(String::as_str), class_names)?;
        // A name that the file gives its classes may not be one that a row has, once white space around it is gone.
        let bad = || DataError::BadLabelSet { names: class_names.unwrap_or_default().to_vec() };
        let places = self.places(&set).ok_or_else(bad)?;
        Ok((set, places))
    }

    /// The place in a set of each number; `None` if a label is not in it.
    fn places(&self, set: &LabelSet) -> Option<Vec<usize>> {
        let mut places = vec![0; self.0.len()];
        for (label, number) in &self.0 {
            places[*number] = set.index_of(label)?;
        }
        Some(places)
    }
}

/// Whether rows are pairs, their scores, and how many were left out.
fn train_scores<R: Read>(
    reader: FileRows<R>,
    keep: impl FnMut(Row),
) -> Result<(bool, LabelScheme, Targets, usize), DataError> {
    let file = reader.name().clone();
    let (mut first, mut targets, mut spread) = (None, Vec::new(), Spread::default());
    let (pair, bad_label, skipped) = read_all(reader, keep, |row| {
        let label = label_of(row);
        targets.push(score(label)?);
        spread.add(label);
        first.get_or_insert_with(|| label.to_owned());
        Ok(())
    })?;
    bad_label.map_or(Ok(()), Err)?;
    if let Some(label) = first.filter(|_| spread.is_none()) {
        return Err(DataError::OneLabel { file, label });
    }
    spread.check(&file)?;
    Ok((pair, LabelScheme::Scores, Targets::Scores(targets), skipped))
}

/// As [`train_classes`], of rows that are answered with one of their own texts.
fn train_choices<R: Read>(
    reader: FileRows<R>,
    keep: impl FnMut(Row),
) -> Result<(bool, LabelScheme, Targets, usize), DataError> {
    let mut targets = Vec::new();
    let (pair, bad_label, skipped) = read_all(reader, keep, |row| {
        targets.push(place(label_of(row), row.choices.len())?);
        Ok(())
    })?;
    bad_label.map_or(Ok(()), Err)?;
    Ok((pair, LabelScheme::Choices, Targets::Choices(targets), skipped))
}

/// As [`train_classes`], of questions on contexts.
fn train_questions<R: Read>(
    reader: FileRows<R>,
    keep: impl FnMut(Row),
) -> Result<(bool, LabelScheme, Targets, usize), DataError> {
    let file = reader.file().clone();
    let mut targets = Vec::new();
    let (pair, bad_label, skipped) = read_all(reader, keep, |row| {
        let asked = question(row, &targets);
        targets.push(asked);
        Ok(())
    })?;
    bad_label.map_or(Ok(()), Err)?;
    let lacking = targets.iter().filter(|question| question.answers.is_empty()).count();
    if lacking == targets.len() {
        return Err(DataError::NoLabels { file });
    }
    let some_lack = lacking > 0;
    Ok((pair, LabelScheme::Answers { some_lack }, Targets::Answers(targets, some_lack), skipped))
}

/// What a row asks; the context of the question before is not kept twice.
fn question(row: &Row, before: &[Question]) -> Question {
    let context = row.text_b.as_deref().unwrap_or_default();
    let context = match before.last() {
        Some(last) if &*last.context == context => last.context.clone(),
        _ => context.into(),
    };
    Question { context, answers: row.answers.clone().unwrap_or_default() }
}

/// The label of a row that has one.
fn label_of(row: &Row) -> &str {
    row.label.as_deref().unwrap_or_default()
}

/// Reads a file to evaluate on; each row is passed to `keep`.
pub(super) fn read_eval<R: Read>(
    reader: FileRows<R>,
    task: &TaskSpec,
    keep: impl FnMut(Row),
) -> Result<Told, DataError> {
    let file = reader.name().clone();
    // Before the rows where possible: the header alone tells.
    check_pair(&file, task.pair, reader.is_pair())?;
    let mut targets = match &task.scheme {
        LabelScheme::Classes(_) => Targets::Classes(Vec::new()),
        LabelScheme::Sets(_) => Targets::Sets(Vec::new()),
        LabelScheme::Scores => Targets::Scores(Vec::new()),
        LabelScheme::Entities(set) => Targets::Entities(Vec::new(), set.len()),
        LabelScheme::Tags(set) => Targets::Tags(Vec::new(), set.len()),
        LabelScheme::Choices => Targets::Choices(Vec::new()),
        LabelScheme::Answers { some_lack } => Targets::Answers(Vec::new(), *some_lack),
    };
    let (pair, bad_label, skipped) = read_all(reader, keep, |row| {
        let label = label_of(row);
        match (&task.scheme, &mut targets) {
            (_, Targets::Choices(places)) => places.push(place(label, row.choices.len())?),
            (_, Targets::Answers(questions, some_lack)) => {
                let asked = question(row, questions);
                if asked.answers.is_empty() && !*some_lack {
                    return Err(RowErrorKind::Unanswerable.into());
                }
                questions.push(asked);
            }
            (LabelScheme::Classes(set), Targets::Classes(classes)) => classes.push(set.class_of(label)?),
            (LabelScheme::Sets(set), Targets::Sets(sets)) => {
                let mut classes =
                    parts(label).map(|label| set.class_of(label)).collect::<Result<Vec<usize>, _>>()?;
                classes.sort_unstable();
                sets.push(classes);
            }
            (LabelScheme::Entities(set), Targets::Entities(tags, _))
            | (LabelScheme::Tags(set), Targets::Tags(tags, _)) => {
                tags.push(each_tag(label, |tag| set.class_of(tag))?);
            }
            (_, Targets::Scores(scores)) => scores.push(score(label)?),
            (_, Targets::Classes(_) | Targets::Sets(_) | Targets::Entities(..) | Targets::Tags(..)) => {
                unreachable!("targets are of the task's kind")
            }
        }
        Ok(())
    })?;
    check_pair(&file, task.pair, Some(pair))?;
    bad_label.map_or(Ok(()), Err)?;
    let warnings = eval_warnings(&task.scheme, &targets, skipped);
    Ok(Told { file, task: task.clone(), targets, warnings })
}

fn check_pair(file: &Arc<str>, expected_pair: bool, found: Option<bool>) -> Result<(), DataError> {
    if found.is_some_and(|found| found != expected_pair) {
        return Err(DataError::PairMismatch { file: file.clone(), expected_pair });
    }
    Ok(())
}

/// A label that cannot be used.
struct Refused {
    /// The place of the word that it is of, where each has its own.
    word: usize,
    kind: RowErrorKind,
}

impl From<RowErrorKind> for Refused {
    fn from(kind: RowErrorKind) -> Self {
        Self { word: 0, kind }
    }
}

/// The number of each tag of a row.
fn each_tag(
    label: &str,
    mut number: impl FnMut(&str) -> Result<usize, RowErrorKind>,
) -> Result<Vec<usize>, Refused> {
    let tags = parts(label).enumerate();
    tags.map(|(word, tag)| number(tag).map_err(|kind| Refused { word, kind })).collect()
}

/// Whether rows are pairs, the first label that `take` refuses, after which it gets none, and how many rows were left out; a
/// row that cannot be read at all goes before it.
fn read_all<R: Read>(
    mut reader: FileRows<R>,
    mut keep: impl FnMut(Row),
    mut take: impl FnMut(&Row) -> Result<(), Refused>,
) -> Result<(bool, Option<RowError>, usize), DataError> {
    let mut pair = reader.is_pair();
    let lines_of_a_word = u64::from(reader.has_a_line_a_word());
    let (mut rows, mut bad_label) = (0_usize, None);
    while let Some(row) = reader.next() {
        let row = row?;
        rows += 1;
        pair.get_or_insert(row.text_b.is_some());
        if bad_label.is_none() {
            let taken = take(&row);
            bad_label = taken.err().map(|Refused { word, kind }| {
                let line = row.line + lines_of_a_word * word as u64;
                RowError { file: reader.file().clone(), line, kind }
            });
        }
        keep(row);
    }
    match pair {
        Some(pair) if rows > 0 => Ok((pair, bad_label, reader.skipped())),
        _ => Err(DataError::Empty { file: reader.name().clone() }),
    }
}
