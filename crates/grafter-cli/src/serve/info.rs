//! The routes that tell of the bank and of the process, and those of its admin.

use std::sync::Arc;

use grafter::bank::{TaskName, TaskRef, Version};
use serde::Serialize;

use super::Server;
use super::answers::{self, blocking};
use super::body::task_ref;
use super::catalog::{Resolved, TaskCard};
use super::error::{ErrorKind, HttpError};
use super::routes::Call;

/// `/health/live` and `/health/ready`.
#[derive(Debug, Serialize)]
pub struct Health {
    pub status: &'static str,
}

/// `/v1/tasks`.
#[derive(Debug, Serialize)]
pub struct Tasks {
    pub tasks: Vec<TaskCard>,
    /// Tasks whose versions cannot be read.
    pub broken: Vec<TaskName>,
}

/// `/v1/admin/reload`.
#[derive(Debug, Serialize)]
pub struct Reloaded {
    pub tasks: usize,
    /// Tasks of the list that cannot be read, and what lies among them and is none.
    pub broken: Vec<String>,
}

/// `/v1/admin/tasks/{name}/load`.
#[derive(Debug, Serialize)]
pub struct Loaded {
    pub task: TaskName,
    pub version: Version,
    pub bytes: u64,
}

/// `/v1/admin/tasks/{name}/unload`.
#[derive(Debug, Serialize)]
pub struct Unloaded {
    pub task: TaskName,
    /// Versions that were in memory.
    pub unloaded: Vec<Version>,
}

pub fn ready(server: &Server) -> Result<Health, HttpError> {
    if server.is_draining() {
        return Err(HttpError::new(ErrorKind::Draining, "the server is ending"));
    }
    Ok(Health { status: "ready" })
}

pub fn tasks(server: &Server) -> Tasks {
    let catalog = server.catalog();
    let tasks = catalog.tasks.values();
    Tasks {
        tasks: tasks.map(|task| task.card(server.is_loaded(&task.entry.newest().version))).collect(),
        broken: catalog.broken.keys().cloned().collect(),
    }
}

pub fn task(server: &Server, call: &Call) -> Result<TaskCard, HttpError> {
    let catalog = server.catalog();
    let asked = named(call)?;
    if asked.version.is_some() {
        return Err(HttpError::validation("expected the name of a task without a version"));
    }
    let task = catalog.task(&asked.name)?;
    Ok(task.card(server.is_loaded(&task.entry.newest().version)))
}

/// A list that cannot be read changes nothing.
pub async fn reload(server: &Arc<Server>, call: &mut Call) -> Result<Reloaded, HttpError> {
    call.nothing(&server.limits).await?;
    // One after another, and who waits takes no thread from those that answer rows.
    let turn = tokio::time::timeout_at(call.deadline.into(), Arc::clone(&server.reloading).lock_owned());
    let alone = turn.await.map_err(|_| answers::timeout(server))?;
    let here = Arc::clone(server);
    let broken = blocking(server, call.deadline, move || here.reload(alone)).await?.map_err(|error| {
        let message = format!("the list of tasks cannot be read, and the one before stays: {error}");
        HttpError::new(ErrorKind::BrokenTask, message).with_detail(error.to_string())
    })?;
    Ok(Reloaded { tasks: server.catalog().tasks.len(), broken })
}

/// An admin is told why a task is broken.
pub async fn load(server: &Arc<Server>, call: &mut Call) -> Result<Loaded, HttpError> {
    call.nothing(&server.limits).await?;
    let told = |error: HttpError| HttpError {
        message: error.detail.clone().unwrap_or_else(|| error.message.clone()),
        ..error
    };
    let task = resolved(server, call).map_err(told)?;
    let (here, asked) = (Arc::clone(server), task.clone());
    let loaded = blocking(server, call.deadline, move || answers::load(&here, &asked)).await?;
    let loaded = loaded.map_err(told)?;
    Ok(Loaded { task: task.task, version: task.version, bytes: loaded.bytes() })
}

/// All versions, or the one that is named. Requests that have them keep them.
pub async fn unload(server: &Arc<Server>, call: &mut Call) -> Result<Unloaded, HttpError> {
    call.nothing(&server.limits).await?;
    let asked = named(call)?;
    let catalog = server.catalog();
    let task = catalog.task(&asked.name)?;
    let versions = match asked.version {
        Some(_) => vec![task.entry.find(&asked)?.version.clone()],
        None => task.entry.versions.iter().map(|entry| entry.version.clone()).collect(),
    };
    let unloaded = versions.into_iter().filter(|version| server.cache.remove(version)).collect();
    Ok(Unloaded { task: asked.name, unloaded })
}

fn named(call: &Call) -> Result<TaskRef, HttpError> {
    // A route with a parameter has none only where it is not UTF-8.
    let name = call.name.as_deref().ok_or_else(|| HttpError::validation("the path is not UTF-8"))?;
    task_ref(name)
}

fn resolved(server: &Server, call: &Call) -> Result<Resolved, HttpError> {
    answers::resolve(&server.catalog(), &named(call)?)
}
