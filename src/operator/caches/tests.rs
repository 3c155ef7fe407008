//! What is kept of an object, and how much that is.

use super::cached::Cached;
use super::resource::{CachedTest, Guarded, Standing};
use super::slim::{is_of_a_job, is_of_a_run, kept, slim_job, slim_pod, slim_test};
use super::unpacked::UnpackedOf;
use crate::api::{Kind, LoadTest, Spec};
use crate::machine::Aggregation;
use crate::objects::{Common, Defaults, Owner, ValidatedRun, runner, validate};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::{Resource, ResourceExt};
use kube_runtime::reflector::ObjectRef;
use kube_runtime::watcher::Event;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

#[test]
fn cached_pod_keeps_what_explains_a_failure_and_not_the_segments_of_all_runners() {
    let pod = json!({"metadata": {"name": "a", "managedFields": []}, "spec": {
        "nodeName": "node", "restartPolicy": "Never",
        "initContainers": [{"name": "side", "image": "x", "restartPolicy": "Always"}],
        "containers": [{
            "name": "k6", "image": "k6", "resources": {"limits": {"cpu": "1"}},
            "command": ["k6", "run", "--execution-segment-sequence=0,1/2,1", "--log-output=none", "/test/a.js"],
            "env": [{"name": "K6_LOG_OUTPUT", "value": "none"}, {"name": "TOKEN", "value": "abc"}],
            "volumeMounts": [{"name": "k6-test-volume", "mountPath": "/test", "readOnly": true}]
        }],
        "volumes": [{"name": "k6-test-volume", "persistentVolumeClaim": {"claimName": "scripts", "readOnly": true}}]
    }});
    let mut pod: Pod = serde_json::from_value(pod).unwrap();
    slim_pod(&mut pod);
    let kept: Value = serde_json::to_value(pod.spec).unwrap();
    assert_eq!(
        kept,
        json!({
            "restartPolicy": "Never", "initContainers": [{"name": "side", "restartPolicy": "Always"}],
            "containers": [{
                "name": "k6", "image": "k6", "command": ["k6", "run", "--log-output=none", "/test/a.js"],
                "env": [{"name": "K6_LOG_OUTPUT", "value": "none"}],
                "volumeMounts": [{"name": "k6-test-volume", "mountPath": "/test"}]
            }],
            "volumes": [{"name": "k6-test-volume", "persistentVolumeClaim": {"claimName": "scripts"}}]
        })
    );
}

/// The Job of one of 2,000 runners, with what the API server and the Job controller add.
fn job() -> Job {
    let owner = Owner {
        kind: Kind::K6,
        name: "checkout-nightly".to_owned(),
        namespace: "load-tests".to_owned(),
        uid: "90208d26-7f0c-4c3e-9f51-6c1a5d2e8b17".to_owned(),
        generation: 1,
        attempt: 1,
    };
    let spec = json!({"parallelism": 2000, "script": "checkout", "arguments": "--tag team=shop"});
    let spec: Spec = serde_json::from_value(spec).unwrap();
    let defaults = Defaults {
        runner_image: "grafana/k6:1.1.0".to_owned(),
        starter_image: "registry.example.com/k6-operator:0.1.0".to_owned(),
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
    let plan = json!({"parallelism": 2000, "aggregation": aggregation});
    let run = ValidatedRun {
        owner,
        spec: validate(&spec, &defaults).unwrap(),
        plan: Some(serde_json::from_value(plan).unwrap()),
    };
    let mut job = runner(&run, (1000, 2000), Some("10.96.0.9:4318"));
    let conditions = ["SuccessCriteriaMet", "Complete"].map(|name| {
        json!({
            "type": name, "status": "True", "reason": "CompletionsReached",
            "message": "Reached expected number of succeeded pods",
            "lastProbeTime": "2026-11-27T09:00:00Z", "lastTransitionTime": "2026-11-27T09:00:00Z"
        })
    });
    let added = json!({
        "metadata": {
            "uid": "1f4bd0a3-58b0-4f0c-8a1e-2f7c9d3b6e55", "resourceVersion": "1234567",
            "creationTimestamp": "2026-11-27T08:00:00Z", "generation": 1,
            "managedFields": [{"manager": "k6-operator", "fieldsV1": {"f:spec": "x".repeat(2000)}}]
        },
        "status": {
            "conditions": conditions,
            "startTime": "2026-11-27T08:00:00Z", "completionTime": "2026-11-27T09:00:00Z", "succeeded": 1,
            "ready": 0, "terminating": 0, "uncountedTerminatedPods": {"succeeded": [], "failed": []}
        }
    });
    let added: Job = serde_json::from_value(added).unwrap();
    job.metadata.uid = added.metadata.uid;
    job.metadata.resource_version = added.metadata.resource_version;
    job.metadata.creation_timestamp = added.metadata.creation_timestamp;
    job.metadata.managed_fields = added.metadata.managed_fields;
    job.status = added.status;
    job
}

/// Its pod, which has ended.
fn pod() -> Pod {
    let job = job();
    let template = job.spec.unwrap().template;
    let container = |name: &str| {
        json!({
            "name": name, "image": "docker.io/grafana/k6:1.1.0", "imageID": format!("sha256:{}", "0".repeat(64)),
            "containerID": format!("containerd://{}", "0".repeat(64)), "ready": false, "restartCount": 0,
            "started": false, "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
            "volumeMounts": [{"name": "k6-test-volume", "mountPath": "/test", "readOnly": true}],
            "state": {"terminated": {
                "exitCode": 0, "reason": "Completed", "startedAt": "2026-11-27T08:00:00Z",
                "finishedAt": "2026-11-27T09:00:00Z", "containerID": format!("containerd://{}", "0".repeat(64))
            }}
        })
    };
    let condition = |name: &str| {
        json!({
            "type": name, "status": "False", "reason": "PodCompleted", "observedGeneration": 1,
            "lastProbeTime": null, "lastTransitionTime": "2026-11-27T09:00:00Z"
        })
    };
    let conditions = [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ];
    let pod = json!({
        "metadata": {
            "name": "checkout-nightly-1000-x7k2p", "generateName": "checkout-nightly-1000-",
            "uid": "7b0c2a44-90ab-4a37-b7c7-3e5f1a9d8c21", "resourceVersion": "1234568",
            "creationTimestamp": "2026-11-27T08:00:00Z",
            "labels": template.metadata.as_ref().unwrap().labels,
            "annotations": template.metadata.as_ref().unwrap().annotations,
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": "x".repeat(2000)}}],
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "Job", "name": "checkout-nightly-1000", "controller": true,
                "uid": "1f4bd0a3-58b0-4f0c-8a1e-2f7c9d3b6e55", "blockOwnerDeletion": true
            }]
        },
        "status": {
            "phase": "Succeeded", "conditions": conditions.map(condition), "hostIP": "10.0.0.1",
            "podIP": "10.88.0.7", "podIPs": [{"ip": "10.88.0.7"}], "qosClass": "Burstable",
            "startTime": "2026-11-27T08:00:00Z",
            "initContainerStatuses": [container("copy")], "containerStatuses": [container("k6")]
        }
    });
    let mut pod: Pod = serde_json::from_value(pod).unwrap();
    pod.spec = template.spec;
    pod
}

fn bytes(object: &impl serde::Serialize) -> usize {
    serde_json::to_vec(object).unwrap().len()
}

/// docs/operating.md has these numbers.
#[test]
fn ended_runner_takes_a_few_kilobytes_of_the_caches_however_many_others_there_are() {
    let (mut job, mut pod) = (job(), pod());
    let before = (bytes(&job), bytes(&pod));
    // docs/limits.md has their sum. The segments of all 2,000 would be 19,000 more in each.
    assert!(
        (7_000..8_000).contains(&before.0) && (8_000..9_500).contains(&before.1),
        "{before:?}"
    );
    slim_job(&mut job);
    slim_pod(&mut pod);
    let after = (bytes(&job), bytes(&pod));
    assert!(after.0 < 750 && after.1 < 900, "{after:?}");
    let kept = (Cached::of(job.clone()).bytes(), Cached::of(pod.clone()).bytes());
    assert!(kept.0 < 950 && kept.1 < 1_100, "{kept:?}");
}

/// Of what users seldom set, it has room for a pointer.
#[test]
fn resource_with_nothing_set_takes_three_kilobytes() {
    let bytes = size_of::<LoadTest>();
    assert!((2_500..3_500).contains(&bytes), "{bytes}");
}

#[test]
fn object_that_has_ended_is_read_back_as_it_was() {
    let (mut job, mut pod) = (job(), pod());
    slim_job(&mut job);
    slim_pod(&mut pod);
    let (kept_job, kept_pod) = (Cached::of(job.clone()), Cached::of(pod.clone()));
    assert_eq!(*kept_job.object().unwrap(), job);
    assert_eq!(*kept_pod.object().unwrap(), pod);
    assert!(kept_job.bytes() < usize::MAX && kept_pod.bytes() < usize::MAX);
    let uid = "90208d26-7f0c-4c3e-9f51-6c1a5d2e8b17";
    assert!(kept_job.is_of(uid) && kept_pod.is_of(uid) && !kept_pod.is_of("other"));

    // One that goes on is looked at often, and stays as it is.
    job.status = None;
    pod.status.as_mut().unwrap().phase = Some("Running".to_owned());
    assert_eq!(Cached::of(job.clone()).bytes(), usize::MAX);
    assert_eq!(*Cached::of(pod.clone()).object().unwrap(), pod);
}

#[test]
fn object_is_unpacked_once_while_it_stays_the_same_and_forgotten_when_it_is_gone() {
    let mut pod = pod();
    slim_pod(&mut pod);
    let mut other = pod.clone();
    other.metadata.name = Some("other".to_owned());
    let [pod, other] = [pod, other].map(|pod| Arc::new(Cached::of(pod)));
    let mut unpacked = UnpackedOf::default();
    let mut look = |all: &[&Arc<Cached<Pod>>]| {
        unpacked
            .objects(all.iter().map(|one| Arc::clone(one)).collect())
            .unwrap()
    };
    let first = look(&[&pod, &other]);
    let second = look(&[&other, &pod]);
    assert!(Arc::ptr_eq(&first[0], &second[1]) && Arc::ptr_eq(&first[1], &second[0]));
    // A change of it is another entry of the cache.
    let changed = Arc::new(Cached::of((*first[0]).clone()));
    let third = look(&[&changed]);
    assert!(!Arc::ptr_eq(&first[0], &third[0]));
    assert_eq!(first[0], third[0]);
    drop(second);
    assert_eq!(Arc::strong_count(&first[1]), 1);
}

/// A resource of a user, in this state.
fn resource(state: &str) -> Value {
    json!({
        "apiVersion": "k6.io/v1alpha1", "kind": "TestRun",
        "metadata": {
            "name": "checkout", "namespace": "shop", "uid": "1f4bd0a3-58b0-4f0c-8a1e-2f7c9d3b6e55",
            "resourceVersion": "1234", "generation": 2, "labels": {"team": "shop"}
        },
        "spec": {
            "parallelism": 4, "script": {"configMap": {"name": "checkout", "file": "a.js"}}, "rerun": "2",
            "runner": {"env": [{"name": "A", "value": "b"}], "affinity": {}, "unknown": {"kept": [1.5, null]}}
        },
        "status": {
            "state": state, "result": "Passed", "attempt": 1, "observedGeneration": 2, "message": "4 of 4 runners passed",
            "summary": {
                "checksFailed": 0, "checksPassed": 0, "dataReceived": 614726, "dataSent": 365138, "failed": "0%",
                "failedRate": 0.0, "iterationRate": 4612.939909241854, "iterations": 4622, "p95": "1.59ms",
                "p95Millis": 1.5923142685897607, "requestRate": 4612.939909241854, "requests": 4622,
                "thresholdsFailed": 0, "thresholdsPassed": 2, "vus": 4, "vusMax": 4
            }
        }
    })
}

#[test]
fn resource_whose_run_has_ended_takes_little_more_than_its_json_and_is_read_back_as_it_was() {
    for (state, ended) in [("Finished", true), ("Started", false)] {
        let json = resource(state);
        let guarded: Guarded = serde_json::from_value(json.clone()).unwrap();
        let before = guarded.0.clone().unwrap();
        let cached = CachedTest::of(guarded);
        assert_eq!(*cached.test().unwrap(), before);
        assert_eq!(cached.json_bytes(), ended.then(|| bytes(&before)));
        assert_eq!(cached.object_ref(&Kind::TestRun).uid, before.metadata.uid);
        let reference = ObjectRef::from_obj_with(&cached, Kind::TestRun);
        assert_eq!(
            (reference.name.as_str(), reference.namespace.as_deref()),
            ("checkout", Some("shop"))
        );
        let standing = Standing {
            state: if ended { "Finished" } else { "Started" },
            result: "Passed",
            retrying: false,
        };
        assert_eq!(cached.standing(), Some(standing));
    }
}

#[test]
fn resource_that_cannot_be_read_keeps_its_name_and_the_reason_and_is_not_counted() {
    let mut json = resource("Finished");
    json["spec"]["parallelism"] = json!("four");
    let cached = CachedTest::of(serde_json::from_value(json).unwrap());
    assert_eq!(cached.name_any(), "checkout");
    assert!(cached.test().unwrap_err().contains("four"));
    assert_eq!(cached.standing(), None);
}

/// Labels, annotations, owners, finalizers and commands as long as the API server takes them.
#[test]
fn labelled_objects_of_others_cost_nothing_and_what_is_added_to_ours_is_not_kept() {
    let (mut job, mut pod) = (job(), pod());
    let large: BTreeMap<String, String> = (0..1000).map(|i| (format!("key-{i}"), "x".repeat(60))).collect();
    for metadata in [&mut job.metadata, &mut pod.metadata] {
        metadata.labels.as_mut().unwrap().extend(large.clone());
        metadata.annotations.as_mut().unwrap().extend(large.clone());
        metadata.finalizers = Some(large.keys().cloned().collect());
        let owners = metadata.owner_references.as_mut().unwrap();
        let owner = owners[0].clone();
        owners.extend(std::iter::repeat_n(owner, 1000));
    }
    // One that failed keeps what explains it.
    pod.status.as_mut().unwrap().phase = Some("Failed".to_owned());
    let spec = pod.spec.as_mut().unwrap();
    spec.containers[0].args = Some(vec!["x".repeat(200_000)]);
    let mount = spec.containers[0].volume_mounts.as_ref().unwrap()[0].clone();
    spec.containers[0].volume_mounts = Some(vec![mount; 5000]);
    slim_job(&mut job);
    slim_pod(&mut pod);
    let after = (bytes(&job), bytes(&pod));
    assert!(after.0 < 1_600 && after.1 < 25_000, "{after:?}");
    let failed = pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap();
    assert_eq!(failed[0].image, "docker.io/grafana/k6:1.1.0");

    let (mut stranger, mut alone) = (self::job(), self::pod());
    stranger.metadata.owner_references.as_mut().unwrap()[0].uid = "other".to_owned();
    alone.metadata.owner_references = None;
    assert!(kept(Event::InitApply(stranger.clone()), is_of_a_run, slim_job).is_none());
    assert!(kept(Event::InitApply(alone.clone()), is_of_a_job, slim_pod).is_none());
    // What was ours leaves the cache.
    let gone = kept(Event::Apply(stranger), is_of_a_run, slim_job);
    assert!(matches!(gone, Some(Event::Delete(_))));
    let gone = kept(Event::Apply(alone), is_of_a_job, slim_pod);
    assert!(matches!(gone, Some(Event::Delete(_))));
    let ours = kept(Event::InitApply(self::job()), is_of_a_run, slim_job);
    assert!(matches!(ours, Some(Event::InitApply(_))));
    let ours = kept(Event::Apply(self::pod()), is_of_a_job, slim_pod);
    assert!(matches!(ours, Some(Event::Apply(_))));
}

#[test]
fn cached_resource_has_no_second_copy_of_its_spec() {
    let test = json!({
        "apiVersion": "k6.io/v1alpha1", "kind": "K6", "spec": {"parallelism": 1, "script": "s"},
        "metadata": {"name": "a", "managedFields": [], "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "a"
        }}
    });
    let mut test: LoadTest = serde_json::from_value(test).unwrap();
    slim_test(&mut test.metadata);
    assert_eq!(
        serde_json::to_value(&test.metadata).unwrap(),
        json!({"name": "a", "annotations": {"team": "a"}})
    );
}
