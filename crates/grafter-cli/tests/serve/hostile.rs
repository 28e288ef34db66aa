//! What nobody should send: each gets an answer of its own, and the server lives.

use std::io::{Read, Write};
use std::time::Instant;

use serde_json::{Value, json};

use super::client::{ADMIN_KEY, Server};

fn posted(server: &Server, path: &str, body: &[u8]) -> (u16, String) {
    let answer = server.request("POST", path, &[("Content-Type", "application/json")], body);
    (answer.status, answer.error_type())
}

#[test]
fn bodies_that_are_wrong_are_refused_with_a_reason() {
    let server = Server::start(&["--max-rows=8", "--max-text-bytes=100", "--max-body-bytes=20000"]);
    let deep = format!("{{\"inputs\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    let long = json!({ "task": "reviews", "inputs": ["x".repeat(101)] }).to_string();
    let many = json!({ "task": "reviews", "inputs": vec!["a"; 9] }).to_string();
    let cases: Vec<(&[u8], u16, &str)> = vec![
        (b"", 400, "Validation"),
        (b"{", 400, "Validation"),
        (b"null", 400, "Validation"),
        (b"[]", 400, "Validation"),
        (b"{}", 400, "Validation"),
        (b"{\"inputs\":[\"a\"]}", 400, "Validation"),
        (b"{\"task\":\"reviews\",\"inputs\":[]}", 400, "Empty"),
        (b"{\"task\":\"reviews\",\"inputs\":\"a\"}", 400, "Validation"),
        (b"{\"task\":\"reviews\",\"inputs\":[7]}", 400, "Validation"),
        (b"{\"task\":\"reviews\",\"inputs\":[null]}", 400, "Validation"),
        (b"{\"task\":\"reviews\",\"inputs\":[1e999]}", 400, "Validation"),
        (b"{\"task\":\"reviews\",\"inputs\":[99999999999999999999999999999999]}", 400, "Validation"),
        (b"{\"task\":\"reviews\",\"inputs\":[[\"a\"]]}", 400, "Validation"),
        (b"{\"task\":\"reviews\",\"inputs\":[[\"a\",\"b\",\"c\"]]}", 400, "Validation"),
        (b"{\"task\":\"reviews\",\"inputs\":[[\"a\",\"b\"]]}", 400, "Validation"),
        (b"{\"task\":\"alike\",\"inputs\":[\"a\"]}", 400, "Validation"),
        (b"{\"task\":\"reviews\",\"inputs\":[\"\"]}", 400, "Empty"),
        (b"{\"task\":\"reviews\",\"inputs\":[\" \\n\"]}", 400, "Empty"),
        (b"{\"task\":\"reviews\",\"inputs\":[\"a\"],\"more\":1}", 400, "Validation"),
        (b"{\"task\":\"reviews\",\"inputs\":[{\"text\":\"a\",\"more\":1}]}", 400, "Validation"),
        (b"{\"task\":\"reviews\",\"inputs\":[{\"text\":\"a\",\"text\":\"b\"}]}", 400, "Validation"),
        (b"{\"task\":\"reviews\",\"inputs\":[\"\xff\xfe\"]}", 400, "Validation"),
        (b"{\"task\":\"reviews\",\"inputs\":[\"\\ud800\"]}", 400, "Validation"),
        (b"{\"task\":\"../spam\",\"inputs\":[\"a\"]}", 400, "Validation"),
        (b"{\"task\":\"/etc/passwd\",\"inputs\":[\"a\"]}", 400, "Validation"),
        (b"{\"task\":\"a\\u0000b\",\"inputs\":[\"a\"]}", 400, "Validation"),
        (b"{\"task\":\"nowhere\",\"inputs\":[\"a\"]}", 404, "UnknownTask"),
        (b"{\"task\":\"reviews@00000000\",\"inputs\":[\"a\"]}", 404, "UnknownVersion"),
        (b"{\"task\":\"reviews@0\",\"inputs\":[\"a\"]}", 400, "Validation"),
        (deep.as_bytes(), 400, "Validation"),
        (long.as_bytes(), 413, "TooLarge"),
        (many.as_bytes(), 413, "TooLarge"),
    ];
    for (body, status, error_type) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        assert_eq!(posted(&server, "/v1/predict", body), (status, error_type.to_owned()), "{shown}");
        let (status, _) = posted(&server, "/v1/predict_many", body);
        assert!((400..500).contains(&status), "{shown}");
        let (status, _) = posted(&server, "/predict", body);
        assert!((400..500).contains(&status), "{shown}");
    }
    assert_eq!(posted(&server, "/v1/predict", &[b' '; 20_001]), (413, "TooLarge".to_owned()));
    // One row that cannot be answered keeps the others from being computed.
    let one_wrong = json!({ "task": "reviews", "inputs": ["a good film", ["a", "pair"], "music"] });
    let refused = server.post("/v1/predict", &one_wrong);
    assert_eq!(refused.json()["error"], "`inputs[1]`: expected one text, found a pair");
    assert_eq!(server.metric("grafter_tokens_total"), 0.0);
    let odd = json!({ "task": "reviews", "inputs": ["\u{0}\u{202e}\u{feff}\u{1f600}"] });
    assert_eq!(server.post("/v1/predict", &odd).status, 200);
    assert!(server.lives());
}

#[test]
fn requests_that_are_wrong_are_refused_with_a_reason() {
    let server = Server::start(&["--max-body-bytes=1000"]);
    let body = json!({ "task": "reviews", "inputs": ["a"] }).to_string();
    let status = |headers: &[(&str, &str)]| {
        let answer = server.request("POST", "/v1/predict", headers, body.as_bytes());
        (answer.status, if answer.status == 200 { String::new() } else { answer.error_type() })
    };
    let json_type = ("Content-Type", "application/json");
    assert_eq!(status(&[("Content-Type", "application/json; charset=utf-8")]).0, 200);
    for headers in [&[][..], &[("Content-Type", "text/plain")], &[json_type, ("Content-Encoding", "gzip")]] {
        assert_eq!(status(headers), (415, "UnsupportedMediaType".to_owned()), "{headers:?}");
    }
    let name = "X-Long".to_owned();
    let long = "x".repeat(20_000);
    assert_eq!(status(&[json_type, (&name, &long)]), (431, "HeadersTooLarge".to_owned()));
    let many: Vec<(String, String)> = (0..80).map(|place| (format!("X-{place}"), "a".to_owned())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(status(&[&[json_type], &many[..]].concat()), (431, "HeadersTooLarge".to_owned()));
    let target = format!("/health/live?{}", "x".repeat(20_000));
    assert_eq!(server.get(&target).status, 431);
    // A body in chunks is counted as it comes.
    let mut chunked =
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n\
                        Transfer-Encoding: chunked\r\n\r\n"
            .to_vec();
    for _ in 0..20 {
        chunked.extend(b"64\r\n");
        chunked.extend([b' '; 100]);
        chunked.extend(b"\r\n");
    }
    assert_eq!(server.raw(&chunked).status, 413);
    // What is not HTTP is told so by a status alone, or by the end of the connection.
    for raw in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nBad\x00Header: x\r\n\r\n",
        b"\r\n\r\n\r\n\r\n",
    ] {
        let mut stream = server.connect();
        let _ = stream.write_all(raw);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    let mut huge = b"GET / HTTP/1.1\r\nHost: localhost\r\n".to_vec();
    huge.extend(format!("X: {}\r\n\r\n", "y".repeat(200_000)).bytes());
    let mut stream = server.connect();
    let _ = stream.write_all(&huge);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    let unwanted = server.request(
        "POST",
        "/v1/admin/reload",
        &[("Authorization", &format!("Bearer {ADMIN_KEY}"))],
        b"x",
    );
    assert_eq!(unwanted.status, 400);
    assert!(server.lives());
}

#[test]
fn clients_that_are_slow_are_cut() {
    let server = Server::start(&["--header-timeout=0.3", "--body-timeout=0.3", "--max-connections=4"]);
    // More of them than there are places; each sends a byte now and then.
    let began = Instant::now();
    let slow: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = server.connect();
            std::thread::spawn(move || {
                for byte in b"GET /health/live HTTP/1.1\r\nX-Slow: yes\r\n".iter().cycle() {
                    if stream.write_all(&[*byte]).is_err() {
                        return;
                    }
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
            })
        })
        .collect();
    assert!(server.lives(), "others are answered in the end");
    slow.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(began.elapsed().as_secs() < 30);
    let mut stream = server.connect();
    stream
        .write_all(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        .unwrap();
    let answer = super::client::read_answer(&mut stream).unwrap();
    assert_eq!((answer.status, answer.error_type().as_str()), (408, "SlowRequest"));
    // A connection that asks for nothing more is closed too.
    let mut idle = server.connect();
    idle.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let answer = super::client::read_answer(&mut idle).unwrap();
    assert_eq!(answer.status, 200);
}

#[test]
fn a_broken_adapter_is_the_concern_of_its_task_alone() {
    let server = Server::start(&[]);
    let version = server.get("/v1/tasks/spam").json()["version"].as_str().unwrap().to_owned();
    let weights = server.path().join(format!("bank/tasks/spam/{version}/adapter.safetensors"));
    let whole = std::fs::read(&weights).unwrap();
    let mut broken = whole.clone();
    *broken.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, broken).unwrap();
    let ask = |task: &str| server.post("/v1/predict", &json!({ "task": task, "inputs": ["a good film"] }));
    for _ in 0..2 {
        let refused = ask("spam");
        assert_eq!((refused.status, refused.error_type().as_str()), (500, "BrokenTask"));
        assert!(
            !refused.text().contains("safetensors"),
            "files are the server's business: {}",
            refused.text()
        );
    }
    assert_eq!(ask("reviews").status, 200);
    let many = server
        .post("/v1/predict_many", &json!({ "input": "a good film", "tasks": ["reviews", "spam"] }))
        .json();
    assert!(many["answers"][0]["label"].is_string());
    assert_eq!(many["answers"][1]["error_type"], "BrokenTask");
    let told = server.admin("/v1/admin/tasks/spam/load");
    assert!(told.status == 500 && told.text().contains("SHA-256"), "an admin is told why: {}", told.text());
    server.until("the log tells why", |server| server.log().contains("SHA-256"));
    assert_eq!(server.metric("grafter_adapter_bytes") > 0.0, server.metric("grafter_adapters") == 1.0);
    // The failure is not kept.
    std::fs::write(&weights, whole).unwrap();
    assert_eq!(ask("spam").status, 200);
    // A task whose description is broken is listed as such.
    let manifest = server.path().join(format!("bank/tasks/stars/{}/adapter.json", {
        server.get("/v1/tasks/stars").json()["version"].as_str().unwrap().to_owned()
    }));
    std::fs::write(manifest, "{}").unwrap();
    assert_eq!(server.admin("/v1/admin/reload").json()["broken"], json!(["stars"]));
    assert!(server.get("/v1/tasks/stars").json()["error"].is_string());
    let tasks: Value = server.get("/v1/tasks").json();
    assert_eq!(tasks["tasks"].as_array().unwrap().len(), 4);
    assert_eq!(ask("stars").status, 500);
    assert_eq!(ask("reviews").status, 200);
    // And one whose versions cannot be read is told from one that does not exist.
    std::fs::write(server.path().join("bank/tasks/spam/task.json"), "{").unwrap();
    assert_eq!(server.admin("/v1/admin/reload").json()["broken"], json!(["stars", "spam"]));
    assert_eq!((ask("spam").status, ask("spam").error_type().as_str()), (500, "BrokenTask"));
    assert_eq!(server.get("/v1/tasks/spam").status, 500);
    assert_eq!(server.get("/v1/tasks").json()["broken"], json!(["spam"]));
    let many = server.post("/v1/predict_many", &json!({ "input": "a good film" })).json();
    let told = |place: usize| many["answers"][place].clone();
    assert_eq!((&told(2)["task"], &told(2)["error_type"]), (&json!("spam"), &json!("BrokenTask")));
    assert!(told(1)["label"].is_string() && told(2)["version"].is_null());
    let told = server.admin("/v1/admin/tasks/spam/load");
    assert!(told.status == 500 && told.text().contains("task.json"), "an admin is told why: {}", told.text());
    assert_eq!(ask("reviews").status, 200);
}
