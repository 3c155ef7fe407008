//! What a script's handleSummary() receives, and what tools find that read the logs of runners.

use crate::aggregation::documents;
use crate::run::Run;
use crate::support::Test;
use k6_operator::api::Status;
use kube::ResourceExt;
use serde_json::{Value, json};

/// Says what it receives, and returns it as the only words of k6.
const SCRIPT: &str = "import { check } from 'k6';
export const options = { vus: 4, iterations: 20, thresholds: { checks: ['rate==1'] } };
export default function () { check(__ENV.TARGET, { 'there is a target': (target) => target === 'here' }); }
export async function handleSummary(data) {
  await new Promise((done) => setTimeout(done, 10));
  return { stdout: JSON.stringify(data), 'shape.txt': data.results ? 'machine-readable' : 'former' };
}
";

/// How many iterations a summary has, in either shape.
fn iterations(summary: &Value) -> u64 {
    let former = &summary["metrics"]["iterations"];
    let listed = summary["results"]["metrics"].as_array();
    let listed = listed.and_then(|metrics| metrics.iter().find(|metric| metric["name"] == "iterations"));
    let values = &listed.unwrap_or(former)["values"];
    values["count"]
        .as_u64()
        .unwrap_or_else(|| panic!("no iterations: {summary}"))
}

/// Whether k6 is 1.5 or newer, which has the machine-readable summary.
fn has_machine_readable(status: &Status) -> bool {
    let plan = status.plan.as_ref().unwrap();
    let version = plan.aggregation.as_ref().unwrap().k6_version.clone();
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (1, 5)
}

/// The variable comes by envFrom, where only k6 itself sees it, and `quiet` is not said: dapr's tests are like that.
#[tokio::test]
async fn handle_summary_has_the_shape_of_its_k6_and_a_log_has_nothing_but_what_it_prints() {
    let test = Test::new("shape").await;
    test.script("shape", SCRIPT).await;
    test.config_map("switch", &[("K6_NEW_MACHINE_READABLE_SUMMARY", "true")])
        .await;
    let spec = json!({
        "parallelism": 2,
        "script": {"configMap": {"name": "shape"}},
        "arguments": "--include-system-env-vars --log-output=none",
        "runner": {
            "env": [{"name": "TARGET", "value": "here"}],
            "envFrom": [{"configMapRef": {"name": "switch"}}],
        },
    });
    for run in Run::of_both_kinds(&test, "shape", &spec) {
        let status = run.passes().await;
        let mut parts = Vec::new();
        for pod in run.pods("runner").await {
            let log = test.kubectl(&["logs", &pod.name_any(), "-c", "k6"]);
            let part = serde_json::from_str(&log).unwrap_or_else(|error| panic!("{error}: {log}"));
            parts.push(iterations(&part));
        }
        assert_eq!((parts.len(), parts.iter().sum::<u64>()), (2, 20), "{parts:?}");
        let kept = documents(&test, &run.name).await;
        let shape = if has_machine_readable(&status) {
            "machine-readable"
        } else {
            "former"
        };
        assert_eq!(kept["handleSummary-shape.txt"], shape);
        for document in ["handleSummary-stdout", "summary.json"] {
            let whole: Value = serde_json::from_str(&kept[document]).unwrap();
            assert_eq!(iterations(&whole), 20, "{document}");
            assert_eq!(
                whole["results"].is_object(),
                shape == "machine-readable",
                "{document}"
            );
        }
    }
}
