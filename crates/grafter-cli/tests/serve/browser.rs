//! The pages in a browser. Skipped where no Chromium is found; `GRAFTER_REQUIRE_BROWSER=1` makes the absence a failure.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::bank;
use super::chromium::{WIDTHS, browser};
use super::client::{API_KEY, Server};

/// Labels that a page must not take for its own, and one that is wider than a phone.
fn hostile_rows() -> String {
    let labels = ["<img src=x onerror=\"document.title='owned'\">".to_owned(), "wide".repeat(60)];
    let rows = (0..4).map(|place| format!("text {place},\"{}\"\n", labels[place % 2].replace('"', "\"\"")));
    format!("text,label\n{}", rows.collect::<String>())
}

/// Uses the page in a frame of each width and writes down what can be measured there.
const DRIVE: &str = r##"
const until = async condition => { while (!condition()) await new Promise(done => setTimeout(done, 20)); };
const results = [];
for (const frame of document.querySelectorAll("iframe")) {
  const page = () => frame.contentDocument;
  await until(() => page().readyState === "complete" && page().getElementById("key-form"));
  await until(() => !page().getElementById("key-form").hidden || page().querySelector("article, section.panel"));
  const asked = !page().getElementById("key-form").hidden;
  if (asked) {
    page().getElementById("key").value = "KEY";
    page().getElementById("key-form").requestSubmit();
  }
  await until(() => page().querySelector("article, section.panel"));
  const result = { asked, width: frame.clientWidth };
  if (page().getElementById("form")) {
    page().getElementById("text").value = "<b>a good film</b>";
    page().getElementById("form").requestSubmit();
    await until(() => page().querySelector("#answers article"));
    result.answers = [...page().querySelectorAll("#answers h3")].map(title => title.textContent);
    result.bars = page().querySelectorAll("#answers .bar").length;
    result.status = page().getElementById("status").textContent;
    const pick = form => {
      page().getElementById("input-form").value = form;
      page().getElementById("input-form").dispatchEvent(new Event("change"));
      return [...page().querySelectorAll("#choices input")].map(box => box.value);
    };
    const told = async task => {
      page().getElementById("form").requestSubmit();
      await until(() => page().querySelector("#answers h3").textContent === task);
      return [...page().querySelectorAll("#answers article > :not(h3)")].map(part => part.textContent);
    };
    const forms = [...page().querySelectorAll("#input-form option")].map(option => option.value);
    if (forms.includes("choices")) {
      pick("choices");
      page().getElementById("text").value = "it was";
      page().getElementById("texts").value = "awful\n\nlovely\n";
      result.chosen = await told("tone");
      result.best = page().querySelector("#answers .best span").textContent;
      result.questions = pick("question");
      page().getElementById("text").value = "who";
      page().getElementById("text-b").value = "the cat was red";
      result.answered = await told("facts");
    }
    result.pairs = pick("pair");
    result.forms = forms;
    result.unlabelled = [...page().querySelectorAll("input, select, textarea")]
      .filter(field => !field.labels.length).length;
  }
  for (const folded of page().querySelectorAll("details")) folded.open = true;
  const root = page().documentElement;
  result.overflow = root.scrollWidth - root.clientWidth;
  result.title = page().title;
  result.cards = page().querySelectorAll("article, section.panel").length;
  result.images = page().images.length;
  result.background = frame.contentWindow.getComputedStyle(page().body).backgroundColor;
  results.push(result);
}
document.getElementById("result").textContent = JSON.stringify(results);
"##;

/// What a browser makes of an address.
fn dumped(browser: &str, profile: &Path, address: &str, scheme: u8) -> String {
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"])
        .args(["--disable-background-networking", "--disable-component-update", "--window-size=1400,1000"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .arg("--virtual-time-budget=20000")
        .arg(address)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A server between browser and server that has a page of its own, `/harness`, and takes the pages' policy away, which
/// forbids frames.
fn harness(server: SocketAddr, page: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let frames = WIDTHS.map(|width| {
        format!("<iframe style=\"border:0;width:{width}px;height:900px\" src=\"{page}\"></iframe>")
    });
    let script = format!("addEventListener('load', async () => {{{}}})", DRIVE.replace("KEY", API_KEY));
    let harness = format!(
        "<!DOCTYPE html><html style=\"color-scheme: light dark\"><meta charset=\"utf-8\"><body>{}<pre \
         id=\"result\"></pre><script>{script}</script></body></html>",
        frames.concat()
    );
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let harness = harness.clone();
            std::thread::spawn(move || pass_on(stream, server, &harness));
        }
    });
    address
}

fn pass_on(mut stream: TcpStream, server: SocketAddr, harness: &str) {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    let whole = |request: &[u8]| {
        let text = String::from_utf8_lossy(request).into_owned();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length = head
            .to_lowercase()
            .split("content-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse::<usize>().unwrap());
        (body.len() >= length).then_some(())
    };
    while whole(&request).is_none() {
        match stream.read(&mut piece) {
            Ok(read @ 1..) => request.extend(&piece[..read]),
            _ => return,
        }
    }
    let answer = if request.starts_with(b"GET /harness ") {
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n{harness}")
            .into_bytes()
    } else {
        let request = String::from_utf8(request).unwrap().replacen("\r\n", "\r\nConnection: close\r\n", 1);
        let request = request.replace("Connection: keep-alive\r\n", "");
        let mut inner = TcpStream::connect(server).unwrap();
        inner.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        inner.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap().replacen("content-security-policy:", "x-policy:", 1).into_bytes()
    };
    let _ = stream.write_all(&answer);
}

fn measured(browser: &str, server: &Server, page: &str, scheme: u8) -> Vec<Value> {
    let address = harness(server.address, page);
    let profile = server.path().join("profile");
    let dom = dumped(browser, &profile, &format!("http://{address}/harness"), scheme);
    let result = dom.split("<pre id=\"result\">").nth(1).and_then(|rest| rest.split("</pre>").next());
    let result = result.unwrap_or_default().replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&result).unwrap_or_else(|error| panic!("{error}: {result:?}\n{}", server.log()))
}

#[test]
fn a_browser_asks_the_tasks_at_every_width() {
    let Some(browser) = browser() else { return };
    let folder = bank::folder();
    bank::train(folder.path(), "hostile", &hostile_rows(), &[]);
    let server = Server::start_in(folder, &[], &[("GRAFTER_API_KEYS", API_KEY)]);
    let light = measured(browser, &server, "/", 1);
    let dark = measured(browser, &server, "/", 0);
    for measured in light.iter().chain(&dark) {
        assert_eq!(measured["asked"], true, "for the key: {measured}");
        assert_eq!(
            measured["answers"],
            serde_json::json!(["hostile", "reviews", "spam", "stars"]),
            "{measured}"
        );
        assert_eq!(measured["bars"], 6, "two labels of three tasks: {measured}");
        assert_eq!(measured["status"], "4 answers", "{measured}");
        assert_eq!(measured["pairs"], serde_json::json!(["alike"]), "{measured}");
        assert_eq!(measured["unlabelled"], 0, "{measured}");
        assert_eq!(measured["overflow"], 0, "it scrolls sideways: {measured}");
        assert_eq!((&measured["title"], &measured["images"]), (&"grafter".into(), &0.into()), "{measured}");
        assert_eq!(measured["cards"], 4 + 5, "{measured}");
    }
    let widths: Vec<u64> = light.iter().flat_map(|measured| measured["width"].as_u64()).collect();
    assert_eq!(widths, WIDTHS.map(u64::from));
    assert_ne!(light[0]["background"], dark[0]["background"], "dark is dark");
    for measured in measured(browser, &server, "/docs", 1) {
        assert_eq!((&measured["overflow"], &measured["cards"]), (&0.into(), &14.into()), "{measured}");
    }
}

/// Each kind of task is asked with what it reads.
#[test]
fn a_browser_asks_for_choices_and_answers() {
    let Some(browser) = browser() else { return };
    let folder = bank::folder();
    bank::add_choices_and_questions(folder.path());
    let server = Server::start_in(folder, &[], &[("GRAFTER_API_KEYS", API_KEY)]);
    for measured in measured(browser, &server, "/", 1) {
        assert_eq!(
            measured["forms"],
            serde_json::json!(["text", "pair", "choices", "question"]),
            "{measured}"
        );
        assert_eq!(measured["answers"], serde_json::json!(["reviews", "spam", "stars"]), "{measured}");
        assert_eq!(measured["chosen"].as_array().unwrap().len(), 2, "a bar for each choice: {measured}");
        assert_eq!(measured["best"], "lovely", "{measured}");
        assert_eq!(measured["questions"], serde_json::json!(["facts"]), "{measured}");
        assert_eq!(measured["answered"][0], "cat", "{measured}");
        assert_eq!(measured["pairs"], serde_json::json!(["alike"]), "{measured}");
        assert_eq!((&measured["unlabelled"], &measured["overflow"]), (&0.into(), &0.into()), "{measured}");
    }
}

#[test]
fn the_pages_run_under_their_own_policy() {
    let Some(browser) = browser() else { return };
    let server = Server::start(&[]);
    let page = dumped(browser, &server.path().join("profile"), &format!("http://{}/", server.address), 1);
    for task in ["alike", "reviews", "spam", "stars"] {
        assert!(page.contains(&format!("<h3>{task}</h3>")), "{page}");
    }
    let docs = dumped(browser, &server.path().join("profile"), &format!("http://{}/docs", server.address), 1);
    assert!(docs.contains("/v1/predict_many") && docs.contains("needs the admin key"), "{docs}");
}
