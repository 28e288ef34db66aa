//! Sentences in CoNLL's form: a word a line, its columns apart by a tab or spaces, sentences apart by an empty line.
//!
//! The word is the first column, its tag the last (Tjong Kim Sang & De Meulder 2003). A line `-DOCSTART-` begins a document
//! and is no word.

use super::{MAX_CLASSES, RowErrorKind};

/// What marks the beginning of a document, as the first column of a line.
const DOCUMENT: &str = "-DOCSTART-";

/// A sentence as it is collected, line by line.
#[derive(Debug, Default)]
pub(super) struct Sentence {
    /// The line of its first word; 0 before there is one.
    pub line: u64,
    /// Its lines' bytes together.
    pub bytes: usize,
    words: Vec<String>,
    tags: Vec<String>,
    columns: usize,
}

/// What a line was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fed {
    /// A word.
    Word,
    /// No word: the sentence is at its end.
    End,
}

impl Sentence {
    /// Takes the next line, whose number is `number`; `tagged` says whether the last column is a tag.
    pub fn feed(&mut self, line: &str, number: u64, tagged: bool) -> Result<Fed, RowErrorKind> {
        // Other white space is a part of a word.
        let space = [' ', '\t', '\r', '\n'];
        let line = line.trim_end_matches(['\r', '\n']);
        if line.trim_matches(space).is_empty() {
            return Ok(Fed::End);
        }
        let columns: Vec<&str> = if line.contains('\t') {
            line.split('\t').map(|column| column.trim_matches(' ')).collect()
        } else {
            line.split(' ').filter(|column| !column.is_empty()).collect()
        };
        if columns[0] == DOCUMENT {
            return Ok(Fed::End);
        }
        if self.words.is_empty() {
            self.line = number;
            self.columns = columns.len();
        }
        let (word, tag) = (columns[0], if columns.len() > 1 { columns[columns.len() - 1] } else { "" });
        if columns.len() != self.columns {
            return Err(RowErrorKind::ColumnCount { expected: self.columns, found: columns.len() });
        }
        if self.words.len() == MAX_CLASSES {
            return Err(RowErrorKind::TooManyWords { limit: MAX_CLASSES });
        }
        if word.is_empty() {
            return Err(RowErrorKind::EmptyWord { word: self.words.len() + 1 });
        }
        if tagged && tag.is_empty() {
            return Err(RowErrorKind::NoTag { word: self.words.len() + 1 });
        }
        self.bytes += line.len() + 1;
        self.words.push(word.to_owned());
        self.tags.push(tag.to_owned());
        Ok(Fed::Word)
    }

    /// Whether it has no word yet.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Its words.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The last columns of its lines; nothing where they have only one.
    pub fn tags(&self) -> Vec<&str> {
        let has = self.columns > 1;
        self.tags.iter().filter(|_| has).map(String::as_str).collect()
    }
}
