//! What is read from the Jobs and pods of Kubernetes.

use super::runner::SETTLING;
use super::{InitializerPod, aggregator, initializer, left_outcome, pod_refusal, program, runner};
use crate::machine::{Part, Program, Rule};
use crate::objects::RUNNER;
use crate::protocol::inspected::Inspected;
use crate::protocol::outcome::Outcome;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn ended(name: &str, code: i32, reason: &str, message: &str) -> Value {
    json!({"name": name, "image": "registry/image", "imageID": "", "ready": false, "restartCount": 0, "state": {
        "terminated": {"exitCode": code, "reason": reason, "message": message}
    }})
}

fn pod(sidecar: &str, init: &[Value], containers: &[Value]) -> Pod {
    let pod = json!({
        "spec": {"containers": [], "initContainers": [{"name": sidecar, "restartPolicy": "Always"}]},
        "status": {"initContainerStatuses": init, "containerStatuses": containers}
    });
    serde_json::from_value(pod).unwrap()
}

fn refused(init: &[Value]) -> InitializerPod {
    initializer(&Job::default(), Some(&pod("proxy", init, &[])))
}

const RATIO: &str = "memory max limit to request ratio per Container is 5, but provided ratio is 16.000000";

/// An Event of the Job controller between these seconds.
fn failed_create(first: i64, last: i64, why: &str) -> Event {
    let time = |seconds: i64| jiff::Timestamp::from_second(seconds).unwrap();
    let event = json!({
        "metadata": {"creationTimestamp": time(first)}, "involvedObject": {}, "reason": "FailedCreate",
        "message": format!("Error creating: pods \"an-aggregator-{first}\" is forbidden: {why}"),
        "firstTimestamp": time(first), "lastTimestamp": time(last)
    });
    serde_json::from_value(event).unwrap()
}

#[test]
fn a_pod_is_refused_for_as_long_as_the_newest_rule_has_refused_it() {
    assert_eq!(pod_refusal(Part::Aggregator, &[]), None);
    let quota = "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2";
    let events = [
        failed_create(100, 100, quota),
        failed_create(103, 103, RATIO),
        failed_create(107, 107, RATIO),
        failed_create(115, 140, RATIO),
    ];
    let found = pod_refusal(Part::Aggregator, &events).unwrap();
    assert_eq!((found.rule, found.text.as_str()), (Rule::LimitRange, RATIO));
    assert_eq!(found.lasted.as_secs(), 37);
    assert!(found.is_final());
    // In any order.
    let found = pod_refusal(Part::Aggregator, &[events[2].clone(), events[1].clone()]).unwrap();
    assert_eq!((found.lasted.as_secs(), found.is_final()), (4, false));
    let untimed = serde_json::from_value(json!({
        "metadata": {}, "involvedObject": {}, "message": "Error creating: no"
    }));
    let found = pod_refusal(Part::Starter, &[untimed.unwrap()]).unwrap();
    assert_eq!((found.rule, found.lasted.as_secs()), (Rule::Other, 0));
}

#[test]
fn what_ends_well_before_k6_does_not_hide_what_k6_says() {
    let init = [
        ended("fetch", 0, "Completed", ""),
        ended("copy", 0, "Completed", ""),
    ];
    let words = "k6 refused the script (exit code 107): no such file";
    let pod = pod("proxy", &init, &[ended("inspect", 107, "Error", "no such file")]);
    let seen = initializer(&Job::default(), Some(&pod));
    assert_eq!(seen, InitializerPod::Failed(words.to_owned()));
}

#[test]
fn script_that_aborts_the_test_while_it_is_loaded_is_not_refused() {
    let words = "test aborted: in init";
    let pod = pod("proxy", &[], &[ended("inspect", 108, "Error", words)]);
    let seen = initializer(&Job::default(), Some(&pod));
    assert_eq!(seen, InitializerPod::Aborted(words.to_owned()));
}

#[test]
fn an_init_container_of_the_user_is_not_taken_for_k6() {
    let words = "the init container fetch failed (exit code 1, OOMKilled): gone";
    let init = [ended("fetch", 1, "OOMKilled", "gone")];
    assert_eq!(refused(&init), InitializerPod::Failed(words.to_owned()));
}

#[test]
fn an_image_without_k6_is_named() {
    let words = "k6 can't be started in the image registry/image of the initializer: \"k6\": not found";
    for (code, reason) in [(128, "StartError"), (127, "Error")] {
        let pod = pod(
            "proxy",
            &[],
            &[ended("inspect", code, reason, "\"k6\": not found")],
        );
        let seen = initializer(&Job::default(), Some(&pod));
        assert_eq!(seen, InitializerPod::Failed(words.to_owned()));
    }
}

#[test]
fn a_sidecar_may_end_as_it_likes() {
    let init = [
        ended("proxy", 137, "Error", "killed"),
        ended("copy", 0, "Completed", ""),
    ];
    let message = r#"{"version":"1.1.0"}"#;
    let done = pod("proxy", &init, &[ended("inspect", 0, "Completed", message)]);
    let inspected = Inspected {
        version: "1.1.0".to_owned(),
        resolved: false,
        names_no_own_tag: false,
        reads_no_tags: false,
        has_no_groups: false,
    };
    assert_eq!(
        initializer(&Job::default(), Some(&done)),
        InitializerPod::Done(inspected)
    );
    assert_eq!(refused(&init), InitializerPod::Running(None));
}

#[test]
fn what_k6_exits_with_when_kubernetes_ends_it_is_no_answer() {
    let killed = pod("proxy", &[], &[ended("inspect", 105, "Error", "interrupted")]);
    let failed = |reason: &str| -> Job {
        let conditions =
            json!([{"type": "Failed", "status": "True", "reason": reason, "message": "it failed"}]);
        serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap()
    };
    let overdue = failed("DeadlineExceeded");
    assert_eq!(
        initializer(&overdue, Some(&killed)),
        InitializerPod::Running(None)
    );
    assert_eq!(initializer(&overdue, None), InitializerPod::Running(None));

    let mut leaving = killed.clone();
    leaving.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
    let why = "its pod is being deleted".to_owned();
    let seen = initializer(&Job::default(), Some(&leaving));
    assert_eq!(seen, InitializerPod::Running(Some(why)));
    let failed = failed("BackoffLimitExceeded");
    let deleted = InitializerPod::Lost("its pod was deleted: it failed".to_owned());
    assert_eq!(initializer(&failed, Some(&leaving)), deleted);
    assert_eq!(initializer(&failed, None), deleted);
    let unread = InitializerPod::Lost("its pod was deleted before its answer was read".to_owned());
    assert_eq!(initializer(&job_that("Complete", "done"), None), unread);

    // The reason follows the end of the container.
    let goes_on = InitializerPod::Running(None);
    assert_eq!(initializer(&Job::default(), Some(&killed)), goes_on);

    let mut evicted = killed.clone();
    let status = evicted.status.get_or_insert_default();
    status.reason = Some("Evicted".to_owned());
    status.message = Some("low on memory".to_owned());
    let lost = InitializerPod::Lost("its pod was lost: Evicted: low on memory".to_owned());
    assert_eq!(initializer(&failed, Some(&evicted)), lost);
    // Before the Job has failed for that reason.
    let status = evicted.status.get_or_insert_default();
    status.phase = Some("Failed".to_owned());
    assert_eq!(initializer(&Job::default(), Some(&evicted)), lost);
    let refused = "k6 refused the script (exit code 105): interrupted".to_owned();
    assert_eq!(
        initializer(&failed, Some(&killed)),
        InitializerPod::Failed(refused)
    );
}

#[test]
fn what_a_sidecar_exits_with_is_not_what_k6_does() {
    let failed = job_that("Failed", "backoff");
    let both = [
        ended("istio-proxy", 0, "Completed", ""),
        ended("k6", 99, "Error", "crossed"),
    ];
    let end = runner(&failed, Some(&pod("", &[], &both)), NOW).end.unwrap();
    assert_eq!(end.code, Some(99));
    let report = "{\"total\":1,\"confirmed\":1}";
    let both = [
        ended("a-proxy", 0, "Completed", ""),
        ended("k6-curl", 0, "Completed", report),
    ];
    let seen = program(&job_that("Complete", ""), Some(&pod("", &[], &both)));
    assert!(matches!(seen, Program::Reported(report) if report.confirmed == 1));
    let both = [
        ended("a-proxy", 0, "Completed", ""),
        ended("inspect", 107, "Error", "bad"),
    ];
    let words = "k6 refused the script (exit code 107): bad".to_owned();
    assert_eq!(
        initializer(&failed, Some(&pod("", &[], &both))),
        InitializerPod::Failed(words)
    );
}

/// A pod in this phase.
fn in_phase(phase: &str, containers: &[Value]) -> Pod {
    let mut pod = pod("", &[], containers);
    pod.status.get_or_insert_default().phase = Some(phase.to_owned());
    pod
}

#[test]
fn runner_ends_with_its_container_whatever_else_goes_on_in_its_pod() {
    let sidecar = running("istio-proxy");
    for (code, reason, message) in [
        (0, "Completed", ""),
        (99, "Error", "crossed"),
        (107, "Error", "no"),
        (108, "Error", "test aborted"),
        (137, "OOMKilled", "killed"),
    ] {
        let pod = in_phase(
            "Running",
            &[sidecar.clone(), ended(RUNNER, code, reason, message)],
        );
        let seen = runner(&Job::default(), Some(&pod), NOW);
        let end = seen.end.unwrap();
        let reason = (reason == "OOMKilled").then(|| reason.to_owned());
        assert_eq!(
            (end.code, end.reason, end.message.as_str()),
            (Some(code), reason, message)
        );
        assert!(seen.leftover);
        assert_eq!(seen.settles, None);
        // The same when all of the pod has ended, and when the Job has.
        let over = in_phase("Succeeded", &[ended(RUNNER, code, "Error", message)]);
        assert!(!runner(&Job::default(), Some(&over), NOW).leftover);
        assert!(!runner(&job_that("Failed", "backoff"), Some(&pod), NOW).leftover);
    }
    // Neither another container nor one that is restarted ends a runner.
    let other = in_phase(
        "Running",
        &[ended("istio-proxy", 1, "Error", ""), running(RUNNER)],
    );
    assert_eq!(runner(&Job::default(), Some(&other), NOW).end, None);
    let mut again = in_phase("Running", &[ended(RUNNER, 1, "Error", "")]);
    again.spec.get_or_insert_default().restart_policy = Some("OnFailure".to_owned());
    assert_eq!(runner(&Job::default(), Some(&again), NOW).end, None);
    assert_eq!(runner(&Job::default(), None, NOW).end, None);
}

#[test]
fn aggregator_that_is_begun_again_has_not_ended() {
    let pod = in_phase("Running", &[ended("aggregator", 137, "OOMKilled", "")]);
    assert_eq!(aggregator(&Job::default(), Some(&pod)).end, None);
    let end = aggregator(&job_that("Failed", "backoff"), Some(&pod))
        .end
        .unwrap();
    assert_eq!((end.code, end.reason.as_deref()), (Some(137), Some("OOMKilled")));
}

#[test]
fn end_that_kubernetes_may_have_brought_about_waits_for_its_reason() {
    let at = NOW + SignedDuration::from_secs(100);
    for code in [105, 137, 143] {
        let mut killed = ended(RUNNER, code, "Error", "killed");
        killed["state"]["terminated"]["finishedAt"] = json!(at);
        let pod = in_phase("Running", &[killed.clone(), running("proxy")]);
        let seen = runner(&Job::default(), Some(&pod), at);
        assert_eq!((seen.end, seen.settles), (None, Some(at + SETTLING)));
        // Kubernetes did end it: the reason decides.
        let mut evicted = in_phase("Failed", &[killed.clone()]);
        let status = evicted.status.get_or_insert_default();
        status.reason = Some("Evicted".to_owned());
        status.message = Some("low on memory".to_owned());
        let end = runner(&Job::default(), Some(&evicted), at).end.unwrap();
        assert_eq!(
            (end.code, end.reason.as_deref(), end.message.as_str()),
            (None, Some("Evicted"), "low on memory")
        );
        // Kubernetes did not: the pod has ended without a reason, or other containers run.
        let ended = in_phase("Failed", &[killed]);
        assert_eq!(
            runner(&Job::default(), Some(&ended), at).end.unwrap().code,
            Some(code)
        );
        let seen = runner(&Job::default(), Some(&pod), at + SETTLING);
        assert_eq!((seen.end.unwrap().code, seen.settles), (Some(code), None));
        assert!(seen.leftover);
    }
}

#[test]
fn pod_that_is_deleted_is_told_by_its_job() {
    let mut pod = in_phase("Running", &[ended(RUNNER, 0, "Completed", "")]);
    pod.metadata.deletion_timestamp = Some(Time(NOW));
    assert_eq!(runner(&Job::default(), Some(&pod), NOW).end, None);
    let end = runner(&job_that("Failed", "backoff"), Some(&pod), NOW)
        .end
        .unwrap();
    assert_eq!(end.code, Some(0));
    let end = runner(&job_that("Failed", "backoff"), None, NOW).end.unwrap();
    assert_eq!(
        (end.code, end.message.as_str()),
        (None, "its pod was deleted: backoff")
    );
}

#[test]
fn pod_that_failed_without_a_container_ends_its_runner() {
    let failed = |reason: Option<&str>, message: Option<&str>| {
        let mut pod = in_phase("Failed", &[]);
        let status = pod.status.get_or_insert_default();
        status.reason = reason.map(str::to_owned);
        status.message = message.map(str::to_owned);
        let end = runner(&Job::default(), Some(&pod), NOW).end.unwrap();
        (end.code, end.reason, end.message)
    };
    let words = "Pod was rejected: Node didn't have enough resource: cpu";
    let reason = Some("OutOfcpu".to_owned());
    assert_eq!(
        failed(Some("OutOfcpu"), Some(words)),
        (None, reason, words.to_owned())
    );
    assert_eq!(failed(None, None), (None, None, "its pod failed".to_owned()));
    // An init container failed: none of the others is started.
    let init = pod("proxy", &[ended("fetch", 99, "Error", "not there")], &[]);
    let end = runner(&Job::default(), Some(&init), NOW).end.unwrap();
    let words = "the init container fetch failed (exit code 99): not there";
    assert_eq!((end.code, end.message.as_str()), (None, words));
}

#[test]
fn a_runner_whose_init_container_failed_has_ended_without_a_code_of_k6() {
    let job = json!({"status": {"conditions": [{"type": "Failed", "status": "True", "message": "backoff"}]}});
    let job: Job = serde_json::from_value(job).unwrap();
    let pod = pod("proxy", &[ended("fetch", 99, "Error", "not there")], &[]);
    let end = runner(&job, Some(&pod), NOW).end.unwrap();
    assert_eq!(end.code, None);
    assert_eq!(
        end.message,
        "the init container fetch failed (exit code 99): not there"
    );
}

fn job_that(type_: &str, message: &str) -> Job {
    let conditions = json!([{"type": type_, "status": "True", "message": message}]);
    serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap()
}

fn running(name: &str) -> Value {
    json!({"name": name, "image": "registry/image", "imageID": "", "ready": true, "restartCount": 0,
           "state": {"running": {}}})
}

#[test]
fn aggregator_that_has_ended_leaves_the_outcome_if_it_had_all() {
    let outcome = Outcome {
        thresholds: 2,
        crossed: 1,
        ..Outcome::default()
    };
    let with = |message: &str| pod("", &[], &[ended("aggregator", 143, "Error", message)]);
    assert_eq!(left_outcome(&with(&outcome.to_message())), Some(outcome));
    assert_eq!(left_outcome(&with("")), None);
    assert_eq!(left_outcome(&pod("", &[], &[])), None);
}

/// The end of a pod whose container has this script mounted, and ended with 255 and this message.
fn without_file(name: &str, mount: &Value, volume: &Value, message: &str) -> Pod {
    let mut pod = pod("", &[], &[ended(name, 255, "Error", message)]);
    let spec = json!({
        "containers": [{"name": name, "image": "registry/image", "volumeMounts": [mount]}], "volumes": [volume]
    });
    pod.spec = Some(serde_json::from_value(spec).unwrap());
    pod
}

fn not_found(file: &str) -> String {
    format!(
        "time=\"now\" level=error msg=\"The moduleSpecifier \\\"{file}\\\" couldn't be found on local disk. Make \
         sure that you've specified the right path. If you're running k6 using the Docker image make sure\""
    )
}

#[test]
fn missing_script_is_told_with_the_mount_and_the_remedy() {
    let claim = json!({"name": "k6-test-volume", "persistentVolumeClaim": {"claimName": "results"}});
    let map = json!({"name": "k6-test-volume", "configMap": {"name": "scripts"}});
    let mount = |folder: &str| json!({"name": "k6-test-volume", "mountPath": folder});
    let other = json!({"name": "data", "mountPath": "/data"});
    for (file, mount, volume, words) in [
        (
            "/test/k6/x.js",
            mount("/test/k6"),
            &claim,
            "there is no file /test/k6/x.js: the volume of the claim results is mounted at /test/k6, and has no x.js; \
             if it is k6/x.js in the volume, set spec.script.volumeClaim.file to k6/x.js",
        ),
        (
            "/test/k6/x.js",
            mount("/test"),
            &claim,
            "there is no file /test/k6/x.js: the volume of the claim results is mounted at /test, and has no k6/x.js; \
             set spec.script.volumeClaim.file to the path of the script in the volume",
        ),
        (
            "/test/x.js",
            mount("/test"),
            &map,
            "there is no file /test/x.js: the ConfigMap scripts is mounted at /test, and has no key x.js; add it, or \
             set spec.script.configMap.file",
        ),
        (
            "/scripts/x.js",
            other.clone(),
            &map,
            "there is no file /scripts/x.js in the image registry/image: set spec.script to where the script is, or \
             spec.runner.image to an image that has it",
        ),
        (
            "/data/x.js",
            other,
            &map,
            "there is no file /data/x.js: the volume data is mounted at /data, and has no x.js",
        ),
        (
            "./lib.js",
            mount("/test"),
            &map,
            "the script imports ./lib.js, which is not there: the files beside the script are those of the same volume \
             or image",
        ),
    ] {
        let message = not_found(file);
        let pod = without_file("inspect", &mount, volume, &message);
        let refused = format!("k6 refused the script (exit code 255): {words}");
        assert_eq!(
            initializer(&Job::default(), Some(&pod)),
            InitializerPod::Failed(refused)
        );
        let pod = without_file(RUNNER, &mount, volume, &message);
        let end = runner(&job_that("Failed", "backoff"), Some(&pod), NOW)
            .end
            .unwrap();
        assert_eq!(end.message, words);
    }
}

#[test]
fn runner_whose_log_goes_elsewhere_says_where() {
    let end_of = |command: &[&str], env: Value, message: &str| {
        let mut pod = pod("", &[], &[ended("k6", 107, "Error", message)]);
        let spec = json!({"containers": [{"name": "k6", "command": command, "env": env}]});
        pod.spec = Some(serde_json::from_value(spec).unwrap());
        runner(&job_that("Failed", "backoff"), Some(&pod), NOW)
            .end
            .unwrap()
            .message
    };
    let progress = "running (0m01.7s), 03/50 VUs, 13 complete and 0 interrupted iterations\n";
    let file = [
        "/p/k6-operator",
        "linger",
        "--",
        "k6",
        "run",
        "--log-output=file=/tmp/k6.log",
        "/test/x.js",
    ];
    let place = "k6's log is in the file /tmp/k6.log of its container (--log-output)";
    assert_eq!(end_of(&file, json!([]), progress), place);
    let ours = format!("{progress}k6-operator: the last export may be lost: gone\n");
    let both = format!("k6-operator: the last export may be lost: gone; {place}");
    assert_eq!(end_of(&file, json!([]), &ours), both);
    let none = json!([{"name": "K6_LOG_OUTPUT", "value": "none"}]);
    assert_eq!(
        end_of(&["k6", "run", "/test/x.js"], none, ""),
        "k6 was told to write no log (K6_LOG_OUTPUT=none)"
    );
    let json = [
        "k6",
        "run",
        "--log-output",
        "stdout",
        "--log-format=json",
        "/test/x.js",
    ];
    let error = r#"{"level":"error","msg":"GoError: no\n","time":"now"}"#;
    assert_eq!(
        end_of(&json, json!([]), &format!("{error}\n{progress}")),
        "GoError: no"
    );
}

/// A pod whose container `k6` runs the program from where it is in every runner, after these init containers.
fn with_program(init: &Value, state: &Value) -> Pod {
    let pod = json!({
        "spec": {
            "initContainers": init,
            "containers": [{"name": RUNNER, "image": "k6", "command": ["/k6-operator-program/k6-operator", "linger"]}]
        },
        "status": {"containerStatuses": [
            {"name": RUNNER, "image": "k6", "imageID": "", "ready": false, "restartCount": 0, "state": state}
        ]}
    });
    serde_json::from_value(pod).unwrap()
}

#[test]
fn remedy_is_named_where_a_node_cannot_mount_the_image_of_the_operator() {
    let remedy = "set IMAGE_VOLUMES=never for the operator";
    let waits =
        json!({"waiting": {"reason": "CreateContainerError", "message": "ImageVolumeMountFailed: no"}});
    let pod = with_program(&json!([]), &waits);
    let said = super::waiting(&pod).unwrap();
    assert!(
        said.starts_with("CreateContainerError: ImageVolumeMountFailed: no; ") && said.ends_with(remedy),
        "{said}"
    );
    let refused =
        json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": "permission denied"}});
    let pod = with_program(&json!([]), &refused);
    let end = runner(&Job::default(), Some(&pod), NOW).end.unwrap();
    assert!(
        end.message.starts_with("permission denied; ") && end.message.ends_with(remedy),
        "{end:?}"
    );
    // Not where the program was copied, or something else is the matter.
    let copied = with_program(&json!([{"name": "copy"}]), &waits);
    assert!(!super::waiting(&copied).unwrap().contains(remedy));
    let unpulled = json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}});
    assert_eq!(
        super::waiting(&with_program(&json!([]), &unpulled)).unwrap(),
        "ErrImagePull: not found"
    );
}
