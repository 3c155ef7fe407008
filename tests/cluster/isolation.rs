//! Runs that do not disturb each other.

use crate::faults::{Fault, covers};
use crate::support::{Test, sleeps};
use k6_operator::machine::StateName;
use serde_json::json;

#[tokio::test]
async fn two_runs_at_once_and_one_that_hangs_do_not_disturb_each_other() {
    covers(Fault::RunnerNeverReady, &[StateName::Initializing]);
    let test = Test::new("two").await;
    test.script("four", &sleeps(4, 6)).await;
    test.apply(
        "hung",
        json!({"parallelism": 1, "script": "four", "runner": {"image": "registry.invalid/none:1"}}),
    );
    test.reaches("hung", StateName::Initializing).await;
    test.apply("left", json!({"parallelism": 2, "script": "four"}));
    test.apply("right", json!({"parallelism": 2, "script": "four"}));
    test.reaches("left", StateName::Started).await;
    test.reaches("right", StateName::Started).await;
    // Both run at the same time.
    let still = test.status("left").await;
    assert_eq!(still.state, Some(StateName::Started), "{still:?}");
    for name in ["left", "right"] {
        let status = test.passes(name).await;
        assert_eq!(status.runners.unwrap().summary, "2/2");
        assert_eq!(test.pods_of(name, "runner").await.len(), 2);
        assert_eq!(test.pods_of(name, "starter").await.len(), 1);
    }
    let hung = test.status("hung").await;
    assert_eq!(hung.state, Some(StateName::Initializing), "{hung:?}");
}
