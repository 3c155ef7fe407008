//! What can't be carried out is told where the user can mend it, and nothing is started.

use crate::run::Run;
use crate::support::{LIMIT, Test, sleeps};
use k6_operator::api::Kind;
use k6_operator::machine::{Reason, StateName};
use kube::api::PostParams;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn a_script_that_does_not_parse_is_an_error_with_k6s_words() {
    let test = Test::new("script").await;
    test.script(
        "broken",
        "import http from 'k6/http';\n\nexport default function () {\n  http.get(;\n}\n",
    )
    .await;
    test.apply("broken", json!({"parallelism": 2, "script": "broken"}));
    let words = ["k6 refused the script", "test.js: Line 4:", "Unexpected token ;"];
    test.errs("broken", Reason::ScriptError, &words).await;
    // It is kept, for its log.
    assert_eq!(test.job_names().await, ["broken-initializer"]);
    let log = test.kubectl(&["logs", "job/broken-initializer", "-c", "inspect"]);
    assert!(log.contains("Unexpected token"), "{log}");
}

#[tokio::test]
async fn spec_that_leaves_no_room_for_its_status_is_refused_with_the_field_and_its_size() {
    let test = Test::new("large").await;
    // Each line end takes two bytes in JSON, which is what etcd keeps.
    let script = format!("{}export default function () {{}}", "\n".repeat(600_000));
    let spec = json!({"parallelism": 1, "script": {"inline": script}});
    let large = json!({
        "apiVersion": "k6.io/v1alpha1", "kind": "K6", "metadata": {"name": "large"}, "spec": spec
    });
    let large = serde_json::from_value(large).unwrap();
    test.k6s().create(&PostParams::default(), &large).await.unwrap();
    let words = [
        "bytes as JSON, 12000",
        "of them in spec.script.inline: at most 1100000 leave room for the status in etcd; move it into a ConfigMap",
    ];
    test.errs("large", Reason::InvalidSpec, &words).await;
    assert_eq!(test.job_names().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_missing_config_map_or_key_is_told_by_name() {
    let test = Test::new("missing").await;
    test.config_map("other-keys", &[("one.js", "1"), ("two.js", "2")])
        .await;
    test.apply("no-map", json!({"parallelism": 1, "script": "nowhere"}));
    test.apply("no-key", json!({"parallelism": 1, "script": "other-keys"}));
    let named = json!({"configMap": {"name": "other-keys", "file": "three.js"}});
    test.apply("no-file", json!({"parallelism": 1, "script": named}));

    let place = format!("no ConfigMap nowhere in namespace {}", test.namespace);
    test.errs("no-map", Reason::ScriptNotFound, &[&place]).await;
    let words = ["ConfigMap other-keys has no key test.js", "one.js, two.js"];
    test.errs("no-key", Reason::ScriptNotFound, &words).await;
    let words = ["ConfigMap other-keys has no key three.js", "one.js, two.js"];
    test.errs("no-file", Reason::ScriptNotFound, &words).await;
    assert_eq!(test.job_names().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_config_map_that_comes_seconds_later_is_waited_for() {
    let test = Test::new("later").await;
    test.apply("early", json!({"parallelism": 1, "script": "late"}));
    test.status_when("early", "waiting for its ConfigMap", |status| {
        let message = status.message.as_deref().unwrap_or_default();
        message.contains("no ConfigMap late")
    })
    .await;
    test.script("late", &sleeps(1, 1)).await;
    test.passes("early").await;
}

#[tokio::test]
async fn a_spec_that_cannot_be_carried_out_is_refused_with_the_field_and_the_remedy() {
    let test = Test::new("spec").await;
    test.script("two", &sleeps(2, 1)).await;
    let wrong = [
        (
            "reserved",
            json!({"parallelism": 1, "script": "two", "arguments": "--paused"}),
        ),
        (
            "quote",
            json!({"parallelism": 1, "script": "two", "arguments": "--tag 'a"}),
        ),
        ("many", json!({"parallelism": 3, "script": "two"})),
        (
            "unknown",
            json!({"parallelism": 1, "script": "two", "arguments": "--no-such-flag"}),
        ),
    ];
    for (name, spec) in wrong {
        test.apply(name, spec);
    }
    // What the API server can see never gets in.
    let refused = test.apply_refused(Kind::K6, "number", json!({"parallelism": 1, "script": 42}));
    assert!(refused.contains("spec.script"), "{refused}");
    for parallelism in [0, 2_001] {
        let spec = json!({"parallelism": parallelism, "script": "two"});
        let refused = test.apply_refused(Kind::K6, "none", spec);
        let words = "spec.parallelism is the number of runners: at least 1, at most 2000";
        assert!(refused.contains(words), "{refused}");
    }
    test.errs(
        "reserved",
        Reason::InvalidSpec,
        &["spec.arguments may not contain --paused"],
    )
    .await;
    test.errs("quote", Reason::InvalidSpec, &["a quote is not closed"])
        .await;
    let words = ["spec.parallelism is 3", "at most 2 virtual users", "2 or less"];
    test.errs("many", Reason::ParallelismTooHigh, &words).await;
    test.errs("unknown", Reason::ScriptError, &["has no flag --no-such-flag"])
        .await;
    // No runner was made. k6's own refusal is kept for its log.
    let jobs = test.job_names().await;
    assert!(jobs.iter().all(|job| job.ends_with("-initializer")), "{jobs:?}");
    assert!(jobs.contains(&"unknown-initializer".to_owned()), "{jobs:?}");
}

#[tokio::test]
async fn the_spec_cannot_be_changed_while_it_runs() {
    let test = Test::new("change").await;
    test.script("quick", &sleeps(2, 4)).await;
    test.apply("fixed", json!({"parallelism": 1, "script": "quick"}));
    test.reaches("fixed", StateName::Created).await;
    let changed = json!({"parallelism": 2, "script": "quick"});
    let refused = test.apply_refused(Kind::K6, "fixed", changed);
    for words in [
        "spec.parallelism can't be changed for a run that has its runners",
        "spec.rerun",
    ] {
        assert!(refused.contains(words), "{refused}");
    }
    // What is not the spec can, and so can what only says what becomes of the run.
    test.kubectl(&["annotate", "k6", "fixed", "note=kept"]);
    test.apply(
        "fixed",
        json!({"parallelism": 1, "script": "quick", "ttlSecondsAfterFinished": 3600}),
    );
    let status = test.passes("fixed").await;
    assert_eq!(status.plan.unwrap().parallelism, 1);
}

/// How soon a pod that waiting does not help is named as the end of its run. Kubernetes has tried five times by then,
/// and all deadlines here are minutes.
const SOON: Duration = Duration::from_secs(60);

fn limit_range(test: &Test, limits: &Value) {
    let range = json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "bounds"},
        "spec": {"limits": [limits]}
    });
    test.file("limits.json", &range.to_string());
    test.kubectl(&["apply", "-f", "limits.json"]);
}

#[tokio::test]
async fn a_runner_that_no_limit_range_lets_in_is_named_at_once_with_the_field_to_set() {
    let test = Test::new("limits").await;
    test.script("two", &sleeps(2, 1)).await;
    limit_range(
        &test,
        &json!({
            "type": "Container", "max": {"memory": "1Gi"},
            "default": {"memory": "256Mi"}, "defaultRequest": {"memory": "32Mi"}
        }),
    );
    let runner = json!({"resources": {"requests": {"memory": "64Mi"}, "limits": {"memory": "2Gi"}}});
    let small = json!({"resources": {"requests": {"memory": "64Mi"}, "limits": {"memory": "256Mi"}}});
    let spec = json!({
        "parallelism": 2, "script": {"configMap": {"name": "two"}}, "runner": runner, "initializer": small,
        "aggregation": {"enabled": false}
    });
    for kind in Kind::ALL {
        let run = Run::apply(&test, kind, &format!("big-{}", kind.plural()), spec.clone());
        run.reaches(StateName::Created).await;
        let created = Instant::now();
        let refused = "the pod of runner 1 is refused by a LimitRange";
        let told = run
            .when("told of the refusal", |status| {
                status.message.as_deref().unwrap_or_default().contains(refused)
            })
            .await;
        let retrying = |c: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
            c.type_ == "Retrying" && c.status == "True" && c.message.contains(refused)
        };
        assert!(told.conditions.iter().any(retrying), "{told:#?}");
        let words = [
            "The pod of runner 1 is refused by a LimitRange",
            "maximum memory usage per Container is 1Gi, but limit is 2Gi",
            "spec.runner.resources",
        ];
        let status = run.errs(Reason::ObjectRefused, &words).await;
        assert_eq!(status.start_time, None);
        assert!(created.elapsed() < SOON, "only after {:?}", created.elapsed());
        // An Event follows the status that it tells of.
        test.until("both Events are there", LIMIT, async || {
            let events = test.kubectl(&["events", "--for", &run.path(), "--no-headers"]);
            let told = ["PodRefused", "ObjectRefused"].map(|word| events.contains(word));
            (told == [true, true]).then_some(())
        })
        .await;
    }
    test.only_left(&["big-k6s-initializer", "big-testruns-initializer"])
        .await;
}

#[tokio::test]
async fn a_ratio_that_the_aggregator_does_not_keep_is_named_at_once_and_its_own_size_keeps_it() {
    let test = Test::new("ratio").await;
    test.script("two", &sleeps(2, 1)).await;
    limit_range(
        &test,
        &json!({"type": "Container", "maxLimitRequestRatio": {"memory": "5"}}),
    );
    let sized = |least: &str, most: &str| {
        json!({"resources": {
            "requests": {"cpu": "50m", "memory": least}, "limits": {"cpu": "200m", "memory": most}
        }})
    };
    let small = sized("128Mi", "256Mi");
    let spec = |aggregation: Value| {
        json!({
            "parallelism": 2, "script": {"configMap": {"name": "two"}}, "aggregation": aggregation,
            "runner": small, "initializer": small, "starter": small
        })
    };
    let fits = Run::apply(&test, Kind::TestRun, "fits", spec(sized("128Mi", "512Mi")));
    let breaks = Run::apply(&test, Kind::TestRun, "breaks", spec(sized("64Mi", "1Gi")));
    breaks.reaches(StateName::Created).await;
    let created = Instant::now();
    let words = [
        "The pod of the aggregator is refused by a LimitRange",
        "memory max limit to request ratio per Container is 5, but provided ratio is 16",
        "spec.aggregation.resources",
    ];
    breaks.errs(Reason::ObjectRefused, &words).await;
    assert!(created.elapsed() < SOON, "only after {:?}", created.elapsed());
    fits.passes().await;
}

#[tokio::test]
async fn settings_that_pod_security_refuses_are_named_at_once() {
    let test = Test::new("security").await;
    test.script("two", &sleeps(2, 1)).await;
    let runner = json!({"containerSecurityContext": {"allowPrivilegeEscalation": true}});
    let applied = Instant::now();
    let run = Run::apply(
        &test,
        Kind::TestRun,
        "privileged",
        json!({"parallelism": 2, "script": {"configMap": {"name": "two"}}, "runner": runner}),
    );
    let words = [
        "is refused by the Pod Security Standard of the namespace",
        "violates PodSecurity \"restricted",
        "allowPrivilegeEscalation",
        "containerSecurityContext",
    ];
    run.errs(Reason::ObjectRefused, &words).await;
    assert!(applied.elapsed() < SOON, "only after {:?}", applied.elapsed());
}
