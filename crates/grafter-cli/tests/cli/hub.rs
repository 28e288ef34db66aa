//! Data sets of the hub, from a hub on 127.0.0.1.

use std::io::Read;
use std::net::TcpListener;

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub with one data set, `somebody/opinions`: its address.
fn hub() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && connection.read_exact(&mut byte).is_ok() {
                request.extend(byte);
            }
            let request = String::from_utf8_lossy(&request).to_lowercase();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let files = ["data/train-00000-of-00001.csv", "data/validation-00000-of-00001.csv"];
            let body = if path.starts_with("/api/datasets/somebody/opinions/revision/main") {
                let siblings =
                    files.map(|file| serde_json::json!({"rfilename": file, "size": OPINIONS.len()}));
                serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string()
            } else if files.iter().any(|file| path.ends_with(&format!("/resolve/{COMMIT}/{file}"))) {
                OPINIONS.to_owned()
            } else {
                String::new()
            };
            let _ = write!(
                connection,
                "HTTP/1.1 {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                if body.is_empty() { "404 Not Found" } else { "200 OK" },
                body.len(),
            );
        }
    });
    endpoint
}

impl Place {
    fn online(&self, hub: &str, arguments: &[&str]) -> Done {
        let model = tiny_bert();
        let mut command = self.command(&[arguments, &["--model", model.to_str().unwrap()]].concat());
        Done::of(command.env("HF_HUB_OFFLINE", "0").env("HF_ENDPOINT", hub).output().unwrap())
    }
}

#[test]
fn a_data_set_of_the_hub_stands_for_its_files() {
    let (place, hub) = (Place::new(), hub());
    place.write("rows.csv", OPINIONS);
    let short: Vec<&str> = SHORT.iter().flat_map(|(flag, value)| [*flag, value]).chain(QUICK).collect();
    let train = |train: &str, dev: &str, out: &str| {
        place.online(&hub, &[&["train", "--train", train, "--dev", dev, "--out", out], &short[..]].concat())
    };
    train("rows.csv", "rows.csv", "here").succeeded();
    let data = "hf://datasets/somebody/opinions";
    let (of_train, of_dev) = (format!("{data}/data/train-*.csv"), format!("{data}/data/validation-*.csv"));
    let done = train(&of_train, &of_dev, "hub");
    let told = format!("`{data}@main` is at commit {COMMIT}");
    assert_eq!(done.stderr.matches(&told).count(), 1, "{}", done.stderr);
    done.succeeded();
    let bytes = |out: &str| std::fs::read(place.path(out).join("adapter.safetensors")).unwrap();
    assert!(bytes("hub") == bytes("here"));
    let file = format!("{data}@{COMMIT}/data/train-00000-of-00001.csv");
    for written in ["run.toml", "report.html"] {
        let text = std::fs::read_to_string(place.path("hub").join(written)).unwrap();
        assert!(text.contains(&file), "{written}: {text}");
    }
    // From the cache: the harness has the network switched off.
    std::fs::copy(place.path("hub/run.toml"), place.path("run.toml")).unwrap();
    place.run(&["train", "--config=run.toml", "--out=again"]).succeeded();
    assert!(bytes("again") == bytes("here"));
    let task = format!("--task=opinions={data}");
    let compared =
        ["compare", &task, "--method=head", "--epochs=1", "--batch-size=4", "--json", "--out=results"];
    let compared = place.run(&compared).succeeded().json();
    assert_ne!(compared["tasks"][0]["settings"][0]["dev"], Value::Null, "{compared}");
}

#[test]
fn what_the_hub_does_not_have_is_told() {
    let place = Place::with_adapter();
    let eval = |data: &str| place.told(&place.run(&["eval", "--adapter=adapter", "--data", data]));
    assert_snapshot!(eval("hf://datasets/somebody/opinions/x.csv"), @r#"
    exit code 2
    error: `hf://datasets/somebody/opinions@main` could not be fetched: `HF_HUB_OFFLINE` is set and the files are not in the hub's own cache

    hint: unset `HF_HUB_OFFLINE`, or pass files that are here
    "#);
    assert_snapshot!(eval("hf://datasets/somebody/opinions"), @r#"
    exit code 2
    error: `hf://datasets/somebody/opinions`: it is a data set, and a file is needed

    hint: files are `hf://datasets/OWNER/NAME/PATH`, perhaps with `@REVISION` after the name, and the path may be a pattern
    "#);
    assert_snapshot!(eval("hf://datasets/somebody/../x.csv"), @r#"
    exit code 2
    error: `hf://datasets/somebody/../x.csv`: expected an owner and a name of letters, digits, `-`, `_` and `.`

    hint: files are `hf://datasets/OWNER/NAME/PATH`, perhaps with `@REVISION` after the name, and the path may be a pattern
    "#);
    let missing = ["eval", "--adapter=adapter", "--data=hf://datasets/somebody/opinions/x.csv"];
    assert_snapshot!(place.told(&place.online(&hub(), &missing)), @r#"
    exit code 2
    `hf://datasets/somebody/opinions@main` is at commit 0123456789abcdef0123456789abcdef01234567
    error: `hf://datasets/somebody/opinions/x.csv`: the data set has no such file at commit 0123456789abcdef0123456789abcdef01234567

    hint: name the files as `hf://datasets/OWNER/NAME/PATH`, where the path may be a pattern such as `data/train-*.parquet`
    "#);
}
