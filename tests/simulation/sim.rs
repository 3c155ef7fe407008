//! One simulation, from the beginning to the end of all runs and a while beyond.

use super::api::Deletion;
use super::faults::{Fault, Plan, When};
use super::invariants::{Fact, Fencing};
use super::process::start;
use super::scenario::{NAMESPACE, Operators, RUN_TIMEOUT, Scenario, TIMEOUT};
use super::store::{Key, Table, label, owners, text, uid};
use super::world::{Shared, World, fault_time};
use k6_operator::objects::COMPONENT_LABEL;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The longest that a run can take by its deadlines, in ms, with the time in which its result is collected and kept,
/// and a minute for what is under way then.
pub const LONGEST: u64 = (10 + 3 * TIMEOUT + RUN_TIMEOUT + 150 + 300 + 60 + 90) * 1000;

/// How long nothing happens before it is counted what that costs.
const SETTLED: u64 = 120_000;

/// How long that is counted.
const IDLE: u64 = 300_000;
/// With a lease, which is renewed all the time.
const IDLE_LEASED: u64 = 60_000;

/// How long what is left of a resource may be there.
const LEFT: u64 = 60_000;

/// What came of a simulation.
#[derive(Debug)]
pub struct Outcome {
    pub hash: u64,
    pub lines: Vec<String>,
    pub broken: Vec<String>,
    /// How each test ended.
    pub ends: Vec<String>,
    pub histories: Vec<String>,
    /// Every message that a status had.
    pub messages: Vec<String>,
    /// Writes of each operator until all runs had ended.
    pub writes: Vec<u64>,
    /// Reads likewise.
    pub reads: Vec<u64>,
    /// How many long logs were read.
    pub long_logs: u64,
    /// Virtual time, in ms.
    pub took: u64,
}

/// Runs one.
pub fn simulate(seed: u64, scenario: &Scenario, plan: &Plan) -> Outcome {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(simulation(seed, scenario.clone(), plan.clone())),
        Err(error) => panic!("no runtime: {error}"),
    }
}

async fn simulation(seed: u64, scenario: Scenario, plan: Plan) -> Outcome {
    let began = Instant::now();
    let mut world = World::new(seed, scenario, plan);
    world.began = Some(began);
    if world.plan.0.iter().any(is_late) {
        world.recorder.fencing = Fencing::ManyAct;
    }
    let shared = Shared(Arc::new((Mutex::new(world), Notify::new())));
    let leased = shared.lock().scenario.operators == Operators::Leased;
    let run = Run {
        shared,
        began,
        leased,
    };
    run.until_quiet().await;
    let ended = run.end();
    let broken = if ended.broken.is_empty() {
        run.aftermath().await;
        run.shared.lock().recorder.broken.clone()
    } else {
        ended.broken
    };
    let world = run.shared.lock();
    Outcome {
        hash: world.trace.hash,
        lines: world.trace.lines.clone(),
        broken,
        took: world.now,
        long_logs: world.long_logs.values().map(|(count, _)| count).sum(),
        ..ended
    }
}

/// Whether a request may have its effect after its sender has given it up.
fn is_late(fault: &Fault) -> bool {
    use super::faults::OnRequest;
    match fault {
        Fault::Write { what, .. }
        | Fault::Read { what, .. }
        | Fault::Request { what, .. }
        | Fault::Outage { what, .. } => {
            matches!(what, OnRequest::Late(_))
        }
        Fault::Freeze { .. } => true,
        Fault::Watch { .. }
        | Fault::Compacted { .. }
        | Fault::Crash { .. }
        | Fault::Clock { .. }
        | Fault::Pod { .. }
        | Fault::Injection { .. }
        | Fault::Hand { .. }
        | Fault::Refused { .. } => false,
    }
}

/// The world, going on.
pub struct Run {
    pub shared: Shared,
    pub began: Instant,
    pub leased: bool,
}

impl Run {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Lets everything happen that happens until then.
    pub async fn until(&self, end: u64) {
        loop {
            let now = self.now();
            let (next, to_start) = {
                let mut world = self.shared.lock();
                while world.step(now.min(end)) {}
                world.now = world.now.max(now.min(end));
                (world.next(), std::mem::take(&mut world.to_start))
            };
            for operator in to_start {
                start(&self.shared, operator, self.began, self.leased);
            }
            if now >= end {
                return;
            }
            // A year, when nothing is to come: no clock goes further.
            let next = next.unwrap_or(end).min(end).min(now + 31_536_000_000);
            tokio::select! {
                biased;
                () = self.shared.0.1.notified() => {}
                () = sleep_until(self.began + Duration::from_millis(next)) => {}
            }
        }
    }

    async fn until_quiet(&self) {
        loop {
            self.until(self.now() + 5_000).await;
            let settled = {
                let world = self.shared.lock();
                if !world.recorder.broken.is_empty() {
                    return;
                }
                is_quiet(&world)
            };
            if settled {
                self.until(self.now() + SETTLED).await;
                if is_quiet(&self.shared.lock()) {
                    return;
                }
            }
            let mut world = self.shared.lock();
            let limit = world.disturbed + LONGEST + world.slack;
            if self.now() > limit {
                let stuck = (0..world.scenario.tests.len()).filter(|test| !is_over(&world, *test));
                let stuck: Vec<String> = stuck.map(|test| end_of(&world, test)).collect();
                let found = format!("stuck at {} s: {}", self.now() / 1000, stuck.join(", "));
                world.recorder.broken.push(found);
                return;
            }
        }
    }

    fn end(&self) -> Outcome {
        let world = self.shared.lock();
        let tests = 0..world.scenario.tests.len();
        Outcome {
            hash: 0,
            lines: Vec::new(),
            broken: world.recorder.broken.clone(),
            messages: world.recorder.messages.clone(),
            ends: tests.clone().map(|test| end_of(&world, test)).collect(),
            histories: tests.map(|test| history_of(&world, test)).collect(),
            writes: world.operators.iter().map(|operator| operator.writes).collect(),
            reads: world.operators.iter().map(|operator| operator.reads).collect(),
            long_logs: 0,
            took: 0,
        }
    }

    /// After the end: nothing is written for five minutes, be the resource looked at or not, and nothing is left of what is deleted.
    async fn aftermath(&self) {
        self.shared.lock().recorder.writes = 0;
        let idle = if self.leased { IDLE_LEASED } else { IDLE };
        self.until(self.now() + idle / 2).await;
        {
            let mut world = self.shared.lock();
            world.note("all resources are annotated");
            for test in 0..world.scenario.tests.len() {
                world.annotate(test);
            }
        }
        self.until(self.now() + idle / 2).await;
        {
            let mut world = self.shared.lock();
            let writes = world.recorder.writes;
            let last = world
                .recorder
                .names
                .keys()
                .next_back()
                .cloned()
                .unwrap_or_default();
            world.recorder.see(&last, &Fact::Idle { writes });
            world.note("all resources are deleted");
            for test in world.scenario.tests.clone() {
                let key = Key::new(test.table(), NAMESPACE, test.name);
                world.delete(&key, Deletion::Background);
            }
        }
        self.until(self.now() + LEFT).await;
        let mut world = self.shared.lock();
        let tests: Vec<String> = world.recorder.names.keys().cloned().collect();
        for test in tests {
            let objects = left_of(&world, &test);
            world.recorder.see(&test, &Fact::Left { objects });
        }
    }
}

/// What is there of a resource that is not.
fn left_of(world: &World, test: &str) -> Vec<String> {
    let of_run = |object: &Value| {
        let labels = object.pointer("/metadata/labels");
        let label = labels
            .and_then(|labels| labels.get(k6_operator::objects::RUN_LABEL))
            .and_then(Value::as_str);
        label == Some(test) || owners(object).any(|owner| owner == test) || uid(object) == test
    };
    let found = world
        .store
        .everything()
        .filter(|(key, object)| !matches!(key.table, Table::Events | Table::CoreEvents) && of_run(object));
    found
        .map(|(key, _)| format!("{:?} {}", key.table, key.name))
        .collect()
}

/// Whether nothing is to come any more of what is known to come.
fn is_quiet(world: &World) -> bool {
    let last = world
        .plan
        .0
        .iter()
        .filter_map(|fault| match fault_time(fault) {
            Some(When::At(at)) => Some(at),
            Some(When::In(..)) | None => None,
        })
        .max();
    let over = (0..world.scenario.tests.len()).all(|test| is_over(world, test));
    over && world.now >= world.disturbed && last.is_none_or(|last| world.now > last)
}

/// Whether this test is Finished, deleted, or held.
fn is_over(world: &World, test: usize) -> bool {
    if world
        .scenario
        .tests
        .get(test)
        .is_some_and(|test| world.now <= test.at)
    {
        return false;
    }
    let Some(object) = world.object(test) else {
        return true;
    };
    let held = object.pointer("/spec/suspend") == Some(&Value::Bool(true))
        && text(object, "/status/state") == "Initializing"
        && object.pointer("/spec/stop") != Some(&Value::Bool(true));
    let answered = object.pointer("/spec/rerun").is_none()
        || object
            .pointer("/status/history")
            .and_then(Value::as_array)
            .is_some_and(|history| {
                history
                    .iter()
                    .any(|event| event.get("rerun") == object.pointer("/spec/rerun"))
            });
    let foreign = object.pointer("/status/stage").is_some() && object.pointer("/status/state").is_none();
    held || foreign
        || (text(object, "/status/state") == "Finished" && answered && !is_kept(world, uid(object)))
}

/// Whether what merges the metrics of a run, or has its result, is there still, or a Job that is not to be kept.
fn is_kept(world: &World, run: &str) -> bool {
    let goes = world.scenario.keep_jobs.is_some();
    let merges = |job: &Value| label(job, COMPONENT_LABEL) == Some("aggregator");
    let mut jobs = world.store.all(Table::Jobs);
    jobs.any(|(_, job)| (goes || merges(job)) && owners(job).any(|owner| owner == run))
}

fn end_of(world: &World, test: usize) -> String {
    let name = world.scenario.tests.get(test).map_or("?", |test| test.name);
    match world.object(test) {
        None => format!("{name}: deleted"),
        Some(object) => format!(
            "{name}: run {} {} {} {}, {} released",
            object
                .pointer("/status/attempt")
                .and_then(Value::as_u64)
                .unwrap_or(1),
            text(object, "/status/state"),
            text(object, "/status/result"),
            text(object, "/status/reason"),
            world.recorder.released_of(uid(object))
        ),
    }
}

fn history_of(world: &World, test: usize) -> String {
    let object = world.object(test);
    let history = object.and_then(|object| object.pointer("/status/history")?.as_array());
    let lines = history.into_iter().flatten().map(Value::to_string);
    lines.collect::<Vec<_>>().join("\n")
}
