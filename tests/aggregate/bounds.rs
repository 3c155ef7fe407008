//! What comes in is bounded before it is read, and what was written down and can't be read is set aside.

use crate::exports::{counter, export};
use crate::run::{Service, authorization};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use k6_operator::aggregate::Sink;
use k6_operator::aggregate::store::Sender;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// By which a runner of this run is known.
fn known() -> (&'static str, &'static str) {
    ("authorization", authorization())
}

fn sender(process: &str) -> Sender {
    Sender {
        runner: 1,
        process: process.to_owned(),
    }
}

/// Announces a body, of which nothing is sent.
async fn announced(service: &Service, path: &str, bytes: usize) -> TcpStream {
    let mut connection = TcpStream::connect(service.address).await.unwrap();
    let (name, value) = known();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{name}: {value}\r\n\
         content-length: {bytes}\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    connection
}

async fn answer(connection: &mut TcpStream) -> String {
    let mut answer = vec![0; 1_000];
    let read = timeout(Duration::from_secs(10), connection.read(&mut answer)).await;
    String::from_utf8_lossy(&answer[..read.unwrap().unwrap()]).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn word_that_is_too_large_is_refused_before_it_comes() {
    let service = Service::open(1, json!({}));
    for (path, largest) in [
        ("/runners/1/a", 1024 * 1024),
        ("/runners/1/a/task", 1024 * 1024),
        ("/runners/1/a/handled", 16 * 1024 * 1024),
    ] {
        let mut connection = announced(&service, path, largest + 1).await;
        let answer = answer(&mut connection).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_never_come_keep_no_word_waiting() {
    let service = Service::open(1, json!({}));
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(announced(&service, "/runners/1/a/handled", 16 * 1024 * 1024).await);
    }
    let word = r#"{"phase":"running","startedAgo":10}"#;
    let mut connection = announced(&service, "/runners/1/a", word.len()).await;
    connection.write_all(word.as_bytes()).await.unwrap();
    let answer = answer(&mut connection).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn export_over_grpc_that_cannot_be_read_is_held_against_its_runner() {
    let service = Service::open(1, json!({}));
    service
        .aggregator()
        .take(&sender("a"), &export([counter("http_reqs", 1, 1.0)]))
        .unwrap();
    let stream = TcpStream::connect(service.address).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::post(format!(
        "http://{}/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        service.address
    ))
    .header("content-type", "application/grpc")
    .header("te", "trailers")
    .header(known().0, known().1)
    .header("k6-runner", "1")
    .header("k6-process", "a")
    // Five bytes that are no message.
    .body(Full::new(Bytes::from_static(&[
        0, 0, 0, 0, 5, 255, 255, 255, 255, 255,
    ])));
    let answer = client.send_request(request.unwrap()).await.unwrap();
    assert_ne!(answer.headers()["grpc-status"], "0");
    let incomplete = json!(service.aggregator().report())["incomplete"].to_string();
    assert!(
        incomplete.contains("an export of runner 1 was refused: it can't be read: gRPC's status"),
        "{incomplete}"
    );
}

/// A process costs memory, and files in the folder that survives a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runner_has_few_processes_also_after_a_restart() {
    let mut service = Service::open(2, json!({}));
    let word = r#"{"phase":"ended","endedAgo":10}"#;
    let said = async |service: &Service, path: &str| {
        let mut connection = announced(service, path, word.len()).await;
        connection.write_all(word.as_bytes()).await.unwrap();
        answer(&mut connection).await
    };
    for process in 1..=8 {
        let answer = said(&service, &format!("/runners/1/p{process}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    for restarted in [false, true] {
        if restarted {
            service.end();
            service.begin();
        }
        let answer = said(&service, "/runners/1/p9").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(
            answer.ends_with("runner 1 has had 8 processes already"),
            "{answer}"
        );
        for path in ["/runners/1/p8", "/runners/2/p9"] {
            let answer = said(&service, path).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        }
    }
}

#[test]
fn what_was_written_down_and_cannot_be_read_is_set_aside() {
    let mut service = Service::open(1, json!({}));
    let body = export([counter("http_reqs", 1, 5.0)]);
    for process in ["a", "b"] {
        service.aggregator().take(&sender(process), &body).unwrap();
    }
    service.end();
    let kept = service.kept().to_owned();
    // The process before ended while it read this one.
    std::fs::write(kept.join(".reading"), "1-a.otlp").unwrap();
    std::fs::write(kept.join("1-c.otlp"), [255; 20]).unwrap();
    std::fs::write(kept.join("1-d.json"), "{").unwrap();
    service.begin();
    let requests = |service: &Service| service.aggregator().session().store.total("http_reqs", None);
    assert_eq!(requests(&service), Some(Sink::Counter(5.0)));
    let names = |kept: &std::path::Path| {
        let entries = std::fs::read_dir(kept).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    let aside = [
        ".aside-1-a.otlp",
        ".aside-1-c.otlp",
        ".aside-1-d.json",
        "1-b.otlp",
    ];
    assert_eq!(names(&kept), aside);
    let incomplete = json!(service.aggregator().report())["incomplete"].to_string();
    assert!(
        incomplete.contains("an export of runner 1 was refused"),
        "{incomplete}"
    );
    // They are not read again, and what comes next counts.
    service.aggregator().take(&sender("c"), &body).unwrap();
    service.end();
    service.begin();
    assert_eq!(requests(&service), Some(Sink::Counter(10.0)));
    assert!(names(&kept).contains(&"1-c.otlp".to_owned()));
}
