//! What a runner's address answers: k6's REST API, or whatever else listens there.

use crate::mutate;
use k6_operator::programs::k6_client::{Client, Error, Status};
use k6_operator::programs::runners::{Limits, Target};
use k6_operator::programs::start::start;
use k6_operator::programs::stop::stop;
use proptest::prelude::*;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// How long a call may take here, and how much later it may return on a busy machine.
const DEADLINE: Duration = Duration::from_millis(300);
const SLACK: Duration = Duration::from_secs(5);

/// How the bytes come.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// All at once; then the connection is closed.
    Whole,
    /// In pieces of this size.
    Pieces(usize),
    /// A byte every few milliseconds.
    Slow,
    /// And then nothing more, on an open connection.
    Hang,
    /// Again and again, without end.
    Endless,
}

fn manner() -> impl Strategy<Value = Manner> {
    prop_oneof![
        6 => Just(Manner::Whole),
        3 => (1..50usize).prop_map(Manner::Pieces),
        1 => Just(Manner::Slow),
        1 => Just(Manner::Hang),
        1 => Just(Manner::Endless),
    ]
}

/// Answers every connection so. It ends with the runtime.
async fn served(answer: Vec<u8>, manner: Manner) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.set_nodelay(true);
                let asked = stream.read(&mut request).await;
                let piece = match manner {
                    // Not so many that they take longer than the deadline.
                    Manner::Pieces(size) => size.max(answer.len() / 200),
                    Manner::Slow => 1,
                    Manner::Whole | Manner::Hang | Manner::Endless => answer.len().max(1),
                };
                if asked.is_err() {
                    return;
                }
                loop {
                    for piece in answer.chunks(piece) {
                        if stream.write_all(piece).await.is_err() {
                            return;
                        }
                        match manner {
                            Manner::Slow => tokio::time::sleep(Duration::from_millis(5)).await,
                            Manner::Pieces(_) => tokio::task::yield_now().await,
                            Manner::Whole | Manner::Hang | Manner::Endless => {}
                        }
                    }
                    match manner {
                        Manner::Hang => std::future::pending().await,
                        Manner::Endless if !answer.is_empty() => tokio::task::yield_now().await,
                        Manner::Whole | Manner::Pieces(_) | Manner::Slow | Manner::Endless => return,
                    }
                }
            });
        }
    });
    address
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Asks once. Whatever comes, the answer is there in time and says no more than it may.
fn asked(answer: &[u8], manner: Manner) -> Result<Result<Status, Error>, TestCaseError> {
    let (found, took) = runtime().block_on(async {
        let address = served(answer.to_vec(), manner).await;
        let began = Instant::now();
        let found = async {
            let mut client = Client::connect(address, began + DEADLINE).await?;
            client.status(began + DEADLINE).await
        };
        let found = found.await;
        (found, began.elapsed())
    });
    prop_assert!(took < DEADLINE + SLACK, "{took:?}");
    if let Err(error) = &found {
        let text = error.to_string();
        // What is no status is quoted by its beginning, and once more by whoever could not read it.
        let most = 1500 + 8 * answer.len().min(64 * 1024);
        prop_assert!(text.len() < most, "{} bytes", text.len());
    }
    Ok(found)
}

/// A right answer with this body.
fn with_body(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[test]
fn every_answer_of_the_corpus_is_read_or_refused_in_time() {
    let mut good = Vec::new();
    for (name, answer) in mutate::corpus("rest") {
        for manner in [Manner::Whole, Manner::Pieces(7), Manner::Hang] {
            match asked(&answer, manner) {
                Ok(Ok(_)) if matches!(manner, Manner::Whole) => good.push(name.clone()),
                Ok(_) => {}
                Err(error) => panic!("{name} {manner:?}: {error}"),
            }
        }
    }
    let valid = [
        "chunked.http",
        "continue.http",
        "latin1.http",
        "no-length.http",
        "paused.http",
        "resumed.http",
        "running.http",
        "status-max.http",
        "stopped.http",
        "two-answers.http",
    ];
    assert_eq!(good, valid);
}

#[test]
fn an_answer_without_end_is_given_up() {
    let repeated: [(&str, Vec<u8>); 6] = [
        ("continue", b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        ("answers", mutate::file("rest", "paused.http")),
        ("nul", vec![0; 4096]),
        ("spaces", b" ".repeat(4096)),
        ("lines", b"\r\n".repeat(4096)),
        ("letters", b"x".repeat(4096)),
    ];
    for (name, piece) in repeated {
        let found = asked(&piece, Manner::Endless).unwrap();
        assert!(found.is_err() || name == "answers", "{name}: {found:?}");
    }
    let headed: [(&str, &str, &str); 4] = [
        ("headers", "HTTP/1.1 200 OK\r\n", "X: y\r\n"),
        (
            "body",
            "HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n",
            "[[[[",
        ),
        (
            "chunks",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "1\r\n \r\n",
        ),
        (
            "a chunk's extension",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1",
            ";x=yyyyyyy",
        ),
    ];
    for (name, head, piece) in headed {
        let answer = format!("{head}{}", piece.repeat(200_000));
        for manner in [Manner::Whole, Manner::Hang] {
            let found = asked(answer.as_bytes(), manner).unwrap();
            assert!(found.is_err(), "{name}: {found:?}");
        }
    }
}

#[test]
fn starter_and_stopper_end_in_time_and_count_nobody_that_did_not_confirm() {
    let few = Duration::from_millis(100);
    let limits = Limits {
        connect: few,
        release: few,
        stop: few,
        setup: None,
    };
    for (name, answer) in mutate::corpus("rest") {
        let (started, stopped, took) = runtime().block_on(async {
            let address = served(answer, Manner::Whole).await;
            let targets = [Target { runner: 1, address }];
            let began = Instant::now();
            let started = start(&targets, &limits, None).await;
            let stopped = stop(&targets, &limits, None).await;
            (started, stopped, began.elapsed())
        });
        assert!(took < 3 * DEADLINE + SLACK, "{name}: {took:?}");
        let says = |names: &[&str]| u32::from(names.contains(&name.as_str()));
        // Those that say that the test runs, or that it was told to stop.
        let runs = says(&["resumed.http", "running.http", "stopped.http"]);
        assert_eq!(started.confirmed, runs, "{name}: {started:?}");
        assert_eq!(stopped.confirmed, says(&["stopped.http"]), "{name}: {stopped:?}");
    }
}

proptest! {
    #![proptest_config(mutate::config(150))]

    #[test]
    fn a_mutated_answer_is_read_or_refused_in_time(answer in mutate::mutated("rest"), manner in manner()) {
        asked(&answer, manner)?.ok();
    }

    #[test]
    fn a_body_is_a_status_or_it_is_refused(body in mutate::mutated("rest"), pieces in 1..400usize) {
        // The body of an answer of the corpus, mutated or not, after a head that is right.
        let start = body.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |at| at + 4);
        let body = &body[start..];
        let found = asked(&with_body(body), Manner::Pieces(pieces))?;
        // What else stands there is passed over, right or not.
        let Ok(expected) = serde_json::from_slice::<serde_json::Value>(body) else {
            return Ok(());
        };
        let attributes = expected.pointer("/data/attributes");
        match found {
            Ok(status) => {
                let value = attributes.unwrap();
                prop_assert_eq!(value.get("status").and_then(|v| v.as_u64()), Some(status.status.into()));
                prop_assert_eq!(value.get("paused").and_then(|v| v.as_bool()), Some(status.paused));
            }
            Err(error) => prop_assert!(
                body.is_empty() || matches!(error, Error::Answer { .. } | Error::Late { .. }),
                "{error}"
            ),
        }
    }
}
