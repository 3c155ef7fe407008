//! What people write: manifests of clients with Go types and of templates, settings of the initializer alone, limits that
//! each container of a namespace has to keep, and commands in a shell whose kubeconfig names no cluster.

use crate::run::Run;
use crate::support::{Test, variable};
use k6_operator::api::Kind;
use k6_operator::machine::{Reason, RunResult};
use serde_json::{Value, json};
use std::process::Command;

/// Ten iterations, each of which counts.
fn ten() -> Value {
    json!({"inline": "
        export const options = { vus: 2, iterations: 10, thresholds: { iterations: ['count==10'] } };
        export default function () {}
    "})
}

#[tokio::test]
async fn manifest_of_a_client_with_go_types_passes() {
    let test = Test::new("go-typed").await;
    let mut script = ten();
    script["configMap"] = json!({"name": "", "file": ""});
    script["volumeClaim"] = json!({"name": ""});
    script["localFile"] = json!("");
    let part =
        json!({"metadata": {}, "resources": {}, "securityContext": {}, "containerSecurityContext": {}});
    let spec = json!({
        "parallelism": 2, "arguments": "--tag job=k6", "script": script, "runner": part, "starter": part, "scuttle": {},
        "initializer": null
    });
    for run in Run::of_both_kinds(&test, "typed", &spec) {
        run.ends(RunResult::Passed, Reason::AllRunnersPassed).await;
        // Not even an empty security context took the hardening away: the namespace admits no pod without it.
        for pod in run.pods("runner").await {
            let context = pod.spec.unwrap().security_context.unwrap();
            assert_eq!(context.run_as_non_root, Some(true));
        }
    }
}

#[tokio::test]
async fn manifest_of_a_template_with_empty_values_passes() {
    let test = Test::new("templates").await;
    let spec = json!({
        "parallelism": 1, "separate": false, "arguments": "", "args": [], "ports": [], "quiet": "", "paused": "",
        "cleanup": "", "setup": "", "rerun": "", "timeouts": {"initialization": "", "start": "", "run": ""},
        "initializer": {}, "starter": {}, "podTemplate": {}, "aggregation": {"enabled": null, "resources": {}},
        "testRunId": "", "token": "", "scuttle": {"enabled": ""},
        "runner": {
            "env": null, "image": "", "imagePullPolicy": "", "automountServiceAccountToken": "",
            "imagePullSecrets": [], "nodeSelector": {}, "tolerations": null, "serviceAccountName": "",
            "priorityClassName": "", "schedulerName": "", "metadata": {"labels": null, "annotations": {}},
            "resources": {"limits": {"cpu": "", "memory": null}, "requests": {"cpu": "50m"}}, "volumes": []
        },
        "script": ten()
    });
    for run in Run::of_both_kinds(&test, "empty", &spec) {
        run.ends(RunResult::Passed, Reason::AllRunnersPassed).await;
    }
}

#[tokio::test]
async fn initializer_with_settings_of_its_own_judges_by_what_the_runners_see() {
    let test = Test::new("own-initializer").await;
    let script = json!({"inline": "
        export const options = {
            vus: 2, iterations: 10, thresholds: { iterations: ['count<' + (__ENV.MOST || '1000000')] },
            tags: { stage: __ENV.STAGE || 'unknown' },
        };
        export default function () {}
    "});
    let spec = json!({
        "parallelism": 2, "script": script,
        "initializer": {"metadata": {"annotations": {"sidecar.istio.io/inject": "false"}}},
        "runner": {"env": [{"name": "MOST", "value": "5"}, {"name": "STAGE", "value": "prod"}]}
    });
    let crossed = Run::apply(&test, Kind::TestRun, "crossed", spec.clone());
    let mut other = spec;
    other["runner"]["env"][0]["value"] = json!("1000");
    other["initializer"]["env"] = json!([{"name": "STAGE", "value": "test"}]);
    let passed = Run::apply(&test, Kind::K6, "passed", other);
    let status = crossed.ends(RunResult::Failed, Reason::ThresholdsCrossed).await;
    let plan = status.plan.unwrap();
    assert_eq!((plan.tags["stage"].as_str(), plan.warning), ("prod", None));
    let status = passed.ends(RunResult::Passed, Reason::AllRunnersPassed).await;
    let warning = status.plan.unwrap().warning.unwrap();
    assert!(warning.contains("(initializer.env STAGE)"), "{warning}");
}

/// The settings of a part in the manifests that these limits are of.
fn sized() -> Value {
    json!({"resources": {
        "requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "200m", "memory": "256Mi"}
    }})
}

#[tokio::test]
async fn run_whose_parts_are_sized_passes_where_limits_are_bound_to_requests() {
    let test = Test::new("ratio").await;
    let limits = json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "ratio"},
        "spec": {"limits": [{"type": "Container", "maxLimitRequestRatio": {"memory": "5"}}]}
    });
    test.file("limits.json", &limits.to_string());
    test.kubectl(&["apply", "-f", "limits.json"]);
    let spec = json!({
        "parallelism": 2, "script": ten(), "runner": sized(), "initializer": sized(), "starter": sized()
    });
    let starter = Run::apply(&test, Kind::TestRun, "starter", spec);
    let own = json!({"requests": {"memory": "300Mi"}, "limits": {"memory": "900Mi"}});
    let spec = json!({
        "parallelism": 2, "script": ten(), "runner": sized(), "starter": sized(), "aggregation": {"resources": own}
    });
    let own = Run::apply(&test, Kind::K6, "own", spec);
    for run in [starter, own] {
        run.ends(RunResult::Passed, Reason::AllRunnersPassed).await;
    }
}

#[tokio::test]
async fn run_passes_where_a_quota_counts_limits_of_cpu() {
    let test = Test::new("quota").await;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"},
        "spec": {"hard": {
            "limits.cpu": "8", "limits.memory": "8Gi", "requests.cpu": "4", "requests.memory": "4Gi", "pods": "20"
        }}
    });
    test.file("quota.json", &quota.to_string());
    test.kubectl(&["apply", "-f", "quota.json"]);
    let all = json!({
        "parallelism": 2, "script": ten(), "runner": sized(), "initializer": sized(), "starter": sized()
    });
    let runs = [
        Run::apply(&test, Kind::TestRun, "all", all),
        // What nobody sizes has a limit where the runners have one.
        Run::apply(
            &test,
            Kind::K6,
            "runner",
            json!({"parallelism": 2, "script": ten(), "runner": sized()}),
        ),
    ];
    for run in runs {
        run.ends(RunResult::Passed, Reason::AllRunnersPassed).await;
    }
}

#[test]
fn deploy_without_a_cluster_says_in_one_line_which_was_tried_and_how_to_name_another() {
    let deploy = format!("{}/tests/cluster/deploy", variable("K6OP_REPO"));
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    let nobody = "apiVersion: v1\nkind: Config\ncurrent-context: far\n\
                  clusters: [{name: far, cluster: {server: \"https://127.0.0.1:1\"}}]\n\
                  contexts: [{name: far, context: {cluster: far, user: far}}]\nusers: [{name: far, user: {}}]\n";
    std::fs::write(&config, nobody).unwrap();
    for verb in ["apply", "delete"] {
        for (kubeconfig, tried) in [
            (config.as_path(), "https://127.0.0.1:1 (context far)"),
            (
                &folder.path().join("none"),
                "localhost:8080 (no context in your kubeconfig)",
            ),
        ] {
            let output = Command::new(&deploy)
                .arg(verb)
                .env("KUBECONFIG", kubeconfig)
                .output()
                .unwrap();
            let told = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success());
            assert_eq!(told.lines().count(), 1, "{told}");
            assert!(
                told.starts_with(&format!("error: no cluster answers at {tried}: ")),
                "{told}"
            );
            assert!(told.contains("KUBECONFIG=$(make -s kubeconfig) make "), "{told}");
        }
    }
}

#[test]
fn deploy_without_an_image_is_refused_outside_the_embedded_cluster() {
    let kubectl = |arguments: &[&str]| {
        let output = Command::new("kubectl").args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output.stdout
    };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    std::fs::write(&config, kubectl(&["config", "view", "--raw", "--flatten"])).unwrap();
    let path = config.to_str().unwrap();
    let context = format!("k6op-{}", variable("K6OP_CLUSTER"));
    let old = String::from_utf8(kubectl(&["config", "current-context"])).unwrap();
    assert_eq!(old.trim(), context);
    kubectl(&[
        "--kubeconfig",
        path,
        "config",
        "rename-context",
        &context,
        "theirs",
    ]);
    let output = Command::new(format!("{}/tests/cluster/deploy", variable("K6OP_REPO")))
        .arg("apply")
        .env("KUBECONFIG", path)
        .env_remove("IMG")
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert_eq!(
        told,
        "error: IMG is not set, and k6-operator.invalid/operator:dev is in the embedded cluster only \
         (context theirs): make deploy IMG=registry.example.com/k6-operator:TAG\n"
    );
}
