//! The OpenAPI 3.1 document of the table of routes: what each takes, and every answer that it can give.

use std::collections::BTreeMap;

use grafter::data::{MAX_CHOICES, TaskKind};
use serde_json::{Map, Value, json};

use super::error::ErrorKind;
use super::metrics;
use super::table::{Access, ROUTES, Route, RouteId};

/// The document; admin routes are in it where there are any.
pub fn document(with_admin: bool) -> Value {
    let mut paths = Map::new();
    for route in ROUTES.iter().filter(|route| with_admin || route.access != Access::Admin) {
        paths.insert(route.path.to_owned(), json!({ route.method.to_lowercase(): operation(route) }));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "grafter",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Small adapters on one frozen encoder, all tasks of a bank from one process.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "key": { "type": "http", "scheme": "bearer", "description": "An API key, or the admin key." },
                "admin": { "type": "http", "scheme": "bearer", "description": "The admin key." },
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let (body, success) = shapes(route.id);
    let mut responses = Map::new();
    responses.insert("200".to_owned(), success);
    for (status, kinds) in by_status(route) {
        responses.insert(status.to_string(), error_response(&kinds));
    }
    let mut operation = json!({
        "operationId": format!("{:?}", route.id),
        "summary": route.summary,
        "responses": responses,
        "security": match route.access {
            Access::Open => json!([]),
            // Where the server has no keys, none is asked for.
            Access::Key => json!([{ "key": [] }, {}]),
            Access::Admin => json!([{ "admin": [] }]),
        },
    });
    if let Some((schema, example)) = body {
        operation["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": reference(schema), "example": example } },
        });
    }
    if route.path.contains("{name}") {
        operation["parameters"] = json!([{
            "name": "name", "in": "path", "required": true,
            "description": "The name of a task; of an admin route also `name@digits` of a version.",
            "schema": { "type": "string" },
        }]);
    }
    operation
}

/// The body that a route takes with an example, and what it answers where all is well.
fn shapes(id: RouteId) -> (Option<(&'static str, Value)>, Value) {
    let rows = json!({ "task": "reviews", "inputs": [
        "a good film",
        { "text": "a bad one", "task": "tone" },
        { "question": "who acts?", "context": "Ada acts, and it is a good film.", "task": "facts" },
    ] });
    match id {
        RouteId::Predict => (Some(("PredictBody", rows)), json_response("Answers")),
        RouteId::PredictMany => {
            (Some(("PredictManyBody", json!({ "input": "a good film" }))), json_response("AnswersOfTasks"))
        }
        RouteId::TeiPredict => (
            Some(("TeiBody", json!({ "inputs": [["a good film"], ["a bad one"]] }))),
            json_response("TeiAnswer"),
        ),
        RouteId::Tasks => (None, json_response("Tasks")),
        RouteId::Task => (None, json_response("Task")),
        RouteId::Reload => (None, json_response("Reloaded")),
        RouteId::Load => (None, json_response("Loaded")),
        RouteId::Unload => (None, json_response("Unloaded")),
        RouteId::Live | RouteId::Ready => (None, json_response("Health")),
        RouteId::OpenApi => (None, response("application/json", &json!({ "type": "object" }))),
        RouteId::Metrics => (None, response(metrics::CONTENT_TYPE, &json!({ "type": "string" }))),
        RouteId::Docs | RouteId::Page => {
            (None, response(super::page::CONTENT_TYPE, &json!({ "type": "string" })))
        }
    }
}

/// The errors that a route can answer.
fn kinds(route: &Route) -> Vec<ErrorKind> {
    use ErrorKind as Kind;
    let reading = [Kind::Validation, Kind::SlowRequest, Kind::TooLarge];
    let computing = [
        Kind::Empty,
        Kind::UnknownTask,
        Kind::UnknownVersion,
        Kind::UnsupportedMediaType,
        Kind::Tokenizer,
        Kind::Overloaded,
        Kind::NotANumber,
        Kind::BrokenTask,
        Kind::NoRoom,
        Kind::Timeout,
    ];
    let named = [Kind::Validation, Kind::UnknownTask, Kind::BrokenTask];
    let of_version = [Kind::UnknownTask, Kind::UnknownVersion, Kind::BrokenTask];
    let mut kinds = vec![Kind::HeadersTooLarge, Kind::Internal];
    match route.access {
        Access::Open => {}
        Access::Key | Access::Admin => kinds.extend([Kind::Unauthorized, Kind::Forbidden]),
    }
    match route.id {
        RouteId::Predict | RouteId::PredictMany | RouteId::TeiPredict => {
            kinds.extend(reading);
            kinds.extend(computing);
        }
        RouteId::Task => kinds.extend(named),
        RouteId::Reload => kinds.extend([&reading[..], &[Kind::BrokenTask, Kind::Timeout]].concat()),
        RouteId::Load => {
            kinds.extend([&reading[..], &of_version, &[Kind::NoRoom, Kind::Timeout]].concat());
        }
        RouteId::Unload => kinds.extend([&reading[..], &of_version].concat()),
        RouteId::Ready => kinds.push(Kind::Draining),
        RouteId::Tasks
        | RouteId::Live
        | RouteId::Metrics
        | RouteId::OpenApi
        | RouteId::Docs
        | RouteId::Page => {}
    }
    kinds
}

fn by_status(route: &Route) -> BTreeMap<u16, Vec<&'static str>> {
    let mut statuses: BTreeMap<u16, Vec<&'static str>> = BTreeMap::new();
    for kind in kinds(route) {
        let (status, name) = kind.told();
        statuses.entry(status.as_u16()).or_default().push(name);
    }
    statuses
}

fn error_response(kinds: &[&str]) -> Value {
    let mut response = json!({
        "description": kinds.join(", "),
        "content": { "application/json": { "schema": {
            "allOf": [reference("Error")],
            "properties": { "error_type": { "enum": kinds } },
        } } },
    });
    if ["Overloaded", "Timeout", "NoRoom"].iter().any(|kind| kinds.contains(kind)) {
        response["headers"] = json!({ "Retry-After": {
            "description": "Seconds after which to ask again.", "schema": { "type": "integer", "minimum": 1 },
        } });
    }
    response
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn json_response(schema: &str) -> Value {
    response("application/json", &reference(schema))
}

fn response(content_type: &str, schema: &Value) -> Value {
    json!({ "description": "Done", "content": { content_type: { "schema": schema } } })
}

/// An object with these fields and no others; those whose name ends with `?` may be absent.
fn object(fields: &[(&str, Value)]) -> Value {
    let name = |field: &str| field.trim_end_matches('?').to_owned();
    let properties: Map<String, Value> =
        fields.iter().map(|(field, schema)| (name(field), schema.clone())).collect();
    let required: Vec<&str> =
        fields.iter().map(|(field, _)| *field).filter(|field| !field.ends_with('?')).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn list(items: &Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn schemas() -> Value {
    let mut schemas = request_schemas();
    schemas.extend(answer_schemas());
    schemas.extend(task_schemas());
    Value::Object(schemas.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect())
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn number() -> Value {
    json!({ "type": "number" })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn asked_task() -> Value {
    json!({ "type": "string", "description": "`name`, or `name@digits` with 8 to 64 digits of a version." })
}

fn request_schemas() -> Vec<(&'static str, Value)> {
    let pair = json!({ "type": "array", "items": text(), "minItems": 2, "maxItems": 2 });
    let one_or_two = json!({ "type": "array", "items": text(), "minItems": 1, "maxItems": 2 });
    let choices = json!({
        "type": "array", "items": text(), "minItems": 2, "maxItems": MAX_CHOICES,
        "description": "Of which a task of the kind multiple-choice gives one.",
    });
    // What a row may be as an object; of another row the fields have the names that data sets of questions have.
    let objects = [
        vec![("text", text()), ("text_b?", text()), ("choices?", choices.clone())],
        vec![("question", text()), ("context?", text()), ("choices?", choices)],
        vec![("words", json!({ "type": "array", "items": text(), "minItems": 1 }))],
    ];
    let with_task = |fields: &Vec<(&str, Value)>| object(&[&fields[..], &[("task?", asked_task())]].concat());
    let forms = |objects: Vec<Value>| {
        let forms = [vec![text(), pair.clone()], objects].concat();
        json!({ "anyOf": forms })
    };
    vec![
        ("Input", forms(objects.iter().map(with_task).collect())),
        (
            "PredictBody",
            object(&[
                ("task?", asked_task()),
                ("inputs", json!({ "type": "array", "items": reference("Input"), "minItems": 1 })),
            ]),
        ),
        (
            "PredictManyBody",
            object(&[
                ("input", forms(objects.iter().map(|fields| object(fields)).collect())),
                ("tasks?", list(&asked_task())),
            ]),
        ),
        (
            "TeiBody",
            object(&[
                (
                    "inputs",
                    json!({ "anyOf": [
                    text(), one_or_two, { "type": "array", "items": one_or_two, "minItems": 1 },
                ] }),
                ),
                (
                    "truncate?",
                    json!({ "type": "boolean", "description": "`false` refuses texts that are too long." }),
                ),
                ("truncation_direction?", json!({ "enum": ["right", "Right"] })),
                (
                    "raw_scores?",
                    json!({ "type": "boolean", "description": "Logits in place of probabilities." }),
                ),
                ("model?", asked_task()),
            ]),
        ),
    ]
}

/// The schemas of a task's answers.
const ANSWERS: [&str; 7] = [
    "ClassAnswer",
    "LabelsAnswer",
    "ScoreAnswer",
    "EntitiesAnswer",
    "TagsAnswer",
    "ChoiceAnswer",
    "QuestionAnswer",
];

fn answer_schemas() -> Vec<(&'static str, Value)> {
    let (name, digest) = (reference("TaskName"), reference("Version"));
    let probability = json!({ "type": "number", "minimum": 0, "maximum": 1 });
    let tei_row = list(&object(&[("score", number()), ("label", text())]));
    vec![
        (
            "Error",
            json!({
                "type": "object",
                "properties": {
                    "error": text(),
                    "error_type": { "enum": ErrorKind::ALL.map(|kind| kind.told().1) },
                },
                "required": ["error", "error_type"],
                "additionalProperties": false,
            }),
        ),
        (
            "ClassAnswer",
            object(&[
                ("task", name.clone()),
                ("version", digest.clone()),
                ("label", text()),
                ("score", probability.clone()),
                (
                    "probabilities",
                    json!({ "type": "object", "additionalProperties": probability, "minProperties": 2 }),
                ),
            ]),
        ),
        (
            "LabelsAnswer",
            object(&[
                ("task", name.clone()),
                ("version", digest.clone()),
                ("labels", list(&text())),
                (
                    "probabilities",
                    json!({ "type": "object", "additionalProperties": probability, "minProperties": 2 }),
                ),
            ]),
        ),
        (
            "EntitiesAnswer",
            object(&[
                ("task", name.clone()),
                ("version", digest.clone()),
                (
                    "entities",
                    list(&object(&[
                        ("type", text()),
                        ("text", text()),
                        ("start", count()),
                        ("end", count()),
                        (
                            "words?",
                            json!({ "type": "array", "items": count(), "minItems": 2, "maxItems": 2 }),
                        ),
                        ("score", probability.clone()),
                    ])),
                ),
                ("truncated?", json!({ "const": true })),
            ]),
        ),
        (
            "TagsAnswer",
            object(&[
                ("task", name.clone()),
                ("version", digest.clone()),
                ("words", list(&text())),
                ("tags", list(&text())),
                ("scores", list(&probability)),
                ("truncated?", json!({ "const": true })),
            ]),
        ),
        (
            "ChoiceAnswer",
            object(&[
                ("task", name.clone()),
                ("version", digest.clone()),
                ("choice", count()),
                ("text", text()),
                ("score", probability.clone()),
                ("probabilities", json!({ "type": "array", "items": probability, "minItems": 2 })),
            ]),
        ),
        (
            "QuestionAnswer",
            object(&[
                ("task", name.clone()),
                ("version", digest.clone()),
                ("answer", json!({ "type": "string", "description": "Empty where the context has none." })),
                ("start?", count()),
                ("end?", count()),
                ("score", probability.clone()),
            ]),
        ),
        ("ScoreAnswer", object(&[("task", name.clone()), ("version", digest.clone()), ("score", number())])),
        (
            "TaskError",
            object(&[
                ("task", name),
                ("version?", digest),
                ("error", text()),
                ("error_type", json!({ "enum": ErrorKind::ALL.map(|kind| kind.told().1) })),
            ]),
        ),
        ("Answer", json!({ "oneOf": ANSWERS.map(reference) })),
        ("Answers", object(&[("answers", list(&reference("Answer")))])),
        (
            "AnswersOfTasks",
            object(&[("answers", list(&json!({ "anyOf": [reference("Answer"), reference("TaskError")] })))]),
        ),
        ("TeiAnswer", json!({ "anyOf": [tei_row, list(&tei_row)] })),
        ("Health", object(&[("status", json!({ "enum": ["live", "ready"] }))])),
    ]
}

fn task_schemas() -> Vec<(&'static str, Value)> {
    let (name, digest) = (reference("TaskName"), reference("Version"));
    let or_null = |kind: &str| json!({ "type": [kind, "null"] });
    let named = [
        ("name", name.clone()),
        ("version", digest.clone()),
        ("versions", list(&digest)),
        ("loaded", json!({ "type": "boolean" })),
    ];
    let known = [
        ("kind", json!({ "enum": TaskKind::ALL.map(TaskKind::name) })),
        ("pair", json!({ "type": "boolean" })),
        ("labels", list(&text())),
        (
            "thresholds",
            json!({ "type": ["array", "null"], "items": { "type": "number", "minimum": 0, "maximum": 1 } }),
        ),
        ("max_length", count()),
        ("method", text()),
        ("trained_parameters", count()),
        ("train_rows", or_null("integer")),
        ("metric", text()),
        ("dev_score", or_null("number")),
        ("baseline", or_null("number")),
    ];
    vec![
        ("TaskName", json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$" })),
        ("Version", json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" })),
        (
            "Task",
            json!({ "oneOf": [
            object(&[&named[..], &known].concat()),
            object(&[&named[..], &[("error", text())]].concat()),
        ] }),
        ),
        ("Tasks", object(&[("tasks", list(&reference("Task"))), ("broken", list(&name))])),
        ("Reloaded", object(&[("tasks", count()), ("broken", list(&text()))])),
        ("Loaded", object(&[("task", name.clone()), ("version", digest.clone()), ("bytes", count())])),
        ("Unloaded", object(&[("task", name), ("unloaded", list(&digest))])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::error::HttpError;

    #[test]
    fn every_error_of_every_route_fits_the_document() {
        let document = document(true);
        let mut seen = std::collections::BTreeSet::new();
        for route in &ROUTES {
            for kind in kinds(route) {
                let status = kind.told().0.as_u16();
                let responses = &document["paths"][route.path][route.method.to_lowercase()]["responses"];
                let mut schema =
                    responses[status.to_string()]["content"]["application/json"]["schema"].clone();
                assert!(schema.is_object(), "{} {status}", route.path);
                schema["components"] = document["components"].clone();
                let body = serde_json::to_value(HttpError::new(kind, "a message").body()).unwrap();
                assert!(jsonschema::is_valid(&schema, &body), "{} {body}", route.path);
                let wrong = json!({ "error": "a message", "error_type": "Other" });
                assert!(!jsonschema::is_valid(&schema, &wrong), "{} {status}", route.path);
                seen.insert(kind);
            }
        }
        // These belong to paths and methods that the document does not have.
        seen.extend([ErrorKind::NotFound, ErrorKind::MethodNotAllowed]);
        assert!(seen.into_iter().eq(ErrorKind::ALL), "an error that no route tells of");
    }

    #[test]
    fn the_examples_fit_their_schemas() {
        let document = document(true);
        for route in &ROUTES {
            let content =
                &document["paths"][route.path][route.method.to_lowercase()]["requestBody"]["content"];
            let Some(content) = content.get("application/json") else { continue };
            let mut schema = content["schema"].clone();
            schema["components"] = document["components"].clone();
            assert!(jsonschema::is_valid(&schema, &content["example"]), "{}", route.path);
        }
    }
}
