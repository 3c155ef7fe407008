//! All the ways in which a manifest can leave a field empty, found in the schema.

use k6_operator::api::{Kind, crd};
use serde_json::{Value, json};

/// Fields of Kubernetes' own types: what is inside is Kubernetes' to read.
const KUBERNETES: [&str; 13] = [
    "affinity",
    "containerSecurityContext",
    "env",
    "envFrom",
    "imagePullSecrets",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "securityContext",
    "tolerations",
    "topologySpreadConstraints",
    "volumeMounts",
    "volumes",
];

/// What must be there: without it there is no spec. An init container without an image is Kubernetes' to refuse.
const NEEDED: [&str; 2] = ["parallelism", "script"];

/// A spec that leaves a field empty, and the same spec without the field.
#[derive(Debug)]
pub struct Empty {
    pub path: String,
    pub value: Value,
    pub with: Value,
    #[allow(dead_code, reason = "only one of the tests that share this compares")]
    pub without: Value,
}

/// All of them, of a spec of this kind.
pub fn empties(kind: Kind) -> Vec<Empty> {
    let definition = crd::definition(kind);
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut all = Vec::new();
    walk(schema, &[], &mut all);
    all
}

fn walk(schema: &Value, path: &[&str], all: &mut Vec<Empty>) {
    let Some(fields) = schema["properties"].as_object() else {
        return;
    };
    for (field, schema) in fields {
        let path = [path, &[field]].concat();
        let forms = match schema["type"].as_str() {
            Some("object") => vec![json!({}), Value::Null],
            Some("array") => vec![json!([]), Value::Null],
            // What has no type is a boolean that may be a text, or the script of a K6.
            Some("string") | None => vec![json!(""), Value::Null],
            Some("integer" | "boolean") => vec![Value::Null],
            Some(other) => panic!("{path:?} is of type {other}"),
        };
        let needed =
            NEEDED.contains(&path.join(".").as_str()) || path.ends_with(&["initContainers", "[]", "image"]);
        for value in forms.into_iter().filter(|_| !needed) {
            let base = base(&path);
            let mut with = base.clone();
            put(&mut with, &path, Some(&value));
            let mut without = base;
            put(&mut without, &path, None);
            all.push(Empty {
                path: path.join("."),
                value,
                with,
                without,
            });
        }
        if !KUBERNETES.contains(&field.as_str()) {
            walk(schema, &path, all);
            walk(&schema["items"], &[&path[..], &["[]"]].concat(), all);
        }
    }
}

/// A spec with a script that is not at this path.
fn base(path: &[&str]) -> Value {
    let script = if path.starts_with(&["script", "inline"]) {
        json!({"localFile": "/test.js"})
    } else {
        json!({"inline": "export default () => {}"})
    };
    json!({"parallelism": 1, "script": script})
}

/// Sets what is at this path; without a value only makes sure that there is something around it.
fn put(around: &mut Value, path: &[&str], value: Option<&Value>) {
    match path {
        ["[]", rest @ ..] => {
            if !around.is_array() {
                *around = json!([{"image": "b"}]);
            }
            put(&mut around[0], rest, value);
        }
        [field] => {
            if let Some(value) = value {
                around[field] = value.clone();
            }
        }
        // Without a value there is nothing to be around, but in a list.
        [field, rest @ ..] => {
            if value.is_some() || rest.contains(&"[]") {
                put(&mut around[field], rest, value);
            }
        }
        [] => {}
    }
}
