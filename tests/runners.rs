//! The start barrier and the stop, against real k6 processes and, for what k6 does not do on demand, against
//! a small stand-in.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

#[path = "support/k6.rs"]
mod k6;

use k6::{k6_binary, unused_address};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use k6_operator::programs::k6_client::{Client, Status};
use k6_operator::programs::runners::{Limits, Target};
use k6_operator::programs::start::{StartArgs, run_start, start};
use k6_operator::programs::stop::{StopArgs, run_stop, stop};
use k6_operator::protocol::report::Report;

const SCRIPT: &str = r#"
import { sleep } from "k6";
export const options = { vus: 1, duration: "1s" };
export default function () { sleep(0.1); }
"#;

const LONG_SCRIPT: &str = r#"
import { sleep } from "k6";
export const options = { vus: 1, duration: "10m", gracefulStop: "0s" };
export default function () { sleep(0.1); }
"#;

/// Enough for a slow machine.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(60),
    release: Duration::from_secs(20),
    stop: Duration::from_secs(30),
    setup: None,
};

/// k6 processes; they do not survive their test.
struct Runners {
    children: Vec<Child>,
    targets: Vec<Target>,
    _directory: tempfile::TempDir,
}

impl Runners {
    /// N paused runners, which need not be up when this returns.
    fn paused(count: u32, script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("script.js");
        std::fs::write(&path, script).unwrap();
        let mut runners = Runners {
            children: Vec::new(),
            targets: Vec::new(),
            _directory: directory,
        };
        for runner in 1..=count {
            let address = unused_address();
            let child = Command::new(k6_binary())
                .args(["run", "--quiet", "--no-usage-report", "--paused"])
                .arg(format!("--address={address}"))
                .arg(&path)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            runners.children.push(child);
            runners.targets.push(Target { runner, address });
        }
        runners
    }

    async fn status(&self, index: usize) -> Status {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        let mut client = Client::connect(self.targets[index].address, deadline)
            .await
            .unwrap();
        client.status(deadline).await.unwrap()
    }

    /// Waits until every runner is up and waiting.
    async fn ready(&self) {
        let until = Instant::now() + LIMITS.connect;
        for target in &self.targets {
            loop {
                let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
                if let Ok(mut client) = Client::connect(target.address, deadline).await
                    && client.status(deadline).await.is_ok_and(|status| status.ready())
                {
                    break;
                }
                assert!(Instant::now() < until, "runner {target} does not come up");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    fn exit_codes(&mut self) -> Vec<Option<i32>> {
        let until = Instant::now() + Duration::from_secs(60);
        let mut codes = Vec::new();
        for child in &mut self.children {
            codes.push(loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break status.code();
                }
                assert!(Instant::now() < until, "a k6 does not end");
                std::thread::sleep(Duration::from_millis(20));
            });
        }
        codes
    }
}

impl Drop for Runners {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn short(connect_millis: u64) -> Limits {
    Limits {
        connect: Duration::from_millis(connect_millis),
        ..LIMITS
    }
}

fn clean(total: u32, report: &Report) {
    assert_eq!((report.total, report.confirmed), (total, total), "{report:?}");
    assert!(report.failures.is_empty() && report.complete(), "{report:?}");
}

#[tokio::test]
async fn four_paused_runners_are_all_released_and_end_with_exit_0() {
    let mut runners = Runners::paused(4, SCRIPT);
    let report = start(&runners.targets, &LIMITS, None).await;
    println!("spread of 4: {} us", report.spread_micros);
    clean(4, &report);
    assert!(
        report.spread_micros > 0 && report.spread_micros < 100_000,
        "{report:?}"
    );
    assert_eq!(runners.exit_codes(), [Some(0); 4]);
}

#[tokio::test]
async fn a_runner_that_is_not_there_means_none_is_released() {
    let mut runners = Runners::paused(2, LONG_SCRIPT);
    runners.ready().await;
    let address = unused_address();
    let mut targets = runners.targets.clone();
    targets.push(Target { runner: 3, address });
    let report = start(&targets, &short(1500), None).await;
    assert_eq!((report.total, report.confirmed, report.spread_micros), (3, 0, 0));
    assert_eq!(report.failures.len(), 1, "{report:?}");
    assert_eq!(report.failures[0].runner, 3);
    let message = &report.failures[0].message;
    assert!(
        message.starts_with(&format!("not ready within 1.5 s: connecting to {address}: ")),
        "{message}"
    );
    for index in 0..2 {
        let status = runners.status(index).await;
        assert!(status.ready() && !status.released(), "{status:?}");
    }
    // The two are as good as before.
    let report = start(&runners.targets, &LIMITS, None).await;
    clean(2, &report);
    clean(2, &stop(&runners.targets, &LIMITS, None).await);
    assert_eq!(runners.exit_codes(), [Some(103); 2]);
}

#[tokio::test]
async fn a_second_starter_releases_nobody_again() {
    let runners = Runners::paused(2, LONG_SCRIPT);
    clean(2, &start(&runners.targets, &LIMITS, None).await);
    let second = start(&runners.targets, &LIMITS, None).await;
    clean(2, &second);
    assert_eq!(second.spread_micros, 0, "it wrote no release order");
    // And where another runner cannot be reached, those that run already are counted.
    let mut targets = runners.targets.clone();
    targets.push(Target {
        runner: 3,
        address: unused_address(),
    });
    let third = start(&targets, &short(300), None).await;
    assert_eq!(
        (third.total, third.confirmed, third.failures.len()),
        (3, 2, 1),
        "{third:?}"
    );
}

#[tokio::test]
async fn stopping_a_running_test_gives_exit_103() {
    let mut runners = Runners::paused(2, LONG_SCRIPT);
    clean(2, &start(&runners.targets, &LIMITS, None).await);
    clean(2, &stop(&runners.targets, &LIMITS, None).await);
    assert_eq!(runners.exit_codes(), [Some(103); 2]);
}

#[tokio::test]
async fn a_runner_that_has_ended_needs_no_stopping() {
    // A loopback address that is this test's alone: the port of a k6 that has ended may be another test's.
    let ended: Target = "1=127.9.9.9:6565".parse().unwrap();
    clean(1, &stop(&[ended], &LIMITS, None).await);
}

#[tokio::test]
async fn stopping_a_paused_runner_gives_exit_103_too() {
    let mut runners = Runners::paused(1, LONG_SCRIPT);
    runners.ready().await;
    clean(1, &stop(&runners.targets, &LIMITS, None).await);
    assert_eq!(runners.exit_codes(), [Some(103)]);
}

#[tokio::test]
async fn a_runner_that_is_stopped_while_it_starts_never_runs() {
    let mut runners = Runners::paused(1, LONG_SCRIPT);
    clean(1, &stop(&runners.targets, &LIMITS, None).await);
    assert_eq!(runners.exit_codes(), [Some(103)]);
}

#[derive(Parser)]
enum Program {
    Start(StartArgs),
    Stop(StopArgs),
}

#[tokio::test]
async fn the_programs_tell_their_outcome_by_report_and_exit_code() {
    let mut runners = Runners::paused(1, LONG_SCRIPT);
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("termination-log");
    let run = async |name: &str, targets: &[Target], more: &[&str]| {
        let mut line = vec!["k6-operator".to_owned(), name.to_owned()];
        line.extend(targets.iter().map(|target| format!("--runner={target}")));
        line.push(format!("--termination-log={}", log.display()));
        line.extend(more.iter().map(|&argument| argument.to_owned()));
        let code = match Program::try_parse_from(line).unwrap() {
            Program::Start(args) => run_start(args).await,
            Program::Stop(args) => run_stop(args).await,
        };
        let report = Report::from_message(&std::fs::read_to_string(&log).unwrap()).unwrap();
        (code == std::process::ExitCode::SUCCESS, report)
    };

    let missing = [
        runners.targets[0],
        Target {
            runner: 2,
            address: unused_address(),
        },
    ];
    let (good, report) = run("start", &missing, &["--connect-timeout=1"]).await;
    assert!(
        !good && report.confirmed == 0 && report.failures[0].runner == 2,
        "{report:?}"
    );

    let (good, report) = run("start", &runners.targets, &["--connect-timeout=60"]).await;
    clean(1, &report);
    assert!(good);

    let (good, report) = run("stop", &runners.targets, &[]).await;
    clean(1, &report);
    assert!(good);
    assert_eq!(runners.exit_codes(), [Some(103)]);

    assert!(
        Program::try_parse_from(["k6-operator", "start"]).is_err(),
        "no runner is no start"
    );
    assert!(Program::try_parse_from(["k6-operator", "stop", "--runner=1=nowhere"]).is_err());
}

/// What a stand-in does with one request.
#[derive(Clone, Copy, PartialEq)]
enum Act {
    /// Answers; a release order is obeyed.
    Answer,
    /// Answers that it is still initializing.
    Initializing,
    /// Obeys, and closes the connection without an answer.
    ObeyAndClose,
    /// Closes the connection.
    Close,
    /// Answers that it has been told to stop.
    Stopped,
}

/// A k6 that does as it is told: one act for each request, then it answers.
struct Standin {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    acts: VecDeque<Act>,
    released: bool,
    requests: Vec<&'static str>,
}

impl Standin {
    fn new(acts: &[Act]) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").unwrap(), acts)
    }

    fn at(listener: TcpListener, acts: &[Act]) -> Self {
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen {
            acts: acts.iter().copied().collect(),
            ..Seen::default()
        }));
        let shared = Arc::clone(&seen);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || while serve(stream.as_ref().unwrap(), &shared).is_some() {});
            }
        });
        Self { address, seen }
    }

    fn requests(&self) -> Vec<&'static str> {
        self.seen.lock().unwrap().requests.clone()
    }
}

/// One request; None when the connection is to be closed.
fn serve(stream: &TcpStream, seen: &Mutex<Seen>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok().filter(|&read| read > 0)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().ok()?
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let answer = {
        let mut seen = seen.lock().unwrap();
        let patch = first.starts_with("PATCH /v1/status ");
        seen.requests.push(if patch { "PATCH" } else { "GET" });
        let act = seen.acts.pop_front().unwrap_or(Act::Answer);
        if act == Act::Close {
            return None;
        }
        seen.released |= patch;
        if act == Act::ObeyAndClose {
            return None;
        }
        let status = if act == Act::Initializing { 1 } else { 4 };
        let stopped = act == Act::Stopped;
        format!(
            r#"{{"data":{{"type":"status","id":"default","attributes":{{"status":{status},"paused":{},"stopped":{stopped}}}}}}}"#,
            !seen.released
        )
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
    { stream }.write_all((head + &answer).as_bytes()).ok()
}

fn targets(standins: &[Standin]) -> Vec<Target> {
    (1..)
        .zip(standins)
        .map(|(runner, standin)| Target {
            runner,
            address: standin.address,
        })
        .collect()
}

#[tokio::test]
async fn three_hundred_runners_are_released_back_to_back() {
    let standins: Vec<_> = (0..300).map(|_| Standin::new(&[])).collect();
    let report = start(&targets(&standins), &LIMITS, None).await;
    println!("spread of 300: {} us", report.spread_micros);
    clean(300, &report);
    assert!(report.spread_micros < 500_000, "{report:?}");
    assert!(
        standins
            .iter()
            .all(|standin| standin.requests() == ["GET", "GET", "PATCH"])
    );
}

#[tokio::test]
async fn nobody_is_released_while_one_is_still_initializing() {
    let standins = [Standin::new(&[]), Standin::new(&[Act::Initializing; 1000])];
    let report = start(&targets(&standins), &short(700), None).await;
    assert_eq!(
        (report.ordered, report.confirmed, report.failures.len()),
        (0, 0, 1)
    );
    let message = &report.failures[0].message;
    assert!(
        message.ends_with("is still initializing (k6 status 1)"),
        "{message}"
    );
    assert!(
        standins
            .iter()
            .all(|standin| !standin.requests().contains(&"PATCH"))
    );

    let standins = [Standin::new(&[]), Standin::new(&[Act::Initializing; 5])];
    clean(2, &start(&targets(&standins), &LIMITS, None).await);
}

#[tokio::test]
async fn a_runner_whose_answer_got_lost_is_asked_and_not_released_twice() {
    let standins = [
        Standin::new(&[]),
        Standin::new(&[Act::Answer, Act::Answer, Act::ObeyAndClose]),
    ];
    clean(2, &start(&targets(&standins), &LIMITS, None).await);
    assert_eq!(standins[1].requests(), ["GET", "GET", "PATCH", "GET"]);
}

#[tokio::test]
async fn a_runner_whose_order_got_lost_is_released_again() {
    let standins = [
        Standin::new(&[]),
        Standin::new(&[Act::Answer, Act::Answer, Act::Close]),
    ];
    clean(2, &start(&targets(&standins), &LIMITS, None).await);
    assert_eq!(standins[1].requests(), ["GET", "GET", "PATCH", "GET", "PATCH"]);
}

#[tokio::test]
async fn a_runner_that_never_confirms_is_named() {
    let acts: Vec<_> = [Act::Answer; 2].into_iter().chain([Act::Close; 1000]).collect();
    let standins = [Standin::new(&[]), Standin::new(&acts)];
    let limits = Limits {
        release: Duration::from_millis(500),
        ..LIMITS
    };
    let report = start(&targets(&standins), &limits, None).await;
    assert_eq!(
        (
            report.total,
            report.ordered,
            report.confirmed,
            report.failures.len()
        ),
        (2, 2, 1, 1),
        "{report:?}"
    );
    assert_eq!(report.failures[0].runner, 2);
    let message = &report.failures[0].message;
    let address = standins[1].address;
    assert!(
        message.contains(&format!("ordering the release of {address}: ")),
        "{message}"
    );
    assert!(
        message.contains(&format!("then asking for the status of {address}: ")),
        "{message}"
    );
}

#[tokio::test]
async fn a_runner_that_is_told_to_stop_is_not_asked_again() {
    let standins = [Standin::new(&[]), Standin::new(&[Act::Stopped])];
    let report = start(&targets(&standins), &LIMITS, None).await;
    let address = standins[1].address;
    assert_eq!((report.ordered, report.confirmed), (0, 0), "{report:?}");
    assert_eq!(
        report.failures[0].message,
        format!("not ready: {address} has been told to stop")
    );
    assert_eq!(standins[1].requests(), ["GET"]);

    let standins = [
        Standin::new(&[]),
        Standin::new(&[Act::Answer, Act::Answer, Act::Close, Act::Stopped]),
    ];
    let report = start(&targets(&standins), &LIMITS, None).await;
    assert_eq!((report.ordered, report.confirmed), (2, 1), "{report:?}");
    assert_eq!(standins[1].requests(), ["GET", "GET", "PATCH", "GET"]);
}

#[tokio::test]
async fn who_has_the_address_of_a_runner_that_ended_before_it_confirmed_is_not_released_in_its_place() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let another = std::thread::spawn(move || {
        let seen = Mutex::new(Seen {
            acts: [Act::Answer, Act::Answer, Act::Close].into(),
            ..Seen::default()
        });
        let (stream, _) = listener.accept().unwrap();
        while serve(&stream, &seen).is_some() {}
        drop((stream, listener));
        std::thread::sleep(Duration::from_secs(3));
        Standin::at(TcpListener::bind(address).unwrap(), &[])
    });
    let report = start(&[Target { runner: 1, address }], &LIMITS, None).await;
    assert_eq!((report.ordered, report.confirmed), (1, 0), "{report:?}");
    let message = &report.failures[0].message;
    assert!(message.starts_with("no confirmation: "), "{message}");
    assert!(
        message.contains(&format!("; then connecting to {address}: ")),
        "{message}"
    );
    let another = tokio::task::spawn_blocking(|| another.join().unwrap())
        .await
        .unwrap();
    assert_eq!(another.requests(), Vec::<&str>::new());
}

#[tokio::test]
async fn an_address_that_never_answers_is_not_a_stopped_runner() {
    // It accepts connections and is silent.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let limits = Limits {
        stop: Duration::from_millis(500),
        ..LIMITS
    };
    let report = stop(&[Target { runner: 1, address }], &limits, None).await;
    assert_eq!(report.confirmed, 0);
    let message = &report.failures[0].message;
    assert!(
        message.ends_with(&format!("ordering the stop of {address}: no answer in time")),
        "{message}"
    );
}
