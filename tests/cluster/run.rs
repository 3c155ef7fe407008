//! One run of either kind, as its user sees it.

use crate::support::{LIMIT, Test, both, variable};
use futures::StreamExt;
use k6_operator::api::{Kind, LoadTest, Status};
use k6_operator::k6::Version;
use k6_operator::machine::{Reason, RunResult, StateName};
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt;
use kube_runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::process::Command;
use std::sync::Mutex;
use tokio::time::timeout;

/// An image on the node that has neither k6 nor the operator's program.
pub const FOREIGN_IMAGE: &str = "docker.io/library/k6-target:1";

/// A script that is over at once, and says this.
pub fn says(vus: u32, words: &str) -> String {
    format!(
        "export const options = {{ vus: {vus}, iterations: {vus} }};
export default function () {{ console.log({words:?}); }}
"
    )
}

/// The run of one resource.
pub struct Run<'a> {
    pub test: &'a Test,
    pub kind: Kind,
    pub name: String,
}

impl<'a> Run<'a> {
    pub fn of(test: &'a Test, kind: Kind, name: &str) -> Self {
        Self {
            test,
            kind,
            name: name.to_owned(),
        }
    }

    /// `kubectl apply` of a resource with this spec.
    pub fn apply(test: &'a Test, kind: Kind, name: &str, spec: Value) -> Self {
        let file = test.manifest(kind, name, spec);
        test.kubectl(&["apply", "-f", &file]);
        Self::of(test, kind, name)
    }

    /// The same of both kinds, `NAME-k6s` and `NAME-testruns`.
    pub fn of_both_kinds(test: &'a Test, name: &str, spec: &Value) -> [Self; 2] {
        Kind::ALL.map(|kind| {
            let name = format!("{name}-{}", kind.plural());
            Self::apply(test, kind, &name, spec.clone())
        })
    }

    /// As kubectl names it.
    pub fn path(&self) -> String {
        format!("{}/{}", self.kind.as_str().to_lowercase(), self.name)
    }

    /// An edit of the spec: what is null is removed.
    pub fn edit(&self, spec: Value) -> String {
        let patch = json!({ "spec": spec }).to_string();
        self.test
            .kubectl(&["patch", &self.path(), "--type=merge", "-p", &patch])
    }

    /// What kubectl says of an edit that must be refused.
    pub fn edit_refused(&self, spec: Value) -> String {
        let patch = json!({ "spec": spec }).to_string();
        self.test
            .kubectl_refused(&["patch", &self.path(), "--type=merge", "-p", &patch])
    }

    pub async fn get(&self) -> LoadTest {
        self.test.of(self.kind).get(&self.name).await.unwrap()
    }

    /// The first resource, of those that are written one after the other, of whose status this is true.
    pub async fn when(&self, what: &str, is: impl Fn(&Status) -> bool) -> Status {
        let only = watcher::Config::default()
            .fields(&format!("metadata.name={}", self.name))
            .timeout(20);
        let mut written = watcher(self.test.of(self.kind), only).applied_objects().boxed();
        let last = Mutex::new(Status::default());
        let found = timeout(LIMIT, async {
            while let Some(run) = written.next().await {
                let status = run.ok().and_then(|run| run.status).unwrap_or_default();
                if is(&status) {
                    return status;
                }
                *last.lock().unwrap() = status;
            }
            panic!("the watch of {} ended", self.name);
        });
        found.await.unwrap_or_else(|_| {
            panic!(
                "{} was not {what} in time: {:#?}",
                self.name,
                last.lock().unwrap()
            )
        })
    }

    pub async fn reaches(&self, state: StateName) -> Status {
        let is = |status: &Status| {
            let finished = status.state == Some(StateName::Finished) && state != StateName::Finished;
            assert!(
                !finished,
                "{} was Finished before it was {state:?}: {status:#?}",
                self.name
            );
            status.state == Some(state)
        };
        self.when(state.as_str(), is).await
    }

    /// The end of this attempt, which must be this one.
    pub async fn attempt_ends(&self, attempt: u32, result: RunResult, reason: Reason) -> Status {
        let over = |status: &Status| {
            status.state == Some(StateName::Finished) && status.attempt.unwrap_or_default() >= attempt
        };
        let status = self.when("Finished", over).await;
        assert_eq!(
            (status.attempt, status.result, status.reason),
            (Some(attempt), Some(result), Some(reason)),
            "{}: {:?}",
            self.path(),
            status.message
        );
        self.replays();
        status
    }

    pub async fn ends(&self, result: RunResult, reason: Reason) -> Status {
        self.attempt_ends(1, result, reason).await
    }

    pub async fn passes(&self) -> Status {
        self.ends(RunResult::Passed, Reason::AllRunnersPassed).await
    }

    /// The end of a run that can't be carried out; its message must contain all of these.
    pub async fn errs(&self, reason: Reason, words: &[&str]) -> Status {
        let status = self.ends(RunResult::Error, reason).await;
        contains_all(status.message.as_deref().unwrap_or_default(), words);
        status
    }

    /// The status must be what its history says.
    fn replays(&self) {
        let told = self.test.replay_of(&self.path());
        assert!(told.contains("the status is what its history says"), "{told}");
    }

    /// The pods of one of its parts, such as `runner`, of any attempt.
    pub async fn pods(&self, component: &str) -> Vec<Pod> {
        let mut pods = self.test.pods_of(&self.name, component).await;
        let of_this_kind = self.kind.as_str();
        pods.retain(|pod| {
            pod.annotations()
                .get("k6.io/run-kind")
                .is_some_and(|k| k == of_this_kind)
        });
        pods.sort_by_key(ResourceExt::name_any);
        pods
    }

    /// The pod of a part, as soon as there is one.
    pub async fn pod(&self, component: &str) -> Pod {
        let what = format!("{} has a pod of its {component}", self.name);
        self.test
            .until(&what, LIMIT, async || self.pods(component).await.pop())
            .await
    }

    /// The logs of all runners.
    pub async fn logs(&self) -> String {
        let mut logs = String::new();
        for pod in self.pods("runner").await {
            let log = self.test.kubectl(&["logs", &pod.name_any(), "-c", "k6"]);
            let _ = writeln!(logs, "{log}");
        }
        logs
    }
}

/// The text must contain each of these.
pub fn contains_all(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

/// The container in which k6, or a program of the operator, runs.
pub fn container(pod: &Pod) -> &Container {
    &pod.spec.as_ref().unwrap().containers[0]
}

/// The k6 of the tests, asked with these arguments.
fn answer(arguments: &[&str]) -> String {
    let output = Command::new(variable("K6OP_K6"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", both(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The version of the k6 with which the tests run.
pub fn k6_version() -> Version {
    Version::printed(&answer(&["version"])).unwrap()
}

/// Whether `k6 run` says that it has this flag, or did as long as it did not hide it.
pub fn has_flag(flag: &str) -> bool {
    let hidden = flag == "--no-summary" && k6_version() < Version::new(2, 0, 0);
    let help = answer(&["run", "--help"]);
    hidden || help.split_whitespace().any(|word| word == flag)
}

/// What k6 makes of these arguments, in this folder.
pub fn k6(folder: &std::path::Path, arguments: &[&str]) {
    let output = Command::new(variable("K6OP_K6"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", both(&output));
}
