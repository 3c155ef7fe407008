//! The policies of `manifests/network`, in a cluster that enforces them: `tests/cluster/network` runs these tests.

use crate::attacks::{attack, host};
use crate::support::{Test, operator_pods, variable};
use k6_operator::machine::{Reason, RunResult, StateName};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use std::time::Duration;

/// Asks the server under load, and in setup() the API server, to which every other pod has a way.
const SCRIPT: &str = r"
import http from 'k6/http';
import { check, sleep } from 'k6';
import { Counter } from 'k6/metrics';
const escaped = new Counter('escaped');
export const options = {
  insecureSkipTLSVerify: true,
  scenarios: { all: { executor: 'constant-vus', vus: 4, duration: __ENV.DURATION } },
  thresholds: { checks: ['rate==1'], escaped: [__ENV.ESCAPED] },
};
export function setup() {
  return http.get(`https://${__ENV.API}/healthz`, { timeout: '3s' }).status === 200 ? 1 : 0;
}
export default function (out) {
  escaped.add(out);
  const answer = http.get(__ENV.TARGET, { timeout: '10s' });
  check(answer, { 'the server under load answers': (answer) => answer.status === 200 });
  sleep(0.5);
}
export function teardown() {}
";

fn text(path: &str) -> String {
    std::fs::read_to_string(format!("{}/{path}", variable("K6OP_REPO"))).unwrap()
}

/// The policy that docs/security.md gives as an example for a namespace that denies egress.
fn policy_of_docs() -> String {
    let docs = text("docs/security.md");
    let blocks = docs.split("```yaml\n").skip(1);
    let blocks: Vec<_> = blocks.filter_map(|block| block.split("```").next()).collect();
    let policy = blocks.iter().find(|block| block.contains("name: k6-targets"));
    let policy = policy.unwrap().replace(", namespace: team-a", "");
    assert!(policy.contains("kubernetes.io/metadata.name: shop"), "{policy}");
    policy.replace("name: shop", "name: k6-target")
}

fn get(pod: &Pod, port: u16, path: &str) -> Value {
    let url = format!("http://{}:{port}{path}", host(pod));
    json!({"method": "GET", "url": url, "headers": {}, "body": ""})
}

/// Each port of a run's pods, asked without a token for what may be read without one.
fn requests(runners: &[Pod], aggregators: &[Pod]) -> Vec<Value> {
    let mut all: Vec<Value> = runners.iter().map(|pod| get(pod, 6565, "/v1/status")).collect();
    all.extend(aggregators.iter().map(|pod| get(pod, 4318, "/metrics")));
    all
}

/// Which of the answers came.
fn answered(answers: &[Value]) -> Vec<bool> {
    answers.iter().map(|answer| answer["status"] == 200).collect()
}

fn spec(duration: &str, escaped: &str) -> Value {
    let env = json!([
        {"name": "DURATION", "value": duration}, {"name": "ESCAPED", "value": escaped},
        {"name": "TARGET", "value": format!("{}/", variable("K6OP_TARGET"))},
        {"name": "API", "value": "kubernetes.default.svc"}
    ]);
    json!({"parallelism": 2, "script": "reaching", "runner": {"env": env}})
}

async fn label(test: &Test, key: &str, value: &str) {
    let namespaces: Api<Namespace> = Api::all(test.client.clone());
    let labels = json!({"metadata": {"labels": {key: value}}});
    let how = PatchParams::default();
    namespaces
        .patch(&test.namespace, &how, &Patch::Merge(&labels))
        .await
        .unwrap();
}

#[tokio::test]
#[ignore = "needs network policies that are enforced: tests/cluster/network"]
async fn run_works_in_a_namespace_that_denies_everything_and_only_those_of_the_table_reach_its_pods() {
    let test = Test::alone("denied").await;
    let far = test.elsewhere("far").await;
    let scraper = test.elsewhere("scraper").await;
    label(&scraper, "metrics", "enabled").await;
    let denied = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny-all"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    });
    // That what the attacker sends is not refused where it leaves.
    let near_sends = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "attacker"},
        "spec": {"podSelector": {"matchLabels": {"role": "attacker"}}, "policyTypes": ["Egress"], "egress": [{}]}
    });
    let dns = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "dns"},
        "spec": {
            "podSelector": {"matchLabels": {"k6.io/component": "runner"}}, "policyTypes": ["Egress"],
            "egress": [{"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}]
        }
    });
    let policies = [
        ("denied.json", denied.to_string()),
        ("near.json", near_sends.to_string()),
        // The DNS of this cluster is no pod.
        ("dns.json", dns.to_string()),
        ("ingress.yaml", text("manifests/network/runs/ingress.yaml")),
        ("egress.yaml", text("manifests/network/runs-egress/egress.yaml")),
        ("targets.yaml", policy_of_docs()),
    ];
    for (file, policy) in &policies {
        test.file(file, policy);
        test.kubectl(&["apply", "-f", file]);
    }
    let operator = format!("{}/manifests/network/operator", variable("K6OP_REPO"));
    test.kubectl(&["apply", "-k", &operator]);
    test.script("reaching", SCRIPT).await;

    test.apply("reached", spec("150s", "count==0"));
    test.reaches("reached", StateName::Started).await;
    let runners = test.pods_of("reached", "runner").await;
    let aggregators = test.pods_of("reached", "aggregator").await;
    assert_eq!((runners.len(), aggregators.len()), (2, 1));
    let of_run = requests(&runners, &aggregators);
    let operators = operator_pods(&test).list(&ListParams::default()).await.unwrap();
    let of_operator: Vec<Value> = operators
        .iter()
        .flat_map(|pod| [(8080, "/metrics"), (8081, "/healthz")].map(|(port, path)| get(pod, port, path)))
        .collect();
    let both = [of_run.clone(), of_operator.clone()].concat();
    let (from_far, from_near, from_scraper) = tokio::join!(
        attack(&far, "far", &both),
        attack(&test, "near", &both),
        attack(&scraper, "scraper", &both),
    );
    assert!(!answered(&from_far).contains(&true), "{from_far:?}");
    assert!(!answered(&from_near).contains(&true), "{from_near:?}");
    let metrics = both.iter().map(|request| {
        let url = request["url"].as_str().unwrap();
        url.ends_with(":4318/metrics") || url.ends_with(":8080/metrics")
    });
    assert_eq!(
        answered(&from_scraper),
        metrics.collect::<Vec<_>>(),
        "{from_scraper:?}"
    );
    test.passes("reached").await;

    // The stopper has its way too.
    test.apply("stopped", spec("300s", "count==0"));
    test.reaches("stopped", StateName::Started).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let stop = [
        "patch",
        "k6",
        "stopped",
        "--type=merge",
        "-p",
        r#"{"spec":{"stop":true}}"#,
    ];
    test.kubectl(&stop);
    let status = test
        .ends("stopped", RunResult::Aborted, Reason::StopRequested)
        .await;
    let message = status.message.unwrap_or_default();
    assert!(!message.contains("deleted"), "{message}");

    // It was the policies.
    for (file, _) in &policies {
        test.kubectl(&["delete", "-f", file]);
    }
    test.kubectl(&["delete", "-k", &operator]);
    test.apply("open", spec("60s", "count>0"));
    test.reaches("open", StateName::Started).await;
    let runners = test.pods_of("open", "runner").await;
    let aggregators = test.pods_of("open", "aggregator").await;
    let all = [requests(&runners, &aggregators), of_operator].concat();
    let (from_far, from_near) =
        tokio::join!(attack(&far, "far-open", &all), attack(&test, "near-open", &all));
    for answers in [from_far, from_near] {
        assert!(!answered(&answers).contains(&false), "{answers:?}");
    }
    test.passes("open").await;
}
