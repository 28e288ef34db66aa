//! The routes of the server, in one table: the router, the check of keys, the OpenAPI document and the tests read it.
//!
//! It depends on nothing, so that the tests can include it as it stands.

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everyone, with a key or without. Nothing behind such a route may tell anything about the bank.
    Open,
    /// Who has an API key or the admin key, where the server has keys.
    Key,
    /// Who has the admin key; without one the route does not exist.
    Admin,
}

/// A route's name in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteId {
    Predict,
    PredictMany,
    TeiPredict,
    Tasks,
    Task,
    Reload,
    Load,
    Unload,
    Live,
    Ready,
    Metrics,
    OpenApi,
    Docs,
    Page,
}

/// One route.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Its name in the code.
    pub id: RouteId,
    /// `GET` or `POST`; `HEAD` is answered wherever `GET` is.
    pub method: &'static str,
    /// With `{name}` for a parameter.
    pub path: &'static str,
    /// Who may ask.
    pub access: Access,
    /// What it does, in one line.
    pub summary: &'static str,
}

const fn route(
    id: RouteId,
    (method, path): (&'static str, &'static str),
    access: Access,
    summary: &'static str,
) -> Route {
    Route { id, method, path, access, summary }
}

/// Every route. Those that are `Open` are exempt from keys on purpose: health checks come from machines that have none, and
/// the two pages are the same for every bank and ask for the key themselves.
pub const ROUTES: [Route; 14] = [
    route(RouteId::Predict, ("POST", "/v1/predict"), Access::Key, "Answer rows, each by a task"),
    route(RouteId::PredictMany, ("POST", "/v1/predict_many"), Access::Key, "Answer one row by several tasks"),
    route(
        RouteId::TeiPredict,
        ("POST", "/predict"),
        Access::Key,
        "Answer as text-embeddings-inference does, by one task",
    ),
    route(RouteId::Tasks, ("GET", "/v1/tasks"), Access::Key, "List the tasks"),
    route(RouteId::Task, ("GET", "/v1/tasks/{name}"), Access::Key, "Describe a task"),
    route(
        RouteId::Reload,
        ("POST", "/v1/admin/reload"),
        Access::Admin,
        "Read the bank's list of tasks again",
    ),
    route(
        RouteId::Load,
        ("POST", "/v1/admin/tasks/{name}/load"),
        Access::Admin,
        "Read a task's adapter into memory",
    ),
    route(
        RouteId::Unload,
        ("POST", "/v1/admin/tasks/{name}/unload"),
        Access::Admin,
        "Take a task's adapters out of memory",
    ),
    route(RouteId::Live, ("GET", "/health/live"), Access::Open, "Whether the process answers"),
    route(RouteId::Ready, ("GET", "/health/ready"), Access::Open, "Whether requests should come here"),
    route(RouteId::Metrics, ("GET", "/metrics"), Access::Key, "Measurements in Prometheus' text format"),
    route(RouteId::OpenApi, ("GET", "/openapi.json"), Access::Key, "The description of these routes"),
    route(RouteId::Docs, ("GET", "/docs"), Access::Open, "The description of these routes, for people"),
    route(RouteId::Page, ("GET", "/"), Access::Open, "A page to try the tasks"),
];
