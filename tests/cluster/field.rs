//! What people write and what their tools read: after public manifests, scripts and reports.
//!
//! Manifests with empty values, and namespaces with limits, are in `written.rs`.

use crate::run::{Run, contains_all};
use crate::sources::Volume;
use crate::support::{LIMIT, Test, sleeps};
use k6_operator::api::{Kind, Status};
use k6_operator::machine::{Reason, RunResult, StateName};
use k8s_openapi::api::core::v1::ContainerStateTerminated;
use kube::ResourceExt;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Ten iterations, of which each counts.
const TEN: &str = "import http from 'k6/http';
export const options = { vus: 2, iterations: 10, thresholds: { http_reqs: ['count==10'] } };
export default function () { console.log('hello'); http.get('http://k6-target.k6-target.svc/'); }
";

/// How many runs of one test are under way together.
const AT_ONCE: usize = 3;

/// The end of the container k6 of a runner's pod.
async fn ends(run: &Run<'_>) -> Vec<ContainerStateTerminated> {
    let pods = run.pods("runner").await;
    let statuses = pods.into_iter().map(|pod| {
        let status = pod.status.unwrap();
        let of_k6 = status
            .container_statuses
            .unwrap()
            .into_iter()
            .find(|one| one.name == "k6");
        of_k6.unwrap().state.unwrap().terminated.unwrap()
    });
    statuses.collect()
}

/// What a tool finds that knows grafana/k6-operator: the exit codes of the runners, by its labels.
fn exit_codes(run: &Run<'_>) -> Vec<String> {
    let codes = "jsonpath={.items[*].status.containerStatuses[?(@.name==\"k6\")].state.terminated.exitCode}";
    let selector = format!("app=k6,k6_cr={},runner=true", run.name);
    let found = run.test.kubectl(&["get", "pods", "-l", &selector, "-o", codes]);
    found.split_whitespace().map(str::to_owned).collect()
}

/// The names of the pods by the labels of grafana/k6-operator, without what Kubernetes adds.
fn counted(run: &Run<'_>) -> BTreeSet<String> {
    let selector = format!("app=k6,k6_cr={}", run.name);
    let found = run.test.kubectl(&["get", "pods", "-l", &selector, "-o", "name"]);
    let names = found.lines().filter_map(|line| line.strip_prefix("pod/"));
    names
        .map(|name| name.rsplit_once('-').unwrap().0.to_owned())
        .collect()
}

#[tokio::test]
async fn jobs_that_scripts_wait_for_can_be_waited_for_after_the_end() {
    let test = Test::new("wait-jobs").await;
    test.script("two", &sleeps(2, 5)).await;
    let script = json!({"configMap": {"name": "two", "file": "test.js"}});
    let spec = json!({"parallelism": 2, "script": script});
    for kind in Kind::ALL {
        let run = Run::apply(&test, kind, kind.plural(), spec.clone());
        run.reaches(StateName::Started).await;
        let name = run.name.clone();
        let parts = ["initializer", "starter", "1", "2"].map(|part| format!("{name}-{part}"));
        assert_eq!(counted(&run), BTreeSet::from(parts.clone()), "while it runs");
        // As users' pipelines wait: for each part, or for all that has the run's label.
        for part in &parts {
            test.kubectl(&[
                "wait",
                "--for=condition=complete",
                &format!("job/{part}"),
                "--timeout=60s",
            ]);
        }
        let of_run = format!("k6_cr={name}");
        test.kubectl(&[
            "wait",
            "--for=condition=complete",
            "job",
            "-l",
            &of_run,
            "--timeout=60s",
        ]);
        let finished = "--for=jsonpath={.status.stage}=finished";
        test.kubectl(&["wait", finished, &run.path(), "--timeout=60s"]);
        run.passes().await;
        assert_eq!(counted(&run), BTreeSet::from(parts.clone()), "after the end");
        assert_eq!(exit_codes(&run), ["0", "0"]);
        let waited = format!("job/{name}-initializer");
        test.kubectl(&["wait", "--for=condition=complete", &waited, "--timeout=5s"]);
    }
}

/// What tools see of a run that Failed, Jobs and exit codes included.
async fn shows_failure(run: &Run<'_>, reason: Reason, code: &str) -> Status {
    let status = run.ends(RunResult::Failed, reason).await;
    let codes = exit_codes(run);
    assert!(codes.iter().any(|found| found == code), "{}: {codes:?}", run.name);
    let failed = "jsonpath={.items[*].status.conditions[?(@.type==\"Failed\")].status}";
    let selector = format!("k6_cr={},runner=true", run.name);
    // Kubernetes tells the end of a Job some seconds after that of its container.
    let what = format!("a Job of {} is failed", run.name);
    run.test
        .until(&what, LIMIT, async || {
            let found = run.test.kubectl(&["get", "jobs", "-l", &selector, "-o", failed]);
            found.contains("True").then_some(())
        })
        .await;
    let stage = run
        .test
        .kubectl(&["get", &run.path(), "-o", "jsonpath={.status.stage}"]);
    assert_eq!(stage, "error", "{}", run.name);
    status
}

#[tokio::test]
async fn failed_test_is_seen_by_tools_that_read_exit_codes_or_jobs() {
    let test = Test::new("exit-codes").await;
    let failing = "import http from 'k6/http';
import { sleep } from 'k6';
export const options = { vus: 2, duration: '3s', thresholds: { http_req_failed: ['rate<0.01'] } };
export default function () { http.get('http://k6-target.k6-target.svc/status/503'); sleep(0.5); }
";
    // No runner crosses it by itself.
    let whole = "export const options = { vus: 2, iterations: 20, thresholds: { iterations: ['count<15'] } };
export default function () {}
";
    let at_once = "import { sleep } from 'k6';
import { Rate } from 'k6/metrics';
const good = new Rate('good');
export const options = {
  vus: 2, duration: '60s', thresholds: { 'good{step:pay}': [{ threshold: 'rate>0.9', abortOnFail: true }] },
};
export default function () { good.add(false, { step: 'pay' }); sleep(0.2); }
";
    let spec = |script: &str| json!({"parallelism": 2, "script": {"inline": script}});
    let runs = [
        Run::apply(&test, Kind::TestRun, "failing", spec(failing)),
        Run::apply(&test, Kind::K6, "whole", spec(whole)),
        Run::apply(&test, Kind::TestRun, "at-once", spec(at_once)),
    ];
    for run in &runs {
        shows_failure(run, Reason::ThresholdsCrossed, "99").await;
    }
}

#[tokio::test]
async fn runner_log_holds_the_json_that_its_users_parse() {
    let test = Test::new("json-logs").await;
    let script = "import http from 'k6/http';
import { check } from 'k6';
export const options = {
  vus: 2, iterations: 10, discardResponseBodies: true, thresholds: { checks: ['rate==1'], http_req_duration: ['avg<5000'] },
};
export default function () { check(http.get(__ENV.TARGET), { ok: (r) => r.status === 200 }); }
export function handleSummary(data) { return { stdout: JSON.stringify(data) }; }
";
    test.script("json", script).await;
    let env = json!([{"name": "TARGET", "value": "http://k6-target.k6-target.svc/"}]);
    let quiet = "--include-system-env-vars --log-output=none --quiet";
    let runs = [
        (
            "default",
            Kind::TestRun,
            json!({"arguments": "--include-system-env-vars --log-output=none"}),
        ),
        (
            "field",
            Kind::K6,
            json!({"arguments": "--log-output=none", "quiet": "true"}),
        ),
        ("argument", Kind::K6, json!({"arguments": quiet})),
    ]
    .map(|(name, kind, mut spec)| {
        spec["parallelism"] = json!(2);
        spec["script"] = json!({"configMap": {"name": "json"}});
        spec["runner"] = json!({"env": env});
        Run::apply(&test, kind, name, spec)
    });
    for run in &runs {
        run.passes().await;
        // One runner calls handleSummary(), with the data of all.
        let mut logs = Vec::new();
        for pod in run.pods("runner").await {
            let log = test.kubectl(&["logs", &pod.name_any(), "-c", "k6"]);
            logs.extend(Some(log.trim().to_owned()).filter(|log| !log.is_empty()));
        }
        let [log] = logs.as_slice() else {
            panic!("{}: {logs:?}", run.name)
        };
        let data: Value = serde_json::from_str(log).unwrap_or_else(|error| panic!("{error}: {log}"));
        assert_eq!(
            data["metrics"]["iterations"]["values"]["count"], 10,
            "{}",
            run.name
        );
    }
}

#[tokio::test]
async fn log_that_goes_elsewhere_costs_neither_the_result_nor_the_message() {
    let test = Test::new("log-output").await;
    test.script("ten", TEN).await;
    test.script("bad", "export default function () { return 1 +; }")
        .await;
    let ways = [
        ("json", "--log-output=stdout --log-format json", json!([])),
        ("file", "--log-output=file=/tmp/k6.log", json!([])),
        ("none", "--log-output=none", json!([])),
        (
            "loki",
            "--log-output=loki=http://k6-target.k6-target.svc/loki",
            json!([]),
        ),
        (
            "variable",
            "",
            json!([{"name": "K6_LOG_OUTPUT", "value": "none"}]),
        ),
        (
            "variables",
            "",
            json!([{"name": "K6_LOG_OUTPUT", "value": "file=/tmp/k6.log,level=info"}, {"name": "K6_LOG_FORMAT", "value": "json"}]),
        ),
        ("raw", "--log-format=raw", json!([])),
    ];
    let spec = |script: &str, arguments: &str, env: &Value| {
        json!({
            "parallelism": 1, "arguments": format!("--tag testid=d {arguments}"), "runner": {"env": env},
            "script": {"configMap": {"name": script}}
        })
    };
    let ways = ways.iter().zip(Kind::ALL.into_iter().cycle());
    let ways: Vec<_> = ways.collect();
    for some in ways.chunks(AT_ONCE) {
        let runs = some.iter().map(|((name, arguments, env), kind)| {
            Run::apply(&test, *kind, name, spec("ten", arguments, env))
        });
        for run in runs.collect::<Vec<_>>() {
            let plan = run.passes().await.plan.unwrap();
            assert!(
                plan.aggregation.is_some(),
                "{}: {:?}",
                run.name,
                plan.not_aggregated
            );
        }
    }
    let bad = ways
        .iter()
        .filter(|((name, ..), _)| matches!(*name, "none" | "file" | "variable"));
    let bad = bad.map(|((name, arguments, env), kind)| {
        Run::apply(&test, *kind, &format!("bad-{name}"), spec("bad", arguments, env))
    });
    for run in bad.collect::<Vec<_>>() {
        run.errs(Reason::ScriptError, &["Unexpected token ;"]).await;
    }
}

#[tokio::test]
async fn variables_of_opentelemetry_change_no_result() {
    let test = Test::new("otel").await;
    test.script("ten", TEN).await;
    test.config_map(
        "otel-env",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://k6-target.k6-target.svc:80"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=abc"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "5000"),
        ],
    )
    .await;
    let variables = |variables: &[(&str, &str)]| {
        let list: Vec<Value> = variables
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        json!({"env": list})
    };
    let ways = [
        (
            "config-map",
            json!({"envFrom": [{"configMapRef": {"name": "otel-env"}}]}),
        ),
        (
            "gzip",
            variables(&[("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip")]),
        ),
        (
            "disabled",
            variables(&[("OTEL_SDK_DISABLED", "true"), ("OTEL_METRICS_EXPORTER", "none")]),
        ),
        (
            "delta",
            variables(&[
                ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
                (
                    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                    "http://k6-target.k6-target.svc:80/v1/metrics",
                ),
                ("OTEL_METRIC_EXPORT_INTERVAL", "60000"),
                ("OTEL_METRIC_EXPORT_TIMEOUT", "1"),
            ]),
        ),
        (
            "of-k6",
            variables(&[
                ("K6_OTEL_EXPORTER_PROTOCOL", "grpc"),
                ("K6_OTEL_GRPC_EXPORTER_ENDPOINT", "collector.invalid:4317"),
                ("K6_OTEL_METRIC_PREFIX", "k6_"),
                ("K6_OTEL_SERVICE_NAME", "shop"),
                ("K6_OTEL_EXPORT_INTERVAL", "1m"),
                ("K6_OTEL_FLUSH_INTERVAL", "1m"),
            ]),
        ),
        (
            "tls",
            variables(&[
                (
                    "OTEL_EXPORTER_OTLP_CERTIFICATE",
                    "/etc/ssl/certs/ca-certificates.crt",
                ),
                ("K6_OTEL_TLS_INSECURE_SKIP_VERIFY", "true"),
            ]),
        ),
    ];
    for some in ways.chunks(AT_ONCE) {
        let runs = some.iter().map(|(name, runner)| {
            let spec = json!({"parallelism": 1, "script": {"configMap": {"name": "ten"}}, "runner": runner});
            Run::apply(&test, Kind::TestRun, name, spec)
        });
        for run in runs.collect::<Vec<_>>() {
            let status = run.passes().await;
            assert_eq!(status.summary.unwrap().requests, 10, "{}", run.name);
        }
    }
}

#[tokio::test]
async fn abort_in_one_runner_ends_the_others_within_seconds() {
    // What it measures is how long it takes, so no other test may load the machine.
    let test = Test::alone("abort-one").await;
    let script = "import http from 'k6/http';
import exec from 'k6/execution';
import { sleep } from 'k6';
export const options = { vus: 3, duration: '40s' };
export default function () {
  http.get('http://k6-target.k6-target.svc/');
  if (exec.vu.idInTest === 1 && exec.instance.currentTestRunDuration > 3000) exec.test.abort('the shop is down');
  sleep(0.5);
}
export function teardown() { console.log('torn down'); }
";
    test.script("abort", script).await;
    let spec = json!({"parallelism": 3, "script": {"configMap": {"name": "abort"}}});
    let run = Run::apply(&test, Kind::TestRun, "one", spec);
    let status = run.ends(RunResult::Aborted, Reason::TestAborted).await;
    contains_all(&status.message.unwrap(), &["the shop is down"]);
    // The one that aborted waits for the others, with which its container ends: the load is what counts.
    let began = status.start_time.unwrap();
    let ended = ends(&run).await.into_iter().map(|end| end.finished_at.unwrap().0);
    let took = ended.max().unwrap().duration_since(began).unsigned_abs();
    assert!(
        took <= Duration::from_secs(15),
        "the last runner ended {took:?} after the start"
    );
    assert_eq!(run.logs().await.matches("torn down").count(), 1);
}

#[tokio::test]
async fn abort_is_aborted_in_each_phase_and_what_is_thrown_is_an_error() {
    let test = Test::new("phases").await;
    let script = |setup: &str, default: &str| {
        format!(
            "import exec from 'k6/execution';
export const options = {{ vus: 2, iterations: 4 }};
export function setup() {{ {setup} }}
export default function () {{ {default} }}
"
        )
    };
    let (aborted, error) = (RunResult::Aborted, RunResult::Error);
    let not_ready = "exec.test.abort('backend not ready');";
    let unequal = "throw new Error('expected 100 to equal 200');";
    let cases = [
        (
            "setup-aborts",
            script(not_ready, ""),
            json!("once"),
            aborted,
            Reason::TestAborted,
            "backend not ready",
        ),
        (
            "each-aborts",
            script(not_ready, ""),
            json!("perRunner"),
            aborted,
            Reason::TestAborted,
            "backend not ready",
        ),
        (
            "default-aborts",
            script("", not_ready),
            json!("once"),
            aborted,
            Reason::TestAborted,
            "backend not ready",
        ),
        (
            "setup-throws",
            script(unequal, ""),
            json!("once"),
            error,
            Reason::StartFailed,
            "expected 100 to equal 200",
        ),
    ];
    let runs = cases.map(|(name, script, setup, result, reason, words)| {
        let spec = json!({"parallelism": 2, "script": {"inline": script}, "setup": setup});
        (
            Run::apply(&test, Kind::TestRun, name, spec),
            result,
            reason,
            words,
        )
    });
    for (run, result, reason, words) in &runs {
        let status = run.ends(*result, *reason).await;
        contains_all(&status.message.unwrap(), &[words]);
    }
}

#[tokio::test]
async fn requests_per_second_are_those_of_all_runners_together() {
    let test = Test::new("rps").await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "secret"}, "stringData": {"token": "abc"}});
    test.file("secret.json", &secret.to_string());
    test.kubectl(&["apply", "-f", "secret.json"]);
    let script = "import http from 'k6/http';
export const options = { vus: 50, duration: '10m', OPTIONS };
export default function () {
  if (__ENV.SLACK_TOKEN !== 'abc') throw new Error('no token');
  http.get(__ENV.URL);
}
";
    test.script("argument", &script.replace(", OPTIONS", "")).await;
    test.script("option", &script.replace("OPTIONS", "rps: 10")).await;
    let env = json!([
        {"name": "URL", "value": "http://k6-target.k6-target.svc/"},
        {"name": "SLACK_TOKEN", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "token"}}}
    ]);
    let mut limited = env.clone();
    limited
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "K6_RPS", "value": "10"}));
    let runs = [
        ("by-argument", "argument", "--vus 4 --duration 5s --rps 10", &env),
        ("by-option", "option", "--vus 4 --duration 5s", &env),
        ("by-variable", "argument", "--vus 4 --duration 5s", &limited),
    ]
    .map(|(name, script, arguments, env)| {
        let spec =
            json!({"parallelism": 3, "script": script, "arguments": arguments, "runner": {"env": env}});
        Run::apply(&test, Kind::K6, name, spec)
    });
    for run in &runs {
        let status = run.passes().await;
        let requests = status.summary.unwrap().requests;
        // 10 a second for 5 s; k6 lets each runner begin with one.
        assert!((40..=60).contains(&requests), "{}: {requests}", run.name);
    }
}

#[tokio::test]
async fn file_under_the_mount_of_another_claim_is_told_with_the_mount_and_the_remedy() {
    let test = Test::new("folders").await;
    let volume = Volume::new(&test, "results").await;
    volume.write("k6/createUserTest.js", TEN);
    volume.write("test.js", TEN);
    let claim =
        |file: &str| json!({"parallelism": 1, "script": {"volumeClaim": {"name": "results", "file": file}}});
    let relative = Run::apply(&test, Kind::TestRun, "relative", claim("k6/createUserTest.js"));
    let absolute = Run::apply(
        &test,
        Kind::TestRun,
        "absolute",
        claim("/test/k6/createUserTest.js"),
    );
    let deeper = Run::apply(
        &test,
        Kind::K6,
        "deeper",
        claim("/scripts/k6/load/createUserTest.js"),
    );
    relative.passes().await;
    for (run, folder) in [(&absolute, "/test/k6"), (&deeper, "/scripts/k6/load")] {
        let words = ["spec.script.volumeClaim.file", folder];
        run.errs(Reason::ScriptError, &words).await;
    }
    volume.delete().await;
}
