//! From tags to entities: the spans of words that IOB2 tags mark.
//!
//! The tags of a task of entities have a fixed order, `O` and then of each type `B-` and `I-`, so that their places tell
//! everything and no name is needed here.

use std::ops::Range;

use crate::data::OUTSIDE;

/// Some words that are an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The place of its type among the task's types.
    pub kind: usize,
    /// The places of its words.
    pub words: Range<usize>,
}

/// The place of the tag of words in no entity.
pub(crate) const OUTSIDE_TAG: usize = 0;

/// How many types so many tags are of.
pub fn kinds(tags: usize) -> usize {
    tags.saturating_sub(1) / 2
}

/// The type of an entity, from the names of all tags.
/// # Panics
/// If there is no such type.
pub fn kind_name(tags: &[String], kind: usize) -> &str {
    let tag = &tags[1 + 2 * kind];
    tag.split_once('-').map_or(tag, |(_, kind)| kind)
}

/// Whether names of tags are `O` and then of each type `B-` and `I-`.
pub fn are_entity_tags(tags: &[String]) -> bool {
    let of_kind =
        |tag: &str, mark: &str| tag.strip_prefix(mark).filter(|kind| !kind.is_empty()).map(str::to_owned);
    let Some((outside, kinds)) = tags.split_first() else { return false };
    let both = |pair: &[String]| match pair {
        [begin, inside] => of_kind(begin, "B-").is_some_and(|kind| of_kind(inside, "I-") == Some(kind)),
        _ => false,
    };
    outside == OUTSIDE && !kinds.is_empty() && kinds.chunks(2).all(both)
}

/// The entities that the tags of a text's words mark, in their order. A tag that would go on with an entity that is not there
/// begins one, as in `conlleval` (Tjong Kim Sang & De Meulder 2003) and `seqeval`: a network's answers may be such.
pub fn spans(tags: &[usize]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut open = false;
    for (word, tag) in tags.iter().enumerate() {
        if *tag == OUTSIDE_TAG {
            open = false;
            continue;
        }
        let (kind, begins) = ((tag - 1) / 2, (tag - 1).is_multiple_of(2));
        match spans.last_mut() {
            Some(last) if open && !begins && last.kind == kind => last.words.end = word + 1,
            _ => spans.push(Span { kind, words: word..word + 1 }),
        }
        open = true;
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `O` is 0, `B-a` 1, `I-a` 2, `B-b` 3, `I-b` 4.
    fn found(tags: &[usize]) -> Vec<(usize, Range<usize>)> {
        spans(tags).into_iter().map(|span| (span.kind, span.words)).collect()
    }

    #[test]
    fn spans_are_those_of_conlleval() {
        assert_eq!(found(&[0, 1, 2, 2, 0, 3]), [(0, 1..4), (1, 5..6)]);
        assert_eq!(found(&[1, 1, 2]), [(0, 0..1), (0, 1..3)], "another one begins");
        assert_eq!(found(&[2, 2, 0, 4]), [(0, 0..2), (1, 3..4)], "one that was not begun begins");
        assert_eq!(found(&[1, 4, 4]), [(0, 0..1), (1, 1..3)], "another type is another one");
        assert_eq!(found(&[1, 0, 2]), [(0, 0..1), (0, 2..3)]);
        assert!(found(&[]).is_empty() && found(&[0, 0]).is_empty());
    }

    #[test]
    fn tags_of_entities_are_known_by_their_names() {
        let are =
            |tags: &[&str]| are_entity_tags(&tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>());
        assert!(are(&["O", "B-a-b", "I-a-b"]) && are(&["O", "B-a", "I-a", "B-b", "I-b"]));
        for wrong in
            [&["O"][..], &[], &["B-a", "I-a"], &["O", "B-a"], &["O", "B-a", "I-b"], &["O", "I-a", "B-a"]]
        {
            assert!(!are(wrong), "{wrong:?}");
        }
        let tags = ["O", "B-a-b", "I-a-b"].map(str::to_owned);
        assert_eq!((kinds(tags.len()), kind_name(&tags, 0)), (1, "a-b"));
    }
}
