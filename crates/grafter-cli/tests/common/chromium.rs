//! The browser of the tests that look at pages.

use std::process::{Command, Stdio};

/// Widths of windows in pixels: small and usual phones, a tablet, a desk.
pub const WIDTHS: [u32; 4] = [320, 390, 820, 1280];

/// Chromium under one of its names; none where a test may be skipped for want of it.
pub fn browser() -> Option<&'static str> {
    let found = ["chromium", "chromium-browser", "google-chrome", "chrome"].into_iter().find(|name| {
        let version =
            Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    });
    if found.is_none() {
        assert_ne!(std::env::var("GRAFTER_REQUIRE_BROWSER").as_deref(), Ok("1"), "no Chromium was found");
        eprintln!("skipped: no Chromium was found");
    }
    found
}
