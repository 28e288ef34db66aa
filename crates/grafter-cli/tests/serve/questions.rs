//! Tasks that choose, and tasks that answer questions: rows of their own forms, beside other tasks, and refused where they do not
//! fit.

use serde_json::{Value, json};

use super::bank::{self, grafter};
use super::client::Server;

/// A server with the tasks of all kinds that read texts, `tone` and `facts` among them.
fn server(more: &[&str]) -> Server {
    let folder = bank::folder();
    bank::add_choices_and_questions(folder.path());
    Server::start_in(folder, more, &[])
}

/// The answer of `grafter predict` to a row, by a task.
fn predicted(server: &Server, task: &str, row: &Value) -> Value {
    std::fs::write(server.path().join("row.jsonl"), row.to_string()).unwrap();
    let told = grafter(server.path(), &["predict", "--bank=bank", "--tasks", task, "--input=row.jsonl"]);
    serde_json::from_str::<Value>(&told).unwrap()[task].clone()
}

/// An answer without what the server adds to it.
fn bare(answer: &Value) -> Value {
    let mut answer = answer.clone();
    for added in ["task", "version"] {
        assert!(answer.as_object_mut().unwrap().shift_remove(added).is_some(), "{answer}");
    }
    answer
}

fn asked(task: &str, inputs: &[Value]) -> Value {
    json!({ "task": task, "inputs": inputs })
}

#[test]
fn choices_and_questions_are_answered_as_predict_answers_them() {
    let server = server(&[]);
    let choices = json!({ "text": "it was", "choices": ["awful", "lovely", "dull"] });
    let answers =
        server.post("/v1/predict", &asked("tone", std::slice::from_ref(&choices))).json()["answers"].clone();
    assert_eq!(bare(&answers[0]), predicted(&server, "tone", &choices));
    assert_eq!((&answers[0]["choice"], &answers[0]["text"]), (&1.into(), &"lovely".into()));
    assert_eq!(answers[0]["probabilities"].as_array().unwrap().len(), 3);

    let rows = ["who", "when"].map(|question| json!({ "question": question, "context": "the cat was red" }));
    let answers = server.post("/v1/predict", &asked("facts", &rows)).json()["answers"].clone();
    for (answer, row) in answers.as_array().unwrap().iter().zip(&rows) {
        assert_eq!(bare(answer), predicted(&server, "facts", row));
    }
    let told = |answer: &Value| ["answer", "start", "end"].map(|field| answer[field].clone());
    assert_eq!(told(&answers[0]), [json!("cat"), json!(4), json!(7)]);
    assert_eq!(told(&answers[1]), [json!(""), Value::Null, Value::Null]);
    // A pair is a question and its context; an object may call them so. Beside rows of other tasks nothing changes.
    let body = asked(
        "facts",
        &[
            json!(["who", "the cat was red"]),
            json!({ "text": "it was", "choices": ["awful", "lovely", "dull"], "task": "tone" }),
            json!({ "text": "who", "text_b": "the cat was red" }),
            json!({ "text": "a good film", "task": "reviews" }),
            json!({ "question": "it was", "choices": ["awful", "lovely", "dull"], "task": "tone" }),
        ],
    );
    let mixed = server.post("/v1/predict", &body).json()["answers"].clone();
    assert_eq!((&mixed[0], &mixed[2]), (&answers[0], &answers[0]));
    assert_eq!(mixed[1], mixed[4]);
    assert_eq!(bare(&mixed[1]), predicted(&server, "tone", &choices));
    assert!(mixed[3]["label"].is_string(), "{mixed}");
}

/// A long context is read in windows to its end, with the answer of the best of them.
#[test]
fn a_long_context_is_read_to_its_end() {
    let server = server(&[]);
    let row = json!({ "question": "who", "context": format!("{}the cat was red", "one ".repeat(300)) });
    let answer =
        server.post("/v1/predict", &asked("facts", std::slice::from_ref(&row))).json()["answers"][0].clone();
    assert_eq!(bare(&answer), predicted(&server, "facts", &row));
}

#[test]
fn one_row_is_answered_by_the_tasks_that_it_is_for() {
    let server = server(&[]);
    let many = |input: &Value| {
        let answers = server.post("/v1/predict_many", &json!({ "input": input })).json()["answers"].clone();
        answers.as_array().unwrap().clone()
    };
    // Of each task whether it answers, or why not.
    let told = |answers: &[Value]| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let error = |answer: &Value| answer["error"].as_str().unwrap_or_default().to_owned();
        answers.iter().map(|answer| (text(&answer["task"]), error(answer))).collect()
    };
    let expected = |errors: [&str; 6]| -> Vec<(String, String)> {
        let tasks = ["alike", "facts", "reviews", "spam", "stars", "tone"];
        tasks.iter().zip(errors).map(|(task, error)| ((*task).to_owned(), error.to_owned())).collect()
    };
    let (pair, one, few, some) = (
        "expected one text, found a pair",
        "expected a pair, found one text",
        "expected two or more choices, found fewer",
        "expected no choices, found some",
    );
    let question = many(&json!({ "question": "who", "context": "the cat was red" }));
    assert_eq!(told(&question), expected(["", "", pair, pair, pair, pair]));
    assert_eq!(question[1]["answer"], "cat");
    let choices = many(&json!({ "text": "it was", "choices": ["awful", "lovely"] }));
    assert_eq!(told(&choices), expected([one, one, some, some, some, ""]));
    assert_eq!(choices[5]["choice"], 1);
    assert_eq!(told(&many(&json!("it was"))), expected([one, one, "", "", "", few]));
    assert!(question.iter().all(|answer| answer["error"].is_null() || answer["error_type"] == "Validation"));
}

#[test]
fn rows_of_another_form_are_refused() {
    let server = server(&["--max-text-bytes=1000", "--max-request-tokens=200"]);
    let many: Vec<String> = (0..257).map(|choice| choice.to_string()).collect();
    for (task, input, status, error) in [
        ("tone", json!("it was"), 400, "`inputs[0]`: expected two or more choices, found fewer"),
        ("tone", json!({ "text": "it was", "choices": ["a"] }), 400, "`choices` are two or more texts"),
        ("tone", json!({ "text": "it was", "choices": [] }), 400, "`choices` are two or more texts"),
        ("tone", json!({ "text": "it was", "choices": ["a", 7] }), 400, "invalid type"),
        ("tone", json!({ "text": "it was", "choices": "a" }), 400, "invalid type"),
        ("tone", json!({ "choices": ["a", "b"] }), 400, "expected `text`, `question` or `words`"),
        ("tone", json!({ "words": ["it"], "choices": ["a", "b"] }), 400, "`words` stand in place of"),
        (
            "tone",
            json!({ "text": "it was", "choices": ["a", " "] }),
            400,
            "expected a text, found an empty one",
        ),
        (
            "tone",
            json!({ "text": "it was", "choices": ["a", "x".repeat(1001)] }),
            413,
            "a text has 1001 bytes",
        ),
        ("tone", json!({ "text": "it was", "choices": many }), 413, "`choices` has 257 entries, at most 256"),
        // A row that is many sequences counts as many.
        (
            "tone",
            json!({ "text": "it was", "choices": many[..256] }),
            413,
            "the rows have more than 200 tokens together",
        ),
        (
            "tone",
            json!({ "text": "a", "text_b": "b", "choices": ["a", "b"] }),
            400,
            "expected one text, found a pair",
        ),
        ("facts", json!("who"), 400, "`inputs[0]`: expected a pair, found one text"),
        ("facts", json!({ "question": "who" }), 400, "expected a pair, found one text"),
        ("facts", json!({ "context": "the cat" }), 400, "expected `text`, `question` or `words`"),
        ("facts", json!({ "question": "who", "context": "" }), 400, "expected a text, found an empty one"),
        ("facts", json!({ "question": "who", "text": "who" }), 400, "duplicate field"),
        (
            "facts",
            json!({ "question": "who", "context": "the cat", "answers": [] }),
            400,
            "unknown field `answers`",
        ),
        (
            "facts",
            json!({ "question": "who", "context": "the cat", "choices": ["a", "b"] }),
            400,
            "expected no choices",
        ),
        (
            "reviews",
            json!({ "text": "it was", "choices": ["a", "b"] }),
            400,
            "expected no choices, found some",
        ),
    ] {
        let refused = server.post("/v1/predict", &asked(task, std::slice::from_ref(&input)));
        assert_eq!(refused.status, status, "{input}: {}", refused.text());
        assert!(refused.json()["error"].as_str().unwrap().contains(error), "{error}: {}", refused.text());
    }
    assert!(server.lives());
}

/// Text-embeddings-inference has labels with scores, which these tasks have not.
#[test]
fn clients_of_text_embeddings_inference_are_refused_by_name() {
    let server = server(&[]);
    for (inputs, task, kind) in [
        (json!(["who", "the cat was red"]), "facts", "question-answering"),
        (json!("it was"), "tone", "multiple-choice"),
    ] {
        let refused = server.post("/predict", &json!({ "inputs": inputs, "model": task }));
        assert_eq!((refused.status, refused.error_type().as_str()), (400, "Validation"));
        let expected = format!(
            "task `{task}` is of the kind {kind}, whose answers this route cannot give: ask `/v1/predict`"
        );
        assert_eq!(refused.json()["error"], expected.as_str());
    }
}

/// What the document says of rows: a client may rely on it either way.
#[test]
fn the_document_tells_of_the_rows() {
    let server = server(&[]);
    let document = server.document();
    let fits = |name: &str, value: &Value| {
        let mut schema = document["components"]["schemas"][name].clone();
        schema["components"] = document["components"].clone();
        jsonschema::is_valid(&schema, value)
    };
    for (input, known) in [
        (json!({ "text": "a", "choices": ["a", "b"] }), true),
        (json!({ "text": "a", "text_b": "b", "choices": ["a", "b"] }), true),
        (json!({ "question": "a", "context": "b" }), true),
        (json!({ "question": "a", "choices": ["a", "b"] }), true),
        (json!({ "text": "a", "choices": ["a"] }), false),
        (json!({ "text": "a", "choices": "a" }), false),
        (json!({ "context": "b" }), false),
        (json!({ "question": "a", "context": "b", "answers": [] }), false),
    ] {
        assert_eq!(fits("Input", &input), known, "{input}");
        assert_eq!(fits("PredictManyBody", &json!({ "input": input })), known, "{input}");
        let mut with_task = input;
        with_task["task"] = "facts".into();
        assert_eq!(fits("Input", &with_task), known, "{with_task}");
        assert!(!fits("PredictManyBody", &json!({ "input": with_task })), "{with_task}");
    }
    let kinds: Vec<Value> = ["facts", "tone"]
        .iter()
        .map(|task| server.get(&format!("/v1/tasks/{task}")).json()["kind"].clone())
        .collect();
    assert_eq!(kinds, ["question-answering", "multiple-choice"]);
}
