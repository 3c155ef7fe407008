//! What a run owns, and what it does not.

use crate::facts::Evidence;
use crate::faults::{Fault, covers};
use crate::run::Run;
use crate::support::{LIMIT, Test, sleeps};
use k6_operator::api::Kind;
use k6_operator::machine::{Reason, StateName};
use k8s_openapi::api::batch::v1::Job;
use kube::api::{ListParams, PostParams};
use serde_json::json;

#[tokio::test]
async fn deleting_the_resource_in_each_state_leaves_nothing() {
    covers(
        Fault::ResourceDeleted,
        &[StateName::Initializing, StateName::Created, StateName::Started],
    );
    let test = Test::new("delete").await;
    test.script("long", &sleeps(2, 600)).await;
    let states = [
        ("in-initializing", StateName::Initializing),
        ("in-created", StateName::Created),
        ("in-started", StateName::Started),
    ];
    for (name, state) in states {
        test.apply(name, json!({"parallelism": 2, "script": "long"}));
        test.reaches(name, state).await;
        test.until("it has a Job", LIMIT, async || {
            let jobs = test.job_names().await;
            jobs.iter().any(|job| job.starts_with(name)).then_some(())
        })
        .await;
        // Not kept by a finalizer, and whatever is made meanwhile goes too.
        let deleted = test.kubectl(&["delete", "k6", name, "--timeout=10s"]);
        assert!(
            deleted.starts_with(&format!("k6.k6.io \"{name}\" deleted")),
            "{deleted}"
        );
        test.nothing_left().await;
        Evidence::of(&Run::of(&test, Kind::K6, name)).holds(name);
    }
}

#[tokio::test]
async fn a_foreign_job_of_the_same_name_is_never_touched() {
    covers(Fault::ForeignObject, &[StateName::Created]);
    let test = Test::new("foreign").await;
    test.script("two", &sleeps(2, 1)).await;
    let foreign: Job = serde_json::from_value(json!({
        "metadata": {"name": "taken-2"},
        "spec": {"suspend": true, "template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "none"}]
        }}}
    }))
    .unwrap();
    test.jobs()
        .create(&PostParams::default(), &foreign)
        .await
        .unwrap();
    // Kubernetes' own first write to it must not be taken for ours.
    let before = test
        .until("the foreign Job is suspended", LIMIT, async || {
            let job = test.jobs().get("taken-2").await.unwrap();
            let conditions = job.status.as_ref()?.conditions.as_ref()?;
            conditions.iter().any(|c| c.type_ == "Suspended").then_some(job)
        })
        .await;

    test.apply("taken", json!({"parallelism": 2, "script": "two"}));
    test.errs(
        "taken",
        Reason::NameConflict,
        &["Job taken-2 exists and is not this run's"],
    )
    .await;
    test.until(
        "only the foreign Job and the initializer are left",
        LIMIT,
        async || (test.job_names().await == ["taken-2", "taken-initializer"]).then_some(()),
    )
    .await;
    let monitor = Evidence::of(&Run::of(&test, Kind::K6, "taken")).holds("taken");
    assert_eq!(monitor.released(1), 0);
    let after = test.jobs().get("taken-2").await.unwrap();
    assert_eq!(after, before);
    // Nor is it by deleting the run.
    test.kubectl(&["delete", "k6", "taken", "--timeout=10s"]);
    test.until("no pod is left", LIMIT, async || {
        let pods = test.pods().list(&ListParams::default()).await.unwrap().items;
        pods.is_empty().then_some(())
    })
    .await;
    assert_eq!(test.jobs().get("taken-2").await.unwrap(), before);
}

#[tokio::test]
async fn the_pods_that_tools_count_are_the_runners_the_initializer_and_the_starter_to_the_end() {
    let test = Test::new("counted").await;
    test.script("two", &sleeps(2, 6)).await;
    for kind in Kind::ALL {
        let name = format!("counted-{}", kind.plural());
        let spec = json!({"parallelism": 2, "script": {"configMap": {"name": "two"}}});
        let run = Run::apply(&test, kind, &name, spec);
        let counted = |labels: &str| {
            let labels = format!("app=k6,k6_cr={name}{labels}");
            let pods = test.kubectl(&["get", "pods", "-l", &labels, "-o", "name", "--ignore-not-found"]);
            pods.lines().count()
        };
        run.reaches(StateName::Started).await;
        // As scripts wait that were written for grafana/k6-operator.
        let initializer = format!("job/{name}-initializer");
        let complete = ["wait", "--for=condition=complete", &initializer, "--timeout=5s"];
        assert!(test.kubectl(&complete).contains("condition met"));
        assert_eq!((counted(""), counted(",runner=true")), (4, 2));
        run.passes().await;
        assert!(test.kubectl(&complete).contains("condition met"));
        let starter = format!("job/{name}-starter");
        test.kubectl(&["wait", "--for=condition=complete", &starter, "--timeout=5s"]);
        assert_eq!((counted(""), counted(",runner=true")), (4, 2));
    }
}
