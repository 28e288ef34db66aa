//! The two pages: one to try the tasks, one that shows the description of the routes. Each is one file that loads nothing;
//! its script and its style are named by their digests in the content security policy, and nothing else may run.

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grafter::digest::sha256_hex;

use super::routes::Content;

/// The content type of the pages.
pub const CONTENT_TYPE: &str = "text/html; charset=utf-8";

const FRAME: &str = include_str!("page/frame.html");
const STYLE: &str = include_str!("page/style.css");
const COMMON: &str = include_str!("page/common.js");

/// What is of one page, in the frame of both.
struct Parts {
    title: &'static str,
    heading: &'static str,
    about: &'static str,
    link: &'static str,
    main: &'static str,
    script: &'static str,
}

/// The page to try the tasks.
pub fn page() -> Content {
    build(&Parts {
        title: "grafter",
        heading: "grafter",
        about: "all tasks of one bank",
        link: "<a href=\"/docs\">routes</a>",
        main: include_str!("page/page.html"),
        script: include_str!("page/page.js"),
    })
}

/// The description of the routes, for people.
pub fn docs() -> Content {
    build(&Parts {
        title: "grafter: routes",
        heading: "Routes",
        about: "",
        link: "<a href=\"/\">try the tasks</a>",
        main: include_str!("page/docs.html"),
        script: include_str!("page/docs.js"),
    })
}

fn build(parts: &Parts) -> Content {
    let script = format!("\"use strict\";\n{COMMON}{}", parts.script);
    let filled = [
        ("/*title*/", parts.title),
        ("/*heading*/", parts.heading),
        ("/*about*/", parts.about),
        ("/*link*/", parts.link),
        ("/*style*/", STYLE),
        ("/*main*/", parts.main.trim_end()),
        ("/*script*/", &script),
    ];
    let fill = |html: String, (place, content): (&str, &str)| html.replacen(place, content, 1);
    let html = filled.into_iter().fold(FRAME.to_owned(), fill);
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
