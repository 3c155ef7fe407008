//! The end-to-end bench: what a run costs and how sharply it starts, in a real cluster with real k6.
//!
//! `make bench` runs it beside the embedded cluster, whose audit log tells what the operator asked of the API
//! server, and whose HTTP target tells when each runner's first request came in. The floor is measured in the
//! same run: the same runner pods, released by a plain process on the host over fresh connections, one thread
//! each. Numbers of runners can be given: `tests/cluster/bench cluster 8 60`. `K6OP_PAIRS` is how often each is measured (3).
//!
//! The time until all runners are ready stands beside that of the same pods, made by hand. The initializer's part stands
//! beside a bare pod that runs `k6 inspect`.
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
    // The bench of before may still be leaving it.
    let deadline = Instant::now() + LIMIT;
    while let Some(former) = namespaces.get_opt(NAMESPACE).await.unwrap()
        && former.metadata.deletion_timestamp.is_some()
    {
        assert!(Instant::now() < deadline, "namespace {NAMESPACE} did not go");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
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

/// A run of each kind, and what stands beside them, of the same minutes.
struct Turn {
    merged: Run,
    not_merged: Run,
    floor: Floor,
    /// Seconds of a bare pod that runs `k6 inspect`.
    inspected: f64,
}

/// How often each is measured.
fn times() -> u32 {
    std::env::var("K6OP_PAIRS").map_or(3, |times| times.parse().expect("K6OP_PAIRS is a number"))
}

/// How long the parts of a run take, how sharply it starts, and what it costs.
async fn starts(client: &Client) {
    let titles = [
        ("N", 3, ""),
        ("", 10, ""),
        ("applied", 9, "→ planned"),
        ("applied", 9, "→ Jobs"),
        ("applied", 11, "→ all Ready"),
        ("last Ready", 13, "→ 1st request"),
        ("whole", 7, "run"),
        ("requests", 8, ""),
        ("operator's", 10, "CPU"),
    ];
    let lines = [
        titles.map(|(first, width, _)| (first, width)),
        titles.map(|(_, width, second)| (second, width)),
    ];
    for line in lines {
        println!(
            "{}",
            line.map(|(text, width)| format!("{text:>width$}")).join(" | ")
        );
    }
    let asked = asked();
    for n in if asked.is_empty() { RUNNERS.to_vec() } else { asked } {
        let mut turns = Vec::new();
        for _ in 0..times() {
            turns.push(Turn {
                inspected: inspected(client).await,
                merged: run(client, n, true).await,
                not_merged: run(client, n, false).await,
                floor: floor(client, n).await,
            });
        }
        print_runs(n, "merged", turns.iter().map(|turn| &turn.merged));
        print_runs(n, "not merged", turns.iter().map(|turn| &turn.not_merged));
        print_figures(n, &turns);
    }
    println!(
        "medians of {} runs; the operator's resident memory: {:.1} MiB",
        times(),
        resident()
    );
}

fn print_figures(n: u32, turns: &[Turn]) {
    let figure = |name: &str, unit: &str, pair: &dyn Fn(&Turn) -> (f64, f64)| {
        let pairs: Vec<_> = turns.iter().map(pair).collect();
        figures::print(name, unit, &pairs);
    };
    let name = format!("from applied to all of {n} runners ready");
    figure(&format!("{name}, merged"), "s", &|turn| {
        (turn.merged.ready, turn.floor.ready)
    });
    figure(&format!("{name}, not merged"), "s", &|turn| {
        (turn.not_merged.ready, turn.floor.ready)
    });
    let name = format!("from planned to all of {n} runners ready, merged");
    figure(&name, "s", &|turn| {
        (turn.merged.ready - turn.merged.planned, turn.floor.ready)
    });
    let name = format!("the plan of {n} runners, beside a pod that runs k6 inspect");
    figure(&name, "s", &|turn| (turn.merged.planned, turn.inspected));
    if n > 1 {
        let name = format!("the spread of the first requests of {n} runners");
        figure(&format!("{name}, merged"), "ms", &|turn| {
            (turn.merged.spread * 1e3, turn.floor.spread * 1e3)
        });
        figure(&format!("{name}, not merged"), "ms", &|turn| {
            (turn.not_merged.spread * 1e3, turn.floor.spread * 1e3)
        });
    }
}

fn print_runs<'a>(n: u32, kind: &str, runs: impl Iterator<Item = &'a Run> + Clone) {
    let median = |of: &dyn Fn(&Run) -> f64| {
        let mut values: Vec<f64> = runs.clone().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!(
        "{n:>3} | {kind:>10} | {:>7.2} s | {:>7.2} s | {:>9.2} s | {:>11.2} s | {:>5.1} s | {:>8} | {:>8.2} s",
        median(&|run| run.planned),
        median(&|run| run.created),
        median(&|run| run.ready),
        median(&|run| run.first),
        median(&|run| run.whole),
        format!("N + {:.0}", median(&|run| run.requests as f64) - f64::from(n)),
        median(&|run| run.cpu),
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
        for i in 0..times() {
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
    println!(
        "medians of {} runs, from the last runner's container as terminated",
        times()
    );
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

/// Seconds of a run from the moment in which it was applied, unless said otherwise.
struct Run {
    /// Until the first runner's Job was there, so the plan was made.
    planned: f64,
    /// Until the last one's was.
    created: f64,
    ready: f64,
    /// From the last runner Ready.
    first: f64,
    whole: f64,
    spread: f64,
    requests: usize,
    /// Of all the operator's processes.
    cpu: f64,
}

/// The same for pods that are made by hand.
struct Floor {
    ready: f64,
    spread: f64,
}

async fn run(client: &Client, n: u32, merged: bool) -> Run {
    let k6s: Api<LoadTest> = Api::namespaced_with(client.clone(), NAMESPACE, &Kind::K6);
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let name = format!("bench-{n}");
    gone(&k6s, &pods).await;
    script(client).await;
    reset();
    let resource: LoadTest = serde_json::from_value(serde_json::json!({
        "apiVersion": "k6.io/v1alpha1", "kind": "K6", "metadata": {"name": name},
        "spec": {"parallelism": n, "script": "bench", "aggregation": {"enabled": merged},
                 "runner": {"env": [{"name": "VUS", "value": n.to_string()}]}}
    }))
    .unwrap();
    out_of_step().await;
    let used = cpu();
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
    let (mut first_made, mut last_made, mut last_ready) = (None, began, began);
    let deadline = Instant::now() + limit(n);
    let done = loop {
        assert!(Instant::now() < deadline, "{name} did not finish");
        tokio::select! {
            Some(Ok(job)) = jobs.next() => {
                if made.insert(job.name_any(), ()).is_none() { last_made = SystemTime::now(); }
                first_made.get_or_insert(last_made);
            }
            Some(Ok(pod)) = ready_pods.next() => {
                if is_ready(&pod) && ready.insert(pod.name_any(), ()).is_none() { last_ready = SystemTime::now(); }
            }
            Some(Ok(k6)) = states.next() => {
                let Some(status) = k6.status.as_ref().filter(|_| k6.name_any() == name) else { continue };
                if status.state == Some(StateName::Finished) {
                    assert_eq!(status.result.map(|r| r.as_str()), Some("Passed"), "{:?}", status.message);
                    break k6;
                }
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    };
    let whole = seconds(began, SystemTime::now());
    // Requests that follow the last status write: its Event.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let Asked {
        first,
        spread,
        requests,
    } = asked_target(n);
    let summary = done.status.as_ref().and_then(|status| status.summary.as_ref());
    if merged {
        let counted = summary.map(|summary| summary.requests);
        assert_eq!(
            counted,
            Some(requests),
            "requests that were merged, and that the target got"
        );
    }
    Run {
        planned: seconds(began, first_made.unwrap()),
        created: seconds(began, last_made),
        ready: seconds(began, last_ready),
        first: seconds(last_ready, SystemTime::UNIX_EPOCH + Duration::from_nanos(first)),
        whole,
        spread,
        requests: audited(&name, began),
        cpu: cpu() - used,
    }
}

/// How long a bare pod takes that runs `k6 inspect`, which is what an initializer is for.
async fn inspected(client: &Client) -> f64 {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    script(client).await;
    let image = variable("K6OP_K6_IMAGE");
    let pod: Pod = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "inspect"},
        "spec": {
            "restartPolicy": "Never", "automountServiceAccountToken": false,
            "volumes": [{"name": "script", "configMap": {"name": "bench"}}],
            "containers": [{
                "name": "k6", "image": image, "command": ["k6", "inspect", "--execution-requirements", "/test/test.js"],
                "env": [{"name": "VUS", "value": "1"}],
                "volumeMounts": [{"name": "script", "mountPath": "/test"}],
            }],
        },
    }))
    .unwrap();
    let mut watched = watcher(
        pods.clone(),
        watcher::Config::default().fields("metadata.name=inspect"),
    )
    .applied_objects()
    .boxed();
    out_of_step().await;
    let began = Instant::now();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let deadline = Instant::now() + LIMIT;
    loop {
        assert!(Instant::now() < deadline, "the pod of k6 inspect did not end");
        tokio::select! {
            Some(Ok(pod)) = watched.next() => if is_terminated(&pod) { break },
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
    let took = began.elapsed().as_secs_f64();
    pods.delete("inspect", &DeleteParams::background()).await.unwrap();
    took
}

/// The same pods, made by hand and released by one thread each over fresh connections.
async fn floor(client: &Client, n: u32) -> Floor {
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
    let mut watched = watcher(
        pods.clone(),
        watcher::Config::default().labels("k6.io/run-uid=floor"),
    )
    .applied_objects()
    .boxed();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let segments = objects::sequence(&run.owner, n);
    if let Some(mut map) = segments {
        map.metadata.owner_references = None;
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
    out_of_step().await;
    let began = Instant::now();
    for i in 1..=n {
        let mut job = objects::runner(&run, (i, n), None);
        job.metadata.owner_references = None;
        jobs.create(&PostParams::default(), &job).await.unwrap();
    }
    let deadline = Instant::now() + limit(n);
    let selector = ListParams::default().labels("k6.io/run-uid=floor");
    let mut ready = BTreeMap::new();
    while ready.len() < n as usize {
        assert!(Instant::now() < deadline, "the floor's runners were not ready");
        tokio::select! {
            Some(Ok(pod)) = watched.next() => if is_ready(&pod) {
                let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap();
                ready.insert(pod.name_any(), address);
            },
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
    let until_ready = began.elapsed().as_secs_f64();
    let addresses: Vec<String> = ready.into_values().collect();
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
    let Asked { spread, .. } = asked_target(n);
    maps.delete_collection(&DeleteParams::background(), &selector)
        .await
        .unwrap();
    jobs.delete_collection(&DeleteParams::background(), &selector)
        .await
        .unwrap();
    while !pods.list(&selector).await.unwrap().items.is_empty() {
        assert!(Instant::now() < deadline, "the floor's runners did not go");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Floor {
        ready: until_ready,
        spread,
    }
}

/// How long a run of this many runners may take.
fn limit(n: u32) -> Duration {
    LIMIT + Duration::from_secs(2) * n
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

/// The kubelet looks at its pods once a second, and what is measured begins when it has just seen the pods of before go.
async fn out_of_step() {
    tokio::time::sleep(Duration::from_millis(fastrand::u64(..1_000))).await;
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

/// What the target was asked by the runners.
struct Asked {
    /// When the first of all requests came in, in Unix nanoseconds.
    first: u64,
    /// How much later the last of the runners' first ones, in seconds.
    spread: f64,
    requests: u64,
}

fn asked_target(n: u32) -> Asked {
    let stats: serde_json::Value = serde_json::from_str(&ask_target("GET /stats")).unwrap();
    let clients = stats["clients"].as_object().unwrap();
    // The node itself asks too: it probes the target.
    let runners: Vec<_> = clients.iter().filter(|(ip, _)| !ip.ends_with(".0.1")).collect();
    assert_eq!(
        runners.len(),
        n as usize,
        "each runner must have asked the target: {stats}"
    );
    let firsts = || {
        runners
            .iter()
            .map(|(_, client)| client["first"].as_u64().unwrap())
    };
    let (min, max) = (firsts().min().unwrap(), firsts().max().unwrap());
    Asked {
        first: min,
        spread: (max - min) as f64 / 1e9,
        requests: runners
            .iter()
            .map(|(_, client)| client["requests"].as_u64().unwrap())
            .sum(),
    }
}

/// The operator's requests since then, but for watches and leases.
fn audited(name: &str, since: SystemTime) -> usize {
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
    let requests = ours.count();
    assert!(requests > 0, "the audit log must know run {name}");
    requests
}

/// The ID of each process of the operator.
fn operators() -> Vec<std::path::PathBuf> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ours = processes.filter(|process| {
        std::fs::read(process.path().join("cmdline"))
            .is_ok_and(|command| command.starts_with(b"/k6-operator\0run"))
    });
    ours.map(|process| process.path()).collect()
}

/// The CPU time of the operator's processes up to now, in seconds. Linux tells it in hundredths.
/// <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>
fn cpu() -> f64 {
    let ticks = operators().into_iter().filter_map(|process| {
        let text = std::fs::read_to_string(process.join("stat")).ok()?;
        let (_, fields) = text.rsplit_once(')')?;
        let mut fields = fields.split_whitespace().skip(11);
        let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(user + system)
    });
    ticks.sum::<u64>() as f64 / 100.0
}

/// Resident memory of the operator in MiB.
fn resident() -> f64 {
    let kib = operators().into_iter().filter_map(|process| {
        let status = std::fs::read_to_string(process.join("status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    });
    kib.fold(0.0, f64::max) / 1024.0
}
