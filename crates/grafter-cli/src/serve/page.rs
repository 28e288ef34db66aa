//! The two pages: one to try the tasks, one that shows the description of the routes. Each is one file that loads nothing;
//! its script and its style are named by their digests in the content security policy, and nothing else may run.

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grafter::digest::sha256_hex;

use super::routes::Content;

/// The content type of the pages.
pub const CONTENT_TYPE: &str = "text/html; charset=utf-8";

const STYLE: &str = include_str!("page/style.css");
const COMMON: &str = include_str!("page/common.js");

/// The page to try the tasks.
pub fn page() -> Content {
    build(include_str!("page/page.html"), include_str!("page/page.js"))
}

/// The description of the routes, for people.
pub fn docs() -> Content {
    build(include_str!("page/docs.html"), include_str!("page/docs.js"))
}

fn build(template: &str, script: &str) -> Content {
    let script = format!("\"use strict\";\n{COMMON}{script}");
    let html = template.replacen("/*style*/", STYLE, 1).replacen("/*script*/", &script, 1);
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        source(&script),
        source(STYLE)
    );
    Content { content_type: CONTENT_TYPE, body: html.into(), policy: Some(policy), status: StatusCode::OK }
}

/// A source expression of a content security policy: CSP level 3, section 2.3.1.
fn source(content: &str) -> String {
    let digest = sha256_hex(content.as_bytes());
    let bytes: Vec<u8> = digest
        .as_bytes()
        .chunks_exact(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    format!("sha256-{}", STANDARD.encode(bytes))
}
