//! Tags of words: how a file marks entities with them, and the one form that they have here, IOB2.
//!
//! In IOB2 the first word of an entity has the tag `B-` and its type, the others `I-` and the type, and words of no entity
//! have `O` (Ramshaw & Marcus 1995; Tjong Kim Sang & Veenstra 1999). A file whose tags form no entities is refused, not
//! repaired: what is missing is not known.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::RowErrorKind;
use super::labels::JOINT;

/// How the tags of a file mark entities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TagScheme {
    /// Each entity begins with `B-`.
    #[default]
    Iob2,
    /// An entity begins with `B-` only where it follows another one of its type, as in CoNLL 2003; with `I-` otherwise.
    Iob1,
    /// The last word of an entity has `E-` (or `L-`), an entity of one word `S-` (or `U-`): IOBES, also known as BILOU.
    Iobes,
}

impl TagScheme {
    fn name(self) -> &'static str {
        match self {
            Self::Iob2 => "iob2",
            Self::Iob1 => "iob1",
            Self::Iobes => "iobes",
        }
    }

    /// What a tag may look like.
    pub(super) fn tags(self) -> &'static str {
        match self {
            Self::Iob2 | Self::Iob1 => "`O`, `B-` or `I-` and a type",
            Self::Iobes => "`O`, or `B-`, `I-`, `E-`, `S-` and a type",
        }
    }
}

impl fmt::Display for TagScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The names are those of [`TagScheme`]'s `Display`, and others that are in use.
impl FromStr for TagScheme {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name.to_ascii_lowercase().as_str() {
            "iob2" | "bio" => Ok(Self::Iob2),
            "iob1" => Ok(Self::Iob1),
            "iobes" | "bioes" | "bilou" => Ok(Self::Iobes),
            _ => Err(format!("unknown tag scheme `{name}`, expected `iob2`, `iob1` or `iobes`")),
        }
    }
}

/// A tag that cannot stand where it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadTag {
    /// The place of the word, counted from 0.
    pub word: usize,
    /// What is wrong.
    pub problem: TagProblem,
}

/// What is wrong with a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagProblem {
    /// It is none of the scheme's.
    Unknown,
    /// It goes on with an entity, and none of its type is there.
    NothingToContinue,
    /// The entity before it was not ended.
    NotEnded,
    /// The sentence ends within its entity.
    Open,
}

/// The tag of words in no entity.
pub const OUTSIDE: &str = "O";

/// What a tag says.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Parsed<'a> {
    /// `O`, or what stands before the type.
    mark: char,
    kind: &'a str,
}

fn parse(tag: &str, scheme: TagScheme) -> Option<Parsed<'_>> {
    if tag == OUTSIDE {
        return Some(Parsed { mark: 'O', kind: "" });
    }
    let (mark, kind) = tag.split_once('-')?;
    let mark = match (mark, scheme) {
        ("B", _) => 'B',
        ("I", _) => 'I',
        ("E" | "L", TagScheme::Iobes) => 'E',
        ("S" | "U", TagScheme::Iobes) => 'S',
        _ => return None,
    };
    (!kind.is_empty()).then_some(Parsed { mark, kind })
}

/// Tags of a sentence in IOB2.
/// # Errors
/// The first tag that is none of the scheme's, or with those before it forms no entities.
pub(super) fn to_iob2(tags: &[&str], scheme: TagScheme) -> Result<Vec<String>, BadTag> {
    let mut before = Parsed { mark: 'O', kind: "" };
    let mut converted = Vec::with_capacity(tags.len());
    for (word, tag) in tags.iter().enumerate() {
        let bad = |problem| BadTag { word, problem };
        let parsed = parse(tag, scheme).ok_or_else(|| bad(TagProblem::Unknown))?;
        let same = before.mark != 'O' && before.kind == parsed.kind;
        let open = matches!(before.mark, 'B' | 'I');
        if scheme == TagScheme::Iobes {
            match (parsed.mark, open) {
                ('I' | 'E', true) if same => {}
                ('I' | 'E', false) => return Err(bad(TagProblem::NothingToContinue)),
                (_, true) => return Err(bad(TagProblem::NotEnded)),
                (_, false) => {}
            }
        }
        let mark = match (parsed.mark, scheme) {
            ('I', TagScheme::Iob1) if !same => 'B',
            ('I', TagScheme::Iob2) if !same => return Err(bad(TagProblem::NothingToContinue)),
            ('E', _) => 'I',
            ('S', _) => 'B',
            (mark, _) => mark,
        };
        converted.push(if mark == 'O' { OUTSIDE.to_owned() } else { format!("{mark}-{}", parsed.kind) });
        before = parsed;
    }
    if scheme == TagScheme::Iobes && matches!(before.mark, 'B' | 'I') {
        return Err(BadTag { word: tags.len() - 1, problem: TagProblem::Open });
    }
    Ok(converted)
}

/// The tags of a row as they are kept, in IOB2 where they mark entities.
pub(super) fn join_tags(
    tags: &[&str],
    words: usize,
    scheme: Option<TagScheme>,
) -> Result<String, (usize, RowErrorKind)> {
    if tags.len() != words {
        return Err((0, RowErrorKind::TagCount { words, tags: tags.len() }));
    }
    if let Some(word) = tags.iter().position(|tag| tag.contains(JOINT)) {
        return Err((word, RowErrorKind::LabelJoint));
    }
    if let Some(word) = tags.iter().position(|tag| tag.trim().is_empty()) {
        return Err((word, RowErrorKind::NoTag { word: word + 1 }));
    }
    let joint = JOINT.encode_utf8(&mut [0; 4]).to_owned();
    let Some(scheme) = scheme else { return Ok(tags.join(&joint)) };
    let converted = to_iob2(tags, scheme).map_err(|BadTag { word, problem }| {
        let before = word.checked_sub(1).map(|before| tags[before].to_owned());
        let tag = tags[word].to_owned();
        (word, RowErrorKind::BadTag { word: word + 1, tag, before, problem, scheme })
    })?;
    Ok(converted.join(&joint))
}

/// All tags that entities of the types among some IOB2 tags may have: `O`, and of each type, in the order of their bytes, both.
pub(super) fn complete<'a>(tags: impl Iterator<Item = &'a str>) -> Vec<String> {
    let kinds: BTreeSet<&str> = tags.filter_map(|tag| Some(tag.split_once('-')?.1)).collect();
    let both = kinds.into_iter().flat_map(|kind| [format!("B-{kind}"), format!("I-{kind}")]);
    std::iter::once(OUTSIDE.to_owned()).chain(both).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iob2(tags: &str, scheme: TagScheme) -> Result<String, (usize, TagProblem)> {
        let tags: Vec<&str> = tags.split(' ').collect();
        to_iob2(&tags, scheme).map(|tags| tags.join(" ")).map_err(|bad| (bad.word, bad.problem))
    }

    #[test]
    fn every_scheme_becomes_iob2() {
        let expected = Ok("B-a I-a B-a O B-b B-a".to_owned());
        assert_eq!(iob2("B-a I-a B-a O B-b B-a", TagScheme::Iob2), expected);
        assert_eq!(iob2("I-a I-a B-a O I-b I-a", TagScheme::Iob1), expected);
        assert_eq!(iob2("B-a E-a S-a O S-b S-a", TagScheme::Iobes), expected);
        assert_eq!(iob2("B-a L-a U-a O U-b U-a", TagScheme::Iobes), expected);
        // A type may have a hyphen, and be called as a mark is.
        assert_eq!(
            iob2("B-creative-work I-creative-work", TagScheme::Iob2).unwrap(),
            "B-creative-work I-creative-work"
        );
        assert_eq!(iob2("B-B O", TagScheme::Iob2).unwrap(), "B-B O");
    }

    #[test]
    fn tags_that_form_no_entities_are_refused() {
        use TagProblem::{NotEnded, NothingToContinue, Open, Unknown};
        for (tags, scheme, expected) in [
            ("O I-a", TagScheme::Iob2, (1, NothingToContinue)),
            ("B-a I-b", TagScheme::Iob2, (1, NothingToContinue)),
            ("I-a", TagScheme::Iob2, (0, NothingToContinue)),
            ("B-a O I-a", TagScheme::Iob2, (2, NothingToContinue)),
            ("B-a E-a", TagScheme::Iob2, (1, Unknown)),
            ("O B-", TagScheme::Iob2, (1, Unknown)),
            ("o", TagScheme::Iob1, (0, Unknown)),
            ("B", TagScheme::Iob2, (0, Unknown)),
            ("Ba-x", TagScheme::Iob2, (0, Unknown)),
            ("B-a O", TagScheme::Iobes, (1, NotEnded)),
            ("B-a E-b", TagScheme::Iobes, (1, NotEnded)),
            ("O B-a", TagScheme::Iobes, (1, Open)),
            ("S-a E-a", TagScheme::Iobes, (1, NothingToContinue)),
            ("B-a S-a", TagScheme::Iobes, (1, NotEnded)),
        ] {
            assert_eq!(iob2(tags, scheme), Err(expected), "{tags}");
        }
    }

    #[test]
    fn a_set_of_tags_is_completed() {
        let tags = ["I-b", "O", "B-a", "B-b"];
        assert_eq!(complete(tags.into_iter()), ["O", "B-a", "I-a", "B-b", "I-b"]);
    }
}
