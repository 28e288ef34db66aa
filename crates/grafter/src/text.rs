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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_cannot_steer_a_terminal() {
        assert_eq!(escape("caf\u{e9} \"x\"", 60), "caf\u{e9} \"x\"");
        assert_eq!(escape("a\u{1b}[31m\nb\u{202e}c", 60), "a\\u{1b}[31m\\nb\\u{202e}c");
        assert_eq!(escape(&"x".repeat(100), 60).chars().count(), 61);
    }
}
