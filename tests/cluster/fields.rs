//! Every field, set in one resource of each kind: the API server takes it, the run passes, and the pods have it.

use crate::support::{Test, k6_image, sleeps};
use k6_operator::api::Kind;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What can stand in podTemplate, told apart by a word.
fn common(word: &str, user: i64) -> Value {
    json!({
        "metadata": {"labels": {"word": word, "app": "overridden"}, "annotations": {"word": word}},
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
            "weight": 1,
            "preference": {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]}
        }]}},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": word, "operator": "Exists"}],
        "topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"word": word}}
        }],
        "priorityClassName": "k6-e2e",
        "schedulerName": "default-scheduler",
        "imagePullSecrets": [{"name": "k6-e2e-none"}],
        "imagePullPolicy": "IfNotPresent",
        "serviceAccountName": "default",
        "automountServiceAccountToken": "false",
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": user, "fsGroup": user, "seccompProfile": {"type": "RuntimeDefault"}
        },
        "containerSecurityContext": {
            "allowPrivilegeEscalation": false, "privileged": false, "capabilities": {"drop": ["ALL"]}
        },
        "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}, "limits": {"cpu": 2, "memory": "512Mi"}},
        "env": [{"name": "WORD", "value": word}],
        "envFrom": [{"configMapRef": {"name": format!("k6-e2e-{word}"), "optional": true}}]
    })
}

fn settings(word: &str, user: i64, image: Option<&str>) -> Value {
    let mut all = common(word, user);
    if let Some(image) = image {
        all["image"] = json!(image);
    }
    all["initContainers"] = json!([{
        "name": "before", "image": k6_image(), "imagePullPolicy": "IfNotPresent", "command": ["k6"],
        "args": ["version"], "workingDir": "/", "env": [{"name": "WORD", "value": word}],
        "envFrom": [{"configMapRef": {"name": "k6-e2e-none", "optional": true}}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "resources": {"limits": {"memory": "256Mi"}}
    }]);
    all["volumes"] = json!([{"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}]);
    all["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let never_fails = json!({"tcpSocket": {"port": 1}, "initialDelaySeconds": 600});
    all["livenessProbe"] = never_fails.clone();
    all["readinessProbe"] = if word == "runner" {
        json!({"httpGet": {"path": "/v1/status", "port": 6565}, "periodSeconds": 1})
    } else {
        never_fails
    };
    all
}

fn with_every_field() -> Value {
    let mut initializer = settings("initializer", 12345, Some(&k6_image()));
    initializer["disabled"] = json!(false);
    json!({
        "parallelism": 2,
        "script": {"inline": sleeps(2, 1)},
        "separate": false,
        "arguments": "--tag ignored=true",
        "args": ["--tag", "word=two words", "--env", "OF_WORD=$(WORD)"],
        "ports": [{"name": "extra", "containerPort": 9999}],
        "podTemplate": common("template", 12345),
        "initializer": initializer,
        "runner": settings("runner", 12345, Some(&k6_image())),
        // With another image than the operator's own, its program is copied: tests/cluster/pods.rs.
        "starter": settings("starter", 65532, Some("k6-operator.invalid/operator:dev")),
        "aggregation": {
            "enabled": true, "resources": {"requests": {"cpu": "2m", "memory": "32Mi"}, "limits": {"memory": "320Mi"}}
        },
        "setup": "once",
        "quiet": "true",
        "paused": "true",
        "cleanup": "onSuccess",
        "ttlSecondsAfterFinished": 3600,
        "suspend": true,
        "stop": false,
        "rerun": "first",
        "timeouts": {"initialization": "2m", "start": "2m", "run": "2m"},
        "scuttle": {"enabled": "false"},
        "testRunId": "",
        "token": ""
    })
}

#[tokio::test]
async fn every_field_of_a_k6_reaches_its_pods() {
    reaches_the_pods(Kind::K6).await;
}

#[tokio::test]
async fn every_field_of_a_test_run_reaches_its_pods() {
    reaches_the_pods(Kind::TestRun).await;
}

async fn reaches_the_pods(kind: Kind) {
    let test = Test::new("fields").await;
    let class = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "k6-e2e"}, "value": 0
    });
    test.file("class.json", &class.to_string());
    test.kubectl(&["apply", "--server-side", "-f", "class.json"]);

    let file = test.manifest(kind, "all", with_every_field());
    test.kubectl(&["apply", "-f", &file]);
    let name = format!("{}/all", kind.plural());
    test.kubectl(&[
        "wait",
        "--for=jsonpath={.status.conditions[0].reason}=Suspended",
        &name,
        "--timeout=60s",
    ]);
    // It is kept until it has been looked at, and deleted for its success then.
    let go_on = r#"{"spec": {"suspend": false, "cleanup": null}}"#;
    test.kubectl(&["patch", &name, "--type=merge", "-p", go_on]);
    test.kubectl(&["wait", "--for=condition=Succeeded", &name, "--timeout=120s"]);

    for (component, word, user, count) in [("runner", "runner", 12345, 2), ("starter", "starter", 65532, 1)] {
        let pods = test.pods_of("all", component).await;
        assert_eq!(pods.len(), count, "{component}");
        for pod in &pods {
            has_all(pod, word, user);
        }
    }
    let runner = &test.pods_of("all", "runner").await[0];
    let k6 = &runner.spec.as_ref().unwrap().containers[0];
    let ports: Vec<i32> = k6
        .ports
        .iter()
        .flatten()
        .map(|port| port.container_port)
        .collect();
    assert_eq!(ports, [6565, 9999]);
    let command = k6.command.clone().unwrap();
    assert!(command.contains(&"OF_WORD=$(WORD)".to_owned()), "{command:?}");
    assert!(!command.contains(&"ignored=true".to_owned()), "{command:?}");

    let argv = test.kubectl(&["get", &name, "-o", "jsonpath={.status.argv}"]);
    assert_eq!(argv, r#"["--tag","word=two words","--env","OF_WORD=$(WORD)"]"#);
    let clean_up = r#"{"spec": {"cleanup": "onSuccess"}}"#;
    test.kubectl(&["patch", &name, "--type=merge", "-p", clean_up]);
    test.kubectl(&["wait", "--for=delete", &name, "--timeout=60s"]);
}

fn has_all(pod: &Pod, word: &str, user: i64) {
    assert_eq!(pod.labels()["word"], word);
    assert_eq!(
        pod.labels()["app"],
        "k6",
        "a label of the operator's was overridden"
    );
    assert_eq!(pod.annotations()["word"], word);
    let spec = pod.spec.as_ref().unwrap();
    assert!(spec.affinity.as_ref().unwrap().node_affinity.is_some());
    // The user's, and the architecture of the operator's program.
    let selector = [("kubernetes.io/arch", "amd64"), ("kubernetes.io/os", "linux")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let selector = BTreeMap::from(selector);
    assert_eq!(spec.node_selector.as_ref(), Some(&selector));
    let tolerated = |t: &k8s_openapi::api::core::v1::Toleration| t.key.as_deref() == Some(word);
    assert!(spec.tolerations.iter().flatten().any(tolerated));
    assert_eq!(spec.topology_spread_constraints.as_ref().unwrap().len(), 1);
    assert_eq!(spec.priority_class_name.as_deref(), Some("k6-e2e"));
    assert_eq!(spec.scheduler_name.as_deref(), Some("default-scheduler"));
    assert_eq!(spec.image_pull_secrets.as_ref().unwrap()[0].name, "k6-e2e-none");
    assert_eq!(spec.service_account_name.as_deref(), Some("default"));
    assert_eq!(spec.automount_service_account_token, Some(false));
    let context = spec.security_context.as_ref().unwrap();
    assert_eq!((context.run_as_user, context.run_as_group), (Some(user), None));
    assert!(spec.volumes.iter().flatten().any(|volume| volume.name == "data"));
    let before = &spec.init_containers.as_ref().unwrap()[0];
    assert_eq!(
        (before.name.as_str(), before.working_dir.as_deref()),
        ("before", Some("/"))
    );
    sees_the_volume(before);
    let main = &spec.containers[0];
    sees_the_volume(main);
    assert_eq!(main.security_context.as_ref().unwrap().privileged, Some(false));
    let limits = main.resources.as_ref().unwrap().limits.as_ref().unwrap();
    assert_eq!(limits["cpu"].0, "2");
    let words: Vec<Option<&str>> = main
        .env
        .iter()
        .flatten()
        // Beside those that make a runner export its metrics.
        .filter(|env| !env.name.contains("OTEL_") && !env.name.starts_with("K6_OPERATOR_"))
        // Each runner does not ask a build service for itself.
        .filter(|env| env.name != k6_operator::k6::refusal::RESOLUTION)
        .map(|env| env.value.as_deref())
        .collect();
    assert_eq!(
        words,
        [Some(word)],
        "the part's own value wins over that of podTemplate"
    );
    assert_eq!(
        main.env_from.as_ref().unwrap().len(),
        2,
        "those of podTemplate and of the part"
    );
    assert!(main.liveness_probe.is_some() && main.readiness_probe.is_some());
}

fn sees_the_volume(container: &Container) {
    let mut mounts = container.volume_mounts.iter().flatten();
    assert!(mounts.any(|mount| mount.name == "data"), "{}", container.name);
}
