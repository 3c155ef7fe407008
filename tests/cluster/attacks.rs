//! What pods without the tokens of a run can do to it: nothing. They ask for every path at every port, from its own
//! namespace and from another.

use crate::support::{LIMIT, OPERATOR_NAMESPACE, Test, ip, k6_image, operator_pods};
use k6_operator::machine::StateName;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data,
    number_data_point::Value as Number,
};
use prost::Message;
use serde_json::{Value, json};

/// What setup() returns.
const SECRET: &str = "s3cret-of-team-a";

/// Counts each iteration, and what looks like a token among all that it can read: each has 64 hexadecimal digits. So have
/// the ids of the pod's sandbox and container, which are names of folders in `/proc/self/mountinfo`. k6 can read that file
/// only when two of its virtual users open it at once.
const VICTIM: &str = r"
import { sleep } from 'k6';
import { Counter } from 'k6/metrics';
const leaked = new Counter('leaked');
export const options = {
  scenarios: { all: { executor: 'per-vu-iterations', vus: 4, iterations: 180, maxDuration: '5m' } },
  thresholds: { iterations: ['count==720'], leaked: ['count==0'] },
};
const files = ['/k6-operator-tokens/aggregator', '/k6-operator-tokens/runners.sha256', '/k6-operator-secret/aggregator',
  '/k6-operator-secret/runners', '/proc/1/environ', '/proc/1/cmdline', '/proc/self/environ', '/proc/self/mountinfo'];
let read = JSON.stringify(__ENV);
for (const file of files) {
  try { read += open(file).replace(/\/[0-9a-f]{64}(?=[/ ])/g, '/ID'); } catch (_) {}
}
const found = /[0-9a-f]{64}/.test(read) ? 1 : 0;
export function setup() { return { token: 's3cret-of-team-a' }; }
export default function (data) {
  if (data.token !== 's3cret-of-team-a') { throw new Error('the data of setup() has changed'); }
  leaked.add(found);
  sleep(0.5);
}
";

/// Asks for all that it is told to, and prints the answers.
const ATTACKER: &str = r"
import http from 'k6/http';
export const options = { vus: 1, iterations: 1 };
const attempts = JSON.parse(open('/attack/attempts.json'));
export default function () {
  for (const { method, url, headers, body } of attempts) {
    const sent = Array.isArray(body) ? new Uint8Array(body).buffer : body;
    const answer = http.request(method, url, sent, { headers, timeout: '5s', redirects: 0 });
    console.log('ANSWER ' + JSON.stringify({ method, url, headers, status: answer.status, body: answer.body }));
  }
}
";

/// An export that would spoil the count.
fn export() -> Vec<u8> {
    let point = NumberDataPoint {
        time_unix_nano: u64::MAX / 4,
        value: Some(Number::AsDouble(1e6)),
        ..NumberDataPoint::default()
    };
    let metric = Metric {
        name: "iterations".to_owned(),
        data: Some(Data::Sum(Sum {
            data_points: vec![point],
            aggregation_temporality: 2,
            is_monotonic: true,
        })),
        ..Metric::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![metric],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    };
    request.encode_to_vec()
}

/// Everything that can be asked of a host, with one credential.
fn attempts(host: &str, headers: &Value) -> Vec<Value> {
    let status = |attributes: Value| {
        json!({"data": {"type": "status", "id": "default", "attributes": attributes}}).to_string()
    };
    let stop = status(json!({"stopped": true}));
    let pause = status(json!({"paused": true}));
    let release = status(json!({"paused": false}));
    let word = json!({"phase": "exited", "exitCode": 0, "endedAgo": 0, "letGo": true}).to_string();
    let mut all = Vec::new();
    for port in [6565, 16565, 4318] {
        for (method, path, body) in [
            ("GET", "/v1/status", json!("")),
            ("GET", "/v1/setup", json!("")),
            ("PUT", "/v1/setup", json!("{\"token\":\"forged\"}")),
            ("POST", "/v1/setup", json!("")),
            ("POST", "/v1/teardown", json!("")),
            ("PATCH", "/v1/status", json!(release)),
            ("PATCH", "/v1/status", json!(pause)),
            ("PATCH", "/v1/status", json!(stop)),
            ("GET", "/v1/metrics", json!("")),
            ("POST", "/v1/metrics", json!(export())),
            ("POST", "/runners/1/forged", json!(word)),
            ("POST", "/runners/1/forged/task", json!("")),
            ("POST", "/runners/1/forged/handled", json!("{}")),
            ("POST", "/runners/7777/forged", json!(word)),
            ("POST", "/finish", json!("")),
            ("GET", "/kept", json!("")),
            ("GET", "/debug/pprof/cmdline", json!("")),
        ] {
            let mut headers = headers.clone();
            let is_export = method == "POST" && path == "/v1/metrics";
            headers["content-type"] = json!(if is_export {
                "application/x-protobuf"
            } else {
                "application/json"
            });
            headers["k6-runner"] = json!("1");
            headers["k6-process"] = json!("forged");
            all.push(json!({
                "method": method, "url": format!("http://{host}:{port}{path}"), "headers": headers, "body": body
            }));
        }
    }
    all
}

fn attempts_on_operator(host: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for port in [8080, 8081] {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            for path in [
                "/",
                "/metrics",
                "/healthz",
                "/readyz",
                "/debug/pprof/",
                "/api/v1/namespaces",
            ] {
                let url = format!("http://{host}:{port}{path}");
                all.push(json!({"method": method, "url": url, "headers": {}, "body": ""}));
            }
        }
    }
    all
}

/// In brackets, if it is one of IPv6.
pub fn host(pod: &Pod) -> String {
    let address = ip(pod);
    if address.contains(':') && !address.starts_with('[') {
        format!("[{address}]")
    } else {
        address
    }
}

/// Carries out the attempts from a pod in this namespace, and gives the answers.
pub async fn attack(test: &Test, name: &str, attempts: &[Value]) -> Vec<Value> {
    let attempts_json = json!(attempts).to_string();
    let files = [("attack.js", ATTACKER), ("attempts.json", attempts_json.as_str())];
    test.config_map(name, &files).await;
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"role": "attacker"}},
        "spec": {
            "restartPolicy": "Never", "automountServiceAccountToken": false,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 12345, "seccompProfile": {"type": "RuntimeDefault"}
            },
            "containers": [{
                "name": "attacker", "image": k6_image(),
                "command": ["k6", "run", "--quiet", "--no-usage-report", "--log-format=raw", "/attack/attack.js"],
                "volumeMounts": [{"name": "attack", "mountPath": "/attack"}],
                "securityContext": {
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}
                }
            }],
            "volumes": [{"name": "attack", "configMap": {"name": name}}]
        }
    }))
    .unwrap();
    let pods: Api<Pod> = Api::namespaced(test.client.clone(), &test.namespace);
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let ended = test
        .until("the attack is over", LIMIT, async || {
            let pod = pods.get(name).await.unwrap();
            let phase = pod.status.as_ref()?.phase.clone()?;
            matches!(phase.as_str(), "Succeeded" | "Failed").then_some(pod)
        })
        .await;
    let log = test.log(&ended);
    let answers = log.lines().filter_map(|line| line.strip_prefix("ANSWER "));
    let answers: Vec<Value> = answers
        .map(|answer| serde_json::from_str(answer).unwrap())
        .collect();
    assert_eq!(answers.len(), attempts.len(), "{log}");
    answers
}

/// The texts of a run's tokens, as the administrator can read them.
async fn tokens(test: &Test, run: &str) -> Vec<(String, String)> {
    let secrets: Api<Secret> = Api::namespaced(test.client.clone(), &test.namespace);
    let all = secrets.list(&ListParams::default()).await.unwrap();
    let own = all
        .into_iter()
        .find(|secret| secret.name_any().starts_with(&format!("{run}-tokens-")));
    let data = own.unwrap().data.unwrap();
    let text = |value: Vec<u8>| String::from_utf8(value).unwrap();
    data.into_iter()
        .map(|(key, value)| (key, text(value.0)))
        .collect()
}

async fn hosts(test: &Test, run: &str, runners: usize) -> Vec<String> {
    let mut hosts: Vec<String> = test.pods_of(run, "runner").await.iter().map(host).collect();
    assert_eq!(hosts.len(), runners);
    hosts.extend(test.pods_of(run, "aggregator").await.iter().map(host));
    hosts
}

/// What is answered to whom has no token: the status at 6565, what is read at 4318, and nothing else.
fn is_harmless(answer: &Value) -> bool {
    let url = answer["url"].as_str().unwrap();
    let status = answer["status"].as_u64().unwrap();
    let is_get = answer["method"] == "GET";
    match status {
        // Nobody listens there, or it is cut off.
        0 => true,
        200 => is_get && url.ends_with(":6565/v1/status"),
        401 | 404 | 405 => true,
        _ => false,
    }
}

#[tokio::test]
async fn pods_without_the_tokens_of_a_run_change_nothing_of_it_and_read_no_secret() {
    let test = Test::new("attacked").await;
    let elsewhere = test.elsewhere("attacker").await;
    test.script("victim", VICTIM).await;
    test.apply("thief", json!({"parallelism": 1, "script": "victim"}));
    // One that waits for its release.
    test.apply(
        "held",
        json!({
            "parallelism": 1, "script": "victim", "timeouts": {"start": "10m"},
            "runner": {"readinessProbe": {"httpGet": {"path": "/never", "port": 6565}}}
        }),
    );
    test.apply("victim", json!({"parallelism": 2, "script": "victim"}));
    test.reaches("held", StateName::Created).await;
    test.reaches("thief", StateName::Started).await;
    test.reaches("victim", StateName::Started).await;
    test.until("the held runner waits", LIMIT, async || {
        let pods = test.pods_of("held", "runner").await;
        let running = pods.first()?.status.as_ref()?.phase.as_deref() == Some("Running");
        running.then_some(())
    })
    .await;

    let stolen = tokens(&test, "thief").await;
    let stolen = |name: &str| {
        let (_, text) = stolen.iter().find(|(key, _)| key == name).unwrap();
        format!("Bearer {text}")
    };
    let victim = test.k6s().get("victim").await.unwrap();
    let run_id = format!("{}-1", victim.uid().unwrap());
    let credentials = [
        json!({}),
        json!({"authorization": "Bearer 0123456789abcdef"}),
        json!({"authorization": stolen("aggregator"), "k6-run": run_id}),
        json!({"authorization": stolen("runners")}),
    ];
    let mut hosts_of_all = hosts(&test, "victim", 2).await;
    hosts_of_all.extend(hosts(&test, "held", 1).await);
    let mut all = Vec::new();
    for host in &hosts_of_all {
        for credential in &credentials {
            all.extend(attempts(host, credential));
        }
    }
    let operators = operator_pods(&test).list(&ListParams::default()).await.unwrap();
    let on_operator: Vec<Value> = operators
        .iter()
        .flat_map(|pod| attempts_on_operator(&host(pod)))
        .collect();

    for (from, name) in [(&elsewhere, "far"), (&test, "near")] {
        let answers = attack(from, name, &all).await;
        for answer in &answers {
            assert!(is_harmless(answer), "from {name}: {answer}");
            assert!(!answer.to_string().contains(SECRET), "from {name}: {answer}");
        }
        // That they were asked at all.
        let count = |status: u64| answers.iter().filter(|answer| answer["status"] == status).count();
        assert!(
            count(401) > 100 && count(200) >= 3 * credentials.len(),
            "from {name}"
        );
        let answers = attack(from, &format!("{name}-operator"), &on_operator).await;
        for answer in &answers {
            let is_read = answer["method"] == "GET" && answer["status"] == 200;
            let status = answer["status"].as_u64().unwrap();
            assert!(
                is_read || matches!(status, 404 | 405),
                "from {name} at {OPERATOR_NAMESPACE}: {answer}"
            );
        }
    }

    // It was not released, and not stopped.
    let held = &test.pods_of("held", "runner").await[0];
    let (status, body) = crate::support::http("GET", &ip(held), 6565, "/v1/status");
    assert!(status.contains("200"), "{status}");
    let at: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(at["data"]["attributes"]["paused"], true, "{body}");
    assert_eq!(at["data"]["attributes"]["stopped"], false, "{body}");
    test.kubectl(&["delete", "k6", "held", "--wait=false"]);

    test.passes("thief").await;
    test.passes("victim").await;
    // Nothing that people read has a token in it. Those of the thief are in the attacks.
    let mut told = test.kubectl(&["get", "k6,jobs,pods,services,configmaps,events", "-o", "json"]);
    for component in ["runner", "starter"] {
        for pod in test.pods_of("victim", component).await {
            told += &test.log(&pod);
        }
    }
    for (key, text) in tokens(&test, "victim").await {
        assert!(!told.contains(&text), "{key} is told");
    }
}
