//! Every route: what it answers, to whom, and that the documents tell of it.

use serde_json::{Value, json};

use super::bank::{self, SINGLE, grafter};
use super::client::{ADMIN_KEY, API_KEY, Answer, Server};
use super::table::{Access, ROUTES};

/// A few roundings of a quotient of doubles and of its logarithm.
const LOGARITHM: f64 = 1e-12;

/// The answers of `grafter predict` to texts, by a task.
fn predicted(server: &Server, task: &str, texts: &[&str]) -> Vec<Value> {
    std::fs::write(server.path().join("texts.txt"), texts.join("\n")).unwrap();
    let lines = grafter(server.path(), &["predict", "--bank=bank", "--tasks", task, "--input=texts.txt"]);
    lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()[task].clone()).collect()
}

/// An answer without what the server adds to it.
fn bare(answer: &Value) -> Value {
    let mut answer = answer.clone();
    for added in ["task", "version"] {
        assert!(answer.as_object_mut().unwrap().shift_remove(added).is_some(), "{answer}");
    }
    answer
}

fn version(server: &Server, task: &str) -> String {
    server.get(&format!("/v1/tasks/{task}")).json()["version"].as_str().unwrap().to_owned()
}

#[test]
fn rows_are_answered_as_predict_answers_them() {
    let server = Server::start(&[]);
    let texts = ["a good film", "win money", "caf\u{e9} \"x\" \\ \u{1f600}"];
    for task in SINGLE {
        let answer = server.post("/v1/predict", &json!({ "task": task, "inputs": texts }));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answers = answer.json()["answers"].as_array().unwrap().clone();
        let found: Vec<Value> = answers.iter().map(bare).collect();
        assert_eq!(found, predicted(&server, task, &texts), "{task}");
        assert!(answers.iter().all(|answer| answer["task"] == task));
        assert!(answers.iter().all(|answer| answer["version"] == version(&server, task)));
    }
    // A row names its own task, by version too; a pair comes in two forms.
    let digits = version(&server, "spam")[..10].to_owned();
    let body = json!({ "task": "reviews", "inputs": [
        "a good film",
        { "text": "a good film", "task": format!("spam@{digits}") },
        { "text": "a film", "text_b": "a book", "task": "alike" },
    ] });
    let answers = server.post("/v1/predict", &body).json()["answers"].clone();
    let tasks: Vec<&str> = (0..3).map(|row| answers[row]["task"].as_str().unwrap()).collect();
    assert_eq!(tasks, ["reviews", "spam", "alike"]);
    assert_eq!(bare(&answers[1]), predicted(&server, "spam", &["a good film"])[0]);
    let pair = server.post("/v1/predict", &json!({ "task": "alike", "inputs": [["a film", "a book"]] }));
    assert_eq!(pair.json()["answers"][0], answers[2]);
}

#[test]
fn one_row_is_answered_by_many_tasks() {
    let server = Server::start(&[]);
    // Longer than `spam` takes, and not than the others do.
    let text = "win a good film and the music was bad ".repeat(2);
    let all = server.post("/v1/predict_many", &json!({ "input": text })).json()["answers"].clone();
    let tasks: Vec<&str> =
        all.as_array().unwrap().iter().map(|answer| answer["task"].as_str().unwrap()).collect();
    assert_eq!(tasks, ["alike", "reviews", "spam", "stars"]);
    assert_eq!(all[0]["error_type"], "Validation");
    assert_eq!(all[0]["error"], "expected a pair, found one text");
    for (place, task) in SINGLE.iter().enumerate() {
        assert_eq!(bare(&all[place + 1]), predicted(&server, task, &[text.trim()])[0]);
    }
    let some = server.post("/v1/predict_many", &json!({ "input": ["a film", "a film"], "tasks": ["alike"] }));
    assert!(some.json()["answers"][0]["label"].is_string(), "{}", some.text());
    for (body, status, error_type) in [
        (json!({ "input": "a", "tasks": [] }), 400, "Empty"),
        (json!({ "input": " ", "tasks": ["spam"] }), 400, "Empty"),
        (json!({ "input": "a", "tasks": ["nowhere"] }), 404, "UnknownTask"),
        (json!({ "input": { "text": "a", "task": "spam" } }), 400, "Validation"),
    ] {
        let refused = server.post("/v1/predict_many", &body);
        assert_eq!((refused.status, refused.error_type().as_str()), (status, error_type), "{body}");
    }
}

/// With all labels that are probable enough, and all probabilities to clients of text-embeddings-inference.
#[test]
fn several_labels_are_answered() {
    let folder = bank::folder();
    bank::add_several_labels(folder.path());
    let server = Server::start_in(folder, &[], &[]);
    let expected = predicted(&server, "topics", &["a good film"])[0].clone();
    assert!(expected["labels"].is_array() && expected["label"].is_null(), "{expected}");
    let body = json!({ "task": "topics", "inputs": ["a good film"] });
    assert_eq!(bare(&server.post("/v1/predict", &body).json()["answers"][0]), expected);
    let told = server.post("/predict", &json!({ "inputs": "a good film", "model": "topics" })).json();
    assert_eq!(told.as_array().unwrap().len(), 2);
    for score in told.as_array().unwrap() {
        assert_eq!(score["score"], expected["probabilities"][score["label"].as_str().unwrap()]);
    }
    let card = server.get("/v1/tasks").json()["tasks"].as_array().unwrap().clone();
    let topics = card.iter().find(|task| task["kind"] == "multi-label").unwrap();
    assert_eq!(topics["thresholds"], json!([0.5, 0.5]), "{card:?}");
    assert!(card.iter().all(|task| task["name"] == "topics" || task["thresholds"].is_null()), "{card:?}");
}

/// As a text and as words, and refused to clients of text-embeddings-inference.
#[test]
fn entities_are_answered() {
    let folder = bank::folder();
    bank::add_entities(folder.path());
    let server = Server::start_in(folder, &[], &[]);
    let expected = predicted(&server, "names", &["she london berlin was"])[0].clone();
    assert_eq!(expected["entities"][0]["text"], "london berlin", "{expected}");
    let body = json!({ "task": "names", "inputs": ["she london berlin was", { "words": ["she", "london", "berlin", "was"] }] });
    let mut answers = server.post("/v1/predict", &body).json()["answers"].clone();
    assert_eq!(bare(&answers[0]), expected);
    let words = answers[1]["entities"][0].as_object_mut().unwrap().shift_remove("words");
    assert_eq!((words, bare(&answers[1])), (Some(json!([1, 3])), expected));
    // Words are a text to other tasks.
    let body = json!({ "task": "reviews", "inputs": ["a good film", { "words": ["a", "good", "film"] }] });
    let answers = server.post("/v1/predict", &body).json()["answers"].clone();
    assert_eq!(answers[0], answers[1]);
    for (input, error) in [
        (json!({ "words": ["a"], "text": "a" }), "`words` stand in place of `text`, `text_b` and `choices`"),
        (json!({ "words": ["a", " "] }), "expected words, found an empty one in place 1"),
        (json!({ "words": [] }), "expected a text, found an empty one"),
    ] {
        let refused = server.post("/v1/predict", &json!({ "task": "names", "inputs": [input] }));
        let told = refused.json()["error"].as_str().unwrap().to_owned();
        assert!(refused.status == 400 && told.contains(error), "{told}");
    }
    let refused = server.post("/predict", &json!({ "inputs": "a", "model": "names" }));
    assert_eq!((refused.status, refused.error_type().as_str()), (400, "Validation"));
    assert!(
        refused.json()["error"].as_str().unwrap().contains("of the kind entities"),
        "{:?}",
        refused.json()
    );
}

#[test]
fn clients_of_text_embeddings_inference_are_answered() {
    let server = Server::start(&["--default-task=reviews"]);
    let probabilities = |text: &str| predicted(&server, "reviews", &[text])[0]["probabilities"].clone();
    let check = |scores: &Value, text: &str| {
        let scores = scores.as_array().unwrap();
        assert_eq!(scores.len(), 2);
        let expected = probabilities(text);
        for score in scores {
            assert_eq!(score["score"], expected[score["label"].as_str().unwrap()], "{score}");
        }
        assert!(scores[0]["score"].as_f64().unwrap() >= scores[1]["score"].as_f64().unwrap());
    };
    check(&server.post("/predict", &json!({ "inputs": "a good film" })).json(), "a good film");
    check(&server.post("/predict", &json!({ "inputs": ["a good film"] })).json(), "a good film");
    let batch = json!({ "inputs": [["a good film"], ["bad music"]], "truncate": true, "raw_scores": false,
        "truncation_direction": "Right" });
    let batch = server.post("/predict", &batch).json();
    check(&batch[0], "a good film");
    check(&batch[1], "bad music");
    // Two texts are one pair, and a batch may hold pairs.
    let pair = server.post("/predict", &json!({ "inputs": ["a film", "a book"], "model": "alike" })).json();
    let pairs =
        server.post("/predict", &json!({ "inputs": [["a film", "a book"]], "model": "alike" })).json();
    assert_eq!((pairs[0].clone(), pair.as_array().unwrap().len()), (pair, 2));
    let mixed = server.post("/predict", &json!({ "inputs": [["a"], ["a", "b"]] }));
    assert_eq!((mixed.status, mixed.error_type().as_str()), (400, "Validation"));
    assert_eq!(mixed.json()["error"], "`inputs[1]`: expected one text, found a pair");
    // Logits: their difference is that of the logarithms of the probabilities.
    let raw = server.post("/predict", &json!({ "inputs": "a good film", "raw_scores": true })).json();
    let told = server.post("/predict", &json!({ "inputs": "a good film" })).json();
    let score = |scores: &Value, row: usize| scores[row]["score"].as_f64().unwrap();
    // A logit is told in the fewest digits that give its f32 back.
    let logit = |row: usize| f64::from(score(&raw, row) as f32);
    let (difference, expected) = (logit(0) - logit(1), (score(&told, 0) / score(&told, 1)).ln());
    assert!((difference - expected).abs() <= LOGARITHM * expected.abs().max(1.0), "{difference} {expected}");
    let stars = server.post("/predict", &json!({ "inputs": "a good film", "model": "stars" })).json();
    assert_eq!(stars[0]["score"], predicted(&server, "stars", &["a good film"])[0]["score"]);
    let long = "good ".repeat(100);
    assert_eq!(server.post("/predict", &json!({ "inputs": long })).status, 200);
    let uncut = server.post("/predict", &json!({ "inputs": long, "truncate": false }));
    assert_eq!((uncut.status, uncut.error_type().as_str()), (413, "TooLarge"));
    assert_eq!(uncut.json()["error"], "`inputs[0]`: it has more than 32 tokens, and is not to be cut");
    for inputs in
        [json!([]), json!([[]]), json!([["a", "b", "c"]]), json!(["a", "b", "c"]), json!(7), json!(null)]
    {
        assert_eq!(server.post("/predict", &json!({ "inputs": inputs })).status, 400, "{inputs}");
    }
    let left = json!({ "inputs": "a", "truncation_direction": "Left" });
    assert_eq!(server.post("/predict", &left).status, 400);
    // Which task, where there are several and none is the default?
    let server = Server::start(&[]);
    let unnamed = server.post("/predict", &json!({ "inputs": "a" }));
    assert_eq!((unnamed.status, unnamed.error_type().as_str()), (400, "Validation"));
}

#[test]
fn tasks_are_described() {
    let server = Server::start(&[]);
    let tasks = server.get("/v1/tasks").json()["tasks"].as_array().unwrap().clone();
    let names: Vec<&str> = tasks.iter().map(|task| task["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["alike", "reviews", "spam", "stars"]);
    let reviews = server.get("/v1/tasks/reviews").json();
    assert_eq!(reviews, tasks[1]);
    assert_eq!(reviews["labels"], json!(["0", "1"]));
    assert_eq!((&reviews["pair"], &reviews["max_length"]), (&json!(false), &json!(32)));
    let listed: Value = serde_json::from_str(&grafter_list(&server)).unwrap();
    assert_eq!(reviews["version"], listed["tasks"][1]["version"]);
    assert_eq!(reviews["dev_score"], listed["tasks"][1]["dev_score"]);
    for (name, status, error_type) in [
        ("nowhere", 404, "UnknownTask"),
        ("..%2F..%2Fbank.json", 400, "Validation"),
        ("%2e%2e", 400, "Validation"),
        ("%ff", 400, "Validation"),
        ("Reviews", 400, "Validation"),
        ("reviews%00", 400, "Validation"),
    ] {
        let refused = server.get(&format!("/v1/tasks/{name}"));
        assert_eq!((refused.status, refused.error_type().as_str()), (status, error_type), "{name}");
    }
}

fn grafter_list(server: &Server) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_grafter"))
        .args(["bank", "list", "bank", "--json"])
        .current_dir(server.path())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_admin_reloads_loads_and_unloads() {
    let server = Server::start(&[]);
    let first = version(&server, "reviews");
    let loaded = server.admin("/v1/admin/tasks/reviews/load").json();
    assert_eq!((&loaded["version"], loaded["bytes"].as_u64() > Some(0)), (&json!(first), true));
    assert_eq!(server.get("/v1/tasks/reviews").json()["loaded"], true);
    assert_eq!(server.admin("/v1/admin/tasks/reviews/unload").json()["unloaded"], json!([first]));
    assert_eq!(server.admin("/v1/admin/tasks/reviews/unload").json()["unloaded"], json!([]));
    assert_eq!(server.get("/v1/tasks/reviews").json()["loaded"], false);
    assert_eq!(server.metric("grafter_adapter_bytes"), 0.0);
    // A new version is what the name means after a reload, and not before.
    bank::add_version(server.path());
    assert_eq!(version(&server, "reviews"), first);
    assert_eq!(server.admin("/v1/admin/reload").json(), json!({ "tasks": 4, "broken": [] }));
    let second = version(&server, "reviews");
    assert_ne!(first, second);
    let old = format!("reviews@{}", &first[..12]);
    let body = json!({ "inputs": [{ "text": "a", "task": "reviews" }, { "text": "a", "task": old }] });
    let answers = server.post("/v1/predict", &body).json()["answers"].clone();
    assert_eq!((&answers[0]["version"], &answers[1]["version"]), (&json!(second), &json!(first)));
    assert_eq!(server.admin(&format!("/v1/admin/tasks/{old}/unload")).json()["unloaded"], json!([first]));
    // What is no task is told, and stands in no other's way.
    std::fs::create_dir(server.path().join("bank/tasks/No Task")).unwrap();
    assert_eq!(server.admin("/v1/admin/reload").json(), json!({ "tasks": 4, "broken": ["No Task"] }));
    std::fs::remove_dir(server.path().join("bank/tasks/No Task")).unwrap();
    // A list that cannot be read changes nothing.
    let (tasks, aside) = (server.path().join("bank/tasks"), server.path().join("aside"));
    std::fs::rename(&tasks, &aside).unwrap();
    let failed = server.admin("/v1/admin/reload");
    assert_eq!((failed.status, failed.error_type().as_str()), (500, "BrokenTask"));
    std::fs::rename(&aside, &tasks).unwrap();
    assert_eq!(version(&server, "reviews"), second);
    assert_eq!(server.post("/v1/predict", &body).json()["answers"], answers);
    // What left the bank is gone after a reload.
    std::fs::rename(server.path().join("bank/tasks/spam"), server.path().join("spam")).unwrap();
    assert_eq!(server.admin("/v1/admin/reload").json()["tasks"], 3);
    assert_eq!(server.get("/v1/tasks/spam").status, 404);
    assert!(!server.get("/metrics").text().contains("spam"));
    for (path, status) in [
        ("/v1/admin/tasks/nowhere/load", 404),
        ("/v1/admin/tasks/nowhere/unload", 404),
        ("/v1/admin/tasks/..%2Freviews/load", 400),
        ("/v1/admin/tasks/reviews@00000000/load", 404),
    ] {
        assert_eq!(server.admin(path).status, status, "{path}");
    }
}

/// A body that a route understands, so that only the key decides.
fn body_of(path: &str) -> Option<Value> {
    match path {
        "/v1/predict" => Some(json!({ "task": "reviews", "inputs": ["a"] })),
        "/v1/predict_many" => Some(json!({ "input": "a" })),
        "/predict" => Some(json!({ "inputs": "a", "model": "reviews" })),
        _ => None,
    }
}

fn asked_with(server: &Server, path: &str, method: &str, key: Option<&str>) -> Answer {
    let path = path.replace("{name}", "reviews");
    let value = key.map(|key| format!("Bearer {key}"));
    let mut headers = vec![("Content-Type", "application/json")];
    headers.extend(value.as_deref().map(|value| ("Authorization", value)));
    let body = body_of(&path).map(|body| body.to_string()).unwrap_or_default();
    server.request(method, &path, &headers, body.as_bytes())
}

#[test]
fn every_route_asks_for_its_key() {
    let server =
        Server::start_in(bank::folder(), &[], &[("GRAFTER_API_KEYS", &format!("another,{API_KEY}"))]);
    for route in &ROUTES {
        let status = |key| asked_with(&server, route.path, route.method, key).status;
        let expected = match route.access {
            Access::Open => [200, 200, 200, 200],
            Access::Key => [401, 401, 200, 200],
            Access::Admin => [401, 401, 403, 200],
        };
        let found = [None, Some("wrong"), Some(API_KEY), Some(ADMIN_KEY)].map(status);
        assert_eq!(found, expected, "{}", route.path);
        let exempt = ["/health/live", "/health/ready", "/", "/docs"].contains(&route.path);
        assert_eq!(route.access == Access::Open, exempt, "{}", route.path);
    }
    // What is no route, or not its method, tells a stranger nothing.
    for path in ["/nowhere", "/v1", "/v1/tasks/", "/v1/predict/", "//v1/predict"] {
        assert_eq!(asked_with(&server, path, "GET", None).status, 401, "{path}");
        assert_eq!(asked_with(&server, path, "GET", Some(API_KEY)).status, 404, "{path}");
    }
    assert_eq!(asked_with(&server, "/v1/predict", "DELETE", None).status, 401);
    let wrong = asked_with(&server, "/v1/predict", "DELETE", Some(API_KEY));
    assert_eq!((wrong.status, wrong.headers["allow"].as_str()), (405, "POST"));
    assert_eq!(asked_with(&server, "/v1/tasks", "OPTIONS", None).status, 401, "a preflight gets nothing");
    let stranger = asked_with(&server, "/v1/tasks", "GET", None);
    assert_eq!(stranger.headers["www-authenticate"], "Bearer");
    for key in [API_KEY, ADMIN_KEY] {
        assert!(!server.log().contains(key));
    }
}

#[test]
fn without_an_admin_key_there_is_no_admin() {
    let server = Server::start_in(bank::folder(), &[], &[("GRAFTER_ADMIN_KEY", "")]);
    for route in ROUTES.iter().filter(|route| route.access == Access::Admin) {
        for key in [None, Some(ADMIN_KEY)] {
            let answer = asked_with(&server, route.path, route.method, key);
            assert_eq!((answer.status, answer.error_type().as_str()), (404, "NotFound"), "{}", route.path);
        }
        assert!(server.document()["paths"][route.path].is_null(), "{}", route.path);
    }
    // Nor does anything else ask for a key where the server has none.
    assert_eq!(asked_with(&server, "/v1/tasks", "GET", None).status, 200);
}

#[test]
fn keys_come_from_files_and_a_server_that_should_have_some_has_some() {
    let folder = bank::folder();
    std::fs::write(folder.path().join("keys"), format!("first-key\n\n {API_KEY} \r\n")).unwrap();
    let server = Server::start_in(folder, &["--api-key-file=keys"], &[]);
    let status = |key| asked_with(&server, "/v1/tasks", "GET", key).status;
    assert_eq!([None, Some("first-key"), Some(API_KEY), Some("first-ke")].map(status), [401, 200, 200, 401]);
    for (content, told) in [
        ("\n \n", "holds no key"),
        ("a key\n", "key 1 has a character"),
        ("ok\nk\u{e9}y", "key 2"),
        ("ok\nchief", "the admin key is one of the API keys"),
    ] {
        std::fs::write(server.path().join("keys"), content).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_grafter"))
            .args(["serve", "--bank=bank", "--port=0", "--api-key-file=keys"])
            .env("GRAFTER_ADMIN_KEY", "chief")
            .current_dir(server.path())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(told), "{stderr}");
    }
}

/// A page that lets its own name point at this machine is not let in by the browser of who runs the server.
#[test]
fn a_server_without_keys_goes_by_names_of_its_machine() {
    let server = Server::start(&["--allow-host=Model.example"]);
    let status =
        |server: &Server, host: &str, path: &str| server.request("GET", path, &[("Host", host)], b"").status;
    for (host, expected) in [
        ("localhost:8080", 200),
        ("127.0.0.1", 200),
        ("model.example", 200),
        ("rebound.example", 403),
        ("localhost.rebound.example:80", 403),
    ] {
        assert_eq!(status(&server, host, "/v1/tasks"), expected, "{host}");
        assert_eq!(status(&server, host, "/health/live"), 200, "{host}");
    }
    let refused = server.request("GET", "/v1/tasks", &[("Host", "rebound.example")], b"");
    assert_eq!(refused.error_type(), "Forbidden");
    // A server that was given names goes by no other, wherever it listens.
    let named = Server::start(&["--host=0.0.0.0", "--allow-host=model.example"]);
    let found = ["model.example:80", "rebound.example"].map(|host| status(&named, host, "/v1/tasks"));
    assert_eq!(found, [200, 403]);
    // A key is something that no other page has.
    let keys = [("GRAFTER_API_KEYS", API_KEY)];
    let server = Server::start_in(bank::folder(), &[], &keys);
    let value = format!("Bearer {API_KEY}");
    let headers = [("Host", "model.example"), ("Authorization", value.as_str())];
    assert_eq!(server.request("GET", "/v1/tasks", &headers, b"").status, 200);
}

#[test]
fn who_listens_to_everyone_is_warned_and_who_cannot_listen_is_told() {
    let open = Server::start(&["--host=0.0.0.0"]);
    assert!(open.lives() && open.log().contains("warning: there are no API keys"), "{}", open.log());
    let keys = [("GRAFTER_API_KEYS", API_KEY)];
    let closed = Server::start_in(bank::folder(), &["--host=0.0.0.0"], &keys);
    assert!(closed.lives() && !closed.log().contains("warning"), "{}", closed.log());
    let model = bank::tiny_bert();
    let again = std::process::Command::new(env!("CARGO_BIN_EXE_grafter"))
        .args(["serve", "--bank=bank", "--model", model.to_str().unwrap(), "--host=0.0.0.0", "--port"])
        .arg(open.address.port().to_string())
        .current_dir(open.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!((again.status.code(), again.stdout.as_slice()), (Some(2), &b""[..]), "{stderr}");
    assert!(stderr.contains("error: cannot listen on 0.0.0.0:"), "{stderr}");
}

#[test]
fn pages_and_documents_tell_of_every_route() {
    let server = Server::start(&[]);
    let document = server.get("/openapi.json").json();
    assert_eq!(&document, server.document());
    let described: Vec<(&str, &str)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| (path.as_str(), method.as_str()))
        })
        .collect();
    let expected: Vec<(&str, String)> =
        ROUTES.iter().map(|route| (route.path, route.method.to_lowercase())).collect();
    assert_eq!(described.len(), expected.len());
    for (path, method) in &expected {
        assert!(described.contains(&(path, method)), "{path}");
    }
    for path in ["/", "/docs"] {
        let page = server.get(path);
        let policy = &page.headers["content-security-policy"];
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        for outside in ["http://", "https://", " src=", "url(", "@import", "innerHTML"] {
            assert!(!page.text().contains(outside), "{path}: {outside}");
        }
    }
    let head = server.raw(b"HEAD /v1/tasks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!((head.status, head.body.len()), (200, 0));
    let id = server.request("GET", "/health/live", &[("X-Request-Id", "my-id.7")], b"");
    assert_eq!(id.headers["x-request-id"], "my-id.7");
    let id = server.request("GET", "/health/live", &[("X-Request-Id", "a b\"c")], b"");
    assert_ne!(id.headers["x-request-id"], "a b\"c");
}

#[test]
fn what_is_measured_and_logged_holds_no_text() {
    let server = Server::start(&["--log=json"]);
    let body = json!({ "task": "reviews", "inputs": ["secretword film", "a secretword"] });
    assert_eq!(server.post("/v1/predict", &body).status, 200);
    assert_eq!(server.get("/secretword").status, 404);
    assert_eq!(server.post("/v1/predict", &json!({ "task": "secretword", "inputs": ["a"] })).status, 404);
    let metrics = server.get("/metrics");
    for line in [
        "grafter_requests_total{route=\"/v1/predict\",status=\"200\"} 1",
        "grafter_requests_total{route=\"none\",status=\"404\"} 1",
        "grafter_rows_total{task=\"reviews\"} 2",
        "grafter_rows_total{task=\"spam\"} 0",
        "grafter_row_seconds_count{task=\"reviews\"} 2",
        "grafter_row_seconds_bucket{task=\"reviews\",le=\"+Inf\"} 2",
        "grafter_queue_tokens 0",
        "grafter_adapter_loads_total 1",
    ] {
        assert!(metrics.text().lines().any(|found| found == line), "{line}\n{}", metrics.text());
    }
    assert!(!metrics.text().contains("secretword"));
    server.until("the log", |server| {
        server.log().lines().filter(|line| line.contains("\"request\"")).count() >= 4
    });
    assert!(!server.log().contains("secretword"), "{}", server.log());
    let log = server.log();
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{log}");
    let line = log.lines().find(|line| line.contains("\"/v1/predict\"")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["status"], &line["rows"], &line["method"]), (&json!(200), &json!(2), &json!("POST")));
    assert!(line["tokens"].as_u64() >= Some(6) && line["ms"].is_number() && line["request_id"].is_string());
}
