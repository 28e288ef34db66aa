//! Numbers, as flags say them: what the standard library says of others names neither what was expected nor how lists are
//! written.

use std::str::FromStr;

/// A whole number that is not negative.
pub(super) fn whole<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| told("a whole number that is not negative", text))
}

/// A number.
pub(super) fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| told("a number such as 0.001 or 1e-3", text))
}

fn told(expected: &str, text: &str) -> String {
    // clap cuts lists at their commas where a flag takes several values.
    if text.contains(',') {
        format!("expected {expected}; this flag takes one")
    } else if text.trim_start_matches('-').contains('-') || text.contains("..") {
        format!("expected {expected}; a range is none")
    } else if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        "expected a smaller number".to_owned()
    } else {
        format!("expected {expected}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_told_with_what_is_one() {
        assert_eq!((whole("16"), number("1e-3"), number("-1")), (Ok(16_usize), Ok(0.001), Ok(-1.0)));
        for (text, expected) in [
            ("-1", "expected a whole number that is not negative"),
            ("1.5", "expected a whole number that is not negative"),
            ("", "expected a whole number that is not negative"),
            ("8,16", "expected a whole number that is not negative; this flag takes one"),
            ("1-3", "expected a whole number that is not negative; a range is none"),
            ("18446744073709551616", "expected a smaller number"),
        ] {
            assert_eq!(whole::<u64>(text), Err(expected.to_owned()), "{text}");
        }
        assert_eq!(number::<f64>("10%"), Err("expected a number such as 0.001 or 1e-3".to_owned()));
        assert_eq!(
            number::<f64>("1e-3,1e-4"),
            Err("expected a number such as 0.001 or 1e-3; this flag takes one".to_owned())
        );
    }
}
