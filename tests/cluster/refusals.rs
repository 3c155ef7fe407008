//! What can't be carried out is told where the user can mend it, and nothing is started.

use crate::support::{Test, sleeps};
use k6_operator::api::Kind;
use k6_operator::machine::{Reason, StateName};
use serde_json::json;

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
        ("number", json!({"parallelism": 1, "script": 42})),
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
    // What a rule can see never gets in.
    for parallelism in [0, 2_001] {
        let spec = json!({"parallelism": parallelism, "script": "two"});
        let refused = test.apply_refused(Kind::K6, "none", spec);
        let words = "spec.parallelism is the number of runners: at least 1, at most 2000";
        assert!(refused.contains(words), "{refused}");
    }
    test.errs(
        "number",
        Reason::InvalidSpec,
        &["spec.script must be the name of a ConfigMap"],
    )
    .await;
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
