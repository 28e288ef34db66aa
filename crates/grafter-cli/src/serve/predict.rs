//! The routes that answer rows.

use std::sync::Arc;

use grafter::bank::{TaskName, TaskRef, Version};
use grafter::data::TaskKind;
use serde::Serialize;

use super::Server;
use super::answers::{Logits, Partial, Question, Told, ask, at_input, resolve};
use super::body::{Direction, PredictBody, PredictManyBody, TeiBody, TextOrPair, empty, task_ref};
use super::catalog::Resolved;
use super::error::{ErrorBody, ErrorKind, HttpError};
use super::limits::Limits;
use super::routes::{Call, Content};

/// The answers of `/v1/predict`, in the order of the rows.
#[derive(Debug, Serialize)]
pub struct Answers<T> {
    pub answers: Vec<T>,
}

/// A task's answer, or why it has none.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ToldOrNot {
    Told(Told),
    Not {
        task: TaskName,
        /// None where the versions themselves cannot be read.
        #[serde(skip_serializing_if = "Option::is_none")]
        version: Option<Version>,
        #[serde(flatten)]
        error: ErrorBody,
    },
}

/// `/v1/predict`: one row that cannot be answered refuses the request, and the message says which.
pub async fn predict(server: &Arc<Server>, call: &mut Call) -> Result<Content, HttpError> {
    let body: PredictBody = call.json(&server.limits).await?;
    check_rows(body.inputs.len(), "inputs", &server.limits)?;
    let catalog = server.catalog();
    let common = body.task.as_deref().map(task_ref).transpose().map_err(|error| error.at("`task`"))?;
    let common = common.map(|asked| resolve(&catalog, &asked)).transpose()?;
    let mut questions = Vec::with_capacity(body.inputs.len());
    for (place, input) in body.inputs.into_iter().enumerate() {
        let at = |error| at_input(error, place);
        let task = match &input.task {
            Some(named) => task_ref(named).and_then(|asked| resolve(&catalog, &asked)).map_err(at)?,
            None => common.clone().ok_or_else(|| {
                at(HttpError::validation("it names no `task`, and neither does the request"))
            })?,
        };
        let row = Arc::new(input.texts.row(&server.limits).map_err(at)?);
        questions.push(Question { row, task, cut: true });
    }
    let answers = all(ask(server, questions, call, Partial::Refused).await?)?;
    let numbers = numbers(&answers);
    let told = || Answers { answers: answers.into_iter().map(Logits::told).collect() };
    Content::answers(server, call.deadline, numbers, told).await
}

/// `/v1/predict_many`: a task that cannot answer says so in its place.
pub async fn predict_many(server: &Arc<Server>, call: &mut Call) -> Result<Content, HttpError> {
    let body: PredictManyBody = call.json(&server.limits).await?;
    let catalog = server.catalog();
    let all = body.tasks.is_none();
    let asked: Vec<TaskRef> = match body.tasks {
        Some(named) => {
            check_rows(named.len(), "tasks", &server.limits)?;
            named.iter().map(|named| task_ref(named)).collect::<Result<_, _>>()?
        }
        None => {
            check_rows(catalog.tasks.len(), "tasks", &server.limits)?;
            catalog.tasks.keys().map(|name| TaskRef { name: name.clone(), version: None }).collect()
        }
    };
    let row = Arc::new(body.input.row(&server.limits).map_err(|error| error.at("`input`"))?);
    let tasks: Vec<Resolved> =
        asked.iter().map(|asked| resolve(&catalog, asked)).collect::<Result<_, _>>()?;
    let question = |task: &Resolved| Question { row: Arc::clone(&row), task: task.clone(), cut: true };
    let questions = tasks.iter().map(question).collect();
    let answers = ask(server, questions, call, Partial::Answered).await?;
    let failed = answers.iter().filter_map(|answer| answer.as_ref().err());
    call.details.extend(failed.filter_map(|error| error.detail.clone()));
    let numbers = numbers(answers.iter().flatten());
    let told = || {
        let told = answers.into_iter().zip(tasks).map(|(answer, asked)| match answer {
            Ok(logits) => ToldOrNot::Told(logits.told()),
            Err(error) => {
                ToldOrNot::Not { task: asked.task, version: Some(asked.version), error: error.body() }
            }
        });
        let mut answers: Vec<ToldOrNot> = told.collect();
        if all {
            let broken = HttpError::new(ErrorKind::BrokenTask, "the task cannot be read").body();
            let broken =
                |task: &TaskName| ToldOrNot::Not { task: task.clone(), version: None, error: broken.clone() };
            answers.extend(catalog.broken.keys().map(broken));
            answers.sort_by(|a, b| a.task().cmp(b.task()));
        }
        Answers { answers }
    };
    Content::answers(server, call.deadline, numbers, told).await
}

/// How many numbers some answers hold.
fn numbers<'a>(answers: impl IntoIterator<Item = &'a Logits>) -> usize {
    answers.into_iter().map(|answer| answer.logits.len()).sum()
}

impl ToldOrNot {
    fn task(&self) -> &TaskName {
        match self {
            Self::Told(Told { task, .. }) | Self::Not { task, .. } => task,
        }
    }
}

/// A label and its score, as text-embeddings-inference tells them.
#[derive(Debug, Serialize)]
pub struct TeiScore {
    pub score: Number,
    pub label: String,
}

/// A number in the precision that it has, so that its digits are those that the other routes tell.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum Number {
    Single(f32),
    Double(f64),
}

/// One row's scores, or those of a batch.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum TeiAnswer {
    One(Vec<TeiScore>),
    Batch(Vec<Vec<TeiScore>>),
}

/// What the score of a regression is called, where clients expect a label.
const SCORE_LABEL: &str = "score";

/// `/predict`.
pub async fn tei(server: &Arc<Server>, call: &mut Call) -> Result<Content, HttpError> {
    let body: TeiBody = call.json(&server.limits).await?;
    if body.truncation_direction == Some(Direction::Left) {
        return Err(HttpError::validation("`truncation_direction`: only `right` is supported"));
    }
    let task = tei_task(server, body.model.as_deref())?;
    // The list has the kind of the newest version; that of another is known when its answer is.
    if let Some(manifest) = server.catalog().newest(&task) {
        check_tei(&task.task, manifest.task.kind)?;
    }
    let (rows, is_batch) = body.inputs.rows()?;
    check_rows(rows.len(), "inputs", &server.limits)?;
    let question = |(place, texts): (usize, TextOrPair)| {
        let row = texts.row(&server.limits).map_err(|error| at_input(error, place))?;
        Ok(Question { row: Arc::new(row), task: task.clone(), cut: body.truncate != Some(false) })
    };
    let questions = rows.into_iter().enumerate().map(question).collect::<Result<_, HttpError>>()?;
    let answers = all(ask(server, questions, call, Partial::Refused).await?)?;
    if let Some(Logits { task, adapter, .. }) = answers.first() {
        check_tei(task, adapter.manifest().task.kind)?;
    }
    let told = || {
        let mut scores = answers.iter().map(|answer| tei_scores(answer, body.raw_scores));
        match scores.next() {
            Some(one) if !is_batch => TeiAnswer::One(one),
            first => TeiAnswer::Batch(first.into_iter().chain(scores).collect()),
        }
    };
    Content::answers(server, call.deadline, numbers(&answers), told).await
}

/// That a row's answer is a number for each label, or one number.
fn check_tei(task: &TaskName, kind: TaskKind) -> Result<(), HttpError> {
    match kind {
        TaskKind::Classification | TaskKind::MultiLabel | TaskKind::Regression => Ok(()),
        TaskKind::Entities | TaskKind::Tags | TaskKind::MultipleChoice | TaskKind::QuestionAnswering => {
            Err(HttpError::validation(format!(
                "task `{task}` is of the kind {kind}, whose answers this route cannot give: ask `/v1/predict`"
            )))
        }
    }
}

/// The task of `model`, of the flag, or the only one.
fn tei_task(server: &Server, model: Option<&str>) -> Result<Resolved, HttpError> {
    let catalog = server.catalog();
    let asked = match (model, &server.default_task) {
        (Some(named), _) => task_ref(named).map_err(|error| error.at("`model`"))?,
        (None, Some(task)) => task.clone(),
        (None, None) => match catalog.tasks.keys().collect::<Vec<_>>()[..] {
            [only] => TaskRef { name: only.clone(), version: None },
            ref tasks => {
                return Err(HttpError::validation(format!(
                    "the bank has {} tasks; name one in `model`, or start the server with `--default-task`",
                    tasks.len()
                )));
            }
        },
    };
    resolve(&catalog, &asked)
}

/// Scores of all labels, the highest first; of equal ones the task's order stays.
fn tei_scores(answer: &Logits, raw: bool) -> Vec<TeiScore> {
    let task = &answer.adapter.manifest().task;
    if let Some(scale) = task.scores {
        let logit = answer.logits[0];
        let score = if raw { logit } else { scale.restore(logit) };
        return vec![TeiScore { score: Number::Single(score), label: SCORE_LABEL.to_owned() }];
    }
    let scores: Vec<Number> = if raw {
        answer.logits.iter().copied().map(Number::Single).collect()
    } else {
        answer.adapter.probabilities(&answer.logits).into_iter().map(Number::Double).collect()
    };
    // By the logits, which may differ where probabilities do not: the first is what the other routes answer.
    let mut places: Vec<usize> = (0..task.labels.len()).collect();
    places.sort_by(|a, b| answer.logits[*b].total_cmp(&answer.logits[*a]));
    places
        .into_iter()
        .map(|place| TeiScore { score: scores[place], label: task.labels[place].clone() })
        .collect()
}

fn check_rows(rows: usize, field: &str, limits: &Limits) -> Result<(), HttpError> {
    if rows == 0 {
        return Err(empty(field));
    }
    if rows > limits.max_rows {
        let message = format!("`{field}` has {rows} entries, at most {} are taken", limits.max_rows);
        return Err(HttpError::new(ErrorKind::TooLarge, message));
    }
    Ok(())
}

/// All answers, or the first error with its place.
fn all(answers: Vec<Result<Logits, HttpError>>) -> Result<Vec<Logits>, HttpError> {
    let placed = answers.into_iter().enumerate();
    placed.map(|(place, answer)| answer.map_err(|error| at_input(error, place))).collect()
}
