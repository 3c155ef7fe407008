//! Tests in Applications of a real Argo CD, with what `manifests/argocd` says: `tests/cluster/argocd` runs these.

use crate::run::{Run, contains_all, says};
use crate::support::{LIMIT, OPERATOR_NAMESPACE, Test, k6_image, variable};
use futures::StreamExt;
use futures::future::join_all;
use jiff::Timestamp;
use k6_operator::api::Kind;
use k6_operator::machine::{Reason, RunResult, StateName};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use kube_runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// A test of some seconds that keeps this threshold, or does not.
fn script(threshold: &str) -> String {
    format!(
        "import {{ sleep }} from 'k6';
export const options = {{ vus: 2, duration: '4s', thresholds: {{ iterations: ['{threshold}'] }} }};
export default function () {{ sleep(0.2); }}
"
    )
}

const HOLDS: &str = "count>0";
const IS_CROSSED: &str = "count>100000";

fn config_map(name: &str, script: &str, wave: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "annotations": {"argocd.argoproj.io/sync-wave": wave}},
        "data": {"test.js": script}
    })
    .to_string()
}

fn resource(kind: Kind, name: &str, spec: &Value) -> String {
    json!({"apiVersion": "k6.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
        .to_string()
}

fn sample(file: &str) -> String {
    let path = format!("{}/manifests/argocd/samples/{file}", variable("K6OP_REPO"));
    std::fs::read_to_string(path).unwrap()
}

/// A repository of git, from which Argo CD reads.
struct Repository(TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(TempDir::new().unwrap());
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=test", "-c", "user.email=test@example.com"])
            .args(arguments)
            .current_dir(self.0.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn url(&self) -> String {
        format!("file://{}", self.0.path().display())
    }

    /// The commit in which these files are so.
    fn commit(&self, files: &[(&str, String)]) -> String {
        for (name, text) in files {
            let path = self.0.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message=test"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// A folder of this project and all that is in it.
    fn copy(&self, folder: &str) {
        let from = format!("{}/{folder}/.", variable("K6OP_REPO"));
        let done = Command::new("cp").arg("-R").arg(from).arg(self.0.path()).status();
        assert!(done.unwrap().success());
    }
}

/// What an Application showed at one time.
#[derive(Clone, Debug, Default, PartialEq)]
struct View {
    sync: String,
    health: String,
    /// The commit that is compared with.
    revision: String,
    /// The commit and the phase of the last sync.
    synced: (String, String),
    /// Kind, name, health and message of each resource.
    resources: Vec<[String; 4]>,
    status: Value,
}

impl View {
    fn of(application: &DynamicObject) -> Self {
        let status = &application.data["status"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let operation = &status["operationState"];
        let resources = status["resources"].as_array().into_iter().flatten();
        Self {
            sync: text(&status["sync"]["status"]),
            health: text(&status["health"]["status"]),
            revision: text(&status["sync"]["revision"]),
            synced: (
                text(&operation["syncResult"]["revision"]),
                text(&operation["phase"]),
            ),
            resources: resources
                .map(|resource| {
                    let health = &resource["health"];
                    [
                        &resource["kind"],
                        &resource["name"],
                        &health["status"],
                        &health["message"],
                    ]
                    .map(text)
                })
                .collect(),
            status: status.clone(),
        }
    }

    /// Health and message of the only resource of this kind.
    fn of_kind(&self, kind: &str) -> (&str, &str) {
        let found = self.resources.iter().find(|resource| resource[0] == kind);
        found.map_or(("", ""), |[_, _, health, message]| (health, message))
    }

    fn is(&self, sync: &str, health: &str) -> bool {
        (self.sync.as_str(), self.health.as_str()) == (sync, health)
    }
}

/// An Application, and all that it has shown.
struct Application<'a> {
    test: &'a Test,
    name: String,
    api: Api<DynamicObject>,
    seen: Arc<Mutex<Vec<View>>>,
    _watch: JoinSet<()>,
}

impl<'a> Application<'a> {
    /// One for the namespace of the test, of the root of the repository.
    async fn new(test: &'a Test, name: &str, repository: &Repository, more: Value) -> Self {
        let kind = GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Application");
        let api: Api<DynamicObject> =
            Api::namespaced_with(test.client.clone(), "argocd", &ApiResource::from_gvk(&kind));
        let name = format!("{}-{name}", test.namespace);
        let mut application = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": {"name": name, "namespace": "argocd"},
            "spec": {
                "project": "default",
                "source": {"repoURL": repository.url(), "path": ".", "targetRevision": "HEAD"},
                "destination": {"server": "https://kubernetes.default.svc", "namespace": test.namespace}
            }
        });
        merge(&mut application, more);
        let application: DynamicObject = serde_json::from_value(application).unwrap();
        let seen: Arc<Mutex<Vec<View>>> = Arc::default();
        let mut watch = JoinSet::new();
        let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut events = watcher(api.clone(), only).applied_objects().boxed();
        let views = Arc::clone(&seen);
        watch.spawn(async move {
            while let Some(event) = events.next().await {
                if let Ok(application) = event {
                    views.lock().unwrap().push(View::of(&application));
                }
            }
        });
        api.create(&PostParams::default(), &application).await.unwrap();
        let test_of = test;
        Self {
            test: test_of,
            name,
            api,
            seen,
            _watch: watch,
        }
    }

    async fn now(&self) -> View {
        View::of(&self.api.get(&self.name).await.unwrap())
    }

    async fn patch(&self, patch: Value) {
        let how = PatchParams::default();
        self.api
            .patch(&self.name, &how, &Patch::Merge(&patch))
            .await
            .unwrap();
    }

    /// The first view, from now on, of which this is true.
    async fn until(&self, what: &str, is: impl Fn(&View) -> bool) -> View {
        let what = format!(
            "{} is {what}: {:#?}",
            self.name,
            self.now().await.status["health"]
        );
        self.test
            .until(&what, LIMIT, async || {
                let view = self.now().await;
                is(&view).then_some(view)
            })
            .await
    }

    /// A comparison with what is in the repository now, and its end; a hard one reads the files anew.
    async fn refresh(&self, how: &str) {
        self.patch(json!({"metadata": {"annotations": {"argocd.argoproj.io/refresh": how}}}))
            .await;
        self.test
            .until("the refresh is done", LIMIT, async || {
                let application = self.api.get(&self.name).await.unwrap();
                let waits = application
                    .annotations()
                    .contains_key("argocd.argoproj.io/refresh");
                (!waits).then_some(())
            })
            .await;
    }

    /// A sync to this commit, and what has become of it.
    async fn sync(&self, commit: &str) -> View {
        self.patch(
            json!({"operation": {"sync": {"revision": commit, "prune": true}, "retry": {"limit": 0}}}),
        )
        .await;
        let ended = ["Succeeded", "Failed", "Error"];
        self.until("synced", |view| {
            view.synced.0 == commit && ended.contains(&view.synced.1.as_str())
        })
        .await
    }

    /// What it has shown of a field, one after the other.
    fn seen<T: PartialEq>(&self, field: impl Fn(&View) -> T) -> Vec<T> {
        let mut all: Vec<T> = self.seen.lock().unwrap().iter().map(field).collect();
        all.dedup();
        all
    }
}

impl Drop for Application<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for view in self.seen.lock().unwrap().iter() {
                eprintln!("{} {} {} {:?}", self.name, view.sync, view.health, view.synced);
            }
            let told = ["get", "application", &self.name, "-n", "argocd", "-o", "yaml"];
            eprintln!("{}", self.test.said(&told));
        }
        let delete = [
            "delete",
            "application",
            &self.name,
            "-n",
            "argocd",
            "--wait=false",
        ];
        self.test.said(&delete);
    }
}

fn merge(base: &mut Value, more: Value) {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (field, value) in more {
                merge(base.entry(field).or_insert(Value::Null), value);
            }
        }
        (base, more) => *base = more,
    }
}

/// As in samples/application.yaml.
fn automated() -> Value {
    json!({"spec": {"syncPolicy": {
        "automated": {"prune": true}, "syncOptions": ["PruneLast=true"], "retry": {"limit": 0}
    }}})
}

fn requests<'a>(audited: &'a [Value], verb: &str, resource: &str, name: &str) -> Vec<&'a Value> {
    let is = |event: &&Value| {
        let of = &event["objectRef"];
        event["verb"] == verb
            && of["resource"] == resource
            && of["name"] == name
            && of["subresource"].is_null()
    };
    let done = |event: &&Value| {
        event["responseStatus"]["code"]
            .as_u64()
            .is_some_and(|code| code < 300)
    };
    audited.iter().filter(is).filter(done).collect()
}

fn time(event: &Value) -> Timestamp {
    event["requestReceivedTimestamp"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test]
#[ignore = "needs Argo CD: tests/cluster/argocd"]
async fn application_is_progressing_while_its_test_runs_and_then_has_its_verdict() {
    let test = Test::new("health").await;
    let good = Repository::new();
    let bad = Repository::new();
    let spec = |script: &str| json!({"parallelism": 2, "script": script});
    good.commit(&[
        ("script.yaml", config_map("good", &script(HOLDS), "0")),
        ("test.yaml", resource(Kind::K6, "good", &spec("good"))),
    ]);
    let of_test_run = json!({"parallelism": 1, "script": {"configMap": {"name": "bad"}}});
    bad.commit(&[
        ("script.yaml", config_map("bad", &script(IS_CROSSED), "0")),
        ("test.yaml", resource(Kind::TestRun, "bad", &of_test_run)),
    ]);
    let (passing, failing) = tokio::join!(
        Application::new(&test, "good", &good, automated()),
        Application::new(&test, "bad", &bad, automated()),
    );
    let runs = [
        (
            &passing,
            Run::of(&test, Kind::K6, "good"),
            "Healthy",
            RunResult::Passed,
        ),
        (
            &failing,
            Run::of(&test, Kind::TestRun, "bad"),
            "Degraded",
            RunResult::Failed,
        ),
    ];
    let progresses = runs.iter().map(async |(application, run, _, _)| {
        run.reaches(StateName::Started).await;
        let view = application
            .until("Progressing", |view| view.is("Synced", "Progressing"))
            .await;
        assert_eq!(view.of_kind(run.kind.as_str()).0, "Progressing");
    });
    join_all(progresses).await;
    for (application, run, health, result) in &runs {
        let status = run
            .when("Finished", |status| status.state == Some(StateName::Finished))
            .await;
        assert_eq!(status.result, Some(*result), "{:?}", status.message);
        let view = application.until(health, |view| view.is("Synced", health)).await;
        let message = status.message.unwrap_or_default();
        assert_eq!(view.of_kind(run.kind.as_str()), (*health, message.as_str()));
        // Nothing else came before.
        let mut healths = application.seen(|view| view.health.clone());
        healths.retain(|health| !["", "Missing", "Progressing"].contains(&health.as_str()));
        assert_eq!(healths, [*health]);
    }
    let message = test.kubectl(&["get", "testrun", "bad", "-o", "jsonpath={.status.message}"]);
    contains_all(&message, &["thresholds crossed", "iterations", IS_CROSSED]);
}

#[tokio::test]
#[ignore = "needs Argo CD: tests/cluster/argocd"]
async fn gate_after_a_sync_fails_it_with_the_message_of_the_test_and_lets_it_pass() {
    let test = Test::new("gate").await;
    let repository = Repository::new();
    let name = "crocodile-stress-test";
    let samples = sample("postsync-gate.yaml");
    let gate = samples.split("\n---\n").next().unwrap();
    contains_all(
        gate,
        &["hook: PostSync", "BeforeHookCreation", "parallelism: 4", name],
    );
    let gate = gate.replace("parallelism: 4", "parallelism: 1");
    let with = |threshold: &str| [("script.yaml", config_map(name, &script(threshold), "0"))];
    let first = repository.commit(&[&with(HOLDS)[..], &[("gate.yaml", gate)]].concat());
    let application = Application::new(&test, "gate", &repository, json!({})).await;
    let run = Run::of(&test, Kind::K6, "postsync-gate");

    let view = application.sync(&first).await;
    assert_eq!(view.synced.1, "Succeeded", "{:#}", view.status["operationState"]);
    let passed = run.get().await;
    assert_eq!(passed.status.as_ref().unwrap().result, Some(RunResult::Passed));

    let second = repository.commit(&with(IS_CROSSED));
    let view = application.sync(&second).await;
    assert_eq!(view.synced.1, "Failed", "{:#}", view.status["operationState"]);
    let failed = run.get().await;
    assert_ne!(failed.uid(), passed.uid(), "each sync has a test of its own");
    let status = failed.status.unwrap();
    assert_eq!(status.result, Some(RunResult::Failed));
    let told = view.status["operationState"].to_string();
    contains_all(&told, &[&status.message.unwrap()]);

    let third = repository.commit(&with("count>=1"));
    let view = application.sync(&third).await;
    assert_eq!(view.synced.1, "Succeeded", "{:#}", view.status["operationState"]);
    assert_eq!(run.get().await.status.unwrap().result, Some(RunResult::Passed));
}

#[tokio::test]
#[ignore = "needs Argo CD: tests/cluster/argocd"]
async fn wave_after_a_test_is_applied_when_the_new_run_has_passed_and_never_by_the_run_before() {
    let test = Test::new("waves").await;
    let repository = Repository::new();
    // The summary takes its time, and the next sync comes before it is there.
    let slow = |threshold: &str| {
        let slow = "export function handleSummary() {
  const until = Date.now() + 3000;
  while (Date.now() < until) {}
  return { stdout: 'done' };
}
";
        script(threshold) + slow
    };
    let version = |number: &str, threshold: &str| {
        let spec = json!({"parallelism": 1, "script": format!("script-{number}"), "rerun": number});
        let mut test = serde_json::from_str::<Value>(&resource(Kind::K6, "wave", &spec)).unwrap();
        test["metadata"]["annotations"] = json!({"argocd.argoproj.io/sync-wave": "1"});
        repository.commit(&[
            (
                "script.yaml",
                config_map(&format!("script-{number}"), &slow(threshold), "0"),
            ),
            ("test.yaml", test.to_string()),
            ("after.yaml", config_map("after", number, "2")),
        ])
    };
    let first = version("1", HOLDS);
    let options = json!({"spec": {"syncPolicy": {"syncOptions": ["PruneLast=true"]}}});
    let application = Application::new(&test, "waves", &repository, options).await;
    let run = Run::of(&test, Kind::K6, "wave");
    let after = || {
        let path = [
            "get",
            "configmap",
            "after",
            "--ignore-not-found",
            "-o",
            r"jsonpath={.data.test\.js}",
        ];
        test.kubectl(&path)
    };

    let view = application.sync(&first).await;
    assert_eq!((view.synced.1.as_str(), after().as_str()), ("Succeeded", "1"));
    // The run before has passed, and the new one has not begun.
    let second = version("2", IS_CROSSED);
    let view = application.sync(&second).await;
    assert_eq!(view.synced.1, "Failed", "{:#}", view.status["operationState"]);
    let status = run
        .attempt_ends(2, RunResult::Failed, Reason::ThresholdsCrossed)
        .await;
    let told = view.status["operationState"].to_string();
    contains_all(&told, &["thresholds crossed", &status.message.unwrap()]);
    assert_eq!(after(), "1");

    let third = version("3", HOLDS);
    let view = application.sync(&third).await;
    assert_eq!((view.synced.1.as_str(), after().as_str()), ("Succeeded", "3"));
    run.attempt_ends(3, RunResult::Passed, Reason::AllRunnersPassed)
        .await;

    // Each time it was applied, a run had just passed.
    let audited = test.audited();
    let mut applied = requests(&audited, "create", "configmaps", "after");
    applied.extend(requests(&audited, "patch", "configmaps", "after"));
    let begun: Vec<_> = requests(&audited, "patch", "k6s", "wave")
        .into_iter()
        .map(time)
        .collect();
    let ended: Vec<Timestamp> = audited
        .iter()
        .filter(|event| {
            let status = &event["requestObject"]["status"];
            event["objectRef"]["name"] == "wave"
                && status["state"] == "Finished"
                && status["result"] == "Passed"
        })
        .map(time)
        .collect();
    assert_eq!(applied.len(), 2, "{applied:#?}");
    for event in applied {
        let last = begun.iter().filter(|begun| **begun < time(event)).max();
        let between = ended
            .iter()
            .any(|ended| last.is_none_or(|begun| begun < ended) && *ended < time(event));
        assert!(between, "{event:#}\nbegun {begun:?}, ended {ended:?}");
    }
}

#[tokio::test]
#[ignore = "needs Argo CD: tests/cluster/argocd"]
async fn another_script_is_another_run_and_another_commit_is_none() {
    let test = Test::new("rerun").await;
    let repository = Repository::new();
    repository.copy("manifests/argocd/samples/rerun-on-change");
    let one =
        |file: &str| sample(&format!("rerun-on-change/{file}")).replace("parallelism: 4", "parallelism: 1");
    repository.commit(&[
        ("test.js", script(HOLDS)),
        ("k6.yaml", one("k6.yaml")),
        ("testrun.yaml", one("testrun.yaml")),
    ]);
    let application = Application::new(&test, "rerun", &repository, automated()).await;
    let runs = [
        Run::of(&test, Kind::K6, "crocodiles"),
        Run::of(&test, Kind::TestRun, "crocodiles-testrun"),
    ];
    application
        .until("Healthy", |view| view.is("Synced", "Healthy"))
        .await;
    let mut scripts = Vec::new();
    for run in &runs {
        run.passes().await;
        scripts.push(run.get().await.spec.rerun.unwrap());
    }
    assert_eq!(scripts[0], scripts[1]);

    let commit = repository.commit(&[("README.md", "Not of the test.".to_owned())]);
    application.refresh("normal").await;
    application
        .until("at the commit", |view| {
            view.revision == commit && view.is("Synced", "Healthy")
        })
        .await;
    for run in &runs {
        assert_eq!(run.get().await.status.unwrap().attempt, Some(1));
    }

    // The sync fails with the test. It has not come to prune the script before, which so is out of sync.
    repository.commit(&[("test.js", script(IS_CROSSED))]);
    application.refresh("normal").await;
    for run in &runs {
        run.attempt_ends(2, RunResult::Failed, Reason::ThresholdsCrossed)
            .await;
    }
    let view = application
        .until("Degraded", |view| {
            view.is("OutOfSync", "Degraded") && view.synced.1 == "Failed"
        })
        .await;
    contains_all(
        &view.status["operationState"].to_string(),
        &["thresholds crossed"],
    );

    repository.commit(&[("test.js", script("count>=1"))]);
    application.refresh("normal").await;
    for run in &runs {
        run.attempt_ends(3, RunResult::Passed, Reason::AllRunnersPassed)
            .await;
    }
    application
        .until("Healthy", |view| view.is("Synced", "Healthy"))
        .await;
    let healths = application.seen(|view| view.health.clone());
    let verdicts = healths
        .iter()
        .filter(|health| ["Healthy", "Degraded"].contains(&health.as_str()));
    let mut verdicts: Vec<_> = verdicts.collect();
    verdicts.dedup();
    assert_eq!(verdicts, ["Healthy", "Degraded", "Healthy"]);

    // A script went after the test that it was for had another.
    let audited = test.audited();
    let edited = requests(&audited, "patch", "k6s", "crocodiles");
    let last = edited.into_iter().map(time).max().unwrap();
    let deleted = requests(&audited, "delete", "configmaps", &scripts[0]);
    assert!(deleted.len() == 1 && time(deleted[0]) > last, "{deleted:#?}");
}

/// Many fields, and those written in another form than the API server returns or the operator reads them in.
fn rich(image: &str) -> Value {
    json!({
        "parallelism": 1,
        "script": {"inline": script(HOLDS)},
        "arguments": "--tag a=b",
        "quiet": "true",
        "separate": false,
        "rerun": "1",
        "podTemplate": {
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "load", "operator": "Exists"}],
            "imagePullPolicy": "IfNotPresent"
        },
        "runner": {
            "image": image,
            "env": [{"name": "A", "value": "1"}],
            "metadata": {"labels": {"word": "runner"}},
            "automountServiceAccountToken": "false",
            "resources": {"requests": {"cpu": "0.01", "memory": "67108864"}, "limits": {"cpu": 2, "memory": "0.5Gi"}},
            "volumes": [{"name": "data", "emptyDir": {"sizeLimit": "1024Ki"}}],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]
        },
        "aggregation": {"resources": {"limits": {"memory": "262144Ki"}}},
        "timeouts": {"initialization": "120s", "start": "2m", "run": "0h10m"}
    })
}

#[tokio::test]
#[ignore = "needs Argo CD: tests/cluster/argocd"]
async fn application_is_never_out_of_sync_by_what_the_operator_or_the_api_server_writes() {
    let test = Test::new("diff").await;
    let server_side = json!({
        "metadata": {"annotations": {"argocd.argoproj.io/compare-options": "ServerSideDiff=true"}},
        "spec": {"syncPolicy": {"automated": {"prune": true}, "syncOptions": ["ServerSideApply=true"]}}
    });
    let repositories = [Repository::new(), Repository::new()];
    for (side, repository) in ["client", "server"].into_iter().zip(&repositories) {
        let mut spec = rich(&k6_image());
        let k6 = resource(Kind::K6, &format!("{side}-k6"), &spec);
        spec["paused"] = json!("false");
        let test_run = resource(Kind::TestRun, &format!("{side}-testrun"), &spec);
        repository.commit(&[("k6.yaml", k6), ("testrun.yaml", test_run)]);
    }
    let (client, server) = tokio::join!(
        Application::new(&test, "client", &repositories[0], automated()),
        Application::new(&test, "server", &repositories[1], server_side),
    );
    let applications = [&client, &server];
    for application in applications {
        application.until("Synced", |view| view.sync == "Synced").await;
    }
    let mut refreshes = 0;
    loop {
        for application in applications {
            application.refresh("hard").await;
        }
        refreshes += 1;
        let views = [client.now().await, server.now().await];
        if refreshes >= 8 && views.iter().all(|view| view.is("Synced", "Healthy")) {
            break;
        }
        assert!(refreshes < 100, "{views:#?}");
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    for application in applications {
        let mut syncs = application.seen(|view| view.sync.clone());
        // Before the first sync nothing is there.
        let first = syncs.iter().position(|sync| sync == "Synced").unwrap();
        assert_eq!(syncs.split_off(first), ["Synced"], "{}", application.name);
    }
}

/// Ends the operator of all tests, and starts it again when dropped.
struct WithoutOperator<'a>(&'a Test);

impl<'a> WithoutOperator<'a> {
    const DEPLOYMENT: &'static str = "deployment/k6-operator-controller-manager";

    fn begin(test: &'a Test) -> Self {
        test.kubectl(&[
            "-n",
            OPERATOR_NAMESPACE,
            "scale",
            Self::DEPLOYMENT,
            "--replicas=0",
        ]);
        let pods = [
            "-n",
            OPERATOR_NAMESPACE,
            "wait",
            "pods",
            "--all",
            "--for=delete",
            "--timeout=60s",
        ];
        test.kubectl(&pods);
        Self(test)
    }
}

impl Drop for WithoutOperator<'_> {
    fn drop(&mut self) {
        let scale = [
            "-n",
            OPERATOR_NAMESPACE,
            "scale",
            Self::DEPLOYMENT,
            "--replicas=2",
        ];
        self.0.said(&scale);
        let status = [
            "-n",
            OPERATOR_NAMESPACE,
            "rollout",
            "status",
            Self::DEPLOYMENT,
            "--timeout=90s",
        ];
        self.0.said(&status);
    }
}

#[tokio::test]
#[ignore = "needs Argo CD: tests/cluster/argocd"]
async fn chart_as_the_source_of_an_application_installs_the_operator() {
    let test = Test::alone("chart").await;
    let operator = test.elsewhere("chart-system").await;
    let _without = WithoutOperator::begin(&test);
    // The chart refuses the name that the image has here.
    let named = Command::new(variable("K6OP_EMBEDDED"))
        .args([
            "ctr",
            "--address",
            &variable("K6OP_CONTAINERD"),
            "--namespace",
            "k8s.io",
            "images",
            "tag",
            "--force",
        ])
        .args([
            "k6-operator.invalid/operator:dev",
            "registry.example.com/k6-operator:by-argo-cd",
        ])
        .status();
    assert!(named.unwrap().success());
    let repository = Repository::new();
    repository.copy("charts/k6-operator");
    repository.commit(&[]);
    let values = json!({
        "manager": {"image": {"registry": "registry.example.com", "repository": "k6-operator", "tag": "by-argo-cd"}},
        "runnerImage": k6_image(),
        "watchNamespaces": [test.namespace],
        "namespace": {"create": false}
    });
    let helm = json!({"releaseName": "by-argo-cd", "valuesObject": values});
    let more = json!({
        "metadata": {"finalizers": ["resources-finalizer.argocd.argoproj.io"]},
        "spec": {
            "source": {"helm": helm},
            "destination": {"namespace": operator.namespace},
            "syncPolicy": {"automated": {}}
        }
    });
    let application = Application::new(&test, "chart", &repository, more).await;
    application
        .until("Healthy", |view| view.is("Synced", "Healthy"))
        .await;
    test.script("first", &says(1, "from the operator that Argo CD has installed"))
        .await;
    let run = Run::apply(
        &test,
        Kind::K6,
        "first",
        json!({"parallelism": 1, "script": "first"}),
    );
    run.passes().await;
    for _ in 0..3 {
        application.refresh("hard").await;
        assert!(application.now().await.is("Synced", "Healthy"));
    }
    // It goes, and the tests and their CustomResourceDefinitions stay.
    let delete = [
        "-n",
        "argocd",
        "delete",
        "application",
        &application.name,
        "--timeout=90s",
    ];
    test.kubectl(&delete);
    assert!(
        !operator
            .said(&["get", "deployments", "-o", "name"])
            .contains("deployment")
    );
    assert_eq!(run.get().await.status.unwrap().result, Some(RunResult::Passed));
}
