//! The operator is killed, and the run goes on as if it had not been.

use crate::facts::Evidence;
use crate::faults::{Fault, covers};
use crate::run::Run;
use crate::support::{LIMIT, Operator, Test};
use crate::torture::passed_once;
use k6_operator::api::Kind;
use k6_operator::machine::{Event, Reason, Record, StateName};
use serde_json::json;

/// Each runner's only virtual user asks the target once, and then lasts a while.
const SCRIPT: &str = "import http from 'k6/http';
import { sleep } from 'k6';
export const options = {
  scenarios: { once: { executor: 'per-vu-iterations', vus: 3, iterations: 1 } },
};
export default function () { http.get('http://k6-target.k6-target.svc/'); sleep(4); }
";

#[tokio::test]
async fn operator_killed_in_each_state_gives_the_same_result() {
    let states = [
        StateName::Initializing,
        StateName::Created,
        StateName::Starting,
        StateName::Started,
        StateName::Stopping,
    ];
    covers(Fault::OperatorKilled, &states);
    covers(Fault::LeaderKilled, &states);
    // The whole cluster: others need the operator.
    let test = Test::alone("kill").await;
    test.script("once", SCRIPT).await;
    for (i, (name, state)) in [
        ("in-initializing", StateName::Initializing),
        ("in-created", StateName::Created),
        ("in-starting", StateName::Starting),
        ("in-started", StateName::Started),
    ]
    .into_iter()
    .enumerate()
    {
        let operator = Operator::find(&test).await;
        let (killed_in, ()) = tokio::join!(test.reaches(name, state), async {
            test.apply(name, json!({"parallelism": 3, "script": "once", "quiet": false}));
        });
        // It comes again by itself, or the other replica goes on.
        if i % 2 == 0 {
            operator.crash();
        } else {
            operator.kill(&test).await;
        }
        let events_before = killed_in.history.len();

        let status = test.passes(name).await;
        assert_eq!(status.runners.unwrap().summary, "3/3", "{name}");
        let history: Vec<&str> = status.history.iter().map(|record| record.event.name()).collect();
        assert_eq!(
            history,
            [
                "Accepted",
                "ScriptInspected",
                "StartOrdered",
                "StartConfirmed",
                "RunnersEnded",
                "ResultCollected"
            ],
            "{name}"
        );
        assert_eq!(status.history[..events_before], killed_in.history, "{name}");
        let confirmed = |record: &Record| matches!(record.event, Event::StartConfirmed { runners: 3, .. });
        assert!(
            status.history.iter().any(confirmed),
            "{name}: {:?}",
            status.history
        );

        // One pod for each part, and each runner ran its part once.
        passed_once(&Run::of(&test, Kind::K6, name), 3).await;
        for pod in test.pods_of(name, "runner").await {
            let log = test.log(&pod);
            assert!(log.contains("1 complete and 0 interrupted iterations"), "{log}");
        }
    }

    // Here the starter can't work, and so the runners are stopped.
    let (name, operator) = ("in-stopping", Operator::find(&test).await);
    let spec = json!({"parallelism": 3, "script": "once", "timeouts": {"start": "20s"}, "setup": "perRunner",
                      "starter": {"image": "registry.invalid/none:1"}});
    test.apply(name, spec);
    test.reaches(name, StateName::Stopping).await;
    operator.kill(&test).await;
    test.errs(name, Reason::StartDeadlineExceeded, &["not released in time"])
        .await;
    for component in ["starter", "stopper"] {
        // Kubernetes removes a pod that did not start in time.
        assert!(test.pods_of(name, component).await.len() <= 1, "{component}");
    }
    test.until("no runner is left", LIMIT, async || {
        test.pods_of(name, "runner").await.is_empty().then_some(())
    })
    .await;

    let monitor = Evidence::of(&Run::of(&test, Kind::K6, name)).holds(name);
    assert_eq!(monitor.released(1), 0, "{name}");

    // Whoever comes next finds an operator that is ready.
    Operator::find(&test).await;
}
