//! Waits end, and say what was waited for.

use crate::faults::{Fault, covers};
use crate::support::{LIMIT, Test, k6_image, sleeps};
use k6_operator::machine::{Event, Reason, StateName};
use serde_json::json;

/// No address is under .invalid, and none outside the cluster can be reached.
const NO_IMAGE: &str = "registry.invalid/none:1";

#[tokio::test]
async fn an_image_that_cannot_be_pulled_ends_at_the_deadline_with_the_reason() {
    covers(Fault::DeadlinePassed, &[StateName::Initializing]);
    let test = Test::new("image").await;
    test.script("one", &sleeps(1, 1)).await;
    test.apply(
        "no-image",
        json!({"parallelism": 1, "script": "one", "runner": {"image": NO_IMAGE},
               "timeouts": {"initialization": "15s"}}),
    );
    let words = [
        "spec.timeouts.initialization",
        "the initializer",
        NO_IMAGE,
        "pull",
    ];
    test.errs("no-image", Reason::InitializationDeadlineExceeded, &words)
        .await;
}

#[tokio::test]
async fn a_runner_that_no_node_can_take_ends_at_the_deadline_with_the_reason() {
    covers(Fault::RunnerNeverReady, &[StateName::Created]);
    covers(Fault::DeadlinePassed, &[StateName::Created]);
    let test = Test::new("room").await;
    test.script("two", &sleeps(2, 1)).await;
    test.apply(
        "no-room",
        // The message names what is waited for first, which could be the aggregator.
        json!({"parallelism": 2, "script": "two", "timeouts": {"start": "8s"}, "aggregation": {"enabled": false},
               "runner": {"resources": {"requests": {"cpu": "1000"}}},
               "initializer": {"resources": {"requests": {"cpu": "1m"}}}}),
    );
    let words = [
        "spec.timeouts.start",
        "none was started",
        "0 of 2",
        "Insufficient cpu",
    ];
    let status = test.errs("no-room", Reason::StartDeadlineExceeded, &words).await;
    let ordered = status
        .history
        .iter()
        .any(|record| matches!(record.event, Event::StartOrdered { .. }));
    assert!(!ordered, "{:?}", status.history);
    assert_eq!(status.start_time, None);
    test.only_left(&["no-room-initializer"]).await;
}

#[tokio::test]
async fn separate_keeps_two_runners_off_one_node() {
    covers(Fault::RunnerNeverReady, &[StateName::Created]);
    // No runner of another test could come to this node meanwhile.
    let test = Test::alone("separate").await;
    test.script("two", &sleeps(2, 1)).await;
    test.apply(
        "apart",
        json!({"parallelism": 2, "script": "two", "separate": true, "timeouts": {"start": "15s"},
               "aggregation": {"enabled": false}}),
    );
    let words = ["1 of 2 are", "anti-affinity"];
    test.errs("apart", Reason::StartDeadlineExceeded, &words).await;
    // The one that was ready is not left to wait for ever.
    test.only_left(&["apart-initializer"]).await;
}

#[tokio::test]
async fn a_starter_that_cannot_work_ends_the_run_and_its_runners() {
    covers(Fault::DeadlinePassed, &[StateName::Starting]);
    let test = Test::new("starter").await;
    test.script("two", &sleeps(2, 3)).await;
    test.apply(
        "no-image",
        json!({"parallelism": 2, "script": "two", "starter": {"image": NO_IMAGE}, "timeouts": {"start": "25s"},
               "setup": "perRunner"}),
    );
    test.reaches("no-image", StateName::Stopping).await;
    let words = ["not released in time", "the starter", "no-image-starter-"];
    let status = test.errs("no-image", Reason::StartDeadlineExceeded, &words).await;
    assert_eq!(status.start_time, None);
    test.until("no runner is left", LIMIT, async || {
        test.pods_of("no-image", "runner").await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_starter_in_an_image_without_the_program_is_given_it() {
    let test = Test::new("program").await;
    test.script("two", &sleeps(2, 1)).await;
    let starter = json!({"image": k6_image()});
    test.apply(
        "copied",
        json!({"parallelism": 2, "script": "two", "starter": starter}),
    );
    test.passes("copied").await;
}
