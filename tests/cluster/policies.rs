//! What users may do: the roles of `manifests/users` and the admission policies of `manifests/policies`, asked of the real
//! API server as users without other rights.

use crate::support::{LIMIT, Test, variable};
use k6_operator::api::Kind;
use serde_json::{Value, json};

/// May make tests, and nothing else.
const DEVELOPER: &str = "developer";
/// May make tests and pods.
const MAKER: &str = "maker";

fn shipped(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(format!("{}/manifests/{path}", variable("K6OP_REPO"))).unwrap();
    serde_saphyr::from_multiple(&text).unwrap()
}

/// Gives the users their rights in the namespace of the test.
fn give_rights(test: &Test) {
    let editor = "--clusterrole=k6-operator-editor-role";
    let users = [format!("--user={DEVELOPER}"), format!("--user={MAKER}")];
    test.kubectl(&["create", "rolebinding", "editors", editor, &users[0], &users[1]]);
    test.kubectl(&["create", "role", "pods", "--verb=create", "--resource=pods"]);
    test.kubectl(&["create", "rolebinding", "pods", "--role=pods", &users[1]]);
}

/// The policies for the namespace of the test alone, as files.
fn policies_of(test: &Test) -> Vec<String> {
    let mut files = Vec::new();
    for path in ["pods", "settings"] {
        for (i, mut object) in shipped(&format!("policies/{path}.yaml")).into_iter().enumerate() {
            let namespace = &test.namespace;
            let named = |name: &Value| json!(format!("{}-{namespace}", name.as_str().unwrap()));
            object["metadata"]["name"] = named(&object["metadata"]["name"]);
            match object["kind"].as_str().unwrap() {
                "ValidatingAdmissionPolicy" => {}
                "ValidatingAdmissionPolicyBinding" => {
                    object["spec"]["policyName"] = named(&object["spec"]["policyName"]);
                    object["spec"]["matchResources"] = json!({"namespaceSelector": {
                        "matchLabels": {"kubernetes.io/metadata.name": namespace}
                    }});
                }
                other => panic!("{other} in {path}.yaml"),
            }
            let file = format!("{path}-{i}.json");
            test.file(&file, &object.to_string());
            files.push(file);
        }
    }
    files
}

fn apply_policies(test: &Test, files: &[String]) {
    for file in files {
        test.kubectl(&["apply", "-f", file]);
    }
}

fn delete_policies(test: &Test, files: &[String]) {
    for file in files {
        test.kubectl(&["delete", "--ignore-not-found", "-f", file]);
    }
}

/// Whether the API server would let the maker use the service account `power`.
fn takes_power(test: &Test) -> bool {
    let fields = suspended(json!({"runner": {"serviceAccountName": "power"}}));
    let file = test.manifest(Kind::K6, "probe", fields);
    let told = test.said(&["apply", "--as", MAKER, "-f", &file, "--dry-run=server"]);
    let refused = told.contains("is not in the list of service accounts");
    assert!(refused || told.contains("created"), "{told}");
    !refused
}

/// A run that is not begun, with these fields.
fn suspended(fields: Value) -> Value {
    let mut spec =
        json!({"parallelism": 1, "script": {"inline": "export default () => {}"}, "suspend": true});
    for (field, value) in fields.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

#[tokio::test]
async fn only_those_who_may_create_pods_make_tests_and_accounts_and_folders_are_those_of_the_list() {
    let test = Test::new("policies").await;
    give_rights(&test);
    let policies = policies_of(&test);
    apply_policies(&test, &policies);
    // An API server has been seen to lose what a policy that is applied again refers to:
    // https://github.com/kubernetes/kubernetes/issues/130887
    for applied in [true, false] {
        // Policies work a moment after they were applied, and those that are applied last come last.
        test.until("the API server knows of it", LIMIT, async || {
            (takes_power(&test) != applied).then_some(())
        })
        .await;
        if applied {
            delete_policies(&test, &policies);
        }
    }
    apply_policies(&test, &policies);
    let made = |user: &str, kind: Kind, name: &str, fields: Value| {
        let file = test.manifest(kind, name, suspended(fields));
        test.kubectl(&["apply", "--as", user, "-f", &file])
    };
    let refused = |user: &str, kind: Kind, name: &str, fields: Value| {
        let file = format!("{name}-refused.json");
        let object = json!({
            "apiVersion": "k6.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": suspended(fields)
        });
        test.file(&file, &object.to_string());
        test.kubectl_refused(&["apply", "--as", user, "-f", &file])
    };
    let pods = "you need the right to create pods in its namespace";
    test.until("the policies work again", LIMIT, async || {
        (!takes_power(&test)).then_some(())
    })
    .await;
    // No expression names a field that the kinds do not have.
    for policy in ["pods", "settings"] {
        let name = format!(
            "validatingadmissionpolicy/k6-operator-{policy}-{}",
            test.namespace
        );
        let told = test.until("the expressions are checked", LIMIT, async || {
            let told = test.kubectl(&["get", &name, "-o", "jsonpath={.status}"]);
            told.contains("typeChecking").then_some(told)
        });
        let told = told.await;
        assert!(!told.contains("expressionWarnings"), "{told}");
    }
    for kind in Kind::ALL {
        let name = kind.as_str().to_lowercase();
        let told = refused(DEVELOPER, kind, &name, json!({}));
        assert!(told.contains(pods), "{told}");
        made(MAKER, kind, &name, json!({}));
        // The spec is another's; what is beside it is not.
        test.kubectl(&["label", "--as", DEVELOPER, &name, &name, "team=a"]);
        let told = refused(DEVELOPER, kind, &name, json!({"parallelism": 2}));
        assert!(told.contains(pods), "{told}");
        made(MAKER, kind, &name, json!({"parallelism": 2}));

        for part in ["podTemplate", "runner", "initializer", "starter"] {
            let told = refused(MAKER, kind, "x", json!({part: {"serviceAccountName": "power"}}));
            assert!(
                told.contains("serviceAccountName: power is not in the list"),
                "{told}"
            );
            assert!(told.contains(&format!("add {}/power", test.namespace)), "{told}");
        }
        for part in ["runner", "initializer", "starter"] {
            let volumes = |path: &str| json!({part: {"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": {"path": path}}]}});
            let told = refused(MAKER, kind, "x", volumes("/etc"));
            assert!(told.contains("hostPath /etc is not in the list"), "{told}");
        }
        let told = test.kubectl_refused(&[
            "patch",
            "--as",
            MAKER,
            &name,
            &name,
            "--subresource=status",
            "--type=merge",
            "-p",
            r#"{"status":{"state":"Finished"}}"#,
        ]);
        assert!(told.contains("/status\""), "{told}");
    }

    let settings = format!("k6-operator-settings-{}", test.namespace);
    let lists = json!([
        {"op": "test", "path": "/spec/variables/0/name", "value": "accounts"},
        {"op": "replace", "path": "/spec/variables/0/expression", "value": format!("['{}/power']", test.namespace)},
        {"op": "test", "path": "/spec/variables/1/name", "value": "folders"},
        {"op": "replace", "path": "/spec/variables/1/expression", "value": "['/data/']"},
    ]);
    test.kubectl(&[
        "patch",
        "validatingadmissionpolicy",
        &settings,
        "--type=json",
        "-p",
        &lists.to_string(),
    ]);
    let power = || {
        json!({"runner": {
            "serviceAccountName": "power", "volumes": [{"name": "b", "hostPath": {"path": "/data/x"}}]
        }, "starter": {"serviceAccountName": ""}})
    };
    test.until("the list is read", LIMIT, async || {
        let file = test.manifest(Kind::K6, "listed", suspended(power()));
        let told = test.said(&["apply", "--as", MAKER, "-f", &file]);
        told.contains("created").then_some(())
    })
    .await;
    for path in ["/data/../etc", "/database"] {
        let volumes = json!({"runner": {"volumes": [{"name": "b", "hostPath": {"path": path}}]}});
        let told = refused(MAKER, Kind::K6, "x", volumes);
        assert!(
            told.contains(&format!("hostPath {path} is not in the list")),
            "{told}"
        );
    }
    delete_policies(&test, &policies);
}

#[tokio::test]
async fn viewer_reads_tests_and_changes_none() {
    let test = Test::new("viewer").await;
    let viewer = "--clusterrole=k6-operator-viewer-role";
    test.kubectl(&["create", "rolebinding", "viewers", viewer, "--user=viewer"]);
    test.apply("seen", suspended(json!({})));
    test.kubectl(&["get", "--as", "viewer", "k6s,testruns", "-o", "yaml"]);
    for command in [
        &["delete", "--as", "viewer", "k6", "seen"][..],
        &["label", "--as", "viewer", "k6", "seen", "a=b"],
        &["get", "--as", "viewer", "pods"],
    ] {
        let told = test.kubectl_refused(command);
        assert!(told.contains("(Forbidden)"), "{told}");
    }
}
