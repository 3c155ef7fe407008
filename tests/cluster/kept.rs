//! What stays of many runs that have ended: the operator starts with it, and works, in 128 MiB.

use crate::process::Process;
use crate::support::{LIMIT, OPERATOR_NAMESPACE, Test, holder, operator_pods, sleeps};
use futures::{StreamExt, stream};
use k6_operator::machine::RunResult;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;

/// Runs and their runners: 10,000 Jobs with as many pods, unless `K6OP_RUNS` says otherwise.
const RUNS: u32 = 200;
const RUNNERS: u32 = 50;

/// The memory that the operator is given for them: half of what its manifest gives it.
const LITTLE: &str = "--limits=memory=128Mi";
const MANIFEST: &str = "--limits=memory=256Mi";
const DEPLOYMENT: &str = "deployment/k6-operator-controller-manager";

/// How many objects are created at once.
const AT_ONCE: usize = 32;

/// An object to be created as another is, under this name and for this owner.
fn copy(of: &Value, name: &str, owner: &Value) -> Value {
    let mut copy = of.clone();
    let (labels, annotations) = (&of["metadata"]["labels"], &of["metadata"]["annotations"]);
    copy["metadata"] = json!({
        "name": name, "labels": labels, "annotations": annotations, "ownerReferences": [owner]
    });
    copy
}

/// Creates an object with a status, which is written after it.
async fn create<K>(api: &Api<K>, object: &Value) -> K
where
    K: Clone + Debug + DeserializeOwned + Serialize + Resource,
{
    let how = PostParams::default();
    let created: K = api
        .create(&how, &serde_json::from_value(object.clone()).unwrap())
        .await
        .unwrap();
    let mut with_status = serde_json::to_value(&created).unwrap();
    with_status["status"] = object["status"].clone();
    let name = created.name_any();
    for _ in 0..20 {
        let object = serde_json::from_value(with_status.clone()).unwrap();
        match api.replace_status(&name, &how, &object).await {
            Ok(_) => return created,
            // The Job controller was quicker.
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            Err(error) => panic!("{name}: {error}"),
        }
        let newest = api.get(&name).await.unwrap();
        with_status["metadata"]["resourceVersion"] = json!(newest.resource_version());
    }
    panic!("the status of {name} is another's all the time");
}

/// A runner's Job and pod as they are left by a run that passed.
struct Sample {
    job: Value,
    pod: Value,
}

impl Sample {
    async fn of(test: &Test, run: &str) -> Self {
        let mut job = serde_json::to_value(test.jobs().get(&format!("{run}-1")).await.unwrap()).unwrap();
        let mut pod = serde_json::to_value(&test.pods_of(run, "runner").await[0]).unwrap();
        // By these the Job controller finds the pods of the sample's Jobs: it would take the copies for theirs.
        let set_by_kubernetes = [
            "controller-uid",
            "batch.kubernetes.io/controller-uid",
            "job-name",
            "batch.kubernetes.io/job-name",
        ];
        let without = |object: &mut Value, labels: &str| {
            let labels = object.pointer_mut(labels).unwrap().as_object_mut().unwrap();
            labels.retain(|name, _| !set_by_kubernetes.contains(&name.as_str()));
        };
        without(&mut job, "/metadata/labels");
        without(&mut job, "/spec/template/metadata/labels");
        without(&mut pod, "/metadata/labels");
        job["spec"].as_object_mut().unwrap().remove("selector");
        // The Job controller leaves a Job alone that another manages.
        job["spec"]["managedBy"] = json!("k6.io/kept-by-a-test");
        pod["spec"].as_object_mut().unwrap().remove("nodeName");
        pod["spec"]["schedulerName"] = json!("none");
        Self { job, pod }
    }

    /// Leaves the Job and the pod of a runner.
    async fn leave(&self, test: &Test, (run, uid): (&str, &str), runner: u32) {
        let owner = |api_version: &str, kind: &str, name: &str, uid: &str| json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": true});
        let name = format!("{run}-{runner}");
        let of_run = |object: &mut Value| {
            object["metadata"]["labels"]["k6.io/run-uid"] = json!(uid);
            object["metadata"]["labels"]["k6.io/run"] = json!(run);
            object["metadata"]["labels"]["k6.io/runner"] = json!(runner.to_string());
            object["metadata"]["annotations"]["k6.io/run-name"] = json!(run);
        };
        let mut job = copy(&self.job, &name, &owner("k6.io/v1alpha1", "K6", run, uid));
        of_run(&mut job);
        let job: Job = create(&test.jobs(), &job).await;
        let mut pod = copy(
            &self.pod,
            &format!("{name}-x"),
            &owner("batch/v1", "Job", &name, &job.uid().unwrap()),
        );
        of_run(&mut pod);
        let _pod: Pod = create(&test.pods(), &pod).await;
    }
}

/// The operators, none of which was killed. Prints how much memory each has had at most.
async fn none_was_killed(test: &Test, when: &str) {
    let pods = operator_pods(test).list(&ListParams::default()).await.unwrap();
    assert_eq!(pods.items.len(), 2);
    let leader = holder(test).await.unwrap();
    for pod in &pods {
        let containers = pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap();
        assert_eq!(containers[0].restart_count, 0, "{:?}", containers[0]);
        let process = Process::of(pod);
        let (resident, counted) = (process.peak(), process.counted());
        let role = if pod.name_any() == leader {
            "leads"
        } else {
            "stands by"
        };
        println!("{when}: the one that {role} has had {resident:.0} MiB, {counted:.0} by its limit");
    }
}

#[tokio::test]
#[ignore = "takes ten minutes"]
async fn operator_with_ten_thousand_kept_runners_starts_and_works_in_128_mib() {
    let test = Test::alone("kept").await;
    test.script("many", &sleeps(RUNNERS, 2)).await;
    test.script("short", &sleeps(2, 2)).await;
    test.apply("sample", json!({"parallelism": RUNNERS, "script": "many"}));
    test.until("the sample has passed", 5 * LIMIT, async || {
        (test.status("sample").await.result == Some(RunResult::Passed)).then_some(())
    })
    .await;
    let sample = Sample::of(&test, "sample").await;
    let finished = serde_json::to_value(test.k6s().get("sample").await.unwrap()).unwrap();

    let of_operator = |command: &[&str]| test.kubectl(&[&["-n", OPERATOR_NAMESPACE], command].concat());
    of_operator(&["scale", DEPLOYMENT, "--replicas=0"]);
    of_operator(&["wait", "pod", "--all", "--for=delete", "--timeout=60s"]);
    let runs = std::env::var("K6OP_RUNS").map_or(RUNS, |runs| runs.parse().unwrap());
    for i in 1..=runs {
        let name = format!("kept-{i}");
        let mut run = finished.clone();
        run["metadata"] = json!({"name": name});
        let run = create(&test.k6s(), &run).await;
        let uid = run.uid().unwrap();
        let runners = stream::iter(1..=RUNNERS).map(|runner| sample.leave(&test, (&name, &uid), runner));
        runners.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    }

    of_operator(&["set", "resources", DEPLOYMENT, LITTLE]);
    of_operator(&["scale", DEPLOYMENT, "--replicas=2"]);
    of_operator(&["rollout", "status", DEPLOYMENT, "--timeout=180s"]);
    let leader = test
        .until("there is a leader", LIMIT, async || holder(&test).await)
        .await;
    let spec = json!({"parallelism": 2, "script": "short"});
    test.apply("after", spec.clone());
    test.passes("after").await;
    none_was_killed(&test, "after a start and a run").await;

    of_operator(&["delete", "pod", &leader]);
    test.until("another leads", LIMIT, async || {
        holder(&test).await.filter(|holder| *holder != leader)
    })
    .await;
    let mut again = spec;
    again["rerun"] = json!("again");
    test.apply("after", again);
    test.until("the second run has passed", LIMIT, async || {
        let status = test.status("after").await;
        (status.attempt == Some(2) && status.result == Some(RunResult::Passed)).then_some(())
    })
    .await;
    none_was_killed(&test, "after a change of leaders and a run").await;
    of_operator(&["set", "resources", DEPLOYMENT, MANIFEST]);
    of_operator(&["rollout", "status", DEPLOYMENT, "--timeout=180s"]);

    // Those of the sample, which has as many runners, are among them.
    let one = ListParams::default().limit(1);
    let jobs = test.jobs().list_metadata(&one).await.unwrap();
    let pods = test.pods().list_metadata(&one).await.unwrap();
    for all in [jobs.metadata, pods.metadata].map(|list| list.remaining_item_count.unwrap()) {
        assert!(all >= i64::from((runs + 1) * RUNNERS), "{all}");
    }
}
