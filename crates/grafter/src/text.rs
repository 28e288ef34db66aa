//! Names and texts from files as they are shown: nothing in them may break a line or steer a terminal.

/// The text on one line: control characters, direction controls and line separators escaped, and what is longer than
/// `most` characters cut with `…`.
pub fn escape(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == most {
            shown.push('…');
            break;
        }
        // Direction controls and line separators are not `is_control`; `escape_debug` covers both.
        if matches!(c, '\'' | '"' | '\\') { shown.push(c) } else { shown.extend(c.escape_debug()) }
    }
    shown
}

/// The first `most` of some items with commas between, and how many more there are: `a, b and 3 more`.
pub fn listed<I: IntoIterator<Item = String>>(items: I, most: usize) -> String {
    let mut items = items.into_iter();
    let shown: Vec<String> = items.by_ref().take(most).collect();
    let more = items.count();
    let shown = shown.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// A word as a shell takes it.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:=@%~".contains(c);
    if !word.is_empty() && word.chars().all(plain) && !word.starts_with('~') {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_cannot_steer_a_terminal() {
        assert_eq!(escape("caf\u{e9} \"x\"", 60), "caf\u{e9} \"x\"");
        assert_eq!(escape("a\u{1b}[31m\nb\u{202e}c", 60), "a\\u{1b}[31m\\nb\\u{202e}c");
        assert_eq!(escape(&"x".repeat(100), 60).chars().count(), 61);
    }

    #[test]
    fn what_is_not_listed_is_counted() {
        let items = |count: usize| (0..count).map(|item| item.to_string());
        assert_eq!(listed(items(0), 2), "");
        assert_eq!(listed(items(2), 2), "0, 1");
        assert_eq!(listed(items(5), 2), "0, 1 and 3 more");
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, expected) in [
            ("a/b-c.tsv", "a/b-c.tsv"),
            ("a~", "a~"),
            ("~a", "'~a'"),
            ("it's", r"'it'\''s'"),
            (r"a\b", r"'a\b'"),
            ("$(x)", "'$(x)'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(word), expected);
        }
    }
}
