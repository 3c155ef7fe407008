//! What happened to one run in the real cluster, told as facts to the monitor of the invariants.
//!
//! The witnesses are independent of the operator: the API server's audit log, in which are the statuses that were
//! written, the Jobs that were made and removed, and what the kubelet told of the pods; and the target, which
//! knows from when on which runner asked it.

use crate::invariants::{Fact, Monitor, RunnerId, Told};
use crate::run::Run;
use crate::support::{OPERATOR, Sighting, http, variable};
use jiff::Timestamp;
use k6_operator::api::Status;
use k6_operator::objects::{ATTEMPT_LABEL, RUNNER_LABEL};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What the target saw of a runner: how often it asked, and when first.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub requests: u64,
    pub first: Timestamp,
}

/// What the target has seen, by the address of the pod. No two pods of a cluster have the same: they are given
/// out one after the other.
pub fn asked() -> BTreeMap<String, Asked> {
    let url = variable("K6OP_TARGET");
    let (_, body) = http("GET", url.trim_start_matches("http://"), 80, "/stats");
    let stats: Value = serde_json::from_str(&body).unwrap();
    let clients = stats["clients"].as_object().unwrap();
    let asked = clients.iter().map(|(ip, seen)| {
        let first = Timestamp::from_nanosecond(seen["first"].as_i64().unwrap().into()).unwrap();
        let requests = seen["requests"].as_u64().unwrap();
        (ip.clone(), Asked { requests, first })
    });
    asked.collect()
}

/// All that is known of one run.
#[derive(Debug, Default)]
pub struct Evidence {
    /// In the order in which it happened.
    pub facts: Vec<(Timestamp, Fact)>,
    /// The Jobs that an operator made for it, as often as it made them.
    pub made: Vec<String>,
    /// How many requests each process of a runner made at the target.
    pub requests: Vec<(RunnerId, u64)>,
    /// The addresses from which operators wrote, in the order in which they did so first.
    pub operators: Vec<String>,
}

/// A pod of a runner, as far as the kubelet has told.
#[derive(Default)]
struct Process {
    ip: Option<String>,
    ready: bool,
    ended: bool,
}

struct Reader<'a> {
    evidence: Evidence,
    kind: &'static str,
    name: &'a str,
    /// The run's own, when it is known.
    uid: String,
    /// The runner of each Job of the run.
    runners: BTreeMap<String, RunnerId>,
    /// All Jobs that an operator made in this namespace, of any run.
    ours: BTreeSet<String>,
    /// Those of them that nobody has deleted.
    present: BTreeSet<String>,
    /// Jobs that were asked for by an operator that was killed before it had an answer: some were made all the same.
    unsure: BTreeMap<String, (Timestamp, u32, Value)>,
    /// A resource with a status that was written by such an operator: the next history tells whether it counts.
    unsure_status: Option<(Timestamp, u32, Value)>,
    /// The last process of each runner.
    current: BTreeMap<RunnerId, String>,
    processes: BTreeMap<String, (RunnerId, Process)>,
}

impl Evidence {
    /// Of a run whose test has its namespace for itself since it began.
    pub fn of(run: &Run<'_>) -> Self {
        let mut reader = Reader::new(run.kind.plural(), &run.name);
        for entry in run.test.audited() {
            reader.read(&entry);
        }
        for (process, seen) in run.test.sightings() {
            reader.sighted(process, seen);
        }
        reader.released(&asked());
        let mut evidence = reader.evidence;
        evidence.facts.sort_by_key(|(at, _)| *at);
        evidence
    }

    /// The monitor, after all of it. Fails with the invariant that is broken.
    pub fn holds(&self, what: &str) -> Monitor {
        let mut monitor = Monitor::default();
        for (at, fact) in &self.facts {
            if let Err(broken) = monitor.see(fact) {
                let facts: Vec<String> = self
                    .facts
                    .iter()
                    .map(|(at, fact)| format!("{at} {fact:?}"))
                    .collect();
                panic!("{what}: {broken} at {at}\n{}", facts.join("\n"));
            }
        }
        assert!(monitor.told().is_some(), "{what}: no status was written");
        monitor
    }

    /// How many Jobs of this name were made.
    pub fn made(&self, job: &str) -> usize {
        self.made.iter().filter(|made| *made == job).count()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn version(object: &Value) -> u64 {
    text(&object["metadata"]["resourceVersion"])
        .parse()
        .unwrap_or_default()
}

/// Whether the history of a resource goes on with that of another, down to its times.
fn follows(resource: &Value, before: &Value) -> bool {
    let history = |resource: &Value| resource["status"]["history"].as_array().cloned();
    let (now, before) = (history(resource), history(before));
    before.is_some_and(|before| now.is_some_and(|now| now.starts_with(&before)))
}

fn status_written(by: u32, asked: &Value, answer: &Value, got: u64) -> Fact {
    let status: Status = serde_json::from_value(asked["status"].clone()).unwrap();
    Fact::StatusWritten {
        by,
        read: version(asked),
        got,
        generation: answer["metadata"]["generation"].as_i64().unwrap(),
        rerun: answer["spec"]["rerun"].as_str().map(str::to_owned),
        told: Told::of(&status),
    }
}

impl<'a> Reader<'a> {
    fn new(kind: &'static str, name: &'a str) -> Self {
        Self {
            evidence: Evidence::default(),
            kind,
            name,
            uid: String::new(),
            runners: BTreeMap::new(),
            ours: BTreeSet::new(),
            present: BTreeSet::new(),
            unsure: BTreeMap::new(),
            unsure_status: None,
            current: BTreeMap::new(),
            processes: BTreeMap::new(),
        }
    }

    fn tell(&mut self, at: Timestamp, fact: Fact) {
        self.evidence.facts.push((at, fact));
    }

    fn read(&mut self, entry: &Value) {
        let at: Timestamp = text(&entry["stageTimestamp"]).parse().unwrap();
        let object = &entry["objectRef"];
        let subresource = text(&object["subresource"]);
        let done = entry["responseStatus"]["code"]
            .as_u64()
            .is_some_and(|code| code < 300);
        if !done {
            let cut_off = entry["responseStatus"]["code"] == 504 && entry["user"]["username"] == OPERATOR;
            let asked = &entry["requestObject"];
            match (text(&object["resource"]), subresource, text(&entry["verb"])) {
                ("jobs", "", "create") if cut_off => {
                    let by = self.operator(entry);
                    let name = text(&asked["metadata"]["name"]).to_owned();
                    if !self.present.contains(&name) {
                        self.unsure.insert(name, (at, by, asked.clone()));
                    }
                }
                (kind, "status", "update")
                    if cut_off && kind == self.kind && text(&object["name"]) == self.name =>
                {
                    self.unsure_status = Some((at, self.operator(entry), asked.clone()));
                }
                _ => {}
            }
            return;
        }
        let by = (entry["user"]["username"] == OPERATOR).then(|| self.operator(entry));
        match (text(&object["resource"]), subresource, text(&entry["verb"])) {
            (_, _, "get" | "list" | "watch") => {}
            (kind, _, verb) if kind == self.kind && text(&object["name"]) == self.name => {
                self.resource(at, by, subresource, verb, entry);
            }
            ("jobs", "", "create") => self.job_made(at, by, &entry["responseObject"]),
            ("jobs", "", "delete") => self.job_gone(at, by, text(&object["name"])),
            ("jobs", "", "deletecollection") => {
                for job in std::mem::take(&mut self.present) {
                    self.job_gone(at, None, &job);
                }
            }
            ("pods", "status", "patch") => self.pod(at, text(&object["name"]), &entry["requestObject"]),
            ("events", "", "create" | "patch" | "update")
            | ("configmaps" | "secrets" | "services", "", "create") => {}
            ("k6s" | "testruns", _, _) => {}
            (kind, _, verb) => {
                if let Some(by) = by {
                    let object = format!("{verb} {kind} {}", text(&object["name"]));
                    self.tell(at, Fact::ForeignTouched { by, object });
                }
            }
        }
    }

    /// A number for the replica, which is told by its address.
    fn operator(&mut self, entry: &Value) -> u32 {
        let address = text(&entry["sourceIPs"][0]);
        let operators = &mut self.evidence.operators;
        let number = operators
            .iter()
            .position(|known| known == address)
            .unwrap_or_else(|| {
                operators.push(address.to_owned());
                operators.len() - 1
            });
        u32::try_from(number).unwrap()
    }

    fn resource(&mut self, at: Timestamp, by: Option<u32>, subresource: &str, verb: &str, entry: &Value) {
        let answer = &entry["responseObject"];
        if let Some(uid) = answer["metadata"]["uid"].as_str() {
            uid.clone_into(&mut self.uid);
        }
        match (by, subresource, verb) {
            (Some(by), "status", "update") => {
                let asked = &entry["requestObject"];
                if let Some((at, by, before)) = self.unsure_status.take()
                    && version(asked) != version(&before)
                    && follows(asked, &before)
                {
                    self.tell(at, status_written(by, &before, &before, version(asked)));
                }
                self.tell(at, status_written(by, asked, answer, version(answer)));
            }
            // As its spec asks.
            (_, _, "delete") => {}
            (Some(by), _, _) => self.tell(at, Fact::SpecWritten { by }),
            (None, "", "update" | "patch") => self.tell(at, Fact::SpecEdited),
            (None, _, _) => {}
        }
    }

    fn job_made(&mut self, at: Timestamp, by: Option<u32>, job: &Value) {
        let name = text(&job["metadata"]["name"]).to_owned();
        let owner = &job["metadata"]["ownerReferences"][0]["uid"];
        let Some(by) = by else {
            return;
        };
        self.ours.insert(name.clone());
        self.present.insert(name.clone());
        self.unsure.remove(&name);
        if owner.is_null() {
            let object = format!("create jobs {name}, which nobody owns");
            return self.tell(at, Fact::ForeignTouched { by, object });
        }
        if self.uid.is_empty() || text(owner) != self.uid {
            return;
        }
        self.evidence.made.push(name.clone());
        let labels = &job["metadata"]["labels"];
        let Ok(runner) = text(&labels[RUNNER_LABEL]).parse() else {
            return;
        };
        let attempt = text(&labels[ATTEMPT_LABEL]).parse().unwrap_or(1);
        let command = job["spec"]["template"]["spec"]["containers"][0]["command"].as_array();
        let segment = command
            .into_iter()
            .flatten()
            .find_map(|word| text(word).strip_prefix("--execution-segment="))
            .unwrap_or("0:1")
            .to_owned();
        let id = RunnerId { attempt, runner };
        self.runners.insert(name, id);
        self.tell(at, Fact::RunnerMade { id, segment });
    }

    fn job_gone(&mut self, at: Timestamp, by: Option<u32>, name: &str) {
        if let Some(by) = by
            && !self.ours.contains(name)
        {
            let object = format!("delete jobs {name}");
            return self.tell(at, Fact::ForeignTouched { by, object });
        }
        self.present.remove(name);
        let Some(id) = self.runners.remove(name) else {
            return;
        };
        self.tell(at, Fact::RunnerGone { id });
        // Somebody took it from the run: nobody knows how it would have ended.
        let running = self.current.get(&id).cloned();
        if let (None, Some(process)) = (by, running)
            && self.processes.get(&process).is_some_and(|(_, pod)| !pod.ended)
        {
            self.tell(
                at,
                Fact::Exited {
                    id,
                    process,
                    code: None,
                },
            );
        }
    }

    /// The kubelet tells of a pod, of which it tells only what has changed.
    fn pod(&mut self, at: Timestamp, name: &str, patch: &Value) {
        let uid = text(&patch["metadata"]["uid"]);
        let process = if uid.is_empty() { name } else { uid }.to_owned();
        // `<job>-xxxxx`
        let job = name.rsplit_once('-').map_or(name, |(job, _)| job);
        if let Some((at, by, made)) = self.unsure.remove(job) {
            self.job_made(at, Some(by), &made);
        }
        let known = self.processes.get(&process).map(|(id, _)| *id);
        let Some(id) = known.or_else(|| self.runners.get(job).copied()) else {
            return;
        };
        self.current.insert(id, process.clone());
        let (_, pod) = self
            .processes
            .entry(process.clone())
            .or_insert_with(|| (id, Process::default()));
        let status = &patch["status"];
        if let Some(ip) = status["podIP"].as_str() {
            pod.ip = Some(ip.to_owned());
        }
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let mut conditions = conditions.filter(|c| c["type"] == "Ready" && c["status"] == "True");
        let ready = conditions.next().is_some() && !std::mem::replace(&mut pod.ready, true);
        let containers = status["containerStatuses"].as_array().into_iter().flatten();
        let mut k6 = containers.filter(|container| container["name"] == "k6");
        let code = k6
            .next()
            .and_then(|k6| k6["state"]["terminated"]["exitCode"].as_i64());
        let exited = code.filter(|_| !std::mem::replace(&mut pod.ended, true));
        if ready {
            let process = process.clone();
            self.tell(at, Fact::Ready { id, process });
        }
        if let Some(code) = exited {
            let code = i32::try_from(code).ok();
            self.tell(at, Fact::Exited { id, process, code });
        }
    }

    /// What the test itself has seen of a pod that the audit log does not tell.
    fn sighted(&mut self, process: String, seen: Sighting) {
        // `<job>-xxxxx`
        let job = seen.name.rsplit_once('-').map_or(&*seen.name, |(job, _)| job);
        let known = self.processes.get(&process).map(|(id, _)| *id);
        let Some(id) = known.or_else(|| self.runners.get(job).copied()) else {
            return;
        };
        let (_, pod) = self
            .processes
            .entry(process.clone())
            .or_insert_with(|| (id, Process::default()));
        pod.ip = pod.ip.take().or(seen.ip);
        if let Some(at) = seen.ready
            && !std::mem::replace(&mut pod.ready, true)
        {
            self.tell(at, Fact::Ready { id, process });
        }
    }

    /// Who asked the target was released by then.
    fn released(&mut self, asked: &BTreeMap<String, Asked>) {
        for (process, (id, pod)) in &self.processes {
            let asked = pod.ip.as_ref().and_then(|ip| asked.get(ip));
            let requests = asked.map_or(0, |asked| asked.requests);
            self.evidence.requests.push((*id, requests));
            if let Some(asked) = asked {
                let (id, process) = (*id, process.clone());
                self.evidence
                    .facts
                    .push((asked.first, Fact::Released { id, process }));
            }
        }
        self.evidence.requests.sort_unstable();
    }
}

#[test]
fn status_whose_writer_was_killed_counts_if_the_next_history_goes_on_with_it() {
    let write = |code: u16, read: &str, times: &[&str]| {
        let history: Vec<Value> = times
            .iter()
            .map(|time| json!({"time": time, "event": "StartConfirmed", "runners": 2, "spreadMicros": 1}))
            .collect();
        let asked = json!({
            "metadata": {"resourceVersion": read, "generation": 1}, "status": {"state": "Created", "history": history}
        });
        let answer = json!({"metadata": {"resourceVersion": format!("{read}0"), "generation": 1}});
        json!({
            "stageTimestamp": "2026-11-28T00:00:00Z", "verb": "update", "user": {"username": OPERATOR},
            "sourceIPs": ["10.88.0.7"], "responseStatus": {"code": code}, "requestObject": asked,
            "responseObject": if code == 200 { answer } else { Value::Null },
            "objectRef": {"resource": "k6s", "subresource": "status", "name": "run"}
        })
    };
    let (first, second, third) = (
        "2026-11-28T00:00:00Z",
        "2026-11-28T00:00:01Z",
        "2026-11-28T00:00:02Z",
    );
    for (next, read, written) in [
        (second, "12", vec![(1, 10), (10, 12), (12, 120)]),
        (third, "12", vec![(1, 10), (12, 120)]),
        // The same status, once more: it was not written the first time.
        (second, "10", vec![(1, 10), (10, 100)]),
    ] {
        let mut reader = Reader::new("k6s", "run");
        reader.read(&write(200, "1", &[first]));
        reader.read(&write(504, "10", &[first, second]));
        reader.read(&write(200, read, &[first, next, third]));
        let versions = reader.evidence.facts.iter().map(|(_, fact)| {
            let Fact::StatusWritten { read, got, .. } = fact else {
                panic!("{fact:?}")
            };
            (*read, *got)
        });
        assert_eq!(versions.collect::<Vec<_>>(), written);
    }
}
