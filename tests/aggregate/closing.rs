//! The end of a test: one runner calls the script's handleSummary() with the merged data, and the result is told before
//! that runner ends.

use crate::run::{Runners, Service, Site};
use k6_operator::aggregate::handle_summary::Content;
use serde_json::{Value, json};

const SCRIPT: &str = r#"
import http from "k6/http";
import { sleep } from "k6";
import grpc from "k6/net/grpc";
import fs from "k6/experimental/fs";
const client = new grpc.Client();
client.load([], "hello.proto");
const beside = open("./beside.txt");
let opened;
(async () => { opened = await fs.open("beside.txt"); })();
export const options = { vus: 4, iterations: 40, thresholds: { http_reqs: ["count>=40"] } };
export default function () { http.get(`${__ENV.SITE}/1/200`); sleep(0.05); }
export async function handleSummary(data) {
  http.get(`${__ENV.SITE}/say/hook`);
  const { http_reqs } = data.metrics;
  const said = { reqs: http_reqs.values.count, ok: http_reqs.thresholds["count>=40"].ok, beside, size: (await opened.stat()).size };
  return {
    stdout: `reqs ${said.reqs}`,
    [`${__ENV.FOLDER}/hs.json`]: JSON.stringify(said),
    "relative.bin": new Uint8Array([0, 255, 10]).buffer,
  };
}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handle_summary_is_called_once_with_the_whole_where_the_script_ran() {
    let site = Site::open().await;
    let service = Service::open(2, json!({"thresholds": {"http_reqs": ["count>=40"]}}));
    let export = tempfile::tempdir().unwrap();
    let exported = export.path().join("export.json").display().to_string();
    let folder = format!("FOLDER={}", export.path().display());
    let more = ["--summary-export", &exported, "-e", &folder];
    let mut runners = Runners::that_sum_up(2, SCRIPT, site.address, service.address, &more);
    runners.release().await;
    let codes = runners.end().await;
    let log = |runner| {
        let read = |path| std::fs::read_to_string(path).unwrap();
        format!("{}\n{}", read(runners.log(runner)), read(runners.errors(runner)))
    };
    assert_eq!(codes, [Some(0); 2], "{}{}", log(1), log(2));
    // The result was told before the last of them ended.
    let told = service.told();
    assert_eq!(told.len(), 1, "{told:?}");
    let (outcome, documents) = service.result();
    assert_eq!((outcome.crossed, outcome.totals.requests), (0, 40.0));
    assert_eq!(documents.error, None, "{}", log(1));
    assert_eq!(documents.outputs["stdout"], Content::Text("reqs 40".to_owned()));
    assert_eq!(
        documents.outputs["relative.bin"],
        Content::Base64("AP8K".to_owned())
    );
    let file = export.path().join("hs.json");
    let said: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(
        said,
        json!({"reqs": 40, "ok": true, "beside": "beside", "size": 6})
    );
    let whole: Value = serde_json::from_str(&std::fs::read_to_string(exported).unwrap()).unwrap();
    assert_eq!(whole["metrics"]["http_reqs"]["count"], 40);
    assert_eq!(
        whole["metrics"]["http_reqs"]["thresholds"],
        json!({"count>=40": false})
    );
    // Once, and by no runner for its part.
    assert_eq!(site.said(), ["hook"]);
    assert_eq!(
        log(1).matches("reqs 40").count() + log(2).matches("reqs 40").count(),
        1
    );
    assert!(!log(1).contains("k6-operator-summary:"), "{}", log(1));
    let summary: Value = serde_json::from_str(&documents.data).unwrap();
    assert_eq!(summary["metrics"]["http_reqs"]["values"]["count"], 40.0);
    std::fs::remove_file("relative.bin").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handle_summary_of_an_archive_is_called_once_with_the_whole() {
    let site = Site::open().await;
    let service = Service::open(2, json!({"thresholds": {"http_reqs": ["count>=40"]}}));
    let script = r#"
        import http from "k6/http";
        const beside = open("./beside.txt");
        export const options = {
            scenarios: { all: { executor: "shared-iterations", vus: 4, iterations: 40 } },
            thresholds: { http_reqs: ["count>=40"] },
        };
        export default function () { http.get(`${__ENV.SITE}/1/200`); }
        export function handleSummary(data) {
            http.get(`${__ENV.SITE}/say/hook`);
            const { http_reqs } = data.metrics;
            const said = [http_reqs.values.count, http_reqs.thresholds["count>=40"].ok, beside, __ENV.WORD];
            return { stdout: JSON.stringify(said) };
        }"#;
    let mut runners = Runners::of_archive(2, script, site.address, service.address);
    runners.release().await;
    assert_eq!(runners.end().await, [Some(0); 2]);
    let (outcome, documents) = service.result();
    assert_eq!(outcome.totals.requests, 40.0);
    assert_eq!(documents.error, None);
    let said = Content::Text(r#"[40,true,"beside","archived"]"#.to_owned());
    assert_eq!(documents.outputs["stdout"], said);
    assert_eq!(site.said(), ["hook"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn script_without_handle_summary_is_not_loaded_again_and_each_runner_prints_its_part() {
    let site = Site::open().await;
    let service = Service::open(2, json!({}));
    let script = r#"
        import http from "k6/http";
        http.get;
        export const options = { vus: 2, iterations: 10 };
        export default function () { http.get(`${__ENV.SITE}/1/200`); }"#;
    let mut runners = Runners::that_sum_up(2, script, site.address, service.address, &[]);
    runners.release().await;
    assert_eq!(runners.end().await, [Some(0); 2]);
    let (outcome, documents) = service.result();
    assert_eq!((documents.outputs.len(), documents.error), (0, None));
    assert_eq!(outcome.totals.iterations, 10.0);
    for runner in [1, 2] {
        let log = std::fs::read_to_string(runners.log(runner)).unwrap();
        assert!(log.contains("iteration_duration"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runner_that_is_killed_with_the_data_leaves_the_outcome_and_nobody_calls_it_again() {
    let site = Site::open().await;
    let service = Service::open(2, json!({}));
    let script = r#"
        import http from "k6/http";
        import { sleep } from "k6";
        export const options = { vus: 2, iterations: 10 };
        export default function () { http.get(`${__ENV.SITE}/1/200`); }
        export function handleSummary() { http.get(`${__ENV.SITE}/say/hook`); sleep(60); return {}; }"#;
    let mut runners = Runners::that_sum_up(2, script, site.address, service.address, &[]);
    runners.release().await;
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while site.said().is_empty() {
        assert!(std::time::Instant::now() < until, "handleSummary() is not called");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    runners.kill(1);
    let (outcome, documents) = service.result();
    assert_eq!(outcome.totals.iterations, 10.0);
    let error = documents.error.unwrap();
    assert!(
        error.contains("runner 1 called handleSummary(), and was lost"),
        "{error}"
    );
    assert_eq!(site.said(), ["hook"]);
    assert_eq!(runners.end().await[1], Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runners_that_are_all_killed_leave_what_they_had_sent() {
    let site = Site::open().await;
    let service = Service::open(2, json!({}));
    let script = r#"
        import http from "k6/http";
        import { sleep } from "k6";
        export const options = { vus: 2, duration: "60s" };
        export default function () { http.get(`${__ENV.SITE}/1/200`); sleep(0.1); }
        export function handleSummary() { return { stdout: "never" }; }"#;
    let mut runners = Runners::that_sum_up(2, script, site.address, service.address, &[]);
    runners.release().await;
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    runners.kill(1);
    runners.kill(2);
    let (outcome, documents) = service.result();
    assert!(outcome.totals.iterations > 0.0);
    let error = documents.error.unwrap();
    assert_eq!(error, "no runner was left to call handleSummary()");
    assert_eq!(outcome.incomplete.len(), 2, "{:?}", outcome.incomplete);
    assert!(documents.text.contains("http_reqs"), "{}", documents.text);
}
