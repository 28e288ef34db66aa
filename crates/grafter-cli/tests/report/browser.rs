//! How a browser shows the pages: at several widths, light and dark.
//!
//! Skipped where no Chromium is found; `GRAFTER_REQUIRE_BROWSER=1` makes the absence a failure.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::Place;
use super::chromium::{WIDTHS, browser};

/// Ratios of luminance below which text and marks cannot be told from what is behind them (WCAG 2.2, 1.4.3 and 1.4.11).
const TEXT_CONTRAST: f64 = 4.5;
const MARK_CONTRAST: f64 = 3.0;

/// Shows a page in a frame of each width and writes down what can be measured there.
const MEASURE: &str = include_str!("measure.js");

/// A page as a browser shows it: for each width what was measured, in a light and in a dark scheme.
struct Shown {
    light: Vec<Value>,
    dark: Vec<Value>,
}

impl Shown {
    fn new(browser: &str, place: &Place, page: &str) -> Self {
        let [light, dark] = [1, 0].map(|scheme| measured(browser, place, page, scheme));
        Self { light, dark }
    }

    fn all(&self) -> impl Iterator<Item = &Value> {
        self.light.iter().chain(&self.dark)
    }

    /// What holds for every page.
    fn is_readable(&self) {
        for measured in self.all() {
            let number = |name: &str| measured[name].as_f64().unwrap();
            assert_eq!(measured["overflow"], 0, "it scrolls sideways: {measured}");
            assert_eq!(measured["loaded"], json!([]), "{measured}");
            assert_eq!(measured["scripts"], 0, "{measured}");
            assert_eq!(measured["touching"], json!([]), "{measured}");
            assert!(number("smallest") >= 10.0, "letters are too small: {measured}");
            assert!(measured["text"][0].as_f64().unwrap() >= TEXT_CONTRAST, "pale text: {measured}");
            assert!(measured["mark"][0].as_f64().unwrap() >= MARK_CONTRAST, "pale marks: {measured}");
            let charts = measured["charts"].as_array().unwrap();
            assert!(charts.iter().all(|marks| marks.as_u64() >= Some(1)), "an empty figure: {measured}");
        }
        let widths: Vec<u64> = self.light.iter().flat_map(|measured| measured["width"].as_u64()).collect();
        assert_eq!(widths, WIDTHS.map(u64::from));
        assert_ne!(self.light[0]["background"], self.dark[0]["background"], "dark is dark");
    }

    /// Its title, the headings of its sections, and how many charts are seen at a time.
    fn has(&self, title: &str, sections: &[&str], charts: usize) {
        for measured in self.all() {
            assert_eq!((&measured["title"], &measured["sections"]), (&title.into(), &json!(sections)));
            assert_eq!(measured["charts"].as_array().unwrap().len(), charts, "{measured}");
        }
    }

    /// Nothing that the program itself writes is cut, and a desk shows each table as a whole.
    fn is_whole(&self) {
        for measured in self.all() {
            assert_eq!(measured["cut"], json!([]), "{measured}");
            let wide = measured["width"].as_u64() >= Some(1280);
            assert!(!wide || measured["scrolling"] == json!([]), "a table is too wide: {measured}");
        }
    }
}

/// What a browser measures of a page in a light (1) or a dark (0) scheme.
fn measured(browser: &str, place: &Place, page: &str, scheme: u8) -> Vec<Value> {
    let quoted = page.replace('&', "&amp;").replace('"', "&quot;");
    let frames: String = WIDTHS
        .map(|width| {
            format!("<iframe style=\"border:0;width:{width}px;height:900px\" srcdoc=\"{quoted}\"></iframe>")
        })
        .concat();
    let script = format!("addEventListener('load', () => {{{MEASURE}}})");
    let harness = format!(
        "<!DOCTYPE html><html style=\"color-scheme: light dark\"><meta charset=\"utf-8\"><body>{frames}\
         <pre id=\"result\"></pre><script>{script}</script></body></html>"
    );
    serde_json::from_value(result(browser, place, &harness, scheme)).unwrap()
}

/// What the script of a page writes into its element `result`.
fn result(browser: &str, place: &Place, page: &str, scheme: u8) -> Value {
    place.write("harness.html", page);
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"])
        .args(["--disable-background-networking", "--disable-component-update", "--window-size=1400,1000"])
        .arg("--enable-logging=stderr")
        .arg(format!("--user-data-dir={}", place.path("profile").display()))
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .arg("--virtual-time-budget=20000")
        .arg(format!("file://{}", place.path("harness.html").display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let console: Vec<&str> = told.lines().filter(|line| line.contains(":CONSOLE")).collect();
    assert!(console.is_empty(), "{console:?}");
    let dom = String::from_utf8_lossy(&output.stdout);
    let result = dom.split("<pre id=\"result\">").nth(1).and_then(|rest| rest.split("</pre>").next());
    let result = result.unwrap_or_default().replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&result).unwrap_or_else(|error| panic!("{error}: {result:?}\n{told}"))
}

#[test]
fn the_report_of_a_run_is_shown_at_every_width() {
    let Some(browser) = browser() else { return };
    let place = Place::new();
    place.train("adapter", &["--eval-every=5"]);
    let shown = Shown::new(browser, &place, &place.read("adapter/report.html"));
    shown.is_readable();
    let sections = ["Summary", "Curves", "Scores", "Confusions", "Worst mistakes", "The run"];
    // Two curves, two folded ones, the matrix.
    shown.has("Training report", &sections, 5);
}

/// A folder of rows whose sentiment is told by a word, wrongly in every eighth, so that methods differ.
fn write_task(place: &Place, task: &str, splits: &[&str]) {
    let row = |place: usize| {
        let (good, noun) = (place.is_multiple_of(2), ["film", "story", "actor", "music"][place / 2 % 4]);
        let word = if good == (place % 8 != 7) { "good" } else { "bad" };
        format!("a {word} {noun}\t{}\n", u8::from(good))
    };
    let rows = (0..24).map(row).fold("text\tlabel\n".to_owned(), |rows, row| rows + &row);
    std::fs::create_dir(place.path(task)).unwrap();
    splits.iter().for_each(|split| place.write(&format!("{task}/{split}.tsv"), &rows));
}

#[test]
fn the_report_of_a_comparison_is_shown_at_every_width() {
    let Some(browser) = browser() else { return };
    let place = Place::new();
    // The second task has no test rows, and a name that is wider than a phone.
    let long = "a-task-whose-name-is-longer-than-a-phone-is-wide";
    write_task(&place, "opinions", &["train", "dev", "test"]);
    write_task(&place, long, &["train", "dev"]);
    let tasks = ["--task=opinions=opinions", &format!("--task={long}={long}"), "--seed=1,2"];
    let grid = ["--bottleneck=4,16", "--lr=0.001,0.02", "--init-std=0.0001,0.01,1"];
    let methods = "--method=houlsby,pfeiffer,full,top-1,layernorm,bias,head";
    let short = ["--epochs=2", "--batch-size=4", "--max-length=32", methods];
    place.run(&[&["compare", "--out=out"], &tasks[..], &grid, &short].concat());
    let shown = Shown::new(browser, &place, &place.read("out/report.html"));
    shown.is_readable();
    shown.is_whole();
    let sections = ["All tasks", "opinions: accuracy", &format!("{long}: accuracy"), "How to read this"];
    // The means, and for each task the scores by trained numbers, by learning rate and by first weights.
    shown.has("Methods compared", &sections, 1 + 2 * 3);
}

/// A browser shows nothing of an SVG file that is not well-formed, and what no style reaches is black.
#[test]
fn figures_are_images_of_their_own() {
    let Some(browser) = browser() else { return };
    let place = Place::new();
    place.train("adapter", &[]);
    place.run(&["ablate", "--adapter=adapter", "--data=dev.tsv", "--report=map.svg"]);
    write_task(&place, "opinions", &["train", "dev"]);
    let short = ["--epochs=2", "--batch-size=4", "--max-length=32", "--method=houlsby,head"];
    let grid = ["--task=opinions=opinions", "--seed=1,2", "--bottleneck=4,16"];
    place.run(&[&["compare", "--out=out"], &grid[..], &short].concat());
    for file in ["map.svg", "out/figures/opinions.trained-numbers.svg"] {
        let figure = place.read(file);
        let page = format!(
            "<!DOCTYPE html><meta charset=\"utf-8\"><img src=\"{file}\">{figure}<pre id=\"result\"></pre><script>
            addEventListener('load', () => {{
                const image = document.querySelector('img');
                const drawn = [...document.querySelectorAll('svg text, svg rect, svg .dot')];
                document.getElementById('result').textContent = JSON.stringify({{
                    size: [image.naturalWidth, image.naturalHeight],
                    fills: drawn.map(mark => getComputedStyle(mark).fill),
                }});
            }})</script>"
        );
        let shown = result(browser, &place, &page, 1);
        let size = shown["size"].as_array().unwrap();
        assert!(size.iter().all(|pixels| pixels.as_u64() > Some(100)), "{file}: {shown}");
        let fills = shown["fills"].as_array().unwrap();
        assert!(fills.len() > 10 && !fills.contains(&"rgb(0, 0, 0)".into()), "{file}: {shown}");
    }
}

#[test]
fn the_page_of_an_ablation_is_shown_at_every_width() {
    let Some(browser) = browser() else { return };
    let place = Place::new();
    place.train("adapter", &[]);
    place.run(&["ablate", "--adapter=adapter", "--data=dev.tsv", "--report=page.html"]);
    let shown = Shown::new(browser, &place, &place.read("page.html"));
    shown.is_readable();
    shown.is_whole();
    shown.has("What each layer's adapters are worth", &["Scores without some layers"], 1);
}
