//! Contexts of questions cut into windows, against Hugging Face's tokenizers (`reference/windows.py`).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ops::Range;
use std::path::{Path, PathBuf};

use grafter::batch::TokenIds;
use grafter::tokenizer::{Tokenizer, TokenizerError};
use serde::Deserialize;

#[derive(Deserialize)]
struct Cases {
    question: String,
    contexts: Vec<String>,
    #[serde(rename = "word-piece")]
    word_piece: Vec<Case>,
    #[serde(rename = "byte-level")]
    byte_level: Vec<Case>,
    unigram: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: usize,
    max_length: usize,
    stride: usize,
    windows: Vec<Window>,
}

#[derive(Deserialize)]
struct Window {
    ids: Vec<u32>,
    /// Absent where there is one type.
    type_ids: Option<Vec<u32>>,
    /// Of each token of the context its place, and where its characters begin and end.
    context: Vec<[usize; 3]>,
}

impl Window {
    /// The first token, and the tokens of the context that are not of white space alone, each with its bytes.
    fn words(&self, context: &str) -> Vec<(u32, Range<usize>)> {
        let characters: Vec<char> = context.chars().collect();
        let bytes = |end: usize| characters[..end].iter().map(|character| character.len_utf8()).sum();
        let mut words = vec![(0, 0..0)];
        for [place, mut begin, mut end] in self.context.iter().copied() {
            while begin < end && characters[begin].is_whitespace() {
                begin += 1;
            }
            while begin < end && characters[end - 1].is_whitespace() {
                end -= 1;
            }
            if begin < end {
                words.push((u32::try_from(place).unwrap(), bytes(begin)..bytes(end)));
            }
        }
        words
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/windows")
}

fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::read(&fixtures().join(name), 1000).unwrap()
}

fn words(window: &TokenIds) -> Vec<(u32, Range<usize>)> {
    window.words.iter().map(|word| (word.token, word.range.clone())).collect()
}

#[test]
fn windows_have_the_tokens_that_hugging_face_gives_them() {
    let file = std::fs::read_to_string(fixtures().join("cases.json")).unwrap();
    let Cases { question, contexts, word_piece, byte_level, unigram } = serde_json::from_str(&file).unwrap();
    for (name, cases) in [("word-piece", word_piece), ("byte-level", byte_level), ("unigram", unigram)] {
        let folder = if name == "word-piece" { "../words" } else { "." };
        let tokenizer = tokenizer(&format!("{folder}/{name}"));
        assert!(cases.len() > 15);
        for case in cases {
            let (context, lengths) = (&contexts[case.text], (case.max_length, case.stride));
            let windows = tokenizer.encode_windows(&question, context, lengths, usize::MAX).unwrap();
            let place = format!("{name}: {context:?}, {lengths:?}");
            assert_eq!(windows.len(), case.windows.len(), "{place}");
            for (index, (window, expected)) in windows.iter().zip(&case.windows).enumerate() {
                assert_eq!(window.ids, expected.ids, "{place}, window {index}");
                let one_type = vec![0; window.ids.len()];
                let type_ids = expected.type_ids.as_ref().unwrap_or(&one_type);
                assert_eq!(window.type_ids, *type_ids, "{place}, window {index}");
                assert_eq!(words(window), expected.words(context), "{place}, window {index}");
                assert!(!window.truncated, "{place}");
            }
        }
    }
}

#[test]
fn a_question_is_cut_to_half_of_the_room() {
    let question = "the old town and the sea and the harbour";
    let context = "a new engine";
    for (name, special) in [("../words/word-piece", 3), ("byte-level", 4), ("unigram", 4)] {
        let tokenizer = tokenizer(name);
        let whole = tokenizer.encode(question, None, 100).unwrap().ids;
        let asked = &whole[1..whole.len() - 1];
        // As long as half of the room, and longer by a token.
        let fits = 2 * asked.len();
        for (room, kept, cut) in [(fits, asked.len(), false), (fits - 1, asked.len() - 1, true)] {
            for window in
                tokenizer.encode_windows(question, context, (room + special, 0), usize::MAX).unwrap()
            {
                assert_eq!(window.ids[1..=kept], asked[..kept], "{name}");
                assert_eq!(window.ids[1 + kept], whole[whole.len() - 1], "{name}: the question ends here");
                assert_eq!(window.truncated, cut, "{name}");
            }
        }
        // Two tokens are the least room: one of the question, and one of the context in each window.
        let windows = tokenizer.encode_windows(question, context, (special + 2, 5), usize::MAX).unwrap();
        let of_context: Vec<u32> = windows.iter().map(|window| window.ids[special]).collect();
        let context = tokenizer.encode(context, None, 100).unwrap().ids;
        assert_eq!(of_context, context[1..context.len() - 1], "{name}");
        assert!(windows.iter().all(|window| window.ids[1] == asked[0] && window.ids.len() == special + 2));
        let error = tokenizer.encode_windows(question, "a", (special + 1, 0), usize::MAX).unwrap_err();
        let TokenizerError::NoRoom { max_length, special: found } = error else { panic!("{error}") };
        assert_eq!((max_length, found), (special + 1, special));
    }
}

/// Of a question far longer than a window not all is tokenized.
#[test]
fn a_huge_question_is_cut_as_a_long_one() {
    let tokenizer = tokenizer("../words/word-piece");
    let of = |times: usize| {
        tokenizer.encode_windows(&"the old town ".repeat(times), "a new engine", (24, 2), usize::MAX).unwrap()
    };
    assert_eq!(of(100_000), of(20));
    assert!(of(20).iter().all(|window| window.truncated && window.ids.len() <= 24));
}

#[test]
fn windows_of_too_many_tokens_are_refused_before_they_are_made() {
    let tokenizer = tokenizer("../words/word-piece");
    let windows = |most| tokenizer.encode_windows("the sea", &"a new engine ".repeat(50), (24, 2), most);
    let tokens = 24 * windows(usize::MAX).unwrap().len();
    assert_eq!(windows(tokens).unwrap().len(), tokens / 24);
    let error = windows(tokens - 1).unwrap_err();
    assert!(matches!(error, TokenizerError::TooMany { most } if most == tokens - 1), "{error}");
}

#[test]
fn a_context_of_no_tokens_has_a_window_without_any() {
    let tokenizer = tokenizer("../words/word-piece");
    for context in ["", " \n", "\u{200b}"] {
        let windows = tokenizer.encode_windows("the sea", context, (24, 2), usize::MAX).unwrap();
        assert_eq!((windows.len(), words(&windows[0])), (1, vec![(0, 0..0)]), "{context:?}");
    }
}
