//! What requests say: their bodies as JSON, and the shapes of their inputs. Unknown fields are refused.

use std::fmt;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use grafter::bank::TaskRef;
use grafter::data::{MAX_CHOICES, Row};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};

use super::error::{ErrorKind, HttpError};
use super::limits::{Limits, MAX_QUOTED};

/// `/v1/predict`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictBody {
    /// For the rows that name none.
    pub task: Option<String>,
    pub inputs: Vec<Input>,
}

/// `/v1/predict_many`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictManyBody {
    pub input: TextOrPair,
    /// All tasks of the bank if absent.
    pub tasks: Option<Vec<String>>,
}

/// `/predict`, as text-embeddings-inference takes it, and `model`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeiBody {
    pub inputs: TeiInputs,
    /// Longer texts are cut unless this says `false`.
    pub truncate: Option<bool>,
    /// Only `right` is what tasks are trained with.
    pub truncation_direction: Option<Direction>,
    #[serde(default)]
    pub raw_scores: bool,
    /// The task.
    pub model: Option<String>,
}

/// Which end of a text is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Direction {
    #[serde(alias = "left")]
    Left,
    #[serde(alias = "right")]
    Right,
}

/// A text, a pair, or a batch of those.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected `inputs` as a text, as a list of one or two texts, or as a list of such lists"
)]
pub enum TeiInputs {
    Text(String),
    One(Vec<String>),
    Batch(Vec<Vec<String>>),
}

/// A row of `/v1/predict`.
#[derive(Debug)]
pub struct Input {
    pub texts: TextOrPair,
    /// In place of the request's task.
    pub task: Option<String>,
}

/// A text, or two, or the words of one; perhaps with choices.
#[derive(Debug, Default)]
pub struct TextOrPair {
    pub text: String,
    pub text_b: Option<String>,
    /// In place of the text.
    pub words: Option<Vec<String>>,
    /// Of which one is the answer.
    pub choices: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputObject {
    #[serde(alias = "question")]
    text: Option<String>,
    #[serde(alias = "context")]
    text_b: Option<String>,
    choices: Option<Vec<String>>,
    words: Option<Vec<String>>,
    task: Option<String>,
}

struct InputVisitor;

impl<'de> Visitor<'de> for InputVisitor {
    type Value = Input;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a text, a pair of texts, or an object with `text`, `question` or `words`")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Input, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Input, E> {
        Ok(Input { texts: TextOrPair { text, ..TextOrPair::default() }, task: None })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, pair: A) -> Result<Input, A::Error> {
        let (text, text_b) = <(String, String)>::deserialize(SeqAccessDeserializer::new(pair))?;
        Ok(Input { texts: TextOrPair { text, text_b: Some(text_b), ..TextOrPair::default() }, task: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Input, A::Error> {
        let InputObject { text, text_b, choices, words, task } =
            InputObject::deserialize(MapAccessDeserializer::new(object))?;
        if choices.as_ref().is_some_and(|choices| choices.len() < 2) {
            return Err(serde::de::Error::custom("`choices` are two or more texts"));
        }
        let choices = choices.unwrap_or_default();
        let texts = match (text, text_b, words) {
            (Some(text), text_b, None) => TextOrPair { text, text_b, choices, words: None },
            (None, None, Some(words)) if choices.is_empty() => {
                TextOrPair { words: Some(words), ..TextOrPair::default() }
            }
            (None, _, None) => {
                return Err(serde::de::Error::custom("expected `text`, `question` or `words`"));
            }
            _ => {
                return Err(serde::de::Error::custom(
                    "`words` stand in place of `text`, `text_b` and `choices`",
                ));
            }
        };
        Ok(Input { texts, task })
    }
}

impl<'de> Deserialize<'de> for Input {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InputVisitor)
    }
}

impl<'de> Deserialize<'de> for TextOrPair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Input::deserialize(deserializer)? {
            Input { texts, task: None } => Ok(texts),
            Input { .. } => Err(serde::de::Error::custom("`task` has no place here, `tasks` names them")),
        }
    }
}

impl TextOrPair {
    /// The row, if its texts are within the limits.
    /// # Errors
    /// If a text is empty or too long.
    pub fn row(self, limits: &Limits) -> Result<Row, HttpError> {
        if let Some(words) = &self.words {
            if let Some(word) = words.iter().position(|word| word.trim().is_empty()) {
                let message = format!("expected words, found an empty one in place {word}");
                return Err(HttpError::new(ErrorKind::Empty, message));
            }
            let row = Row::of_words(words);
            return Self { text: row.text, ..Self::default() }
                .row(limits)
                .map(|texts| Row { words: row.words, ..texts });
        }
        if self.choices.len() > MAX_CHOICES {
            let message =
                format!("`choices` has {} entries, at most {MAX_CHOICES} are taken", self.choices.len());
            return Err(HttpError::new(ErrorKind::TooLarge, message));
        }
        for text in [&self.text].into_iter().chain(&self.text_b).chain(&self.choices) {
            if text.trim().is_empty() {
                return Err(HttpError::new(ErrorKind::Empty, "expected a text, found an empty one"));
            }
            if text.len() > limits.max_text_bytes {
                let message =
                    format!("a text has {} bytes, at most {} are taken", text.len(), limits.max_text_bytes);
                return Err(HttpError::new(ErrorKind::TooLarge, message));
            }
        }
        Ok(Row { text_b: self.text_b, choices: self.choices, ..Row::single(self.text) })
    }
}

impl TeiInputs {
    /// The rows, and whether they came as a batch.
    /// # Errors
    /// If a row has no text, or more than two.
    pub fn rows(self) -> Result<(Vec<TextOrPair>, bool), HttpError> {
        match self {
            Self::Text(text) => Ok((vec![TextOrPair { text, ..TextOrPair::default() }], false)),
            Self::One(texts) if texts.is_empty() => Err(empty("inputs")),
            Self::One(texts) => Ok((vec![tei_row(texts)?], false)),
            Self::Batch(rows) => Ok((rows.into_iter().map(tei_row).collect::<Result<_, _>>()?, true)),
        }
    }
}

fn tei_row(texts: Vec<String>) -> Result<TextOrPair, HttpError> {
    let count = texts.len();
    let mut texts = texts.into_iter();
    match (texts.next(), texts.next(), texts.next()) {
        (Some(text), text_b, None) => Ok(TextOrPair { text, text_b, ..TextOrPair::default() }),
        _ => Err(HttpError::validation(format!("expected one text or a pair of texts, found {count} texts"))),
    }
}

/// The error of a list without entries.
pub fn empty(field: &str) -> HttpError {
    HttpError::new(ErrorKind::Empty, format!("`{field}` is empty"))
}

/// A task as a request names it.
/// # Errors
/// If it is no name.
pub fn task_ref(text: &str) -> Result<TaskRef, HttpError> {
    text.parse().map_err(|error: grafter::bank::NameError| HttpError::validation(error.to_string()))
}

/// Reads a body as JSON.
/// # Errors
/// If it says that it is something else, is too large, comes too slowly, or is not what is expected.
pub async fn read_json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    limits: &Limits,
) -> Result<T, HttpError> {
    // A page of another origin can send a form or plain text without asking; JSON it cannot.
    let is_json = headers.get(CONTENT_TYPE).is_some_and(|value| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
    });
    if !is_json {
        return Err(HttpError::new(
            ErrorKind::UnsupportedMediaType,
            "expected `Content-Type: application/json`",
        ));
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(HttpError::new(
            ErrorKind::UnsupportedMediaType,
            "expected a body without `Content-Encoding`",
        ));
    }
    let bytes = read(headers, body, limits).await?;
    // The message may quote the body.
    serde_json::from_slice(&bytes).map_err(|error| {
        HttpError::validation(format!("the body: {}", grafter::text::escape(&error.to_string(), MAX_QUOTED)))
    })
}

/// Takes a body that may hold nothing but white space.
/// # Errors
/// If it holds something, or as of [`read_json`].
pub async fn read_nothing(headers: &HeaderMap, body: Body, limits: &Limits) -> Result<(), HttpError> {
    let bytes = read(headers, body, limits).await?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        Ok(())
    } else {
        Err(HttpError::validation("expected no body"))
    }
}

async fn read(headers: &HeaderMap, body: Body, limits: &Limits) -> Result<Bytes, HttpError> {
    let too_large = || {
        let message = format!("the body is larger than {} bytes", limits.max_body_bytes);
        HttpError::new(ErrorKind::TooLarge, message)
    };
    // hyper holds the sender to it; a length that is none is refused there.
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > limits.max_body_bytes as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout(limits.body_timeout, read_up_to(body, limits.max_body_bytes)).await {
        Err(_) => Err(slow(limits.body_timeout)),
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(too_large()),
        Ok(Err(error)) => Err(HttpError::validation(format!("the body did not come whole: {error}"))),
    }
}

fn slow(time: Duration) -> HttpError {
    let message = format!("the body did not come within {} s", time.as_secs_f64());
    HttpError::new(ErrorKind::SlowRequest, message)
}

/// `None` where there is more.
async fn read_up_to(mut body: Body, most: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        // Trailers say nothing.
        let Ok(data) = frame?.into_data() else { continue };
        if bytes.len() + data.len() > most {
            return Ok(None);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Some(bytes.into()))
}
