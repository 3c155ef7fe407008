//! One look of an operator: the real `advance`, `effects` and `wake_at`, in the order of `operator::reconcile`. The outcome
//! depends on the snapshot alone, and is remembered.
// A table that is only asked, never walked through: its order does not matter.
#![allow(clippy::disallowed_types)]

use crate::invariants::{Broken, Fact as Told, Monitor, Told as Telling};
use crate::world::{Effects, HistoryId, MonitorId, N, Phase, Refused, Request, Role};
use crate::world::{Exit, Stage};
use jiff::{SignedDuration, Timestamp};
use k6_operator::api::Progress;
use k6_operator::api::{Cleanup, Status};
use k6_operator::k6::Version;
use k6_operator::machine::{
    Advanced, Effect, End, Fact, Initializer, Inspect, Inspection, Left, Observed, ObservedPod, Part,
    PodRefusal, Program, REFUSAL_GRACE, Reason, Record, Refusal, Retention, Run, Runner, Start, State,
    StateName, Stop, Target, Terms, advance, are_as_ordered, effects, replay, wake_at,
};
use k6_operator::objects::{
    aggregator_name, initializer_name, runner_name, service_name, starter_name, stem, stopper_name,
    summary_name,
};
use k6_operator::protocol::outcome;
use k6_operator::protocol::report::Report;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// The clock says this; what was recorded before it moved last was at about 0. Longer than any deadline.
const PRESENT: i64 = 10 * 24 * 3600;

/// A Job, as a look finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Seen<T> {
    Absent,
    /// Its cache does not show what the operator itself did.
    Unknown,
    Known(T),
}

impl<T> Seen<T> {
    pub fn map<U>(self, to: impl FnOnce(T) -> U) -> Seen<U> {
        match self {
            Self::Absent => Seen::Absent,
            Self::Unknown => Seen::Unknown,
            Self::Known(seen) => Seen::Known(to(seen)),
        }
    }
}

/// All that a look depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Snapshot {
    pub history: HistoryId,
    pub generation: u8,
    pub observed: u8,
    pub stop: bool,
    pub rerun: bool,
    pub deleting: bool,
    pub refused: Refused,
    pub initializer: Seen<(Stage, u8)>,
    pub runners: [Seen<(u8, Phase)>; N],
    /// Those in whose pods a sidecar goes on, one bit each.
    pub leftovers: u8,
    pub starter: Seen<Ended>,
    pub stopper: Seen<Ended>,
    pub aggregator: Seen<Stage>,
    /// The Service of the aggregator.
    pub address: Seen<()>,
    /// What the aggregator has told: how many thresholds are crossed, and how many runners silent.
    pub result: Seen<(u8, u8)>,
    pub summary: Seen<()>,
    /// The Job whose pod is refused, and whether waiting changes nothing.
    pub denied: Option<(Role, bool)>,
    /// The Jobs of the other run, one bit each.
    pub former: u8,
}

/// A starter or stopper: where it is, how many it was to reach, and how many confirmed.
pub type Ended = (Stage, u8, u8);

/// What a look comes to.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub history: HistoryId,
    /// The status is written.
    pub writes: bool,
    pub told: Telling,
    /// status.observedGeneration.
    pub observed: u8,
    pub effects: Effects,
    pub targets: [u8; N],
    /// Index of the run after it.
    pub attempt: u8,
    /// Another run has begun, or the run has come to a state in which more has happened already.
    pub again: bool,
    /// Woken when the clock has moved; or at once, for a moment that has passed already.
    pub timer: bool,
    pub due: bool,
}

/// A history that was seen.
pub struct Chronicle {
    pub records: Vec<Record>,
    pub run: Run,
}

impl Chronicle {
    /// Index of the run.
    pub fn attempt(&self) -> usize {
        self.run.attempt as usize - 1
    }

    pub fn state(&self) -> StateName {
        self.run.state.name()
    }

    /// The numbers of the runners are merged.
    pub fn is_merged(&self) -> bool {
        let plan = self.run.plan.as_ref();
        plan.is_some_and(|plan| plan.aggregation.is_some())
    }
}

/// What of the spec does not change.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spec {
    pub runners: u8,
    pub unpaused: bool,
    pub uninspected: bool,
    /// `cleanup: post`.
    pub cleanup: bool,
    /// A sidecar in the pods of the runners may go on for ever.
    pub sidecar: bool,
    /// The Jobs of a run are not kept when it is Finished.
    pub brief: bool,
    /// The numbers of the runners are merged, and so many thresholds judged over all.
    pub merged: Option<u8>,
}

/// The tables.
pub struct Looks {
    spec: Spec,
    chronicles: RefCell<Vec<Rc<Chronicle>>>,
    numbers: RefCell<HashMap<String, HistoryId>>,
    outcomes: RefCell<HashMap<Snapshot, Result<Rc<Outcome>, String>>>,
    aged: RefCell<HashMap<HistoryId, HistoryId>>,
    monitors: RefCell<Vec<Monitor>>,
    monitor_numbers: RefCell<HashMap<Monitor, MonitorId>>,
    facts: RefCell<HashMap<(MonitorId, Told), Result<MonitorId, Broken>>>,
}

impl Looks {
    pub fn new(spec: Spec, monitor: Monitor) -> Self {
        let looks = Self {
            spec,
            chronicles: RefCell::default(),
            numbers: RefCell::default(),
            outcomes: RefCell::default(),
            aged: RefCell::default(),
            monitors: RefCell::default(),
            monitor_numbers: RefCell::default(),
            facts: RefCell::default(),
        };
        looks.history(Vec::new());
        looks.monitor(monitor);
        looks
    }

    pub fn recorded(&self, history: HistoryId) -> Rc<Chronicle> {
        Rc::clone(&self.chronicles.borrow()[history as usize])
    }

    fn history(&self, records: Vec<Record>) -> HistoryId {
        let key = serde_json::to_string(&records).unwrap();
        if let Some(number) = self.numbers.borrow().get(&key) {
            return *number;
        }
        let run = replay(&records).unwrap();
        let mut all = self.chronicles.borrow_mut();
        let number = u32::try_from(all.len()).unwrap();
        all.push(Rc::new(Chronicle { records, run }));
        self.numbers.borrow_mut().insert(key, number);
        number
    }

    /// The history after the clock has moved.
    pub fn aged(&self, history: HistoryId) -> HistoryId {
        if let Some(aged) = self.aged.borrow().get(&history) {
            return *aged;
        }
        let mut records = self.recorded(history).records.clone();
        for (i, record) in (0..).zip(&mut records) {
            record.time = at(0, i);
        }
        let aged = self.history(records);
        self.aged.borrow_mut().insert(history, aged);
        aged
    }

    fn retention(&self) -> Retention {
        Retention {
            cleanup: self.spec.cleanup.then_some(Cleanup::Post),
            ttl: None,
        }
    }

    fn left(&self, run: &Run, snapshot: &Snapshot) -> Left {
        let is_known = |role: &Role| match role {
            Role::Initializer => matches!(snapshot.initializer, Seen::Known(_)),
            Role::Starter => matches!(snapshot.starter, Seen::Known(_)),
            Role::Stopper => matches!(snapshot.stopper, Seen::Known(_)),
            Role::Runner(i) => matches!(snapshot.runners[usize::from(*i) - 1], Seen::Known(_)),
            Role::Aggregator | Role::Service | Role::Summary => false,
        };
        let jobs = Role::ALL.into_iter().filter(is_known);
        let name = stem(NAME, run.attempt);
        Left {
            keep: self.spec.brief.then_some(SignedDuration::ZERO),
            jobs: match run.state {
                State::Finished(_) => jobs.map(|role| job_name(&name, role)).collect(),
                State::Initializing(_)
                | State::Created(_)
                | State::Starting(_)
                | State::Started(_)
                | State::Stopping(_) => Vec::new(),
            },
        }
    }

    /// Two histories that differ only in times that nothing waits for are one: each record whose time no deadline
    /// is counted from has happened long ago.
    fn without_idle_times(&self, mut history: Vec<Record>) -> Vec<Record> {
        let left = Runner {
            end: Some(end(Some(0))),
            leftover: self.spec.sidecar,
            ..Runner::default()
        };
        let seen = Observed {
            retention: self.retention(),
            runners: Fact::Known(BTreeMap::from([(1, left)])),
            result: match self.spec.merged {
                Some(_) => Fact::Known(Box::default()),
                None => Fact::Absent,
            },
            ..Observed::unknown(1, Err(String::new()))
        };
        for (i, record) in history.iter_mut().enumerate() {
            let recent = record.time.as_second() >= PRESENT;
            record.time = at(if recent { PRESENT } else { 0 }, i);
        }
        let deadline = |history: &[Record]| wake_at(&replay(history).unwrap().state, &seen);
        let wanted = deadline(&history);
        for i in 0..history.len() {
            let time = std::mem::replace(&mut history[i].time, at(0, i));
            if deadline(&history) != wanted {
                history[i].time = time;
            }
        }
        history
    }

    fn monitor(&self, monitor: Monitor) -> MonitorId {
        if let Some(number) = self.monitor_numbers.borrow().get(&monitor) {
            return *number;
        }
        let mut all = self.monitors.borrow_mut();
        let number = u32::try_from(all.len()).unwrap();
        all.push(monitor.clone());
        self.monitor_numbers.borrow_mut().insert(monitor, number);
        number
    }

    /// The monitor after a fact.
    pub fn see(&self, monitor: MonitorId, fact: Told) -> Result<MonitorId, Broken> {
        let key = (monitor, fact);
        if let Some(known) = self.facts.borrow().get(&key) {
            return known.clone();
        }
        let mut after = self.monitors.borrow()[monitor as usize].clone();
        let after = after.see(&key.1).map(|()| self.monitor(after));
        self.facts.borrow_mut().insert(key, after.clone());
        after
    }

    /// Whether these are the runners that the order to start names.
    pub fn as_ordered(&self, history: HistoryId, seen: &[Seen<(u8, Phase)>; N]) -> bool {
        let run = &self.recorded(history).run;
        match &run.state {
            State::Starting(state) => are_as_ordered(state, &runners(run.attempt, seen)),
            State::Initializing(_)
            | State::Created(_)
            | State::Started(_)
            | State::Stopping(_)
            | State::Finished(_) => false,
        }
    }

    pub fn look(&self, snapshot: &Snapshot) -> Result<Rc<Outcome>, String> {
        if let Some(known) = self.outcomes.borrow().get(snapshot) {
            return known.clone();
        }
        let outcome = self.looked(snapshot).map(Rc::new);
        self.outcomes.borrow_mut().insert(*snapshot, outcome.clone());
        outcome
    }

    fn looked(&self, snapshot: &Snapshot) -> Result<Outcome, String> {
        let before = self.recorded(snapshot.history);
        let now = at(PRESENT, before.records.len());
        let seen = self.observed(snapshot, &before.run);

        let waited = seen.pod_refused.as_ref().filter(|_| !snapshot.deleting);
        let advanced = advance(before.run.clone(), before.records.clone(), &seen, now);
        let looks_again = advanced.calls_for_another_look();
        let Advanced {
            run,
            history,
            transitions,
            refused,
        } = advanced;
        if let Some(event) = refused {
            return Err(format!("{} is refused in {:?}", event.name(), run.state.name()));
        }
        // Another look at the same snapshot would find nothing: it is left out.
        let again = looks_again && (run.attempt != before.run.attempt || run.next(&seen, now).is_some());
        match replay(&history) {
            Ok(replayed) if replayed == run => {}
            other => return Err(format!("the replay of {history:?} is {other:?}, not {run:?}")),
        }
        if let Some(refusal) = waited {
            is_told(refusal, &before.run, &run)?;
        }
        let mut wanted = effects(&run.state, &seen, now);
        wanted.retain(|effect| transitions.is_empty() || *effect != Effect::DeleteResource);
        let (effects, targets) = requests(&wanted, before.run.attempt)?;
        let wake = wake_at(&run.state, &seen);
        let before = Status {
            observed_generation: (snapshot.observed > 0).then_some(snapshot.observed.into()),
            ..Status::default()
        };
        let progress = Progress::of(&run, &seen, &[]).after(&run, Some(&before));
        let status = run.status(history.clone(), &progress);
        let observed = status
            .observed_generation
            .map_or(0, |observed| u8::try_from(observed).unwrap());
        let history = self.without_idle_times(history);
        Ok(Outcome {
            writes: !seen.deleting && (!transitions.is_empty() || snapshot.observed != observed),
            told: Telling::of(&status),
            observed,
            effects,
            targets,
            attempt: u8::try_from(run.attempt - 1).unwrap(),
            again,
            timer: wake.is_some_and(|wake| wake > now),
            due: wake.is_some_and(|wake| wake <= now),
            history: self.history(history),
        })
    }

    fn observed(&self, snapshot: &Snapshot, run: &Run) -> Observed {
        let n = self.spec.runners;
        let terms = Terms {
            parallelism: n.into(),
            initialization_timeout: SignedDuration::from_secs(300),
            start_timeout: SignedDuration::from_secs(300),
            start: Start::from(self.spec.unpaused),
            inspect: Inspect::from(self.spec.uninspected),
            ..Terms::default()
        };
        let accepted = match &run.state {
            State::Initializing(state) => state.accepted(),
            State::Created(_)
            | State::Starting(_)
            | State::Started(_)
            | State::Stopping(_)
            | State::Finished(_) => None,
        };
        let initializer = match snapshot.initializer {
            Seen::Absent => Fact::Absent,
            Seen::Unknown => Fact::Unknown,
            Seen::Known((_, generation))
                if accepted.is_some_and(|accepted| accepted.generation != i64::from(generation)) =>
            {
                Fact::Known(Initializer::Outdated)
            }
            Seen::Known((Stage::Reported, _)) if !is_inspected_for(run, snapshot) => {
                Fact::Known(Initializer::Done)
            }
            Seen::Known((stage, _)) => Fact::Known(initializer(stage, self.spec)),
        };
        let script = if accepted.is_some() && initializer == Fact::Absent {
            Fact::Known(Ok(()))
        } else {
            Fact::Unknown
        };
        let mut runners = runners(run.attempt, &snapshot.runners);
        if let Some((Role::Runner(i), _)) = snapshot.denied
            && let Some(runner) = runners.get_mut(&i.into())
        {
            runner.pod = None;
        }
        for (i, runner) in &mut runners {
            runner.leftover = snapshot.leftovers >> (i - 1) & 1 == 1;
        }
        let name = stem(NAME, other(run.attempt));
        let former = Role::ALL
            .into_iter()
            .filter(|role| snapshot.former >> role.index() & 1 == 1);
        Observed {
            deleting: snapshot.deleting,
            rerun: snapshot.rerun.then(|| AGAIN.to_owned()),
            stop: snapshot.stop,
            retention: self.retention(),
            former: former.map(|role| job_name(&name, role)).collect(),
            left: self.left(run, snapshot),
            script,
            initializer,
            runners: Fact::Known(runners),
            starter: program(snapshot.starter),
            stopper: program(snapshot.stopper),
            aggregator: known(snapshot.aggregator, |stage| Runner {
                pod: (stage != Stage::Failed && !is_denied(snapshot, Role::Aggregator))
                    .then(|| pod("aggregator".to_owned(), stage == Stage::Working)),
                end: (stage == Stage::Failed).then(|| end(Some(137))),
                ..Runner::default()
            }),
            address: known(snapshot.address, |()| "10.0.0.1:4318".to_owned()),
            result: known(snapshot.result, |told| result(told, self.spec)),
            summary: known(snapshot.summary, |()| ()),
            pod_refused: snapshot
                .denied
                .and_then(|(role, lasting)| pod_refused(run, snapshot, role, lasting)),
            refused: match snapshot.refused {
                Refused::Nothing => None,
                Refused::Foreign => Some(Refusal::Foreign("a foreign object".to_owned())),
                Refused::ForNow => Some(Refusal::ForNow("a quota".to_owned())),
            },
            ..Observed::unknown(snapshot.generation.into(), Ok(terms))
        }
    }
}

fn is_denied(snapshot: &Snapshot, role: Role) -> bool {
    snapshot.denied.is_some_and(|(denied, _)| denied == role)
}

/// Whose pod it is.
fn part(role: Role) -> Option<Part> {
    match role {
        Role::Initializer => Some(Part::Initializer),
        Role::Starter => Some(Part::Starter),
        Role::Stopper => Some(Part::Stopper),
        Role::Aggregator => Some(Part::Aggregator),
        Role::Runner(i) => Some(Part::Runner(i.into())),
        Role::Service | Role::Summary => None,
    }
}

/// What an operator finds out of a Job without a pod, which it asks about only where it waits for it: see
/// `operator::observe`.
fn pod_refused(run: &Run, snapshot: &Snapshot, role: Role, lasting: bool) -> Option<PodRefusal> {
    let part = part(role)?;
    let waits = match &run.state {
        state if state.awaits_result().is_some() => part == Part::Aggregator,
        State::Initializing(_) => part == Part::Initializer && snapshot.initializer != Seen::Absent,
        State::Created(_) => matches!(part, Part::Aggregator | Part::Runner(_)),
        State::Starting(_) => part == Part::Starter,
        State::Started(_) => part == Part::Aggregator,
        State::Stopping(_) => part == Part::Stopper,
        State::Finished(_) => false,
    };
    let text = if lasting {
        "maximum memory usage per Container is 1Gi, but limit is 2Gi"
    } else {
        "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"
    };
    let message = format!("Error creating: pods \"a\" is forbidden: {text}");
    waits.then(|| PodRefusal::from_event(part, &message, REFUSAL_GRACE))
}

/// Whether a run whose pod is refused says so where it ends, and does not go on waiting for what can't come.
fn is_told(refusal: &PodRefusal, before: &Run, after: &Run) -> Result<(), String> {
    let ends = |run: &Run| match &run.state {
        State::Finished(end) => Some(end.verdict.clone()),
        State::Stopping(stopping) if matches!(stopping.phase, Stop::Ending(_)) => Some(stopping.why.clone()),
        State::Initializing(_)
        | State::Created(_)
        | State::Starting(_)
        | State::Started(_)
        | State::Stopping(_) => None,
    };
    let needed = match (&before.state, refusal.part) {
        (State::Initializing(state), Part::Initializer) => {
            let accepted = |run: &Run| run.accepted;
            state.accepted().is_some() && accepted(before) == accepted(after)
        }
        (State::Created(_), Part::Aggregator | Part::Runner(_)) | (State::Starting(_), Part::Starter) => true,
        (state, Part::Aggregator) if state.awaits_result().is_some() => true,
        (
            State::Initializing(_)
            | State::Created(_)
            | State::Starting(_)
            | State::Started(_)
            | State::Stopping(_)
            | State::Finished(_),
            Part::Initializer | Part::Aggregator | Part::Runner(_) | Part::Starter | Part::Stopper,
        ) => false,
    };
    if !needed {
        return Ok(());
    }
    match ends(after) {
        None if refusal.is_final() && after.state.name() == before.state.name() => {
            Err(format!("it goes on, though {}", refusal.clause()))
        }
        Some(verdict)
            if matches!(
                verdict.reason,
                Reason::ObjectRefused
                    | Reason::InitializationDeadlineExceeded
                    | Reason::StartDeadlineExceeded
                    | Reason::AggregationFailed
            ) && !verdict.message.contains(&refusal.clause()[1..]) =>
        {
            Err(format!(
                "{:?} does not say that {}",
                verdict.message,
                refusal.clause()
            ))
        }
        None | Some(_) => Ok(()),
    }
}

/// spec.rerun, which asks for another run.
pub const AGAIN: &str = "again";

/// The name of the resource.
const NAME: &str = "test";

/// What k6 said is read: for the plan, or for an aggregator.
fn is_inspected_for(run: &Run, snapshot: &Snapshot) -> bool {
    match &run.state {
        State::Initializing(_) => true,
        State::Created(state) => state.plan.aggregation.is_some() && snapshot.aggregator == Seen::Absent,
        State::Starting(_) | State::Started(_) | State::Stopping(_) | State::Finished(_) => false,
    }
}

fn job_name(stem: &str, role: Role) -> String {
    match role {
        Role::Initializer => initializer_name(stem),
        Role::Starter => starter_name(stem),
        Role::Stopper => stopper_name(stem),
        Role::Aggregator => aggregator_name(stem),
        Role::Runner(i) => runner_name(stem, i.into()),
        Role::Service => service_name(stem),
        Role::Summary => summary_name(stem),
    }
}

/// Of the two runs, not this one: a view of the Jobs may be of a later run than that of the resource.
fn other(attempt: u32) -> u32 {
    3 - attempt
}

fn at(since: i64, millis: usize) -> Timestamp {
    Timestamp::from_millisecond(since * 1000 + i64::try_from(millis).unwrap()).unwrap()
}

fn initializer(stage: Stage, spec: Spec) -> Initializer {
    match stage {
        Stage::Absent | Stage::Pending | Stage::Working => Initializer::Running(None),
        Stage::Reported => Initializer::Succeeded(Ok(Inspection {
            max_vus: u64::from(spec.runners) * 10,
            total_duration: "1m30s".to_owned(),
            longest: SignedDuration::from_secs(90),
            setup_timeout: SignedDuration::from_secs(60),
            teardown_timeout: SignedDuration::from_secs(30),
            left_out: false,
            tags: BTreeMap::new(),
            rps: None,
            system_tags: None,
            names_no_own_tag: false,
            spare_scenario: false,
            spare_group: false,
            script_metrics: Default::default(),
            thresholds: spec.merged.unwrap_or(1).into(),
            threshold_error: None,
            version: spec.merged.map(|_| Version::new(1, 1, 0)),
            options: "{}".to_owned(),
        })),
        Stage::Failed => Initializer::Failed("k6 refused the script".to_owned()),
    }
}

fn runners(attempt: u32, seen: &[Seen<(u8, Phase)>; N]) -> BTreeMap<u32, Runner> {
    let seen = (1..).zip(seen);
    let there = seen.filter_map(|(i, seen)| match seen {
        Seen::Absent => None,
        Seen::Unknown => Some((i, Runner::default())),
        Seen::Known((made, phase)) => Some((i, runner(attempt, i, *made, *phase))),
    });
    there.collect()
}

fn end(code: Option<u8>) -> End {
    End {
        code: code.map(i32::from),
        reason: None,
        message: String::new(),
    }
}

fn pod(uid: String, ready: bool) -> ObservedPod {
    ObservedPod {
        uid,
        ip: ready.then(|| "10.0.0.2".to_owned()),
        ready,
        waiting: None,
    }
}

fn known<T, F>(seen: Seen<T>, fact: impl FnOnce(T) -> F) -> Fact<F> {
    match seen {
        Seen::Absent => Fact::Absent,
        Seen::Unknown => Fact::Unknown,
        Seen::Known(seen) => Fact::Known(fact(seen)),
    }
}

fn result((crossed, silent): (u8, u8), spec: Spec) -> Box<outcome::Outcome> {
    Box::new(outcome::Outcome {
        thresholds: spec.merged.unwrap_or_default().into(),
        crossed: crossed.into(),
        silent: silent.into(),
        ..outcome::Outcome::default()
    })
}

fn runner(attempt: u32, i: u32, made: u8, phase: Phase) -> Runner {
    let (end, pod) = match phase {
        Phase::Absent | Phase::Pending | Phase::Ready | Phase::Running => (None, true),
        Phase::Ended(Exit::Code(code)) => (Some(self::end(Some(code))), true),
        Phase::Ended(Exit::Lost) => (Some(self::end(None)), false),
    };
    let pod = pod.then(|| ObservedPod {
        // The number of its Job stands for the address: the effects give it back.
        ip: (phase != Phase::Pending).then(|| made.to_string()),
        ..self::pod(format!("{attempt}.{i}.{made}"), phase.answers())
    });
    Runner {
        pod,
        end,
        ..Runner::default()
    }
}

fn program(seen: Seen<Ended>) -> Fact<Program> {
    match seen {
        Seen::Absent => Fact::Absent,
        Seen::Unknown => Fact::Known(Program::Running(None)),
        Seen::Known((Stage::Absent | Stage::Pending | Stage::Working, _, _)) => {
            Fact::Known(Program::Running(None))
        }
        Seen::Known((Stage::Reported, total, confirmed)) => Fact::Known(Program::Reported(Report {
            total: total.into(),
            ordered: 0,
            confirmed: confirmed.into(),
            spread_micros: 0,
            failures: Vec::new(),
            aborted: false,
        })),
        Seen::Known((Stage::Failed, _, _)) => Fact::Known(Program::Failed("it was killed".to_owned())),
    }
}

fn requests(wanted: &[Effect], attempt: u32) -> Result<(Effects, [u8; N]), String> {
    let mut effects = Effects::default();
    let mut targets = [0; N];
    let small = |i: &u32| u8::try_from(*i).unwrap();
    let mut aim = |at: &[Target]| {
        for target in at {
            targets[target.runner as usize - 1] = target.ip.parse().unwrap();
        }
    };
    for effect in wanted {
        effects.insert(match effect {
            Effect::CreateScript => return Err("the script is there".to_owned()),
            Effect::CreateInitializer => Request::Create(Role::Initializer),
            Effect::DeleteInitializer => Request::Delete(Role::Initializer),
            Effect::CreateRunner { runner, of: _ } => Request::Create(Role::Runner(small(runner))),
            Effect::DeleteRunner { runner } => Request::Delete(Role::Runner(small(runner))),
            Effect::CreateStarter(at) => {
                aim(at);
                Request::Create(Role::Starter)
            }
            Effect::DeleteStarter => Request::Delete(Role::Starter),
            Effect::CreateStopper(at) => {
                aim(at);
                Request::Create(Role::Stopper)
            }
            Effect::DeleteFormer(name) => {
                let former = stem(NAME, other(attempt));
                let role = Role::ALL
                    .into_iter()
                    .find(|role| job_name(&former, *role) == *name);
                Request::DeleteFormer(role.ok_or_else(|| format!("{name} is no former Job"))?)
            }
            Effect::DeleteLeft(name) => {
                let own = stem(NAME, attempt);
                let role = Role::ALL.into_iter().find(|role| job_name(&own, *role) == *name);
                Request::Delete(role.ok_or_else(|| format!("{name} is no Job of this run"))?)
            }
            Effect::DeleteResource => Request::DeleteResource,
            Effect::CreateAggregator { options: _ } => Request::Create(Role::Aggregator),
            Effect::CreateService => Request::Create(Role::Service),
            Effect::DeleteAggregator => Request::Delete(Role::Aggregator),
            Effect::KeepSummary => Request::Create(Role::Summary),
        });
    }
    Ok((effects, targets))
}
