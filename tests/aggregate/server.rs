//! What the aggregator takes and what it refuses, over HTTP, with exports made by hand.

use crate::exports::{CUMULATIVE, DELTA, at, counter, export, gauge, metric, point, sum, trend};
use crate::run::{Service, authorization, tokens};
use crate::series::{others, requests};
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use k6_operator::aggregate::Sink;
use k6_operator::aggregate::moment::Moment;
use k6_operator::aggregate::session::Session;
use k6_operator::aggregate::store::{Export, Sender};
use k6_operator::aggregate::summary::{Options, data, text};
use k6_operator::clock::Clock;
use k6_operator::k6::threshold::thresholds;
use k6_operator::programs::aggregate::server::LARGEST_EXPORT;
use k6_operator::programs::http::ask;
use k6_operator::protocol::heartbeat::{Directive, Heartbeat};
use k6_operator::protocol::outcome::Outcome;
use k6_operator::protocol::tokens::Tokens;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{Gauge, Histogram, Metric};
use serde_json::{Value, json};
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

async fn post(address: SocketAddr, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, String) {
    let limit = Duration::from_secs(10);
    let answer = ask(
        &address.to_string(),
        hyper::Method::POST,
        "/v1/metrics",
        headers,
        body,
        limit,
    )
    .await;
    let (status, body) = answer.unwrap();
    (status.as_u16(), String::from_utf8_lossy(&body).into_owned())
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_export_counts_as_one_that_is_not() {
    let service = Service::open(1, json!({}));
    for (encoding, time, value) in [("gzip", 1, 5.0), ("identity", 2, 7.0)] {
        let headers = [
            PROTOBUF,
            ("authorization", authorization()),
            ("k6-runner", "1"),
            ("k6-process", "a"),
            ("content-encoding", encoding),
        ];
        let body = export([counter("http_reqs", time, value)]);
        let body = if encoding == "gzip" { gzip(&body) } else { body };
        let answered = post(service.address, &headers, body).await;
        assert_eq!(answered, (200, String::new()), "{encoding}");
        let requests = service.aggregator().session().store.total("http_reqs", None);
        assert_eq!(requests, Some(Sink::Counter(value)), "{encoding}");
    }
}

async fn send(service: &Service, runner: &str, process: &str, body: Vec<u8>) -> (u16, String) {
    let headers = [
        PROTOBUF,
        ("authorization", authorization()),
        ("k6-runner", runner),
        ("k6-process", process),
    ];
    post(service.address, &headers, body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_is_not_this_runs_or_cannot_be_merged_is_refused_with_the_reason() {
    let service = Service::open(2, json!({}));
    let good = || export([counter("http_reqs", 1, 5.0)]);
    let headers = |shown, runner, process| {
        vec![
            PROTOBUF,
            ("authorization", shown),
            ("k6-runner", runner),
            ("k6-process", process),
        ]
    };
    let json = [
        vec![("content-type", "application/json")],
        headers(authorization(), "1", "a")[1..].to_vec(),
    ]
    .concat();
    let encoded = |encoding| {
        [
            headers(authorization(), "1", "a"),
            vec![("content-encoding", encoding)],
        ]
        .concat()
    };
    let explicit = metric("waits", Data::Histogram(Histogram::default()));
    let two = || [counter("waits", 1, 1.0), gauge("waits", 1, 1.0)];
    for (headers, body, status, why) in [
        (
            json,
            good(),
            415,
            "application/x-protobuf is read, plain or as gzip",
        ),
        (
            encoded("br"),
            good(),
            415,
            "application/x-protobuf is read, plain or as gzip",
        ),
        (encoded("gzip"), good(), 400, "it is not gzip: "),
        (
            encoded("gzip"),
            gzip(&vec![0; LARGEST_EXPORT + 1]),
            413,
            "it has more than 67108864 bytes",
        ),
        (
            headers(authorization(), "1", "a")[..2].to_vec(),
            good(),
            400,
            "the header k6-runner is missing",
        ),
        (
            headers(authorization(), "3", "a"),
            good(),
            400,
            "there are 2 runners, and no runner 3",
        ),
        (
            headers(authorization(), "0", "a"),
            good(),
            400,
            "there are 2 runners, and no runner 0",
        ),
        (
            headers(authorization(), "one", "a"),
            good(),
            400,
            "\"one\" is not a runner's number",
        ),
        (
            headers(authorization(), "1", "../a"),
            good(),
            400,
            "does not name a process",
        ),
        (headers(authorization(), "1", "a"), b"nonsense".to_vec(), 400, ""),
        (
            headers(authorization(), "1", "a"),
            export([sum(
                "http_reqs",
                DELTA,
                vec![point(1, Number::AsDouble(5.0), &[])],
            )]),
            400,
            "http_reqs is not cumulative",
        ),
        (
            headers(authorization(), "1", "a"),
            export([explicit]),
            400,
            "waits is a histogram of explicit buckets",
        ),
        (
            headers(authorization(), "1", "a"),
            export([trend("waits", 1, &[1, 2], 4)]),
            400,
            "do not add up",
        ),
        (
            headers(authorization(), "1", "a"),
            export(two()),
            400,
            "waits is a gauge in this export and a counter",
        ),
    ] {
        let (answered, said) = post(service.address, &headers, body).await;
        assert_eq!(answered, status, "{said}");
        assert!(said.contains(why), "{said:?} does not say {why:?}");
    }
    let (answered, said) = send(&service, "1", "a", good()).await;
    assert_eq!((answered, said.as_str()), (200, ""));
    let session = service.aggregator().session();
    let view = session.store.view();
    assert_eq!(view.metrics["http_reqs"].sink, Sink::Counter(5.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_comes_after_a_later_one_changes_nothing() {
    let service = Service::open(1, json!({}));
    for (time, value) in [(20, 7.0), (10, 5.0), (20, 7.0)] {
        let body = export([
            counter("http_reqs", time, value),
            trend("waits", time, &[value as u64], value as u64),
        ]);
        assert_eq!(send(&service, "1", "a", body).await.0, 200);
    }
    let view = service.aggregator().session().store.view();
    assert_eq!(view.metrics["http_reqs"].sink, Sink::Counter(7.0));
    let Sink::Trend(waits) = &view.metrics["waits"].sink else {
        panic!("{view:?}");
    };
    assert_eq!(waits.count, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_is_the_same_in_the_form_of_each_version_of_k6() {
    let service = Service::open(3, json!({}));
    let int = |time, value, of: &[(&str, &str)]| point(time, Number::AsInt(value), of);
    let before = vec![
        sum("checks.occurred", CUMULATIVE, vec![int(1, 3, &[("check", "ok")])]),
        sum("checks.total", CUMULATIVE, vec![int(1, 4, &[("check", "ok")])]),
    ];
    let since = |name| {
        vec![sum(
            name,
            CUMULATIVE,
            vec![
                int(1, 3, &[("check", "ok"), ("condition", "nonzero")]),
                int(1, 1, &[("check", "ok"), ("condition", "zero")]),
            ],
        )]
    };
    for (runner, form) in [
        ("1", before),
        ("2", since("checks.total")),
        ("3", since("checks")),
    ] {
        assert_eq!(send(&service, runner, "a", export(form)).await.0, 200);
    }
    let session = service.aggregator().session();
    let view = session.store.view();
    let checks = &view.metrics["checks"];
    assert_eq!(
        checks.sink,
        Sink::Rate {
            nonzero: 9,
            total: 12
        }
    );
    assert_eq!(checks.series.len(), 1, "one series of three runners");
    for runner in [1, 2, 3] {
        let of_one = session.store.total("checks", Some(runner)).unwrap();
        assert_eq!(of_one, Sink::Rate { nonzero: 3, total: 4 });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_of_the_user_that_is_named_as_the_halves_of_a_rate_are_keeps_its_series_apart() {
    let service = Service::open(1, json!({}));
    let int = |value, condition| point(1, Number::AsInt(value), &[("condition", condition)]);
    let checks = [
        sum(
            "checks.occurred",
            CUMULATIVE,
            vec![int(3, "cold"), int(1, "warm")],
        ),
        sum("checks.total", CUMULATIVE, vec![int(4, "cold"), int(2, "warm")]),
    ];
    assert_eq!(send(&service, "1", "a", export(checks)).await.0, 200);
    let checks = service.aggregator().session().store.total("checks", None);
    assert_eq!(checks, Some(Sink::Rate { nonzero: 4, total: 6 }));
}

/// A runner says where it is.
async fn say(service: &Service, runner: &str, word: serde_json::Value) -> String {
    let path = format!("/runners/{runner}/a");
    let (address, limit) = (service.address.to_string(), Duration::from_secs(10));
    let body = word.to_string().into_bytes();
    let answer = ask(
        &address,
        hyper::Method::POST,
        &path,
        &[("authorization", authorization())],
        body,
        limit,
    )
    .await;
    String::from_utf8(answer.unwrap().1.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runners_had_sent_and_said_that_are_no_more_survives_a_restart_of_the_aggregator() {
    let mut service = Service::open(3, json!({}));
    for (runner, value) in [("1", 5.0), ("2", 7.0), ("3", 2.0)] {
        let body = export([counter("http_reqs", 1, value)]);
        assert_eq!(send(&service, runner, "a", body).await.0, 200);
        assert_eq!(
            say(&service, runner, json!({"phase": "running"})).await,
            r#"{"order":"continue"}"#
        );
    }
    let own = json!({"http_reqs": {"count": 5.0, "rate": 2.5}});
    let word = json!({"phase": "exited", "exitCode": 0, "startedAgo": 2_000, "endedAgo": 0, "own": own, "letGo": true});
    assert_eq!(say(&service, "1", word).await, r#"{"order":"end"}"#);
    service.end();
    service.begin();
    let body = export([counter("http_reqs", 2, 9.0)]);
    assert_eq!(send(&service, "2", "a", body).await.0, 200);
    let own = json!({"http_reqs": {"count": 10.0}});
    say(&service, "2", json!({"phase": "exited", "own": own})).await;
    let session = service.aggregator().session();
    assert_eq!(
        session.store.view().metrics["http_reqs"].sink,
        Sink::Counter(16.0)
    );
    let incomplete = session.incomplete();
    assert_eq!(
        incomplete,
        [
            "the http_reqs count of runner 2 has come to 9, and k6 has 10",
            "runner 3 never said that it had ended"
        ]
    );
}

#[test]
fn a_k6_that_ended_before_it_told_what_it_measured_leaves_the_result_incomplete() {
    let words = |words: &[(u64, Value)]| {
        let mut session = Session::new(1, false, Vec::new());
        for (millis, word) in words {
            session.hear(
                &sender(1),
                serde_json::from_value(word.clone()).unwrap(),
                at(*millis),
            );
        }
        session.incomplete()
    };
    let own = json!({});
    let ended = |own: &Value| json!({"phase": "ended", "endedAgo": 0, "own": own});
    let untold = ["runner 1 ended before it had told what it measured: its last export may be missing"];
    let killed = json!({"phase": "exited", "exitCode": 137});
    assert_eq!(
        words(&[(0, json!({"phase": "running"})), (9_000, killed.clone())]),
        untold
    );
    assert_eq!(
        words(&[(0, ended(&own)), (100, killed.clone())]),
        untold,
        "it may still have counted"
    );
    assert_eq!(
        words(&[(0, ended(&Value::Null)), (20_000, ended(&Value::Null))]),
        untold,
        "it never answered"
    );
    assert_eq!(
        words(&[(0, ended(&own)), (2_000, ended(&own)), (2_100, killed)]),
        Vec::<String>::new(),
        "it had nothing to measure"
    );
}

#[test]
fn a_k6_that_says_it_measured_nothing_though_it_sent_something_leaves_the_result_incomplete() {
    let mut session = Session::new(1, false, Vec::new());
    let ended = || said(json!({"phase": "ended", "endedAgo": 0, "own": {}}));
    take(&mut session, 1, counter("http_reqs", 1, 5.0), at(50));
    for millis in [100, 1_000, 2_000] {
        assert_eq!(
            session.hear(&sender(1), ended(), at(millis)),
            Directive::Continue {},
            "{millis}"
        );
        take(
            &mut session,
            1,
            counter("http_reqs", millis, 5.0),
            at(millis + 50),
        );
    }
    assert_eq!(
        session.hear(&sender(1), ended(), at(16_000)),
        Directive::End { crossed: None }
    );
    assert_eq!(
        session.incomplete(),
        ["runner 1 ended before it had told what it measured: its last export may be missing"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_that_began_before_the_aggregator_is_judged_over_all_of_its_time() {
    let abort = json!([{"threshold": "rate<10", "abortOnFail": true, "delayAbortEval": "1m"}]);
    let service = Service::open(1, json!({"thresholds": {"http_reqs": abort}}));
    let body = export([counter("http_reqs", 1, 1_500.0)]);
    assert_eq!(send(&service, "1", "a", body).await.0, 200);
    let running = |ago: u64| json!({"phase": "running", "startedAgo": ago});
    assert_eq!(
        say(&service, "1", running(300_000)).await,
        r#"{"order":"continue"}"#
    );
    tokio::time::sleep(Duration::from_millis(2_700)).await;
    assert_eq!(
        say(&service, "1", running(302_700)).await,
        r#"{"order":"continue"}"#
    );
    let report = json!(service.aggregator().report());
    let verdict = &report["thresholds"][0];
    assert_eq!(verdict["passed"], json!(true), "{verdict}");
    let seconds = report["durationMs"].as_f64().unwrap() / 1e3;
    assert!((302.0..310.0).contains(&seconds), "{seconds}");
    let started: Timestamp = report["started"].as_str().unwrap().parse().unwrap();
    let ago = Clock::system().now().duration_since(started).as_secs_f64();
    assert!((302.0..310.0).contains(&ago), "{ago}");
    let rate = report["time"]["requests"][0].as_f64().unwrap();
    assert!((4.8..5.2).contains(&rate), "{rate}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_that_ended_before_the_aggregator_began_again_has_its_times() {
    let mut service = Service::open(1, json!({}));
    let body = export([counter("http_reqs", 1, 5.0)]);
    assert_eq!(send(&service, "1", "a", body).await.0, 200);
    let word = json!({"phase": "exited", "startedAgo": 300_000, "endedAgo": 0});
    say(&service, "1", word).await;
    service.end();
    service.age(Duration::from_secs(600));
    service.begin();
    let report = json!(service.aggregator().report());
    let started: Timestamp = report["started"].as_str().unwrap().parse().unwrap();
    let ago = Clock::system().now().duration_since(started).as_secs_f64();
    assert!((900.0..910.0).contains(&ago), "{ago}");
    assert_eq!(report["durationMs"], json!(300_000.0));
}

#[test]
fn a_runner_that_ended_while_the_aggregator_was_away_has_time_to_bring_its_last_export() {
    const BEGAN: u64 = 1_000_000;
    let mut session = Session::new(1, false, Vec::new());
    session.began = at(BEGAN);
    let own = json!({"http_reqs": {"count": 5.0}});
    let ended = |ago: u64| said(json!({"phase": "ended", "startedAgo": 60_000, "endedAgo": ago, "own": own}));
    for later in [100, 400] {
        let order = session.hear(&sender(1), ended(20_000 + later), at(BEGAN + later));
        assert_eq!(order, Directive::Continue {}, "{later}");
    }
    take(&mut session, 1, counter("http_reqs", 1, 5.0), at(BEGAN + 500));
    assert_eq!(
        session.hear(&sender(1), ended(20_700), at(BEGAN + 700)),
        Directive::End { crossed: None }
    );
    assert_eq!(session.incomplete(), Vec::<String>::new());
}

#[test]
fn an_aggregator_that_has_just_begun_judges_nothing_before_all_runners_have_sent() {
    const BEGAN: u64 = 1_000_000;
    let abort = json!({"thresholds": {"http_reqs": [{"threshold": "rate>5", "abortOnFail": true}]}});
    let running = || said(json!({"phase": "running", "startedAgo": 300_000}));
    let begun = || {
        let mut session = Session::new(2, false, thresholds(&abort).unwrap());
        session.began = at(BEGAN);
        session.hear(&sender(1), running(), at(BEGAN + 100));
        take(&mut session, 1, counter("http_reqs", 1, 1_000.0), at(BEGAN + 200));
        session.tick(at(BEGAN + 500));
        assert_eq!(session.judged()[0].verdict.passed, None);
        session
    };
    let mut session = begun();
    take(&mut session, 2, counter("http_reqs", 1, 1_000.0), at(BEGAN + 900));
    session.tick(at(BEGAN + 2_600));
    assert_eq!(session.judged()[0].verdict.passed, Some(true));
    let mut session = begun();
    session.tick(at(BEGAN + 10_000));
    let judged = &session.judged()[0];
    assert_eq!(
        (judged.verdict.passed, judged.unknown, judged.aborted),
        (None, true, None)
    );
}

/// What is answered to an export that says that it has so many bytes, of which none comes.
async fn announced(address: SocketAddr, bytes: usize) -> String {
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/metrics HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\nauthorization: {}\r\n\
         k6-runner: 2\r\nk6-process: a\r\ncontent-length: {bytes}\r\n\r\n",
        authorization()
    );
    tokio::io::AsyncWriteExt::write_all(&mut connection, head.as_bytes())
        .await
        .unwrap();
    let mut answer = vec![0; 1_000];
    let read = tokio::io::AsyncReadExt::read(&mut connection, &mut answer)
        .await
        .unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn export_that_is_taken_without_some_tags_is_answered_with_a_warning_and_no_rejected_samples() {
    let service = Service::open(2, json!({}));
    let (status, body) = send(&service, "2", "a", export([others()])).await;
    assert_eq!((status, body.as_str()), (200, ""));
    let body = export([requests(2, &[("new", 3.0), ("newer", 4.0)])]);
    let (status, body) = send(&service, "1", "a", body).await;
    assert_eq!(status, 200, "{body}");
    assert!(
        body.contains("there are more than 100000 series, ") && body.contains("give requests a `name` tag"),
        "{body}"
    );
    let session = service.aggregator().session();
    assert_eq!(
        session.store.total("http_reqs", Some(1)),
        Some(Sink::Counter(7.0))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn export_that_is_too_large_or_unreadable_is_held_against_its_runner_at_once() {
    let thresholds = json!({"thresholds": {"http_reqs": ["count<100", "count>1"]}});
    let service = Service::open(2, thresholds);
    for runner in ["1", "2"] {
        say(&service, runner, json!({"phase": "running", "startedAgo": 3_000})).await;
        let body = export([counter("http_reqs", 1, 5.0)]);
        assert_eq!(send(&service, runner, "a", body).await.0, 200);
    }
    let answer = announced(service.address, LARGEST_EXPORT + 1).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let too_large = format!(
        "an export of runner 2 was refused: it has more than {LARGEST_EXPORT} bytes: give requests a `name` tag, or \
         drop tags with options.systemTags"
    );
    let incomplete = |why: &str| {
        let report = json!(service.aggregator().report());
        assert_eq!(report["incomplete"], json!([why]));
        assert_eq!(report["perRunner"][0].get("incomplete"), None);
        assert_eq!(report["perRunner"][1]["incomplete"], json!([why]));
        let session = service.aggregator().session();
        assert_eq!(
            Outcome::of(&session, service.aggregator().now()).incomplete,
            [why]
        );
    };
    incomplete(&too_large);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let stands = |service: &Service| -> Vec<_> {
        let session = service.aggregator().session();
        let judged = session.judged().iter();
        judged
            .map(|judged| (judged.verdict.passed, judged.unknown))
            .collect()
    };
    assert_eq!(stands(&service), [(None, true), (None, true)]);

    // One that can't be read is refused too, and one that is taken has all.
    assert_eq!(send(&service, "2", "a", b"no export".to_vec()).await.0, 400);
    let told = json!(service.aggregator().report())["incomplete"][0].clone();
    let told = told.as_str().unwrap().to_owned();
    assert!(
        told.starts_with("an export of runner 2 was refused: it can't be read: "),
        "{told}"
    );
    let body = export([counter("http_reqs", 2, 50.0)]);
    assert_eq!(send(&service, "2", "a", body).await.0, 200);
    assert_eq!(json!(service.aggregator().report())["incomplete"], json!([]));
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(stands(&service), [(Some(true), false), (Some(true), false)]);
}

/// Two runners that have ended and told what they measured, the first of them in the second before.
fn ended_one_after_the_other(source: &str) -> Session {
    let options = json!({"thresholds": {"http_reqs": [source]}});
    let mut session = Session::new(2, false, thresholds(&options).unwrap());
    for runner in [1, 2] {
        session.hear(
            &sender(runner),
            said(json!({"phase": "running", "startedAgo": 0})),
            at(1_000),
        );
        take(&mut session, runner, counter("http_reqs", 1, 50.0), at(10_500));
        session.hear(
            &sender(runner),
            said(json!({"phase": "running", "startedAgo": 9_600})),
            at(10_600),
        );
    }
    session
}

fn ended() -> Heartbeat {
    let own = json!({"http_reqs": {"count": 50.0, "rate": 5.0}});
    said(json!({"phase": "ended", "endedAgo": 0, "own": own}))
}

/// What it is told once what it measured has come.
fn end(session: &mut Session, runner: u32, now: Moment) -> Directive {
    assert_eq!(
        session.hear(&sender(runner), ended(), now),
        Directive::Continue {}
    );
    let told = said(
        json!({"phase": "ended", "endedAgo": 2_000, "own": {"http_reqs": {"count": 50.0, "rate": 4.0}}}),
    );
    session.hear(&sender(runner), told, now + Duration::from_secs(2))
}

#[test]
fn abort_on_one_runner_is_ordered_on_those_that_run_and_on_no_others() {
    let mut session = Session::new(3, false, Vec::new());
    let running = || said(json!({"phase": "running", "startedAgo": 100}));
    for runner in [1, 2] {
        assert_eq!(
            session.hear(&sender(runner), running(), at(1_000)),
            Directive::Continue {}
        );
    }
    let aborted = said(json!({"phase": "ended", "startedAgo": 2_000, "endedAgo": 0, "aborted": true}));
    assert_eq!(
        session.hear(&sender(2), aborted, at(3_000)),
        Directive::Continue {}
    );
    assert_eq!(
        session.hear(&sender(1), running(), at(3_500)),
        Directive::Abort { runner: 2 }
    );
    let waiting = said(json!({"phase": "waiting"}));
    assert_eq!(
        session.hear(&sender(3), waiting, at(3_500)),
        Directive::Continue {}
    );
    // Its own part was ended by that order.
    let ended = said(json!({"phase": "ended", "startedAgo": 3_000, "endedAgo": 0}));
    assert_eq!(session.hear(&sender(1), ended, at(4_000)), Directive::Continue {});
}

#[test]
fn runner_that_completes_the_whole_is_told_of_the_thresholds_that_are_crossed() {
    let crossed = |text: &str| Directive::End {
        crossed: Some(text.to_owned()),
    };
    let mut session = ended_one_after_the_other("count<100");
    assert_eq!(end(&mut session, 2, at(11_000)), Directive::End { crossed: None });
    assert_eq!(end(&mut session, 1, at(14_000)), crossed("http_reqs count<100"));
    // Its answer was lost.
    assert_eq!(
        session.hear(&sender(1), ended(), at(16_500)),
        crossed("http_reqs count<100")
    );
    session.conclude(at(20_000));
    assert_eq!(Outcome::of(&session, at(20_000)).crossed, 1);

    let mut session = ended_one_after_the_other("count<101");
    assert_eq!(end(&mut session, 2, at(11_000)), Directive::End { crossed: None });
    assert_eq!(end(&mut session, 1, at(14_000)), Directive::End { crossed: None });
}

#[test]
fn runner_that_is_lost_is_not_waited_for_to_tell_of_the_thresholds_and_may_come_back() {
    for (source, told) in [("count<99", Some("http_reqs count<99")), ("count>=100", None)] {
        let mut session = ended_one_after_the_other(source);
        take(&mut session, 2, counter("http_reqs", 2, 49.0), at(10_800));
        let crossed = told.map(str::to_owned);
        assert_eq!(
            end(&mut session, 1, at(24_000)),
            Directive::End { crossed },
            "runner 2 is silent"
        );
        // It brings what it had measured after all: the outcome decides.
        take(&mut session, 2, counter("http_reqs", 3, 50.0), at(27_000));
        let crossed = told.map(str::to_owned);
        assert_eq!(end(&mut session, 2, at(27_100)), Directive::End { crossed });
        session.conclude(at(30_000));
        assert_eq!(Outcome::of(&session, at(30_000)).passed(), told.is_none());
    }
}

#[test]
fn virtual_users_of_the_summary_are_those_of_the_test_and_not_of_the_wait_before_it() {
    let mut session = Session::new(1, false, Vec::new());
    for (millis, vus) in [
        (1_000, 0.0),
        (2_000, 0.0),
        (3_000, 4.0),
        (4_000, 2.0),
        (5_000, 5.0),
        (6_500, 0.0),
    ] {
        if millis == 3_000 {
            session.hear(
                &sender(1),
                said(json!({"phase": "running", "startedAgo": 500})),
                at(millis),
            );
        }
        take(&mut session, 1, gauge("vus", millis, vus), at(millis));
    }
    let own = json!({"vus": {"value": 5.0}});
    let word = json!({"phase": "exited", "endedAgo": 600, "own": own, "letGo": true});
    session.hear(&sender(1), said(word), at(6_600));
    session.conclude(at(7_000));
    let Sink::Gauge { value, min, max, .. } = session.view().metrics["vus"].sink else {
        panic!("{:?}", session.view());
    };
    assert_eq!((value, min, max), (5.0, 2.0, 5.0));
    assert_eq!(Outcome::of(&session, at(7_000)).totals.vus, 5.0);
    assert_eq!(
        json!(Outcome::of(&session, at(7_000)))["totals"]["vus"],
        json!(5.0)
    );

    // A scenario that begins later has none for long.
    let mut session = Session::new(1, false, Vec::new());
    session.hear(
        &sender(1),
        said(json!({"phase": "running", "startedAgo": 0})),
        at(1_000),
    );
    for (millis, vus) in [(2_000, 0.0), (5_000, 0.0), (6_000, 4.0)] {
        take(&mut session, 1, gauge("vus", millis, vus), at(millis));
    }
    let Sink::Gauge { min, .. } = session.store.view_at_end().metrics["vus"].sink else {
        panic!("no gauge");
    };
    assert_eq!(min, 0.0);
}

#[test]
fn negative_zero_is_written_as_zero() {
    let mut session = Session::new(1, false, Vec::new());
    take(&mut session, 1, counter("http_reqs", 1, -0.0), at(1));
    take(&mut session, 1, gauge("level", 1, -1e-9), at(1));
    take(&mut session, 1, gauge("vus", 1, -0.0), at(1));
    session.conclude(at(2));
    let options = Options::of(&Value::Null);
    let outcome = Outcome::of(&session, at(2));
    let texts = [
        text(&session, &options, at(2)),
        outcome.to_message(),
        json!(data(&session, &options, at(2))["metrics"]["http_reqs"]).to_string(),
    ];
    for text in texts {
        assert!(
            !text.contains("-0,") && !text.contains("-0.0") && !text.contains("-0 "),
            "{text}"
        );
    }
}

/// A test of two runners: one ended after 10 s, of the other nothing was heard after 8 s.
fn half_lost() -> Session {
    let options = json!({"thresholds": {"http_reqs": ["rate>15"]}});
    let mut session = Session::new(2, false, thresholds(&options).unwrap());
    for runner in [1, 2] {
        session.hear(
            &sender(runner),
            said(json!({"phase": "running", "startedAgo": 0})),
            at(1_000),
        );
    }
    take(&mut session, 2, counter("http_reqs", 1, 80.0), at(9_000));
    let own = json!({"http_reqs": {"count": 100.0}});
    let word = json!({"phase": "exited", "endedAgo": 500, "own": own, "letGo": true});
    take(&mut session, 1, counter("http_reqs", 1, 100.0), at(11_200));
    session.hear(&sender(1), said(word), at(11_500));
    session
}

#[test]
fn a_test_of_which_a_runner_is_lost_has_taken_until_the_last_that_was_heard_of_it() {
    let mut session = half_lost();
    assert_eq!(session.elapsed(at(31_000)), 30.0, "while it may still be heard");
    session.conclude(at(31_000));
    assert_eq!(session.elapsed(at(60_000)), 10.0);
    let verdict = session.judged()[0].verdict;
    assert_eq!(verdict.value.unwrap().value, 18.0, "180 in 10 s");
    assert_eq!(verdict.passed, None, "the other may have gone on");
    let mut session = half_lost();
    take(&mut session, 2, counter("http_reqs", 2, 90.0), at(13_000));
    session.conclude(at(31_000));
    assert_eq!(session.elapsed(at(60_000)), 12.0, "the other went on for longer");
}

#[test]
fn what_came_of_a_test_stays_whatever_comes_after_it_was_told() {
    let mut session = half_lost();
    let told = |session: &Session, now| {
        let options = Options::of(&Value::Null);
        let (data, text) = (data(session, &options, now), text(session, &options, now));
        (
            Outcome::of(session, now),
            data,
            text,
            session.timeline.steps().len(),
        )
    };
    session.conclude(at(31_000));
    let first = told(&session, at(31_000));
    assert_eq!(first.0.incomplete, ["runner 2 never said that it had ended"]);
    session.tick(at(40_000));
    let running = said(json!({"phase": "running", "startedAgo": 40_000}));
    assert_eq!(
        session.hear(&sender(2), running, at(41_000)),
        Directive::Continue {}
    );
    take(&mut session, 2, counter("http_reqs", 9, 1.0), at(41_500));
    let ended = said(json!({"phase": "ended", "endedAgo": 0, "own": {"http_reqs": {"count": 1.0}}}));
    assert_eq!(
        session.hear(&sender(2), ended, at(42_000)),
        Directive::End { crossed: None }
    );
    session.tick(at(50_000));
    session.conclude(at(60_000));
    assert_eq!(told(&session, at(70_000)), first);
}

#[test]
fn a_mean_near_zero_of_numbers_that_are_not_is_compared_as_exactly_as_it_can_be() {
    let incomplete = |came: f64| {
        let mut session = Session::new(1, false, Vec::new());
        let mut signed = trend("signed", 1, &[4], 4);
        if let Some(Data::ExponentialHistogram(histogram)) = &mut signed.data {
            let point = &mut histogram.data_points[0];
            (point.sum, point.min, point.max) = (Some(came * 4.0), Some(-10.0), Some(10.0));
        }
        take(&mut session, 1, signed, at(100));
        let own = json!({"signed": {"avg": 1e-13, "min": -10.0, "max": 10.0}});
        session.hear(
            &sender(1),
            said(json!({"phase": "exited", "endedAgo": 0, "own": own, "letGo": true})),
            at(200),
        );
        session.incomplete()
    };
    assert_eq!(incomplete(2e-13), Vec::<String>::new());
    assert_eq!(
        incomplete(1e-6),
        ["the signed avg of runner 1 has come to 0.000001, and k6 has 0.0000000000001"]
    );
}

#[test]
fn of_a_gauge_with_tags_the_value_that_was_set_last_counts_and_virtual_users_are_summed() {
    let gauge = |name: &str, time, points: &[(f64, &str)]| {
        let points = points.iter();
        let points = points.map(|(value, tag)| point(time, Number::AsDouble(*value), &[("zone", tag)]));
        let gauge = Gauge {
            data_points: points.collect(),
        };
        metric(name, Data::Gauge(gauge))
    };
    let mut session = Session::new(1, false, Vec::new());
    for (time, east, west) in [(1, 5.0, 7.0), (2, 6.0, 7.0)] {
        let points = [(east, "east"), (west, "west")];
        take(&mut session, 1, gauge("level", time, &points), at(time));
        take(&mut session, 1, gauge("vus", time, &points), at(time));
    }
    let view = session.store.view();
    let values = |name: &str| match view.metrics[name].sink {
        Sink::Gauge { value, min, max, .. } => (value, min, max),
        Sink::Counter(_) | Sink::Rate { .. } | Sink::Trend(_) => panic!("{name} is no gauge"),
    };
    assert_eq!(values("level"), (6.0, 5.0, 7.0), "that of the east was set last");
    assert_eq!(values("vus"), (13.0, 12.0, 13.0));
}

fn sender(runner: u32) -> Sender {
    Sender {
        runner,
        process: "a".to_owned(),
    }
}

fn said(word: Value) -> Heartbeat {
    serde_json::from_value(word).unwrap()
}

fn take(session: &mut Session, runner: u32, metric: Metric, now: Moment) {
    let bytes = export([metric]);
    let export = Export::decode(&bytes).unwrap();
    session.export(&sender(runner), &export, now).unwrap();
}

#[test]
fn teardown_waits_for_all_runners_also_those_that_have_not_been_heard_since_a_restart() {
    let mut session = Session::new(2, true, Vec::new());
    let word = |phase| serde_json::from_value::<Heartbeat>(json!({"phase": phase, "endedAgo": 0})).unwrap();
    assert_eq!(
        session.hear(&sender(1), word("ended"), at(100)),
        Directive::Continue {}
    );
    assert_eq!(
        session.hear(&sender(2), word("running"), at(200)),
        Directive::Continue {}
    );
    assert_eq!(
        session.hear(&sender(1), word("ended"), at(15_000)),
        Directive::TearDown {},
        "runner 2 is silent"
    );
    session.hear(&sender(2), word("running"), at(15_100));
    assert_eq!(
        session.hear(&sender(1), word("ended"), at(15_200)),
        Directive::Continue {},
        "it is there again"
    );
    session.hear(&sender(2), word("ended"), at(15_300));
    assert_eq!(
        session.hear(&sender(1), word("ended"), at(15_400)),
        Directive::TearDown {}
    );
    let mut session = Session::new(2, true, Vec::new());
    session.began = at(1_000_000);
    for (millis, order) in [
        (1_000_100, Directive::Continue {}),
        (1_010_000, Directive::TearDown {}),
    ] {
        assert_eq!(
            session.hear(&sender(1), word("ended"), at(millis)),
            order,
            "{millis}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn virtual_users_are_summed_and_other_gauges_have_the_last_value() {
    let service = Service::open(2, json!({}));
    for (runner, time, vus, level) in [
        ("1", 1, 3.0, 10.0),
        ("2", 1, 4.0, 20.0),
        ("1", 2, 5.0, 11.0),
        ("2", 3, 4.0, 20.0),
    ] {
        let body = export([gauge("vus", time, vus), gauge("level", time, level)]);
        assert_eq!(send(&service, runner, "a", body).await.0, 200);
    }
    let view = service.aggregator().session().store.view();
    let value = |name: &str| match view.metrics[name].sink {
        Sink::Gauge { value, .. } => value,
        Sink::Counter(_) | Sink::Rate { .. } | Sink::Trend(_) => panic!("{name} is no gauge"),
    };
    assert_eq!(
        (value("vus"), value("level")),
        (9.0, 11.0),
        "runner 2's level has not changed since"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrape_has_the_merged_metrics_by_the_names_of_k6s_own_output() {
    let service = Service::open(2, json!({"thresholds": {"http_reqs": ["count<10"]}}));
    let mut waits = trend("http_req_duration", 1, &[0, 2, 2], 4);
    waits.unit = "ms".to_owned();
    let int = |value| point(1, Number::AsInt(value), &[]);
    let body = [
        counter("http_reqs", 1, 12.0),
        gauge("vus", 1, 3.0),
        waits,
        sum("checks.occurred", CUMULATIVE, vec![int(1)]),
        sum("checks.total", CUMULATIVE, vec![int(4)]),
    ];
    assert_eq!(send(&service, "1", "a", export(body)).await.0, 200);
    service.aggregator().session().conclude(at(0));
    let limit = Duration::from_secs(10);
    let address = service.address.to_string();
    let scraped = ask(&address, hyper::Method::GET, "/metrics", &[], Vec::new(), limit)
        .await
        .unwrap()
        .1;
    let text = String::from_utf8(scraped.to_vec()).unwrap();
    for line in [
        "# TYPE k6_http_reqs_total counter",
        "k6_http_reqs_total 12.0",
        "k6_vus 3.0",
        "k6_checks_rate 0.25",
        "k6_http_req_duration_count 4.0",
        "k6_http_req_duration_max 0.006",
        "k6_threshold_crossed{metric=\"http_reqs\",threshold=\"count<10\"} 1.0",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line:?} is not in\n{text}"
        );
    }
}

/// Every path that a runner asks for, as it would.
const OF_RUNNERS: [&str; 5] = [
    "/v1/metrics",
    "/runners/1/a",
    "/runners/1/a/task",
    "/runners/1/a/handled",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_not_the_token_of_the_run_changes_nothing_and_is_told_nothing() {
    let service = Service::open(1, json!({}));
    let body = export([counter("http_reqs", 1, 5.0)]);
    assert_eq!(send(&service, "1", "a", body).await.0, 200);
    let before = json!(service.aggregator().report());
    let other = Tokens::random().unwrap();
    let stolen = format!("Bearer {}", other.aggregator.text());
    let hash = format!("Bearer {}", tokens().aggregator.hash());
    let orders = format!("Bearer {}", tokens().runners.text());
    let own = authorization().to_owned();
    let shown = [
        None,
        Some(stolen),
        Some(hash),
        Some(orders),
        Some("Bearer ".to_owned()),
        Some(own[..own.len() - 1].to_owned()),
        Some(own.replace("Bearer", "Basic")),
    ];
    for path in OF_RUNNERS {
        for shown in &shown {
            let mut headers = vec![PROTOBUF, ("k6-runner", "1"), ("k6-process", "a")];
            headers.extend(shown.as_deref().map(|shown| ("authorization", shown)));
            let (address, limit) = (service.address.to_string(), Duration::from_secs(10));
            let body = export([counter("http_reqs", 2, 500.0)]);
            let answer = ask(&address, hyper::Method::POST, path, &headers, body, limit).await;
            let (status, body) = answer.unwrap();
            assert_eq!(
                (status.as_u16(), body.as_ref()),
                (401, b"".as_slice()),
                "{path} {shown:?}"
            );
        }
    }
    let mut after = json!(service.aggregator().report());
    after["now"] = before["now"].clone();
    let requests = service.aggregator().session().store.total("http_reqs", None);
    assert_eq!(requests, Some(Sink::Counter(5.0)));
    assert_eq!(after["totals"], before["totals"]);
}

/// No body is read of whom is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_not_the_token_is_refused_before_a_body_comes() {
    let service = Service::open(1, json!({}));
    for path in OF_RUNNERS {
        let mut connection = tokio::net::TcpStream::connect(service.address).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut connection, head.as_bytes())
            .await
            .unwrap();
        let mut answer = vec![0; 1_000];
        let read = tokio::io::AsyncReadExt::read(&mut connection, &mut answer)
            .await
            .unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_of_another_name_cannot_read_the_report() {
    let service = Service::open(1, json!({}));
    let ask_as = async |host: &str| {
        let mut connection = tokio::net::TcpStream::connect(service.address).await.unwrap();
        let head = format!("GET /report.json HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut connection, head.as_bytes())
            .await
            .unwrap();
        let mut answer = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut connection, &mut answer)
            .await
            .unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    for host in [
        "127.0.0.1:4318",
        "10.0.0.7",
        "[::1]:4318",
        "[fd00::7]",
        "localhost:8080",
        "load-aggregator",
        "load-aggregator.team-a.svc:4318",
        "load-aggregator.team-a.svc.cluster.local.:4318",
    ] {
        let answer = ask_as(host).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
        assert!(
            answer.contains("\r\nx-content-type-options: nosniff\r\n"),
            "{answer}"
        );
        let policy = answer.split("\r\ncontent-security-policy: ").nth(1).unwrap();
        let policy = policy.split("\r\n").next().unwrap();
        let of_page = policy.strip_suffix("; frame-ancestors 'none'").unwrap();
        let page = include_str!("../../src/aggregate/report/page.html");
        assert!(page.contains(&format!("content=\"{of_page}\"")), "{of_page}");
    }
    for host in [
        "evil.example",
        "evil.example:4318",
        "127.0.0.1.evil.example",
        "svc.evil.example",
        "a.svc.evil",
    ] {
        let answer = ask_as(host).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{host}: {answer}");
    }
}
