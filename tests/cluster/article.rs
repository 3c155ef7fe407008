//! The article, word for word, but for the seconds of its stages.

use crate::aggregation::requests;
use crate::support::{LIMIT, Test, ip, names};
use k6_operator::machine::StateName;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;

const SCRIPT: &str = "import http from 'k6/http';
import { check } from 'k6';

export let options = {
  stages: [
    { target: 200, duration: '3s' },
    { target: 0, duration: '3s' },
  ],
};

export default function () {
  const result = http.get('https://test-api.k6.io/public/crocodiles/');
  check(result, {
    'http response status code is 200': result.status === 200,
  });
}
";

const RESOURCE: &str = "apiVersion: k6.io/v1alpha1
kind: K6
metadata:
  name: k6-sample
spec:
  parallelism: 4
  script: crocodile-stress-test
";

const JOBS: [&str; 6] = [
    "k6-sample-1",
    "k6-sample-2",
    "k6-sample-3",
    "k6-sample-4",
    "k6-sample-initializer",
    "k6-sample-starter",
];

fn columns(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[tokio::test]
async fn the_article_works_as_written() {
    let test = Test::new("article").await;
    test.file("test.js", SCRIPT);
    test.file("custom-resource.yml", RESOURCE);

    let made = test.kubectl(&[
        "create",
        "configmap",
        "crocodile-stress-test",
        "--from-file",
        "test.js",
    ]);
    assert_eq!(made.trim(), "configmap/crocodile-stress-test created");
    let applied = test.kubectl(&["apply", "-f", "custom-resource.yml"]);
    assert_eq!(applied.trim(), "k6.k6.io/k6-sample created");

    // The starter stands beside the runners while they run.
    test.reaches("k6-sample", StateName::Started).await;
    let table = test.kubectl(&["get", "pods", "--no-headers"]);
    let starter = table
        .lines()
        .map(columns)
        .find(|row| row[0].starts_with("k6-sample-starter-"));
    assert_eq!(starter.expect(&table)[1..3], ["0/1", "Completed"], "{table}");
    let runners = table.lines().filter(|line| !line.contains("-aggregator-"));
    let running = runners.filter(|line| line.contains(" Running ")).count();
    assert_eq!(running, 4, "{table}");

    let waited = test.kubectl(&[
        "wait",
        "--for=jsonpath={.status.state}=Finished",
        "k6/k6-sample",
        "--timeout=120s",
    ]);
    assert_eq!(waited.trim(), "k6.k6.io/k6-sample condition met");
    let status = test.passes("k6-sample").await;
    assert_eq!(
        status.message.as_deref(),
        Some("4 of 4 runners passed"),
        "{status:?}"
    );

    // Each iteration asks the target once, which counts too.
    let addresses: Vec<String> = test.pods_of("k6-sample", "runner").await.iter().map(ip).collect();
    let counted = requests(&addresses);
    assert!(counted.iter().all(|count| *count > 0), "{counted:?}");
    let asked = counted.into_iter().sum();
    let summary = status.summary.unwrap();
    assert_eq!(
        (summary.requests, summary.iterations, summary.checks_passed),
        (asked, asked, asked),
        "{summary:?}"
    );
    assert_eq!((summary.checks_failed, summary.failed_rate), (0, Some(0.0)));
    assert_eq!(summary.vus_max, 200);
    assert_eq!(summary.incomplete, Vec::<String>::new());

    let table = test.kubectl(&["get", "k6"]);
    let rows: Vec<Vec<&str>> = table.lines().map(columns).collect();
    assert_eq!(rows[0], ["NAME", "STATE", "RESULT", "RUNNERS", "AGE"]);
    assert_eq!(
        rows[1][..4],
        ["k6-sample", "Finished", "Passed", "4/4"],
        "{table}"
    );
    let table = test.kubectl(&["get", "k6", "-o", "wide"]);
    assert_eq!(
        columns(table.lines().next().unwrap()),
        [
            "NAME", "STATE", "RESULT", "RUNNERS", "STAGE", "STARTED", "DURATION", "AGE", "P95", "FAILED",
            "MESSAGE"
        ]
    );
    assert!(table.contains("4 of 4 runners passed"), "{table}");

    // The aggregator has gone again; six Jobs are left, each with its one pod.
    test.until("only six Jobs are left", LIMIT, async || {
        (test.job_names().await == JOBS).then_some(())
    })
    .await;
    let pods = test
        .until("six pods are left", LIMIT, async || {
            let pods = test.pods().list(&ListParams::default()).await.unwrap().items;
            (pods.len() <= 6).then_some(pods)
        })
        .await;
    for (pod, job) in names(pods.clone()).iter().zip(JOBS) {
        let rest = pod.strip_prefix(job).and_then(|rest| rest.strip_prefix('-'));
        assert!(rest.is_some_and(|rest| rest.len() == 5), "{pod} is of {job}");
    }
    // Kubernetes tells the end of a Job some seconds after that of its container.
    test.until("all six Jobs are complete", LIMIT, async || {
        let table = test.kubectl(&["get", "jobs", "--no-headers"]);
        let complete = table.lines().filter(|line| line.contains("1/1"));
        (complete.count() == 6 && table.lines().count() == 6).then_some(())
    })
    .await;

    let runner = |pod: &&Pod| pod.labels().contains_key("runner");
    for pod in pods.iter().filter(runner) {
        let command = pod.spec.as_ref().unwrap().containers[0].command.as_ref().unwrap();
        assert!(command.contains(&"--paused".to_owned()), "{command:?}");
        let log = test.log(pod);
        // It has 50 of the 200 virtual users.
        let progress = |line: &str| line.starts_with("running (") && line.contains("/50 VUs, ");
        assert!(log.lines().any(progress), "{log}");
        let most = log.lines().find(|line| line.trim().starts_with("vus_max."));
        assert!(most.is_some_and(|line| line.contains(" max=50")), "{log}");
    }

    let deleted = test.kubectl(&["delete", "-f", "custom-resource.yml"]);
    assert!(deleted.starts_with("k6.k6.io \"k6-sample\" deleted"), "{deleted}");
    test.nothing_left().await;
    let none = format!("No resources found in {} namespace.", test.namespace);
    for kind in ["jobs", "pods", "k6"] {
        assert_eq!(test.kubectl(&["get", kind]).trim(), none);
    }
}
