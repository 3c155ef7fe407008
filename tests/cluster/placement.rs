//! Where runners are placed when there are many nodes: those that `tests/cluster/nodes` simulates.
//!
//! A runner there is Ready though no k6 runs, so no run can be started: its starter, whose image can't be
//! pulled, holds it, and with it the runners, until the test has seen where they are. The initializer has
//! settings of its own, which leave it on the real node: there k6 inspects the script.

use crate::support::{Test, sleeps};
use k6_operator::machine::{Reason, StateName};
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const ZONE: &str = "topology.kubernetes.io/zone";

/// A test with a pool of simulated nodes for itself.
struct Placement {
    test: Test,
    pool: &'static str,
    /// The zone of each node of the pool.
    zones: BTreeMap<String, String>,
}

fn spec(parallelism: usize, runner: Value) -> Value {
    json!({
        "parallelism": parallelism, "script": "script", "initializer": {"nodeSelector": {"kubernetes.io/os": "linux"}}, "runner": runner,
        "starter": {"image": "registry.invalid/none:1"},
        // The message names what is waited for first, which could be the aggregator.
        "aggregation": {"enabled": false}
    })
}

fn separate(mut spec: Value) -> Value {
    spec["separate"] = json!(true);
    spec
}

impl Placement {
    async fn new(pool: &'static str) -> Self {
        let test = Test::new(pool).await;
        test.script("script", &sleeps(20, 1)).await;
        let all: Api<Node> = Api::all(test.client.clone());
        let of_pool = ListParams::default().labels(&format!("type=kwok,pool={pool}"));
        let nodes = all.list(&of_pool).await.unwrap();
        let zone = |node: &Node| (node.name_any(), node.labels()[ZONE].clone());
        let zones: BTreeMap<String, String> = nodes.iter().map(zone).collect();
        assert!(!zones.is_empty(), "no node is in the pool {pool}");
        Self { test, pool, zones }
    }

    /// What a runner needs to come to a node of the pool, and only there.
    fn in_pool(&self) -> Value {
        json!({
            "nodeSelector": {"pool": self.pool},
            "tolerations": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]
        })
    }

    /// The node of each runner, when all are placed and Ready.
    async fn nodes(&self, run: &str, parallelism: usize) -> Vec<String> {
        self.test.reaches(run, StateName::Starting).await;
        let runners = self.test.pods_of(run, "runner").await;
        assert_eq!(runners.len(), parallelism);
        runners
            .into_iter()
            .map(|pod| pod.spec.unwrap().node_name.unwrap())
            .collect()
    }

    /// Deletes a run, with all that the simulated nodes hold of it.
    async fn ends(self, runs: &[&str]) {
        for run in runs {
            self.test.kubectl(&["delete", "k6", run, "--timeout=10s"]);
        }
        self.test.nothing_left().await;
    }
}

#[tokio::test]
async fn eight_separate_runners_stand_on_eight_nodes() {
    let place = Placement::new("eight").await;
    place.test.apply("eight", separate(spec(8, place.in_pool())));
    let nodes: BTreeSet<String> = place.nodes("eight", 8).await.into_iter().collect();
    assert_eq!(nodes.len(), 8, "{nodes:?}");
    place.ends(&["eight"]).await;
}

#[tokio::test]
async fn two_separate_tests_share_no_node() {
    let place = Placement::new("share").await;
    place.test.apply("left", separate(spec(4, place.in_pool())));
    place.test.apply("right", separate(spec(4, place.in_pool())));
    let left = place.nodes("left", 4).await;
    let right = place.nodes("right", 4).await;
    let both: BTreeSet<&String> = left.iter().chain(&right).collect();
    assert_eq!(both.len(), 8, "{left:?} {right:?}");
    place.ends(&["left", "right"]).await;
}

#[tokio::test]
async fn an_impossible_separate_ends_at_the_deadline_with_the_schedulers_reason() {
    let place = Placement::new("many").await;
    let (nodes, runners) = (place.zones.len(), place.zones.len() + 1);
    let mut spec = separate(spec(runners, place.in_pool()));
    // Those that have a node are Ready long before.
    spec["timeouts"] = json!({"start": "25s"});
    place.test.apply("many", spec);
    let ready = format!("{nodes} of {runners} are");
    let words = [&ready, "none was started", "didn't match pod anti-affinity rules"];
    let status = place
        .test
        .errs("many", Reason::StartDeadlineExceeded, &words)
        .await;
    assert_eq!(status.start_time, None);
    // Those that were ready are gone from their nodes.
    place.test.only_left(&["many-initializer"]).await;
}

#[tokio::test]
async fn runners_spread_over_zones_as_asked() {
    let place = Placement::new("zones").await;
    let mut runner = place.in_pool();
    runner["topologySpreadConstraints"] = json!([{
        "topologyKey": ZONE, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"k6_cr": "zones", "runner": "true"}}
    }]);
    place.test.apply("zones", spec(8, runner));
    let mut in_zone: BTreeMap<&str, u32> = BTreeMap::new();
    for node in place.nodes("zones", 8).await {
        *in_zone.entry(&place.zones[&node]).or_default() += 1;
    }
    // One runner on each node would be another picture: most nodes are in one zone.
    let mut counts: Vec<u32> = in_zone.values().copied().collect();
    counts.sort_unstable();
    assert_eq!(counts, [2, 3, 3], "{in_zone:?}");
    place.ends(&["zones"]).await;
}

#[tokio::test]
async fn runners_go_only_where_node_selector_and_tolerations_let_them() {
    let place = Placement::new("select").await;
    // Nothing but the taint keeps this one from the nodes it selects.
    let mut refused = spec(2, json!({"nodeSelector": {"pool": "select"}}));
    refused["timeouts"] = json!({"start": "8s"});
    place.test.apply("refused", refused);
    let mut runner = place.in_pool();
    runner["nodeSelector"][ZONE] = json!("b");
    place.test.apply("zone-b", spec(8, runner));
    for node in place.nodes("zone-b", 8).await {
        assert_eq!(place.zones[&node], "b", "{node}");
    }
    let words = ["0 of 2 are", "untolerated taint"];
    place
        .test
        .errs("refused", Reason::StartDeadlineExceeded, &words)
        .await;
    place.ends(&["refused", "zone-b"]).await;
}
