//! How a run ends, from how its runners end.

use crate::faults::{Fault, covers};
use crate::run::Run;
use crate::support::Test;
use crate::torture::ended;
use k6_operator::api::Kind;
use k6_operator::machine::{Reason, RunResult, StateName};
use serde_json::json;

#[tokio::test]
async fn a_crossed_threshold_is_failed_and_names_the_metric() {
    let test = Test::new("crossed").await;
    let script = "import http from 'k6/http';
import { sleep } from 'k6';
export const options = {
  vus: 2, duration: '2s', thresholds: { http_req_failed: ['rate<0.5'], iterations: ['count>0'] },
};
export default function () { http.get('http://k6-target.k6-target.svc/status/500'); sleep(0.2); }
";
    test.script("crossed", script).await;
    test.apply("crossed", json!({"parallelism": 2, "script": "crossed"}));
    let status = test
        .ends("crossed", RunResult::Failed, Reason::ThresholdsCrossed)
        .await;
    let message = status.message.unwrap();
    assert_eq!(
        message,
        "1 of 2 thresholds crossed: http_req_failed rate<0.5 is 1"
    );
    assert_eq!(status.plan.unwrap().thresholds, Some(2));
    // They ran to their end.
    assert_eq!(status.runners.unwrap().summary, "2/2");
}

#[tokio::test]
async fn a_script_that_aborts_itself_is_aborted() {
    let test = Test::new("abort").await;
    let script = "import exec from 'k6/execution';
export const options = { vus: 2, duration: '20s' };
export default function () { exec.test.abort('enough seen'); }
";
    test.script("abort", script).await;
    test.apply("abort", json!({"parallelism": 2, "script": "abort"}));
    let status = test.ends("abort", RunResult::Aborted, Reason::TestAborted).await;
    let message = status.message.unwrap();
    assert!(message.contains("enough seen"), "{message}");
    assert!(message.contains("exit code 108"), "{message}");
}

#[tokio::test]
async fn a_runner_job_deleted_during_the_test_is_reported() {
    covers(Fault::RunnerJobDeleted, &[StateName::Started]);
    let test = Test::new("deleted").await;
    let script = "import http from 'k6/http';
import { sleep } from 'k6';
export const options = { vus: 2, duration: '6s' };
export function setup() { http.get('http://k6-target.k6-target.svc/'); }
export default function () { sleep(0.2); }
";
    test.script("six", script).await;
    // That it was released is told by a request of its own.
    test.apply(
        "lost",
        json!({"parallelism": 2, "script": "six", "setup": "perRunner"}),
    );
    test.reaches("lost", StateName::Started).await;
    test.kubectl(&["delete", "job", "lost-2", "--wait=false"]);
    let words = ["1 of 2 runners failed", "runner 2", "deleted during the test"];
    let status = test.errs("lost", Reason::RunnerFailed, &words).await;
    let run = Run::of(&test, Kind::K6, "lost");
    let evidence = ended(&run, RunResult::Error, Reason::RunnerFailed, 2, &words).await;
    assert_eq!(evidence.made("lost-2"), 1);
    assert_eq!(status.runners.unwrap().summary, "1/2");
    // The other went on to its end, and none was made in the place of the deleted one.
    let jobs = test.job_names().await;
    assert!(!jobs.contains(&"lost-2".to_owned()), "{jobs:?}");
}

#[tokio::test]
async fn an_oom_killed_runner_is_named_with_its_reason() {
    covers(Fault::RunnerOomKilled, &[StateName::Started]);
    let test = Test::new("oom").await;
    let script = "import exec from 'k6/execution';
import http from 'k6/http';
import { sleep } from 'k6';
export const options = { vus: 2, duration: '6s' };
const kept = [];
export function setup() { http.get('http://k6-target.k6-target.svc/'); }
export default function () {
  if (exec.vu.idInTest === 2) {
    for (let i = 0; i < 40; i++) { kept.push(new Uint8Array(16 * 1024 * 1024).fill(1)); }
  }
  sleep(0.2);
}
";
    test.script("hungry", script).await;
    let resources = json!({"limits": {"memory": "160Mi"}});
    test.apply(
        "hungry",
        json!({"parallelism": 2, "script": "hungry", "runner": {"resources": resources}, "setup": "perRunner"}),
    );
    let words = ["1 of 2 runners failed", "runner 2 (exit code 137, OOMKilled)"];
    let run = Run::of(&test, Kind::K6, "hungry");
    let evidence = ended(&run, RunResult::Error, Reason::RunnerFailed, 2, &words).await;
    assert_eq!(evidence.made("hungry-2"), 1);
    // Its k6 is killed, with the program around it or without.
    let incomplete = run.get().await.status.unwrap().summary.unwrap().incomplete;
    let told = incomplete.iter().any(|why| why.starts_with("runner 2 "));
    assert!(told, "{incomplete:?}");
}
