//! What takes too long for every day: `make torture-cluster` runs it.

use crate::faults::{Fault, covers};
use crate::leaders::frozen;
use crate::run::{Run, contains_all};
use crate::support::{LIMIT, Test, variable};
use crate::torture::{component, killed_at_random, once, passed_once};
use k6_operator::api::Kind;
use k6_operator::machine::StateName;
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

/// Lets the kubelet go on, even if the test fails.
struct Frozen;

impl Frozen {
    fn kubelet() -> Self {
        component(&["signal", "kubelet", "STOP"]);
        Self
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        component(&["signal", "kubelet", "CONT"]);
    }
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
    let kubelet = Frozen::kubelet();
    let node = variable("K6OP_CLUSTER");
    test.until("the node is not Ready", LIMIT, async || {
        let ready = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        let told = test.kubectl(&["get", "node", &node, "-o", ready]);
        (told == "Unknown").then_some(())
    })
    .await;
    // Nobody knows how the runners are, so the run goes on; their k6 has long ended.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let status = run.get().await.status.unwrap();
    assert_eq!(status.state, Some(StateName::Started), "{status:#?}");
    contains_all(&status.message.unwrap(), &["the runners to end: 0 of 2"]);
    drop(kubelet);
    passed_once(&run, 2).await;
}
