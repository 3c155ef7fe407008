//! What is shipped in `manifests/`, as files.

use crate::objects::{merging, run_of};
use k6_operator::api::{Kind, Spec};
use k6_operator::machine::{Aggregation, ProgramSource, Target};
use k6_operator::objects::*;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Container;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The YAML documents of a file.
fn documents(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(repository().join(path)).unwrap();
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// RFC 2606 reserves the domain `.invalid`: nobody can publish an image by this name.
#[test]
fn default_image_has_a_name_that_nobody_can_own() {
    let kustomization = documents("manifests/operator/kustomization.yaml").remove(0);
    let image = &kustomization["images"][0];
    assert_eq!(image["newName"], "k6-operator.invalid/operator");
    assert_eq!(image["newTag"], "dev");
    let scripts = std::fs::read_to_string(repository().join("tests/cluster/lib.sh")).unwrap();
    assert!(scripts.contains("\ndefault_image=k6-operator.invalid/operator:dev\n"));
}

#[test]
fn changelog_tells_of_the_version_of_the_program_before_all_others() {
    let text = std::fs::read_to_string(repository().join("CHANGELOG.md")).unwrap();
    let mut headings = text.lines().filter(|line| line.starts_with("## "));
    let first = headings.find(|heading| *heading != "## Unreleased");
    let version = concat!("## ", env!("CARGO_PKG_VERSION"));
    assert!(first.is_some_and(|first| first.starts_with(version)), "{first:?}");
}

/// The objects of a run with two runners.
fn jobs() -> BTreeMap<&'static str, Job> {
    let owner = Owner {
        kind: Kind::K6,
        name: "sample".to_owned(),
        namespace: "team-a".to_owned(),
        uid: "5f2a".to_owned(),
        generation: 1,
        attempt: 1,
    };
    let spec: Spec = serde_json::from_value(json!({"parallelism": 2, "script": "s"})).unwrap();
    let defaults = Defaults {
        runner_image: "grafana/k6:1.1.0".to_owned(),
        starter_image: "k6-operator.invalid/operator:dev".to_owned(),
        common: Common::default(),
    };
    let aggregation = Aggregation {
        output: "opentelemetry".to_owned(),
        k6_version: "1.1.0".to_owned(),
        setup_seconds: Some(60),
        teardown_seconds: Some(60),
        system_tags: None,
        without_own_tags: false,
        script_metrics: Default::default(),
    };
    let targets = [Target {
        runner: 1,
        ip: "10.88.0.7".to_owned(),
    }];
    BTreeMap::from([
        (
            "initializer",
            initializer(&run_of(&owner, &spec, &defaults), ProgramSource::Copied),
        ),
        (
            "runner",
            runner(
                &merging(run_of(&owner, &spec, &defaults), &aggregation),
                (1, 2),
                Some("10.96.0.9:4318"),
            ),
        ),
        (
            "starter",
            starter(&merging(run_of(&owner, &spec, &defaults), &aggregation), &targets),
        ),
        (
            "stopper",
            stopper(&merging(run_of(&owner, &spec, &defaults), &aggregation), &targets),
        ),
        (
            "aggregator",
            aggregator(&merging(run_of(&owner, &spec, &defaults), &aggregation), "{}"),
        ),
    ])
}

fn containers(job: &Job) -> impl Iterator<Item = &Container> {
    let pod = job.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
    pod.init_containers.iter().flatten().chain(&pod.containers)
}

fn labels(job: &Job) -> Value {
    let template = &job.spec.as_ref().unwrap().template;
    json!(template.metadata.as_ref().unwrap().labels)
}

/// Who opens a connection to whom and at which port, by the table of docs/operating.md.
fn flows() -> BTreeSet<(String, String, i64)> {
    let text = std::fs::read_to_string(repository().join("docs/operating.md")).unwrap();
    let table = text.split("\n## Network").nth(1).unwrap();
    let rows = table.lines().skip_while(|line| !line.starts_with("|---"));
    let rows = rows.skip(1).take_while(|line| line.starts_with('|'));
    let mut flows = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [from, to, port] = cells[..] else {
            panic!("{row}");
        };
        let Some(number) = port.strip_prefix("TCP ") else {
            continue;
        };
        let number = number.split(|c: char| !c.is_ascii_digit()).next().unwrap();
        for (from, to) in from
            .split(", ")
            .flat_map(|from| to.split(", ").map(move |to| (from, to)))
        {
            flows.insert((from.to_owned(), to.to_owned(), number.parse().unwrap()));
        }
    }
    flows
}

#[test]
fn table_of_flows_has_the_ports_that_pods_declare_and_no_others() {
    let jobs = jobs();
    let mut declared = BTreeSet::new();
    for (part, job) in &jobs {
        for port in containers(job).flat_map(|container| container.ports.iter().flatten()) {
            declared.insert((part.to_string(), i64::from(port.container_port)));
        }
    }
    let deployment = documents("manifests/operator/deployment.yaml").remove(0);
    let manager = &deployment["spec"]["template"]["spec"]["containers"][0];
    for port in manager["ports"].as_array().unwrap() {
        declared.insert(("operator".to_owned(), port["containerPort"].as_i64().unwrap()));
    }
    let told: BTreeSet<_> = flows().into_iter().map(|(_, to, port)| (to, port)).collect();
    assert_eq!(told, declared);
}

/// Whoever is given the address of a pod has a row in the table, and nobody else of the run has one.
#[test]
fn table_of_flows_has_the_parts_that_are_given_an_address() {
    let mut given = BTreeSet::new();
    for (part, job) in jobs() {
        for container in containers(&job) {
            let words = container.command.iter().chain(&container.args).flatten();
            let values = container
                .env
                .iter()
                .flatten()
                .filter_map(|variable| variable.value.as_ref());
            // The address at which the part itself listens.
            let words = words.chain(values).filter(|word| !word.starts_with("--listen="));
            for word in words {
                for (to, port) in [("runner", 6565), ("aggregator", 4318)] {
                    if word.contains(&format!(":{port}")) {
                        given.insert((part.to_owned(), to.to_owned(), port));
                    }
                }
            }
        }
    }
    let parts = ["initializer", "runner", "starter", "stopper", "aggregator"];
    let told = flows()
        .into_iter()
        .filter(|(from, _, _)| parts.contains(&from.as_str()));
    assert_eq!(told.collect::<BTreeSet<_>>(), given);
}

/// A peer of a connection: the labels of its namespace, whether that is the pod's own, and its labels.
struct Peer {
    namespace: Value,
    is_beside: bool,
    labels: Value,
}

/// Whether a label selector selects: <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/>
fn selects(selector: &Value, labels: &Value) -> bool {
    let equal = selector["matchLabels"].as_object().into_iter().flatten();
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    let holds = |expression: &Value| {
        let found = &labels[expression["key"].as_str().unwrap()];
        match expression["operator"].as_str().unwrap() {
            "Exists" => found.is_string(),
            "In" => expression["values"].as_array().unwrap().contains(found),
            other => panic!("{other}"),
        }
    };
    equal.into_iter().all(|(key, value)| labels[key] == *value) && expressions.into_iter().all(holds)
}

/// Whether the policies let a connection through, by
/// <https://kubernetes.io/docs/concepts/services-networking/network-policies/>: what no policy selects is open.
fn lets(policies: &[Value], direction: &str, pod: &Value, peer: &Peer, port: i64) -> bool {
    let (rules, peers) = match direction {
        "Ingress" => ("ingress", "from"),
        "Egress" => ("egress", "to"),
        other => panic!("{other}"),
    };
    let types = |policy: &Value| {
        policy["spec"]["policyTypes"]
            .as_array()
            .unwrap()
            .contains(&json!(direction))
    };
    let of_peer = |wanted: &Value| {
        let is_there = if wanted["namespaceSelector"].is_null() {
            peer.is_beside
        } else {
            selects(&wanted["namespaceSelector"], &peer.namespace)
        };
        is_there && selects(&wanted["podSelector"], &peer.labels)
    };
    let allows = |rule: &Value| {
        let ports = rule["ports"].as_array().unwrap();
        let is_port = ports
            .iter()
            .any(|wanted| wanted["protocol"] == "TCP" && wanted["port"] == port);
        is_port && rule[peers].as_array().is_none_or(|all| all.iter().any(of_peer))
    };
    let mut isolating = policies
        .iter()
        .filter(|policy| types(policy) && selects(&policy["spec"]["podSelector"], pod))
        .peekable();
    isolating.peek().is_none()
        || isolating.any(|policy| policy["spec"][rules].as_array().into_iter().flatten().any(allows))
}

/// All that may want to reach a pod, by the names of the table.
fn peers() -> Vec<(&'static str, Peer)> {
    let beside = |labels: Value| Peer {
        namespace: json!({}),
        is_beside: true,
        labels,
    };
    let mut peers: Vec<_> = jobs()
        .iter()
        .map(|(part, job)| (*part, beside(labels(job))))
        .collect();
    peers.push(("neighbour", beside(json!({"app": "shop"}))));
    let elsewhere = |namespace: Value, labels: Value| Peer {
        namespace,
        is_beside: false,
        labels,
    };
    peers.push(("Prometheus", elsewhere(json!({"metrics": "enabled"}), json!({}))));
    // A pod of another team, even one that calls itself a starter.
    peers.push((
        "stranger",
        elsewhere(json!({}), json!({"k6.io/component": "starter"})),
    ));
    peers
}

#[test]
fn shipped_policies_let_in_whom_the_table_names_and_nobody_else() {
    let flows = flows();
    let deployment = documents("manifests/operator/deployment.yaml").remove(0);
    let mut pods: Vec<_> = jobs()
        .iter()
        .map(|(part, job)| {
            (
                *part,
                labels(job),
                documents("manifests/network/runs/ingress.yaml"),
            )
        })
        .collect();
    pods.push((
        "operator",
        deployment["spec"]["template"]["metadata"]["labels"].clone(),
        documents("manifests/network/operator/policy.yaml"),
    ));
    for (to, pod, policies) in &pods {
        for (from, mut peer) in peers() {
            peer.is_beside &= *to != "operator";
            for port in [4318, 6565, 8080, 8081] {
                let told = flows.contains(&(from.to_owned(), to.to_string(), port));
                assert_eq!(
                    lets(policies, "Ingress", pod, &peer, port),
                    told,
                    "{from} to {to}:{port}"
                );
            }
        }
    }
}

#[test]
fn shipped_policies_for_namespaces_that_deny_egress_let_out_what_the_table_names() {
    let flows = flows();
    let policies = documents("manifests/network/runs-egress/egress.yaml");
    let parts = ["initializer", "runner", "starter", "stopper", "aggregator"];
    let denied = json!({"spec": {"podSelector": {}, "policyTypes": ["Egress"]}});
    let policies: Vec<Value> = policies.into_iter().chain([denied]).collect();
    for (from, job) in jobs() {
        for (to, peer) in peers() {
            for port in [4318, 6565, 8080, 8081] {
                let told = parts.contains(&to) && flows.contains(&(from.to_owned(), to.to_owned(), port));
                let out = lets(&policies, "Egress", &labels(&job), &peer, port);
                assert_eq!(out, told, "{from} to {to}:{port}");
            }
        }
    }
}

/// Whether a licence expression can be met by the allowed ones: <https://spdx.github.io/spdx-spec/v2.3/SPDX-license-expressions/>.
/// Older crates write `/` for OR.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    fn any(words: &mut std::iter::Peekable<std::vec::IntoIter<String>>, allowed: &BTreeSet<String>) -> bool {
        let mut met = all(words, allowed);
        while words.next_if(|word| word == "OR" || word == "/").is_some() {
            met |= all(words, allowed);
        }
        met
    }
    fn all(words: &mut std::iter::Peekable<std::vec::IntoIter<String>>, allowed: &BTreeSet<String>) -> bool {
        let mut met = one(words, allowed);
        while words.next_if_eq("AND").is_some() {
            met &= one(words, allowed);
        }
        met
    }
    fn one(words: &mut std::iter::Peekable<std::vec::IntoIter<String>>, allowed: &BTreeSet<String>) -> bool {
        let mut word = words.next().expect("a licence");
        if word == "(" {
            let met = any(words, allowed);
            assert_eq!(words.next().as_deref(), Some(")"));
            return met;
        }
        if words.next_if_eq("WITH").is_some() {
            word = format!("{word} WITH {}", words.next().expect("an exception"));
        }
        allowed.contains(&word)
    }
    let spaced = ["(", ")", "/"]
        .into_iter()
        .fold(expression.to_owned(), |text, sign| {
            text.replace(sign, &format!(" {sign} "))
        });
    let words: Vec<String> = spaced.split_whitespace().map(str::to_owned).collect();
    let mut words = words.into_iter().peekable();
    let met = any(&mut words, allowed);
    assert_eq!(words.next(), None, "{expression}");
    met
}

/// What `make deny` checks with cargo-deny, which takes long to build: licences and sources, and that nothing is taken in
/// any version.
#[test]
fn dependencies_are_of_crates_io_under_licences_that_deny_toml_allows() {
    let deny = std::fs::read_to_string(repository().join("deny.toml")).unwrap();
    let list = deny.split("\n[licenses]").nth(1).unwrap();
    let list = list.split("allow = [").nth(1).unwrap().split(']').next().unwrap();
    let allowed: BTreeSet<String> = list.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(allowed.contains("MIT") && !is_allowed("GPL-3.0-only AND MIT", &allowed));
    assert!(
        is_allowed("(GPL-2.0 OR MIT) AND BSD-3-Clause", &allowed) && is_allowed("Unlicense/MIT", &allowed)
    );
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version=1"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 200);
    for package in packages.iter().filter(|package| package["name"] != "k6-operator") {
        let name = &package["name"];
        let licence = package["license"]
            .as_str()
            .unwrap_or_else(|| panic!("{name} has no licence"));
        assert!(is_allowed(licence, &allowed), "{name}: {licence}");
        assert_eq!(
            package["source"], "registry+https://github.com/rust-lang/crates.io-index",
            "{name}"
        );
    }
    let own = packages
        .iter()
        .find(|package| package["name"] == "k6-operator")
        .unwrap();
    for dependency in own["dependencies"].as_array().unwrap() {
        assert_ne!(dependency["req"], "*", "{dependency}");
    }
}
