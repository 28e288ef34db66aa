//! The router: what every request passes, whatever its route. Key, limits of the headers, deadline, panics, measurements and
//! the log are dealt with here and nowhere else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use axum::response::Response;
use axum::routing::any;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::answers::{Counts, timeout};
use super::body::{read_json, read_nothing};
use super::error::{ErrorKind, HttpError};
use super::limits::{LARGE_ANSWER, Limits, MAX_HEADER_BYTES, MAX_HEADERS};
use super::log::RequestLine;
use super::metrics::Metrics;
use super::table::{Access, ROUTES, Route, RouteId};
use super::{Server, info, metrics, openapi, page, predict};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that a client may give its request.
const MAX_REQUEST_ID: usize = 64;
/// What the log and the measurements call a path that is none.
const NO_ROUTE: &str = "none";
/// The status, which no answer has, of a request whose client went away; nginx has it so.
const CLIENT_GONE: u16 = 499;

/// A request on its way through its route.
#[derive(Debug)]
pub struct Call {
    pub headers: HeaderMap,
    /// The parameter of the path, if the route has one.
    pub name: Option<String>,
    /// When the answer is due.
    pub deadline: Instant,
    /// For the log.
    pub counts: Counts,
    /// For the log: what went wrong with a part of the request.
    pub details: Vec<String>,
    body: Option<Body>,
}

impl Call {
    /// The body as JSON; there is none a second time.
    /// # Errors
    /// As of [`read_json`].
    pub async fn json<T: DeserializeOwned>(&mut self, limits: &Limits) -> Result<T, HttpError> {
        let body = self.body.take().unwrap_or_default();
        read_json(&self.headers, body, limits).await
    }

    /// Takes the body of a route that expects none.
    /// # Errors
    /// As of [`read_nothing`].
    pub async fn nothing(&mut self, limits: &Limits) -> Result<(), HttpError> {
        let body = self.body.take().unwrap_or_default();
        read_nothing(&self.headers, body, limits).await
    }
}

/// What a route answers.
#[derive(Debug)]
pub struct Content {
    pub content_type: &'static str,
    pub body: Bytes,
    /// For pages: what they may load and do.
    pub policy: Option<String>,
    pub status: StatusCode,
}

impl Content {
    pub fn json(value: &impl Serialize) -> Self {
        Self::of_json(serialised(value).into())
    }

    /// Answers to rows with so many numbers. Large ones do not keep a thread from other connections while they are written, and
    /// are written on so many threads alone; all are counted until they are sent.
    pub async fn answers<T: Serialize>(
        server: &Server,
        deadline: Instant,
        numbers: usize,
        told: impl FnOnce() -> T,
    ) -> Result<Self, HttpError> {
        let bytes = if numbers < LARGE_ANSWER {
            serialised(&told())
        } else {
            let turn = tokio::time::timeout_at(deadline.into(), server.writing.acquire());
            let _turn = turn.await.map_err(|_| timeout(server))?;
            tokio::task::block_in_place(|| serialised(&told()))
        };
        Ok(Self::of_json(server.unsent.hold(bytes)?))
    }

    fn of_json(body: Bytes) -> Self {
        Self { content_type: "application/json", body, policy: None, status: StatusCode::OK }
    }
}

fn serialised(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("answers are plain data")
}

/// The router of the table.
pub fn router(server: &Arc<Server>) -> Router {
    let handler = |route: Option<&'static Route>| {
        let server = Arc::clone(server);
        any(move |request: Request<Body>| respond(server, route, request))
    };
    let exists = |route: &&Route| route.access != Access::Admin || server.keys.has_admin_key();
    let routes = ROUTES.iter().filter(exists);
    let router = routes.fold(Router::new(), |router, route| router.route(route.path, handler(Some(route))));
    router.fallback_service(handler(None))
}

/// A request until it is answered. Dropped before, because its client went away, it is measured and logged as such.
struct Open {
    server: Arc<Server>,
    came: Instant,
    line: Option<RequestLine>,
}

impl Open {
    fn close(&mut self, status: u16, counts: Counts) {
        if let Some(line) = self.line.take() {
            self.server.metrics.request(line.route, status);
            let (rows, tokens, time) = (counts.rows, counts.tokens, self.came.elapsed());
            self.server.log.request(RequestLine { status, rows, tokens, time, ..line });
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.close(CLIENT_GONE, Counts::default());
    }
}

/// Answers a request; whatever happens, it is measured and logged once.
async fn respond(server: Arc<Server>, route: Option<&'static Route>, request: Request<Body>) -> Response {
    let came = Instant::now();
    let (mut parts, body) = request.into_parts();
    let request_id = request_id(&server, &parts.headers);
    let mut open = Open {
        server: Arc::clone(&server),
        came,
        line: Some(RequestLine {
            method: method_name(&parts.method),
            route: route.map_or(NO_ROUTE, |route| route.path),
            request_id: request_id.clone(),
            ..RequestLine::default()
        }),
    };
    let name = Path::<String>::from_request_parts(&mut parts, &()).await.ok().map(|Path(name)| name);
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let too_large = headers_too_large(&parts.headers, target);
    let mut call = Call {
        headers: parts.headers,
        name,
        deadline: came + server.limits.timeout,
        counts: Counts::default(),
        details: Vec::new(),
        body: Some(body),
    };
    let answered = match too_large {
        Some(error) => Err(error),
        None => caught(&server.metrics, handle(&server, route, &parts.method, &mut call)).await,
    };
    if let (Err(error), Some(line)) = (&answered, &mut open.line) {
        line.error_type = Some(error.kind.told().1);
        call.details.extend(error.detail.clone());
    }
    let mut response = match answered {
        Ok(content) => of_content(content),
        Err(error) => of_error(&error, route),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID, id);
    }
    if let Some(line) = &mut open.line {
        line.detail = (!call.details.is_empty()).then(|| call.details.join("; "));
    }
    open.close(response.status().as_u16(), call.counts);
    response
}

async fn handle(
    server: &Arc<Server>,
    route: Option<&'static Route>,
    method: &Method,
    call: &mut Call,
) -> Result<Content, HttpError> {
    // A path that is none is told to those alone who may ask at all.
    let access = route.map_or(Access::Key, |route| route.access);
    server.keys.check(access, &call.headers)?;
    if access != Access::Open {
        server.hosts.check(&call.headers)?;
    }
    let route = route.ok_or_else(|| HttpError::new(ErrorKind::NotFound, "there is no such path"))?;
    if method != route.method && !(*method == Method::HEAD && route.method == "GET") {
        return Err(HttpError::new(ErrorKind::MethodNotAllowed, format!("expected {}", route.method)));
    }
    Ok(match route.id {
        RouteId::Predict => predict::predict(server, call).await?,
        RouteId::PredictMany => predict::predict_many(server, call).await?,
        RouteId::TeiPredict => predict::tei(server, call).await?,
        RouteId::Tasks => Content::json(&info::tasks(server)),
        RouteId::Task => Content::json(&info::task(server, call)?),
        RouteId::Reload => Content::json(&info::reload(server, call).await?),
        RouteId::Load => Content::json(&info::load(server, call).await?),
        RouteId::Unload => Content::json(&info::unload(server, call).await?),
        RouteId::Live => Content::json(&info::Health { status: "live" }),
        RouteId::Ready => Content::json(&info::ready(server)?),
        RouteId::Metrics => Content {
            content_type: metrics::CONTENT_TYPE,
            body: metrics::text(server).into(),
            policy: None,
            status: StatusCode::OK,
        },
        RouteId::OpenApi => Content::json(&openapi::document(server.keys.has_admin_key())),
        RouteId::Docs => page::docs(),
        RouteId::Page => page::page(),
    })
}

/// A future whose panic is an error of its own request and of nothing else.
async fn caught<T>(
    metrics: &Metrics,
    future: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    let mut future = pin!(future);
    std::future::poll_fn(move |context| {
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(answered)) => Poll::Ready(Ok(answered)),
            Err(_) => Poll::Ready(Err(())),
        }
    })
    .await
    .unwrap_or_else(|()| {
        metrics.panics.fetch_add(1, Ordering::Relaxed);
        Err(HttpError::new(ErrorKind::Internal, "a fault of the server"))
    })
}

fn of_content(content: Content) -> Response {
    let mut response = Response::new(Body::from(content.body));
    *response.status_mut() = content.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content.content_type));
    if let Some(policy) = content.policy.and_then(|policy| HeaderValue::from_str(&policy).ok()) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn of_error(error: &HttpError, route: Option<&Route>) -> Response {
    let mut response = of_content(Content { status: error.kind.told().0, ..Content::json(&error.body()) });
    let headers = response.headers_mut();
    if let Some(seconds) = error.retry_after_s {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    match (error.kind, route.map(|route| route.method)) {
        (ErrorKind::Unauthorized, _) => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        (ErrorKind::MethodNotAllowed, Some("GET")) => {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        (ErrorKind::MethodNotAllowed, Some(method)) => {
            headers.insert(ALLOW, HeaderValue::from_static(method));
        }
        _ => {}
    }
    response
}

fn headers_too_large(headers: &HeaderMap, target_bytes: usize) -> Option<HttpError> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() <= MAX_HEADERS && target_bytes + bytes <= MAX_HEADER_BYTES {
        return None;
    }
    let message = format!("at most {MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes of them are taken");
    Some(HttpError::new(ErrorKind::HeadersTooLarge, message))
}

/// The client's id where it is harmless, one of the server's own otherwise.
fn request_id(server: &Server, headers: &HeaderMap) -> String {
    let harmless = |id: &&str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(plain)
    };
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(harmless);
    given.map_or_else(|| server.next_request_id(), str::to_owned)
}

/// Methods are words that a client makes up; the log tells those that exist.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_of_its_own_request() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let metrics = Metrics::new();
        let answered = |fails: bool| {
            runtime.block_on(caught(&metrics, async move {
                tokio::task::yield_now().await;
                assert!(!fails, "a fault, on purpose");
                Ok(7)
            }))
        };
        assert_eq!(answered(true).unwrap_err().kind, ErrorKind::Internal);
        assert_eq!(answered(false).unwrap(), 7);
        assert_eq!(metrics.panics.load(Ordering::Relaxed), 1);
    }
}
