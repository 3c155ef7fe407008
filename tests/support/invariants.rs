//! What must hold of every run: I1 to I18, each once. The model checker, the simulator and the tests on a real
//! cluster tell what happened, fact by fact in the order in which it happened, and [`Monitor`] says which
//! invariant it breaks.
//!
//! Some are broken by a fact in the wrong place (never two releases), and are seen as it happens. Others promise
//! that something comes about (nothing is left after a delete): whoever waits for it tells its outcome as a fact.

#![allow(dead_code)]

use k6_operator::api::Status;
use k6_operator::machine::{Event, Reason, RunResult, Start, StateName};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The invariants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// At most one process per runner is ever released in one run, and none after the end.
    I1,
    /// None is released before all are ready, under one recorded order.
    I2,
    /// At the start deadline a run ends without a runner released.
    I3,
    /// N runner Jobs, their segments a partition of [0, 1]; never more.
    I4,
    /// A partial start is reported.
    I5,
    /// The end of a run does not change.
    I6,
    /// Passed if, and only if, all runners exited 0, and no threshold was crossed over all of them.
    I7,
    /// After a crash a run comes to the same end.
    I8,
    /// Nothing is done on a view older than one's own last write.
    I9,
    /// Two leaders cause at most one start.
    I10,
    /// A foreign object is never adopted, changed or deleted.
    I11,
    /// Nothing is left 60 s after a delete.
    I12,
    /// The spec is never written.
    I13,
    /// A run in which nothing happens costs no write.
    I14,
    /// A run that hangs never delays another.
    I15,
    /// A runner that is lost after the start is reported, and not made again.
    I16,
    /// A status says Finished only of a generation whose spec.rerun its run answers.
    I17,
    /// Each state that a run passes is written, once at least, before the next one.
    I18,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::I1,
        Self::I2,
        Self::I3,
        Self::I4,
        Self::I5,
        Self::I6,
        Self::I7,
        Self::I8,
        Self::I9,
        Self::I10,
        Self::I11,
        Self::I12,
        Self::I13,
        Self::I14,
        Self::I15,
        Self::I16,
        Self::I17,
        Self::I18,
    ];
}

/// An invariant that is broken, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub invariant: Invariant,
    /// What happened.
    pub how: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is broken: {}", self.invariant, self.how)
    }
}

impl std::error::Error for Broken {}

/// A runner of a run: the number of the run of its resource (spec.rerun), and its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunnerId {
    /// status.attempt.
    pub attempt: u32,
    /// 1 to N.
    pub runner: u32,
}

/// The status that was written, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Told {
    /// status.observedGeneration.
    pub generation: Option<i64>,
    /// spec.rerun, which the run answers.
    pub rerun: Option<String>,
    /// status.attempt.
    pub attempt: u32,
    /// status.state.
    pub state: StateName,
    /// status.result and status.reason.
    pub verdict: Option<(RunResult, Option<Reason>)>,
    /// status.plan.parallelism.
    pub parallelism: Option<u32>,
    /// StartOrdered is in the history.
    pub ordered: bool,
    /// StartConfirmed, or RunnersStarted, is in the history.
    pub confirmed: bool,
    /// Each runner starts by itself (`paused: false`).
    pub unpaused: bool,
    /// Thresholds are judged over all runners, which judge none themselves.
    pub judged: bool,
    /// How many runners status.failures names and counts.
    pub failures: u32,
}

impl Told {
    /// What this status tells.
    pub fn of(status: &Status) -> Self {
        let any = |is: fn(&Event) -> bool| status.history.iter().any(|record| is(&record.event));
        let rerun = status.history.iter().rev().find_map(|record| {
            let (Event::Accepted { rerun, .. } | Event::SpecRejected { rerun, .. }) = &record.event else {
                return None;
            };
            Some(rerun.clone())
        });
        Self {
            generation: status.observed_generation,
            rerun: rerun.flatten(),
            attempt: status.attempt.unwrap_or(1),
            state: status.state.unwrap_or(StateName::Initializing),
            verdict: status.result.map(|result| (result, status.reason)),
            parallelism: status.plan.as_ref().map(|plan| plan.parallelism),
            ordered: any(|event| matches!(event, Event::StartOrdered { .. })),
            confirmed: any(|event| {
                matches!(event, Event::StartConfirmed { .. } | Event::RunnersStarted { .. })
            }),
            unpaused: any(
                |event| matches!(event, Event::Accepted { terms, .. } if terms.start == Start::Immediate),
            ),
            judged: status.plan.as_ref().is_some_and(|plan| {
                plan.aggregation.is_some() && plan.thresholds.is_some_and(|thresholds| thresholds > 0)
            }),
            failures: u32::try_from(status.failures.len()).unwrap_or(u32::MAX) + status.more_failures,
        }
    }
}

/// Something that happened to one resource. Who did it is told by a number (the operators), where it matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fact {
    /// An operator wrote the status, having read the resource in one version and got back another. The spec that it
    /// read is of this generation, and asks for this run.
    StatusWritten {
        by: u32,
        read: u64,
        got: u64,
        generation: i64,
        rerun: Option<String>,
        told: Told,
    },
    /// An operator did something else on a resource that it had read in this version.
    Acted { by: u32, read: u64 },
    /// A Job of a runner was made, with its share of the test, as k6's `--execution-segment` has it.
    RunnerMade { id: RunnerId, segment: String },
    /// A Job of a runner is gone.
    RunnerGone { id: RunnerId },
    /// A process of a runner waits for its release, and answers.
    Ready { id: RunnerId, process: String },
    /// A process of a runner was released.
    Released { id: RunnerId, process: String },
    /// A process of a runner ended, with its exit code if there is one.
    Exited {
        id: RunnerId,
        process: String,
        code: Option<i32>,
    },
    /// Somebody merges the metrics of a run, or has told how many thresholds are crossed over all runners.
    Judged { attempt: u32, crossed: Option<u32> },
    /// Somebody other than an operator wrote the spec.
    SpecEdited,
    /// An operator wrote the spec.
    SpecWritten { by: u32 },
    /// An operator changed, adopted or deleted an object that is not this run's.
    ForeignTouched { by: u32, object: String },
    /// A run in which nothing happened was looked at, at the cost of so many writes.
    Idle { writes: u32 },
    /// The resource was deleted, and this was left after the time it may take.
    Left { objects: Vec<String> },
    /// The run ended in the time it may take, or did not, while another hung.
    BesideHung { in_time: bool },
    /// The end that a run without faults comes to, and the one that this one came to after a crash.
    Ends { without: String, with: String },
}

/// Whether runners that are made again after the order to start count: with operators that no lease fences, one
/// that was frozen may make one, which then is never released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fencing {
    /// At most one operator acts at any time.
    #[default]
    OneActs,
    /// Several may.
    ManyAct,
}

/// Watches over one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monitor {
    fencing: Fencing,
    told: Option<Told>,
    /// The last version that each operator wrote.
    wrote: BTreeMap<u32, u64>,
    /// The Jobs of runners that are there.
    runners: BTreeMap<RunnerId, String>,
    ready: BTreeSet<RunnerId>,
    released: BTreeMap<RunnerId, String>,
    /// Which process of each runner ended, and how.
    exits: BTreeMap<RunnerId, (String, Option<i32>)>,
    /// Runners whose Job was gone, and made again.
    remade: BTreeSet<RunnerId>,
    gone: BTreeSet<RunnerId>,
    /// How many thresholds are crossed, by run, if it has been told; those runs of which somebody judges it.
    judged: BTreeMap<u32, Option<u32>>,
    /// spec.rerun, by generation, where it asks for a run.
    asked: BTreeMap<i64, String>,
}

impl Monitor {
    /// A monitor of operators that are fenced so.
    pub fn new(fencing: Fencing) -> Self {
        Self {
            fencing,
            ..Self::default()
        }
    }

    /// How many runners of this run were released.
    pub fn released(&self, attempt: u32) -> usize {
        of(&self.released, attempt).count()
    }

    /// What was told last.
    pub fn told(&self) -> Option<&Told> {
        self.told.as_ref()
    }

    /// Takes in what happened next.
    pub fn see(&mut self, fact: &Fact) -> Result<(), Broken> {
        match fact {
            Fact::StatusWritten {
                by,
                read,
                got,
                generation,
                rerun,
                told,
            } => {
                self.not_stale(*by, *read)?;
                self.wrote.insert(*by, *got);
                if let Some(rerun) = rerun {
                    self.asked.insert(*generation, rerun.clone());
                }
                self.answers(told)?;
                self.written(told)?;
                self.told = Some(told.clone());
                Ok(())
            }
            Fact::Acted { by, read } => self.not_stale(*by, *read),
            Fact::RunnerMade { id, segment } => self.made(*id, segment),
            Fact::RunnerGone { id } => {
                self.runners.remove(id);
                if self.unpaused() {
                    self.gone.insert(*id);
                }
                Ok(())
            }
            Fact::Ready { id, process: _ } => {
                self.ready.insert(*id);
                Ok(())
            }
            Fact::Released { id, process } => self.release(*id, process),
            Fact::Exited { id, process, code } => {
                // One that was never released has no part in the result, unless none is held back.
                let counts = self.released.get(id) == Some(process) || self.unpaused();
                let known = self.exits.get(id).is_some_and(|(known, _)| known == process);
                // Of one that was made again before all had begun, the newest.
                if counts && !known {
                    self.exits.insert(*id, (process.clone(), *code));
                }
                Ok(())
            }
            Fact::Judged { attempt, crossed } => {
                let told = self.judged.entry(*attempt).or_default();
                *told = crossed.or(*told);
                Ok(())
            }
            Fact::SpecEdited => Ok(()),
            Fact::SpecWritten { by } => broken(Invariant::I13, format!("operator {by} wrote the spec")),
            Fact::ForeignTouched { by, object } => {
                broken(Invariant::I11, format!("operator {by} touched {object}"))
            }
            Fact::Idle { writes: 0 } => Ok(()),
            Fact::Idle { writes } => {
                broken(Invariant::I14, format!("{writes} writes though nothing happened"))
            }
            Fact::Left { objects } if objects.is_empty() => Ok(()),
            Fact::Left { objects } => broken(Invariant::I12, format!("left: {}", objects.join(", "))),
            Fact::BesideHung { in_time: true } => Ok(()),
            Fact::BesideHung { in_time: false } => {
                broken(Invariant::I15, "it waited for another that hangs".to_owned())
            }
            Fact::Ends { without, with } if without == with => Ok(()),
            Fact::Ends { without, with } => broken(Invariant::I8, format!("{with}, but {without} without")),
        }
    }

    fn unpaused(&self) -> bool {
        self.told.as_ref().is_some_and(|told| told.unpaused)
    }

    fn not_stale(&self, by: u32, read: u64) -> Result<(), Broken> {
        match self.wrote.get(&by) {
            Some(wrote) if read < *wrote => broken(
                Invariant::I9,
                format!("operator {by} acts on version {read}, and has itself written version {wrote}"),
            ),
            Some(_) | None => Ok(()),
        }
    }

    fn answers(&self, now: &Told) -> Result<(), Broken> {
        if now.verdict.is_none() {
            return Ok(());
        }
        let Some(generation) = now.generation else {
            return broken(Invariant::I17, "an end of no generation is told".to_owned());
        };
        match self.asked.get(&generation) {
            Some(asked) if now.rerun.as_ref() != Some(asked) => broken(
                Invariant::I17,
                format!(
                    "an end is told of generation {generation}, which asks for {asked}, and the run is of {:?}",
                    now.rerun
                ),
            ),
            Some(_) | None => Ok(()),
        }
    }

    fn written(&self, now: &Told) -> Result<(), Broken> {
        if let Some(before) = &self.told {
            if now.attempt < before.attempt {
                return broken(
                    Invariant::I6,
                    format!("run {} is told after run {}", now.attempt, before.attempt),
                );
            }
            let same_run = now.attempt == before.attempt;
            if same_run && before.verdict.is_some() && now.verdict != before.verdict {
                return broken(
                    Invariant::I6,
                    format!("{:?} became {:?}", before.verdict, now.verdict),
                );
            }
            if same_run && before.verdict.is_some() {
                return Ok(());
            }
        }
        let from = self.told.as_ref().filter(|before| before.attempt == now.attempt);
        let from = from.map(|before| before.state);
        if !may_follow(from, now) {
            return broken(Invariant::I18, format!("{from:?} is followed by {:?}", now.state));
        }
        match now.verdict {
            Some((result, reason)) => self.ended(now, result, reason),
            None => Ok(()),
        }
    }

    /// The verdict is told for the first time.
    fn ended(&self, now: &Told, result: RunResult, reason: Option<Reason>) -> Result<(), Broken> {
        let n = now.parallelism.unwrap_or_default();
        let ids = (1..=n).map(|runner| RunnerId {
            attempt: now.attempt,
            runner,
        });
        let zero = |id: &RunnerId| matches!(self.exits.get(id), Some((_, Some(0))));
        let well = ids.clone().filter(zero).count();
        let all_well = n > 0 && well == n as usize;
        let passed = result == RunResult::Passed;
        if passed && !all_well {
            return broken(
                Invariant::I7,
                format!("Passed, but {well} of {n} runners exited 0: {:?}", self.exits),
            );
        }
        let judged = self.judged.get(&now.attempt).filter(|_| now.judged);
        match judged {
            Some(Some(0)) | None => {}
            Some(crossed) if passed => {
                return broken(
                    Invariant::I7,
                    format!("Passed, but of the thresholds is told: {crossed:?} crossed"),
                );
            }
            Some(Some(_) | None) => {}
        }
        let crossed = judged.copied().flatten().is_some_and(|crossed| crossed > 0);
        // Without a result nobody knows of the thresholds, and not everybody who watches does.
        let unjudged = now.judged && (judged.is_none() || reason == Some(Reason::AggregationFailed));
        // What a person or a deadline cuts short may have ended well at the last moment.
        let cut_short = matches!(
            reason,
            Some(
                Reason::StopRequested
                    | Reason::StartDeadlineExceeded
                    | Reason::RunDeadlineExceeded
                    | Reason::StartFailed
            )
        );
        // How a runner ended is in its Job: who deletes that takes the evidence away.
        let evident = ids.clone().all(|id| self.runners.contains_key(&id));
        if all_well && evident && !passed && !cut_short && !crossed && !unjudged {
            return broken(
                Invariant::I7,
                format!("{result:?} {reason:?}, but all {n} exited 0"),
            );
        }
        let released = self.released(now.attempt);
        if reason == Some(Reason::StartDeadlineExceeded) && !now.ordered && !now.unpaused && released > 0 {
            return broken(
                Invariant::I3,
                format!(
                    "{released} runners were released and the start deadline has passed before the order"
                ),
            );
        }
        let partial = now.ordered && released > 0 && released < n as usize;
        if partial && passed {
            return broken(
                Invariant::I5,
                format!("Passed, but {released} of {n} were started"),
            );
        }
        let lost = |id: &RunnerId| matches!(self.exits.get(id), Some((_, None)));
        if let Some(id) = ids.clone().find(lost)
            && now.confirmed
            && !cut_short
            && now.failures == 0
        {
            return broken(
                Invariant::I16,
                format!("runner {} was lost, and no failure is told", id.runner),
            );
        }
        Ok(())
    }

    fn made(&mut self, id: RunnerId, segment: &str) -> Result<(), Broken> {
        if self.runners.contains_key(&id) {
            return broken(Invariant::I4, format!("a second Job of runner {}", id.runner));
        }
        self.runners.insert(id, segment.to_owned());
        if self.gone.remove(&id) {
            self.remade.insert(id);
            // What the one before it did has no part in the result.
            self.exits.remove(&id);
        }
        let now = self.told.as_ref().filter(|told| told.attempt == id.attempt);
        let Some(now) = now else {
            return broken(
                Invariant::I4,
                format!("runner {} is of no present run", id.runner),
            );
        };
        let n = now.parallelism.unwrap_or_default();
        let segments: Vec<&str> = of(&self.runners, id.attempt)
            .map(|(_, segment)| segment.as_str())
            .collect();
        if id.runner == 0 || id.runner > n || segments.len() > n as usize {
            return broken(
                Invariant::I4,
                format!("runner {} of {n}; Jobs: {}", id.runner, segments.len()),
            );
        }
        if segments.len() == n as usize && !is_partition(&segments) {
            return broken(Invariant::I4, format!("{segments:?} is no partition of [0, 1]"));
        }
        let again = now.ordered || now.verdict.is_some();
        if again && self.fencing == Fencing::OneActs {
            return broken(
                Invariant::I16,
                format!("runner {} is made again in {:?}", id.runner, now.state),
            );
        }
        Ok(())
    }

    fn begins_again(&self, id: RunnerId) -> bool {
        self.told
            .as_ref()
            .is_some_and(|told| told.unpaused && !told.confirmed && told.attempt == id.attempt)
            && self.remade.contains(&id)
    }

    fn release(&mut self, id: RunnerId, process: &str) -> Result<(), Broken> {
        match self.released.get(&id) {
            Some(earlier) if earlier == process => return Ok(()),
            // Nobody holds back what `paused: false` starts: one whose Job is deleted before all have begun is made
            // again, as it would be with a barrier, and begins again.
            Some(_) if self.begins_again(id) => {}
            Some(earlier) => {
                return broken(
                    Invariant::I1,
                    format!("runner {} was released as {earlier}, and as {process}", id.runner),
                );
            }
            None => {}
        }
        self.released.insert(id, process.to_owned());
        let now = self.told.as_ref().filter(|told| told.attempt == id.attempt);
        let Some(now) = now else {
            return broken(
                Invariant::I1,
                format!("a runner of run {} that is not on", id.attempt),
            );
        };
        if now.verdict.is_some() {
            return broken(
                Invariant::I1,
                format!("runner {} is released after the end", id.runner),
            );
        }
        if now.unpaused {
            return Ok(());
        }
        if !now.ordered {
            return broken(
                Invariant::I2,
                format!("runner {} is released without an order", id.runner),
            );
        }
        let n = now.parallelism.unwrap_or_default();
        let ready = self
            .ready
            .iter()
            .filter(|ready| ready.attempt == id.attempt)
            .count();
        if ready < n as usize {
            return broken(
                Invariant::I2,
                format!("runner {} is released while {ready} of {n} were ready", id.runner),
            );
        }
        Ok(())
    }
}

fn of<T>(map: &BTreeMap<RunnerId, T>, attempt: u32) -> impl Iterator<Item = (&RunnerId, &T)> {
    map.iter().filter(move |(id, _)| id.attempt == attempt)
}

/// Whether this can be the first status that is written after one of this state of the same run.
fn may_follow(from: Option<StateName>, now: &Told) -> bool {
    use StateName::{Created, Finished, Initializing, Started, Starting, Stopping};
    match now.state {
        Initializing => matches!(from, None | Some(Initializing)),
        Created => matches!(from, Some(Initializing | Created)),
        Starting => matches!(from, Some(Created | Starting)),
        Started => matches!(from, Some(Created | Starting | Started)),
        Stopping => matches!(from, Some(Created | Starting | Started | Stopping)),
        Finished => !now.confirmed || matches!(from, Some(Started | Stopping | Finished)),
    }
}

fn broken(invariant: Invariant, how: String) -> Result<(), Broken> {
    Err(Broken { invariant, how })
}

/// Whether these segments, as k6 writes them (`0:1/3`, `2/3:1`), are [0, 1] in parts that neither overlap nor
/// leave a gap: <https://grafana.com/docs/k6/latest/using-k6/k6-options/reference/#execution-segment>
pub fn is_partition(segments: &[&str]) -> bool {
    let mut parts: Vec<((u64, u64), (u64, u64))> = Vec::new();
    for segment in segments {
        let Some((from, to)) = segment.split_once(':') else {
            return false;
        };
        let (Some(from), Some(to)) = (fraction(from), fraction(to)) else {
            return false;
        };
        parts.push((from, to));
    }
    let value = |(p, q): (u64, u64)| (u128::from(p) << 64) / u128::from(q).max(1);
    parts.sort_by_key(|(from, _)| value(*from));
    let equal = |(p, q): (u64, u64), (r, s): (u64, u64)| {
        u128::from(p) * u128::from(s) == u128::from(r) * u128::from(q)
    };
    let mut end = (0, 1);
    for (from, to) in parts {
        if !equal(end, from) || equal(from, to) {
            return false;
        }
        end = to;
    }
    equal(end, (1, 1))
}

fn fraction(text: &str) -> Option<(u64, u64)> {
    match text.split_once('/') {
        Some((p, q)) => Some((p.parse().ok()?, q.parse().ok().filter(|q| *q > 0)?)),
        None => Some((text.parse().ok()?, 1)),
    }
}
