//! `grafter serve`, from outside: every route, what is refused, what happens under load and at the end. Each server listens
//! on a free port of 127.0.0.1 and ends with its test; every answer is held against the document that the server gives.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

#[path = "serve/bank.rs"]
mod bank;
#[path = "serve/browser.rs"]
mod browser;
#[path = "common/chromium.rs"]
mod chromium;
#[path = "serve/client.rs"]
mod client;
#[path = "serve/hostile.rs"]
mod hostile;
#[path = "serve/load.rs"]
mod load;
#[path = "serve/questions.rs"]
mod questions;
#[path = "serve/routes.rs"]
mod routes;
#[allow(dead_code, reason = "the tests read a part of it")]
#[path = "../src/serve/table.rs"]
mod table;
