//! The end-to-end bench: what a run costs and how sharply it starts, in a real cluster with real k6.
//!
//! `make bench` runs it beside the embedded cluster, whose audit log tells what the operator asked of the API
//! server, and whose HTTP target tells when each runner's first request came in. The floor is measured in the
//! same run: the same runner pods, released by a plain process on the host over fresh connections, one thread
//! each. Numbers of runners can be given: `tests/cluster/bench cluster 8 60`.
//!
//! A second table tells how long the end of a run takes. `tests/cluster/bench cluster end` prints only that.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    missing_docs
)]

#[path = "support/figures.rs"]
mod figures;

use futures::StreamExt;
use jiff::Timestamp;
use k6_operator::api::{Kind, LoadTest, Spec};
use k6_operator::machine::StateName;
use k6_operator::objects::{self, Defaults, Owner, ValidatedRun};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use kube_runtime::{WatchStreamExt, watcher};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant, SystemTime};

const RUNNERS: [u32; 3] = [1, 4, 20];
const NAMESPACE: &str = "k6-bench";
const OPERATOR: &str = "system:serviceaccount:k6-operator-system:k6-operator-controller-manager";
const LIMIT: Duration = Duration::from_secs(240);

/// One virtual user per runner, each of which asks the target ten times a second.
const SCRIPT: &str = "import http from 'k6/http';
import { sleep } from 'k6';
export const options = { vus: Number(__ENV.VUS), duration: '4s' };
export default function () { http.get('http://k6-target.k6-target.svc/'); sleep(0.1); }
";

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run this by `make bench`"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // cargo test --benches and cargo bench --no-run pass through here too.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let client = Client::try_default().await.expect("a cluster");
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace: Namespace =
        serde_json::from_value(serde_json::json!({"metadata": {"name": NAMESPACE}})).unwrap();
    if let Err(error) = namespaces.create(&PostParams::default(), &namespace).await {
        assert!(
            matches!(&error, kube::Error::Api(status) if status.is_already_exists()),
            "{error}"
        );
    }
    let only_ends = std::env::args().any(|arg| arg == "end");
    if !only_ends {
        starts(&client).await;
    }
    ends(&client).await;
    namespaces
        .delete(NAMESPACE, &DeleteParams::background())
        .await
        .unwrap();
}

/// The numbers of runners that are asked for; none for all.
fn asked() -> Vec<u32> {
    std::env::args().filter_map(|arg| arg.parse().ok()).collect()
}

/// How sharply runs start, and what they cost.
async fn starts(client: &Client) {
    println!(
        "{:>3} | {:>12} | {:>11} | {:>16} | {:>10} | {:>11} | {:>5} | {:>6} | {:>8}",
        "N",
        "apply → Jobs",
        "last Ready",
        "last Ready",
        "spread at",
        "floor of",
        "ratio",
        "writes",
        "requests"
    );
    println!(
        "{:>3} | {:>12} | {:>11} | {:>16} | {:>10} | {:>11} | {:>5} | {:>6} | {:>8}",
        "", "", "→ Started", "→ 1st request", "the target", "the spread", "", "", ""
    );
    let asked = asked();
    for n in if asked.is_empty() { RUNNERS.to_vec() } else { asked } {
        let mut runs = Vec::new();
        for _ in 0..3 {
            runs.push((run(client, n).await, floor(client, n).await));
        }
        let median = |of: &dyn Fn(&(Run, f64)) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let (spread, floor) = (median(&|(run, _)| run.spread), median(&|(_, floor)| *floor));
        println!(
            "{n:>3} | {:>10.2} s | {:>9.2} s | {:>14.2} s | {:>7.1} ms | {:>8.1} ms | {:>5.2} | N + {:<2} | {:>8}",
            median(&|(run, _)| run.created),
            median(&|(run, _)| run.started),
            median(&|(run, _)| run.first),
            spread * 1e3,
            floor * 1e3,
            if floor > 0.0 { spread / floor } else { 1.0 },
            median(&|(run, _)| run.writes as f64) - f64::from(n),
            median(&|(run, _)| run.requests as f64),
        );
        if n > 1 {
            let pairs: Vec<_> = runs
                .iter()
                .map(|(run, floor)| (run.spread * 1e3, floor * 1e3))
                .collect();
            figures::print(
                &format!("the spread of the first requests of {n} runners"),
                "ms",
                &pairs,
            );
        }
    }
    println!(
        "medians of 3 runs; the operator's resident memory: {:.1} MiB",
        resident()
    );
}

/// How many runners, and whether their metrics are merged.
const ENDS: [(u32, bool); 5] = [(1, true), (4, true), (20, true), (4, false), (20, false)];

/// How long it takes from the moment in which the API server shows the last runner's container as terminated until a
/// watch shows the summary, and the end of the run.
async fn ends(client: &Client) {
    println!(
        "{:>3} | {:>10} | {:>9} | {:>10}",
        "N", "", "→ summary", "→ Finished"
    );
    let asked = asked();
    for (n, merged) in ENDS {
        if !asked.is_empty() && !asked.contains(&n) {
            continue;
        }
        let mut runs = Vec::new();
        for i in 0..3 {
            runs.push(end(client, &format!("end-{n}-{merged}-{i}"), n, merged).await);
        }
        let median = |of: &dyn Fn(&End) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let summary = if merged {
            format!("{:.2} s", median(&|end| end.summary))
        } else {
            String::new()
        };
        println!(
            "{n:>3} | {:>10} | {summary:>9} | {:>8.2} s",
            if merged { "merged" } else { "not merged" },
            median(&|end| end.finished),
        );
    }
    println!("medians of 3 runs, from the last runner's container as terminated");
}

struct End {
    summary: f64,
    finished: f64,
}

async fn end(client: &Client, name: &str, n: u32, merged: bool) -> End {
    let k6s: Api<LoadTest> = Api::namespaced_with(client.clone(), NAMESPACE, &Kind::K6);
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    gone(&k6s, &pods).await;
    script(client).await;
    let resource: LoadTest = serde_json::from_value(serde_json::json!({
        "apiVersion": "k6.io/v1alpha1", "kind": "K6", "metadata": {"name": name},
        "spec": {"parallelism": n, "script": "bench", "aggregation": {"enabled": merged},
                 "runner": {"env": [{"name": "VUS", "value": n.to_string()}]}}
    }))
    .unwrap();
    let summary_name = format!("{name}-summary");
    let mut runners = watcher(pods, watcher::Config::default().labels("runner=true"))
        .applied_objects()
        .boxed();
    let mut summaries = watcher(
        maps,
        watcher::Config::default().fields(&format!("metadata.name={summary_name}")),
    )
    .applied_objects()
    .boxed();
    let mut states = watcher(k6s.clone(), watcher::Config::default())
        .applied_objects()
        .boxed();
    k6s.create(&PostParams::default(), &resource).await.unwrap();
    let mut terminated = BTreeMap::new();
    let (mut summary, mut finished) = (None, None);
    let deadline = Instant::now() + LIMIT;
    // The watches are apart: that of the pods may be the last to tell.
    while terminated.len() < n as usize || finished.is_none() || merged && summary.is_none() {
        assert!(Instant::now() < deadline, "{name} did not finish");
        tokio::select! {
            Some(Ok(pod)) = runners.next() => {
                if is_terminated(&pod) { terminated.entry(pod.name_any()).or_insert_with(Instant::now); }
            }
            Some(Ok(_)) = summaries.next() => drop(summary.get_or_insert_with(Instant::now)),
            Some(Ok(k6)) = states.next() => {
                let Some(status) = k6.status.as_ref().filter(|_| k6.name_any() == name) else { continue };
                if status.state == Some(StateName::Finished) {
                    assert_eq!(status.result.map(|r| r.as_str()), Some("Passed"), "{:?}", status.message);
                    finished.get_or_insert_with(Instant::now);
                }
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
    let last = terminated.values().max().copied().unwrap();
    let since =
        |then: Option<Instant>| then.map_or(0.0, |then| then.saturating_duration_since(last).as_secs_f64());
    End {
        summary: since(summary),
        finished: since(finished),
    }
}

fn is_terminated(pod: &Pod) -> bool {
    let statuses = pod
        .status
        .iter()
        .filter_map(|status| status.container_statuses.as_ref());
    let mut k6 = statuses.flatten().filter(|container| container.name == "k6");
    k6.any(|container| {
        container
            .state
            .as_ref()
            .is_some_and(|state| state.terminated.is_some())
    })
}

struct Run {
    created: f64,
    started: f64,
    first: f64,
    spread: f64,
    writes: usize,
    requests: usize,
}

async fn run(client: &Client, n: u32) -> Run {
    let k6s: Api<LoadTest> = Api::namespaced_with(client.clone(), NAMESPACE, &Kind::K6);
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let name = format!("bench-{n}");
    gone(&k6s, &pods).await;
    script(client).await;
    reset();
    let resource: LoadTest = serde_json::from_value(serde_json::json!({
        "apiVersion": "k6.io/v1alpha1", "kind": "K6", "metadata": {"name": name},
        "spec": {"parallelism": n, "script": "bench",
                 "runner": {"env": [{"name": "VUS", "value": n.to_string()}]}}
    }))
    .unwrap();
    let began = SystemTime::now();
    k6s.create(&PostParams::default(), &resource).await.unwrap();

    let mut jobs = watcher(
        Api::<Job>::namespaced(client.clone(), NAMESPACE),
        watcher::Config::default().labels("runner=true"),
    )
    .applied_objects()
    .boxed();
    let mut ready_pods = watcher(pods.clone(), watcher::Config::default().labels("runner=true"))
        .applied_objects()
        .boxed();
    let mut states = watcher(k6s.clone(), watcher::Config::default())
        .applied_objects()
        .boxed();
    let (mut made, mut ready) = (BTreeMap::new(), BTreeMap::new());
    let (mut last_made, mut last_ready, mut started) = (began, began, began);
    let deadline = Instant::now() + LIMIT;
    let uid = loop {
        assert!(Instant::now() < deadline, "{name} did not finish");
        tokio::select! {
            Some(Ok(job)) = jobs.next() => {
                if made.insert(job.name_any(), ()).is_none() { last_made = SystemTime::now(); }
            }
            Some(Ok(pod)) = ready_pods.next() => {
                if is_ready(&pod) && ready.insert(pod.name_any(), ()).is_none() { last_ready = SystemTime::now(); }
            }
            Some(Ok(k6)) = states.next() => {
                let Some(status) = k6.status.as_ref().filter(|_| k6.name_any() == name) else { continue };
                if status.state == Some(StateName::Started) && started == began { started = SystemTime::now(); }
                if status.state == Some(StateName::Finished) {
                    assert_eq!(status.result.map(|r| r.as_str()), Some("Passed"), "{:?}", status.message);
                    break k6.uid().unwrap();
                }
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    };
    // Requests that follow the last status write: its Event.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (first, spread) = first_requests(n);
    let (writes, requests) = audited(&name, &uid, began);
    Run {
        created: seconds(began, last_made),
        started: seconds(last_ready, started),
        first: seconds(last_ready, SystemTime::UNIX_EPOCH + Duration::from_nanos(first)),
        spread,
        writes,
        requests,
    }
}

/// The same pods, made by hand and released by one thread each over fresh connections.
async fn floor(client: &Client, n: u32) -> f64 {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let jobs: Api<Job> = Api::namespaced(client.clone(), NAMESPACE);
    let owner = Owner {
        kind: Kind::K6,
        generation: 1,
        attempt: 1,
        name: "floor".to_owned(),
        namespace: NAMESPACE.to_owned(),
        uid: "floor".to_owned(),
    };
    let spec: Spec = serde_json::from_value(serde_json::json!({
        "parallelism": n, "script": "bench", "runner": {"env": [{"name": "VUS", "value": n.to_string()}]}
    }))
    .unwrap();
    let defaults = Defaults {
        common: k6_operator::objects::Common::default(),
        runner_image: std::env::var("K6OP_K6_IMAGE").expect("K6OP_K6_IMAGE: see tests/cluster/bench"),
        starter_image: String::new(),
    };
    let run = ValidatedRun {
        owner,
        spec: objects::validate(&spec, &defaults).unwrap(),
        plan: None,
    };
    reset();
    for i in 1..=n {
        let mut job = objects::runner(&run, (i, n), None);
        job.metadata.owner_references = None;
        jobs.create(&PostParams::default(), &job).await.unwrap();
    }
    let deadline = Instant::now() + LIMIT;
    let selector = ListParams::default().labels("k6.io/run-uid=floor");
    let addresses: Vec<String> = loop {
        assert!(Instant::now() < deadline, "the floor's runners were not ready");
        let list = pods.list(&selector).await.unwrap().items;
        let ready: Vec<String> = list
            .iter()
            .filter(|pod| is_ready(pod))
            .filter_map(|pod| pod.status.as_ref()?.pod_ip.clone())
            .collect();
        if ready.len() == n as usize {
            break ready;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    // As long as the starter's pod takes, so that both find the runners equally idle.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let barrier = Arc::new(Barrier::new(addresses.len()));
    let threads: Vec<_> = addresses
        .into_iter()
        .map(|ip| {
            let barrier = barrier.clone();
            std::thread::spawn(move || {
                let body = r#"{"data":{"type":"status","id":"default","attributes":{"paused":false}}}"#;
                let request = format!(
                    "PATCH /v1/status HTTP/1.1\r\nHost: {ip}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                barrier.wait();
                let mut stream = TcpStream::connect((ip.as_str(), 6565)).unwrap();
                stream.set_nodelay(true).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    let (_, spread) = first_requests(n);
    jobs.delete_collection(&DeleteParams::background(), &selector)
        .await
        .unwrap();
    while !pods.list(&selector).await.unwrap().items.is_empty() {
        assert!(Instant::now() < deadline, "the floor's runners did not go");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    spread
}

async fn script(client: &Client) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let map: ConfigMap = serde_json::from_value(
        serde_json::json!({"metadata": {"name": "bench"}, "data": {"test.js": SCRIPT}}),
    )
    .unwrap();
    if let Err(error) = maps.create(&PostParams::default(), &map).await {
        assert!(
            matches!(&error, kube::Error::Api(status) if status.is_already_exists()),
            "{error}"
        );
    }
}

async fn gone(k6s: &Api<LoadTest>, pods: &Api<Pod>) {
    k6s.delete_collection(&DeleteParams::background(), &ListParams::default())
        .await
        .unwrap();
    let deadline = Instant::now() + LIMIT;
    while !pods.list(&ListParams::default()).await.unwrap().items.is_empty() {
        assert!(Instant::now() < deadline, "the pods of the former run did not go");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

fn seconds(from: SystemTime, to: SystemTime) -> f64 {
    to.duration_since(from)
        .map_or_else(|e| -e.duration().as_secs_f64(), |d| d.as_secs_f64())
}

fn ask_target(request: &str) -> String {
    let url = variable("K6OP_TARGET");
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect((host, 80)).unwrap();
    write!(stream, "{request} HTTP/1.0\r\nHost: {host}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default()
}

fn reset() {
    ask_target("POST /reset");
}

/// When the first of the runners' first requests came in, and how much later the last of them.
fn first_requests(n: u32) -> (u64, f64) {
    let stats: serde_json::Value = serde_json::from_str(&ask_target("GET /stats")).unwrap();
    let clients = stats["clients"].as_object().unwrap();
    // The node itself asks too: it probes the target.
    let firsts: Vec<u64> = clients
        .iter()
        .filter(|(ip, _)| !ip.ends_with(".0.1"))
        .filter_map(|(_, c)| c["first"].as_u64())
        .collect();
    assert_eq!(
        firsts.len(),
        n as usize,
        "each runner must have asked the target: {stats}"
    );
    let (min, max) = (firsts.iter().min().unwrap(), firsts.iter().max().unwrap());
    (*min, (max - min) as f64 / 1e9)
}

/// The operator's requests for one run: writes, and all but watches.
fn audited(name: &str, uid: &str, since: SystemTime) -> (usize, usize) {
    let since = Timestamp::try_from(since).unwrap();
    let log = std::fs::read_to_string(variable("K6OP_AUDIT_LOG")).unwrap();
    let events = log
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let ours = events.filter(|e| {
        let at: Option<Timestamp> = e["requestReceivedTimestamp"]
            .as_str()
            .and_then(|at| at.parse().ok());
        e["user"]["username"] == OPERATOR
            && e["stage"] == "ResponseComplete"
            && e["verb"] != "watch"
            && e["objectRef"]["namespace"] == NAMESPACE
            && at.is_some_and(|at| at >= since)
    });
    let verbs: Vec<String> = ours
        .map(|e| e["verb"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert!(!verbs.is_empty(), "the audit log must know run {name} ({uid})");
    (
        verbs
            .iter()
            .filter(|verb| !matches!(verb.as_str(), "get" | "list"))
            .count(),
        verbs.len(),
    )
}

/// Resident memory of the operator in MiB.
fn resident() -> f64 {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let kib = processes.filter_map(|process| {
        let command = std::fs::read(process.path().join("cmdline")).ok()?;
        command.starts_with(b"/k6-operator\0run").then_some(())?;
        let status = std::fs::read_to_string(process.path().join("status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    });
    kib.fold(0.0, f64::max) / 1024.0
}
