//! Requests to an API server, one after the other, as data: what it answers is told as a text, which the real one
//! and the one of the simulation must have in common (`sequences.golden`).
//!
//! `{ns}` is the namespace; `{uid NAME}` and `{version NAME}` are of the object that an earlier request kept under
//! this name.

use http_body_util::BodyExt;
use hyper::http::Request;
use kube::Client;
use kube::client::Body;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// One request.
struct Step {
    method: &'static str,
    path: &'static str,
    body: &'static str,
    /// Which fields of the answer are told.
    tell: &'static [&'static str],
    /// Under which name it is kept.
    keep: &'static str,
}

const fn step(
    method: &'static str,
    path: &'static str,
    body: &'static str,
    tell: &'static [&'static str],
    keep: &'static str,
) -> Step {
    Step {
        method,
        path,
        body,
        tell,
        keep,
    }
}

const K6S: &str = "/apis/k6.io/v1alpha1/namespaces/{ns}/k6s";
const ONE: &str = "/apis/k6.io/v1alpha1/namespaces/{ns}/k6s/one";
const ONE_STATUS: &str = "/apis/k6.io/v1alpha1/namespaces/{ns}/k6s/one/status";
const JOBS: &str = "/apis/batch/v1/namespaces/{ns}/jobs";
const JOB: &str = "/apis/batch/v1/namespaces/{ns}/jobs/work";
const MAPS: &str = "/api/v1/namespaces/{ns}/configmaps";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases/leader";

const K6: &str = r#"{"apiVersion": "k6.io/v1alpha1", "kind": "K6", "metadata": {"name": "one"},
    "spec": {"parallelism": 1, "script": {"localFile": "/test.js"}}, "status": {"state": "Created"}}"#;
const WORK: &str = r#"{"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"}, "spec": {
    "suspend": true, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "none"}]}}}}"#;

/// Each sequence has a name; what an earlier one made, a later one may find.
const SEQUENCES: &[(&str, &[Step])] = &[
    (
        "what is made has the status that nobody has seen it, and can't be made twice",
        &[
            step(
                "POST",
                K6S,
                K6,
                &["/metadata/generation", "/spec/parallelism", "/status"],
                "one",
            ),
            step("POST", K6S, K6, &[], ""),
            step("GET", ONE, "", &["/metadata/generation", "/metadata/name"], ""),
        ],
    ),
    (
        "the status is replaced by itself, in the version that was read",
        &[
            step(
                "PUT",
                ONE_STATUS,
                r#"{"apiVersion": "k6.io/v1alpha1", "kind": "K6",
                "metadata": {"name": "one", "resourceVersion": "{version one}"},
                "spec": {"parallelism": 7, "script": {"localFile": "/other.js"}}, "status": {"state": "Initializing"}}"#,
                &["/metadata/generation", "/spec/parallelism", "/status/state"],
                "two",
            ),
            step(
                "PUT",
                ONE_STATUS,
                r#"{"apiVersion": "k6.io/v1alpha1", "kind": "K6",
                "metadata": {"name": "one", "resourceVersion": "{version one}"},
                "spec": {"parallelism": 1, "script": {"localFile": "/test.js"}}, "status": {"state": "Created"}}"#,
                &[],
                "",
            ),
            step(
                "PUT",
                ONE_STATUS,
                r#"{"apiVersion": "k6.io/v1alpha1", "kind": "K6",
                "metadata": {"name": "one", "resourceVersion": "{version two}", "uid": "00000000-0000-0000-0000-00000000dead"},
                "spec": {"parallelism": 1, "script": {"localFile": "/test.js"}}, "status": {"state": "Created"}}"#,
                &[],
                "",
            ),
            step(
                "PUT",
                ONE_STATUS,
                r#"{"apiVersion": "k6.io/v1alpha1", "kind": "K6",
                "metadata": {"name": "one", "resourceVersion": "{version two}"},
                "spec": {"parallelism": 1, "script": {"localFile": "/test.js"}}, "status": {"state": "Initializing"}}"#,
                &["/status/state", "/metadata/resourceVersion"],
                "two",
            ),
        ],
    ),
    (
        "the spec is replaced without the status, and counted",
        &[
            step(
                "PUT",
                ONE,
                r#"{"apiVersion": "k6.io/v1alpha1", "kind": "K6",
                "metadata": {"name": "one", "resourceVersion": "{version two}"},
                "spec": {"parallelism": 2, "script": {"localFile": "/test.js"}}, "status": {"state": "Finished"}}"#,
                &["/metadata/generation", "/spec/parallelism", "/status/state"],
                "three",
            ),
            step(
                "PUT",
                ONE,
                r#"{"apiVersion": "k6.io/v1alpha1", "kind": "K6", "metadata": {"name": "one"},
                "spec": {"parallelism": 3, "script": {"localFile": "/test.js"}}}"#,
                &[],
                "",
            ),
            step(
                "PATCH",
                ONE,
                r#"{"metadata": {"labels": {"a": "b"}}}"#,
                &["/metadata/generation", "/metadata/labels", "/status/state"],
                "three",
            ),
            step(
                "PATCH",
                ONE,
                r#"{"spec": {"stop": true}}"#,
                &["/metadata/generation", "/spec/parallelism"],
                "three",
            ),
        ],
    ),
    (
        "what is deleted is the object that is meant, and its name is free at once",
        &[
            step(
                "DELETE",
                ONE,
                r#"{"preconditions": {"uid": "00000000-0000-0000-0000-00000000dead"}}"#,
                &[],
                "",
            ),
            step(
                "DELETE",
                ONE,
                r#"{"preconditions": {"uid": "{uid one}", "resourceVersion": "{version one}"}}"#,
                &[],
                "",
            ),
            step(
                "DELETE",
                ONE,
                r#"{"propagationPolicy": "Background",
                "preconditions": {"uid": "{uid one}", "resourceVersion": "{version three}"}}"#,
                &["/status"],
                "",
            ),
            step("DELETE", ONE, "{}", &[], ""),
            step("GET", ONE, "", &[], ""),
            step(
                "PUT",
                ONE_STATUS,
                r#"{"apiVersion": "k6.io/v1alpha1", "kind": "K6",
                "metadata": {"name": "one", "resourceVersion": "{version three}"},
                "spec": {"parallelism": 1, "script": {"localFile": "/test.js"}}, "status": {"state": "Created"}}"#,
                &[],
                "",
            ),
            step(
                "POST",
                K6S,
                K6,
                &["/metadata/generation", "/metadata/uid", "/status"],
                "again",
            ),
            step(
                "PUT",
                ONE_STATUS,
                r#"{"apiVersion": "k6.io/v1alpha1", "kind": "K6",
                "metadata": {"name": "one", "resourceVersion": "{version three}"},
                "spec": {"parallelism": 1, "script": {"localFile": "/test.js"}}, "status": {"state": "Created"}}"#,
                &[],
                "",
            ),
            step(
                "PUT",
                ONE_STATUS,
                r#"{"apiVersion": "k6.io/v1alpha1", "kind": "K6",
                "metadata": {"name": "one", "resourceVersion": "{version again}", "uid": "{uid one}"},
                "spec": {"parallelism": 1, "script": {"localFile": "/test.js"}}, "status": {"state": "Created"}}"#,
                &[],
                "",
            ),
        ],
    ),
    (
        "a Job in the same way",
        &[
            step(
                "POST",
                JOBS,
                WORK,
                &["/metadata/generation", "/spec/suspend"],
                "work",
            ),
            step("POST", JOBS, WORK, &[], ""),
            step(
                "DELETE",
                JOB,
                r#"{"propagationPolicy": "Background",
                "preconditions": {"uid": "00000000-0000-0000-0000-00000000dead"}}"#,
                &[],
                "",
            ),
            step(
                "DELETE",
                JOB,
                r#"{"propagationPolicy": "Background", "preconditions": {"uid": "{uid work}"}}"#,
                &["/status"],
                "",
            ),
            step("GET", JOB, "", &[], ""),
            step(
                "POST",
                JOBS,
                WORK,
                &["/metadata/generation", "/metadata/uid"],
                "work",
            ),
            step(
                "DELETE",
                JOB,
                r#"{"propagationPolicy": "Foreground", "preconditions": {"uid": "{uid work}"}}"#,
                &["/metadata/finalizers", "/metadata/name"],
                "",
            ),
            step("GONE", JOB, "", &[], ""),
        ],
    ),
    (
        "what an owner owned goes with it, and what it owns goes when it is gone already",
        &[
            step(
                "POST",
                MAPS,
                r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned",
                "ownerReferences": [{"apiVersion": "k6.io/v1alpha1", "kind": "K6", "name": "one", "uid": "{uid again}"}]}}"#,
                &["/metadata/ownerReferences/0/name"],
                "",
            ),
            step(
                "DELETE",
                ONE,
                r#"{"propagationPolicy": "Background"}"#,
                &["/status"],
                "",
            ),
            step("GONE", "/api/v1/namespaces/{ns}/configmaps/owned", "", &[], ""),
            step(
                "POST",
                MAPS,
                r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late",
                "ownerReferences": [{"apiVersion": "k6.io/v1alpha1", "kind": "K6", "name": "one", "uid": "{uid again}"}]}}"#,
                &["/metadata/ownerReferences/0/name"],
                "",
            ),
            step("GONE", "/api/v1/namespaces/{ns}/configmaps/late", "", &[], ""),
            step("POST", K6S, K6, &["/metadata/uid"], "third"),
            step(
                "POST",
                MAPS,
                r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "first",
                "ownerReferences": [{"apiVersion": "k6.io/v1alpha1", "kind": "K6", "name": "one", "uid": "{uid third}",
                "controller": true, "blockOwnerDeletion": true}]}}"#,
                &[],
                "",
            ),
            step(
                "DELETE",
                ONE,
                r#"{"propagationPolicy": "Foreground"}"#,
                &["/metadata/finalizers", "/metadata/generation"],
                "",
            ),
            step("GONE", "/api/v1/namespaces/{ns}/configmaps/first", "", &[], ""),
            step("GONE", ONE, "", &[], ""),
        ],
    ),
    (
        "a watch goes on where the list ended, and sees what its selector shows it",
        &[
            step(
                "POST",
                MAPS,
                r#"{"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "a", "labels": {"seen": "yes"}}}"#,
                &[],
                "",
            ),
            step(
                "GET",
                "/api/v1/namespaces/{ns}/configmaps?labelSelector=seen",
                "",
                &["/items"],
                "list",
            ),
            step(
                "POST",
                MAPS,
                r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}}"#,
                &[],
                "",
            ),
            step(
                "POST",
                MAPS,
                r#"{"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "c", "labels": {"seen": "no"}}}"#,
                &[],
                "",
            ),
            step(
                "PATCH",
                "/api/v1/namespaces/{ns}/configmaps/a",
                r#"{"data": {"x": "y"}}"#,
                &["/data"],
                "",
            ),
            step(
                "PATCH",
                "/api/v1/namespaces/{ns}/configmaps/a",
                r#"{"metadata": {"labels": null}}"#,
                &[],
                "",
            ),
            step(
                "PATCH",
                "/api/v1/namespaces/{ns}/configmaps/b",
                r#"{"metadata": {"labels": {"seen": "now"}}}"#,
                &[],
                "",
            ),
            step("DELETE", "/api/v1/namespaces/{ns}/configmaps/c", "{}", &[], ""),
            step(
                "WATCH",
                "/api/v1/namespaces/{ns}/configmaps?watch=true&timeoutSeconds=2&labelSelector=seen\
                &resourceVersion={version list}",
                "",
                &[],
                "",
            ),
            step(
                "WATCH",
                "/api/v1/namespaces/{ns}/configmaps?watch=true&timeoutSeconds=2&labelSelector=seen%3Dno\
                &resourceVersion={version list}",
                "",
                &[],
                "",
            ),
            step(
                "GET",
                "/api/v1/namespaces/{ns}/configmaps?labelSelector=seen",
                "",
                &["/items"],
                "",
            ),
        ],
    ),
    (
        "a list comes in pages",
        &[
            step(
                "POST",
                JOBS,
                r#"{"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "p1", "labels": {"page": "1"}},
                "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never",
                "containers": [{"name": "c", "image": "none"}]}}}}"#,
                &[],
                "",
            ),
            step(
                "POST",
                JOBS,
                r#"{"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "p2", "labels": {"page": "2"}},
                "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never",
                "containers": [{"name": "c", "image": "none"}]}}}}"#,
                &[],
                "",
            ),
            step(
                "GET",
                "/apis/batch/v1/namespaces/{ns}/jobs?limit=1",
                "",
                &["/items"],
                "page",
            ),
            step(
                "GET",
                "/apis/batch/v1/namespaces/{ns}/jobs?limit=1&continue={continue page}",
                "",
                &["/items"],
                "",
            ),
            step(
                "GET",
                "/apis/batch/v1/namespaces/{ns}/jobs?limit=500",
                "",
                &["/items"],
                "",
            ),
        ],
    ),
    (
        "of two that replace a lease in the version that they read, one succeeds",
        &[
            step(
                "POST",
                LEASES,
                r#"{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "leader"},
                "spec": {"holderIdentity": "a"}}"#,
                &["/spec/holderIdentity"],
                "lease",
            ),
            step(
                "POST",
                LEASES,
                r#"{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "leader"},
                "spec": {"holderIdentity": "b"}}"#,
                &[],
                "",
            ),
            step(
                "PUT",
                LEASE,
                r#"{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": "leader", "resourceVersion": "{version lease}"}, "spec": {"holderIdentity": "b"}}"#,
                &["/spec/holderIdentity"],
                "",
            ),
            step(
                "PUT",
                LEASE,
                r#"{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": "leader", "resourceVersion": "{version lease}"}, "spec": {"holderIdentity": "c"}}"#,
                &[],
                "",
            ),
            step(
                "PUT",
                LEASE,
                r#"{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": "leader"}, "spec": {"holderIdentity": "c"}}"#,
                &[],
                "",
            ),
            step("GET", LEASE, "", &["/spec/holderIdentity"], ""),
        ],
    ),
];

/// How often something that is to go is looked for, and how many times.
const LOOK: Duration = Duration::from_millis(250);
const LOOKS: usize = 240;

/// What this API server answers.
pub async fn transcript(client: &Client, namespace: &str) -> String {
    let mut told = String::new();
    let mut kept = BTreeMap::new();
    for (name, steps) in SEQUENCES {
        let _ = writeln!(told, "# {name}");
        for step in *steps {
            let _ = writeln!(told, "{}", carried_out(client, namespace, step, &mut kept).await);
        }
    }
    told
}

async fn carried_out(
    client: &Client,
    namespace: &str,
    step: &Step,
    kept: &mut BTreeMap<&'static str, Value>,
) -> String {
    let shown = step.path.split('?').next().unwrap_or_default();
    let shown = shown.rsplit("{ns}/").next().unwrap_or_default();
    let query = step.path.split_once('?').map(|(_, query)| format!("?{query}"));
    let shown = format!("{} {shown}{}", step.method, query.unwrap_or_default());
    let (path, body) = (
        filled(step.path, namespace, kept),
        filled(step.body, namespace, kept),
    );
    match step.method {
        "GONE" => {
            for _ in 0..LOOKS {
                if send(client, "GET", &path, String::new()).await.0 == 404 {
                    return format!("{shown} -> gone");
                }
                tokio::time::sleep(LOOK).await;
            }
            format!("{shown} -> still there")
        }
        "WATCH" => {
            let (code, text) = send(client, "GET", &path, String::new()).await;
            let events: Vec<String> = text.lines().map(event).collect();
            format!("{shown} -> {code} {}", events.join(", "))
        }
        method => {
            let (code, text) = send(client, method, &path, body).await;
            let answer: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            let line = format!("{shown} -> {code} {}", told(&answer, step.tell, kept));
            if !step.keep.is_empty() {
                kept.insert(step.keep, answer);
            }
            line.trim_end().to_owned()
        }
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn filled(text_: &str, namespace: &str, kept: &BTreeMap<&'static str, Value>) -> String {
    let mut filled = text_.replace("{ns}", namespace);
    for (name, object) in kept {
        filled = filled
            .replace(&format!("{{uid {name}}}"), text(object, "/metadata/uid"))
            .replace(
                &format!("{{version {name}}}"),
                text(object, "/metadata/resourceVersion"),
            )
            .replace(
                &format!("{{continue {name}}}"),
                text(object, "/metadata/continue"),
            );
    }
    filled
}

/// An answer without what differs from one time to the next.
fn told(answer: &Value, tell: &[&str], kept: &BTreeMap<&'static str, Value>) -> String {
    if text(answer, "/kind") == "Status" && text(answer, "/status") == "Failure" {
        return format!(
            "{}: {}",
            text(answer, "/reason"),
            general(text(answer, "/message"))
        );
    }
    let fields = tell.iter().map(|pointer| {
        let value = answer.pointer(pointer);
        match *pointer {
            "/metadata/uid" | "/metadata/resourceVersion" => {
                let same = kept
                    .iter()
                    .find(|(_, object)| value.is_some() && object.pointer(pointer) == value);
                format!("{pointer} {}", same.map_or("new", |_| "known"))
            }
            "/items" => {
                let items = value.and_then(Value::as_array).into_iter().flatten();
                let names = items.map(|item| text(item, "/metadata/name").to_owned());
                format!("{pointer} {:?}", names.collect::<Vec<_>>())
            }
            pointer => format!("{pointer} {}", value.unwrap_or(&Value::Null)),
        }
    });
    fields.collect::<Vec<_>>().join(", ")
}

/// A message with `#` in the place of numbers and UIDs.
fn general(message: &str) -> String {
    let words = message.split(' ').map(|word| {
        if word.starts_with("/registry/") {
            return "(its key),".to_owned();
        }
        let core = word.trim_matches(|c: char| matches!(c, '(' | ')' | ',' | '.'));
        let varies = !core.is_empty() && core.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        let varies = varies && core.chars().any(|c| c.is_ascii_digit());
        if varies {
            word.replace(core, "#")
        } else {
            word.to_owned()
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn event(line: &str) -> String {
    let event: Value = serde_json::from_str(line).unwrap_or_default();
    let object = event.get("object").unwrap_or(&Value::Null);
    match text(&event, "/type") {
        "ERROR" => format!("ERROR {} {}", object["code"], text(object, "/reason")),
        type_ => format!("{type_} {}", text(object, "/metadata/name")),
    }
}

async fn send(client: &Client, method: &str, path: &str, body: String) -> (u16, String) {
    let content_type = match method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("Content-Type", content_type)
        .body(Body::from(body.into_bytes()))
        .expect("a request");
    let response = client.send(request).await.expect("an answer");
    let code = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (code, String::from_utf8_lossy(&body).into_owned())
}
