//! Many series: an id in each URL, in each tag, or in each group costs a run neither a request nor its verdict.

use crate::aggregation::{documents, requests};
use crate::run::Run;
use crate::support::{Test, ip};
use k6_operator::api::Kind;
use serde_json::{Value, json};

/// The id in the URL is what users' scripts have most often; then one that is its template's, and one in what a script
/// names itself. `exec.scenario.iterationInTest` counts over all runners.
const INPUTS: [(&str, u64, u32, &str); 4] = [
    (
        "url",
        9000,
        1,
        "http.get(`http://k6-target.k6-target.svc/orders/${id}/items?customer=abcdefghijklmnopqrstuvwxyz`);",
    ),
    (
        "template",
        3000,
        2,
        "http.get(http.url`http://k6-target.k6-target.svc/orders/${id}`);",
    ),
    (
        "tag",
        3000,
        2,
        "http.get('http://k6-target.k6-target.svc/', { tags: { order: `${id}` } });",
    ),
    (
        "group",
        1000,
        2,
        "group(`order ${id}`, () => http.get('http://k6-target.k6-target.svc/'));",
    ),
];

#[tokio::test]
async fn an_id_in_each_url_tag_or_group_costs_no_request_and_no_verdict() {
    let test = Test::new("many").await;
    let runs = INPUTS.map(|(name, iterations, runners, request)| {
        let script = format!(
            "import http from 'k6/http';
import {{ group }} from 'k6';
import exec from 'k6/execution';
const load = {{ executor: 'shared-iterations', vus: 4, iterations: {iterations}, maxDuration: '120s' }};
const thresholds = {{ http_reqs: ['count=={iterations}'], http_req_duration: ['p(95)<5000'] }};
export const options = {{ scenarios: {{ load }}, thresholds }};
export default function () {{
  const id = exec.scenario.iterationInTest;
  {request}
}}
"
        );
        let spec = json!({"parallelism": runners, "script": {"inline": script}});
        (Run::apply(&test, Kind::TestRun, name, spec), iterations)
    });
    for (run, iterations) in &runs {
        let status = run.passes().await;
        let summary = status.summary.unwrap();
        assert_eq!(summary.requests, *iterations, "{}", run.name);
        assert_eq!(summary.incomplete, Vec::<String>::new(), "{}", run.name);
        let addresses: Vec<String> = run.pods("runner").await.iter().map(ip).collect();
        assert_eq!(
            requests(&addresses).into_iter().sum::<u64>(),
            *iterations,
            "{}: as the target counts them",
            run.name
        );
        let kept = documents(&test, &run.name).await;
        let data: Value = serde_json::from_str(&kept["summary.json"]).unwrap();
        assert_eq!(
            data["metrics"]["http_reqs"]["values"]["count"], *iterations,
            "{}",
            run.name
        );
    }
}
