//! Faults in the real cluster, with the real k6. Of each run the end is asserted, and all invariants: from the
//! API server's audit log and from what the target saw.

use crate::facts::Evidence;
use crate::faults::{Fault, covers};
use crate::run::{Run, contains_all};
use crate::support::{LIMIT, Operator, Test, ip, is_ready, variable};
use k6_operator::api::{Kind, Status};
use k6_operator::machine::{Reason, RunResult, StateName};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::process::Command;
use std::time::Duration;
use tokio::time::sleep;

/// A script for so many runners: each one's only virtual user asks the target once, and then lasts a while.
pub fn once(runners: u32, seconds: u32) -> String {
    format!(
        "import http from 'k6/http';
import {{ sleep }} from 'k6';
export const options = {{
  scenarios: {{ once: {{ executor: 'per-vu-iterations', vus: {runners}, iterations: 1 }} }},
}};
export default function () {{ http.get('http://k6-target.k6-target.svc/'); sleep({seconds}); }}
"
    )
}

/// The run passes, each runner was made once, was released once, and ran its part once.
pub async fn passed_once(run: &Run<'_>, runners: u32) -> Evidence {
    let evidence = passed_all_but_pods(run, runners).await;
    assert_eq!(
        evidence.requests.len(),
        runners as usize,
        "{}: {evidence:#?}",
        run.name
    );
    evidence
}

/// As [`passed_once`], but Kubernetes may have made a pod twice, as it does when the answer to the first time got
/// lost with its API server; it removes one, which must have asked for nothing.
async fn passed_all_but_pods(run: &Run<'_>, runners: u32) -> Evidence {
    let name = &run.name;
    let status = run.passes().await;
    assert_eq!(
        status.runners.unwrap().summary,
        format!("{runners}/{runners}"),
        "{name}"
    );
    let evidence = Evidence::of(run);
    let monitor = evidence.holds(name);
    assert_eq!(monitor.released(1), runners as usize, "{name}");
    let numbers = (1..=runners).map(|i| i.to_string());
    for part in numbers.chain(["starter".to_owned()]) {
        let job = format!("{name}-{part}");
        assert_eq!(evidence.made(&job), 1, "{job}: {:?}", evidence.made);
    }
    let asked = evidence.requests.iter().filter(|(_, requests)| *requests > 0);
    let requests: Vec<(u32, u64)> = asked.map(|(id, requests)| (id.runner, *requests)).collect();
    let each_once: Vec<(u32, u64)> = (1..=runners).map(|runner| (runner, 1)).collect();
    assert_eq!(requests, each_once, "{name}");
    assert_eq!(run.pods("starter").await.len(), 1, "{name}");
    evidence
}

/// The run has ended so, and all invariants hold; so many of its runners were ever released.
pub async fn ended(
    run: &Run<'_>,
    result: RunResult,
    reason: Reason,
    released: usize,
    words: &[&str],
) -> Evidence {
    let status = run.ends(result, reason).await;
    contains_all(status.message.as_deref().unwrap_or_default(), words);
    let evidence = Evidence::of(run);
    let monitor = evidence.holds(&run.name);
    assert_eq!(monitor.released(1), released, "{}: {evidence:#?}", run.name);
    evidence
}

/// Waits until no runner waits to be released any more: what ended is kept, for its log.
async fn none_runs(run: &Run<'_>) {
    let test = run.test;
    test.until("no runner runs", LIMIT, async || {
        let runs = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            !matches!(phase, Some("Failed" | "Succeeded"))
        };
        (!run.pods("runner").await.iter().any(runs)).then_some(())
    })
    .await;
}

/// `tests/cluster/component`: the processes of the cluster itself.
pub fn component(arguments: &[&str]) {
    let script = format!("{}/tests/cluster/component", variable("K6OP_REPO"));
    let done = Command::new(script)
        .args(arguments)
        .env("CLUSTER_NAME", variable("K6OP_CLUSTER"))
        .status()
        .unwrap();
    assert!(done.success(), "{arguments:?}");
}

/// `tests/cluster/nodes`: a pool of so many simulated nodes.
pub fn nodes(pool: &str, count: u32) {
    let script = format!("{}/tests/cluster/nodes", variable("K6OP_REPO"));
    let done = Command::new(script)
        .args(["up", &count.to_string(), pool])
        .env("CLUSTER_NAME", variable("K6OP_CLUSTER"))
        .status()
        .unwrap();
    assert!(done.success(), "nodes up {count} {pool}");
}

/// A run of two runners on the simulated nodes of a pool: one pod on each node, which seems to be Ready.
pub fn on_nodes(pool: &str) -> Value {
    json!({
        "parallelism": 2, "script": "once", "separate": true,
        // Not where the runners are.
        "initializer": {"nodeSelector": {"kubernetes.io/os": "linux"}},
        "runner": {
            "nodeSelector": {"pool": pool},
            "tolerations": [
                {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"},
                {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "tolerationSeconds": 5},
                {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "tolerationSeconds": 5}
            ]
        }
    })
}

/// Pods that select this label come to no node until it is released.
struct Hold<'a> {
    test: &'a Test,
    label: String,
}

impl<'a> Hold<'a> {
    fn new(test: &'a Test, what: &str) -> Self {
        let label = format!("k6op/{}-{what}", test.namespace);
        Self { test, label }
    }

    /// The settings of pods that are held.
    fn settings(&self) -> Value {
        json!({"nodeSelector": {&self.label: "go"}})
    }

    fn label_node(&self, value: &str) {
        let label = format!("{}{value}", self.label);
        self.test
            .kubectl(&["label", "--overwrite", "node", &variable("K6OP_CLUSTER"), &label]);
    }

    fn release(&self) {
        self.label_node("=go");
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.label_node("-");
        }
    }
}

/// Numbers that only look random.
struct Random(u64);

impl Random {
    /// With the seed `K6OP_SEED`, or a new one, which is told.
    fn new() -> Self {
        let new = || RandomState::new().build_hasher().finish() >> 32;
        let seed = std::env::var("K6OP_SEED").map_or_else(|_| new(), |seed| seed.parse().unwrap());
        eprintln!("K6OP_SEED={seed}");
        Self(seed)
    }

    /// Splitmix64.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// SIGKILL to the leader, so often, during runs of 8.
pub async fn killed_at_random(kills: u32) {
    use StateName::{Created, Initializing, Started, Starting};
    covers(Fault::OperatorKilled, &[Initializing, Created, Starting, Started]);
    covers(Fault::LeaderKilled, &[Initializing, Created, Starting, Started]);
    let test = Test::alone("random").await;
    let mut random = Random::new();
    test.script("once", &once(8, 4)).await;
    let mut crashed = BTreeSet::new();
    let (mut killed, mut runs) = (0, 0);
    while killed < kills {
        runs += 1;
        let name = format!("run-{runs}");
        Operator::find(&test).await;
        let run = Run::apply(
            &test,
            Kind::K6,
            &name,
            json!({"parallelism": 8, "script": "once"}),
        );
        for _ in 0..2 {
            // A run without faults takes about that long.
            sleep(Duration::from_millis(random.below(9_000))).await;
            let leader = Operator::find(&test).await;
            let state = test.status(&name).await.state;
            if state == Some(StateName::Finished) {
                break;
            }
            let pod = leader.pod.clone();
            // Each pod only once, for then the kubelet waits longer than a lease lasts.
            let stays = random.below(2) == 0 && crashed.insert(pod.clone());
            if stays {
                leader.crash();
            } else {
                leader.kill(&test).await;
            }
            killed += 1;
            eprintln!("{name}: kill {killed} of {kills}, in {state:?}, {pod} stays: {stays}");
            if killed == kills {
                break;
            }
        }
        passed_once(&run, 8).await;
        test.kubectl(&["delete", "k6", &name]);
    }
    test.nothing_left().await;
    Operator::both(&test).await;
}

#[tokio::test]
async fn leader_killed_at_random_moments_every_run_passes_and_starts_once() {
    killed_at_random(6).await;
}

#[tokio::test]
async fn the_api_server_and_etcd_are_restarted_and_the_run_passes() {
    covers(
        Fault::ApiServerRestarted,
        &[StateName::Created, StateName::Starting, StateName::Started],
    );
    let test = Test::alone("restarts").await;
    let _eyes = test.watch_pods();
    test.script("once", &once(4, 8)).await;
    for (name, state, components) in [
        ("in-created", StateName::Created, &["kube-apiserver"][..]),
        ("in-starting", StateName::Starting, &["etcd", "kube-apiserver"]),
        ("in-started", StateName::Started, &["kube-apiserver"]),
    ] {
        let run = Run::of(&test, Kind::TestRun, name);
        tokio::join!(run.reaches(state), async {
            let spec = json!({"parallelism": 4, "script": {"configMap": {"name": "once"}}});
            Run::apply(&test, Kind::TestRun, name, spec);
        });
        // What is under way while the API server is killed, may be done and not be in its audit log.
        let jobs: Api<Job> = Api::namespaced(test.client.clone(), &test.namespace);
        test.until("its runners are created", LIMIT, async || {
            let made = jobs.list(&ListParams::default()).await.ok()?;
            let runners = (1..=4).map(|i| format!("{name}-{i}"));
            let all = runners
                .into_iter()
                .all(|i| made.iter().any(|job| job.name_any() == i));
            all.then_some(())
        })
        .await;
        component(&[&["restart"], components].concat());
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(test.client.clone());
        test.until("the API server answers", LIMIT, async || {
            namespaces.get(&test.namespace).await.ok().map(|_| ())
        })
        .await;
        passed_all_but_pods(&run, 4).await;
    }
}

/// The pod of runner 2, when it is there, is deleted as a user would.
async fn delete_second(run: &Run<'_>) {
    let name = format!("{}-2-", run.name);
    let is_second = |pod: &Pod| pod.name_any().starts_with(&name);
    let look = async || run.pods("runner").await.into_iter().find(is_second);
    let pod = run.test.until("runner 2 has a pod", LIMIT, look).await;
    run.test
        .kubectl(&["delete", "pod", &pod.name_any(), "--wait=false"]);
}

fn held(runner: Option<&Hold<'_>>, starter: Option<&Hold<'_>>) -> Value {
    let settings = |hold: Option<&Hold<'_>>| hold.map_or_else(|| json!({}), Hold::settings);
    json!({
        "parallelism": 2, "script": "once", "initializer": {"nodeSelector": {"kubernetes.io/os": "linux"}},
        "runner": settings(runner), "starter": settings(starter),
        // An aggregator is placed as starters are.
        "aggregation": {"enabled": false}
    })
}

#[tokio::test]
async fn a_runner_pod_that_is_deleted_is_told_and_none_is_released_without_it() {
    use StateName::{Created, Started, Starting, Stopping};
    covers(Fault::RunnerPodDeleted, &[Created, Starting, Started, Stopping]);
    covers(Fault::StopOrdered, &[Started]);
    let test = Test::new("pods").await;
    test.script("once", &once(2, 20)).await;
    let (runners, starter) = (Hold::new(&test, "runners"), Hold::new(&test, "starter"));
    let in_created = async {
        let run = Run::apply(&test, Kind::K6, "in-created", held(Some(&runners), None));
        run.reaches(Created).await;
        delete_second(&run).await;
        ended(
            &run,
            RunResult::Error,
            Reason::RunnerFailed,
            0,
            &["Before the start, runner 2: its pod was deleted"],
        )
        .await;
    };
    let in_starting = async {
        let run = Run::apply(&test, Kind::K6, "in-starting", held(None, Some(&starter)));
        run.reaches(Starting).await;
        delete_second(&run).await;
        test.until("it is gone", LIMIT, async || {
            (run.pods("runner").await.len() < 2).then_some(())
        })
        .await;
        starter.release();
        let words = ["0 of 2 runners were released", "runner 2"];
        ended(&run, RunResult::Error, Reason::StartFailed, 0, &words).await;
    };
    let in_started = async {
        let run = Run::apply(&test, Kind::K6, "in-started", held(None, None));
        run.reaches(Started).await;
        delete_second(&run).await;
        ended(
            &run,
            RunResult::Error,
            Reason::RunnerFailed,
            2,
            &["1 of 2 runners", "runner 2"],
        )
        .await;
    };
    let in_stopping = async {
        let run = Run::apply(&test, Kind::K6, "in-stopping", held(None, None));
        run.reaches(Started).await;
        run.edit(json!({"stop": true}));
        run.reaches(Stopping).await;
        delete_second(&run).await;
        ended(&run, RunResult::Aborted, Reason::StopRequested, 2, &["Stopped"]).await;
    };
    tokio::join!(in_created, in_starting, in_started, in_stopping);
}

#[tokio::test]
async fn a_runner_job_that_is_deleted_is_made_again_before_the_order_to_start_and_never_after() {
    use StateName::{Created, Starting};
    covers(Fault::RunnerJobDeleted, &[Created, Starting]);
    let test = Test::new("jobs").await;
    test.script("once", &once(2, 2)).await;
    let (runners, starter) = (Hold::new(&test, "runners"), Hold::new(&test, "starter"));
    let in_created = async {
        let run = Run::apply(&test, Kind::K6, "in-created", held(Some(&runners), None));
        run.reaches(Created).await;
        run.pod("runner").await;
        test.kubectl(&["delete", "job", "in-created-1"]);
        test.until("it is made again", LIMIT, async || {
            let evidence = Evidence::of(&run);
            (evidence.made("in-created-1") == 2).then_some(())
        })
        .await;
        runners.release();
        let evidence = ended(&run, RunResult::Passed, Reason::AllRunnersPassed, 2, &[]).await;
        assert_eq!(evidence.made("in-created-2"), 1, "{:?}", evidence.made);
    };
    let in_starting = async {
        let run = Run::apply(&test, Kind::K6, "in-starting", held(None, Some(&starter)));
        run.reaches(Starting).await;
        test.kubectl(&["delete", "job", "in-starting-1"]);
        test.until("its pod is gone", LIMIT, async || {
            (run.pods("runner").await.len() < 2).then_some(())
        })
        .await;
        starter.release();
        let words = ["0 of 2 runners were released", "runner 1"];
        let evidence = ended(&run, RunResult::Error, Reason::StartFailed, 0, &words).await;
        assert_eq!(evidence.made("in-starting-1"), 1, "{:?}", evidence.made);
    };
    tokio::join!(in_created, in_starting);
}

#[tokio::test]
async fn a_starter_that_is_deleted_releases_nothing_twice() {
    use StateName::{Started, Starting};
    covers(Fault::StarterDeleted, &[Starting, Started]);
    let test = Test::new("starters").await;
    test.script("once", &once(2, 6)).await;
    let starter = Hold::new(&test, "starter");
    let in_starting = async {
        let run = Run::apply(&test, Kind::K6, "in-starting", held(None, Some(&starter)));
        run.reaches(Starting).await;
        run.pod("starter").await;
        test.kubectl(&["delete", "job", "in-starting-starter"]);
        test.until("it is made again", LIMIT, async || {
            let evidence = Evidence::of(&run);
            (evidence.made("in-starting-starter") == 2).then_some(())
        })
        .await;
        starter.release();
        ended(&run, RunResult::Passed, Reason::AllRunnersPassed, 2, &[]).await;
    };
    let in_started = async {
        let run = Run::apply(&test, Kind::K6, "in-started", held(None, None));
        run.reaches(Started).await;
        test.kubectl(&["delete", "job", "in-started-starter"]);
        let evidence = ended(&run, RunResult::Passed, Reason::AllRunnersPassed, 2, &[]).await;
        assert_eq!(evidence.made("in-started-starter"), 1, "{:?}", evidence.made);
    };
    tokio::join!(in_starting, in_started);
}

#[tokio::test]
async fn a_config_map_that_is_deleted_keeps_runners_from_starting_and_running_ones_do_not_need_it() {
    use StateName::{Created, Initializing, Started};
    covers(Fault::ConfigMapDeleted, &[Initializing, Created, Started]);
    covers(Fault::DeadlinePassed, &[Initializing, Created]);
    let test = Test::new("maps").await;
    for name in ["first", "second", "third"] {
        test.script(name, &once(2, 5)).await;
    }
    let (initializer, runners) = (Hold::new(&test, "initializer"), Hold::new(&test, "runners"));
    let in_initializing = async {
        let mut spec = held(None, None);
        spec["script"] = json!("first");
        spec["initializer"] = initializer.settings();
        spec["timeouts"] = json!({"initialization": "70s"});
        let run = Run::apply(&test, Kind::K6, "in-initializing", spec);
        run.pod("initializer").await;
        test.kubectl(&["delete", "configmap", "first"]);
        initializer.release();
        let reason = Reason::InitializationDeadlineExceeded;
        ended(
            &run,
            RunResult::Error,
            reason,
            0,
            &["the initializer", "\"first\" not found"],
        )
        .await;
    };
    let in_created = async {
        let mut spec = held(Some(&runners), None);
        spec["script"] = json!("second");
        spec["timeouts"] = json!({"start": "70s"});
        let run = Run::apply(&test, Kind::K6, "in-created", spec);
        run.reaches(Created).await;
        test.kubectl(&["delete", "configmap", "second"]);
        runners.release();
        let words = ["0 of 2 are", "\"second\" not found"];
        ended(&run, RunResult::Error, Reason::StartDeadlineExceeded, 0, &words).await;
    };
    let in_started = async {
        let mut spec = held(None, None);
        spec["script"] = json!("third");
        let run = Run::apply(&test, Kind::K6, "in-started", spec);
        run.reaches(Started).await;
        test.kubectl(&["delete", "configmap", "third"]);
        passed_once(&run, 2).await;
    };
    tokio::join!(in_initializing, in_created, in_started);
}

#[tokio::test]
async fn a_resource_or_its_namespace_that_is_deleted_leaves_nothing_in_any_state() {
    use StateName::{Created, Finished, Started, Starting, Stopping};
    covers(Fault::ResourceDeleted, &[Starting, Stopping, Finished]);
    covers(Fault::NamespaceDeleted, &[Created, Starting, Started, Finished]);
    let watched = Test::new("gone").await;
    // One that other tests need is not deleted.
    let of_its_own = std::env::var("K6OP_NAMESPACES").unwrap_or_default().is_empty();
    let test = &watched;
    // None ends by itself: however long the others take, each is found in its state.
    test.script("once", &once(2, 600)).await;
    test.script("short", &once(2, 1)).await;
    let (runners, starter) = (Hold::new(test, "runners"), Hold::new(test, "starter"));
    let short = {
        let mut spec = held(None, None);
        spec["script"] = json!("short");
        spec
    };
    let deleted = [
        (
            Starting,
            Run::apply(test, Kind::K6, "in-starting", held(None, Some(&starter))),
        ),
        (
            Stopping,
            Run::apply(test, Kind::K6, "in-stopping", held(None, None)),
        ),
        (Finished, Run::apply(test, Kind::K6, "in-finished", short.clone())),
    ];
    for (state, run) in &deleted {
        if *state == Stopping {
            run.reaches(Started).await;
            run.edit(json!({"stop": true}));
        }
        run.reaches(*state).await;
        test.kubectl(&["delete", &run.path(), "--timeout=10s"]);
        Evidence::of(run).holds(&run.name);
    }
    test.nothing_left().await;
    if !of_its_own {
        return;
    }

    let runs = [
        (
            Created,
            Run::apply(test, Kind::K6, "created", held(Some(&runners), None)),
        ),
        (
            Starting,
            Run::apply(test, Kind::K6, "starting", held(None, Some(&starter))),
        ),
        (Started, Run::apply(test, Kind::K6, "started", held(None, None))),
        (Finished, Run::apply(test, Kind::K6, "finished", short)),
    ];
    for (state, run) in &runs {
        run.reaches(*state).await;
    }
    test.kubectl(&["delete", "namespace", &test.namespace, "--wait=false"]);
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(test.client.clone());
    test.until("the namespace is gone", Duration::from_secs(60), async || {
        namespaces
            .get_opt(&test.namespace)
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    let pods = test.pods().list(&ListParams::default()).await.unwrap().items;
    assert!(pods.is_empty(), "{pods:?}");
    for (_, run) in &runs {
        Evidence::of(run).holds(&run.name);
    }
    // The operator goes on.
    let next = Test::elsewhere(test, "next").await;
    next.script("once", &once(2, 1)).await;
    passed_once(&Run::apply(&next, Kind::K6, "next", held(None, None)), 2).await;
}

/// Nothing that is sent to k6's API of a pod arrives, until this is dropped. Its probe comes another way.
struct Cut(String);

impl Cut {
    fn off(address: &str) -> Self {
        let cut = Self(address.to_owned());
        cut.rule("-I");
        cut
    }

    fn rule(&self, action: &str) {
        let rule = [
            "FORWARD", "-d", &self.0, "-p", "tcp", "--dport", "6565", "-j", "DROP",
        ];
        let done = Command::new("iptables")
            .args(["-w", action])
            .args(rule)
            .status()
            .unwrap();
        assert!(done.success(), "iptables {action}");
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.rule("-D");
    }
}

#[tokio::test]
async fn a_runner_that_the_starter_cannot_reach_is_named_and_none_is_released() {
    covers(Fault::NetworkCut, &[StateName::Starting]);
    let test = Test::new("cut").await;
    test.script("once", &once(2, 3)).await;
    let starter = Hold::new(&test, "starter");
    let run = Run::apply(&test, Kind::K6, "cut", held(None, Some(&starter)));
    run.reaches(StateName::Starting).await;
    let runners = run.pods("runner").await;
    let _cut = Cut::off(&ip(&runners[1]));
    starter.release();
    let words = ["0 of 2 runners were released", "runner 2"];
    ended(&run, RunResult::Error, Reason::StartFailed, 0, &words).await;
    none_runs(&run).await;
}

#[tokio::test]
async fn a_starter_that_is_killed_half_way_is_told_and_its_runners_end() {
    covers(Fault::StarterKilledHalfway, &[StateName::Starting]);
    let test = Test::new("half-way").await;
    // A stop waits for teardown() too, and the runner that can't be reached is deleted only then.
    let script = once(2, 3).replace("scenarios:", "teardownTimeout: '1s',\n  scenarios:");
    test.script("once", &script).await;
    let starter = Hold::new(&test, "starter");
    let run = Run::apply(&test, Kind::K6, "half-way", held(None, Some(&starter)));
    run.reaches(StateName::Starting).await;
    let runners = run.pods("runner").await;
    // It has the answer of the first, and waits for that of the second.
    let _cut = Cut::off(&ip(&runners[1]));
    starter.release();
    let pod = test
        .until("the starter works", LIMIT, async || {
            run.pods("starter").await.into_iter().find(is_ready)
        })
        .await;
    test.kubectl(&["delete", "pod", &pod.name_any(), "--grace-period=1"]);
    let words = ["The starter ended without a report"];
    ended(&run, RunResult::Error, Reason::StartFailed, 0, &words).await;
    none_runs(&run).await;
}

fn quota(test: &Test, what: &str, limit: u32) {
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "quota"},
        "spec": {"hard": {what: limit.to_string()}}
    });
    test.file("quota.json", &quota.to_string());
    test.kubectl(&["apply", "-f", "quota.json"]);
}

fn retries(status: &Status) -> bool {
    status
        .conditions
        .iter()
        .any(|condition| condition.type_ == "Retrying" && condition.status == "True")
}

#[tokio::test]
async fn a_quota_that_is_filled_is_told_and_the_run_goes_on_when_it_is_raised() {
    covers(
        Fault::RequestRefused,
        &[StateName::Initializing, StateName::Created],
    );
    let test = Test::new("quota").await;
    test.script("once", &once(4, 2)).await;
    let jobs = "count/jobs.batch";
    quota(&test, jobs, 0);
    let spec = json!({"parallelism": 4, "script": "once"});
    let run = Run::apply(&test, Kind::K6, "refused", spec);
    let words = |job: &str| format!("Job {job} was refused");
    let told = run
        .when("refused its initializer", |status| {
            retries(status) && status.state == Some(StateName::Initializing)
        })
        .await;
    let message = told.message.unwrap();
    contains_all(
        &message,
        &[
            &words("refused-initializer"),
            "exceeded quota",
            "limited: count/jobs.batch=0",
        ],
    );
    quota(&test, jobs, 2);
    let told = run
        .when("refused a runner", |status| {
            retries(status) && status.state == Some(StateName::Created)
        })
        .await;
    contains_all(&told.message.unwrap(), &["Job refused-", "exceeded quota"]);
    quota(&test, jobs, 8);
    passed_once(&run, 4).await;
    let end = run.get().await.status.unwrap();
    assert!(!retries(&end), "{end:#?}");
}

#[tokio::test]
async fn quota_without_room_for_the_tokens_is_told_and_the_run_goes_on_when_it_is_raised() {
    let test = Test::new("quota-secrets").await;
    test.script("once", &once(2, 2)).await;
    quota(&test, "count/secrets", 0);
    let run = Run::apply(
        &test,
        Kind::K6,
        "tokens",
        json!({"parallelism": 2, "script": "once"}),
    );
    let told = run
        .when("refused its tokens", |status| {
            retries(status) && status.state == Some(StateName::Created)
        })
        .await;
    contains_all(
        &told.message.unwrap(),
        &[
            "Secret tokens-tokens-",
            "exceeded quota",
            "the namespace have one more",
        ],
    );
    quota(&test, "count/secrets", 1);
    passed_once(&run, 2).await;
}

#[tokio::test]
async fn a_pod_that_a_full_quota_keeps_out_is_told_and_comes_when_there_is_room() {
    covers(Fault::RequestRefused, &[StateName::Created]);
    let test = Test::new("quota-pods").await;
    test.script("once", &once(2, 2)).await;
    // The initializer, and after it the aggregator or the first runner.
    quota(&test, "pods", 1);
    for (name, aggregated) in [("merged", true), ("alone", false)] {
        let spec = json!({
            "parallelism": 2, "script": "once", "aggregation": {"enabled": aggregated},
            "timeouts": {"start": "200s"}
        });
        let run = Run::apply(&test, Kind::K6, name, spec);
        // Whichever pod comes first has the place: another one is told.
        let full = "is refused as long as a ResourceQuota is full";
        let pods = [
            ("the pod of runner 1", "spec.runner.resources"),
            ("the pod of runner 2", "spec.runner.resources"),
            ("the pod of the aggregator", "spec.aggregation.resources"),
        ];
        let refused = |message: &str| {
            let told = |(pod, _): &(&str, &str)| message.contains(&format!("{pod} {full}"));
            pods.into_iter().find(told).map(|(_, field)| field)
        };
        let told = run
            .when("told of the quota", |status| {
                retries(status)
                    && status
                        .message
                        .as_deref()
                        .is_some_and(|message| refused(message).is_some())
            })
            .await;
        let message = told.message.unwrap();
        contains_all(&message, &["exceeded quota: quota", refused(&message).unwrap()]);
        assert_eq!(told.state, Some(StateName::Created));
        quota(&test, "pods", 20);
        passed_once(&run, 2).await;
        let end = run.get().await.status.unwrap();
        assert!(!retries(&end), "{end:#?}");
        test.kubectl(&["delete", &run.path(), "--timeout=20s"]);
        test.nothing_left().await;
        quota(&test, "pods", 1);
    }
}
