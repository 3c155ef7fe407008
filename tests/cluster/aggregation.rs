//! One result for all runners: thresholds over the whole test, setup() once, and the summary that is kept.

use crate::facts::asked;
use crate::support::{Test, ip};
use k6_operator::api::{Cleanup, Status};
use k6_operator::machine::{Reason, RunResult, StateName};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

fn summary_of(status: &Status) -> &k6_operator::api::status::Summary {
    status
        .summary
        .as_ref()
        .unwrap_or_else(|| panic!("no summary: {status:#?}"))
}

/// How many requests the target has had of each of these addresses.
pub fn requests(addresses: &[String]) -> Vec<u64> {
    let asked = asked();
    let of = |address: &String| asked.get(address).map_or(0, |asked| asked.requests);
    addresses.iter().map(of).collect()
}

/// The documents of a run that is Finished: they are there in the moment in which its status says so.
pub async fn documents(test: &Test, name: &str) -> BTreeMap<String, String> {
    let maps: Api<ConfigMap> = Api::namespaced(test.client.clone(), &test.namespace);
    let map = maps.get(&format!("{name}-summary")).await;
    map.expect("the summary can be read when the run is Finished")
        .data
        .unwrap()
}

#[tokio::test]
async fn a_threshold_that_only_the_whole_crosses_fails_the_run() {
    let test = Test::new("whole").await;
    // 20 of each runner: each alone would pass.
    let script = "import { sleep } from 'k6';
export const options = {
  scenarios: { all: { executor: 'shared-iterations', vus: 4, iterations: 40 } },
  thresholds: { iterations: ['count<30'], iteration_duration: ['p(95)<5000'] },
};
export default function () { sleep(0.1); }
";
    test.script("whole", script).await;
    test.apply("whole", json!({"parallelism": 2, "script": "whole"}));
    let status = test
        .ends("whole", RunResult::Failed, Reason::ThresholdsCrossed)
        .await;
    let message = status.message.as_deref().unwrap();
    assert_eq!(message, "1 of 2 thresholds crossed: iterations count<30 is 40");
    let summary = summary_of(&status);
    assert_eq!(summary.iterations, 40);
    assert_eq!((summary.thresholds_passed, summary.thresholds_failed), (1, 1));
    assert_eq!(summary.incomplete, Vec::<String>::new());
    // k6 itself found nothing wrong: one runner exits as k6 does then, for those that read exit codes.
    let codes: Vec<_> = status.failures.iter().map(|failure| failure.exit_code).collect();
    assert_eq!(codes, [Some(99)], "{:?}", status.failures);
    assert_eq!(status.runners.unwrap().summary, "2/2");
    let all = test.kubectl(&["get", "k6", "whole", "-o", "wide"]);
    assert!(all.contains("P95") && all.contains("FAILED"), "{all}");
}

#[tokio::test]
async fn a_script_that_names_no_users_is_judged_by_its_own_tags_and_a_proxy_to_its_target_takes_no_numbers() {
    let test = Test::new("tagged").await;
    let script = "export const options = {
  iterations: 7, tags: { team: 'checkout $(HOME)' },
  thresholds: { 'iterations{team:checkout $(HOME)}': ['count==7'] },
};
export default function () {}
";
    test.script("tagged", script).await;
    let proxy =
        json!([{"name": "HTTP_PROXY", "value": "http://127.0.0.1:9"}, {"name": "NO_PROXY", "value": ".svc"}]);
    test.apply(
        "tagged",
        json!({"parallelism": 1, "script": "tagged", "runner": {"env": proxy}}),
    );
    let status = test
        .ends("tagged", RunResult::Passed, Reason::AllRunnersPassed)
        .await;
    let summary = summary_of(&status);
    assert_eq!((summary.iterations, summary.thresholds_passed), (7, 1));
    assert_eq!(summary.incomplete, Vec::<String>::new());
    let plan = status.plan.unwrap();
    assert_eq!(plan.max_vus, Some(1));
    assert_eq!(plan.tags["team"], "checkout $(HOME)");
}

#[tokio::test]
async fn memory_settings_reach_k6_unless_the_user_has_some_and_a_tag_that_a_threshold_names_is_kept() {
    let test = Test::new("lean").await;
    // Without the threshold, no `status` would be exported.
    let script = "import http from 'k6/http';
import { check } from 'k6';
export const options = {
  iterations: 4,
  thresholds: { 'http_reqs{status:404}': ['count==4'], checks: ['rate==1'] },
};
export default function () {
  http.get('http://k6-target.k6-target.svc/status/404');
  const found = `${__ENV.GOGC} ${__ENV.GOMEMLIMIT}`;
  check(found, { [found]: (found) => found === __ENV.EXPECTED });
}
";
    test.script("lean", script).await;
    let mib = 1024 * 1024;
    let nine_tenths = 256 * mib / 10 * 9;
    for (name, env, expected) in [
        ("ours", json!([]), format!("330 {nine_tenths}")),
        (
            "growth",
            json!([{"name": "GOGC", "value": "50"}]),
            "50 undefined".to_owned(),
        ),
        (
            "limit",
            json!([{"name": "GOMEMLIMIT", "value": "64MiB"}]),
            "undefined 64MiB".to_owned(),
        ),
    ] {
        let mut env = env.as_array().unwrap().clone();
        env.push(json!({"name": "EXPECTED", "value": expected}));
        test.apply(
            name,
            json!({"parallelism": 1, "script": "lean",
                   "runner": {"env": env, "resources": {"limits": {"memory": "256Mi"}}}}),
        );
    }
    for name in ["ours", "growth", "limit"] {
        let status = test.ends(name, RunResult::Passed, Reason::AllRunnersPassed).await;
        let summary = summary_of(&status);
        assert_eq!((summary.thresholds_passed, summary.thresholds_failed), (2, 0));
        let tags = status.plan.unwrap().aggregation.unwrap().system_tags.unwrap();
        assert!(
            tags.split(',').any(|tag| tag == "status") && !tags.contains("url"),
            "{tags}"
        );
    }
}

#[tokio::test]
async fn setup_and_teardown_run_once_for_all_runners_and_the_summary_is_kept_with_what_handle_summary_says() {
    let test = Test::new("once").await;
    let script = "import http from 'k6/http';
import { check, sleep } from 'k6';
export const options = { vus: 4, iterations: 12, thresholds: { checks: ['rate==1'] } };
export function setup() { http.get('http://k6-target.k6-target.svc/setup'); return { token: 'a secret' }; }
export default function (data) {
  check(data, { 'the data of setup is there': (d) => d.token === 'a secret' });
  sleep(0.5);
}
export function teardown(data) { http.get('http://k6-target.k6-target.svc/teardown'); }
export function handleSummary(data) {
  return {
    'results/iterations.txt': `there were ${data.metrics.iterations.values.count} iterations`,
    stdout: 'said by handleSummary\\n',
  };
}
";
    test.script("once", script).await;
    test.apply("once", json!({"parallelism": 3, "script": "once"}));
    let running = test.reaches("once", StateName::Started).await;
    assert_eq!(running.plan.unwrap().aggregation.unwrap().setup_seconds, Some(60));
    let runners: Vec<String> = test.pods_of("once", "runner").await.iter().map(ip).collect();
    let status = test.passes("once").await;
    let message = status.message.as_deref().unwrap();
    assert_eq!(
        message,
        "3 of 3 runners passed; the threshold holds over all runners"
    );
    let summary = summary_of(&status);
    assert_eq!(
        (summary.iterations, summary.checks_passed, summary.checks_failed),
        (12, 12, 0)
    );
    assert_eq!(summary.requests, 2);
    assert_eq!(summary.incomplete, Vec::<String>::new());
    // As the target counts them.
    assert_eq!(requests(&runners).into_iter().sum::<u64>(), 2);

    let documents = documents(&test, "once").await;
    let data: Value = serde_json::from_str(&documents["summary.json"]).unwrap();
    assert_eq!(data["metrics"]["iterations"]["values"]["count"], 12);
    assert_eq!(data["metrics"]["checks"]["thresholds"]["rate==1"]["ok"], true);
    assert_eq!(
        documents["handleSummary-results_iterations.txt"],
        "there were 12 iterations"
    );
    assert_eq!(documents["handleSummary-stdout"], "said by handleSummary\n");
    let text = &documents["summary.txt"];
    for words in ["the data of setup is there", "iterations", "rate==1"] {
        assert!(text.contains(words), "{text}");
    }
    assert!(documents["report.html"].starts_with("<!doctype html>"));
    // What measured is gone; what it measured stays.
    test.until("the aggregator is gone", Duration::from_secs(60), async || {
        let jobs = test.job_names().await;
        let gone = jobs.iter().all(|job| !job.ends_with("-aggregator"));
        let services: Api<Service> = Api::namespaced(test.client.clone(), &test.namespace);
        let services = services.list(&ListParams::default()).await.unwrap().items;
        (gone && services.is_empty()).then_some(())
    })
    .await;
    test.kubectl(&["delete", "jobs", "--all"]);
    assert!(
        test.kubectl(&["get", "configmap", "once-summary"])
            .contains("once-summary")
    );
}

#[tokio::test]
async fn a_threshold_that_aborts_stops_all_runners() {
    let test = Test::new("aborts").await;
    // 10 iterations a second for a minute; the threshold is crossed after 4 seconds.
    let script = "import { Counter } from 'k6/metrics';
const late = new Counter('late');
export const options = {
  scenarios: { all: { executor: 'constant-arrival-rate', rate: 10, duration: '1m', preAllocatedVUs: 4 } },
  thresholds: { late: [{ threshold: 'count<2', abortOnFail: true }] },
};
const begun = Date.now();
export default function () { if (Date.now() - begun > 4000) { late.add(1); } }
";
    test.script("aborts", script).await;
    test.apply("aborts", json!({"parallelism": 2, "script": "aborts"}));
    let status = test
        .ends("aborts", RunResult::Failed, Reason::ThresholdsCrossed)
        .await;
    let message = status.message.as_deref().unwrap();
    assert!(
        message.starts_with("1 of 1 thresholds crossed: late count<2 is "),
        "{message}"
    );
    // Not more than those of 5 s after the crossing and some of its beginning, of 600.
    let summary = summary_of(&status);
    assert!(summary.iterations < 150, "{summary:?}");
    let text = &documents(&test, "aborts").await["summary.txt"];
    assert!(text.contains("late"), "{text}");
}

#[tokio::test]
async fn a_run_without_aggregation_says_so_and_its_runners_judge_each_their_own() {
    let test = Test::new("apart").await;
    let script = "import http from 'k6/http';
export const options = { vus: 2, iterations: 8, thresholds: { iterations: ['count<5'] } };
export function setup() { http.get('http://k6-target.k6-target.svc/setup'); }
export default function () {}
";
    test.script("apart", script).await;
    test.apply(
        "apart",
        json!({"parallelism": 2, "script": "apart", "aggregation": {"enabled": false}, "paused": "true"}),
    );
    test.reaches("apart", StateName::Started).await;
    let runners: Vec<String> = test.pods_of("apart", "runner").await.iter().map(ip).collect();
    let status = test.passes("apart").await;
    let plan = status.plan.unwrap();
    assert_eq!(plan.aggregation, None);
    assert_eq!(
        plan.not_aggregated.as_deref(),
        Some("spec.aggregation.enabled is false")
    );
    assert_eq!(status.summary, None);
    assert_eq!(requests(&runners), [1, 1]);
    let names = ["apart-1", "apart-2", "apart-initializer", "apart-starter"];
    assert_eq!(test.job_names().await, names);
}

#[tokio::test]
async fn setup_runs_in_each_runner_if_asked_and_one_that_fails_before_the_start_ends_the_run_with_its_message()
 {
    let test = Test::new("setup").await;
    let script = "import http from 'k6/http';
export const options = { vus: 2, iterations: 8 };
export function setup() { http.get('http://k6-target.k6-target.svc/setup'); }
export default function () {}
";
    test.script("each", script).await;
    test.apply(
        "each",
        json!({"parallelism": 2, "script": "each", "setup": "perRunner"}),
    );
    test.reaches("each", StateName::Started).await;
    let runners: Vec<String> = test.pods_of("each", "runner").await.iter().map(ip).collect();
    let status = test.passes("each").await;
    assert_eq!(
        status
            .plan
            .as_ref()
            .unwrap()
            .aggregation
            .as_ref()
            .unwrap()
            .setup_seconds,
        None
    );
    assert_eq!(requests(&runners), [1, 1]);

    let script = "export const options = { vus: 2, iterations: 8 };
export function setup() { throw new Error('no tokens are left'); }
export default function () {}
";
    test.script("none", script).await;
    test.apply("none", json!({"parallelism": 2, "script": "none"}));
    test.errs("none", Reason::StartFailed, &["setup", "no tokens are left"])
        .await;
}

#[tokio::test]
async fn an_aggregator_that_is_lost_during_the_test_comes_back_and_loses_nothing() {
    let test = Test::new("lost").await;
    let script = "import { sleep } from 'k6';
export const options = {
  scenarios: { all: { executor: 'shared-iterations', vus: 4, iterations: 240 } },
  thresholds: { iterations: ['count==240'] },
};
export default function () { sleep(0.5); }
";
    test.script("lost", script).await;
    test.apply("lost", json!({"parallelism": 2, "script": "lost"}));
    test.reaches("lost", StateName::Started).await;
    let now = DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::default()
    };
    for pod in test.pods_of("lost", "aggregator").await {
        test.pods()
            .delete(pod.metadata.name.as_deref().unwrap(), &now)
            .await
            .unwrap();
    }
    let live = test
        .status_when("lost", "seen to measure", |status| {
            status
                .summary
                .as_ref()
                .is_some_and(|summary| summary.iterations > 0)
        })
        .await;
    assert!(summary_of(&live).iterations <= 240);
    let status = test.passes("lost").await;
    let summary = summary_of(&status);
    assert_eq!(summary.iterations, 240);
    assert_eq!(summary.incomplete, Vec::<String>::new());
}

#[tokio::test]
async fn a_script_with_thresholds_whose_aggregator_is_taken_away_never_passes() {
    let test = Test::new("taken").await;
    let script = "import { sleep } from 'k6';
export const options = { vus: 2, duration: '6s', thresholds: { iterations: ['count>0'] } };
export default function () { sleep(0.5); }
";
    test.script("taken", script).await;
    test.apply("taken", json!({"parallelism": 2, "script": "taken"}));
    test.reaches("taken", StateName::Started).await;
    test.kubectl(&["delete", "job", "taken-aggregator"]);
    let words = ["thresholds could not be judged", "its Job was deleted"];
    test.errs("taken", Reason::AggregationFailed, &words).await;
}

/// Here a run asks for a Service of its name in each suite. Elsewhere it does only if the operator was restarted at the
/// right moment, and tests/cluster/check compares what the suites ask for.
#[tokio::test]
async fn a_service_of_another_that_has_the_aggregators_name_is_told_and_left_alone() {
    let test = Test::new("occupied").await;
    let script = "export const options = { vus: 2, iterations: 2 };\nexport default function () {}\n";
    test.script("occupied", script).await;
    test.kubectl(&[
        "create",
        "service",
        "clusterip",
        "occupied-aggregator",
        "--tcp=80",
    ]);
    test.apply("occupied", json!({"parallelism": 2, "script": "occupied"}));
    let words = ["Service occupied-aggregator exists and is not this run's"];
    test.errs("occupied", Reason::NameConflict, &words).await;
    test.kubectl(&["get", "service", "occupied-aggregator"]);
    test.kubectl(&["delete", "service", "occupied-aggregator"]);
}

#[tokio::test]
async fn a_malformed_threshold_ends_the_run_before_a_runner_is_made() {
    let test = Test::new("malformed").await;
    let script =
        "export const options = { vus: 2, iterations: 2, thresholds: { iterations: ['count less than 3'] } };
export default function () {}
";
    test.script("malformed", script).await;
    test.apply("malformed", json!({"parallelism": 2, "script": "malformed"}));
    test.errs("malformed", Reason::ScriptError, &["count less than 3"])
        .await;
    assert_eq!(test.job_names().await, ["malformed-initializer"]);
}

#[tokio::test]
async fn a_resource_that_is_deleted_after_its_run_takes_its_summary_along() {
    let test = Test::new("along").await;
    let script = "export const options = { vus: 2, iterations: 2 };
export default function () {}
";
    test.script("along", script).await;
    let spec = json!({"parallelism": 2, "script": "along", "cleanup": Cleanup::Post});
    test.apply("along", spec);
    test.until("all is gone", Duration::from_secs(90), async || {
        test.k6s().get_opt("along").await.unwrap().is_none().then_some(())
    })
    .await;
    test.nothing_left().await;
}

#[tokio::test]
async fn a_run_that_is_stopped_keeps_what_was_measured_until_then_and_tears_down() {
    let test = Test::new("stopped").await;
    let script = "import http from 'k6/http';
import { sleep } from 'k6';
export const options = { vus: 2, duration: '10m', thresholds: { iterations: ['count<1'], http_reqs: ['count<1000'] } };
export default function () { sleep(0.2); }
export function teardown() { http.get('http://k6-target.k6-target.svc/teardown'); }
";
    test.script("stopped", script).await;
    test.apply("stopped", json!({"parallelism": 2, "script": "stopped"}));
    test.reaches("stopped", StateName::Started).await;
    let runners: Vec<String> = test.pods_of("stopped", "runner").await.iter().map(ip).collect();
    test.status_when("stopped", "seen to measure", |status| {
        status
            .summary
            .as_ref()
            .is_some_and(|summary| summary.iterations > 0)
    })
    .await;
    let stop = r#"{"spec":{"stop":true}}"#;
    test.kubectl(&["patch", "k6", "stopped", "--type=merge", "-p", stop]);
    let status = test
        .ends("stopped", RunResult::Aborted, Reason::StopRequested)
        .await;
    let message = status.message.as_deref().unwrap();
    let told = "Stopped, as spec.stop asks; until then, 1 of 2 thresholds crossed: iterations count<1 is ";
    assert!(message.starts_with(told), "{message}");
    let summary = summary_of(&status);
    assert!(summary.iterations > 0, "{summary:?}");
    assert_eq!(summary.incomplete, Vec::<String>::new());
    // teardown(), once.
    assert_eq!(summary.requests, 1);
    assert_eq!(requests(&runners).into_iter().sum::<u64>(), 1);
    let documents = documents(&test, "stopped").await;
    let data: Value = serde_json::from_str(&documents["summary.json"]).unwrap();
    assert_eq!(
        data["metrics"]["iterations"]["values"]["count"],
        summary.iterations
    );
    assert!(documents["report.html"].contains("StopRequested"));
}

#[tokio::test]
async fn what_a_user_sends_elsewhere_goes_there_beside_the_merged_result() {
    let test = Test::new("beside").await;
    let script = "export const options = { vus: 2, iterations: 6, thresholds: { iterations: ['count==6'] } };
export default function () {}
";
    test.script("beside", script).await;
    test.kubectl(&["create", "configmap", "outputs", "--from-literal=K6_OUT=csv=-"]);
    let everybody = json!({"envFrom": [{"configMapRef": {"name": "outputs"}}]});
    test.apply(
        "beside",
        json!({"parallelism": 2, "script": "beside", "arguments": "--out json=-", "runner": everybody}),
    );
    let status = test.passes("beside").await;
    assert_eq!(summary_of(&status).iterations, 6);
    for runner in ["job/beside-1", "job/beside-2"] {
        let log = test.kubectl(&["logs", runner]);
        assert!(
            log.contains(r#""metric":"iterations""#),
            "no JSON of {runner}: {log}"
        );
        assert!(
            log.contains("metric_name,timestamp,"),
            "no CSV of {runner}: {log}"
        );
    }
}
