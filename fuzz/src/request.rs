//! Bodies of HTTP requests. A part of `serve` here, and of the server's tests.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;

use super::body::{Input, PredictBody, PredictManyBody, TeiBody, read_json, task_ref};
use super::error::HttpError;
use super::limits::Limits;

/// The first byte picks the route.
pub fn request(bytes: &[u8]) {
    let Some((route, body)) = bytes.split_first() else { return };
    let limits = limits();
    let read = async {
        match route % 3 {
            0 => predict(json(body, &limits).await?, &limits),
            1 => predict_many(json(body, &limits).await?, &limits),
            _ => tei(json(body, &limits).await?, &limits),
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    if let Err(error) = runtime.expect("a runtime").block_on(read) {
        assert!(error.kind.told().0.is_client_error(), "{error:?}");
        serde_json::to_string(&error.body()).expect("an error is plain data");
    }
}

async fn json<T: serde::de::DeserializeOwned>(body: &[u8], limits: &Limits) -> Result<T, HttpError> {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, "application/json".parse().expect("a value"))]);
    read_json(&headers, Body::from(body.to_vec()), limits).await
}

fn predict(body: PredictBody, limits: &Limits) -> Result<(), HttpError> {
    body.task.as_deref().map(task_ref).transpose()?;
    body.inputs.into_iter().try_for_each(|Input { texts, task }| {
        task.as_deref().map(task_ref).transpose()?;
        texts.row(limits).map(drop)
    })
}

fn predict_many(body: PredictManyBody, limits: &Limits) -> Result<(), HttpError> {
    body.tasks.iter().flatten().try_for_each(|task| task_ref(task).map(drop))?;
    body.input.row(limits).map(drop)
}

fn tei(body: TeiBody, limits: &Limits) -> Result<(), HttpError> {
    body.model.as_deref().map(task_ref).transpose()?;
    body.inputs.rows()?.0.into_iter().try_for_each(|texts| texts.row(limits).map(drop))
}

/// Small, so that what is beyond them is reached.
fn limits() -> Limits {
    Limits {
        max_batch_tokens: 1,
        batch_window: Duration::ZERO,
        max_queue_tokens: 1,
        max_request_tokens: 1,
        max_answer_numbers: 1,
        max_unsent_bytes: 1,
        max_adapters_bytes: 1,
        max_body_bytes: 2048,
        max_rows: 1,
        max_text_bytes: 64,
        max_connections: 1,
        timeout: Duration::from_secs(1),
        header_timeout: Duration::from_secs(1),
        body_timeout: Duration::from_secs(1),
        drain_delay: Duration::ZERO,
        grace: Duration::ZERO,
    }
}

#[cfg(test)]
#[test]
fn bodies_of_the_corpus() {
    crate::corpus::run("request", request);
}
