//! The operator with the rights of certain namespaces, and no others.
//!
//! Those that are ignored need `K6OP_NAMESPACES`: they go on in namespaces that the operator does not watch.

use crate::support::{LIMIT, Test, http, sleeps, variable};
use k6_operator::api::{Kind, Status};
use kube::api::ListParams;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// An operator outside the cluster, with a token of its own. Ends with the test.
struct Outside {
    process: Child,
    health: u16,
}

impl Outside {
    /// Watches these namespaces, as the default service account of the test's namespace.
    fn start(test: &Test, namespaces: &str) -> Self {
        let token = test.kubectl(&["create", "token", "default"]);
        let config = test.kubectl(&["config", "view", "--raw", "--flatten", "-o", "json"]);
        let mut config: Value = serde_json::from_str(&config).unwrap();
        config["users"][0]["user"] = json!({"token": token.trim()});
        test.file("outside.json", &config.to_string());
        let health = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = Command::new(env!("CARGO_BIN_EXE_k6-operator"))
            .args(["run", "--starter-image", "k6-operator.invalid/operator:dev"])
            .args(["--runner-image", &variable("K6OP_K6_IMAGE")])
            .args(["--metrics-bind-address", "127.0.0.1:0"])
            .args(["--health-probe-bind-address", &format!("127.0.0.1:{health}")])
            .args(["--watch-namespaces", namespaces])
            .env("KUBECONFIG", test.kubeconfig().with_file_name("outside.json"))
            .stderr(Stdio::null())
            .spawn();
        Self {
            process: process.unwrap(),
            health,
        }
    }

    /// What it says to a check of its health.
    async fn says(&self, test: &Test, path: &str) -> String {
        test.until("the operator answers", LIMIT, async || {
            let reached = std::net::TcpStream::connect(("127.0.0.1", self.health));
            reached
                .is_ok()
                .then(|| http("GET", "127.0.0.1", self.health, path).0)
        })
        .await
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn manifests(folder: &str) -> String {
    let path: PathBuf = [&variable("K6OP_REPO"), "manifests", folder].iter().collect();
    path.to_string_lossy().into_owned()
}

/// Lets the test's default service account run tests in this namespace.
fn admit(test: &Test, namespace: &str) {
    test.kubectl(&["apply", "-n", namespace, "-k", &manifests("namespaced/access")]);
    let account = format!("--serviceaccount={}:default", test.namespace);
    let role = "--role=k6-operator-manager-role";
    test.kubectl(&[
        "create",
        "rolebinding",
        "outside",
        "-n",
        namespace,
        role,
        &account,
    ]);
}

/// What kustomize makes of a folder; of the long definitions only their kind.
fn documents(test: &Test, folder: &str) -> Vec<Value> {
    let built = test.kubectl(&["kustomize", &manifests(folder)]);
    let parsed = |text: &str| serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let documents = built.split("\n---\n");
    documents
        .map(|text| match text.contains("\nkind: CustomResourceDefinition\n") {
            true => json!({"kind": "CustomResourceDefinition"}),
            false => parsed(text),
        })
        .collect()
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    documents.iter().filter(|object| object["kind"] == kind).collect()
}

#[tokio::test]
async fn a_namespaced_install_has_the_same_rules_and_nothing_of_the_cluster_but_its_definitions() {
    let test = Test::new("manifests").await;
    let whole = documents(&test, "default");
    let roles = of_kind(&whole, "ClusterRole");
    let named = |name: &'static str| {
        let roles = roles.iter().copied();
        roles.filter(move |role| role["metadata"]["name"] == name)
    };
    let [wide] = named("k6-operator-manager-role").collect::<Vec<_>>()[..] else {
        panic!("one ClusterRole of the operator: {whole:?}");
    };
    let users = ["k6-operator-viewer-role", "k6-operator-editor-role"].map(|name| named(name).count());
    assert_eq!((roles.len(), users), (3, [1, 1]));
    for rule in roles.iter().flat_map(|role| role["rules"].as_array().unwrap()) {
        for field in ["apiGroups", "resources", "verbs"] {
            let words: Vec<&str> = rule[field]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .collect();
            assert!(!words.iter().any(|word| word.contains('*')), "{rule}");
            // None is read.
            let is_of_secrets = field == "resources" && words.contains(&"secrets");
            let verbs = rule["verbs"].as_array().unwrap();
            assert!(!is_of_secrets || verbs == &["create"], "{rule}");
        }
    }

    for (folder, namespaces) in [
        ("namespaced", vec!["k6-operator-system"]),
        (
            "samples/namespaces",
            vec!["k6-operator-system", "team-a", "team-b"],
        ),
    ] {
        let objects = documents(&test, folder);
        let [roles, bindings] = ["Role", "RoleBinding"].map(|kind| {
            let (lease, tests): (Vec<&Value>, Vec<&Value>) =
                of_kind(&objects, kind).into_iter().partition(|object| {
                    let name = object["metadata"]["name"].as_str().unwrap();
                    name.contains("leader-election")
                });
            // That of the Lease is where the operator is, and only there.
            assert_eq!(lease.len(), 1, "{folder}");
            assert_eq!(
                lease[0]["metadata"]["namespace"], "k6-operator-system",
                "{folder}"
            );
            tests
        });
        assert_eq!(
            (roles.len(), bindings.len()),
            (namespaces.len(), namespaces.len()),
            "{folder}"
        );
        for ((role, binding), namespace) in roles.iter().zip(bindings).zip(namespaces) {
            assert_eq!(role["rules"], wide["rules"], "{folder}");
            assert_eq!(role["metadata"]["namespace"], namespace, "{folder}");
            assert_eq!(binding["metadata"]["namespace"], namespace, "{folder}");
            assert_eq!(binding["roleRef"]["kind"], "Role", "{folder}");
            assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"], "{folder}");
            let subject = json!([{
                "kind": "ServiceAccount", "name": "k6-operator-controller-manager", "namespace": "k6-operator-system"
            }]);
            assert_eq!(binding["subjects"], subject, "{folder}");
        }
        // What belongs to no namespace.
        let of_cluster: Vec<&Value> = objects
            .iter()
            .filter(|object| object["metadata"]["namespace"].is_null())
            .map(|object| &object["kind"])
            .collect();
        let definition = "CustomResourceDefinition";
        assert_eq!(of_cluster, ["Namespace", definition, definition], "{folder}");
    }
}

#[tokio::test]
#[ignore = "needs K6OP_NAMESPACES"]
async fn a_test_in_a_namespace_that_is_not_watched_is_left_alone() {
    let watched = Test::new("watched").await;
    let test = watched.elsewhere("unwatched").await;
    test.script("one", &sleeps(1, 1)).await;
    test.apply("alone", json!({"parallelism": 1, "script": "one"}));
    let file = test.manifest(
        Kind::TestRun,
        "alone-too",
        json!({
            "parallelism": 1, "script": {"configMap": {"name": "one"}}
        }),
    );
    test.kubectl(&["apply", "-f", &file]);
    // Meanwhile the operator does its work where it watches.
    watched.script("one", &sleeps(1, 1)).await;
    watched.apply("served", json!({"parallelism": 1, "script": "one"}));
    watched.passes("served").await;

    for (kind, name) in [(Kind::K6, "alone"), (Kind::TestRun, "alone-too")] {
        // As the definition gives it to each new resource.
        let unseen = Status {
            observed_generation: Some(-1),
            ..Status::default()
        };
        assert_eq!(
            test.of(kind).get(name).await.unwrap().status,
            Some(unseen),
            "{name}"
        );
    }
    assert_eq!(test.job_names().await, Vec::<String>::new());
    let pods = test.pods().list(&ListParams::default()).await.unwrap().items;
    assert!(pods.is_empty(), "{pods:?}");
    // It does not even look.
    assert_eq!(test.operator_requests(), []);
}

#[tokio::test]
#[ignore = "needs K6OP_NAMESPACES"]
async fn a_namespace_that_is_missing_or_gives_no_rights_does_not_keep_the_operator_from_the_others() {
    let watched = Test::new("watched").await;
    let (test, late) = (watched.elsewhere("rights").await, watched.elsewhere("late").await);
    let missing = format!("{}-missing", test.namespace);
    let namespaces = format!("{},{},{missing}", test.namespace, late.namespace);
    for test in [&test, &late] {
        test.script("one", &sleeps(1, 1)).await;
        test.apply("served", json!({"parallelism": 1, "script": "one"}));
    }
    let outside = Outside::start(&test, &namespaces);
    // It has no rights anywhere, is alive, and says that it does not work.
    let (health, ready) = (
        outside.says(&test, "/healthz").await,
        outside.says(&test, "/readyz").await,
    );
    assert!(health.contains(" 200 "), "{health}");
    assert!(ready.contains(" 503 "), "{ready}");

    admit(&test, &test.namespace);
    test.passes("served").await;
    let ready = outside.says(&test, "/readyz").await;
    assert!(ready.contains(" 200 "), "{ready}");
    assert_eq!(late.status("served").await.state, None);

    // No restart is needed for a namespace that is admitted, or made, later.
    admit(&test, &late.namespace);
    test.kubectl(&["create", "namespace", &missing]);
    admit(&test, &missing);
    late.passes("served").await;
    let in_missing = ["-n", &missing];
    let script = [
        "create",
        "configmap",
        "one",
        "--from-literal=test.js=export default function () {}",
    ];
    test.kubectl(&[&script[..], &in_missing].concat());
    let file = test.manifest(Kind::K6, "served", json!({"parallelism": 1, "script": "one"}));
    test.kubectl(&[&["apply", "-f", &file][..], &in_missing].concat());
    let finished = [
        "wait",
        "k6/served",
        "--for=jsonpath={.status.result}=Passed",
        "--timeout=120s",
    ];
    test.kubectl(&[&finished[..], &in_missing].concat());
    let deleted = test.kubectl(&["delete", "namespace", &missing, "--wait=false"]);
    assert!(deleted.contains("deleted"), "{deleted}");
}
