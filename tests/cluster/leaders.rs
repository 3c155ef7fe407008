//! Of two replicas one leads, whatever happens to it.

use crate::faults::{Fault, covers};
use crate::run::Run;
use crate::support::{LIMIT, Operator, Test, holder, http, ip, operator_pods};
use crate::torture::{once, passed_once};
use k6_operator::api::Kind;
use k6_operator::machine::StateName;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Waits until another one than this holds the Lease, and says after what time.
async fn followed(test: &Test, leader: &str) -> Duration {
    let since = Instant::now();
    test.until("another leads", LIMIT, async || {
        let holder = holder(test).await?;
        (holder != leader).then_some(())
    })
    .await;
    since.elapsed()
}

/// What the replica at this address has changed in the test's namespace.
fn writes_from(test: &Test, address: &str) -> Vec<(String, String)> {
    let entries = test.audited().into_iter().filter(|entry| {
        let read = matches!(entry["verb"].as_str(), Some("get" | "list" | "watch"));
        let done = entry["responseStatus"]["code"]
            .as_u64()
            .is_some_and(|code| code < 300);
        entry["sourceIPs"][0] == address && !read && done
    });
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    entries
        .map(|entry| (text(&entry["verb"]), text(&entry["requestURI"])))
        .collect()
}

#[tokio::test]
async fn a_leader_that_is_told_to_end_hands_over_within_seconds() {
    covers(
        Fault::LeaderKilled,
        &[StateName::Created, StateName::Starting, StateName::Started],
    );
    let test = Test::alone("hand-over").await;
    let (leader, _other) = Operator::both(&test).await;
    test.script("once", &once(3, 5)).await;
    let run = Run::apply(
        &test,
        Kind::K6,
        "handed",
        json!({"parallelism": 3, "script": "once"}),
    );
    run.reaches(StateName::Created).await;
    // SIGTERM, as in a drain or a deploy.
    test.kubectl(&[
        "delete",
        "pod",
        &leader.pod,
        "-n",
        "k6-operator-system",
        "--wait=false",
    ]);
    let took = followed(&test, &leader.pod).await;
    // A Lease that was not released would be taken 13 seconds after the end at the earliest: 15 after it was renewed last.
    assert!(took < Duration::from_secs(10), "the hand-over took {took:?}");
    let evidence = passed_once(&run, 3).await;
    assert_eq!(
        evidence.operators.len(),
        2,
        "both have worked on it: {evidence:?}"
    );
    Operator::both(&test).await;
}

/// SIGSTOP to the leader when the run has come so far, until another has led for long enough to bring the run
/// into the other state; then SIGCONT.
pub async fn frozen(test: &Test, name: &str, at: StateName, thawed_at: StateName) {
    covers(Fault::OperatorFrozen, &[at]);
    let (leader, _other) = Operator::both(test).await;
    let pod = operator_pods(test).get(&leader.pod).await.unwrap();
    let spec = json!({"parallelism": 3, "script": "once"});
    let run = Run::of(test, Kind::K6, name);
    tokio::join!(run.reaches(at), async {
        test.apply(name, spec);
    });
    leader.signal("STOP");
    let took = followed(test, &leader.pod).await;
    // Not before it has seen the Lease unchanged for 15 s.
    assert!(took > Duration::from_secs(10), "the other led after {took:?}");
    let before = writes_from(test, &ip(&pod));
    run.when("further", |status| {
        status.state == Some(thawed_at) || status.state == Some(StateName::Finished)
    })
    .await;
    leader.signal("CONT");
    let evidence = passed_once(&run, 3).await;
    assert_eq!(evidence.operators.len(), 2, "{name}: {:?}", evidence.operators);

    // It wakes up in the belief to lead, and steps down before it does anything.
    let (now, _other) = Operator::both(test).await;
    assert_ne!(now.pod, leader.pod, "{name}");
    let address = ip(&operator_pods(test).get(&leader.pod).await.unwrap());
    test.until("it has stepped down", LIMIT, async || {
        let (_, metrics) = http("GET", &address, 8080, "/metrics");
        metrics
            .contains("leader_election_master_status{name=\"k6-operator\"} 0")
            .then_some(())
    })
    .await;
    let after = writes_from(test, &ip(&pod));
    assert_eq!(after, before, "{name}: it wrote after it was frozen");
}

#[tokio::test]
async fn a_leader_that_was_frozen_past_its_lease_steps_down_and_the_other_starts_the_run_once() {
    let test = Test::alone("frozen").await;
    test.script("once", &once(3, 5)).await;
    // It is to order the start next, and finds that the other has.
    frozen(&test, "at-created", StateName::Created, StateName::Starting).await;
}
