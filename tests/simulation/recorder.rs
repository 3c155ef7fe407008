//! Tells the monitors of the invariants what happened, as the cluster itself knows it.

use super::api::{Request, Verb};
use super::cluster::Pod;
use super::faults::Part;
use super::invariants::{Broken, Fact, Fencing, Invariant, Monitor, RunnerId, Told};
use super::scenario::Operators;
use super::store::{Table, label, owners, text, uid, version};
use k6_operator::api::Status;
use k6_operator::api::replay_report;
use k6_operator::objects::{ATTEMPT_LABEL, COMPONENT_LABEL, RUN_LABEL, RUNNER_LABEL};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The pods of a resource that is deleted are told to end within so many milliseconds.
const ENDED: u64 = 5_000;

/// What is known of all resources that there ever were, by UID.
#[derive(Debug)]
pub struct Recorder {
    monitors: BTreeMap<String, Monitor>,
    pub names: BTreeMap<String, String>,
    /// When they went.
    pub gone: BTreeMap<String, u64>,
    /// Resources of which somebody removed what the operator has to go by.
    tampered: BTreeSet<String>,
    /// What was broken, the first of each.
    pub broken: Vec<String>,
    /// Every message that a status had.
    pub messages: Vec<String>,
    /// Requests of operators that change something, but for leases.
    pub writes: u32,
    pub fencing: Fencing,
}

impl Recorder {
    pub fn new(operators: Operators) -> Self {
        Self {
            monitors: BTreeMap::new(),
            names: BTreeMap::new(),
            gone: BTreeMap::new(),
            tampered: BTreeSet::new(),
            broken: Vec::new(),
            messages: Vec::new(),
            writes: 0,
            fencing: match operators {
                Operators::One => Fencing::OneActs,
                Operators::Two | Operators::Leased => Fencing::ManyAct,
            },
        }
    }

    pub fn is_test(&self, of_uid: &str) -> bool {
        self.monitors.contains_key(of_uid)
    }

    /// Tells a fact of a resource.
    pub fn see(&mut self, of_uid: &str, fact: &Fact) {
        let Some(monitor) = self.monitors.get_mut(of_uid) else {
            return;
        };
        if let Err(broken) = monitor.see(fact) {
            let tampered = self.tampered.contains(of_uid);
            if !(tampered && is_excused(&broken)) {
                let name = self.names.get(of_uid).map_or("?", String::as_str);
                self.broken.push(format!("{name}: {broken}"));
            }
        }
    }

    pub fn made(&mut self, of_uid: &str, name: &str) {
        self.monitors
            .insert(of_uid.to_owned(), Monitor::new(self.fencing));
        self.names.insert(of_uid.to_owned(), name.to_owned());
    }

    pub fn gone(&mut self, of_uid: &str, now: u64) {
        self.gone.insert(of_uid.to_owned(), now);
    }

    pub fn edited(&mut self, of_uid: &str) {
        self.see(of_uid, &Fact::SpecEdited);
    }

    /// Somebody removed a Job or pod: what was in it nobody can know any more.
    pub fn tampered(&mut self, of_uid: &str) {
        self.tampered.insert(of_uid.to_owned());
    }

    /// An operator asks for something while it leads, or another does.
    pub fn led(&mut self, by: u32, request: &Request, leads: bool) {
        let acts = request.verb.is_write()
            && !matches!(request.table, Table::Leases | Table::Events | Table::CoreEvents);
        if acts && !leads {
            let what = format!("operator {by} acts while another leads");
            let broken = Broken {
                invariant: Invariant::I10,
                how: what,
            };
            self.broken.push(broken.to_string());
        }
    }

    /// An operator asked for something, and this was the answer.
    pub fn request(&mut self, by: u32, request: &Request, before: Option<&Value>, code: u16, body: &Value) {
        if !request.verb.is_write() || request.table == Table::Leases {
            return;
        }
        self.writes += 1;
        if code >= 300 {
            return;
        }
        let before_uid = before.map(uid).unwrap_or_default().to_owned();
        match request.verb {
            Verb::ReplaceStatus if request.table.is_test() => {
                let status: Result<Status, _> =
                    serde_json::from_value(body.get("status").cloned().unwrap_or(Value::Null));
                match status {
                    Ok(status) => {
                        self.messages.extend(status.message.clone());
                        let fact = Fact::StatusWritten {
                            by,
                            read: version(&request.body),
                            got: version(body),
                            generation: body
                                .pointer("/metadata/generation")
                                .and_then(Value::as_i64)
                                .unwrap_or_default(),
                            rerun: body
                                .pointer("/spec/rerun")
                                .and_then(Value::as_str)
                                .map(str::to_owned),
                            told: Told::of(&status),
                        };
                        self.see(&before_uid, &fact);
                    }
                    Err(error) => self.broken.push(format!("a status that can't be read: {error}")),
                }
                if let Err(error) = replay_report(&body.to_string()) {
                    self.broken
                        .push(format!("{}: replay: {error}", text(body, "/metadata/name")));
                }
            }
            Verb::Replace | Verb::Patch if request.table.is_test() => {
                if before.and_then(|before| before.get("spec")) != body.get("spec") {
                    self.see(&before_uid, &Fact::SpecWritten { by });
                }
            }
            Verb::Delete if request.table.is_test() => {
                let read = text(&request.body, "/preconditions/resourceVersion").parse();
                let fact = Fact::Acted {
                    by,
                    read: read.unwrap_or_default(),
                };
                self.see(&before_uid, &fact);
            }
            Verb::Delete | Verb::Replace | Verb::ReplaceStatus | Verb::Patch
                if request.table != Table::Events =>
            {
                let ours = before.is_some_and(|before| owners(before).any(|owner| self.is_test(owner)));
                if !ours {
                    let object = request.key().name;
                    let whose = self.monitors.keys().next_back().cloned().unwrap_or_default();
                    self.see(&whose, &Fact::ForeignTouched { by, object });
                }
            }
            Verb::Get
            | Verb::List
            | Verb::Watch
            | Verb::Log
            | Verb::Create
            | Verb::Replace
            | Verb::ReplaceStatus
            | Verb::Patch
            | Verb::Delete => {}
        }
    }

    pub fn job_made(&mut self, job: &Value) {
        if let Some((run, id)) = runner_of(job) {
            let words = job.pointer("/spec/template/spec/containers/0/command");
            let segment = words
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .find_map(|word| word.strip_prefix("--execution-segment="));
            // One runner alone is told no share: it has all of the test.
            let segment = segment.unwrap_or("0:1").to_owned();
            self.see(&run, &Fact::RunnerMade { id, segment });
        }
    }

    pub fn job_gone(&mut self, job: &Value) {
        if let Some((run, id)) = runner_of(job) {
            self.see(&run, &Fact::RunnerGone { id });
        }
    }

    pub fn ready(&mut self, pod: &Pod, process: &str) {
        if let Some(id) = id_of(pod) {
            let process = process.to_owned();
            self.see(&pod.run, &Fact::Ready { id, process });
        }
    }

    pub fn released(&mut self, pod: &Pod, process: &str) {
        if let Some(id) = id_of(pod) {
            let process = process.to_owned();
            self.see(&pod.run, &Fact::Released { id, process });
        }
    }

    pub fn exited(&mut self, pod: &Pod, process: &str, code: Option<i32>) {
        if let Some(id) = id_of(pod) {
            let process = process.to_owned();
            self.see(&pod.run, &Fact::Exited { id, process, code });
        }
    }

    /// Somebody merges the metrics of a run, or has told how many thresholds are crossed.
    pub fn judged(&mut self, pod: &Pod, crossed: Option<u32>) {
        let attempt = pod.attempt;
        self.see(&pod.run, &Fact::Judged { attempt, crossed });
    }

    /// A runner is told to stop by a stopper: its run must be one that is being stopped, unless the resource of the
    /// stopper has just been deleted (docs/verification.md, "What is known to be left").
    pub fn stopped(&mut self, pod: &Pod, by: &str, now: u64) {
        let deleted = self.gone.get(by).copied();
        if by != pod.run && deleted.is_some_and(|at| now <= at + ENDED) {
            return;
        }
        let told = self.monitors.get(&pod.run).and_then(Monitor::told);
        let stopping = told.is_some_and(|told| {
            told.attempt != pod.attempt
                || matches!(
                    told.state,
                    k6_operator::machine::StateName::Stopping | k6_operator::machine::StateName::Finished
                )
        });
        if !stopping && !self.gone.contains_key(&pod.run) {
            let name = self.names.get(&pod.run).map_or("?", String::as_str);
            self.broken.push(format!(
                "{name}: {} is stopped by another's stopper",
                pod.key.name
            ));
        }
    }

    /// How many runners of a resource were released, by run.
    pub fn released_of(&self, of_uid: &str) -> usize {
        self.monitors
            .get(of_uid)
            .map_or(0, |monitor| (1..8).map(|attempt| monitor.released(attempt)).sum())
    }
}

/// What can't be known when somebody has removed the Jobs or pods that tell it.
fn is_excused(broken: &Broken) -> bool {
    match broken.invariant {
        Invariant::I7 => !broken.how.starts_with("Passed"),
        Invariant::I16 => broken.how.contains("is made again"),
        Invariant::I1
        | Invariant::I2
        | Invariant::I3
        | Invariant::I4
        | Invariant::I5
        | Invariant::I6
        | Invariant::I8
        | Invariant::I9
        | Invariant::I10
        | Invariant::I11
        | Invariant::I12
        | Invariant::I13
        | Invariant::I14
        | Invariant::I15
        | Invariant::I17
        | Invariant::I18 => false,
    }
}

fn id_of(pod: &Pod) -> Option<RunnerId> {
    match pod.part {
        Part::Runner(runner) => Some(RunnerId {
            attempt: pod.attempt,
            runner,
        }),
        Part::Initializer
        | Part::Starter
        | Part::Stopper
        | Part::Aggregator
        | Part::Service
        | Part::Script => None,
    }
}

/// The run and the number of a runner's Job.
fn runner_of(job: &Value) -> Option<(String, RunnerId)> {
    if label(job, COMPONENT_LABEL) != Some("runner") {
        return None;
    }
    let number = |name: &str| label(job, name).and_then(|text| text.parse().ok());
    let id = RunnerId {
        attempt: number(ATTEMPT_LABEL).unwrap_or(1),
        runner: number(RUNNER_LABEL)?,
    };
    Some((label(job, RUN_LABEL)?.to_owned(), id))
}
