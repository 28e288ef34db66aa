//! A server of one test, and a client that believes nothing: every answer is held against the server's own document.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::bank;
use super::table::{ROUTES, Route};

/// Far above what any step of these tests takes; reached only where the server hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const API_KEY: &str = "key-of-a-test";
pub const ADMIN_KEY: &str = "chief-of-a-test";

pub struct Server {
    pub folder: TempDir,
    pub address: SocketAddr,
    child: Child,
    /// Held, so that the server can write to it.
    _stdout: BufReader<ChildStdout>,
    document: OnceLock<Value>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn error_type(&self) -> String {
        self.json()["error_type"].as_str().unwrap_or_else(|| panic!("{}", self.text())).to_owned()
    }
}

impl Server {
    /// A server of a bank of its own, with an admin key and no API key.
    pub fn start(more: &[&str]) -> Self {
        Self::start_in(bank::folder(), more, &[])
    }

    pub fn start_in(folder: TempDir, more: &[&str], environment: &[(&str, &str)]) -> Self {
        let model = bank::tiny_bert();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_grafter"));
        command
            .args(["serve", "--bank=bank", "--port=0", "--model", model.to_str().unwrap()])
            .args(more)
            .current_dir(folder.path())
            .env("HF_HUB_OFFLINE", "1")
            .env_remove("GRAFTER_API_KEYS")
            .env("GRAFTER_ADMIN_KEY", ADMIN_KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        for (name, value) in environment {
            // Nothing stands for the absence of a variable.
            if value.is_empty() {
                command.env_remove(name)
            } else {
                command.env(name, value)
            };
        }
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").and_then(|address| address.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            panic!("{line:?}: {}", std::fs::read_to_string(folder.path().join("log")).unwrap());
        };
        Self { folder, address, child, _stdout: stdout, document: OnceLock::new() }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, Some(body))
    }

    pub fn admin(&self, path: &str) -> Answer {
        self.request("POST", path, &[("Authorization", &format!("Bearer {ADMIN_KEY}"))], b"")
    }

    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let body = body.map(ToString::to_string).unwrap_or_default();
        self.request(method, path, &[("Content-Type", "application/json")], body.as_bytes())
    }

    /// A request whose answer is held against the document.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let host = if headers.iter().any(|(name, _)| *name == "Host") { "" } else { "Host: localhost\r\n" };
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        let answer = self.raw(&[head.as_bytes(), body].concat());
        self.check(method, path, &answer);
        answer
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Bytes as they are, and what comes back before the connection ends.
    pub fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        // The server may end the connection before it has read all.
        let _ = stream.write_all(bytes);
        read_answer(&mut stream).expect("an answer")
    }

    /// The document, with the admin's routes.
    pub fn document(&self) -> &Value {
        self.document.get_or_init(|| {
            let head = format!(
                "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {ADMIN_KEY}\r\n\r\n"
            );
            self.raw(head.as_bytes()).json()
        })
    }

    /// What the document says of a status is what the answer is.
    fn check(&self, method: &str, path: &str, answer: &Answer) {
        let context = format!("{method} {path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        assert!(!answer.headers["x-request-id"].is_empty(), "{context}");
        let content_type = &answer.headers["content-type"];
        let Some(route) = route_of(path).filter(|route| route.method == method) else {
            assert_eq!(content_type, "application/json", "{context}");
            self.check_schema(&json!({ "$ref": "#/components/schemas/Error" }), answer, &context);
            return;
        };
        if answer.status == 404 && answer.error_type() == "NotFound" {
            return;
        }
        let operation = &self.document()["paths"][route.path][method.to_lowercase()];
        let response = &operation["responses"][answer.status.to_string()];
        assert!(response.is_object(), "a status that the document does not have: {context}");
        let schema = &response["content"][content_type]["schema"];
        assert!(
            schema.is_object(),
            "a content type that the document does not have: {content_type}: {context}"
        );
        if content_type == "application/json" {
            self.check_schema(schema, answer, &context);
        }
        assert!(answer.status != 429 || answer.headers.contains_key("retry-after"), "{context}");
        if let Some(seconds) = answer.headers.get("retry-after") {
            assert!(
                !response["headers"]["Retry-After"].is_null(),
                "a header that the document does not have: {context}"
            );
            assert!(seconds.parse::<u64>().unwrap() >= 1, "{context}");
        }
    }

    fn check_schema(&self, schema: &Value, answer: &Answer, context: &str) {
        let mut schema = schema.clone();
        schema["components"] = self.document()["components"].clone();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let value = answer.json();
        let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{context}: {errors:?}");
    }

    /// The value of a measurement without labels.
    pub fn metric(&self, name: &str) -> f64 {
        let metrics =
            self.request("GET", "/metrics", &[("Authorization", &format!("Bearer {ADMIN_KEY}"))], b"");
        let line = metrics.text().lines().find(|line| line.starts_with(&format!("{name} ")));
        line.and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap()
    }

    /// Waits until something is so.
    pub fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < PATIENCE, "{what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "the server does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn lives(&self) -> bool {
        self.get("/health/live").status == 200
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The route that a path is of.
fn route_of(path: &str) -> Option<&'static Route> {
    let path = path.split('?').next().unwrap();
    ROUTES.iter().find(|route| {
        let (mut wanted, mut found) = (route.path.split('/'), path.split('/'));
        loop {
            match (wanted.next(), found.next()) {
                (None, None) => return true,
                (Some("{name}"), Some(part)) if !part.is_empty() => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    })
}

/// Reads until the other side closes; `None` where nothing came.
pub fn read_answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    // A connection that was reset after its answer has answered.
    let _ = stream.read_to_end(&mut bytes);
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Some(Answer { status, headers, body: bytes[end + 4..].to_vec() })
}
