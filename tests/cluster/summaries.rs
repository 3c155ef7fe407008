//! The whole result in the files that users name, in the summary that is kept, and in rates: situations from the field,
//! each with more inputs of its kind.

use crate::aggregation::{documents, requests};
use crate::run::{Run, contains_all, k6};
use crate::sources::Volume;
use crate::support::{LIMIT, Test, ip};
use k6_operator::api::{Kind, Status};
use k6_operator::machine::{Reason, RunResult, StateName};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tempfile::TempDir;

/// Volumes of a runner: the claim `results` at `/results`, beside these variables.
fn with_results(variables: &[(&str, &str)]) -> Value {
    let variables = variables
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}));
    json!({
        "env": variables.collect::<Vec<_>>(),
        "volumes": [{"name": "results", "persistentVolumeClaim": {"claimName": "results"}}],
        "volumeMounts": [{"name": "results", "mountPath": "/results"}],
    })
}

/// A script with thresholds on the whole and on a submetric, and without a handleSummary().
const EXPORTED: &str = "import http from 'k6/http';
export const options = { vus: 2, iterations: 20, thresholds: {
  http_req_duration: ['p(95)<2000'], 'http_req_duration{kind:a}': ['avg<2000'], http_reqs: ['count>=20'],
} };
export default function () { http.get('http://k6-target.k6-target.svc/', { tags: { kind: __ITER % 2 ? 'a' : 'b' } }); }
";

#[tokio::test]
async fn exported_summary_has_the_whole_and_its_thresholds_by_argument_and_by_variable() {
    let test = Test::new("exported").await;
    test.script("exported", EXPORTED).await;
    let volume = Volume::new(&test, "results").await.for_all();
    let inputs = [
        (
            "field",
            1,
            "--tag testid=x --summary-export=/results/field.json",
            &[][..],
        ),
        ("apart", 2, "--summary-export /results/apart.json", &[]),
        (
            "variable",
            2,
            "",
            &[("K6_SUMMARY_EXPORT", "/results/variable.json")],
        ),
    ];
    let runs = inputs.map(|(name, parallelism, arguments, variables)| {
        let mut spec = json!({
            "parallelism": parallelism,
            "script": {"configMap": {"name": "exported"}},
            "runner": with_results(variables),
        });
        if !arguments.is_empty() {
            spec["arguments"] = arguments.into();
        }
        Run::apply(&test, Kind::TestRun, name, spec)
    });
    for run in &runs {
        run.passes().await;
        let export: Value = serde_json::from_str(&volume.files()[&format!("{}.json", run.name)]).unwrap();
        let metrics = &export["metrics"];
        assert_eq!(metrics["iterations"]["count"], 20, "{}", run.name);
        assert_eq!(metrics["http_reqs"]["thresholds"], json!({"count>=20": false}));
        let submetric = &metrics["http_req_duration{kind:a}"];
        assert_eq!(submetric["thresholds"], json!({"avg<2000": false}), "{export}");
    }
    volume.delete().await;
}

/// It sends a message at its end, writes a file on a volume, and says how the threshold stands.
const HOOKED: &str = "import http from 'k6/http';
export const options = { vus: 2, iterations: 20, thresholds: { http_reqs: ['count>=20'] } };
export default function () { http.get('http://k6-target.k6-target.svc/'); }
";

#[tokio::test]
async fn handle_summary_of_each_form_is_called_once_with_the_whole_and_its_file_is_on_the_volume() {
    let test = Test::new("hooked").await;
    let volume = Volume::new(&test, "results").await.for_all();
    let said = "JSON.stringify({ reqs: data.metrics.http_reqs.values.count, ok: data.metrics.http_reqs.thresholds['count>=20'].ok })";
    let forms = [
        (
            "plain",
            format!(
                "export function handleSummary(data) {{
  http.post('http://k6-target.k6-target.svc/hook', 'done');
  return {{ '/results/plain.json': {said} }};
}}"
            ),
        ),
        (
            "asynchronous",
            format!(
                "export async function handleSummary(data) {{
  await http.asyncRequest('POST', 'http://k6-target.k6-target.svc/hook', 'done');
  return {{ '/results/asynchronous.json': {said} }};
}}"
            ),
        ),
        (
            "promise",
            format!(
                "export const handleSummary = (data) => http.asyncRequest('POST', 'http://k6-target.k6-target.svc/hook', 'done')
  .then(() => ({{ '/results/promise.json': {said} }}));"
            ),
        ),
        (
            "archive",
            format!(
                "export function handleSummary(data) {{
  http.post('http://k6-target.k6-target.svc/hook', 'done');
  return {{ '/results/archive.json': {said} }};
}}"
            ),
        ),
    ];
    let mut runs = Vec::new();
    for (name, handler) in &forms {
        let source = format!("{HOOKED}{handler}\n");
        let file = if *name == "archive" {
            let folder = TempDir::new().unwrap();
            std::fs::write(folder.path().join("main.js"), source).unwrap();
            k6(folder.path(), &["archive", "-O", "test.tar", "main.js"]);
            let archive = std::fs::read(folder.path().join("test.tar")).unwrap();
            let mut map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
            map.binary_data = Some(BTreeMap::from([("test.tar".to_owned(), ByteString(archive))]));
            let maps: Api<ConfigMap> = Api::namespaced(test.client.clone(), &test.namespace);
            maps.create(&PostParams::default(), &map).await.unwrap();
            "test.tar"
        } else {
            test.script(name, &source).await;
            "test.js"
        };
        let spec = json!({
            "parallelism": 2,
            "script": {"configMap": {"name": name, "file": file}},
            "runner": with_results(&[]),
        });
        runs.push(Run::apply(&test, Kind::TestRun, name, spec));
    }
    for run in &runs {
        run.passes().await;
        let kept = documents(&test, &run.name).await;
        assert!(!kept.contains_key("handleSummary-error.txt"), "{kept:?}");
        let said: Value = serde_json::from_str(&volume.files()[&format!("{}.json", run.name)]).unwrap();
        assert_eq!(said, json!({"reqs": 20, "ok": true}), "{}", run.name);
        let addresses: Vec<String> = run.pods("runner").await.iter().map(ip).collect();
        // The 20 of the test, and the message.
        assert_eq!(requests(&addresses).into_iter().sum::<u64>(), 21, "{}", run.name);
    }
    volume.delete().await;
}

const PROTO: &str = "syntax = \"proto3\";
package hunt;
service Greeter { rpc Greet (Ask) returns (Answer); }
message Ask { string name = 1; }
message Answer { string text = 1; }
";

#[tokio::test]
async fn what_a_script_names_by_a_relative_path_is_found_where_its_handle_summary_runs() {
    let test = Test::new("relative").await;
    const LOAD: &str = "export const options = { vus: 2, iterations: 6 };
export default function () {}
";
    const SAID: &str = "'verdict.txt': 'iterations ' + data.metrics.iterations.values.count";
    let grpc = "import grpc from 'k6/net/grpc';
const client = new grpc.Client();
client.load([], 'hello.proto');
";
    let inputs = [
        (
            "proto",
            format!("{grpc}{LOAD}export function handleSummary(data) {{ return {{ {SAID} }}; }}"),
            Some("iterations 6"),
        ),
        ("no-handler", format!("{grpc}{LOAD}"), None),
        (
            "opened",
            format!(
                "import {{ open as opened }} from 'k6/experimental/fs';
import {{ word }} from './words.js';
const file = await opened('./hello.proto');
{LOAD}export async function handleSummary(data) {{
  const bytes = new Uint8Array((await file.stat()).size);
  await file.read(bytes);
  return {{ {SAID} + ' ' + word + ' ' + String.fromCharCode(...bytes.slice(0, 6)) }};
}}"
            ),
            Some("iterations 6 imported syntax"),
        ),
    ];
    let mut runs = Vec::new();
    for (name, source, said) in &inputs {
        let words = "export const word = 'imported';";
        let files = [
            ("test.js", source.as_str()),
            ("hello.proto", PROTO),
            ("words.js", words),
        ];
        test.config_map(name, &files).await;
        let spec = json!({"parallelism": 2, "script": {"configMap": {"name": name, "file": "test.js"}}});
        runs.push((Run::apply(&test, Kind::TestRun, name, spec), *said));
    }
    for (run, said) in &runs {
        run.passes().await;
        let kept = documents(&test, &run.name).await;
        assert!(
            !kept.contains_key("handleSummary-error.txt"),
            "{}: {kept:?}",
            run.name
        );
        let verdict = kept.get("handleSummary-verdict.txt").map(String::as_str);
        assert_eq!(verdict, *said, "{}", run.name);
    }
}

/// Each time it says what it was given, and what setup() returned.
#[tokio::test]
async fn handle_summary_is_given_what_setup_returned_and_what_is_kept_has_it_not() {
    let test = Test::new("given").await;
    let script = "export const options = { vus: 2, iterations: 4 };
export function setup() { return { token: 's3cret', list: [1, null] }; }
export default function () {}
export async function handleSummary(data) {
  return { 'bytes.bin': new Uint8Array([0, 255, 10]).buffer, 'given.txt': JSON.stringify(data.setup_data.list) };
}
";
    test.script("given", script).await;
    let spec =
        |setup: &str| json!({"parallelism": 2, "script": {"configMap": {"name": "given"}}, "setup": setup});
    let runs = ["once", "perRunner"].map(|setup| {
        let name = setup.to_lowercase();
        Run::apply(&test, Kind::TestRun, &name, spec(setup))
    });
    for run in &runs {
        run.passes().await;
        let kept = documents(&test, &run.name).await;
        assert_eq!(kept["handleSummary-given.txt"], "[1,null]", "{}", run.name);
        for (name, document) in &kept {
            assert!(!document.contains("s3cret"), "{}: {name}", run.name);
        }
    }
}

/// More checks than a ConfigMap has room for, and a file of handleSummary() beside.
const LARGE: &str = "import { check } from 'k6';
export const options = { vus: 1, iterations: 1 };
export default function () {
  for (let i = 0; i < 2500; i++) check(i, { [`order ${i} of ${'x'.repeat(100)} has its price`]: () => true });
}
export function handleSummary() { return { 'small.txt': 'small', 'large.txt': 'x'.repeat(950000) }; }
";

#[tokio::test]
async fn summary_that_is_too_large_is_cut_with_a_name_for_what_is_left_out() {
    let test = Test::new("large").await;
    test.script("large", LARGE).await;
    let spec = json!({"parallelism": 1, "script": {"configMap": {"name": "large"}}});
    let run = Run::apply(&test, Kind::TestRun, "large", spec);
    let status = run.passes().await;
    assert_eq!(status.summary.unwrap().checks_passed, 2500);
    let maps: Api<ConfigMap> = Api::namespaced(test.client.clone(), &test.namespace);
    let map = maps.get("large-summary").await.unwrap();
    let left_out = map.metadata.annotations.unwrap()["k6.io/left-out"].clone();
    let names = [
        "the rest of summary.txt",
        "the checks of summary.json",
        "handleSummary-large.txt",
    ];
    contains_all(&left_out, &names);
    let kept = map.data.unwrap();
    assert_eq!(kept["handleSummary-small.txt"], "small");
    contains_all(&kept["summary.txt"], &["order 10 of", "is left out"]);
    let data: Value = serde_json::from_str(&kept["summary.json"]).unwrap();
    assert_eq!(data["metrics"]["checks"]["values"]["passes"], 2500);
    let told = event(&run, "SummaryCut").await;
    contains_all(&told, &names);
}

#[tokio::test]
async fn summary_that_cannot_be_kept_costs_no_result_and_is_told() {
    let test = Test::new("unkept").await;
    let script = "export const options = { vus: 1, iterations: 3, thresholds: { iterations: ['count==3'] } };
export default function () {}
";
    test.script("unkept", script).await;
    test.config_map("unkept-summary", &[("mine", "it was here before")])
        .await;
    let spec = json!({"parallelism": 1, "script": {"configMap": {"name": "unkept"}}});
    let run = Run::apply(&test, Kind::TestRun, "unkept", spec);
    let status = run.passes().await;
    contains_all(&status.message.unwrap(), &["ConfigMap unkept-summary exists"]);
    assert_eq!(status.summary.unwrap().iterations, 3);
    let told = event(&run, "SummaryNotKept").await;
    contains_all(&told, &["ConfigMap unkept-summary exists"]);
    assert_eq!(documents(&test, "unkept").await["mine"], "it was here before");
}

/// The Events of a run with this reason.
async fn event(run: &Run<'_>, reason: &str) -> String {
    let what = format!("there is an Event {reason}");
    run.test
        .until(&what, LIMIT, async || {
            let events = run
                .test
                .kubectl(&["events", "--for", &run.path(), "--no-headers"]);
            events.contains(reason).then_some(events)
        })
        .await
}

/// How many bytes of data the script reads when it is loaded.
const INIT_DATA: usize = 200_000_000;

/// One k6 needs about five times the size of the file, as measured with 1.1.0 and 2.2.0. The limit has no room for two.
#[tokio::test]
async fn init_data_of_hundreds_of_megabytes_is_in_memory_once_also_for_handle_summary() {
    let test = Test::new("init-data").await;
    let volume = Volume::new(&test, "results").await;
    volume.write("data.txt", &"0123456789".repeat(INIT_DATA / 10));
    let script = "const bytes = open('/results/data.txt', 'b');
export const options = { vus: 2, iterations: 4, thresholds: { iterations: ['count==4'] } };
export default function () { if (bytes.byteLength < 1000) throw new Error('there is no data'); }
export function handleSummary(data) {
  return { 'said.txt': `${bytes.byteLength} ${data.metrics.iterations.values.count}` };
}
";
    test.script("data", script).await;
    let mut runner = with_results(&[]);
    runner["resources"] = json!({"limits": {"memory": "1600Mi"}});
    let spec = json!({
        "parallelism": 2,
        "script": {"configMap": {"name": "data"}},
        "runner": runner,
        "initializer": {"resources": {"limits": {"memory": "4Gi"}}},
        "aggregation": {"resources": {"limits": {"memory": "64Mi"}}},
    });
    let run = Run::apply(&test, Kind::TestRun, "data", spec);
    run.reaches(StateName::Started).await;
    let status = run.passes().await;
    assert_eq!(status.summary.unwrap().incomplete, Vec::<String>::new());
    let kept = documents(&test, "data").await;
    assert!(!kept.contains_key("handleSummary-error.txt"), "{kept:?}");
    assert_eq!(kept["handleSummary-said.txt"], format!("{INIT_DATA} 4"));
    volume.delete().await;
}

/// 20 requests a second of all runners.
const STEADY: &str = "import http from 'k6/http';
import exec from 'k6/execution';
export const options = { scenarios: { steady: {
  executor: 'constant-arrival-rate', rate: 20, timeUnit: '1s', duration: '10m', preAllocatedVUs: 4, gracefulStop: '0s',
} } };
export default function () {
  http.get('http://k6-target.k6-target.svc/');
  const is_late = exec.instance.currentTestRunDuration > 10000;
  if (__ENV.ABORTS && is_late && exec.vu.idInTest === 1) exec.test.abort('the shop is down');
}
";

#[tokio::test]
async fn rate_of_a_test_that_ends_early_is_that_of_its_load() {
    // What it measures are rates, so no other test may load the machine.
    let test = Test::alone("early").await;
    test.script("steady", STEADY).await;
    let ends = [
        ("stop", json!({}), Reason::StopRequested, RunResult::Aborted),
        (
            "abort",
            json!({"runner": {"env": [{"name": "ABORTS", "value": "yes"}]}}),
            Reason::TestAborted,
            RunResult::Aborted,
        ),
        (
            "deadline",
            json!({"timeouts": {"run": "10s"}}),
            Reason::RunDeadlineExceeded,
            RunResult::Error,
        ),
    ];
    for (name, more, reason, result) in ends {
        let mut spec = json!({"parallelism": 2, "script": {"configMap": {"name": "steady"}}});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let run = Run::apply(&test, Kind::TestRun, name, spec);
        run.reaches(StateName::Started).await;
        if name == "stop" {
            tokio::time::sleep(Duration::from_secs(10)).await;
            run.edit(json!({"stop": true}));
        }
        let status: Status = run.ends(result, reason).await;
        let summary = status.summary.unwrap();
        assert_eq!(summary.incomplete, Vec::<String>::new(), "{name}");
        let data: Value = serde_json::from_str(&documents(&test, name).await["summary.json"]).unwrap();
        let rate = data["metrics"]["http_reqs"]["values"]["rate"].as_f64().unwrap();
        let seconds = data["state"]["testRunDurationMs"].as_f64().unwrap() / 1e3;
        // An abort reaches the other runner up to a second later, which makes half of the load till then.
        assert!((18.0..21.0).contains(&rate), "{name}: {rate} in {seconds} s");
    }
}
