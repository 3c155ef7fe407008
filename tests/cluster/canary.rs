//! Tests as the analysis of a canary in a real Argo Rollouts, with the template of `manifests/argocd/samples`:
//! `tests/cluster/canary` runs these.

use crate::support::{LIMIT, Test, variable};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{sleep, timeout};

fn api(test: &Test, group: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1alpha1", kind));
    Api::namespaced_with(test.client.clone(), &test.namespace, &resource)
}

/// An app of this version whose canary is analysed by a test of this target.
fn rollout(version: &str, target: &str) -> String {
    let restricted = json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"}
    });
    json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "app"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "app"}},
            "template": {
                "metadata": {"labels": {"app": "app", "version": version}},
                "spec": {"containers": [{
                    "name": "app", "image": "k6-target:1", "imagePullPolicy": "Never", "securityContext": restricted
                }]}
            },
            "strategy": {"canary": {"steps": [
                {"setWeight": 50},
                {"analysis": {"templates": [{"templateName": "k6"}], "args": [{"name": "target", "value": target}]}}
            ]}}
        }
    })
    .to_string()
}

/// The Rollout once its controller has seen this version of it, and it is so.
async fn comes(test: &Test, version: &str, phase: &str) -> Value {
    let rollouts = api(test, "argoproj.io", "Rollout");
    let mut last = Value::Null;
    let found = timeout(LIMIT, async {
        loop {
            let rollout = rollouts.get("app").await.unwrap();
            let generation = rollout.metadata.generation.unwrap().to_string();
            last = rollout.data["status"].clone();
            if last["observedGeneration"] == *generation && last["phase"] == phase {
                return;
            }
            sleep(Duration::from_millis(200)).await;
        }
    });
    assert!(found.await.is_ok(), "version {version} is not {phase}: {last:#}");
    last
}

/// The results of all tests, by the time at which they were made.
async fn results(test: &Test) -> Vec<String> {
    let mut tests = api(test, "k6.io", "K6")
        .list(&Default::default())
        .await
        .unwrap()
        .items;
    tests.sort_by_key(ResourceExt::creation_timestamp);
    let result = |test: &DynamicObject| {
        test.data["status"]["result"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    tests.iter().map(result).collect()
}

#[tokio::test]
#[ignore = "needs Argo Rollouts: tests/cluster/canary"]
async fn canary_is_promoted_when_its_test_passes_and_aborted_when_it_fails() {
    let test = Test::new("canary").await;
    let template = format!(
        "{}/manifests/argocd/samples/analysis-template.yaml",
        variable("K6OP_REPO")
    );
    test.kubectl(&["apply", "-f", &template]);
    let target = variable("K6OP_TARGET");
    let apply = |version: &str, target: &str| {
        test.file("rollout.json", &rollout(version, target));
        test.kubectl(&["apply", "-f", "rollout.json"]);
    };
    // The first version has nothing to be compared with, and is not analysed.
    apply("1", &target);
    let first = comes(&test, "1", "Healthy").await;
    assert_eq!(results(&test).await, Vec::<String>::new());

    apply("2", &target);
    let second = comes(&test, "2", "Healthy").await;
    assert_ne!(second["stableRS"], first["stableRS"]);
    assert_eq!(results(&test).await, ["Passed"]);

    apply("3", &format!("{target}/status/503"));
    let third = comes(&test, "3", "Degraded").await;
    assert_eq!(
        (&third["abort"], &third["stableRS"]),
        (&json!(true), &second["stableRS"]),
        "{third:#}"
    );
    assert_eq!(results(&test).await, ["Passed", "Failed"]);
    let runs = api(&test, "argoproj.io", "AnalysisRun")
        .list(&Default::default())
        .await
        .unwrap();
    let mut phases: Vec<&str> = runs
        .iter()
        .filter_map(|run| run.data["status"]["phase"].as_str())
        .collect();
    phases.sort_unstable();
    assert_eq!(phases, ["Failed", "Successful"]);
}
