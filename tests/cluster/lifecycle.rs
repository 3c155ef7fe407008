//! What a person can ask of a run: to be held, stopped, run again, and removed; and what tools see of it.

use crate::faults::{Fault, covers};
use crate::run::{Run, contains_all, says};
use crate::support::{LIMIT, Test, k6_image, names, sleeps, variable};
use futures::StreamExt;
use k6_operator::api::{Kind, LoadTest};
use k6_operator::machine::{Event, Reason, Record, RunResult, StateName};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use kube_runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::time::timeout;

const FAILS: &str =
    "export const options = { vus: 1, iterations: 1, thresholds: { iterations: ['count>5'] } };
export default function () {}
";

fn condition(status: &k6_operator::api::Status, type_: &str) -> (String, String) {
    let condition = status.conditions.iter().find(|c| c.type_ == type_);
    let condition = condition.unwrap_or_else(|| panic!("no condition {type_}: {status:#?}"));
    (condition.status.clone(), condition.reason.clone())
}

fn exit_code(pod: &Pod) -> Option<i32> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    Some(statuses.first()?.state.as_ref()?.terminated.as_ref()?.exit_code)
}

#[tokio::test]
async fn a_suspended_run_has_no_objects_takes_edits_and_goes_on_when_it_is_resumed() {
    let test = Test::new("suspend").await;
    test.script("two", &says(2, "went on")).await;
    let script = json!({"configMap": {"name": "two"}});
    let spec = json!({"parallelism": 1, "script": script, "suspend": true});
    let runs = Run::of_both_kinds(&test, "held", &spec);
    for run in &runs {
        let status = run.when("suspended", |status| status.message.is_some()).await;
        contains_all(
            &status.message.clone().unwrap(),
            &["spec.suspend to be set to false"],
        );
        assert_eq!(status.state, Some(StateName::Initializing));
        assert_eq!(
            condition(&status, "Reconciling"),
            ("False".to_owned(), "Suspended".to_owned())
        );
        run.edit(json!({"parallelism": 2}));
        run.when("taken", |status| {
            status.runners.as_ref().is_some_and(|runners| runners.total == 2)
        })
        .await;
    }
    assert_eq!(test.job_names().await, Vec::<String>::new());
    for run in &runs {
        run.edit(json!({"suspend": false}));
    }
    for run in &runs {
        let status = run.passes().await;
        assert_eq!(status.runners.unwrap().summary, "2/2");
        assert_eq!(run.logs().await.matches("went on").count(), 2);
    }
}

#[tokio::test]
async fn a_stopped_run_is_aborted_and_its_pods_keep_k6s_summary() {
    covers(Fault::StopOrdered, &[StateName::Started]);
    let test = Test::new("stop").await;
    test.script("long", &sleeps(2, 300)).await;
    let spec = json!({"parallelism": 2, "script": {"configMap": {"name": "long"}}});
    let runs = Run::of_both_kinds(&test, "long", &spec);
    for run in &runs {
        run.reaches(StateName::Started).await;
    }
    for run in &runs {
        run.edit(json!({"stop": true}));
    }
    for run in &runs {
        let status = run.ends(RunResult::Aborted, Reason::StopRequested).await;
        assert_eq!(status.message.as_deref(), Some("Stopped, as spec.stop asks"));
        let stopped = |record: &Record| record.event == Event::RunnersStopped { forced: 0 };
        assert!(status.history.iter().any(stopped), "{:?}", status.history);
        let pods = run.pods("runner").await;
        assert_eq!(pods.len(), 2, "{:?}", names(pods));
        for pod in &pods {
            assert_eq!(exit_code(pod), Some(103));
            // The summary at the end of k6's log.
            contains_all(&test.log(pod), &["iterations", "iteration_duration", "vus_max"]);
        }
    }
    let jobs = test.job_names().await;
    contains_all(
        &jobs.join(" "),
        &["long-k6s-1", "long-k6s-2", "long-testruns-1", "long-testruns-2"],
    );
}

#[tokio::test]
async fn a_run_that_is_stopped_before_the_start_leaves_no_runner() {
    covers(Fault::StopOrdered, &[StateName::Initializing, StateName::Created]);
    let test = Test::new("early").await;
    test.script("two", &says(2, "never said")).await;
    // It has its runners, which wait for an image.
    let image = json!({"initializer": {"image": k6_image()}, "runner": {"image": "registry.invalid/none:1"}});
    let mut spec = json!({"parallelism": 2, "script": "two"});
    spec.as_object_mut()
        .unwrap()
        .extend(image.as_object().unwrap().clone());
    let created = Run::apply(&test, Kind::K6, "created", spec);
    let held = Run::apply(
        &test,
        Kind::TestRun,
        "held",
        json!({"parallelism": 2, "script": {"configMap": {"name": "two"}}, "suspend": true}),
    );
    held.reaches(StateName::Initializing).await;
    created.reaches(StateName::Created).await;
    for run in [&created, &held] {
        run.edit(json!({"stop": true}));
        let status = run.ends(RunResult::Aborted, Reason::StopRequested).await;
        contains_all(
            &status.message.unwrap(),
            &["Stopped before the start, as spec.stop asks"],
        );
    }
    test.only_left(&["created-initializer"]).await;
}

/// Whether this status says the end of a run that is not the one its generation of the spec asks for.
fn is_of_another_run(resource: &LoadTest) -> bool {
    let Some(status) = &resource.status else {
        return false;
    };
    let rerun = status.history.iter().rev().find_map(|record| {
        let (Event::Accepted { rerun, .. } | Event::SpecRejected { rerun, .. }) = &record.event else {
            return None;
        };
        Some(rerun.clone())
    });
    status.state == Some(StateName::Finished)
        && status.observed_generation == resource.metadata.generation
        && rerun.flatten() != resource.spec.rerun
}

#[tokio::test]
async fn rerun_is_never_told_with_the_end_of_the_run_before_it() {
    let test = Test::new("generation").await;
    test.script("brief", &sleeps(1, 5)).await;
    let spec = json!({"parallelism": 1, "script": "brief", "rerun": "a"});
    let run = Run::apply(&test, Kind::K6, "again", spec);
    let events = watcher(test.k6s(), watcher::Config::default()).applied_objects();
    let wrong: Arc<Mutex<Vec<LoadTest>>> = Arc::default();
    let seen = Arc::clone(&wrong);
    let watch = tokio::spawn(async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            let mut seen = seen.lock().unwrap();
            seen.extend(event.ok().filter(is_of_another_run));
        }
    });
    test.reaches("again", StateName::Started).await;
    // While the first run goes on, and right after the end of the second.
    run.edit(json!({"rerun": "b"}));
    let wait = ["wait", "k6/again", "--for=condition=Ready", "--timeout=90s"];
    test.kubectl(&wait);
    assert_eq!(test.status("again").await.attempt, Some(2));
    run.edit(json!({"rerun": "c"}));
    test.kubectl(&wait);
    let status = test.status("again").await;
    assert_eq!((status.attempt, status.observed_generation), (Some(3), Some(3)));
    watch.abort();
    assert_eq!(*wrong.lock().unwrap(), Vec::new());
}

#[tokio::test]
async fn a_rerun_has_names_of_its_own_and_keeps_a_line_of_the_run_before() {
    let test = Test::new("rerun").await;
    test.script("first", &says(2, "the first script")).await;
    test.script("second", &says(2, "the second script")).await;
    let again = Run::apply(
        &test,
        Kind::K6,
        "again",
        json!({"parallelism": 1, "script": "first", "rerun": "a"}),
    );
    let spec = json!({"parallelism": 1, "script": {"configMap": {"name": "first"}}});
    let changed = Run::apply(&test, Kind::TestRun, "changed", spec);
    again.passes().await;
    changed.passes().await;
    again.edit(json!({"rerun": "b"}));
    let second = json!({"configMap": {"name": "second"}});
    changed.edit(json!({"rerun": "1", "parallelism": 2, "script": second}));
    for (run, runners) in [(&again, 1), (&changed, 2)] {
        let status = run
            .attempt_ends(2, RunResult::Passed, Reason::AllRunnersPassed)
            .await;
        assert_eq!(status.runners.as_ref().unwrap().total, runners);
        let Event::RerunOrdered { attempt: 2, former } = &status.history[0].event else {
            panic!("{:#?}", status.history);
        };
        assert_eq!(
            (former.result, former.reason),
            (RunResult::Passed, Reason::AllRunnersPassed)
        );
        assert_eq!(former.message, "1 of 1 runners passed");
    }
    let jobs = [
        "again-r2-1",
        "again-r2-initializer",
        "again-r2-starter",
        "changed-r2-1",
        "changed-r2-2",
        "changed-r2-initializer",
        "changed-r2-starter",
    ];
    test.until("only the Jobs of the second runs are left", LIMIT, async || {
        (test.job_names().await == jobs).then_some(())
    })
    .await;
    contains_all(&test.kubectl(&["logs", "job/again-r2-1"]), &["the first script"]);
    contains_all(
        &test.kubectl(&["logs", "job/changed-r2-2"]),
        &["the second script"],
    );
    // Edited again, but for no new run: the frozen fields are.
    let told = changed.edit_refused(json!({"parallelism": 1}));
    contains_all(&told, &["spec.parallelism can't be changed"]);
}

#[tokio::test]
async fn a_finished_resource_is_deleted_when_its_spec_says_so() {
    let test = Test::new("retention").await;
    test.script("good", &says(1, "good")).await;
    test.script("bad", FAILS).await;
    let spec = |script: &str, more: Value| {
        let mut spec = json!({"parallelism": 1, "script": {"configMap": {"name": script}}});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        spec
    };
    let kept = [
        Run::apply(
            &test,
            Kind::TestRun,
            "kept",
            spec("bad", json!({"cleanup": "onSuccess"})),
        ),
        Run::apply(&test, Kind::K6, "no-ttl", spec("good", json!({}))),
    ];
    let gone = [
        Run::apply(
            &test,
            Kind::K6,
            "ttl",
            spec("good", json!({"ttlSecondsAfterFinished": 2})),
        ),
        Run::apply(
            &test,
            Kind::TestRun,
            "post",
            spec("bad", json!({"cleanup": "post"})),
        ),
        Run::apply(
            &test,
            Kind::K6,
            "on-success",
            spec("good", json!({"cleanup": "onSuccess"})),
        ),
    ];
    let is_gone = async |run: &Run<'_>| {
        let what = format!("{} is deleted", run.name);
        test.until(&what, LIMIT, async || {
            let found = test.of(run.kind).get_opt(&run.name).await.unwrap();
            found.is_none().then_some(())
        })
        .await;
    };
    for run in &gone {
        is_gone(run).await;
    }
    kept[0].ends(RunResult::Failed, Reason::ThresholdsCrossed).await;
    kept[1].passes().await;
    // Their end was told before they went.
    let told = test.kubectl(&[
        "get",
        "events",
        "-o",
        "jsonpath={range .items[*]}{.involvedObject.name} {.reason}{'\\n'}{end}",
    ]);
    contains_all(
        &told,
        &[
            "ttl AllRunnersPassed",
            "post ThresholdsCrossed",
            "on-success AllRunnersPassed",
        ],
    );
    // It can be said afterwards too.
    kept[1].edit(json!({"ttlSecondsAfterFinished": 0}));
    is_gone(&kept[1]).await;
    test.until("the children went with them", LIMIT, async || {
        let jobs = test.job_names().await;
        jobs.iter().all(|job| job.starts_with("kept")).then_some(())
    })
    .await;
    assert!(test.of(Kind::TestRun).get_opt("kept").await.unwrap().is_some());
}

#[tokio::test]
async fn what_is_not_supported_is_told_and_the_test_runs() {
    let test = Test::new("unsupported").await;
    test.script("one", &says(1, "runs")).await;
    let spec = json!({
        "parallelism": 1, "script": {"configMap": {"name": "one"}}, "testRunId": "7", "token": "secret",
        "scuttle": {"enabled": "true", "envoyAdminApi": "http://127.0.0.1:15000"}
    });
    let run = Run::apply(&test, Kind::TestRun, "cloud", spec);
    let fields = [
        "spec.testRunId has no effect",
        "spec.token has no effect",
        "spec.scuttle has no effect",
    ];
    let status = run.passes().await;
    assert_eq!(
        condition(&status, "Unsupported"),
        ("True".to_owned(), "NotSupported".to_owned())
    );
    let message = &status
        .conditions
        .iter()
        .find(|c| c.type_ == "Unsupported")
        .unwrap()
        .message;
    contains_all(message, &fields);
    let events = test.kubectl(&["events", "--for", &run.path(), "--no-headers"]);
    let told = events
        .lines()
        .find(|line| line.contains("Unsupported"))
        .expect(&events);
    contains_all(told, &["Warning", "spec.testRunId has no effect"]);
}

#[tokio::test]
async fn several_tests_at_once_each_run_their_own_script() {
    let test = Test::new("at-once").await;
    let mut runs = Vec::new();
    for (i, parallelism) in [1, 2, 3, 2].into_iter().enumerate() {
        let name = format!("test-{i}");
        test.script(&name, &says(parallelism, &format!("this is {name}")))
            .await;
        let spec = json!({"parallelism": parallelism, "script": {"configMap": {"name": name}}});
        let kind = Kind::ALL[i % 2];
        runs.push((Run::apply(&test, kind, &name, spec), parallelism));
    }
    for (run, parallelism) in &runs {
        let status = run.passes().await;
        assert_eq!(status.runners.unwrap().total, *parallelism);
        let logs = run.logs().await;
        let own = format!("this is {}", run.name);
        let count = |words: &str| u32::try_from(logs.matches(words).count()).unwrap();
        assert_eq!(
            (count(&own), count("this is")),
            (*parallelism, *parallelism),
            "{logs}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_carried_out_is_the_stage_error_in_k6s_own_words() {
    let test = Test::new("error").await;
    test.script("one", &says(1, "never")).await;
    let spec = |parallelism: u32, arguments: &str| json!({"parallelism": parallelism, "script": {"configMap": {"name": "one"}}, "arguments": arguments});
    let wrong = [
        (
            "many",
            spec(5, ""),
            Reason::ParallelismTooHigh,
            ["spec.parallelism is 5", "at most 1 virtual users"],
        ),
        (
            "flag",
            spec(1, "--no-such-flag"),
            Reason::ScriptError,
            ["k6 refused", "has no flag --no-such-flag"],
        ),
        (
            "value",
            spec(1, "--vus many"),
            Reason::ScriptError,
            ["k6 refused", "invalid argument \"many\" for \"-u, --vus\""],
        ),
    ];
    let mut runs = Vec::new();
    for (name, spec, reason, words) in wrong {
        for kind in Kind::ALL {
            let name = format!("{name}-{}", kind.plural());
            runs.push((Run::apply(&test, kind, &name, spec.clone()), reason, words));
        }
    }
    for (run, reason, words) in &runs {
        run.errs(*reason, words).await;
        let stage = test.kubectl(&["get", &run.path(), "-o", "jsonpath={.status.stage}"]);
        assert_eq!(stage, "error");
    }
    let jobs = test.job_names().await;
    assert!(jobs.iter().all(|job| job.ends_with("-initializer")), "{jobs:?}");
}

#[tokio::test]
async fn of_two_kinds_with_one_name_the_second_conflicts_and_the_first_is_left_alone() {
    covers(
        Fault::ForeignObject,
        &[StateName::Initializing, StateName::Created],
    );
    let test = Test::new("twins").await;
    test.script("two", &sleeps(2, 8)).await;
    let spec = json!({"parallelism": 2, "script": {"configMap": {"name": "two"}}});
    let first = Run::apply(&test, Kind::K6, "twin", spec.clone());
    first.reaches(StateName::Created).await;
    let second = Run::apply(&test, Kind::TestRun, "twin", spec);
    second
        .errs(
            Reason::NameConflict,
            &[
                "Job twin-",
                "exists and is not this run's",
                "give this TestRun another name",
            ],
        )
        .await;
    first.passes().await;
    let kept = ["twin-1", "twin-2", "twin-initializer", "twin-starter"];
    test.until("only what is kept is there", LIMIT, async || {
        (test.job_names().await == kept).then_some(())
    })
    .await;
    test.kubectl(&["delete", "testrun", "twin"]);
    let first = first.get().await;
    assert_eq!(first.status.unwrap().runners.unwrap().summary, "2/2");
    for job in kept {
        let job = test.jobs().get(job).await.unwrap();
        assert_eq!(Some(&job.owner_references()[0].uid), first.metadata.uid.as_ref());
    }
}

/// The stages of a run, one after the other.
async fn stages(run: &Run<'_>) -> Vec<String> {
    let only = watcher::Config::default()
        .fields(&format!("metadata.name={}", run.name))
        .timeout(20);
    let mut written = watcher(run.test.of(run.kind), only).applied_objects().boxed();
    let mut stages: Vec<String> = Vec::new();
    let over = timeout(LIMIT, async {
        while let Some(resource) = written.next().await {
            let status = resource
                .ok()
                .and_then(|resource| resource.status)
                .unwrap_or_default();
            let stage = serde_json::to_value(status.stage).unwrap();
            if let Some(stage) = stage.as_str()
                && stages.last().is_none_or(|last| last != stage)
            {
                stages.push(stage.to_owned());
            }
            if status.state == Some(StateName::Finished) {
                break;
            }
        }
    });
    over.await.unwrap();
    stages
}

#[tokio::test]
async fn the_stages_are_those_of_the_peer_and_kubectl_can_wait_for_them() {
    let test = Test::new("stages").await;
    test.script("one", &sleeps(1, 2)).await;
    test.script("long", &sleeps(1, 300)).await;
    let spec =
        |script: &str| json!({"parallelism": 1, "script": {"configMap": {"name": script}}, "suspend": true});
    let k6 = Run::apply(&test, Kind::K6, "whole", spec("one"));
    let peer = Run::apply(&test, Kind::TestRun, "whole-peer", spec("one"));
    let stopped = Run::apply(&test, Kind::TestRun, "stopped", spec("long"));
    let stop = async {
        stopped.reaches(StateName::Started).await;
        stopped.edit(json!({"stop": true}));
    };
    let resume = async {
        for run in [&k6, &peer, &stopped] {
            run.edit(json!({"suspend": false}));
        }
    };
    let (of_k6, of_peer, of_stopped, (), ()) =
        tokio::join!(stages(&k6), stages(&peer), stages(&stopped), stop, resume);
    let whole = ["initialization", "created", "started", "finished"];
    assert_eq!(of_k6, whole);
    assert_eq!(of_peer, whole);
    assert_eq!(
        of_stopped,
        ["initialization", "created", "started", "stopped", "finished"]
    );
    for run in [&k6, &peer] {
        for what in [
            "condition=Succeeded",
            "condition=Ready",
            "jsonpath={.status.stage}=finished",
        ] {
            let told = test.kubectl(&["wait", &format!("--for={what}"), &run.path(), "--timeout=10s"]);
            contains_all(&told, &["condition met"]);
        }
    }
    let told = test.kubectl(&[
        "wait",
        "--for=condition=Succeeded=False",
        &stopped.path(),
        "--timeout=10s",
    ]);
    contains_all(&told, &["condition met"]);
}

#[tokio::test]
async fn the_operator_writes_nothing_but_the_status() {
    let test = Test::new("status-only").await;
    test.script("one", &says(1, "once")).await;
    let spec = json!({"parallelism": 1, "script": {"configMap": {"name": "one"}}, "runner": {"resources": {"limits": {"cpu": 1}}}});
    let runs = Run::of_both_kinds(&test, "spec", &spec);
    for run in &runs {
        run.passes().await;
        let resource = run.get().await;
        assert_eq!(resource.metadata.generation, Some(1));
        assert_eq!(resource.status.as_ref().unwrap().observed_generation, Some(1));
        let text = test.kubectl(&["get", &run.path(), "-o", "json"]);
        let written: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(written["spec"], spec);
        assert_eq!(written["metadata"].get("finalizers"), None);
        let mut operators = 0;
        for entry in resource.metadata.managed_fields.unwrap() {
            let fields = entry.fields_v1.unwrap().0;
            let fields: Vec<&String> = fields.as_object().unwrap().keys().collect();
            if entry.manager.as_deref().unwrap().starts_with("kubectl") {
                assert!(!fields.contains(&&"f:status".to_owned()), "{fields:?}");
            } else {
                assert_eq!(
                    (entry.subresource.as_deref(), &fields[..]),
                    (Some("status"), &[&"f:status".to_owned()][..])
                );
                operators += 1;
            }
        }
        assert_eq!(operators, 1);
    }
}

#[tokio::test]
async fn long_names_run() {
    let test = Test::new("names").await;
    test.script("two", &says(2, "under a long name")).await;
    let spec = json!({"parallelism": 2, "script": {"configMap": {"name": "two"}}});
    let long = |length: usize| {
        format!(
            "{}-x7k2p",
            "nightly-load-test.of-the-shop."
                .repeat(4)
                .get(..length - 6)
                .unwrap()
        )
    };
    let runs = [
        Run::apply(&test, Kind::K6, &long(60), spec.clone()),
        Run::apply(&test, Kind::TestRun, &long(100), spec),
    ];
    for run in &runs {
        run.passes().await;
        let uid = run.get().await.uid().unwrap();
        let selector = format!("k6.io/run-uid={uid},runner=true");
        let logs = test.kubectl(&["logs", "-l", &selector, "--tail=-1"]);
        assert_eq!(logs.matches("under a long name").count(), 2, "{logs}");
        let jobs = test.kubectl(&["get", "jobs", "-l", &selector, "-o", "name"]);
        assert_eq!(jobs.lines().count(), 2, "{jobs}");
        test.kubectl(&["delete", &run.path()]);
    }
    test.nothing_left().await;
}

/// Every resource of ours in the samples, as a file of its own.
fn samples(test: &Test) -> Vec<String> {
    fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    for folder in ["manifests/samples", "manifests/argocd/samples"] {
        walk(&PathBuf::from(variable("K6OP_REPO")).join(folder), &mut files);
    }
    files.sort();
    let mut samples = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for document in text.split("\n---") {
            let Ok(resource) = serde_saphyr::from_str::<Value>(document) else {
                continue;
            };
            if Kind::parse(resource["kind"].as_str().unwrap_or_default()).is_some()
                && resource["spec"].is_object()
            {
                let name = format!("sample-{}.yaml", samples.len());
                // Some share a name, and kubectl can't apply what has none.
                let metadata = &resource["metadata"];
                let given = [
                    ("name", &metadata["name"]),
                    ("generateName", &metadata["generateName"]),
                ];
                let (field, text) = given.into_iter().find(|(_, text)| text.is_string()).unwrap();
                let line = format!("  {field}: {}\n", text.as_str().unwrap());
                let named = format!("  name: sample-{}\n", samples.len());
                test.file(&name, &document.replacen(&line, &named, 1));
                samples.push(name);
            }
        }
    }
    assert!(samples.len() >= 3, "{samples:?}");
    samples
}

#[tokio::test]
async fn what_was_applied_twice_shows_no_difference() {
    let test = Test::new("diff").await;
    let all = json!({
        "parallelism": 1, "script": {"configMap": {"name": "none"}}, "quiet": "false", "paused": "true",
        "separate": false, "suspend": true, "arguments": "", "args": [], "cleanup": "post",
        "runner": {
            "resources": {"limits": {"cpu": 1, "memory": "256Mi"}, "requests": {"cpu": "0.10"}},
            "env": [{"name": "A", "value": "b"}], "automountServiceAccountToken": "true",
            "metadata": {"labels": {}, "annotations": {"a": "b"}}, "nodeSelector": {}, "tolerations": []
        },
        "initializer": {"disabled": false}, "timeouts": {}, "podTemplate": {"securityContext": {}}
    });
    let mut files = samples(&test);
    for kind in Kind::ALL {
        files.push(test.manifest(kind, &format!("all-{}", kind.plural()), all.clone()));
    }
    let all_of: Vec<&str> = files.iter().flat_map(|file| ["-f", file]).collect();
    let generations = async || {
        let mut generations = Vec::new();
        for kind in Kind::ALL {
            let list = test.of(kind).list(&ListParams::default()).await.unwrap();
            generations.extend(list.items.into_iter().map(|run| {
                let seen = run.status.and_then(|status| status.observed_generation);
                (run.metadata.generation, seen)
            }));
        }
        generations
    };
    for side in [
        &["--server-side=false"][..],
        &["--server-side", "--force-conflicts"],
    ] {
        let kubectl = |verb: &'static str| [&[verb][..], &all_of, side].concat();
        test.kubectl(&kubectl("apply"));
        test.until("the operator has written each status", LIMIT, async || {
            let all = generations().await;
            all.iter()
                .all(|(generation, seen)| seen == generation)
                .then_some(())
        })
        .await;
        test.kubectl(&kubectl("apply"));
        // kubectl ends in an error if there is a difference.
        assert_eq!(test.kubectl(&kubectl("diff")), "", "{side:?}");
        assert_eq!(
            generations().await,
            vec![(Some(1), Some(1)); files.len()],
            "{side:?}"
        );
        test.kubectl(&[&["delete"][..], &all_of].concat());
    }
}
