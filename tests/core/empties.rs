//! What a manifest leaves empty is unset, and what Kubernetes gives a meaning to is not.

#[path = "../support/empties.rs"]
mod all;

use crate::objects::validated;
use all::empties;
use k6_operator::api::{Kind, Spec};
use k6_operator::objects::Common;
use serde_json::{Value, json};

fn read(spec: &Value) -> Spec {
    serde_json::from_value(spec.clone()).unwrap()
}

#[test]
fn empty_field_reads_as_one_that_is_left_out() {
    for kind in Kind::ALL {
        let all = empties(kind);
        assert!(all.len() > 250, "{}", all.len());
        for empty in all {
            let (with, without) = (read(&empty.with), read(&empty.without));
            assert_eq!(with, without, "{}: {}", empty.path, empty.value);
            assert!(validated(&with).is_ok(), "{}", empty.path);
        }
    }
}

#[test]
fn empty_default_of_an_administrator_reads_as_one_that_is_left_out() {
    let common = |spec: &Value| {
        let mut spec = spec.clone();
        let parts = ["podTemplate", "initializer", "runner", "starter", "aggregation"];
        spec.as_object_mut()
            .unwrap()
            .retain(|field, _| parts.contains(&field.as_str()));
        serde_json::from_value::<Common>(spec).unwrap()
    };
    for empty in empties(Kind::K6) {
        if ["initializer.disabled", "aggregation.enabled"].contains(&empty.path.as_str()) {
            continue;
        }
        assert_eq!(common(&empty.with), common(&empty.without), "{}", empty.path);
    }
}

#[test]
fn everything_empty_at_once_reads_as_nothing() {
    let mut all = json!({"parallelism": 1, "script": {"inline": "export default () => {}"}});
    fn merge(into: &mut Value, from: &Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (field, value) in from {
                    merge(into.entry(field).or_insert(Value::Null), value);
                }
            }
            (into, from) if into.is_null() => *into = from.clone(),
            _ => {}
        }
    }
    for empty in empties(Kind::TestRun) {
        let inside = empty.path.contains("[]") || empty.path.starts_with("script.inline");
        if !inside && !empty.value.is_null() {
            merge(&mut all, &empty.with);
        }
    }
    let none = json!({"parallelism": 1, "script": {"inline": "export default () => {}"}});
    assert_eq!(read(&all), read(&none), "{all}");
}

#[test]
fn empty_value_inside_a_type_of_kubernetes_keeps_its_meaning() {
    let runner = json!({
        "metadata": {"labels": {"empty": ""}, "annotations": {"empty": ""}},
        "nodeSelector": {"node-role.kubernetes.io/load": ""},
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "zone", "labelSelector": {}, "namespaceSelector": {}}
        ]}},
        "tolerations": [{}],
        "env": [{"name": "EMPTY", "value": ""}],
        "envFrom": [{"prefix": "", "configMapRef": {"name": "c"}}],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "initContainers": [{"name": "a", "image": "b", "command": ["sh", "-c", ""], "args": [""]}],
        "containerSecurityContext": {"capabilities": {}},
        "livenessProbe": {"exec": {}}
    });
    let spec = read(&json!({"parallelism": 1, "script": "s", "args": ["--tag", ""], "runner": runner}));
    let written = serde_json::to_value(&spec).unwrap();
    assert_eq!(written["args"], json!(["--tag", ""]));
    let kept = |pointer: &str| written["runner"].pointer(pointer).cloned();
    for (pointer, value) in [
        ("/metadata/labels/empty", json!("")),
        ("/metadata/annotations/empty", json!("")),
        ("/nodeSelector/node-role.kubernetes.io~1load", json!("")),
        (
            "/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/0/labelSelector",
            json!({}),
        ),
        (
            "/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/0/namespaceSelector",
            json!({}),
        ),
        ("/tolerations/0", json!({})),
        ("/env/0/value", json!("")),
        ("/envFrom/0/prefix", json!("")),
        ("/volumes/0/emptyDir", json!({})),
        ("/initContainers/0/command/2", json!("")),
        ("/initContainers/0/args/0", json!("")),
        ("/containerSecurityContext/capabilities", json!({})),
        ("/livenessProbe/exec", json!({})),
    ] {
        assert_eq!(kept(pointer), Some(value), "{pointer}");
    }
}

#[test]
fn quantity_or_setting_of_scuttle_that_a_template_left_empty_is_unset() {
    let spec = read(&json!({
        "parallelism": 1, "script": "s",
        "runner": {"resources": {"limits": {"cpu": "", "memory": null}, "requests": {"cpu": "1", "memory": ""}}},
        "scuttle": {"enabled": "", "istioQuitApi": ""}
    }));
    let resources = &spec.runner.common.resources;
    assert!(resources.limits.is_empty());
    assert_eq!(resources.requests.keys().collect::<Vec<_>>(), ["cpu"]);
    assert_eq!(validated(&spec).unwrap().terms.unsupported, None);
}

#[test]
fn reference_without_a_name_is_accepted_as_kubernetes_does() {
    let spec = read(&json!({
        "parallelism": 1, "script": "s",
        "runner": {"imagePullSecrets": [{}], "envFrom": [{"secretRef": {"optional": true}}]}
    }));
    assert_eq!(spec.runner.common.image_pull_secrets[0].name, "");
    let definition = k6_operator::api::crd::definition(Kind::TestRun);
    let runner = definition
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/runner/properties")
        .unwrap();
    let required = |pointer: &str| runner.pointer(pointer).unwrap().get("required").cloned();
    assert_eq!(required("/imagePullSecrets/items"), None);
    assert_eq!(required("/envFrom/items/properties/secretRef"), None);
    assert_eq!(required("/volumes/items/properties/configMap"), None);
    let key = "/env/items/properties/valueFrom/properties/secretKeyRef";
    assert_eq!(required(key), Some(json!(["key"])));
    // What has a name of its own needs it.
    assert_eq!(required("/env/items"), Some(json!(["name"])));
    assert_eq!(required("/volumes/items"), Some(json!(["name"])));
}

#[test]
fn spec_without_a_script_is_told_so() {
    for script in [
        json!(""),
        json!({}),
        json!({"configMap": {"name": ""}, "localFile": ""}),
        Value::Null,
    ] {
        let spec = read(&json!({"parallelism": 1, "script": script}));
        let told = validated(&spec).unwrap_err().to_string();
        assert!(told.ends_with("it has none of them"), "{script}: {told}");
    }
}
