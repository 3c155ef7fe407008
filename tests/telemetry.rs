//! Telemetry against what receives it: an OTLP/HTTP collector and HTTP clients, all on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "helpers of tests, too"
)]

#[path = "support/collector.rs"]
mod collector;

use std::io::{Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use collector::{Collector, LOOPBACK};
use k6_operator::operator::telemetry::{
    self, Endpoints, FLUSH_BUDGET, Guard, Health, Heartbeat, LogFormat, Metrics, Outcome, Readiness,
    ServeError, Settings, TelemetryArgs, TraceSettings,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use tracing::{Instrument as _, info, info_span};

fn to(address: SocketAddr) -> Settings {
    let traces = TraceSettings {
        endpoint: format!("http://{address}/v1/traces"),
    };
    Settings {
        traces: Some(traces),
        log_filter: Some("warn".to_owned()),
        ..Settings::default()
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Telemetry for this thread only.
fn scoped(settings: &Settings) -> (Log, Guard, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let writer = log.clone();
    let (subscriber, guard) = telemetry::subscriber(settings, move || writer.clone()).unwrap();
    (log, guard, tracing::subscriber::set_default(subscriber))
}

#[tracing::instrument(target = "k6_operator::reconcile", skip_all, fields(k6.namespace = namespace, k6.name = name))]
async fn reconcile(namespace: &str, name: &str) {
    async { info!(target: "k6_operator::reconcile", pods = 2, "observed") }
        .instrument(info_span!(target: "k6_operator::reconcile", "observe"))
        .await;
    info_span!(target: "k6_operator::reconcile", "classify").in_scope(|| {});
    tokio::task::yield_now()
        .instrument(info_span!(target: "k6_operator::reconcile", "persist"))
        .await;
    let execute = info_span!(target: "k6_operator::reconcile", "execute", actions = tracing::field::Empty);
    execute.record("actions", 3);
    async {
        info_span!(target: "kube_client::client", "foreign").in_scope(|| {});
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    .instrument(execute)
    .await;
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a any_value::Value> {
    let found = attributes.iter().find(|a| a.key == key)?;
    found.value.as_ref().and_then(|AnyValue { value }| value.as_ref())
}

fn string(value: &str) -> any_value::Value {
    any_value::Value::StringValue(value.to_owned())
}

#[tokio::test(flavor = "current_thread")]
async fn spans_arrive_with_parents_and_attributes() {
    let collector = Collector::start(0);
    let (_log, guard, _default) = scoped(&to(collector.address));
    assert!(guard.exports_spans());

    tokio::join!(reconcile("load", "checkout"), reconcile("load", "search"));
    guard.shutdown();

    let spans = collector.spans();
    assert_eq!(
        spans.len(),
        10,
        "{:?}",
        spans.iter().map(|s| &s.name).collect::<Vec<_>>()
    );
    for name in ["checkout", "search"] {
        let root = spans
            .iter()
            .find(|s| s.name == "reconcile" && attribute(&s.attributes, "k6.name") == Some(&string(name)))
            .expect("a reconcile span of each run");
        assert_eq!(attribute(&root.attributes, "k6.namespace"), Some(&string("load")));
        assert!(root.parent_span_id.is_empty());
        let children: Vec<_> = spans
            .iter()
            .filter(|s| s.parent_span_id == root.span_id)
            .collect();
        let names: Vec<_> = children.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["observe", "classify", "persist", "execute"]);
        for child in &children {
            assert_eq!(child.trace_id, root.trace_id);
            assert!(child.start_time_unix_nano >= root.start_time_unix_nano);
            assert!(child.end_time_unix_nano <= root.end_time_unix_nano);
        }
        assert_eq!(children[0].events[0].name, "observed");
        assert_eq!(
            attribute(&children[3].attributes, "actions"),
            Some(&any_value::Value::IntValue(3))
        );
    }

    let requests = collector.requests.lock().unwrap();
    let resource = requests[0].resource_spans[0].resource.as_ref().unwrap();
    assert_eq!(
        attribute(&resource.attributes, "service.name"),
        Some(&string("k6-operator"))
    );
    let version = string(env!("CARGO_PKG_VERSION"));
    assert_eq!(attribute(&resource.attributes, "service.version"), Some(&version));
}

#[tokio::test(flavor = "current_thread")]
async fn a_collector_that_recovers_gets_the_spans() {
    let collector = Collector::start(1);
    let (_log, guard, _default) = scoped(&to(collector.address));
    reconcile("load", "checkout").await;
    guard.shutdown();
    assert_eq!(collector.spans().len(), 5);
}

/// Neither making spans nor ending takes noticeably long, whatever is at the address.
async fn nothing_waits_for(address: SocketAddr) {
    let (log, guard, default) = scoped(&to(address));
    let started = Instant::now();
    for _ in 0..5_000 {
        // More than fits in the queue of the exporter.
        info_span!(target: "k6_operator", "reconcile").in_scope(|| {});
    }
    reconcile("load", "checkout").await;
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "spans waited: {:?}",
        started.elapsed()
    );

    let started = Instant::now();
    guard.shutdown();
    let took = started.elapsed();
    assert!(
        took < FLUSH_BUDGET + Duration::from_secs(1),
        "the end took {took:?}"
    );
    drop(default);
    assert!(log.text().lines().count() <= 2, "{}", log.text());
}

#[tokio::test(flavor = "current_thread")]
async fn a_collector_that_is_down_delays_nothing() {
    let closed = TcpListener::bind(LOOPBACK).unwrap().local_addr().unwrap();
    nothing_waits_for(closed).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_collector_that_never_answers_delays_nothing() {
    let silent = TcpListener::bind(LOOPBACK).unwrap();
    nothing_waits_for(silent.local_addr().unwrap()).await;
}

#[test]
fn settings_come_from_the_environment() {
    let args = TelemetryArgs {
        log_format: LogFormat::Json,
    };
    let none = Settings::from_lookup(&args, |name| {
        (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| " ".to_owned())
    });
    assert_eq!(
        (none.traces, none.log_filter, none.log_format),
        (None, None, LogFormat::Json)
    );

    let some = Settings::from_lookup(&args, |name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://collector:4318".to_owned()),
        "RUST_LOG" => Some("debug".to_owned()),
        _ => None,
    });
    assert_eq!(some.log_filter.as_deref(), Some("debug"));
    assert_eq!(
        some.traces,
        Some(TraceSettings {
            endpoint: "http://collector:4318/v1/traces".to_owned()
        })
    );
}

#[test]
fn a_bad_filter_is_an_error() {
    let settings = Settings {
        log_filter: Some("k6_operator=nonsense".to_owned()),
        ..Settings::default()
    };
    let error = telemetry::subscriber(&settings, std::io::sink)
        .err()
        .expect("the filter is invalid");
    assert!(error.to_string().contains("RUST_LOG"), "{error}");
}

#[test]
fn json_lines_carry_time_level_message_and_spans() {
    let settings = Settings {
        log_format: LogFormat::Json,
        ..Settings::default()
    };
    let (log, _guard, _default) = scoped(&settings);
    info_span!("reconcile", k6.name = "checkout").in_scope(|| {
        info!(pods = 4, "started");
        tracing::debug!("not by default");
        info!(target: "kube_runtime::controller", "not by default");
    });
    let text = log.text();
    assert_eq!(text.lines().count(), 1, "{text}");
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&line["level"], &line["message"], &line["pods"]),
        (&"INFO".into(), &"started".into(), &4.into())
    );
    assert_eq!(line["spans"][0]["k6.name"], "checkout");
    let time = line["timestamp"].as_str().unwrap();
    assert!(time.ends_with('Z'), "{time}");
    let time: jiff::Timestamp = time.parse().unwrap();
    assert!(time.duration_until(jiff::Timestamp::now()).as_secs() < 60);
}

#[test]
fn text_lines_are_compact_and_plain() {
    let (log, _guard, _default) = scoped(&Settings::default());
    info!(pods = 4, "started");
    let text = log.text();
    assert!(text.contains("INFO telemetry: started pods=4"), "{text:?}");
    let (time, _) = text.split_once(' ').unwrap();
    time.parse::<jiff::Timestamp>().unwrap();
}

#[test]
fn init_is_once_a_process() {
    let settings = Settings {
        log_filter: Some("off".to_owned()),
        ..Settings::default()
    };
    let guard = telemetry::init(&settings).unwrap();
    assert!(!guard.exports_spans());
    assert!(matches!(
        telemetry::init(&settings),
        Err(telemetry::Error::Init(_))
    ));
}

fn sample(text: &str, series: &str) -> f64 {
    let prefix = format!("{series} ");
    let line = text.lines().find_map(|l| l.strip_prefix(&prefix));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}"))
        .parse()
        .unwrap()
}

#[test]
fn metrics_have_controller_runtimes_names() {
    let metrics = Metrics::new("testrun");
    let text = metrics.encode();
    for result in ["success", "error", "requeue", "requeue_after"] {
        let series =
            format!(r#"controller_runtime_reconcile_total{{controller="testrun",result="{result}"}}"#);
        assert_eq!(sample(&text, &series), 0.0);
    }

    let timer = metrics.reconcile_started();
    let cancelled = metrics.reconcile_started();
    assert_eq!(
        sample(
            &metrics.encode(),
            r#"controller_runtime_active_workers{controller="testrun"}"#
        ),
        2.0
    );
    timer.finish(Outcome::RequeueAfter);
    drop(cancelled);
    metrics.observe(Outcome::Error, Duration::from_millis(300));
    metrics.observe(Outcome::Success, Duration::from_secs(70));
    metrics.queue_added();
    metrics.queue_added();
    metrics.queue_depth(7);
    metrics.transition("Created", "Running");
    metrics.transition(String::from("Created"), "Running");
    metrics.set_runs([("Running", "", 3), ("Created", "", 1)]);
    metrics.set_runs([("Running", "", 2), ("Finished", "passed", 5)]);
    metrics.set_retrying(1);

    let text = metrics.encode();
    for (series, value) in [
        (
            r#"controller_runtime_reconcile_total{controller="testrun",result="success"}"#,
            1.0,
        ),
        (
            r#"controller_runtime_reconcile_total{controller="testrun",result="error"}"#,
            1.0,
        ),
        (
            r#"controller_runtime_reconcile_total{controller="testrun",result="requeue_after"}"#,
            1.0,
        ),
        (
            r#"controller_runtime_reconcile_errors_total{controller="testrun"}"#,
            1.0,
        ),
        (
            r#"controller_runtime_reconcile_time_seconds_count{controller="testrun"}"#,
            3.0,
        ),
        (
            r#"controller_runtime_reconcile_time_seconds_bucket{le="0.25",controller="testrun"}"#,
            1.0,
        ),
        (
            r#"controller_runtime_reconcile_time_seconds_bucket{le="0.3",controller="testrun"}"#,
            2.0,
        ),
        (
            r#"controller_runtime_reconcile_time_seconds_bucket{le="60.0",controller="testrun"}"#,
            2.0,
        ),
        (
            r#"controller_runtime_reconcile_time_seconds_bucket{le="+Inf",controller="testrun"}"#,
            3.0,
        ),
        (r#"controller_runtime_active_workers{controller="testrun"}"#, 0.0),
        (r#"workqueue_depth{name="testrun"}"#, 7.0),
        (r#"workqueue_adds_total{name="testrun"}"#, 2.0),
        (
            r#"k6_operator_transitions_total{from="Created",to="Running"}"#,
            2.0,
        ),
        (r#"k6_operator_runs{state="Running",result=""}"#, 2.0),
        ("k6_operator_retrying_runs", 1.0),
        (r#"k6_operator_runs{state="Finished",result="passed"}"#, 5.0),
    ] {
        assert_eq!(sample(&text, series), value, "{series}");
    }
    assert!(
        !text.contains(r#"state="Created""#),
        "a state without runs is gone:\n{text}"
    );
    assert!(sample(&text, "process_resident_memory_bytes") > 1e6);
    let started = sample(&text, "process_start_time_seconds");
    let now = jiff::Timestamp::now().as_duration().as_secs_f64();
    // The clock of a virtual machine can be set back a little between the two readings.
    assert!((now - started).abs() < 60.0, "{started}, now {now}");
    assert!(text.ends_with("# EOF\n"));
    assert!(!text.contains("_total_total"), "{text}");
}

/// Status, head and body of one request.
async fn get(address: SocketAddr, path: &'static str) -> (u16, String, String) {
    let ask = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

#[tokio::test(flavor = "current_thread")]
async fn endpoints_answer_until_shutdown() {
    let metrics = Metrics::new("testrun");
    let heartbeat = Heartbeat::with_limit(Duration::from_millis(500));
    let health = Health {
        readiness: Readiness::default(),
        heartbeat: heartbeat.clone(),
    };
    let readiness = health.readiness.clone();
    let endpoints = Endpoints::bind(LOOPBACK, LOOPBACK).await.unwrap();
    let (at_metrics, at_health) = (endpoints.metrics_address(), endpoints.health_address());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopped = async move {
        let _ended = stopped.await;
    };
    let served = tokio::spawn(endpoints.run(metrics.clone(), health, stopped));

    assert_eq!(get(at_health, "/readyz").await.0, 503);
    assert_eq!(get(at_health, "/healthz").await.0, 200);
    readiness.set(true);
    assert_eq!(get(at_health, "/readyz").await.0, 200);
    readiness.set(false);
    assert_eq!(get(at_health, "/readyz").await.0, 503);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(get(at_health, "/healthz").await.0, 503);
    heartbeat.beat();
    assert_eq!(get(at_health, "/healthz").await.0, 200);

    metrics.observe(Outcome::Success, Duration::from_millis(1));
    let (status, head, body) = get(at_metrics, "/metrics").await;
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    // Each family has its help and its type under the name of its series, as `promtool check metrics` asks.
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let parts = ["_bucket", "_sum", "_count"].map(|part| name.strip_suffix(part).unwrap_or(name));
        let described = |word: &str| {
            parts
                .iter()
                .any(|name| body.contains(&format!("# {word} {name} ")))
        };
        assert!(described("HELP") && described("TYPE"), "{name}");
    }
    let series = r#"controller_runtime_reconcile_total{controller="testrun",result="success"}"#;
    assert_eq!(sample(&body, series), 1.0);
    assert_eq!(get(at_metrics, "/readyz").await.0, 404);
    assert_eq!(get(at_health, "/metrics").await.0, 404);

    // A client that connects and says nothing must not keep the process alive.
    let _idle = TcpStream::connect(at_metrics).unwrap();
    tokio::task::yield_now().await;
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(4), served)
        .await
        .expect("an end in time")
        .unwrap();
    assert!(TcpStream::connect(at_health).is_err());
}

/// 200 connections that bring no request, and one that does.
#[tokio::test(flavor = "current_thread")]
async fn silent_connections_keep_nobody_out_and_are_closed() {
    let endpoints = Endpoints::bind(LOOPBACK, LOOPBACK).await.unwrap();
    let at_health = endpoints.health_address();
    let never = std::future::pending();
    let served = tokio::spawn(endpoints.run(Metrics::new("testrun"), Health::default(), never));
    let connect = || {
        let connection = TcpStream::connect(at_health).unwrap();
        let beginning = b"GET /healthz HTTP/1.1\r\nHost: a\r\nx: ";
        std::io::Write::write_all(&mut &connection, beginning).unwrap();
        connection
    };
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(connect());
        tokio::task::yield_now().await;
    }
    assert_eq!(get(at_health, "/healthz").await.0, 200);
    let closed = |mut connection: TcpStream| {
        let wait = Some(Duration::from_millis(500));
        connection.set_read_timeout(wait).unwrap();
        match connection.read(&mut [0; 16]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    };
    let last = silent.pop().unwrap();
    let first = silent.remove(0);
    assert!(tokio::task::spawn_blocking(move || closed(first)).await.unwrap());
    assert!(!tokio::task::spawn_blocking(move || closed(last)).await.unwrap());
    served.abort();
}

#[tokio::test(flavor = "current_thread")]
async fn an_address_in_use_is_told() {
    let taken = TcpListener::bind(LOOPBACK).unwrap();
    let address = taken.local_addr().unwrap();
    let never = std::future::pending();
    let served = telemetry::serve(
        LOOPBACK,
        address,
        Metrics::new("testrun"),
        Health::default(),
        never,
    )
    .await;
    let error = served.expect_err("the address is taken");
    assert!(matches!(error, ServeError::Bind { .. }));
    let text = error.to_string();
    assert!(
        text.contains(&format!("cannot listen on {address} for health checks")),
        "{text}"
    );
}
