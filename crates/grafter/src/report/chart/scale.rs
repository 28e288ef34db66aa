//! From values to places on an axis, and where its ticks are.

/// What one direction of a [`Plot`](super::Plot) shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Its name, with the unit.
    pub label: String,
    /// How values are spread over it.
    pub scale: Scale,
}

/// How values are spread over an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal differences take equal room.
    Linear,
    /// Equal quotients take equal room; only values above 0 have a place.
    Log,
}

impl Axis {
    /// A linear axis.
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), scale: Scale::Linear }
    }

    /// A logarithmic axis.
    pub fn log(label: impl Into<String>) -> Self {
        Self { label: label.into(), scale: Scale::Log }
    }
}

/// Beyond this the difference of two numbers may not be one any more.
const LARGEST: f64 = 1e300;

impl Scale {
    /// The place of a value before it is fitted to an axis; `None` if it has none.
    pub(super) fn forward(self, value: f64) -> Option<f64> {
        if value.is_nan() || value.abs() > LARGEST {
            return None;
        }
        match self {
            Self::Linear => Some(value),
            Self::Log => (value > 0.0).then(|| value.log10()),
        }
    }
}

/// The part of a scale that an axis shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Domain {
    scale: Scale,
    /// Limits, after [`Scale::forward`].
    low: f64,
    high: f64,
    /// Whether only whole numbers are shown, so that ticks between them would mean nothing.
    whole: bool,
}

/// A value that the axis names.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    /// Its place, 0 to 1.
    pub place: f64,
    /// The value as it is written.
    pub label: String,
}

impl Domain {
    /// A domain that holds all values that have a place, with some room around them.
    pub fn of(scale: Scale, values: impl Iterator<Item = f64>, room: f64) -> Self {
        let (mut low, mut high, mut whole) = (f64::INFINITY, f64::NEG_INFINITY, true);
        for value in values {
            if let Some(place) = scale.forward(value) {
                low = low.min(place);
                high = high.max(place);
                whole &= value.fract() == 0.0;
            }
        }
        if low > high {
            return Self { scale, low: 0.0, high: 1.0, whole: false };
        }
        let pad = match (high > low, scale) {
            (true, _) => room * (high - low),
            (false, Scale::Linear) => (0.1 * low.abs()).max(0.5),
            (false, Scale::Log) => 0.5,
        };
        // Room below zero for what is never negative would be read as if it could be.
        let floor = if scale == Scale::Linear && low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        Self { scale, low: (low - pad).max(floor), high: high + pad, whole: whole && high - low >= 2.0 }
    }

    /// The place of a value, 0 to 1; `None` if it has none.
    pub fn place(&self, value: f64) -> Option<f64> {
        self.scale.forward(value).map(|place| self.fit(place))
    }

    fn fit(&self, place: f64) -> f64 {
        (place - self.low) / (self.high - self.low)
    }

    /// At most about `most` ticks.
    pub fn ticks(&self, most: usize) -> Vec<Tick> {
        match self.scale {
            Scale::Linear => self.linear_ticks(most),
            Scale::Log => self.log_ticks(most),
        }
    }

    fn linear_ticks(&self, most: usize) -> Vec<Tick> {
        let step = nice_step((self.high - self.low) / most.max(1) as f64);
        let step = if self.whole { step.max(1.0) } else { step };
        let values = multiples(step, self.low, self.high);
        let largest = values.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        let tick = |value: f64| Tick { place: self.fit(value), label: tick_label(value, step, largest) };
        values.into_iter().map(tick).collect()
    }

    fn log_ticks(&self, most: usize) -> Vec<Tick> {
        let decades = || (self.low.floor() as i32..=self.high.ceil() as i32).map(f64::from);
        let inside = |place: &f64| (self.low..=self.high).contains(place);
        let whole: Vec<f64> = decades().filter(inside).collect();
        let finer = |digits: &[f64]| -> Vec<f64> {
            decades()
                .flat_map(|decade| digits.iter().map(move |digit| decade + digit.log10()))
                .filter(inside)
                .collect()
        };
        let candidates = [finer(&[1.0, 2.0, 5.0]), finer(&[1.0, 3.0]), whole.clone()];
        let places = match candidates.into_iter().find(|places| places.len() >= 2 && places.len() <= most) {
            Some(places) => places,
            // Many decades: every so many of them.
            None if whole.len() > most => {
                let every = whole.len().div_ceil(most.max(1)) as i32;
                whole.into_iter().filter(|decade| (*decade as i32).rem_euclid(every) == 0).collect()
            }
            // Less than a decade with nothing round in it.
            None => {
                let (low, high) = (10_f64.powf(self.low), 10_f64.powf(self.high));
                let step = nice_step((high - low) / most.max(1) as f64);
                multiples(step, low, high).iter().filter(|value| **value > 0.0).map(|v| v.log10()).collect()
            }
        };
        let tick = |place: f64| Tick { place: self.fit(place), label: short(10_f64.powf(place)) };
        places.into_iter().map(tick).collect()
    }
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn nice_step(least: f64) -> f64 {
    if !(least > 0.0 && least.is_finite()) {
        return 1.0;
    }
    let power = 10_f64.powf(least.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * power >= least * (1.0 - 1e-9));
    digit.unwrap_or(10.0) * power
}

/// The multiples of a step within limits.
fn multiples(step: f64, low: f64, high: f64) -> Vec<f64> {
    let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
    // A step too small to tell neighbours apart has no multiples to name.
    if last - first > 1e3 || !(last - first).is_finite() {
        return Vec::new();
    }
    // Adding zero turns a negative one into zero.
    (0..=(last - first).max(-1.0) as i64).map(|place| (first + place as f64) * step + 0.0).collect()
}

/// A tick's value with as many digits as its neighbours need.
fn tick_label(value: f64, step: f64, largest: f64) -> String {
    let (unit, suffix) = match largest {
        10_000.0..1e6 => (1e3, "k"),
        1e6..1e9 => (1e6, "M"),
        _ => (1.0, ""),
    };
    let digits = (-(step / unit).log10() - 1e-9).ceil().max(0.0);
    if largest >= 1e9 || digits > 5.0 {
        return short(value);
    }
    let suffix = if value == 0.0 { "" } else { suffix };
    let digits = if value == 0.0 { 0 } else { digits as usize };
    format!("{:.digits$}{suffix}", value / unit)
}

/// A round value of a logarithmic axis.
fn short(value: f64) -> String {
    match value {
        10_000.0..1e6 => number(value / 1e3) + "k",
        1e6..1e9 => number(value / 1e6) + "M",
        _ => number(value),
    }
}

/// A number in four significant digits, without zeros at its end: `0.8734`, `12`, `1.5e-5`.
pub fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !value.is_finite() {
        return value.to_string();
    }
    let trimmed = |text: String| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    };
    let scientific = format!("{value:.3e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        exponent @ -4..6 => trimmed(format!("{value:.*}", (3 - exponent).max(0) as usize)),
        exponent => format!("{}e{exponent}", trimmed(digits.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, values: &[f64], most: usize) -> Vec<String> {
        let domain = Domain::of(scale, values.iter().copied(), 0.0);
        domain.ticks(most).into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(Scale::Linear, &[0.0, 1.0], 5), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(Scale::Linear, &[0.83, 0.87], 4), ["0.83", "0.84", "0.85", "0.86", "0.87"]);
        assert_eq!(labels(Scale::Linear, &[0.0, 60_000.0], 3), ["0", "20k", "40k", "60k"]);
        assert_eq!(labels(Scale::Linear, &[-1.5, 1.5], 4), ["-1", "0", "1"]);
        assert_eq!(labels(Scale::Linear, &[1.0, 3.0], 8), ["1", "2", "3"], "whole numbers only");
        assert_eq!(labels(Scale::Log, &[1e-5, 1e-2], 4), ["1e-5", "0.0001", "0.001", "0.01"]);
        assert_eq!(labels(Scale::Log, &[1.0, 100.0], 8), ["1", "2", "5", "10", "20", "50", "100"]);
        assert_eq!(labels(Scale::Log, &[1e3, 1e7], 5), ["1000", "10k", "100k", "1M", "10M"]);
        assert_eq!(labels(Scale::Log, &[6.0, 9.0], 4), ["6", "7", "8", "9"]);
        assert!(labels(Scale::Log, &[1e-250, 1e250], 6).len() <= 7);
    }

    #[test]
    fn every_input_has_a_domain() {
        let hostile: [&[f64]; 8] = [
            &[],
            &[f64::NAN],
            &[0.0],
            &[-3.0, -3.0],
            &[f64::MAX, f64::MIN],
            &[1e300, -1e300],
            &[1.0, 1.0 + f64::EPSILON],
            &[f64::MIN_POSITIVE, f64::INFINITY],
        ];
        for scale in [Scale::Linear, Scale::Log] {
            for values in hostile {
                let domain = Domain::of(scale, values.iter().copied(), 0.05);
                assert!(domain.low < domain.high || values.len() == 2, "{values:?}");
                for most in 0..9 {
                    let ticks = domain.ticks(most);
                    assert!(ticks.len() <= 30, "{values:?} {ticks:?}");
                }
                for value in values.iter().filter_map(|value| domain.place(*value)) {
                    assert!((0.0..=1.0).contains(&value), "{values:?} {value}");
                }
            }
        }
    }

    #[test]
    fn places_follow_the_scale() {
        let linear = Domain::of(Scale::Linear, [2.0, 4.0].into_iter(), 0.0);
        assert_eq!(
            [linear.place(2.0), linear.place(3.0), linear.place(f64::NAN)],
            [Some(0.0), Some(0.5), None]
        );
        let log = Domain::of(Scale::Log, [1.0, 100.0].into_iter(), 0.0);
        assert_eq!([log.place(10.0), log.place(0.0), log.place(-1.0)], [Some(0.5), None, None]);
        let counted = Domain::of(Scale::Linear, [0.1, 9.0].into_iter(), 0.2);
        assert_eq!(counted.low, 0.0, "no room below zero");
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.87341, "0.8734"),
            (0.5, "0.5"),
            (12.0, "12"),
            (605_954.0, "605954"),
            (-0.000_123_46, "-0.0001235"),
            (1.5e-5, "1.5e-5"),
            (2e7, "2e7"),
            (999.96, "1000"),
            (f64::NAN, "NaN"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }
}
