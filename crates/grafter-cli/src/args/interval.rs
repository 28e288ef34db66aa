//! How long something may take, and how often something is done, as flags say it.

use std::str::FromStr;
use std::time::Duration;

/// How often something is done in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// After so many steps; at least one.
    Steps(u64),
    /// When so much time has passed.
    Time(Duration),
}

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let every = match text.parse() {
            Ok(steps) => Self::Steps(steps),
            Err(_) => Self::Time(duration(text).map_err(|_| {
                format!("expected a number of steps or a time as in `90s`, `30m` or `1h30m`, found `{text}`")
            })?),
        };
        if every == Self::Steps(0) { Err("expected 1 step or more, found 0".to_owned()) } else { Ok(every) }
    }
}

/// `90s`, `30m`, `1h30m`
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a time as in `90s`, `30m` or `1h30m`, found `{text}`");
    let (mut seconds, mut digits) = (0_u64, String::new());
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                digits.push(c);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return Err(wrong()),
        };
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        seconds = number.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(wrong)?;
        digits.clear();
    }
    if digits.is_empty() && !text.is_empty() { Ok(Duration::from_secs(seconds)) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "30", "m", "1d", "1.5h", "-1s", "99999999999999999999s", "9999999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_interval_is_steps_or_a_time() {
        assert_eq!("500".parse(), Ok(Every::Steps(500)));
        assert_eq!("10m".parse(), Ok(Every::Time(Duration::from_secs(600))));
        for text in ["0", "", "ten", "1.5"] {
            assert!(text.parse::<Every>().is_err(), "{text}");
        }
    }
}
