//! The controllers of the cluster, as Kubernetes' are: Jobs, garbage collection, scheduler and kubelet.
//!
//! A Job here has one pod and no second chance (`backoffLimit: 0`), as all Jobs of the operator have but that of the
//! aggregator.

use super::api::{Deletion, mark_leaving};
use super::faults::{Denial, Fault, OnPod, Part};
use super::scenario::NAMESPACE;
use super::store::{Change, How, Key, Table, is_leaving, label, owners, text, time, uid, within};
use super::world::{Event, World};
use k6_operator::objects::{ATTEMPT_LABEL, COMPONENT_LABEL, RUN_ANNOTATION, RUN_LABEL, RUNNER_LABEL};
use k6_operator::protocol::report::Failure;
use serde_json::{Value, json};

/// What happens in the cluster, by UID of the Job or pod.
#[derive(Clone, Debug)]
pub enum Step {
    MakePod(String),
    Deadline(String),
    SyncJob(String),
    /// What this owner owned, which is gone.
    Collect(String),
    Schedule(String),
    Begin(String),
    Listen(String),
    /// A process ends in this way, if it is still the one that was meant.
    End(String, u32, End),
    /// The kubelet tells that a container has ended; then, that its pod has.
    TellEnd(String, End),
    TellPhase(String, End),
    Remove(String),
    Start(String),
    Stop(String),
}

/// How a process ended.
#[derive(Clone, Debug)]
pub struct End {
    pub code: Option<i32>,
    pub reason: &'static str,
    pub message: String,
    /// What the pod as a whole says, if it was not the process that ended.
    pub pod: Option<(&'static str, &'static str)>,
}

impl End {
    pub fn code(code: i32) -> Self {
        let message = match code {
            0 => String::new(),
            99 => "thresholds on metrics 'http_req_duration' have been crossed".to_owned(),
            103 => "test run stopped from REST API".to_owned(),
            105 => "test run was aborted because k6 received a 'terminated' signal".to_owned(),
            code => format!("ended with {code}"),
        };
        Self {
            code: Some(code),
            reason: if code == 0 { "Completed" } else { "Error" },
            message,
            pod: None,
        }
    }

    pub fn of_the_pod(reason: &'static str, message: &'static str) -> Self {
        Self {
            code: None,
            reason: "Error",
            message: String::new(),
            pod: Some((reason, message)),
        }
    }
}

/// How far a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Pending,
    Running,
    Ended,
}

/// A pod, and what goes on in it.
#[derive(Clone, Debug)]
pub struct Pod {
    pub key: Key,
    pub job: String,
    /// UID of the resource.
    pub run: String,
    /// Which test of the scenario.
    pub test: Option<usize>,
    pub part: Part,
    pub attempt: u32,
    pub stage: Stage,
    pub address: Option<String>,
    /// Its k6 answers.
    pub listens: bool,
    /// It is held until it is released.
    pub paused: bool,
    pub released: bool,
    pub stopped: bool,
    /// Nothing is heard of its node any more.
    pub lost: bool,
    /// Counts what the process is meant to end by, so that an older one is not taken for it.
    pub fate: u32,
    pub arguments: Vec<String>,
    pub work: Work,
}

/// How far a starter or stopper is.
#[derive(Clone, Debug, Default)]
pub struct Work {
    pub since: u64,
    pub released: u32,
    pub confirmed: u32,
    pub next: usize,
    pub failures: Vec<Failure>,
    pub all_found: bool,
    /// Since when the runner that is to confirm next refuses connections.
    pub refuses: Option<u64>,
    /// Since when each target refuses connections.
    pub refused: Vec<Option<u64>>,
    pub done: Vec<bool>,
}

impl World {
    /// What the controllers do about a change.
    pub fn react(&mut self, change: &Change) {
        let object = &change.object;
        let id = uid(object).to_owned();
        match (change.key.table, change.how) {
            (Table::Jobs, How::Added) => {
                let delay = self.draw(&format!("make {}", change.key.name), 2, 80);
                self.later(delay, Step::MakePod(id.clone()));
                let limit = object
                    .pointer("/spec/activeDeadlineSeconds")
                    .and_then(Value::as_u64);
                if let Some(limit) = limit {
                    self.later(delay + limit * 1000, Step::Deadline(id));
                }
                self.recorder.job_made(object);
            }
            (Table::Jobs, How::Deleted) => {
                self.recorder.job_gone(object);
                self.collect_later(&id);
            }
            (Table::K6s | Table::TestRuns, How::Deleted) => {
                self.recorder.gone(&id, self.now);
                self.collect_later(&id);
            }
            (Table::K6s | Table::TestRuns, How::Added) => {
                self.recorder.made(&id, text(object, "/metadata/name"));
            }
            (Table::Pods, How::Deleted) => self.sync_later(object),
            (Table::Pods, How::Modified) => {
                let phase = text(object, "/status/phase");
                if matches!(phase, "Succeeded" | "Failed") {
                    self.sync_later(object);
                }
            }
            _ => {}
        }
        if change.how == How::Added {
            // Made for an owner that is gone already.
            let orphans: Vec<String> = owners(object)
                .filter(|owner| !self.is_there(owner))
                .map(str::to_owned)
                .collect();
            for owner in orphans {
                self.collect_later(&owner);
            }
        }
    }

    pub fn later(&mut self, ms: u64, step: Step) {
        let what = format!("{step:?}");
        self.after(ms, &what, Event::Cluster(step));
    }

    fn collect_later(&mut self, owner: &str) {
        let delay = self.draw(&format!("collect {owner}"), 20, 1_500);
        self.later(delay, Step::Collect(owner.to_owned()));
    }

    fn sync_later(&mut self, pod: &Value) {
        let Some(job) = owners(pod).next().map(str::to_owned) else {
            return;
        };
        let delay = self.draw(&format!("sync {job}"), 2, 1_500);
        self.later(delay, Step::SyncJob(job));
    }

    pub fn cluster(&mut self, step: Step) {
        match step {
            Step::MakePod(job) => self.make_pod(&job),
            Step::Deadline(job) => self.job_deadline(&job),
            Step::SyncJob(job) => self.sync_job(&job),
            Step::Collect(owner) => self.collect(&owner),
            Step::Schedule(pod) => self.schedule_pod(&pod),
            Step::Begin(pod) => self.begin_pod(&pod),
            Step::Listen(pod) => self.listen(&pod),
            Step::End(pod, fate, end) => {
                if self.pods.get(&pod).is_some_and(|found| found.fate == fate) {
                    self.end_pod(&pod, end);
                }
            }
            Step::TellEnd(pod, end) => self.tell_end(&pod, end),
            Step::TellPhase(pod, end) => self.tell_phase(&pod, &end),
            Step::Remove(pod) => self.remove_pod(&pod),
            Step::Start(pod) => self.start_runners(&pod),
            Step::Stop(pod) => self.stop_runners(&pod),
        }
    }

    /// An object is told to go: see [`Deletion`].
    pub fn going(&mut self, key: &Key, deletion: Deletion) {
        let Some(object) = self.store.get(key).cloned() else {
            return;
        };
        let id = uid(&object).to_owned();
        match deletion {
            Deletion::Background => self.remove(key),
            Deletion::Foreground => {
                self.foreground.insert(id.clone());
                self.collect_later(&id);
            }
            Deletion::Graceful => self.end_gracefully(&id),
        }
    }

    /// A user, or the garbage collector, deletes an object.
    pub fn delete(&mut self, key: &Key, deletion: Deletion) {
        let Some(object) = self.store.get(key).cloned() else {
            return;
        };
        match deletion {
            Deletion::Background => self.remove(key),
            Deletion::Foreground | Deletion::Graceful if !is_leaving(&object) => {
                let now = self.time();
                self.note(&format!("deleted: {:?} {}", key.table, key.name));
                self.mutate(key, |object| mark_leaving(object, deletion, now));
                self.going(key, deletion);
            }
            Deletion::Foreground | Deletion::Graceful => {}
        }
    }

    /// Removes what an owner owned that is gone, or is to go when all is gone.
    fn collect(&mut self, owner: &str) {
        let waits = self.foreground.contains(owner);
        if !waits && self.is_there(owner) {
            return;
        }
        let owned: Vec<Key> = self
            .store
            .everything()
            .filter(|(_, object)| {
                let mut all = owners(object).peekable();
                all.peek().is_some()
                    && owners(object).any(|found| found == owner)
                    && owners(object).all(|found| found == owner || !self.is_there(found))
            })
            .map(|(key, _)| key.clone())
            .collect();
        if owned.is_empty() {
            if waits {
                self.foreground.remove(owner);
                let key = self.store.find(owner).map(|(key, _)| key.clone());
                if let Some(key) = key {
                    self.remove(&key);
                }
            }
            return;
        }
        for key in owned {
            let how = match key.table {
                Table::Pods => Deletion::Graceful,
                Table::Jobs if waits => Deletion::Foreground,
                Table::K6s
                | Table::TestRuns
                | Table::Jobs
                | Table::ConfigMaps
                | Table::Secrets
                | Table::Services
                | Table::CoreEvents
                | Table::Events
                | Table::Leases => Deletion::Background,
            };
            self.delete(&key, how);
        }
        if waits {
            self.later(300, Step::Collect(owner.to_owned()));
        }
    }

    fn make_pod(&mut self, job: &str) {
        let Some((key, object)) = self.store.find(job) else {
            return;
        };
        let (key, object) = (key.clone(), object.clone());
        let retry = self.retries.get_mut(job).map_or(0, |(count, due)| {
            *due = false;
            *count
        });
        if is_leaving(&object) || ended(&object) {
            return;
        }
        let part = part_of(&object);
        let test = self.test_of_job(&object);
        if let Some(denial) = self.denied(test, part) {
            return self.deny_pod(job, &key, denial);
        }
        let template = object.pointer("/spec/template").cloned().unwrap_or(Value::Null);
        let name = format!(
            "{}-{:05x}",
            key.name,
            self.rng.number(job, retry.into()) & 0xf_ffff
        );
        let mut metadata = template.get("metadata").cloned().unwrap_or_else(|| json!({}));
        if let Value::Object(fields) = &mut metadata {
            fields.insert("name".to_owned(), json!(name));
            fields.insert(
                "ownerReferences".to_owned(),
                json!([{
                    "apiVersion": "batch/v1", "kind": "Job", "name": key.name, "uid": job,
                    "controller": true, "blockOwnerDeletion": true
                }]),
            );
        }
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": slim(template.get("spec").unwrap_or(&Value::Null))
        });
        let at = Key::new(Table::Pods, NAMESPACE, &name);
        let Some(pod) = self.create(&at, pod) else {
            return;
        };
        let now = self.time();
        self.mutate(&at, |pod| {
            within(pod, "status")["phase"] = json!("Pending");
        });
        self.mutate(&key, |job| {
            let status = within(job, "status");
            status["active"] = json!(1);
            status["startTime"] = time(now);
        });
        let words = |pointer: &str| -> Vec<String> {
            let words = pod.pointer(pointer).and_then(Value::as_array);
            let words = words.into_iter().flatten().filter_map(Value::as_str);
            words.map(str::to_owned).collect()
        };
        let number = |name: &str| label(&pod, name).and_then(|text| text.parse().ok());
        let arguments = [
            words("/spec/containers/0/command"),
            words("/spec/containers/0/args"),
            words("/spec/initContainers/0/args"),
        ]
        .concat();
        let id = uid(&pod).to_owned();
        self.pods.insert(
            id.clone(),
            Pod {
                key: at,
                job: job.to_owned(),
                run: label(&pod, RUN_LABEL).unwrap_or_default().to_owned(),
                test,
                part,
                attempt: number(ATTEMPT_LABEL).unwrap_or(1),
                stage: Stage::Pending,
                address: None,
                listens: false,
                paused: arguments.iter().any(|word| word == "--paused"),
                released: false,
                stopped: false,
                lost: false,
                fate: 0,
                arguments,
                work: Work::default(),
            },
        );
        let delay = self.draw(&format!("schedule {name}"), 5, 200);
        self.later(delay, Step::Schedule(id));
    }

    fn test_of_job(&self, job: &Value) -> Option<usize> {
        let annotation = job
            .pointer("/metadata/annotations")
            .and_then(|annotations| annotations.get(RUN_ANNOTATION))
            .and_then(Value::as_str);
        annotation.and_then(|name| self.test_of(name))
    }

    /// Why a pod of this part of this test can't be created now.
    fn denied(&self, test: Option<usize>, part: Part) -> Option<Denial> {
        let denied = self.plan.0.iter().find_map(|fault| {
            if let Fault::Pod {
                test: of,
                part: whose,
                what: OnPod::Denied(denial, until),
            } = fault
                && Some(*of) == test
                && *whose == part
                && self.lasts(*until)
            {
                Some((*denial, *until))
            } else {
                None
            }
        });
        let (denial, until) = denied?;
        self.covered(super::covered::of_pod(part, OnPod::Denied(denial, until)), test);
        Some(denial)
    }

    /// The Job controller tells why it could not create a pod, and tries again later: after 1, 2, 4 s and so on, up to
    /// a minute. What it tells after the first ten times is combined.
    fn deny_pod(&mut self, job: &str, key: &Key, denial: Denial) {
        let tries = self.denials.entry(job.to_owned()).or_default();
        let nth = *tries;
        *tries += 1;
        let why = match denial {
            Denial::Ratio => {
                "memory max limit to request ratio per Container is 5, but provided ratio is 16.000000"
            }
            Denial::Quota => {
                "exceeded quota: team, requested: limits.cpu=1, used: limits.cpu=4, limited: limits.cpu=4"
            }
        };
        self.note(&format!("the pod of {} is denied", key.name));
        let now = self.time();
        let message = format!(
            "Error creating: pods \"{}-{nth:05x}\" is forbidden: {why}",
            key.name
        );
        let name = format!("{}.{}", job, nth.min(10));
        let at = Key::new(Table::CoreEvents, NAMESPACE, &name.to_lowercase());
        if self.store.get(&at).is_some() {
            self.mutate(&at, |event| {
                event["message"] = json!(format!("(combined from similar events): {message}"));
                event["lastTimestamp"] = time(now);
            });
        } else {
            let event = json!({
                "apiVersion": "v1", "kind": "Event", "metadata": {"name": at.name},
                "involvedObject": {"kind": "Job", "namespace": NAMESPACE, "name": key.name, "uid": job},
                "type": "Warning", "reason": "FailedCreate", "message": message,
                "firstTimestamp": time(now), "lastTimestamp": time(now)
            });
            self.create(&at, event);
        }
        self.later(1_000 << nth.min(6), Step::MakePod(job.to_owned()));
    }

    fn job_deadline(&mut self, job: &str) {
        let Some((key, object)) = self.store.find(job) else {
            return;
        };
        let (key, object) = (key.clone(), object.clone());
        if ended(&object) {
            return;
        }
        self.fail_job(
            &key,
            "DeadlineExceeded",
            "Job was active longer than specified deadline",
        );
        self.delete_pods_of(job);
    }

    fn delete_pods_of(&mut self, job: &str) {
        let pods = self
            .pods
            .values()
            .filter(|pod| pod.job == job && pod.stage != Stage::Ended);
        let keys: Vec<Key> = pods.map(|pod| pod.key.clone()).collect();
        for key in keys {
            self.delete(&key, Deletion::Graceful);
        }
    }

    fn fail_job(&mut self, key: &Key, reason: &str, message: &str) {
        let now = self.time();
        let (reason, message) = (reason.to_owned(), message.to_owned());
        self.note(&format!("Job {} failed: {reason}", key.name));
        self.mutate(key, |job| {
            let status = within(job, "status");
            status["failed"] = json!(1);
            status["active"] = json!(0);
            let condition = |type_: &str| {
                json!({
                    "type": type_, "status": "True", "reason": reason, "message": message,
                    "lastTransitionTime": time(now), "lastProbeTime": time(now)
                })
            };
            status["conditions"] = json!([condition("FailureTarget"), condition("Failed")]);
        });
    }

    fn sync_job(&mut self, job: &str) {
        let Some((key, object)) = self.store.find(job) else {
            return;
        };
        let (key, object) = (key.clone(), object.clone());
        if ended(&object) {
            return;
        }
        let pods: Vec<_> = self.store.all(Table::Pods).map(|(_, pod)| pod.clone()).collect();
        let mine = pods.iter().filter(|pod| owners(pod).any(|owner| owner == job));
        // The one that has not failed, if there is one.
        let mine = mine.min_by_key(|pod| text(pod, "/status/phase") == "Failed");
        match mine.map(|pod| text(pod, "/status/phase")) {
            Some("Failed") | None if self.is_retried(job, &object) => {}
            Some("Succeeded") => {
                let now = self.time();
                self.note(&format!("Job {} is complete", key.name));
                self.mutate(&key, |job| {
                    let status = within(job, "status");
                    status["succeeded"] = json!(1);
                    status["active"] = json!(0);
                    status["completionTime"] = time(now);
                    let condition = |type_: &str| {
                        json!({
                            "type": type_, "status": "True", "reason": "CompletionsReached",
                            "lastTransitionTime": time(now), "lastProbeTime": time(now)
                        })
                    };
                    status["conditions"] = json!([condition("SuccessCriteriaMet"), condition("Complete")]);
                });
            }
            Some("Failed") | None => {
                self.fail_job(
                    &key,
                    "BackoffLimitExceeded",
                    "Job has reached the specified backoff limit",
                );
            }
            Some(_) => {}
        }
    }

    /// Whether another pod is to take the place of one that failed.
    fn is_retried(&mut self, job: &str, object: &Value) -> bool {
        let limit = object.pointer("/spec/backoffLimit").and_then(Value::as_u64);
        let (count, due) = self.retries.get(job).copied().unwrap_or_default();
        if due {
            return true;
        }
        if u64::from(count) >= limit.unwrap_or_default() {
            return false;
        }
        self.retries.insert(job.to_owned(), (count + 1, true));
        self.later(10_000 << count.min(5), Step::MakePod(job.to_owned()));
        true
    }

    /// What is wrong with pods of this part of this test.
    pub fn pod_faults(&self, pod: &Pod) -> impl Iterator<Item = OnPod> {
        self.plan.0.iter().filter_map(|fault| {
            if let Fault::Pod { test, part, what } = fault
                && Some(*test) == pod.test
                && *part == pod.part
            {
                Some(*what)
            } else {
                None
            }
        })
    }

    /// Whether pods of this part of this test meet something like this.
    pub fn suffers(&self, pod: &Pod, fits: impl Fn(OnPod) -> bool) -> bool {
        let met = self.pod_faults(pod).find(|what| fits(*what));
        if let Some(what) = met {
            self.covered(super::covered::of_pod(pod.part, what), pod.test);
        }
        met.is_some()
    }

    /// Whether what is wrong until then is so now.
    pub fn lasts(&self, until: Option<u64>) -> bool {
        until.is_none_or(|until| self.now < until)
    }

    fn schedule_pod(&mut self, id: &str) {
        let Some(pod) = self.pods.get(id).cloned() else {
            return;
        };
        if pod.stage != Stage::Pending {
            return;
        }
        let unschedulable = self.suffers(
            &pod,
            |what| matches!(what, OnPod::Unschedulable(until) if self.lasts(until)),
        );
        let full = matches!(pod.part, Part::Runner(_)) && self.free_address().is_none();
        if unschedulable || full {
            self.told_of_pod(
                &pod,
                "FailedScheduling",
                "0/1 nodes are available: 1 Insufficient cpu.",
            );
            self.mutate(&pod.key, |pod| {
                within(pod, "status")["conditions"] = json!([{
                    "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                    "message": "0/1 nodes are available: 1 Insufficient cpu."
                }]);
            });
            return self.later(500, Step::Schedule(id.to_owned()));
        }
        self.mutate(&pod.key, |pod| {
            within(pod, "spec")["nodeName"] = json!("node");
            within(pod, "status")["conditions"] = json!([{"type": "PodScheduled", "status": "True"}]);
        });
        let delay = self.draw(&format!("pull {}", pod.key.name), 50, 1_500);
        self.later(delay, Step::Begin(id.to_owned()));
    }

    /// What the kubelet or the scheduler says of a pod, once.
    fn told_of_pod(&mut self, pod: &Pod, reason: &str, message: &str) {
        let key = Key::new(
            Table::CoreEvents,
            NAMESPACE,
            &format!("{}.{reason}", pod.key.name).to_lowercase(),
        );
        if self.store.get(&key).is_none() {
            let id = self.store.get(&pod.key).map(|pod| uid(pod).to_owned());
            let event = json!({
                "apiVersion": "v1", "kind": "Event", "metadata": {"name": key.name},
                "involvedObject": {"kind": "Pod", "namespace": NAMESPACE, "name": pod.key.name, "uid": id},
                "type": "Warning", "reason": reason, "message": message
            });
            self.create(&key, event);
        }
    }

    /// The address that has been free for the longest, as the plugins of the network have it.
    fn free_address(&self) -> Option<String> {
        let all = (1..=self.scenario.addresses).map(|i| format!("10.0.0.{i}"));
        all.filter(|address| !self.addresses.contains_key(address))
            .min_by_key(|address| self.free_since.get(address).copied().unwrap_or_default())
    }

    fn begin_pod(&mut self, id: &str) {
        let Some(pod) = self.pods.get(id).cloned() else {
            return;
        };
        // Nothing is begun in a pod that is to go.
        let leaving = self.store.get(&pod.key).is_none_or(|pod| is_leaving(pod));
        if pod.stage != Stage::Pending || leaving {
            return;
        }
        let unpulled = self.suffers(
            &pod,
            |what| matches!(what, OnPod::ImagePull(until) if self.lasts(until)),
        );
        if unpulled {
            self.told_of_pod(&pod, "Failed", "Failed to pull image \"k6\": not found");
            self.mutate(&pod.key, |pod| {
                within(pod, "status")["containerStatuses"] = json!([container(
                    pod,
                    &json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"k6\""}}),
                    false,
                )]);
            });
            return self.later(700, Step::Begin(id.to_owned()));
        }
        if let Some(missing) = self.missing_secret(&pod) {
            let volume = "MountVolume.SetUp failed for volume \"k6-operator-secret\"";
            self.told_of_pod(
                &pod,
                "FailedMount",
                &format!("{volume}: secret \"{missing}\" not found"),
            );
            return self.later(2_000, Step::Begin(id.to_owned()));
        }
        let address = match pod.part {
            Part::Runner(_) => {
                let Some(address) = self.free_address() else {
                    return self.later(700, Step::Begin(id.to_owned()));
                };
                self.addresses.insert(address.clone(), id.to_owned());
                address
            }
            Part::Initializer
            | Part::Starter
            | Part::Stopper
            | Part::Aggregator
            | Part::Service
            | Part::Script => {
                format!("10.1.0.{}", self.pods.len())
            }
        };
        if let Some(pod) = self.pods.get_mut(id) {
            pod.stage = Stage::Running;
            pod.address = Some(address.clone());
        }
        self.note(&format!("{} runs at {address}", pod.key.name));
        self.mutate(&pod.key, |pod| {
            let begun = container(pod, &json!({"running": {}}), false);
            let status = within(pod, "status");
            status["podIP"] = json!(address);
            status["phase"] = json!("Running");
            status["containerStatuses"] = json!([begun]);
        });
        self.process_begins(id);
    }

    /// The pod is found ready, or not, by the kubelet.
    pub fn set_ready(&mut self, id: &str) {
        let Some(pod) = self.pods.get(id) else {
            return;
        };
        let key = pod.key.clone();
        self.mutate(&key, |pod| {
            let running = container(pod, &json!({"running": {}}), true);
            let status = within(pod, "status");
            status["containerStatuses"] = json!([running]);
            status["conditions"] = json!([
                {"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}
            ]);
        });
    }

    pub fn set_unready(&mut self, key: &Key) {
        self.mutate(key, |pod| {
            let running = container(pod, &json!({"running": {}}), false);
            let status = within(pod, "status");
            status["containerStatuses"] = json!([running]);
            status["conditions"] = json!([
                {"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}
            ]);
        });
    }

    /// A pod is told to go: its process ends first.
    fn end_gracefully(&mut self, id: &str) {
        let Some(pod) = self.pods.get(id).cloned() else {
            return;
        };
        let what = format!("end {}", pod.key.name);
        match pod.stage {
            Stage::Pending => {
                let delay = self.draw(&what, 5, 100);
                self.later(delay, Step::Remove(id.to_owned()));
            }
            Stage::Running => {
                let stubborn = pod
                    .test
                    .and_then(|test| self.scenario.tests.get(test))
                    .is_some_and(|test| test.stubborn);
                let (low, high) = if stubborn { (25_000, 30_000) } else { (50, 2_000) };
                let delay = self.draw(&what, low, high);
                let code = if pod.part == Part::Aggregator {
                    1
                } else if stubborn {
                    137
                } else {
                    105
                };
                self.fate(id, delay, End::code(code));
            }
            Stage::Ended => {
                let delay = self.draw(&what, 5, 300);
                self.later(delay, Step::Remove(id.to_owned()));
            }
        }
    }

    /// The process of this pod will end in this way, and in no other.
    pub fn fate(&mut self, id: &str, ms: u64, end: End) {
        let Some(pod) = self.pods.get_mut(id) else {
            return;
        };
        if pod.lost {
            return;
        }
        pod.fate += 1;
        let fate = pod.fate;
        self.later(ms, Step::End(id.to_owned(), fate, end));
    }

    /// The process of a pod ends.
    pub fn end_pod(&mut self, id: &str, end: End) {
        let Some(pod) = self.pods.get_mut(id) else {
            return;
        };
        if pod.stage == Stage::Ended {
            return;
        }
        let ran = pod.stage == Stage::Running;
        pod.stage = Stage::Ended;
        pod.listens = false;
        pod.fate += 1;
        let pod = pod.clone();
        let end = if ran { self.with_verdict(&pod, end) } else { end };
        self.note(&format!("{} ends: {:?} {}", pod.key.name, end.code, end.reason));
        if let Some(address) = &pod.address {
            self.addresses.remove(address);
            self.free_since.insert(address.clone(), self.now);
        }
        if let (true, Part::Runner(_)) = (ran, pod.part) {
            self.recorder.exited(&pod, id, end.code);
            let now = self.now;
            if let Some(pod) = self.pods.get_mut(id) {
                pod.work.since = now;
            }
            self.judge(&pod);
        }
        // Of a node that is lost nothing is heard.
        if !ran || pod.lost {
            return self.tell_phase(id, &end);
        }
        let delay = self.draw(&format!("tell {}", pod.key.name), 20, 200);
        self.later(delay, Step::TellEnd(id.to_owned(), end));
    }

    /// The kubelet tells that the container at work has ended. That the pod has, it tells when all its containers have,
    /// and then why, if not by themselves.
    fn tell_end(&mut self, id: &str, end: End) {
        let Some(pod) = self.pods.get(id).cloned() else {
            return;
        };
        self.note(&format!("{} is told to have ended", pod.key.name));
        self.mutate(&pod.key, |pod| {
            let state = json!({"terminated": {
                "exitCode": end.code.unwrap_or(137), "reason": end.reason, "message": end.message
            }});
            let ended = container(pod, &state, false);
            let status = within(pod, "status");
            status["conditions"] = json!([
                {"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}
            ]);
            status["containerStatuses"] = json!([ended]);
        });
        let leaving = self.store.get(&pod.key).is_some_and(|pod| is_leaving(pod));
        let goes_on = self.suffers(&pod, |what| what == OnPod::Sidecar) && end.pod.is_none();
        if goes_on && !leaving {
            return;
        }
        let delay = self.draw(&format!("tell {}", pod.key.name), 200, 2_500);
        self.later(delay, Step::TellPhase(id.to_owned(), end));
    }

    fn tell_phase(&mut self, id: &str, end: &End) {
        let Some(pod) = self.pods.get(id).cloned() else {
            return;
        };
        self.mutate(&pod.key, |pod| {
            let status = within(pod, "status");
            status["conditions"] = json!([
                {"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"}
            ]);
            status["phase"] = json!(if end.code == Some(0) {
                "Succeeded"
            } else {
                "Failed"
            });
            if let Some((reason, message)) = end.pod {
                status["reason"] = json!(reason);
                status["message"] = json!(message);
            }
        });
        if self.store.get(&pod.key).is_some_and(|pod| is_leaving(pod)) {
            let delay = self.draw(&format!("remove {}", pod.key.name), 130, 400);
            self.later(delay, Step::Remove(id.to_owned()));
        }
    }

    fn remove_pod(&mut self, id: &str) {
        let Some(pod) = self.pods.get(id).cloned() else {
            return;
        };
        if pod.stage == Stage::Running {
            return;
        }
        if let Some(pod) = self.pods.get_mut(id) {
            pod.stage = Stage::Ended;
        }
        self.remove(&pod.key);
    }
}

/// What anybody here reads of the spec of a pod: most of the time of a simulation goes into copies of objects.
fn slim(spec: &Value) -> Value {
    let containers = |list: &str| -> Vec<Value> {
        let all = spec.get(list).and_then(Value::as_array);
        let fields = |container: &Value| {
            let named = ["name", "image", "command", "args", "restartPolicy"].map(|field| {
                let value = container.get(field)?;
                Some((field.to_owned(), value.clone()))
            });
            Value::Object(named.into_iter().flatten().collect())
        };
        all.into_iter().flatten().map(fields).collect()
    };
    let volumes = spec.get("volumes").and_then(Value::as_array);
    let secrets = volumes
        .into_iter()
        .flatten()
        .filter(|volume| volume.get("secret").is_some());
    json!({
        "containers": containers("containers"), "initContainers": containers("initContainers"),
        "volumes": secrets.collect::<Vec<_>>()
    })
}

/// Which part of its run a Job is.
fn part_of(job: &Value) -> Part {
    match label(job, COMPONENT_LABEL) {
        Some("initializer") => Part::Initializer,
        Some("starter") => Part::Starter,
        Some("stopper") => Part::Stopper,
        Some("aggregator") => Part::Aggregator,
        _ => {
            let number = label(job, RUNNER_LABEL).and_then(|text| text.parse().ok());
            Part::Runner(number.unwrap_or_default())
        }
    }
}

pub fn ended(job: &Value) -> bool {
    let conditions = job.pointer("/status/conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|condition| matches!(text(condition, "/type"), "Complete" | "Failed"))
}

/// The container of a pod that is at work: init containers are not played here.
fn container(pod: &Value, state: &Value, ready: bool) -> Value {
    json!({
        "name": text(pod, "/spec/containers/0/name"), "image": text(pod, "/spec/containers/0/image"),
        "imageID": "", "ready": ready, "restartCount": 0, "state": state
    })
}
