//! Texts, to the tokenizers of two families.

use std::sync::LazyLock;

use grafter::tokenizer::Tokenizer;

use super::base::{Folder, fixture, tell};

/// WordPiece and byte-level BPE.
static TOKENIZERS: LazyLock<[Tokenizer; 2]> = LazyLock::new(|| {
    [fixture!("tiny-bert/tokenizer.json"), fixture!("tiny-modernbert/tokenizer.json")].map(|file| {
        let folder = Folder::with(&[("tokenizer.json", file)]);
        Tokenizer::read(folder.path(), 1 << 16).expect("a good tokenizer")
    })
});

/// The first byte is the longest length, the second the stride; then come a text and, after a line feed, a second one.
pub fn texts(bytes: &[u8]) {
    let [max_length, stride, rest @ ..] = bytes else { return };
    let (max_length, stride) = (usize::from(*max_length), usize::from(*stride));
    let text = String::from_utf8_lossy(rest);
    let (text, text_b) = text.split_once('\n').map_or((&*text, None), |(text, text_b)| (text, Some(text_b)));
    for tokenizer in &*TOKENIZERS {
        if let Some(tokens) = tell(tokenizer.encode(text, text_b, max_length)) {
            assert!(tokens.ids.len() <= max_length && tokens.ids.len() == tokens.type_ids.len());
        }
        if let Some(tokens) = tell(tokenizer.encode_words(text, None, max_length)) {
            assert!(tokens.ids.len() <= max_length);
            assert!(tokens.words.iter().all(|word| text.get(word.range.clone()).is_some()));
            assert!(tokens.words.iter().all(|word| (word.token as usize) < tokens.ids.len()));
        }
        let context = text_b.unwrap_or_default();
        let windows = tokenizer.encode_windows(text, context, (max_length, stride), 1 << 10);
        for window in tell(windows).into_iter().flatten() {
            assert!(window.ids.len() <= max_length);
            assert!(window.words.iter().all(|word| context.get(word.range.clone()).is_some()));
        }
        let choices = [context, text, "x"];
        if let Some(sequences) =
            tell(tokenizer.encode_with_each(text, choices.into_iter(), (max_length, 1 << 10)))
        {
            assert_eq!(sequences.len(), choices.len());
        }
    }
}
