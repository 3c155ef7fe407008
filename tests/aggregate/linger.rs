//! The program around the k6 of a runner: what k6 ends with it ends with, and an aggregator that is not there holds
//! nobody for ever.

use crate::k6::{k6_binary, unused_address};
use crate::run::{hand_over, tokens};
use hyper::Method;
use k6_operator::programs::http::ask;
use k6_operator::programs::k6_client::Client;
use k6_operator::protocol::tokens::{Tokens, VARIABLES};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SHORT: &str = "export const options = { vus: 1, duration: '1s' }; export default function () {}";
const LONG: &str = "import { sleep } from 'k6'; export const options = { vus: 1, duration: '10m', gracefulStop: '0s' }; \
                    export default function () { sleep(0.1); }";
const BROKEN: &str = "throw new Error('no such host'); export default function () {}";

struct Lingering {
    child: Child,
    folder: tempfile::TempDir,
    api: SocketAddr,
}

fn linger(script: &str, patience: u64) -> Lingering {
    linger_beside(script, patience, "")
}

/// Beside outputs that a variable names; OUT stands for a folder.
fn linger_beside(script: &str, patience: u64, outputs: &str) -> Lingering {
    lingering(script, patience, outputs, None)
}

/// Around a program that runs k6.
fn lingering(script: &str, patience: u64, outputs: &str, around: Option<&str>) -> Lingering {
    let nobody = format!("--aggregator={}", unused_address());
    lingering_with(script, patience, outputs, around, &[nobody])
}

fn lingering_with(
    script: &str,
    patience: u64,
    outputs: &str,
    around: Option<&str>,
    more: &[String],
) -> Lingering {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.js");
    std::fs::write(&path, script).unwrap();
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let api = unused_address();
    let program = match around {
        None => k6_binary().to_owned(),
        Some(around) => {
            let program = folder.path().join("around");
            std::fs::write(&program, around).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
            program
        }
    };
    let child = Command::new(env!("CARGO_BIN_EXE_k6-operator"))
        .args(["linger", "--runner=1", "--process=pod"])
        .arg(format!("--patience={patience}"))
        .args((!more.iter().any(|word| word.starts_with("--api="))).then(|| format!("--api={api}")))
        .args(more)
        .arg("--")
        .arg(program)
        .env("K6", k6_binary())
        .env(VARIABLES[0], tokens().aggregator.text())
        .env(VARIABLES[1], tokens().runners.hash().to_string())
        .args([
            "run",
            "--quiet",
            "--no-usage-report",
            "--linger",
            "--out=csv=/dev/null",
        ])
        .arg(&path)
        .env(
            "K6_OUT",
            outputs.replace("OUT", &folder.path().display().to_string()),
        )
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    Lingering { child, folder, api }
}

impl Lingering {
    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn code(&mut self) -> Option<i32> {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < until, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn what_k6_ends_with_a_runner_ends_with() {
    let mut broken = linger(BROKEN, 30);
    assert_eq!(broken.code(), Some(107), "{}", broken.log());
    assert!(broken.log().contains("no such host"));
}

#[test]
fn an_aggregator_that_is_not_there_is_not_waited_for_for_ever() {
    let mut alone = linger(SHORT, 2);
    assert_eq!(alone.code(), Some(0), "{}", alone.log());
    assert!(
        alone.log().contains("the last export may be lost"),
        "{}",
        alone.log()
    );
}

#[test]
fn what_k6s_own_variable_names_is_written_though_k6_is_given_an_output() {
    let outputs = "opentelemetry,csv=OUT/a.csv,json=OUT/a.json";
    let mut beside = linger_beside(SHORT, 2, outputs);
    assert_eq!(beside.code(), Some(0), "{}", beside.log());
    for file in ["a.csv", "a.json"] {
        let written = std::fs::read_to_string(beside.folder.path().join(file)).unwrap();
        assert!(written.contains("iteration_duration"), "{file}: {written}");
    }
}

#[test]
fn a_runner_that_is_told_to_end_tells_k6() {
    let mut told = linger(LONG, 30);
    let until = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(told.api).is_err() {
        assert!(Instant::now() < until, "k6 does not come up");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(1));
    let pid = told.child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    // As k6 ends by itself when it is told so.
    assert_eq!(told.code(), Some(105), "{}", told.log());
}

/// A k6 that runs another as its child, and passes no signal on to it, as one does whose script imports an extension.
const PARENT: &str = "#!/bin/sh\ntrap : TERM INT\n\"$K6\" \"$@\"\nexit $?\n";

fn child_of(parent: &str) -> Option<String> {
    let found = Command::new("pgrep").args(["-P", parent]).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    found.lines().next().map(str::to_owned)
}

fn kill(signal: &str, process: &str) {
    let killed = Command::new("kill").args([signal, process]).status().unwrap();
    assert!(killed.success());
}

impl Lingering {
    fn until_up(&self) {
        let until = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(self.api).is_err() {
            assert!(Instant::now() < until, "k6 does not come up: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_secs(1));
    }

    /// Nothing listens, and nothing lives.
    fn is_gone(&self, child: &str) -> bool {
        let until = Instant::now() + Duration::from_secs(5);
        let alive = || {
            Command::new("kill")
                .args(["-0", child])
                .output()
                .unwrap()
                .status
                .success()
        };
        while alive() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
        }
        !alive() && std::net::TcpStream::connect(self.api).is_err()
    }
}

#[test]
fn k6_that_runs_as_the_child_of_another_ends_with_its_part_of_the_test() {
    let begun = Instant::now();
    let mut short = lingering(SHORT, 2, "", Some(PARENT));
    assert_eq!(short.code(), Some(0), "{}", short.log());
    assert!(begun.elapsed() < Duration::from_secs(25), "{}", short.log());
    assert!(!short.log().contains("it is killed"), "{}", short.log());
    assert!(
        std::net::TcpStream::connect(short.api).is_err(),
        "a child is left"
    );
}

#[test]
fn signals_reach_a_k6_that_runs_as_the_child_of_another() {
    for (signal, code) in [("-TERM", 105), ("-INT", 105)] {
        let mut long = lingering(LONG, 30, "", Some(PARENT));
        long.until_up();
        let parent = child_of(&long.child.id().to_string()).unwrap();
        let child = child_of(&parent).unwrap();
        kill(signal, &long.child.id().to_string());
        assert_eq!(long.code(), Some(code), "{signal}: {}", long.log());
        assert!(long.is_gone(&child), "{signal}");
    }
}

#[test]
fn k6_whose_parent_is_killed_is_not_left_behind() {
    let mut long = lingering(LONG, 30, "", Some(PARENT));
    long.until_up();
    let parent = child_of(&long.child.id().to_string()).unwrap();
    let child = child_of(&parent).unwrap();
    kill("-KILL", &parent);
    assert_eq!(long.code(), Some(137), "{}", long.log());
    assert!(long.is_gone(&child));
}

#[test]
fn output_that_k6_can_have_only_once_is_left_out_with_a_word_in_the_log() {
    let mut beside = linger_beside(SHORT, 2, "opentelemetry");
    assert_eq!(beside.code(), Some(0), "{}", beside.log());
    let why = "K6_OUT names opentelemetry. k6 can have only one such output";
    assert!(beside.log().contains(why), "{}", beside.log());
}

#[test]
fn a_command_that_is_none_is_told() {
    let output = Command::new(env!("CARGO_BIN_EXE_k6-operator"))
        .args([
            "linger",
            "--aggregator=127.0.0.1:1",
            "--runner=1",
            "--process=pod",
            "--",
            "/no/k6",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("/no/k6 can't be started: No such file"), "{said}");
}

/// What this script of a shell prints as the k6 of a runner, with these arguments of `linger` and of k6, in an
/// environment that has nothing else of k6.
fn printed(script: &str, of_linger: &[&str], of_k6: &[&str], of_user: &[(&str, &str)]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_k6-operator"))
        .args([
            "linger",
            "--aggregator=127.0.0.1:1",
            "--runner=1",
            "--process=pod",
        ])
        .arg(format!("--api={}", unused_address()))
        .args(of_linger)
        .args(["--", "sh", "-c", script])
        .args(of_k6)
        .env_remove("K6_OUT")
        .env_remove("GOGC")
        .env_remove("GOMEMLIMIT")
        .envs(of_user.iter().copied())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn garbage_settings(of_user: &[(&str, &str)]) -> String {
    printed("echo growth=$GOGC limit=${GOMEMLIMIT:+given}", &[], &[], of_user)
}

#[test]
fn tags_that_only_others_need_are_given_where_samples_go_to_others() {
    let tagged = |more: &[&str], of_user: &[(&str, &str)]| {
        let tags = ["--own-tag=instance_id=1", "--own-tag=testrun_name=a"];
        let of_k6 = [&["run", "--out", "opentelemetry"], more].concat();
        let said = printed("echo $*", &tags, &of_k6, of_user);
        said.contains("--tag=instance_id=1 --tag=testrun_name=a")
    };
    assert!(!tagged(&[], &[]));
    assert!(!tagged(&["--tag", "a=b"], &[("K6_OUT", "opentelemetry")]));
    assert!(tagged(&["--out=csv"], &[]));
    assert!(tagged(&[], &[("K6_OUT", "json=/tmp/a")]));
}

#[test]
fn k6_collects_garbage_less_often_unless_the_user_decides() {
    // This machine may limit the memory of the test.
    let set = garbage_settings(&[]);
    assert!(set.starts_with("growth=330 limit="), "{set}");
    assert_eq!(garbage_settings(&[("GOGC", "50")]), "growth=50 limit=\n");
    assert_eq!(
        garbage_settings(&[("GOMEMLIMIT", "1GiB")]),
        "growth= limit=given\n"
    );
}

/// A k6 that has much to sum up when it is told to end: it takes longer than it is given.
const SLOW: &str = "#!/bin/sh\ntrap 'sleep 60' TERM\n\"$K6\" \"$@\" &\nk6=$!\nwait $k6\nwait $k6\n";

/// An aggregator that says the same to each word: the end.
async fn ending(order: serde_json::Value) -> SocketAddr {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let word = axum::routing::post(async move || axum::Json(order.clone()));
    let routes = axum::Router::new().route("/runners/{runner}/{process}", word);
    tokio::spawn(async move { axum::serve(socket, routes).await.unwrap() });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k6_that_had_to_be_killed_when_all_was_collected_is_no_failure_of_the_test() {
    let crossed = "http_req_duration p(95)<1";
    for (order, code) in [
        (serde_json::json!({"order": "end"}), 0),
        (
            serde_json::json!({"order": "end", "series": 100, "crossed": crossed}),
            99,
        ),
    ] {
        let aggregator = ending(order).await;
        let more = [format!("--aggregator={aggregator}"), "--grace=1".to_owned()];
        let mut slow = lingering_with(SHORT, 30, "", Some(SLOW), &more);
        assert_eq!(slow.code(), Some(code), "{}", slow.log());
        assert!(slow.log().contains("its own summary is lost"), "{}", slow.log());
    }
}

const WAITS: &str = "export const options = { vus: 1, duration: '10m', gracefulStop: '0s' }; \
                     export function setup() { return { token: 's3cret' }; } export default function () {}";

async fn ask_for(
    address: SocketAddr,
    method: Method,
    path: &str,
    shown: Option<&str>,
    body: &str,
) -> (u16, String) {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(shown.map(|shown| ("authorization", shown)));
    let (address, limit) = (address.to_string(), Duration::from_secs(10));
    let answer = ask(&address, method, path, &headers, body.as_bytes().to_vec(), limit).await;
    let (status, body) = answer.unwrap();
    (status.as_u16(), String::from_utf8_lossy(&body).into_owned())
}

/// Until k6 answers through the program around it.
async fn until_status(address: SocketAddr) {
    let until = Instant::now() + Duration::from_secs(60);
    let limit = Duration::from_secs(5);
    let at = address.to_string();
    while !ask(&at, Method::GET, "/v1/status", &[], Vec::new(), limit)
        .await
        .is_ok_and(|(status, _)| status == 200)
    {
        assert!(Instant::now() < until, "k6 does not come up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn port_of_a_runner_tells_its_status_to_all_and_obeys_who_has_the_token() {
    let (address, folder) = (unused_address(), tempfile::tempdir().unwrap());
    hand_over(folder.path());
    let more = [
        format!("--aggregator={}", unused_address()),
        format!("--tokens={}", folder.path().display()),
        format!("--listen={address}"),
    ];
    let mut runner = lingering_with(WAITS, 1, "", None, &more);
    until_status(address).await;
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "the script could read the tokens");

    let stop = r#"{"data":{"type":"status","id":"default","attributes":{"stopped":true}}}"#;
    let other = format!("Bearer {}", Tokens::random().unwrap().runners.text());
    let of_the_aggregator = format!("Bearer {}", tokens().aggregator.text());
    let hash = format!("Bearer {}", tokens().runners.hash());
    for shown in [None, Some(other.as_str()), Some(&of_the_aggregator), Some(&hash)] {
        for (method, path, body) in [
            (Method::GET, "/v1/setup", ""),
            (Method::PUT, "/v1/setup", "{}"),
            (Method::POST, "/v1/setup", ""),
            (Method::POST, "/v1/teardown", ""),
            (Method::PATCH, "/v1/status", stop),
            (Method::GET, "/v1/metrics", ""),
            (Method::GET, "/v1/groups", ""),
            (Method::GET, "/debug/pprof/", ""),
            (Method::GET, "/", ""),
            (Method::GET, "//v1/status", ""),
            (Method::GET, "/v1/status/../setup", ""),
        ] {
            let answer = ask_for(address, method.clone(), path, shown, body).await;
            assert_eq!(answer, (401, String::new()), "{method} {path} {shown:?}");
        }
        let status = ask_for(address, Method::GET, "/v1/status", shown, "").await;
        assert!(
            status.0 == 200 && status.1.contains(r#""stopped":false"#),
            "{status:?}"
        );
    }

    let shown = format!("Bearer {}", tokens().runners.text());
    let setup = ask_for(address, Method::GET, "/v1/setup", Some(&shown), "").await;
    assert!(setup.0 == 200 && setup.1.contains("s3cret"), "{setup:?}");
    let metrics = ask_for(address, Method::GET, "/v1/metrics", Some(&shown), "").await;
    assert_eq!(metrics.0, 404);
    let stopped = ask_for(address, Method::PATCH, "/v1/status", Some(&shown), stop).await;
    assert!(
        stopped.0 == 200 && stopped.1.contains(r#""stopped":true"#),
        "{stopped:?}"
    );
    assert_eq!(runner.code(), Some(103), "{}", runner.log());
    assert!(std::net::TcpStream::connect(address).is_err(), "somebody listens");
}

/// Where no init container hands files over. Here as well as in a container, nobody but `linger` has the variables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_variables_count_and_reach_no_process_of_the_script() {
    let address = unused_address();
    let more = [
        format!("--aggregator={}", unused_address()),
        "--tokens=env".to_owned(),
        format!("--listen={address}"),
    ];
    let shows = "#!/bin/sh\necho begin; env; echo end\nexec \"$K6\" \"$@\"\n";
    let mut runner = lingering_with(WAITS, 1, "", Some(shows), &more);
    until_status(address).await;
    let setup = ask_for(address, Method::GET, "/v1/setup", None, "").await;
    assert_eq!(setup.0, 401);
    let shown = format!("Bearer {}", tokens().runners.text());
    let stop = r#"{"data":{"type":"status","id":"default","attributes":{"stopped":true}}}"#;
    let stopped = ask_for(address, Method::PATCH, "/v1/status", Some(&shown), stop).await;
    assert_eq!(stopped.0, 200, "{stopped:?}");
    assert_eq!(runner.code(), Some(103), "{}", runner.log());
    let log = runner.log();
    assert!(log.contains("\nK6=") && log.contains("\nend\n"), "{log}");
    let (token, hash) = (tokens().aggregator.text(), tokens().runners.hash().to_string());
    assert!(!log.contains(token) && !log.contains(&hash), "{log}");
}

/// A sidecar may have the port, which k6 would end for.
#[test]
fn api_of_k6_gives_way_to_what_listens_at_its_port() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let more = [
        format!("--aggregator={}", unused_address()),
        format!("--api={address}"),
    ];
    let mut runner = lingering_with(SHORT, 1, "", None, &more);
    assert_eq!(runner.code(), Some(0), "{}", runner.log());
    let told = format!("another container of the pod listens at {address}: k6's REST API is at ");
    assert!(runner.log().contains(&told), "{}", runner.log());
}

/// Who holds connections open keeps nobody out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_that_hold_connections_open_are_closed_and_keep_nobody_out() {
    let (address, folder) = (unused_address(), tempfile::tempdir().unwrap());
    hand_over(folder.path());
    let more = [
        format!("--aggregator={}", unused_address()),
        format!("--tokens={}", folder.path().display()),
        format!("--listen={address}"),
    ];
    let runner = lingering_with(WAITS, 1, "", None, &more);
    until_status(address).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let mut known = Client::connect(address, deadline).await.unwrap();
    known = known.with(Some(&tokens().runners));
    known.status(deadline).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..200 {
        open.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    until_status(address).await;
    let mut byte = [0];
    let closed = tokio::time::timeout(
        Duration::from_secs(5),
        tokio::io::AsyncReadExt::read(&mut open[0], &mut byte),
    );
    assert!(!matches!(closed.await.unwrap(), Ok(1..)));
    // Longer than a stranger may.
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert!(known.stop(deadline).await.unwrap().stopped);
    let mut runner = runner;
    assert_eq!(runner.code(), Some(103));
}
