//! One delimited record at a time: the grammar of CSV, and the plain split of TSV.
//!
//! The grammar is RFC 4180's, read strictly where leniency would hide damage. A quote that is never closed makes a
//! lenient parser take every row up to the next quote for one text, without an error; here, text after a closing
//! quote is an error, and so is a quote that is still open at the end of the input. That, the limit on a record and
//! the place of the opening quote are why the `csv` crate does not read here; it is the oracle of the tests.
//! Lenient: a quote inside a field that does not start with one is a plain character (`5" disk`).

/// Whether a record is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fed {
    /// All fields are there.
    Complete,
    /// A quote is open: the record goes on with the next line.
    Open,
    /// Text follows a closing quote; the rest of the line was not read.
    TextAfterQuote,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    FieldStart,
    Plain,
    Quoted,
    Closed,
}

/// The fields of one record, in buffers that are used again.
#[derive(Debug, Default)]
pub(super) struct Record {
    text: String,
    ends: Vec<usize>,
    state: State,
    quote_line: u64,
}

impl Record {
    /// Empties the record.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
        self.state = State::FieldStart;
        self.quote_line = 0;
    }

    /// The fields of a complete record.
    pub fn fields(&self) -> impl Iterator<Item = &str> + Clone {
        (0..self.ends.len()).map(|place| self.field_at(place))
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether the record is a line with nothing on it.
    pub fn is_blank(&self) -> bool {
        self.text.is_empty() && self.ends.len() == 1 && self.quote_line == 0
    }

    /// The field at `place`, if there is one.
    pub fn field(&self, place: usize) -> Option<&str> {
        (place < self.ends.len()).then(|| self.field_at(place))
    }

    /// The line on which the quote opened last stands, or 0.
    pub fn quote_line(&self) -> u64 {
        self.quote_line
    }

    /// Splits a whole TSV line.
    pub fn feed_tsv(&mut self, line: &str) {
        for field in content(line).split('\t') {
            self.text.push_str(field);
            self.end_field();
        }
    }

    /// Takes the next line of a CSV record, its line feed included; `number` is the line's.
    pub fn feed_csv(&mut self, line: &str, number: u64) -> Fed {
        let body = content(line);
        for c in body.chars() {
            match (self.state, c) {
                (State::FieldStart, '"') => {
                    self.state = State::Quoted;
                    self.quote_line = number;
                }
                (State::FieldStart | State::Plain | State::Closed, ',') => self.end_field(),
                (State::FieldStart | State::Plain, _) => {
                    self.state = State::Plain;
                    self.text.push(c);
                }
                (State::Quoted, '"') => self.state = State::Closed,
                (State::Quoted, _) => self.text.push(c),
                (State::Closed, '"') => {
                    self.state = State::Quoted;
                    self.text.push('"');
                }
                (State::Closed, _) => return Fed::TextAfterQuote,
            }
        }
        if self.state == State::Quoted {
            self.text.push_str(&line[body.len()..]);
            return Fed::Open;
        }
        self.end_field();
        Fed::Complete
    }

    fn end_field(&mut self) {
        self.ends.push(self.text.len());
        self.state = State::FieldStart;
    }

    fn field_at(&self, place: usize) -> &str {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        &self.text[start..self.ends[place]]
    }
}

/// A line without the line feed, or carriage return and line feed, that ends it.
pub(super) fn content(line: &str) -> &str {
    match line.strip_suffix('\n') {
        Some(body) => body.strip_suffix('\r').unwrap_or(body),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(lines: &[&str]) -> (Vec<String>, Vec<Fed>) {
        let mut record = Record::default();
        let fed = (1..).zip(lines).map(|(number, line)| record.feed_csv(line, number)).collect();
        (record.fields().map(str::to_owned).collect(), fed)
    }

    #[test]
    fn plain_and_quoted_fields() {
        assert_eq!(csv(&["a,b\r\n"]).0, ["a", "b"]);
        assert_eq!(csv(&["\"a,\"\"b\"\"\",\"\"\n"]).0, ["a,\"b\"", ""]);
        assert_eq!(csv(&["5\" disk,x\""]).0, ["5\" disk", "x\""]);
        assert_eq!(csv(&[",\n"]).0, ["", ""]);
        assert_eq!(csv(&[" \"a\",b\n"]).0, [" \"a\"", "b"]);
    }

    #[test]
    fn a_quoted_field_keeps_its_line_breaks() {
        let (fields, fed) = csv(&["\"a\r\n", "\n", "b\",c\r\n"]);
        assert_eq!(fields, ["a\r\n\nb", "c"]);
        assert_eq!(fed, [Fed::Open, Fed::Open, Fed::Complete]);
    }

    #[test]
    fn text_after_a_closing_quote_is_seen() {
        assert_eq!(csv(&["\"he said \"hi\" to me\",1\n"]).1, [Fed::TextAfterQuote]);
        assert_eq!(csv(&["\"a\" ,1\n"]).1, [Fed::TextAfterQuote]);
        assert_eq!(csv(&["\"a,1\n", "\"b\",1\n"]).1, [Fed::Open, Fed::TextAfterQuote]);
    }

    #[test]
    fn tsv_has_no_quotes() {
        let mut record = Record::default();
        record.feed_tsv("\"a\tb\"\t\r\n");
        assert_eq!(record.fields().collect::<Vec<_>>(), ["\"a", "b\"", ""]);
        assert_eq!((record.len(), record.field(1), record.field(3)), (3, Some("b\""), None));
    }
}
