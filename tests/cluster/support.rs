//! A namespace with what a test needs in it: kubectl as a user has it, and waits that end.

use crate::shares::Share;
use futures::StreamExt;
use jiff::Timestamp;
use k6_operator::api::{Kind, LoadTest, Status};
use k6_operator::machine::{Reason, RunResult, StateName};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt};
use kube_runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

pub const OPERATOR_NAMESPACE: &str = "k6-operator-system";
pub const OPERATOR: &str = "system:serviceaccount:k6-operator-system:k6-operator-controller-manager";
const OPERATOR_LABEL: &str = "app.kubernetes.io/name=k6-operator";

/// How long a test may wait for one thing, which may be a whole run of 8 whose leader was killed just before. Several
/// tests share two cores.
pub const LIMIT: Duration = Duration::from_secs(150);

/// How often something that can't be watched is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// The namespaces that the operator watches, when it does not watch all; the longest free one comes first.
static FREE: std::sync::Mutex<Option<VecDeque<String>>> = std::sync::Mutex::new(None);

/// One after the other takes a namespace, so that none waits for ever.
static TAKING: Mutex<()> = Mutex::const_new(());

/// What a test may leave in a namespace that others use after it.
const LEFT: &str = "k6s.k6.io,testruns.k6.io,jobs,pods,configmaps,persistentvolumeclaims,secrets,services,\
                    serviceaccounts,resourcequotas,limitranges,networkpolicies,roles,rolebindings,events";

/// What is in it from the beginning, as `kubectl get -o name` names it: a test may give these names to other kinds.
const KEPT: [&str; 4] = [
    "configmap/kube-root-ca.crt",
    "serviceaccount/default",
    "role.rbac.authorization.k8s.io/k6-operator-manager-role",
    "rolebinding.rbac.authorization.k8s.io/k6-operator-manager-rolebinding",
];

enum Claim {
    Held { _share: Share },
    OfAnother,
}

pub struct Test {
    pub namespace: String,
    pub client: Client,
    folder: TempDir,
    /// Whether the namespace is of those that the operator watches, and goes back to them.
    pooled: bool,
    /// Where the audit log ended when the test began.
    audit_offset: u64,
    sightings: Arc<std::sync::Mutex<BTreeMap<String, Sighting>>>,
    _claim: Claim,
}

/// A runner's pod as this process has seen it.
#[derive(Clone, Debug, Default)]
pub struct Sighting {
    pub name: String,
    pub ip: Option<String>,
    /// When it was first seen ready.
    pub ready: Option<Timestamp>,
}

/// Looks at pods until it is dropped.
pub struct Eyes(tokio::task::JoinHandle<()>);

impl Drop for Eyes {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run this by tests/cluster/e2e"))
}

/// The image in which the tests have k6.
pub fn k6_image() -> String {
    variable("K6OP_K6_IMAGE")
}

/// A script whose virtual users only sleep.
pub fn sleeps(vus: u32, seconds: u32) -> String {
    format!(
        "import {{ sleep }} from 'k6';
export const options = {{ vus: {vus}, duration: '{seconds}s' }};
export default function () {{ sleep(0.2); }}
"
    )
}

impl Test {
    /// A test that may run beside others.
    pub async fn new(name: &str) -> Self {
        Self::claim(name, false).await
    }

    /// A test that runs while no other does: it ends the operator, or claims the whole node.
    pub async fn alone(name: &str) -> Self {
        Self::claim(name, true).await
    }

    async fn claim(name: &str, alone: bool) -> Self {
        let claim = Claim::Held {
            _share: Share::claim(alone).await,
        };
        Self::with(name, claim, watched().is_empty()).await
    }

    /// Another namespace of this test. It is made for it, also when the operator watches only certain others.
    pub async fn elsewhere(&self, name: &str) -> Self {
        Self::with(name, Claim::OfAnother, true).await
    }

    async fn with(name: &str, claim: Claim, made: bool) -> Self {
        let client = Client::try_default().await.expect("KUBECONFIG");
        let namespace = if made {
            make_namespace(&client, name).await
        } else {
            take_namespace().await
        };
        let mut test = Self {
            namespace,
            client,
            folder: TempDir::new().unwrap(),
            pooled: !made,
            audit_offset: 0,
            sightings: Arc::default(),
            _claim: claim,
        };
        // As if the user had chosen this namespace in their kubeconfig.
        let config = test
            .command(&["config", "view", "--raw", "--flatten"])
            .output()
            .unwrap();
        assert!(config.status.success(), "{}", both(&config));
        std::fs::write(test.kubeconfig(), &config.stdout).unwrap();
        test.kubectl(&[
            "config",
            "set-context",
            "--current",
            "--namespace",
            &test.namespace,
        ]);
        if test.pooled {
            test.empty().await;
        }
        test.audit_offset = std::fs::metadata(variable("K6OP_AUDIT_LOG")).unwrap().len();
        test
    }

    /// Removes all that an earlier test left in the namespace.
    async fn empty(&self) {
        self.until("the namespace is empty", LIMIT, async || {
            let left = self.left().unwrap();
            if !left.is_empty() {
                let _some_go_meanwhile = self.delete(&left, "--timeout=60s");
            }
            left.is_empty().then_some(())
        })
        .await;
    }

    /// What is in the namespace that was not there from the beginning.
    fn left(&self) -> std::io::Result<Vec<String>> {
        let output = self.command(&["get", LEFT, "-o", "name"]).output()?;
        if !output.status.success() {
            return Err(std::io::Error::other(both(&output)));
        }
        let names = String::from_utf8_lossy(&output.stdout);
        let ours = names.lines().filter(|name| !KEPT.contains(name));
        Ok(ours.map(str::to_owned).collect())
    }

    fn delete(&self, names: &[String], how: &str) -> std::io::Result<Output> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let arguments = [&["delete", "--ignore-not-found", how], &names[..]].concat();
        self.command(&arguments).output()
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// A file beside the commands that kubectl is given.
    pub fn file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(arguments).current_dir(self.folder.path());
        if self.kubeconfig().exists() {
            command.env("KUBECONFIG", self.kubeconfig());
        }
        command
    }

    /// What kubectl prints; it must succeed.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "kubectl {}: {}",
            arguments.join(" "),
            both(&output)
        );
        both(&output)
    }

    /// What kubectl prints; it must fail.
    pub fn kubectl_refused(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(
            !output.status.success(),
            "kubectl {} should have failed: {}",
            arguments.join(" "),
            both(&output)
        );
        both(&output)
    }

    /// What kubectl prints, whether it succeeds or fails.
    pub fn said(&self, arguments: &[&str]) -> String {
        both(&self.command(arguments).output().unwrap())
    }

    /// `kubectl apply` of a K6 resource with this spec, and what it printed.
    pub fn apply(&self, name: &str, spec: Value) -> String {
        let file = self.manifest(Kind::K6, name, spec);
        self.kubectl(&["apply", "-f", &file])
    }

    /// What kubectl says of a resource of this kind that it must refuse.
    pub fn apply_refused(&self, kind: Kind, name: &str, spec: Value) -> String {
        let file = self.unrecorded(kind, name, &spec);
        self.kubectl_refused(&["apply", "-f", &file])
    }

    /// The file with a resource of this kind, to be applied: tests/fields.rs is told which fields it sets.
    pub fn manifest(&self, kind: Kind, name: &str, spec: Value) -> String {
        if let Some(path) = std::env::var_os("K6OP_FIELDS") {
            let thread = std::thread::current();
            let line = format!(
                "{}\t{}\t{spec}\n",
                thread.name().unwrap_or_default(),
                kind.as_str()
            );
            let mut file = File::options().append(true).create(true).open(path).unwrap();
            file.write_all(line.as_bytes()).unwrap();
        }
        self.unrecorded(kind, name, &spec)
    }

    fn unrecorded(&self, kind: Kind, name: &str, spec: &Value) -> String {
        let resource = json!({
            "apiVersion": "k6.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec
        });
        let file = format!("{name}.json");
        self.file(&file, &resource.to_string());
        file
    }

    /// The ConfigMap with this script as test.js.
    pub async fn script(&self, name: &str, text: &str) {
        self.config_map(name, &[("test.js", text)]).await;
    }

    pub async fn config_map(&self, name: &str, files: &[(&str, &str)]) {
        let data: BTreeMap<&str, &str> = files.iter().copied().collect();
        let map = serde_json::from_value(json!({"metadata": {"name": name}, "data": data})).unwrap();
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        maps.create(&PostParams::default(), &map).await.unwrap();
    }

    pub fn k6s(&self) -> Api<LoadTest> {
        self.of(Kind::K6)
    }

    pub fn of(&self, kind: Kind) -> Api<LoadTest> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind)
    }

    pub fn jobs(&self) -> Api<Job> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub async fn status(&self, name: &str) -> Status {
        self.k6s().get(name).await.unwrap().status.unwrap_or_default()
    }

    /// The names of all Jobs, sorted.
    pub async fn job_names(&self) -> Vec<String> {
        names(self.jobs().list(&ListParams::default()).await.unwrap().items)
    }

    /// The pods of one run's part, such as `starter`.
    pub async fn pods_of(&self, run: &str, component: &str) -> Vec<Pod> {
        let selector = format!("k6.io/run={run},k6.io/component={component}");
        let list = self.pods().list(&ListParams::default().labels(&selector)).await;
        list.unwrap().items
    }

    /// The first status, of those that are written one after the other, of which this is true.
    pub async fn status_when(&self, name: &str, what: &str, is: impl Fn(&Status) -> bool) -> Status {
        let only = watcher::Config::default()
            .fields(&format!("metadata.name={name}"))
            .timeout(20);
        let mut written = watcher(self.k6s(), only).applied_objects().boxed();
        let found = timeout(LIMIT, async {
            while let Some(k6) = written.next().await {
                let status = k6.ok().and_then(|k6| k6.status).unwrap_or_default();
                if is(&status) {
                    return status;
                }
                if status.state == Some(StateName::Finished) {
                    panic!("{name} was Finished before it was {what}: {status:#?}");
                }
            }
            panic!("the watch of {name} ended");
        });
        found
            .await
            .unwrap_or_else(|_| panic!("{name} was not {what} in time"))
    }

    pub async fn reaches(&self, name: &str, state: StateName) -> Status {
        self.status_when(name, state.as_str(), |status| status.state == Some(state))
            .await
    }

    /// The end of a run, which must be this one. Its history must give the status that was written.
    pub async fn ends(&self, name: &str, result: RunResult, reason: Reason) -> Status {
        let status = self.reaches(name, StateName::Finished).await;
        assert_eq!(
            (status.result, status.reason),
            (Some(result), Some(reason)),
            "{:?}",
            status.message
        );
        let told = self.replay(name);
        assert!(told.contains("the status is what its history says"), "{told}");
        status
    }

    pub async fn passes(&self, name: &str) -> Status {
        self.ends(name, RunResult::Passed, Reason::AllRunnersPassed).await
    }

    /// The end of a run that can't be carried out; its message must contain all of these.
    pub async fn errs(&self, name: &str, reason: Reason, words: &[&str]) -> Status {
        let status = self.ends(name, RunResult::Error, reason).await;
        let message = status.message.as_deref().unwrap_or_default();
        for word in words {
            assert!(message.contains(word), "{name}: {word:?} is not in {message:?}");
        }
        status
    }

    pub fn replay(&self, name: &str) -> String {
        self.replay_of(&format!("k6/{name}"))
    }

    /// `kubectl get KIND/NAME -o json | k6-operator replay`
    pub fn replay_of(&self, path: &str) -> String {
        let resource = self.kubectl(&["get", path, "-o", "json"]);
        let mut replay = Command::new(env!("CARGO_BIN_EXE_k6-operator"))
            .arg("replay")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = replay.stdin.take().unwrap();
        input.write_all(resource.as_bytes()).unwrap();
        drop(input);
        let output = replay.wait_with_output().unwrap();
        assert!(output.status.success(), "{}{resource}", both(&output));
        both(&output)
    }

    /// Looks until there is an answer.
    pub async fn until<T>(&self, what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(answer) = look().await {
                return answer;
            }
            assert!(
                Instant::now() < deadline,
                "not within {} s: {what}",
                limit.as_secs()
            );
            sleep(LOOK).await;
        }
    }

    /// Waits until no Job and no pod is left.
    pub async fn nothing_left(&self) {
        self.until("no Job and no pod is left", Duration::from_secs(60), async || {
            let jobs = self.jobs().list(&ListParams::default()).await.unwrap().items;
            let pods = self.pods().list(&ListParams::default()).await.unwrap().items;
            (jobs.is_empty() && pods.is_empty()).then_some(())
        })
        .await;
    }

    /// Waits until these Jobs are left and no others, each with the one pod that it had, which has ended.
    pub async fn only_left(&self, jobs: &[&str]) {
        self.until(
            &format!("only {jobs:?} is left"),
            Duration::from_secs(60),
            async || {
                let pods = self.pods().list(&ListParams::default()).await.unwrap().items;
                let ended = pods.iter().all(|pod| {
                    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
                    matches!(phase, Some("Succeeded" | "Failed"))
                });
                (ended && pods.len() == jobs.len() && self.job_names().await == jobs).then_some(())
            },
        )
        .await;
    }

    pub fn log(&self, pod: &Pod) -> String {
        self.kubectl(&["logs", &pod.name_any()])
    }

    /// What the operator wrote into this namespace, from the API server's audit log: verb, kind, name, code.
    pub fn operator_writes(&self) -> Vec<Written> {
        self.operator_requests()
            .into_iter()
            .filter(|write| !matches!(write.verb.as_str(), "get" | "list" | "watch"))
            .collect()
    }

    /// All that the operator asked of the API server for this namespace, since the test began.
    pub fn operator_requests(&self) -> Vec<Written> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let ours = self
            .audited()
            .into_iter()
            .filter(|e| e["user"]["username"] == OPERATOR);
        ours.map(|e| Written {
            verb: text(&e["verb"]),
            kind: text(&e["objectRef"]["resource"]),
            name: text(&e["objectRef"]["name"]),
            code: e["responseStatus"]["code"].as_u64().unwrap_or_default(),
        })
        .collect()
    }

    /// Looks at the runners' pods itself from now on: an API server that is killed takes with it what the kubelet
    /// told last, though it was done.
    pub fn watch_pods(&self) -> Eyes {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let sightings = Arc::clone(&self.sightings);
        Eyes(tokio::spawn(async move {
            loop {
                let runners = ListParams::default().labels("k6.io/component=runner");
                let found = tokio::time::timeout(Duration::from_secs(1), pods.list(&runners)).await;
                #[allow(clippy::disallowed_methods, reason = "what is seen is seen now")]
                let now = Timestamp::now();
                for pod in found.into_iter().flatten().flatten() {
                    let mut all = sightings.lock().unwrap();
                    let seen = all.entry(pod.uid().unwrap()).or_default();
                    seen.name = pod.name_any();
                    if is_ready(&pod) {
                        seen.ready.get_or_insert(now);
                    }
                    let ip = pod.status.and_then(|status| status.pod_ip);
                    seen.ip = ip.or(seen.ip.take());
                }
                sleep(Duration::from_millis(50)).await;
            }
        }))
    }

    /// What was seen of the runners' pods, by UID.
    pub fn sightings(&self) -> BTreeMap<String, Sighting> {
        self.sightings.lock().unwrap().clone()
    }

    /// All that anybody asked of the API server for this namespace, since the test began: its audit log.
    pub fn audited(&self) -> Vec<Value> {
        let mut log = File::open(variable("K6OP_AUDIT_LOG")).unwrap();
        log.seek(SeekFrom::Start(self.audit_offset)).unwrap();
        let mut new = Vec::new();
        log.read_to_end(&mut new).unwrap();
        // The last line may be half written, in the middle of a character.
        let lines = new
            .split(|byte| *byte == b'\n')
            .filter_map(|line| str::from_utf8(line).ok());
        let lines = lines.filter(|line| line.contains(&self.namespace));
        let events = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events
            .filter(|e| {
                e["stage"] == "ResponseComplete" && e["objectRef"]["namespace"] == self.namespace.as_str()
            })
            .collect()
    }
}

/// Those of `K6OP_NAMESPACES`, or none: then the operator watches all.
fn watched() -> Vec<String> {
    let list = std::env::var("K6OP_NAMESPACES").unwrap_or_default();
    list.split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

async fn make_namespace(client: &Client, name: &str) -> String {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let made = namespaces
        .create(
            &PostParams::default(),
            &serde_json::from_value(json!({"metadata": {
                "generateName": format!("e2e-{name}-"),
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"}
            }}))
            .unwrap(),
        )
        .await;
    made.unwrap().name_any()
}

fn free<T>(action: impl FnOnce(&mut VecDeque<String>) -> T) -> T {
    let mut free = FREE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    action(free.get_or_insert_with(|| watched().into()))
}

async fn take_namespace() -> String {
    let _turn = TAKING.lock().await;
    loop {
        if let Some(namespace) = free(VecDeque::pop_front) {
            return namespace;
        }
        sleep(LOOK).await;
    }
}

/// A request as the API server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub verb: String,
    pub kind: String,
    pub name: String,
    pub code: u64,
}

impl Drop for Test {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let told = |arguments: &[&str]| {
                let output = self.command(arguments).output();
                let text = output.map_or_else(|e| e.to_string(), |output| both(&output));
                eprintln!("\n$ kubectl {}\n{text}", arguments.join(" "));
            };
            told(&["get", "k6,testruns", "-o", "yaml"]);
            told(&["get", "jobs,pods", "-o", "wide"]);
            told(&["get", "events", "--sort-by=.metadata.creationTimestamp"]);
            told(&[
                "logs",
                "-n",
                OPERATOR_NAMESPACE,
                "-l",
                OPERATOR_LABEL,
                "--prefix",
                "--tail=40",
            ]);
            told(&["get", "lease,pods", "-n", OPERATOR_NAMESPACE]);
        }
        let deleted = if self.pooled {
            let deleted = self.left().and_then(|left| self.delete(&left, "--wait=false"));
            free(|free| free.push_back(self.namespace.clone()));
            deleted
        } else {
            self.command(&["delete", "namespace", &self.namespace, "--wait=false"])
                .output()
        };
        if let Err(error) = deleted {
            eprintln!("namespace {} is left: {error}", self.namespace);
        }
    }
}

/// The process of one replica of the operator.
pub struct Operator {
    pub pod: String,
    pub process: String,
}

impl Operator {
    /// The one that leads now, and is ready: of all replicas the only one that acts.
    pub async fn find(test: &Test) -> Self {
        test.until("an operator leads", LIMIT, async || {
            let holder = holder(test).await?;
            Self::replicas(test)
                .await
                .into_iter()
                .find(|one| one.pod == holder)
        })
        .await
    }

    /// One that stands by.
    pub async fn standing_by(test: &Test) -> Self {
        test.until("an operator stands by", LIMIT, async || {
            let holder = holder(test).await?;
            Self::replicas(test)
                .await
                .into_iter()
                .find(|one| one.pod != holder)
        })
        .await
    }

    /// Waits until one leads and the other stands by, and gives both.
    pub async fn both(test: &Test) -> (Self, Self) {
        test.until("of two operators one leads", LIMIT, async || {
            let holder = holder(test).await?;
            let mut replicas = Self::replicas(test).await;
            replicas.sort_by_key(|one| one.pod != holder);
            match <[Self; 2]>::try_from(replicas) {
                Ok([leader, other]) if leader.pod == holder => Some((leader, other)),
                Ok(_) | Err(_) => None,
            }
        })
        .await
    }

    /// The pod of the one that leads.
    pub async fn leading_pod(test: &Test) -> Pod {
        let leader = Self::find(test).await;
        operator_pods(test).get(&leader.pod).await.unwrap()
    }

    /// All that are ready.
    async fn replicas(test: &Test) -> Vec<Self> {
        let list = operator_pods(test)
            .list(&ListParams::default().labels(OPERATOR_LABEL))
            .await;
        let ready = list.unwrap().items.into_iter().filter(is_ready);
        let mut replicas = Vec::new();
        for pod in ready {
            // The cgroup of a container carries the UID of its pod.
            let cgroup = format!("pod{}", pod.uid().unwrap());
            let processes = std::fs::read_dir("/proc").unwrap().flatten();
            let process = processes.into_iter().find(|process| {
                let read = |file: &str| std::fs::read(process.path().join(file)).unwrap_or_default();
                read("cmdline").starts_with(b"/k6-operator\0run")
                    && String::from_utf8_lossy(&read("cgroup")).contains(&cgroup)
            });
            replicas.extend(process.map(|process| Self {
                pod: pod.name_any(),
                process: process.file_name().to_string_lossy().into_owned(),
            }));
        }
        replicas
    }

    /// Sends its process a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.process])
            .status()
            .unwrap();
        assert!(
            sent.success(),
            "the operator's process {} was there",
            self.process
        );
    }

    /// SIGKILL. The kubelet starts it again, under the same name: it takes its Lease back at once. Only once for
    /// each pod, for then the kubelet waits 10 s.
    pub fn crash(self) {
        self.signal("KILL");
    }

    /// SIGKILL, and its pod is removed: another one has to notice that nobody leads.
    pub async fn kill(self, test: &Test) {
        self.signal("KILL");
        let now = DeleteParams::default().grace_period(0);
        operator_pods(test).delete(&self.pod, &now).await.unwrap();
    }

    /// Replaces all replicas, one after the other, and waits until one of the new ones leads.
    pub async fn roll(test: &Test) {
        roll_operators(test);
        Self::find(test).await;
    }
}

/// `kubectl rollout restart` of the operator, until all replicas are new.
pub fn roll_operators(test: &Test) {
    let deployment = "deployment/k6-operator-controller-manager";
    for arguments in [
        &["rollout", "restart", deployment][..],
        &["rollout", "status", deployment, "--timeout=90s"],
    ] {
        test.kubectl(&[arguments, &["-n", OPERATOR_NAMESPACE]].concat());
    }
}

pub fn operator_pods(test: &Test) -> Api<Pod> {
    Api::namespaced(test.client.clone(), OPERATOR_NAMESPACE)
}

/// The name of the pod that holds the operators' Lease.
pub async fn holder(test: &Test) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(test.client.clone(), OPERATOR_NAMESPACE);
    let lease = leases.get_opt("k6-operator").await.ok().flatten()?;
    lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
}

pub fn both(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

pub fn names<K: ResourceExt>(objects: impl IntoIterator<Item = K>) -> Vec<String> {
    let mut names: Vec<String> = objects.into_iter().map(|object| object.name_any()).collect();
    names.sort();
    names
}

pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|c| c.type_ == "Ready" && c.status == "True") && pod.metadata.deletion_timestamp.is_none()
}

/// The address of a pod.
pub fn ip(pod: &Pod) -> String {
    pod.status
        .as_ref()
        .and_then(|status| status.pod_ip.clone())
        .unwrap()
}

/// The body of an HTTP answer. The host may be as in a URL.
pub fn http(method: &str, host: &str, port: u16, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.lines().next().unwrap().to_owned();
    (status, body.to_owned())
}
