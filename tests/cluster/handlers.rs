//! What a script's handleSummary() receives, and what tools find that read the logs of runners.

use crate::aggregation::{documents, requests};
use crate::run::Run;
use crate::sources::Volume;
use crate::support::{Test, ip};
use k6_operator::api::{Kind, Status};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

/// Says what it receives, and returns it as the only words of k6.
const SCRIPT: &str = "import { check } from 'k6';
export const options = { vus: 4, iterations: 20, thresholds: { checks: ['rate==1'] } };
export default function () { check(__ENV.TARGET, { 'there is a target': (target) => target === 'here' }); }
export async function handleSummary(data) {
  await new Promise((done) => setTimeout(done, 10));
  return { stdout: JSON.stringify(data), 'shape.txt': data.results ? 'machine-readable' : 'former' };
}
";

/// How many iterations a summary has, in either shape.
fn iterations(summary: &Value) -> u64 {
    let former = &summary["metrics"]["iterations"];
    let listed = summary["results"]["metrics"].as_array();
    let listed = listed.and_then(|metrics| metrics.iter().find(|metric| metric["name"] == "iterations"));
    let values = &listed.unwrap_or(former)["values"];
    values["count"]
        .as_u64()
        .unwrap_or_else(|| panic!("no iterations: {summary}"))
}

/// Whether k6 is 1.5 or newer, which has the machine-readable summary.
fn has_machine_readable(status: &Status) -> bool {
    let plan = status.plan.as_ref().unwrap();
    let version = plan.aggregation.as_ref().unwrap().k6_version.clone();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (1, 5)
}

/// The variable comes by envFrom, where only k6 itself sees it, and `quiet` is not said: dapr's tests are like that.
#[tokio::test]
async fn handle_summary_has_the_shape_of_its_k6_and_a_log_has_nothing_but_what_it_prints() {
    let test = Test::new("shape").await;
    test.script("shape", SCRIPT).await;
    test.config_map("switch", &[("K6_NEW_MACHINE_READABLE_SUMMARY", "true")])
        .await;
    let spec = json!({
        "parallelism": 2,
        "script": {"configMap": {"name": "shape"}},
        "arguments": "--include-system-env-vars --log-output=none",
        "runner": {
            "env": [{"name": "TARGET", "value": "here"}],
            "envFrom": [{"configMapRef": {"name": "switch"}}],
        },
    });
    for run in Run::of_both_kinds(&test, "shape", &spec) {
        let status = run.passes().await;
        // One runner calls it, with the whole, and the others print nothing.
        let mut printed = Vec::new();
        for pod in run.pods("runner").await {
            let log = test.kubectl(&["logs", &pod.name_any(), "-c", "k6"]);
            if !log.is_empty() {
                let whole = serde_json::from_str(&log).unwrap_or_else(|error| panic!("{error}: {log}"));
                printed.push(iterations(&whole));
            }
        }
        assert_eq!(printed, [20]);
        let kept = documents(&test, &run.name).await;
        let shape = if has_machine_readable(&status) {
            "machine-readable"
        } else {
            "former"
        };
        assert_eq!(kept["handleSummary-shape.txt"], shape);
        for document in ["handleSummary-stdout", "summary.json"] {
            let whole: Value = serde_json::from_str(&kept[document]).unwrap();
            assert_eq!(iterations(&whole), 20, "{document}");
            assert_eq!(
                whole["results"].is_object(),
                shape == "machine-readable",
                "{document}"
            );
        }
    }
}

/// What a script names by a relative path, what it writes to a volume, and what it asks for at its end.
const FILES: &str = "import grpc from 'k6/net/grpc';
const client = new grpc.Client();
client.load([], 'hello.proto');
export const options = { vus: 2, iterations: 20, thresholds: { iterations: ['count>=20'] } };
export default function () {}
export async function handleSummary(data) {
  const { iterations } = data.metrics;
  const said = { iterations: iterations.values.count, ok: iterations.thresholds['count>=20'].ok };
  return {
    '/results/hs.json': JSON.stringify(said),
    [`/results/call-${Math.random()}`]: 'called',
    'bytes.bin': new Uint8Array([0, 255, 10]).buffer,
    stdout: 'whole ' + said.iterations + '\\n',
  };
}
";

const PROTO: &str = "syntax = \"proto3\";\nmessage Empty {}\n";

#[tokio::test]
async fn handle_summary_is_called_once_where_the_script_ran_and_its_files_have_the_whole() {
    let test = Test::new("files").await;
    test.config_map("files", &[("test.js", FILES), ("hello.proto", PROTO)])
        .await;
    let volume = Volume::new(&test, "results").await.for_all();
    let run = Run::apply(
        &test,
        Kind::TestRun,
        "files",
        json!({
            "parallelism": 2,
            "arguments": "--summary-export=/results/execution.json",
            "script": {"configMap": {"name": "files", "file": "test.js"}},
            "runner": {
                "volumes": [{"name": "results", "persistentVolumeClaim": {"claimName": "results"}}],
                "volumeMounts": [{"name": "results", "mountPath": "/results"}],
            },
        }),
    );
    run.passes().await;
    // In the moment in which a watch shows Finished.
    let maps: Api<ConfigMap> = Api::namespaced(test.client.clone(), &test.namespace);
    let map = maps.get("files-summary").await.expect("the summary can be read");
    let kept = map.data.unwrap();
    assert!(!kept.contains_key("handleSummary-error.txt"), "{kept:?}");
    let said: Value = serde_json::from_str(&kept["handleSummary-results_hs.json"]).unwrap();
    assert_eq!(said, json!({"iterations": 20, "ok": true}));
    assert_eq!(
        map.binary_data.unwrap()["handleSummary-bytes.bin"].0,
        [0, 255, 10]
    );
    assert_eq!(kept["handleSummary-stdout"], "whole 20\n");
    let files = volume.files();
    let read = |file: &str| -> Value { serde_json::from_str(&files[file]).unwrap() };
    assert_eq!(read("hs.json"), said);
    let export = read("execution.json");
    assert_eq!(export["metrics"]["iterations"]["count"], 20);
    assert_eq!(export["metrics"]["iterations"]["thresholds"]["count>=20"], false);
    let calls = files.keys().filter(|file| file.starts_with("call-"));
    assert_eq!(calls.count(), 1, "{files:?}");
    let mut printed = Vec::new();
    for pod in run.pods("runner").await {
        let log = test.kubectl(&["logs", &pod.name_any(), "-c", "k6"]);
        printed.push(log.matches("whole 20").count());
    }
    printed.sort_unstable();
    assert_eq!(printed, [0, 1]);
    volume.delete().await;
}

/// The export by a variable and a relative path, the files that the script reads when it is loaded, and a message that it
/// sends at its end.
const HOOK: &str = "import http from 'k6/http';
const words = open('./words.txt');
const bytes = open('./words.txt', 'b');
export const options = { vus: 3, iterations: 20, thresholds: { iterations: ['count>=20'] } };
export function setup() { return { from: 'setup' }; }
export default function () {}
export function handleSummary(data) {
  const answer = http.post('http://k6-target.k6-target.svc/hook', words);
  const said = [words, bytes.byteLength, answer.status, data.metrics.iterations.values.count, __ENV.WHERE, __VU];
  return { 'said.json': JSON.stringify(said), 'empty.txt': '' };
}
";

#[tokio::test]
async fn handle_summary_sends_its_message_once_and_has_the_files_and_variables_of_the_test() {
    let test = Test::new("hook").await;
    test.config_map("hook", &[("test.js", HOOK), ("words.txt", "all of it")])
        .await;
    let volume = Volume::new(&test, "results").await.for_all();
    let spec = json!({
        "parallelism": 3,
        "script": {"configMap": {"name": "hook", "file": "test.js"}},
        "runner": {
            "env": [{"name": "K6_SUMMARY_EXPORT", "value": "/results/export.json"}, {"name": "WHERE", "value": "here"}],
            "volumes": [{"name": "results", "persistentVolumeClaim": {"claimName": "results"}}],
            "volumeMounts": [{"name": "results", "mountPath": "/results"}],
        },
    });
    let run = Run::apply(&test, Kind::TestRun, "hook", spec);
    run.passes().await;
    let kept = documents(&test, "hook").await;
    assert!(!kept.contains_key("handleSummary-error.txt"), "{kept:?}");
    let said: Value = serde_json::from_str(&kept["handleSummary-said.json"]).unwrap();
    assert_eq!(said, json!(["all of it", 9, 200, 20, "here", 0]));
    let runners: Vec<String> = run.pods("runner").await.iter().map(ip).collect();
    assert_eq!(requests(&runners).into_iter().sum::<u64>(), 1);
    let export: Value = serde_json::from_str(&volume.files()["export.json"]).unwrap();
    assert_eq!(export["metrics"]["iterations"]["count"], 20);
    volume.delete().await;
}
