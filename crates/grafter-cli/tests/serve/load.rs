//! Many requests at once: what is answered, what is refused, and what is given up.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, OnceLock};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::bank::{self, SINGLE};
use super::client::{ADMIN_KEY, Server, read_answer};

const TEXTS: [&str; 6] = [
    "a good film",
    "win money now",
    "bad",
    "the actor was good and the music was bad",
    "send the letter",
    "a a a a a a",
];
const PAIRS: [[&str; 2]; 2] = [["a film", "a book"], ["music", "a letter and more"]];

/// A row of a request, and the task that it is for.
fn row(task: &str, text: usize) -> Value {
    if task == "alike" {
        let [text, text_b] = PAIRS[text % PAIRS.len()];
        json!({ "text": text, "text_b": text_b, "task": task })
    } else {
        json!({ "text": TEXTS[text], "task": task })
    }
}

#[test]
fn mixed_rows_are_answered_as_alone_whatever_is_loaded_and_unloaded() {
    let server = Server::start(&["--max-batch-tokens=64"]);
    let tasks = ["alike", SINGLE[0], SINGLE[1], SINGLE[2]];
    let ask = |rows: &[Value]| {
        let answer = server.post("/v1/predict", &json!({ "inputs": rows }));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["answers"].as_array().unwrap().clone()
    };
    let mut alone: BTreeMap<(usize, usize), Value> = BTreeMap::new();
    for (place, task) in tasks.iter().enumerate() {
        for text in 0..TEXTS.len() {
            alone.insert((place, text), ask(&[row(task, text)]).remove(0));
        }
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for path in [
                "/v1/admin/tasks/reviews/unload",
                "/v1/admin/reload",
                "/v1/admin/tasks/spam/unload",
                "/v1/admin/tasks/reviews/load",
                "/v1/admin/tasks/alike/unload",
                "/v1/admin/tasks/stars/unload",
            ]
            .iter()
            .cycle()
            {
                if done.load(Ordering::SeqCst) {
                    return;
                }
                assert_eq!(server.admin(path).status, 200);
            }
        });
        // Another client, so that batches hold rows of several requests.
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let rows: Vec<Value> =
                    (0..8).map(|place| row(tasks[place % 4], place % TEXTS.len())).collect();
                ask(&rows);
            }
        });
        let asked = prop::collection::vec((0..tasks.len(), 0..TEXTS.len()), 1..24);
        let mut runner =
            TestRunner::new(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() });
        let result = runner.run(&asked, |asked| {
            let rows: Vec<Value> = asked.iter().map(|(task, text)| row(tasks[*task], *text)).collect();
            let expected: Vec<&Value> = asked.iter().map(|place| &alone[place]).collect();
            let found = ask(&rows);
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), expected);
            Ok(())
        });
        done.store(true, Ordering::SeqCst);
        result.unwrap();
    });
    assert_eq!(server.metric("grafter_panics_total"), 0.0);
}

#[test]
fn a_new_version_comes_in_between_and_no_answer_is_of_neither() {
    let folder = bank::folder();
    let server = Server::start_in(folder, &[], &[]);
    let ask = || server.post("/v1/predict", &json!({ "task": "reviews", "inputs": TEXTS }));
    let before = ask().json();
    bank::add_version(server.path());
    let reloaded = AtomicBool::new(false);
    let found = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut found = BTreeSet::new();
            while !reloaded.load(Ordering::SeqCst) {
                found.insert(ask().json().to_string());
            }
            found
        });
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!(server.admin("/v1/admin/reload").status, 200);
        reloaded.store(true, Ordering::SeqCst);
        asking.join().unwrap()
    });
    let after = ask().json();
    assert_ne!(before, after);
    let known = BTreeSet::from([before.to_string(), after.to_string()]);
    assert!(found.is_subset(&known), "{found:?}");
}

/// Rows of a request that takes the server a while: short ones, which cost it more than what comes before and after.
const HEAVY_ROWS: usize = 8000;
/// Tokens of each.
const ROW_TOKENS: usize = 3;
/// What lets it in, computes each row alone, and takes no other while two such requests wait.
const HEAVY: [&str; 4] =
    ["--max-rows=8000", "--max-batch-tokens=1", "--threads=1", "--max-queue-tokens=30000"];

fn heavy() -> &'static Value {
    static BODY: OnceLock<Value> = OnceLock::new();
    BODY.get_or_init(|| json!({ "task": "reviews", "inputs": vec!["good"; HEAVY_ROWS] }))
}

/// Sends it on a connection of its own, and does not wait for the answer.
fn send_heavy(server: &Server) -> TcpStream {
    let body = heavy().to_string();
    let mut stream = server.connect();
    write!(
        stream,
        "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream
}

/// Two megabytes of text take a while, though few tokens of each are left in the end: the queue has room for all.
#[test]
fn texts_that_become_tokens_are_bounded_too() {
    let server = Server::start(&["--max-queue-tokens=1000000"]);
    let body = json!({ "task": "reviews", "inputs": vec!["good ".repeat(12_000); 33] });
    let statuses = std::sync::Mutex::new(BTreeMap::<u16, usize>::new());
    for _ in 0..20 {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let answer = server.post("/v1/predict", &body);
                    *statuses.lock().unwrap().entry(answer.status).or_default() += 1;
                });
            }
        });
        if statuses.lock().unwrap().contains_key(&429) {
            break;
        }
    }
    let statuses = statuses.into_inner().unwrap();
    assert!(statuses.contains_key(&429), "{statuses:?}");
    assert_eq!(server.post("/v1/predict", &json!({ "task": "reviews", "inputs": ["good"] })).status, 200);
}

#[test]
fn what_is_too_much_is_refused_and_everything_else_answered() {
    let server = Server::start(&HEAVY);
    let statuses = std::sync::Mutex::new(BTreeMap::<u16, usize>::new());
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..3 {
                    let answer = server.post("/v1/predict", heavy());
                    *statuses.lock().unwrap().entry(answer.status).or_default() += 1;
                    match answer.status {
                        200 => assert_eq!(answer.json()["answers"].as_array().unwrap().len(), HEAVY_ROWS),
                        429 => {
                            assert_eq!(answer.error_type(), "Overloaded");
                            let seconds: u64 = answer.headers["retry-after"].parse().unwrap();
                            assert!((1..=60).contains(&seconds), "{seconds}");
                        }
                        other => panic!("{other}: {}", answer.text()),
                    }
                }
            });
        }
    });
    let statuses = statuses.into_inner().unwrap();
    assert!(statuses.keys().eq([200, 429].iter()), "{statuses:?}");
    assert_eq!(server.metric("grafter_queue_tokens"), 0.0);
    // Two labels a row: fifty rows fit, and one more does not.
    let few = Server::start(&["--max-answer-numbers=100"]);
    let ask =
        |rows: usize| few.post("/v1/predict", &json!({ "task": "reviews", "inputs": vec!["good"; rows] }));
    assert_eq!(ask(50).status, 200);
    assert_eq!((ask(51).status, ask(51).error_type().as_str()), (413, "TooLarge"));
    // What would never fit is told as such, and not asked to come again.
    let small = Server::start(&["--max-request-tokens=100"]);
    let answer = small.post("/v1/predict", &json!({ "task": "reviews", "inputs": vec!["a good film"; 50] }));
    assert_eq!((answer.status, answer.error_type().as_str()), (413, "TooLarge"));
    assert_eq!(
        small.post("/v1/predict", &json!({ "task": "reviews", "inputs": ["a good film"] })).status,
        200
    );
}

#[test]
fn who_waits_too_long_is_told_and_the_rows_are_dropped() {
    let server = Server::start(&[&HEAVY[..], &["--timeout=0.15"]].concat());
    let _ = server.admin("/v1/admin/tasks/reviews/load");
    let dropped = || server.metric("grafter_rows_gone_total") + server.metric("grafter_rows_expired_total");
    // Where the time is over before the rows are in the queue, once more.
    server.until("rows are dropped", |server| {
        let late = server.post("/v1/predict", heavy());
        assert!([200, 503].contains(&late.status), "{}", late.text());
        assert!(late.status == 200 || late.error_type() == "Timeout", "{}", late.text());
        dropped() > 0.0
    });
    server.until("the queue empties", |server| server.metric("grafter_queue_tokens") == 0.0);
    assert_eq!(server.post("/v1/predict", &json!({ "task": "reviews", "inputs": ["good"] })).status, 200);
}

#[test]
fn who_goes_away_frees_the_place() {
    let server = Server::start(&HEAVY);
    let _ = server.admin("/v1/admin/tasks/reviews/load");
    let stream = send_heavy(&server);
    server.until("the rows wait", |server| server.metric("grafter_queue_tokens") > 0.0);
    drop(stream);
    server.until("they do not", |server| server.metric("grafter_queue_tokens") == 0.0);
    assert!(server.metric("grafter_rows_gone_total") > 0.0);
    // Each row was either computed or dropped; one may still be under way.
    server.until("all are accounted for", |server| {
        let computed = server.metric("grafter_tokens_total") / ROW_TOKENS as f64;
        computed + server.metric("grafter_rows_gone_total") == HEAVY_ROWS as f64
    });
    server.until("the log tells of it", |server| server.log().contains("status=499"));
}

#[test]
fn a_row_longer_than_a_batch_is_computed_alone() {
    let server = Server::start(&["--max-batch-tokens=4"]);
    let body =
        json!({ "task": "reviews", "inputs": ["good film ".repeat(40), "a", "bad music ".repeat(40)] });
    let answers = server.post("/v1/predict", &body);
    assert_eq!(answers.status, 200);
    let one_by_one = Server::start(&[]).post("/v1/predict", &body);
    assert_eq!(answers.json(), one_by_one.json());
}

#[test]
fn adapters_stay_within_their_limit() {
    let all = Server::start(&[]);
    let bytes =
        |task: &str| all.admin(&format!("/v1/admin/tasks/{task}/load")).json()["bytes"].as_u64().unwrap();
    let (reviews, spam, stars) = (bytes("reviews"), bytes("spam"), bytes("stars"));
    assert_eq!(all.metric("grafter_adapter_bytes"), (reviews + spam + stars) as f64);
    let limit = reviews + spam.max(stars);
    let limited = Server::start(&[&format!("--max-adapters-bytes={limit}")]);
    let ask =
        |task: &str| limited.post("/v1/predict", &json!({ "task": task, "inputs": ["a good film"] })).status;
    let loaded = |task: &str| limited.get(&format!("/v1/tasks/{task}")).json()["loaded"] == true;
    for task in ["reviews", "spam", "reviews", "stars"] {
        assert_eq!(ask(task), 200);
        assert!(limited.metric("grafter_adapter_bytes") <= limit as f64);
    }
    assert_eq!(
        (loaded("reviews"), loaded("spam"), loaded("stars")),
        (true, false, true),
        "the longest unused went"
    );
    assert_eq!(limited.metric("grafter_adapter_evictions_total"), 1.0);
    // One request cannot have more than fits.
    let rows: Vec<Value> = SINGLE.iter().map(|task| row(task, 0)).collect();
    let refused = limited.post("/v1/predict", &json!({ "inputs": rows }));
    assert_eq!((refused.status, refused.error_type().as_str()), (413, "TooLarge"));
    assert_eq!(refused.headers.get("retry-after"), None, "it would never be answered");
    assert!(limited.metric("grafter_adapter_bytes") <= limit as f64);
    assert_eq!(ask("spam"), 200);
    // Many who ask for the same one read it once.
    let cold = Server::start(&[]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let answer = cold.post("/v1/predict", &json!({ "task": "reviews", "inputs": ["a"] }));
                assert_eq!(answer.status, 200);
            });
        }
    });
    assert_eq!(cold.metric("grafter_adapter_loads_total"), 1.0);
    let none = Server::start(&["--max-adapters-bytes=1000"]);
    let refused = none.post("/v1/predict", &json!({ "task": "reviews", "inputs": ["a"] }));
    assert_eq!((refused.status, refused.error_type().as_str()), (413, "TooLarge"));
}

#[test]
fn the_end_waits_for_what_was_accepted() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start(&[&HEAVY[..], &["--drain-delay=1.5"]].concat());
        let _ = server.admin("/v1/admin/tasks/reviews/load");
        let mut stream = send_heavy(&server);
        server.until("the rows wait", |server| server.metric("grafter_queue_tokens") > 0.0);
        server.signal(signal);
        // Whoever sends requests here is told, as long as connections are accepted.
        server.until("it is told", |server| {
            let ready = server.get("/health/ready");
            ready.status == 503 && ready.error_type() == "Draining"
        });
        let answer = read_answer(&mut stream).expect("an answer");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["answers"].as_array().unwrap().len(), HEAVY_ROWS);
        assert_eq!(server.wait().code(), Some(0), "{}", server.log());
        assert!(std::net::TcpStream::connect(server.address).is_err());
    }
}

#[test]
fn the_end_does_not_wait_for_ever() {
    let mut server = Server::start(&["--grace=0.2", "--body-timeout=60"]);
    let mut stream = server.connect();
    stream.write_all(b"POST /v1/admin/reload HTTP/1.1\r\nHost: localhost\r\n").unwrap();
    write!(stream, "Authorization: Bearer {ADMIN_KEY}\r\nContent-Length: 5\r\n\r\n").unwrap();
    // A connection that says nothing holds up nobody either.
    let _silent = server.connect();
    server.until("it is accepted", |server| server.metric("grafter_connections") >= 2.0);
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(1), "{}", server.log());
    assert!(server.log().contains("not all requests were answered"), "{}", server.log());
}
