//! What the operator tells of its runs, and what it costs the API server.

use crate::support::{LIMIT, Operator, Test, Written, http, ip, operator_pods, sleeps};
use k6_operator::api::Status;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn events_tell_the_transitions() {
    let test = Test::new("events").await;
    test.script("two", &sleeps(2, 1)).await;
    test.apply("told", json!({"parallelism": 2, "script": "two"}));
    test.passes("told").await;
    let events = test
        .until("the last Event is there", LIMIT, async || {
            let events = test.kubectl(&["events", "--for", "k6/told", "--no-headers"]);
            events.contains("AllRunnersPassed").then_some(events)
        })
        .await;
    for reason in ["Initializing", "Created", "Started", "AllRunnersPassed"] {
        let told = events
            .lines()
            .filter(|line| line.split_whitespace().any(|word| word == reason));
        assert_eq!(told.count(), 1, "{reason}: {events}");
    }
    assert!(!events.contains("Warning"), "{events}");
    let described = test.kubectl(&["describe", "k6", "told"]);
    assert!(described.contains("Passed: 2 of 2 runners passed"), "{described}");
    assert!(described.contains("were released within"), "{described}");
}

#[tokio::test]
async fn metrics_and_health_checks_answer() {
    let test = Test::new("metrics").await;
    test.script("one", &sleeps(1, 1)).await;
    test.apply("counted", json!({"parallelism": 1, "script": "one"}));
    test.passes("counted").await;
    // The one that stands by has nothing to tell.
    let operator = Operator::leading_pod(&test).await;
    let address = ip(&operator);
    for path in ["/healthz", "/readyz"] {
        let (status, _) = http("GET", &address, 8081, path);
        assert!(status.contains(" 200 "), "{path}: {status}");
    }
    let metrics = test
        .until("the run is counted", Duration::from_secs(20), async || {
            let (status, metrics) = http("GET", &address, 8080, "/metrics");
            assert!(status.contains(" 200 "), "{status}");
            let value = value(
                &metrics,
                "k6_operator_runs{",
                &["state=\"Finished\"", "result=\"Passed\""],
            );
            (value >= 1.0).then_some(metrics)
        })
        .await;
    // Most looks are followed by another, sooner or later: whether one of all has ended with nothing to wait for depends
    // on the tests beside this one.
    let reconciles = ["success", "requeue_after"].map(|result| {
        let labels = ["controller=\"k6\"", &format!("result=\"{result}\"")];
        value(&metrics, "controller_runtime_reconcile_total{", &labels)
    });
    assert!(reconciles.iter().sum::<f64>() >= 1.0, "{metrics}");
    let started = value(
        &metrics,
        "k6_operator_transitions_total{",
        &["from=\"Starting\"", "to=\"Started\""],
    );
    assert!(started >= 1.0, "{metrics}");
    assert!(metrics.contains("\nworkqueue_depth{"), "{metrics}");
    // Both tell who leads.
    let standing_by = Operator::standing_by(&test).await;
    let other = operator_pods(&test).get(&standing_by.pod).await.unwrap();
    for (pod, leads) in [(&operator, 1.0), (&other, 0.0)] {
        let (status, metrics) = http("GET", &ip(pod), 8080, "/metrics");
        assert!(status.contains(" 200 "), "{status}");
        let told = value(
            &metrics,
            "leader_election_master_status{",
            &["name=\"k6-operator\""],
        );
        assert!((told - leads).abs() < 0.5, "{metrics}");
    }
    assert!(
        metrics.contains("\ncontroller_runtime_reconcile_errors_total{"),
        "{metrics}"
    );
}

/// The value of the series of this name with all of these labels; 0 if there is none.
fn value(metrics: &str, name: &str, labels: &[&str]) -> f64 {
    let series = metrics
        .lines()
        .find(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
    series
        .and_then(|line| line.split_whitespace().last()?.parse().ok())
        .unwrap_or_default()
}

#[tokio::test]
async fn a_run_costs_few_writes_and_a_finished_one_none() {
    const RUNNERS: usize = 4;
    let test = Test::new("writes").await;
    test.script("four", &sleeps(4, 3)).await;
    test.apply("thrifty", json!({"parallelism": RUNNERS, "script": "four"}));
    let status = test.passes("thrifty").await;
    // The last of a run's writes: its Event, and the removal of what measured it.
    test.until("the run is converged", LIMIT, async || {
        let events = test.kubectl(&["events", "--for", "k6/thrifty", "--no-headers"]);
        let told = events.contains("AllRunnersPassed");
        (told && test.job_names().await.len() == RUNNERS + 2).then_some(())
    })
    .await;
    let before = test.operator_writes();
    let count = |kind: &str, verb: &str| {
        let of = before
            .iter()
            .filter(|write| write.kind == kind && write.verb == verb);
        of.count()
    };
    // Initializer, aggregator and starter; the aggregator is deleted.
    assert_eq!(count("jobs", "create"), RUNNERS + 3, "{before:#?}");
    assert_eq!(count("jobs", "delete"), 1, "{before:#?}");
    assert_eq!(count("services", "create"), 1, "{before:#?}");
    assert_eq!(count("configmaps", "create"), 1, "{before:#?}");
    assert_eq!(count("secrets", "create"), 1, "{before:#?}");
    // N + 20 for what has happened; beside it the live view, at most once in five seconds.
    assert!(
        before.len() <= RUNNERS + 20 + views(&status),
        "{} writes: {before:#?}",
        before.len()
    );
    assert_few_requests(&test, "thrifty", RUNNERS + 25 + 2 * views(&status));

    // Looking at it again, for whatever reason, writes nothing.
    for note in 0..5 {
        test.kubectl(&[
            "annotate",
            "--overwrite",
            "k6",
            "thrifty",
            &format!("note={note}"),
        ]);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let after = test.operator_writes();
    assert_eq!(after, before, "{:#?}", &after[before.len()..]);
}

#[tokio::test]
async fn run_that_merges_nothing_costs_fewer_requests() {
    const RUNNERS: usize = 4;
    let test = Test::new("requests").await;
    test.script("four", &sleeps(4, 3)).await;
    let spec = json!({"parallelism": RUNNERS, "script": "four", "aggregation": {"enabled": false}});
    test.apply("plain", spec);
    let status = test.passes("plain").await;
    test.until("the last Event is there", LIMIT, async || {
        let events = test.kubectl(&["events", "--for", "k6/plain", "--no-headers"]);
        events.contains("AllRunnersPassed").then_some(())
    })
    .await;
    assert_few_requests(&test, "plain", RUNNERS + 15 + 2 * views(&status));
}

/// How often the live view of this run may have been written: at most once in five seconds.
fn views(status: &Status) -> usize {
    let (first, last) = (status.history.first().unwrap(), status.history.last().unwrap());
    usize::try_from(last.time.duration_since(first.time).as_secs() / 5).unwrap()
}

/// All requests but the watches, which are of no run. The live view is read and written.
fn assert_few_requests(test: &Test, run: &str, most: usize) {
    let requests = test.operator_requests().into_iter();
    let requests: Vec<Written> = requests.filter(|request| request.verb != "watch").collect();
    println!("{run}: {} requests of at most {most}", requests.len());
    assert!(
        requests.len() <= most,
        "{} requests: {requests:#?}",
        requests.len()
    );
}
