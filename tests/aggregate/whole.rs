//! What concerns the test as a whole: a threshold that no runner crosses by itself, setup() and teardown() that run
//! once.

use crate::exports::{at, counter, export, gauge};
use crate::run::{Runners, Service, Site, tokens};
use axum::Router;
use axum::routing::get;
use k6_operator::aggregate::session::Session;
use k6_operator::aggregate::store::{Export, Sender};
use k6_operator::k6::threshold::thresholds;
use k6_operator::programs::runners::{Limits, Target};
use k6_operator::programs::start::start;
use k6_operator::programs::stop::stop;
use k6_operator::protocol::outcome::{Crossed, Outcome};
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const SETUP: &str = r#"
import http from "k6/http";
import { sleep } from "k6";
import { Counter } from "k6/metrics";
const torn = new Counter("torn");
export const options = { vus: 3, duration: "2s" };
const say = (word) => http.get(`${__ENV.SITE}/say/${word}`);
export function setup() { say("setup"); FAIL_SETUP; return { token: "abc" }; }
export default function (data) { say(`iteration-${data.token}`); sleep(0.2); }
export function teardown(data) { say(`teardown-${data.token}`); torn.add(7); FAIL_TEARDOWN; }
"#;

fn script(setup: &str, teardown: &str) -> String {
    SETUP
        .replace("FAIL_SETUP", setup)
        .replace("FAIL_TEARDOWN", teardown)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn setup_and_teardown_run_once_for_all_runners() {
    let site = Site::open().await;
    let service = Service::with_one_setup(3, json!({}));
    let mut runners = Runners::with_one_setup(3, &script("", ""), site.address, service.address);
    let report = runners.set_up_and_release().await;
    assert!(report.complete(), "{:?}", report.failures);
    assert_eq!(runners.end().await, [Some(0); 3]);
    let said = site.said();
    let count = |word: &str| said.iter().filter(|said| *said == word).count();
    let iterations = count("iteration-abc");
    assert_eq!(
        (count("setup"), count("teardown-abc"), said.len()),
        (1, 1, iterations + 2)
    );
    assert_eq!(
        (said[0].as_str(), said[said.len() - 1].as_str()),
        ("setup", "teardown-abc")
    );
    assert!(iterations > 10, "{said:?}");
    let session = service.aggregator().session();
    assert_eq!(session.incomplete(), Vec::<String>::new());
    let view = session.store.view();
    let counted = |name: &str| {
        view.metrics[name]
            .sink
            .ask(k6_operator::aggregate::Aggregate::Count, 1.0)
            .unwrap()
            .value
    };
    assert_eq!(counted("torn"), 7.0, "what teardown() measured has come");
    assert_eq!(counted("http_reqs"), said.len() as f64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setup_that_fails_fails_the_start_in_k6s_words_and_nothing_is_released() {
    let site = Site::open().await;
    let service = Service::with_one_setup(2, json!({}));
    let script = script("throw new Error('no login')", "");
    let runners = Runners::with_one_setup(2, &script, site.address, service.address);
    let report = runners.set_up_and_release().await;
    assert_eq!((report.confirmed, report.failures.len()), (0, 1));
    let message = &report.failures[0].message;
    assert!(
        message.starts_with("setup() failed: Error: no login at setup"),
        "{message}"
    );
    assert_eq!(site.said(), ["setup"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_teardown_that_fails_is_told() {
    let site = Site::open().await;
    let service = Service::with_one_setup(2, json!({}));
    let script = script("", "throw new Error('still there')");
    let mut runners = Runners::with_one_setup(2, &script, site.address, service.address);
    assert!(runners.set_up_and_release().await.complete());
    // As a k6 that runs it by itself.
    assert_eq!(runners.end().await, [Some(107), Some(0)]);
    let incomplete = service.aggregator().session().incomplete();
    assert_eq!(incomplete.len(), 1, "{incomplete:?}");
    assert!(
        incomplete[0].starts_with("teardown() failed: Error: still there"),
        "{incomplete:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abort_in_setup_or_teardown_is_told_from_a_failure() {
    let site = Site::open().await;
    let abort = |words: &str| format!("exec.test.abort({words})");
    let script =
        |setup: &str, teardown: &str| format!("import exec from 'k6/execution';{}", script(setup, teardown));
    for (words, message) in [
        ("'no target'", "the script aborted the test in setup(): no target"),
        ("", "the script aborted the test in setup()"),
    ] {
        // An aggregator has one run: what the runners of another say of their end would end this one.
        let service = Service::with_one_setup(2, json!({}));
        let script = script(&abort(words), "");
        let runners = Runners::with_one_setup(2, &script, site.address, service.address);
        let report = runners.set_up_and_release().await;
        assert!(report.aborted && !report.complete(), "{report:?}");
        assert_eq!(report.failures[0].message, message);
    }
    let service = Service::with_one_setup(2, json!({}));
    let script = script("", &abort("'still busy'"));
    let mut runners = Runners::with_one_setup(2, &script, site.address, service.address);
    assert!(runners.set_up_and_release().await.complete());
    assert_eq!(runners.end().await, [Some(108), Some(0)]);
    let incomplete = service.aggregator().session().incomplete();
    assert_eq!(
        incomplete,
        ["teardown() failed: the script aborted the test in teardown(): still busy"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn setup_data_of_many_megabytes_reaches_the_other_runners() {
    let site = Site::open().await;
    let service = Service::with_one_setup(2, json!({}));
    let script = r#"
        import http from "k6/http";
        export const options = { vus: 2, iterations: 2 };
        export function setup() { return { text: "x".repeat(20e6), nothing: null }; }
        export default function (data) { http.get(`${__ENV.SITE}/say/${data.text.length}-${data.nothing}`); }
    "#;
    let mut runners = Runners::with_one_setup(2, script, site.address, service.address);
    let report = runners.set_up_and_release().await;
    assert!(report.complete(), "{:?}", report.failures);
    assert_eq!(runners.end().await, [Some(0); 2]);
    assert_eq!(site.said(), ["20000000-null", "20000000-null"]);
}

/// What a k6 answers whose setup() returned so many bytes.
async fn setting_up(bytes: usize) -> SocketAddr {
    let status = r#"{"data":{"attributes":{"status":4,"paused":true,"vus":0}}}"#;
    let none = r#"{"data":{"attributes":{}}}"#;
    let returned = move || {
        format!(
            r#"{{"data":{{"attributes":{{"data":"{}"}}}}}}"#,
            "x".repeat(bytes - 2)
        )
    };
    let routes = Router::new()
        .route("/v1/status", get(move || async move { status }))
        .route(
            "/v1/setup",
            get(move || async move { none }).post(move || async move { returned() }),
        );
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(socket, routes).await.unwrap() });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn setup_data_that_is_too_large_is_refused_with_its_size_and_the_limit() {
    let address = setting_up(80_000_000).await;
    let targets = [1, 2].map(|runner| Target { runner, address });
    let limits = Limits {
        setup: Some(Duration::from_secs(30)),
        ..Limits::default()
    };
    let report = start(&targets, &limits, None).await;
    assert_eq!(report.confirmed, 0);
    let message = "setup() failed: it returned 80.0 MB, and at most 67.1 MB can be brought to all runners: return less, \
                   or set spec.setup to perRunner";
    assert_eq!(report.failures[0].message, message);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_runner_exits_as_k6_does_when_the_whole_crosses_a_threshold() {
    let site = Site::open().await;
    let options = json!({"thresholds": {"http_reqs": ["count<10"]}});
    let service = Service::open(3, options.clone());
    let short = LONG.replace("60s", "2s");
    let mut runners = Runners::begin(3, &short, site.address, service.address);
    runners.release().await;
    let mut codes = runners.end().await;
    codes.sort();
    assert_eq!(codes, [Some(0), Some(0), Some(99)]);
    let outcome = service.result().0;
    assert_eq!((outcome.crossed, outcome.incomplete), (1, Vec::new()));

    // Whichever is the last to bring what it measured.
    let service = Service::with_one_setup(2, options);
    let mut runners = Runners::with_one_setup(2, &script("", ""), site.address, service.address);
    assert!(runners.set_up_and_release().await.complete());
    let mut codes = runners.end().await;
    codes.sort();
    assert_eq!(codes, [Some(0), Some(99)]);
}

const MANY_URLS: &str = r#"
import http from "k6/http";
import { check } from "k6";
import exec from "k6/execution";
export const options = { scenarios: { all: { executor: "shared-iterations", vus: 4, iterations: 5000 } } };
export default function () {
  const i = exec.scenario.iterationInTest;
  const response = http.get(`${__ENV.SITE}/1/${i % 5 == 0 ? 500 : 200}?id=${i}`);
  check(response, { [`it is ${i}`]: (r) => r.status == 200 });
}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn totals_are_exact_where_each_request_has_an_url_of_its_own() {
    let site = Site::open().await;
    let thresholds = json!({
        "http_reqs": ["count==5000"], "checks": ["rate==0.8"], "http_req_failed": ["rate==0.2", "rate<0.1"],
        "http_req_failed{expected_response:true}": ["rate<0.1"], "iterations": ["count==5000"],
    });
    let service = Service::open(2, json!({"thresholds": thresholds}));
    let mut runners = Runners::begin(2, MANY_URLS, site.address, service.address);
    runners.release().await;
    runners.end().await;
    let outcome = service.result().0;
    assert_eq!(outcome.totals.requests, 5_000.0);
    assert_eq!((outcome.crossed, outcome.unknown), (1, 1), "{outcome:?}");
    let why = &outcome.incomplete;
    assert!(
        why.len() == 1
            && why[0].starts_with("a runner had more series of checks, http_req_blocked and ")
            && why[0].contains("`name`"),
        "{why:?}"
    );
}

/// A certificate of nobody.
const CA: &str = "\
-----BEGIN CERTIFICATE-----
MIIBdDCCARugAwIBAgIUUl/Z7JIzmFu/QGKmjssmbuzVy/owCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjcwMzUxMDBaGA8yMTI2MTEwMzAzNTEw
MFowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABA7Q
BP63Lhae3OIb1YM6aeIJJyjejaGt0QLgvfUzk71vfcZ/y7epTgOeFuFkT3SL8RkG
WxualLEoLhBhfPTsdrqjUzBRMB0GA1UdDgQWBBR4KF7qFmHyRYiXCnl6pDtmB0I8
4TAfBgNVHSMEGDAWgBR4KF7qFmHyRYiXCnl6pDtmB0I84TAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0cAMEQCIDCij8I7UYnq85TggPm6xdQ9EfV+O1VaoloP
miEkSEdAAiAlxWGG63cn6rADeNdUk8dNO2zBLVJuRG1vPos6ckoYjw==
-----END CERTIFICATE-----
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_opentelemetry_in_the_environment_change_no_result() {
    let site = Site::open().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    // The output does not start with a certificate that is none, and the SDK not with a good one.
    let (pem, ca) = (file("none.pem"), file("ca.pem"));
    std::fs::write(&pem, "").unwrap();
    std::fs::write(&ca, CA).unwrap();
    let everything = [
        ("K6_OTEL_EXPORTER_TYPE", "grpc"),
        ("K6_OTEL_GRPC_EXPORTER_INSECURE", "perhaps"),
        ("K6_OTEL_TLS_CERTIFICATE", pem.as_str()),
        ("K6_OTEL_TLS_INSECURE_SKIP_VERIFY", "true"),
        ("K6_OTEL_METRIC_PREFIX", "mine_"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", ca.as_str()),
        ("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", ca.as_str()),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:1"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=another,api-key=abc"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "false"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://127.0.0.1:1/x"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "k6-runner=7"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
        ("OTEL_GO_X_CARDINALITY_LIMIT", "3"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "always_on"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "600000"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "1"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test,broken"),
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_SERVICE_NAME", ""),
    ];
    let service = Service::open(2, json!({"thresholds": {"http_reqs": ["count>10"]}}));
    let short = LONG.replace("60s", "2s");
    let mut runners = Runners::with_environment(2, &short, site.address, service.address, &everything);
    runners.release().await;
    let codes = runners.end().await;
    assert_eq!(
        codes,
        [Some(0); 2],
        "{}",
        std::fs::read_to_string(runners.log(1)).unwrap()
    );
    let outcome = service.result().0;
    assert_eq!(
        (outcome.crossed, outcome.incomplete, outcome.silent),
        (0, Vec::new(), 0)
    );
    assert_eq!(outcome.totals.requests, site.asked().len() as f64);
    assert_eq!(outcome.totals.vus, 4.0);
}

const LONG: &str = r#"
import http from "k6/http";
import { sleep } from "k6";
export const options = { vus: 4, duration: "60s" };
export default function () { http.get(`${__ENV.SITE}/1/200`); sleep(0.05); }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_threshold_that_only_the_whole_crosses_stops_all_runners_in_time() {
    const LIMIT: usize = 500;
    let site = Site::open().await;
    let source = format!("count<{LIMIT}");
    let options = json!({"thresholds": {"http_reqs": [{"threshold": source, "abortOnFail": true}]}});
    let service = Service::open(2, options);
    let mut runners = Runners::begin(2, LONG, site.address, service.address);
    runners.release().await;
    let codes = runners.end().await;
    let ended = Instant::now();
    assert_eq!(
        codes,
        [Some(99), Some(99)],
        "{}",
        std::fs::read_to_string(runners.log(1)).unwrap()
    );
    let asked = site.asked();
    let (crossed, last) = (asked[LIMIT - 1], asked[asked.len() - 1]);
    println!(
        "the last request came {:.1} s after the crossing, the last runner had ended {:.1} s after it",
        (last - crossed).as_secs_f64(),
        (ended - crossed).as_secs_f64()
    );
    assert!(last - crossed < Duration::from_secs(5), "{:?}", last - crossed);
    let (outcome, documents) = service.result();
    assert_eq!(
        (outcome.thresholds, outcome.crossed, outcome.passed()),
        (1, 1, false)
    );
    assert!(outcome.failed[0].aborted);
    // k6 does not count a request that it was waiting for when it was stopped: one of each virtual user at most.
    let counted = outcome.totals.requests as usize;
    assert!(
        (asked.len() - 4..=asked.len()).contains(&counted),
        "{counted} of {}",
        asked.len()
    );
    let told = format!("1 of 1 thresholds crossed: http_reqs {source} is {counted}, which ended the test");
    assert_eq!(outcome.told(), told);
    assert!(
        documents
            .text
            .contains(&format!("✗ '{source}' count={counted}, which ended the test")),
        "{}",
        documents.text
    );
    assert_eq!(documents.report["reason"], "ThresholdsCrossed");
    let session = service.aggregator().session();
    assert_eq!(session.incomplete(), Vec::<String>::new());
    let judged = &session.judged()[0];
    assert_eq!(
        (judged.verdict.passed, judged.verdict.value.unwrap().value),
        (Some(false), counted as f64)
    );
    assert!(judged.aborted.is_some());
    for runner in [1, 2] {
        let view = session.store.view_of_runner(runner);
        let requests = view.metrics["http_reqs"]
            .sink
            .ask(k6_operator::aggregate::Aggregate::Count, 1.0);
        assert!(
            requests.unwrap().value < LIMIT as f64,
            "runner {runner} crosses it by itself"
        );
    }
}

/// 20 requests a second from all runners, until the end or an abort on the first.
const STEADY: &str = r#"
import http from "k6/http";
import exec from "k6/execution";
export const options = { scenarios: { steady: {
  executor: "constant-arrival-rate", rate: 20, timeUnit: "1s", duration: "10m", preAllocatedVUs: 4, gracefulStop: "0s",
} } };
export default function () {
  http.get(`${__ENV.SITE}/1/200`);
  const late = exec.instance.currentTestRunDuration > 6000;
  if (ABORTS && __ENV.RUNNER === "1" && late) exec.test.abort("the shop is down");
}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duration_and_rates_of_a_test_that_ends_early_are_those_of_its_load() {
    for aborts in [false, true] {
        let site = Site::open().await;
        let service = Service::open(2, json!({}));
        let script = STEADY.replace("ABORTS", &aborts.to_string());
        let mut runners = Runners::begin(2, &script, site.address, service.address);
        runners.release().await;
        let released = Instant::now();
        if !aborts {
            tokio::time::sleep(Duration::from_secs(6)).await;
            let limits = Limits {
                stop: Duration::from_secs(10),
                ..Limits::default()
            };
            let report = stop(&runners.targets, &limits, Some(&tokens().runners)).await;
            assert!(report.complete(), "{report:?}");
        }
        let codes = runners.end().await;
        let first = if aborts { Some(108) } else { Some(103) };
        assert_eq!(codes, [first, Some(103)]);
        let after = released.elapsed() - Duration::from_secs(6);
        println!(
            "all had ended {:.1} s after the end of the load",
            after.as_secs_f64()
        );
        assert!(after < Duration::from_secs(5), "aborts: {aborts}, {after:?}");
        let data = service.aggregator().summary().0;
        let rate = data["metrics"]["http_reqs"]["values"]["rate"].as_f64().unwrap();
        let seconds = data["state"]["testRunDurationMs"].as_f64().unwrap() / 1e3;
        println!("{rate:.2} requests a second, for {seconds:.2} s");
        // An abort reaches the other runner up to a second later, which makes half of the load till then.
        let least = if aborts { 17.5 } else { 18.5 };
        assert!(
            (least..21.0).contains(&rate),
            "aborts: {aborts}, {rate} in {seconds} s"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runners_that_are_told_not_to_sum_up_tell_what_they_measured_nevertheless() {
    let site = Site::open().await;
    let service = Service::open(2, json!({}));
    let script = LONG.replace("60s", "2s");
    let mut runners = Runners::that_do_not_sum_up(2, &script, site.address, service.address);
    runners.release().await;
    assert_eq!(runners.end().await, [Some(0); 2]);
    let session = service.aggregator().session();
    assert_eq!(session.incomplete(), Vec::<String>::new());
    for runner in [1, 2] {
        let own = session
            .runner(runner)
            .and_then(|runner| runner.own.as_ref())
            .unwrap();
        assert!(own["http_reqs"]["count"] > 0.0, "{own:?}");
    }
}

#[test]
fn a_threshold_that_infinity_crosses_can_be_read_by_the_operator() {
    let options = json!({"thresholds": {"http_reqs": ["count<10"]}});
    let mut session = Session::new(1, false, thresholds(&options).unwrap());
    let sender = Sender {
        runner: 1,
        process: "a".to_owned(),
    };
    let body = export([
        counter("http_reqs", 1, f64::INFINITY),
        gauge("vus", 1, f64::NEG_INFINITY),
    ]);
    let body = Export::decode(&body).unwrap();
    session.export(&sender, &body, at(0)).unwrap();
    session.conclude(at(0));
    let outcome = Outcome::of(&session, at(0));
    let read: Outcome = serde_json::from_str(&outcome.to_message()).unwrap();
    assert_eq!(read, outcome);
    assert_eq!((read.crossed, read.failed[0].value), (1, f64::MAX));
    assert_eq!((read.totals.requests, read.totals.vus), (f64::MAX, f64::MIN));
    assert_eq!(
        read.told(),
        "1 of 1 thresholds crossed: http_reqs count<10 is 1.798e308"
    );
}

#[test]
fn an_outcome_fits_into_a_termination_message_whatever_a_script_calls_things() {
    let long = "\u{1}\u{1F40A}".repeat(100);
    let crossed = Crossed {
        metric: long.clone(),
        threshold: long.clone(),
        value: 1.0,
        uncertain: true,
        aborted: true,
    };
    let outcome = Outcome {
        thresholds: 500,
        silent: 0,
        crossed: 300,
        unknown: 0,
        failed: vec![crossed; 10],
        totals: Default::default(),
        duration_ms: 1e9,
        incomplete: vec![long; 10],
    };
    let message = outcome.to_message();
    assert!(message.len() <= 4096, "{} bytes", message.len());
    let read: Outcome = serde_json::from_str(&message).unwrap();
    assert_eq!((read.crossed, read.failed.len()), (300, 10));
}
