//! What a fault does when its time has come.

use super::api::Deletion;
use super::cluster::{End, Pod, Stage, Step, ended};
use super::covered;
use super::faults::{ByHand, Fault, Injection, Part};
use super::scenario::{NAMESPACE, Source, Test};
use super::store::{Key, Table, text, uid, within};
use super::world::{Event, World};
use k6_operator::objects::{
    aggregator_name, initializer_name, runner_name, script_name, service_name, starter_name, stem,
    stopper_name,
};
use serde_json::{Value, json};

impl Test {
    pub fn table(&self) -> Table {
        if self.test_run {
            Table::TestRuns
        } else {
            Table::K6s
        }
    }
}

impl World {
    pub fn inject(&mut self, index: usize) {
        let Some(fault) = self.plan.0.get(index).copied() else {
            return;
        };
        self.note(&format!("fault {index}: {fault:?}"));
        let test = if let Fault::Injection { test, .. } | Fault::Hand { test, .. } = fault {
            Some(test)
        } else {
            None
        };
        if self.meets(&fault) {
            self.covered(covered::of(&fault), test);
        }
        self.disturbed = self.disturbed.max(self.now);
        match fault {
            Fault::Write { .. }
            | Fault::Read { .. }
            | Fault::Request { .. }
            | Fault::Outage { .. }
            | Fault::Pod { .. } => {}
            Fault::Watch {
                operator,
                table,
                what,
                ..
            } => self.disturb(operator, table, what),
            Fault::Compacted { .. } => self.store.compact(),
            Fault::Crash { operator, .. } => {
                let down = self.draw("down", 200, 8_000);
                self.kill(operator, down);
            }
            Fault::Freeze { operator, ms, .. } => {
                if let Some(state) = self.operators.get(operator) {
                    state.switch.freeze();
                    self.disturbed = self.disturbed.max(self.now + ms + 20_000);
                    self.after(ms, "thaw", Event::Thaw(operator));
                }
            }
            Fault::Clock { operator, ms, .. } => {
                if let Some(state) = self.operators.get_mut(operator) {
                    state.clock += ms;
                    self.slack += ms.unsigned_abs();
                }
            }
            Fault::Injection { test, part, what, .. } => self.injection(test, part, what),
            Fault::Hand { test, what, .. } => self.by_hand(index, test, what),
            Fault::Refused { ms, .. } => {
                self.spent.insert(index);
                if let Some(ms) = ms {
                    self.disturbed = self.disturbed.max(self.now + ms);
                    self.after(ms, "over", Event::Over(index));
                }
            }
        }
    }

    /// Whether what a fault is done to is there.
    fn meets(&self, fault: &Fault) -> bool {
        let runs = |id: String| {
            let pod = self.pods.get(&id);
            pod.is_some_and(|pod| pod.stage == Stage::Running)
        };
        if let Fault::Injection { test, part, .. } = fault {
            return self.pod_of(*test, *part).is_some_and(runs);
        }
        let Fault::Hand { test, what, .. } = fault else {
            return true;
        };
        if let ByHand::DeletePod(part) = what {
            return self.pod_of(*test, *part).is_some();
        }
        if let ByHand::DeleteJob(part) = what {
            return self.store.get(&self.key_of(*test, *part)).is_some();
        }
        true
    }

    pub fn over(&mut self, index: usize) {
        self.note(&format!("fault {index} is over"));
        match self.plan.0.get(index).copied() {
            Some(Fault::Refused { .. }) => {
                self.spent.remove(&index);
            }
            Some(Fault::Hand {
                what: ByHand::Squat(..),
                ..
            }) => {
                let squatter = self
                    .store
                    .everything()
                    .find(|(_, object)| text(object, "/metadata/annotations/squatter") == index.to_string());
                if let Some(key) = squatter.map(|(key, _)| key.clone()) {
                    self.delete(&key, Deletion::Background);
                }
            }
            Some(
                Fault::Write { .. }
                | Fault::Read { .. }
                | Fault::Request { .. }
                | Fault::Outage { .. }
                | Fault::Watch { .. }
                | Fault::Compacted { .. }
                | Fault::Crash { .. }
                | Fault::Freeze { .. }
                | Fault::Clock { .. }
                | Fault::Pod { .. }
                | Fault::Injection { .. }
                | Fault::Hand { .. },
            )
            | None => {}
        }
    }

    /// The pod of this part that runs or is to run, of the last run.
    fn pod_of(&self, test: usize, part: Part) -> Option<String> {
        let of_part = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.test == Some(test) && pod.part == part && pod.stage != Stage::Ended);
        of_part
            .max_by_key(|(id, pod)| (pod.attempt, (*id).clone()))
            .map(|(id, _)| id.clone())
    }

    /// One that has ended, and that its Job has counted: until then Kubernetes holds it by a finalizer.
    fn ended_pod_of(&self, test: usize, part: Part) -> Option<String> {
        let counted = |pod: &Pod| {
            let job = self.store.find(&pod.job);
            self.store.get(&pod.key).is_some() && job.is_some_and(|(_, job)| ended(job))
        };
        let of_part = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.test == Some(test) && pod.part == part && counted(pod));
        of_part
            .max_by_key(|(id, pod)| (pod.attempt, (*id).clone()))
            .map(|(id, _)| id.clone())
    }

    fn injection(&mut self, test: usize, part: Part, what: Injection) {
        let Some(id) = self.pod_of(test, part) else {
            return;
        };
        if self.pods.get(&id).is_none_or(|pod| pod.stage != Stage::Running) {
            return;
        }
        match what {
            // The kubelet begins it again, in the same pod.
            Injection::OutOfMemory if part == Part::Aggregator => {
                let key = self.pods.get_mut(&id).map(|pod| {
                    pod.listens = false;
                    pod.key.clone()
                });
                if let Some(key) = key {
                    self.set_unready(&key);
                }
                let delay = self.draw(&format!("again {id}"), 500, 12_000);
                self.later(delay, Step::Listen(id));
            }
            Injection::OutOfMemory => {
                let end = End {
                    reason: "OOMKilled",
                    ..End::code(137)
                };
                self.end_pod(&id, end);
            }
            Injection::Evicted => {
                self.end_pod(
                    &id,
                    End::of_the_pod("Evicted", "The node was low on resource: memory."),
                );
            }
            Injection::NodeLost => {
                if let Some(pod) = self.pods.get_mut(&id) {
                    pod.listens = false;
                    let pod = pod.clone();
                    if let Part::Runner(_) = pod.part {
                        self.recorder.exited(&pod, &id, None);
                    }
                }
                self.disturbed = self.disturbed.max(self.now + 40_000);
                self.fate(
                    &id,
                    40_000,
                    End::of_the_pod("NodeLost", "Node node which was running pod is unresponsive"),
                );
                if let Some(pod) = self.pods.get_mut(&id) {
                    pod.lost = true;
                }
            }
        }
    }

    /// A user changes a resource.
    fn change(&mut self, test: usize, change: impl FnOnce(&mut Value)) {
        let Some(object) = self.object(test).cloned() else {
            return;
        };
        let key = Key::new(
            self.scenario.tests[test].table(),
            NAMESPACE,
            self.scenario.tests[test].name,
        );
        let mut changed = (*object).clone();
        change(&mut changed);
        self.replaced(&key, changed);
    }

    fn edit(&mut self, test: usize, change: impl FnOnce(&mut Value)) {
        if let Some(object) = self.object(test).cloned() {
            self.recorder.edited(uid(&object));
        }
        self.change(test, |object| change(within(object, "spec")));
    }

    /// Asks for nothing.
    pub fn annotate(&mut self, test: usize) {
        self.change(test, |object| {
            within(within(object, "metadata"), "annotations")["seen"] = json!("yes");
        });
    }

    fn by_hand(&mut self, index: usize, test: usize, what: ByHand) {
        let Some(object) = self.object(test).cloned() else {
            return;
        };
        let key = Key::new(
            self.scenario.tests[test].table(),
            NAMESPACE,
            self.scenario.tests[test].name,
        );
        let state = text(&object, "/status/state");
        let (open, finished) = (matches!(state, "" | "Initializing"), state == "Finished");
        let again = format!("again-{index}");
        match what {
            ByHand::Stop => self.edit(test, |spec| spec["stop"] = json!(true)),
            ByHand::Rerun => {
                self.slack += super::sim::LONGEST;
                self.edit(test, |spec| spec["rerun"] = json!(again));
            }
            // What the rules of the definition allow.
            ByHand::Suspend(on) if !on || open || finished => {
                self.edit(test, |spec| spec["suspend"] = json!(on));
            }
            ByHand::Edit(runners) if open || finished => self.edit(test, |spec| {
                spec["parallelism"] = json!(runners);
                if finished {
                    spec["rerun"] = json!(again);
                }
            }),
            ByHand::Suspend(_) | ByHand::Edit(_) => {}
            ByHand::Delete { foreground } => {
                let how = if foreground {
                    Deletion::Foreground
                } else {
                    Deletion::Background
                };
                self.delete(&key, how);
            }
            ByHand::Recreate(ms) => {
                self.delete(&key, Deletion::Background);
                self.disturbed = self.disturbed.max(self.now + ms);
                self.after(ms, "apply", Event::Apply(test));
            }
            ByHand::DeleteJob(part) => {
                let key = self.key_of(test, part);
                self.recorder.tampered(uid(&object));
                self.delete(&key, Deletion::Background);
            }
            ByHand::Unlabel(part) => {
                let key = self.key_of(test, part);
                if let Some(job) = self.store.get(&key).cloned() {
                    self.recorder.tampered(uid(&object));
                    let mut changed = (*job).clone();
                    within(&mut changed, "metadata")["labels"] = json!({});
                    self.replaced(&key, changed);
                }
            }
            ByHand::DeletePod(part) => {
                self.recorder.tampered(uid(&object));
                let id = self.pod_of(test, part).or_else(|| self.ended_pod_of(test, part));
                if let Some(pod) = id.and_then(|id| self.pods.get(&id)) {
                    let key = pod.key.clone();
                    self.delete(&key, Deletion::Graceful);
                }
            }
            ByHand::DeleteScript => {
                let inline = self.scenario.tests[test].source == Source::Inline;
                let key = if inline {
                    self.key_of(test, Part::Script)
                } else {
                    Key::new(Table::ConfigMaps, NAMESPACE, &self.scenario.tests[test].script())
                };
                self.delete(&key, Deletion::Background);
            }
            ByHand::DeleteTokens => {
                let all = self.store.all(Table::Secrets);
                let keys: Vec<Key> = all.map(|(key, _)| key.clone()).collect();
                for key in keys {
                    self.delete(&key, Deletion::Background);
                }
            }
            ByHand::Squat(part, ms) => {
                let key = self.key_of(test, part);
                let squatter = json!({
                    "apiVersion": key.table.api_version(), "kind": key.table.kind(),
                    "metadata": {"name": key.name, "annotations": {"squatter": index.to_string()}},
                });
                self.create(&key, squatter);
                if let Some(ms) = ms {
                    self.disturbed = self.disturbed.max(self.now + ms);
                    self.after(ms, "over", Event::Over(index));
                }
            }
        }
    }

    /// Where an object of this part of a test's present run is.
    fn key_of(&self, test: usize, part: Part) -> Key {
        let attempt = self
            .object(test)
            .and_then(|object| object.pointer("/status/attempt")?.as_u64())
            .and_then(|attempt| u32::try_from(attempt).ok());
        let name = self.scenario.tests.get(test).map_or("", |test| test.name);
        let stem = stem(name, attempt.unwrap_or(1));
        let job = |name: String| Key::new(Table::Jobs, NAMESPACE, &name);
        match part {
            Part::Initializer => job(initializer_name(&stem)),
            Part::Runner(i) => job(runner_name(&stem, i)),
            Part::Starter => job(starter_name(&stem)),
            Part::Stopper => job(stopper_name(&stem)),
            Part::Aggregator => job(aggregator_name(&stem)),
            Part::Service => Key::new(Table::Services, NAMESPACE, &service_name(&stem)),
            Part::Script => Key::new(
                Table::ConfigMaps,
                NAMESPACE,
                &script_name(&stem, "export default function () {}"),
            ),
        }
    }
}
