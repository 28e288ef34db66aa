//! Which column is the text, its partner and the label.
//!
//! Decided from names alone, never from what a column holds; anything that could be read in two ways is an error.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{ColumnError, DataError, LabelUse, TagScheme, TaskKind};

const TEXT_FLAG: &str = "--text-column";
const TEXT_B_FLAG: &str = "--text-b-column";
const LABEL_FLAG: &str = "--label-column";
const SEPARATOR_FLAG: &str = "--label-separator";
const SCHEME_FLAG: &str = "--tag-scheme";
const CHOICES_FLAG: &str = "--choices-column";
const LABEL_NAME: &str = "label";
/// The columns of a question and of the context that answers it.
const QUESTION: &str = "question";
const CONTEXT: &str = "context";
/// The columns of texts of which one is the answer, in a list; or in columns of their own, with a number after the name.
const KNOWN_CHOICES: [&str; 2] = ["choices", "options"];
const NUMBERED_CHOICES: [&str; 2] = ["choice", "ending"];
/// The text columns known by name: alone, or with a partner.
const KNOWN_TEXTS: [(&str, Option<&str>); 4] =
    [("sentence", None), ("text", None), ("sentence1", Some("sentence2")), ("text_a", Some("text_b"))];

/// The columns of words known by name.
const KNOWN_WORDS: [&str; 2] = ["tokens", "words"];
/// The columns of words' tags known by name.
const KNOWN_TAGS: [&str; 4] = ["tags", "ner_tags", "pos_tags", LABEL_NAME];

/// The columns the caller names; the rest are found by their known names.
///
/// A named `text` alone means single texts, whatever other columns there are; a pair then needs `text_b` as well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    /// The text, or the first of a pair (`--text-column`).
    pub text: Option<String>,
    /// The second text of a pair (`--text-b-column`).
    pub text_b: Option<String>,
    /// The label (`--label-column`).
    pub label: Option<String>,
    /// The texts of which one is the answer (`--choices-column`): one column of lists, or several of texts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// What stands between the labels of a row that may have several (`--label-separator`); a comma if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_separator: Option<char>,
    /// How tags mark entities (`--tag-scheme`); IOB2 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_scheme: Option<TagScheme>,
}

/// What stands between labels where nothing else is said.
const SEPARATOR: char = ',';

impl Columns {
    /// The flag of the first column that is named.
    pub(super) fn first_flag(&self) -> Option<&'static str> {
        let named = [(&self.text, TEXT_FLAG), (&self.text_b, TEXT_B_FLAG), (&self.label, LABEL_FLAG)];
        let named = named.into_iter().find(|(name, _)| name.is_some()).map(|(_, flag)| flag);
        let named = named.or((!self.choices.is_empty()).then_some(CHOICES_FLAG));
        named.or(self.label_separator.map(|_| SEPARATOR_FLAG)).or(self.tag_scheme.map(|_| SCHEME_FLAG))
    }

    /// How labels are used in training and evaluating a task of a kind.
    /// # Errors
    /// If there is a separator for a task of one label a row, or a tag scheme for one without entities.
    pub(super) fn label_use(&self, kind: TaskKind) -> Result<LabelUse, DataError> {
        if self.label_separator.is_some() && kind != TaskKind::MultiLabel {
            return Err(DataError::Separator { kind });
        }
        if self.tag_scheme.is_some() && kind != TaskKind::Entities {
            return Err(DataError::Scheme { kind });
        }
        if !self.choices.is_empty() && kind != TaskKind::MultipleChoice {
            return Err(DataError::Choices { kind });
        }
        Ok(match kind {
            TaskKind::MultipleChoice => LabelUse::Choices { needed: true },
            TaskKind::QuestionAnswering => LabelUse::Answers { needed: true },
            TaskKind::MultiLabel => {
                LabelUse::Several { separator: self.label_separator.unwrap_or(SEPARATOR), needed: true }
            }
            TaskKind::Entities => {
                LabelUse::Tags { scheme: Some(self.tag_scheme.unwrap_or_default()), needed: true }
            }
            TaskKind::Tags => LabelUse::Tags { scheme: None, needed: true },
            TaskKind::Classification | TaskKind::Regression => LabelUse::Required,
        })
    }

    /// The name of the column of answers.
    pub(super) fn answers_name(&self) -> &str {
        self.label.as_deref().unwrap_or("answers")
    }

    /// The name of the label column.
    pub(super) fn label_name(&self) -> &str {
        self.label.as_deref().unwrap_or(LABEL_NAME)
    }
}

/// The places of the text columns among the names of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextColumns {
    pub text: usize,
    pub text_b: Option<usize>,
}

/// Finds the text columns among `found`.
pub(super) fn find_texts(found: &[&str], columns: &Columns) -> Result<TextColumns, ColumnError> {
    let chosen = match (&columns.text, &columns.text_b) {
        (Some(text), text_b) => TextColumns {
            text: find_named(found, text, TEXT_FLAG)?,
            text_b: text_b.as_deref().map(|name| find_named(found, name, TEXT_B_FLAG)).transpose()?,
        },
        (None, Some(text_b)) => {
            let text_b = find_named(found, text_b, TEXT_B_FLAG)?;
            let mut firsts = KNOWN_TEXTS.iter().map(|(first, _)| *first).filter(|name| found.contains(name));
            let text = match (firsts.next(), firsts.next()) {
                (Some(name), None) => find_named(found, name, TEXT_FLAG)?,
                (None, _) => return Err(ColumnError::NoText { found: owned(found) }),
                (Some(_), Some(_)) => return Err(ColumnError::AmbiguousText { found: owned(found) }),
            };
            TextColumns { text, text_b: Some(text_b) }
        }
        (None, None) => find_known(found)?,
    };
    if chosen.text_b == Some(chosen.text) {
        return Err(ColumnError::UsedTwice { name: found[chosen.text].to_owned() });
    }
    if columns.label_name() == found[chosen.text]
        || chosen.text_b.is_some_and(|text_b| columns.label_name() == found[text_b])
    {
        return Err(ColumnError::UsedTwice { name: columns.label_name().to_owned() });
    }
    Ok(chosen)
}

/// The places of the texts for a use of labels: of questions `question` and `context`, where nothing else is named; with choices
/// `question`, where there is no other text.
pub(super) fn find_texts_for(
    found: &[&str],
    columns: &Columns,
    labels: LabelUse,
) -> Result<TextColumns, ColumnError> {
    let named = columns.text.is_some() || columns.text_b.is_some();
    match labels {
        LabelUse::Answers { .. } => {
            let (question, context) = (columns.text.as_deref(), columns.text_b.as_deref());
            let columns = Columns {
                text: Some(question.unwrap_or(QUESTION).to_owned()),
                text_b: Some(context.unwrap_or(CONTEXT).to_owned()),
                label: Some(columns.answers_name().to_owned()),
                ..Columns::default()
            };
            find_texts(found, &columns)
        }
        LabelUse::Choices { .. } if !named => find_texts(found, columns).or_else(|error| {
            let text = find_named(found, QUESTION, TEXT_FLAG).map_err(|_| error)?;
            Ok(TextColumns { text, text_b: None })
        }),
        _ => find_texts(found, columns),
    }
}

/// The places of the texts of which one is the answer: one of lists, or several of texts.
pub(super) fn find_choices(found: &[&str], columns: &Columns) -> Result<Vec<usize>, ColumnError> {
    if !columns.choices.is_empty() {
        return columns.choices.iter().map(|name| find_named(found, name, CHOICES_FLAG)).collect();
    }
    if let Some(place) = only(found, &KNOWN_CHOICES) {
        return Ok(vec![place]);
    }
    // The first of each name: a row may have as many columns as it has bytes to name them.
    let places: HashMap<&str, usize> =
        found.iter().enumerate().rev().map(|(place, column)| (*column, place)).collect();
    let numbered = |name: &str| {
        let place = |number: usize| places.get(format!("{name}{number}").as_str()).copied();
        let first = usize::from(place(0).is_none());
        (first..).map_while(place).collect::<Vec<usize>>()
    };
    let known = NUMBERED_CHOICES.into_iter().map(numbered).find(|places| places.len() > 1);
    known.ok_or_else(|| ColumnError::NoChoices { found: owned(found) })
}

/// That no text and no label is a choice, too.
pub(super) fn not_twice(
    found: &[&str],
    columns: &Columns,
    (texts, choices): (&[Option<usize>; 2], &[usize]),
) -> Result<(), ColumnError> {
    let label = columns.label_name();
    let twice = choices.iter().find(|place| texts.contains(&Some(**place)) || found[**place] == label);
    twice.map_or(Ok(()), |place| Err(ColumnError::UsedTwice { name: found[*place].to_owned() }))
}

/// Finds the label column among `found`.
pub(super) fn find_label(
    found: &[&str],
    columns: &Columns,
    labels: LabelUse,
) -> Result<Option<usize>, ColumnError> {
    match &columns.label {
        Some(name) => find_named(found, name, LABEL_FLAG).map(Some),
        None if found.contains(&LABEL_NAME) => find_named(found, LABEL_NAME, LABEL_FLAG).map(Some),
        None if labels.is_needed() => Err(ColumnError::NoLabel { found: owned(found) }),
        None => Ok(None),
    }
}

/// The places of the texts; where words are needed of these, and of words where there are no texts in prediction.
pub(super) fn find_text_or_words(
    found: &[&str],
    columns: &Columns,
    labels: LabelUse,
) -> Result<TextColumns, ColumnError> {
    let words = only(found, &KNOWN_WORDS).map(|text| TextColumns { text, text_b: None });
    match (labels, words, &columns.text) {
        (LabelUse::Tags { .. }, Some(words), None) => Ok(words),
        (LabelUse::Tags { .. }, None, None) => Err(ColumnError::NoWords { found: owned(found) }),
        (LabelUse::Optional, Some(words), None) => find_texts(found, columns).or(Ok(words)),
        _ => find_texts(found, columns),
    }
}

/// Finds the column of the words' tags among `found`.
pub(super) fn find_tags(
    found: &[&str],
    columns: &Columns,
    needed: bool,
) -> Result<Option<usize>, ColumnError> {
    match (&columns.label, only(found, &KNOWN_TAGS)) {
        (Some(name), _) => find_named(found, name, LABEL_FLAG).map(Some),
        (None, None) if needed => Err(ColumnError::NoTags { found: owned(found) }),
        (None, place) => Ok(place),
    }
}

/// The place of the one name among `found` that is known.
fn only(found: &[&str], known: &[&str]) -> Option<usize> {
    let mut places = (0..found.len()).filter(|place| known.contains(&found[*place]));
    places.next().filter(|_| places.next().is_none())
}

fn find_known(found: &[&str]) -> Result<TextColumns, ColumnError> {
    let names: Vec<&str> =
        KNOWN_TEXTS.iter().flat_map(|(first, second)| [Some(*first), *second]).flatten().collect();
    let present = names.iter().filter(|name| found.contains(name)).count();
    if present == 0 {
        return Err(ColumnError::NoText { found: owned(found) });
    }
    for (first, second) in KNOWN_TEXTS {
        let whole = found.contains(&first) && second.is_none_or(|second| found.contains(&second));
        if whole && present == 1 + usize::from(second.is_some()) {
            return Ok(TextColumns {
                text: find_named(found, first, TEXT_FLAG)?,
                text_b: second.map(|second| find_named(found, second, TEXT_B_FLAG)).transpose()?,
            });
        }
    }
    Err(ColumnError::AmbiguousText { found: owned(found) })
}

fn find_named(found: &[&str], name: &str, flag: &'static str) -> Result<usize, ColumnError> {
    let mut places = found.iter().enumerate().filter(|(_, column)| **column == name).map(|(place, _)| place);
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        (Some(_), Some(_)) => Err(ColumnError::Repeated { name: name.to_owned(), found: owned(found) }),
        (None, _) => Err(ColumnError::NotFound { name: name.to_owned(), flag, found: owned(found) }),
    }
}

pub(super) fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: Option<&str>, text_b: Option<&str>, label: Option<&str>) -> Columns {
        Columns {
            text: text.map(str::to_owned),
            text_b: text_b.map(str::to_owned),
            label: label.map(str::to_owned),
            ..Columns::default()
        }
    }

    fn texts(found: &[&str]) -> Result<TextColumns, ColumnError> {
        find_texts(found, &Columns::default())
    }

    #[test]
    fn known_names_are_found_in_any_order() {
        assert_eq!(texts(&["label", "sentence"]), Ok(TextColumns { text: 1, text_b: None }));
        assert_eq!(texts(&["text", "id"]), Ok(TextColumns { text: 0, text_b: None }));
        assert_eq!(texts(&["sentence2", "label", "sentence1"]), Ok(TextColumns { text: 2, text_b: Some(0) }));
        assert_eq!(texts(&["text_a", "text_b"]), Ok(TextColumns { text: 0, text_b: Some(1) }));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for found in [
            &["sentence", "text"][..],
            &["sentence", "sentence1", "sentence2"],
            &["sentence1"],
            &["text", "text_b"],
            &["sentence1", "text_b"],
        ] {
            assert_eq!(texts(found), Err(ColumnError::AmbiguousText { found: owned(found) }));
        }
        let error = texts(&["sentence", "text", "label"]).unwrap_err();
        assert_eq!(error.to_string(), "cannot tell the text column, found `sentence`, `text`, `label`");
        assert!(error.hint().unwrap().contains("--text-column"));
    }

    #[test]
    fn no_text_column() {
        let error = texts(&["review", "stars"]).unwrap_err();
        assert_eq!(error.to_string(), "no text column, found `review`, `stars`");
        assert!(error.hint().unwrap().contains("--text-column"));
        assert_eq!(texts(&[]).unwrap_err().to_string(), "no text column, found none");
    }

    #[test]
    fn named_columns_win() {
        let found = ["sentence", "text", "sentence2", "y"];
        let only_text = find_texts(&found, &named(Some("text"), None, None));
        assert_eq!(only_text, Ok(TextColumns { text: 1, text_b: None }));
        let both = find_texts(&found, &named(Some("text"), Some("y"), None));
        assert_eq!(both, Ok(TextColumns { text: 1, text_b: Some(3) }));
        let second = find_texts(&["text", "reply"], &named(None, Some("reply"), None));
        assert_eq!(second, Ok(TextColumns { text: 0, text_b: Some(1) }));
        assert_eq!(find_label(&found, &named(None, None, Some("y")), LabelUse::Required), Ok(Some(3)));
    }

    #[test]
    fn named_columns_must_exist_once_and_differ() {
        let missing = find_texts(&["a", "b"], &named(Some("c"), None, None)).unwrap_err();
        assert_eq!(missing.to_string(), "`--text-column`: no column `c`, found `a`, `b`");
        let missing = find_label(&["a"], &named(None, None, Some("y")), LabelUse::Optional).unwrap_err();
        assert_eq!(missing.to_string(), "`--label-column`: no column `y`, found `a`");
        let twice = texts(&["text", "text", "label"]).unwrap_err();
        assert_eq!(twice.to_string(), "column `text` occurs more than once, found `text`, `text`, `label`");
        let same = find_texts(&["a", "b"], &named(Some("a"), Some("a"), None)).unwrap_err();
        assert_eq!(same.to_string(), "column `a` cannot be used twice");
        let same = find_texts(&["a", "b"], &named(Some("a"), None, Some("a"))).unwrap_err();
        assert_eq!(same.to_string(), "column `a` cannot be used twice");
    }

    #[test]
    fn choices_in_columns_of_their_own_are_found_by_their_numbers() {
        let choices = |found: &[&str]| find_choices(found, &Columns::default());
        assert_eq!(choices(&["ending1", "text", "ending0", "ending3"]), Ok(vec![2, 0]));
        assert_eq!(choices(&["choice2", "choice1", "choice1"]), Ok(vec![1, 0]), "the first of a name");
        assert!(matches!(choices(&["choice1", "choice3"]), Err(ColumnError::NoChoices { .. })));
        // As many as a row of 1 MiB can have, in the order that takes longest to search.
        let names: Vec<String> = (0..65_000).rev().map(|number| format!("choice{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(choices(&names).unwrap().into_iter().eq((0..65_000).rev()));
    }

    #[test]
    fn the_label_column_is_needed_only_where_labels_are() {
        let none = Columns::default();
        assert_eq!(find_label(&["text"], &none, LabelUse::Optional), Ok(None));
        let error = find_label(&["text"], &none, LabelUse::Required).unwrap_err();
        assert_eq!(error.to_string(), "no label column `label`, found `text`");
        assert_eq!(error.hint().unwrap(), "name it with `--label-column <NAME>`");
    }
}
