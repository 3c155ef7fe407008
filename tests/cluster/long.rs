//! What takes too long for every day: `make torture-cluster` runs it.

use crate::facts::Evidence;
use crate::faults::{Fault, covers};
use crate::leaders::frozen;
use crate::run::{Run, contains_all};
use crate::support::{LIMIT, Operator, Test, variable};
use crate::torture::{component, killed_at_random, nodes, on_nodes, once, passed_once};
use k6_operator::api::Kind;
use k6_operator::machine::{RunResult, StateName};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
#[ignore = "takes ten minutes"]
async fn leader_killed_fifty_times_at_random_moments_every_run_passes_and_starts_once() {
    let kills = std::env::var("K6OP_KILLS").map_or(50, |kills| kills.parse().unwrap());
    killed_at_random(kills).await;
}

#[tokio::test]
#[ignore = "takes two minutes"]
async fn a_leader_that_was_frozen_at_any_moment_steps_down() {
    let test = Test::alone("frozen").await;
    test.script("once", &once(3, 5)).await;
    for (name, at, thawed_at) in [
        ("at-initializing", StateName::Initializing, StateName::Created),
        ("after-the-start", StateName::Created, StateName::Started),
        ("at-starting", StateName::Starting, StateName::Started),
        ("at-started", StateName::Started, StateName::Finished),
        ("past-the-end", StateName::Created, StateName::Finished),
    ] {
        frozen(&test, name, at, thawed_at).await;
    }
}

/// Lets a process of the cluster go on, even if the test fails.
struct Frozen(&'static str);

impl Frozen {
    fn new(component_name: &'static str) -> Self {
        component(&["signal", component_name, "STOP"]);
        Self(component_name)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        component(&["signal", self.0, "CONT"]);
    }
}

/// Waits until Kubernetes has noticed that nobody hears of the node.
async fn not_ready(test: &Test, node: &str) {
    test.until("the node is not Ready", LIMIT, async || {
        let ready = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        let told = test.kubectl(&["get", "node", node, "-o", ready]);
        (told == "Unknown").then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "takes two minutes"]
async fn a_node_that_is_lost_before_the_start_ends_the_run_and_none_is_released() {
    covers(Fault::NodeLost, &[StateName::Created]);
    let test = Test::alone("lost").await;
    test.script("once", &once(2, 2)).await;
    nodes("gone", 1);
    let mut spec = on_nodes("gone");
    spec["timeouts"] = json!({"start": "75s"});
    let run = Run::apply(&test, Kind::K6, "lost", spec);
    run.when("half ready", |status| {
        let message = status.message.as_deref().unwrap_or_default();
        message.contains("1 of 2 are")
    })
    .await;
    // The kubelet of all simulated nodes.
    let kwok = Frozen::new("kwok");
    not_ready(&test, "gone-1").await;
    let status = run.reaches(StateName::Finished).await;
    assert_eq!(status.result, Some(RunResult::Error), "{status:#?}");
    let monitor = Evidence::of(&run).holds("lost");
    assert_eq!(monitor.released(1), 0);
    // Nobody can end the pod on it, but the run has an end, which says why.
    let message = status.message.unwrap();
    assert!(message.contains("runner"), "{message}");
    eprintln!("told of the lost node: {:?} {message}", status.reason);
    drop(kwok);
    test.until("the node is back", LIMIT, async || {
        let ready = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        (test.kubectl(&["get", "node", "gone-1", "-o", ready]) == "True").then_some(())
    })
    .await;
    test.nothing_left().await;
    test.kubectl(&["delete", "node", "gone-1"]);
}

#[tokio::test]
#[ignore = "takes two minutes"]
async fn a_node_that_is_not_ready_for_a_while_gives_a_run_its_true_result() {
    covers(Fault::NodeLost, &[StateName::Started]);
    let test = Test::alone("node").await;
    test.script("once", &once(2, 20)).await;
    let run = Run::apply(
        &test,
        Kind::K6,
        "lost",
        json!({"parallelism": 2, "script": "once"}),
    );
    run.reaches(StateName::Started).await;
    let kubelet = Frozen::new("kubelet");
    not_ready(&test, &variable("K6OP_CLUSTER")).await;
    // Nobody knows how the runners are, so the run goes on; their k6 has long ended.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let status = run.get().await.status.unwrap();
    assert_eq!(status.state, Some(StateName::Started), "{status:#?}");
    contains_all(&status.message.unwrap(), &["the runners to end: 0 of 2"]);
    drop(kubelet);
    run.passes().await;
    // Kubernetes took the target for lost too.
    let target = [
        "rollout",
        "status",
        "deployment/k6-target",
        "-n",
        "k6-target",
        "--timeout=60s",
    ];
    test.kubectl(&target);
    passed_once(&run, 2).await;
}

#[tokio::test]
#[ignore = "takes two minutes"]
async fn an_api_server_that_does_not_answer_for_longer_than_a_lease_delays_a_run_and_no_more() {
    covers(
        Fault::ApiServerFailing,
        &[StateName::Created, StateName::Starting, StateName::Started],
    );
    let test = Test::alone("silent").await;
    test.script("once", &once(3, 5)).await;
    for (name, state) in [
        ("in-created", StateName::Created),
        ("in-starting", StateName::Starting),
        ("in-started", StateName::Started),
    ] {
        let run = Run::of(&test, Kind::K6, name);
        tokio::join!(run.reaches(state), async {
            test.apply(name, json!({"parallelism": 3, "script": "once"}));
        });
        let silent = Frozen::new("kube-apiserver");
        tokio::time::sleep(Duration::from_secs(20)).await;
        drop(silent);
        passed_once(&run, 3).await;
    }
    Operator::both(&test).await;
}
