//! What can happen to a run, its Jobs and its operators.

use crate::coverage::happens;
use crate::covered::fault;
use crate::invariants::{Fact, Fencing, Monitor, RunnerId, Told};
use crate::reconcile::{AGAIN, Ended, Looks, Outcome, Seen, Snapshot, Spec};
use crate::search::Model;
use crate::world::{
    ATTEMPTS, Budget, Effects, Exit, Family, HistoryId, Initializer, N, Operator, Phase, Program, Refused,
    Request, Resource, Role, Runner, Stage, Task, Unwatched, World,
};
use k6_operator::machine::{Event, StateName};
use k6_operator::objects::segment;
use std::fmt::Write;

/// What is explored together.
#[derive(Clone, Copy, Debug)]
pub struct Configuration {
    pub name: &'static str,
    pub spec: Spec,
    /// How many operators act.
    pub operators: usize,
    pub budget: Budget,
    /// The exit codes that runners may have.
    pub exits: &'static [u8],
    /// The script may be refused by k6.
    pub refuses: bool,
    /// Somebody else's object has the name of this one.
    pub foreign: Option<Role>,
    /// Each operator's views lag behind the truth, and behind each other; else they never do.
    pub lagging: bool,
    /// A pod has the address of the pod of the same number before it.
    pub reused: bool,
    /// An operator looks when something asks for it; else by itself every now and then, which makes fewer states.
    pub wakes: bool,
    /// Runners become ready in the order of their numbers.
    pub in_order: bool,
    /// What guards against stale views; off only to show that the model finds what they are for.
    pub confirms_absence: bool,
    pub reads_before_effects: bool,
}

impl Configuration {
    pub const fn new(name: &'static str, runners: u8) -> Self {
        Self {
            name,
            spec: Spec {
                runners,
                unpaused: false,
                uninspected: false,
                cleanup: false,
                sidecar: false,
                brief: false,
                merged: None,
            },
            operators: 1,
            budget: Budget {
                stop: false,
                rerun: false,
                delete: false,
                edits: 0,
                touches: 0,
                crashes: 0,
                harm: 0,
                refusals: 0,
                denials: 0,
                lost: 0,
                lags: 0,
            },
            exits: &[0],
            refuses: false,
            foreign: None,
            lagging: true,
            reused: false,
            wakes: false,
            in_order: false,
            confirms_absence: true,
            reads_before_effects: true,
        }
    }
}

/// What happens next. Runs are told by their index, operators and runners too.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// A cache catches up with the present.
    SeesResource(usize),
    SeesJobs(usize),
    /// An operator looks, and writes what it found.
    Looks(usize),
    /// The same, and the answer to its write is lost.
    LooksUnanswered(usize),
    /// It does one of the things that follow.
    Does(usize, Request),
    DoesUnanswered(usize, Request),
    IsRefused(usize, Request),
    /// Its memory of what it made has run out.
    Forgets(usize),
    Crashes(usize),
    /// All deadlines pass.
    ClockMoves,
    ScriptIsInspected(usize),
    ScriptIsRefused(usize),
    RunnerAnswers(usize, usize),
    RunnerExits(usize, usize, u8),
    RunnerIsKilled(usize, usize),
    PodIsLost(usize, usize),
    SidecarEnds(usize, usize),
    JobIsDeleted(usize, Role),
    StarterFindsRunners(usize),
    StarterReleases(usize),
    StarterReports(usize),
    StarterIsKilled(usize),
    StarterLeaves(usize),
    StopperStops(usize),
    StopperIsKilled(usize),
    AggregatorAnswers(usize),
    /// Its pod is replaced, and what it had is lost.
    AggregatorBeginsAgain(usize),
    AggregatorFails(usize),
    ServiceIsDeleted(usize),
    /// So many thresholds are crossed.
    AggregatorTells(usize, u8),
    /// Kubernetes refuses the pod of a Job, by a rule that waiting changes or not.
    PodIsDenied(usize, Role, bool),
    PodIsAdmitted(usize),
    /// The stopper's Job reaches its deadline before it has a pod.
    StopperIsGivenUp(usize),
    PersonStops,
    PersonOrdersRerun,
    PersonEdits,
    SomebodyTouches,
    PersonDeletes,
    PersonDeletesInForeground,
    GarbageIsCollected,
    ResourceGoes,
}

/// The model of one configuration.
pub struct Runs {
    configuration: Configuration,
    looks: Looks,
}

impl Runs {
    pub fn new(configuration: Configuration) -> Self {
        let fencing = if configuration.operators > 1 {
            Fencing::ManyAct
        } else {
            Fencing::OneActs
        };
        Self {
            configuration,
            looks: Looks::new(configuration.spec, Monitor::new(fencing)),
        }
    }

    fn n(&self) -> usize {
        self.configuration.spec.runners.into()
    }

    /// What an operator sees of its run, as `operator::observe` has it.
    fn snapshot(&self, world: &World, operator: &mut Operator, resource: &Resource) -> Snapshot {
        let recorded = self.looks.recorded(resource.history);
        let attempt = recorded.attempt();
        let state = recorded.state();
        let family = operator.families[attempt];
        let before_end = matches!(
            state,
            StateName::Starting | StateName::Started | StateName::Stopping
        );
        let mut found = |role: Role, decides: bool| {
            let bit = 1 << role.index();
            if let Some(uid) = family.job(role) {
                operator.made[attempt] &= !bit;
                operator.gone[attempt] &= !bit;
                let deleted = operator.deleted[attempt][role.index()] >> uid & 1 == 1;
                return if deleted { Seen::Unknown } else { Seen::Known(()) };
            }
            if operator.made[attempt] & bit != 0 {
                return Seen::Unknown;
            }
            if !decides || !self.configuration.confirms_absence || operator.gone[attempt] & bit != 0 {
                return Seen::Absent;
            }
            if world.families[attempt].job(role).is_some() {
                return Seen::Unknown;
            }
            operator.gone[attempt] |= bit;
            Seen::Absent
        };
        let program = |seen: Seen<()>, program: Program| seen.map(|()| ended(program));
        let mut runners = [Seen::Absent; N];
        for (i, runner) in runners.iter_mut().enumerate().take(self.n()) {
            *runner = match found(number(i), before_end) {
                Seen::Absent => Seen::Absent,
                Seen::Unknown => Seen::Unknown,
                Seen::Known(()) => {
                    let Runner { made, phase, .. } = family.runners[i];
                    Seen::Known((made, phase))
                }
            };
        }
        let may_release = matches!(state, StateName::Starting | StateName::Stopping);
        let starter = program(found(Role::Starter, may_release), family.starter);
        let decides = state == StateName::Starting && starter == Seen::Absent;
        if decides
            && self.configuration.confirms_absence
            && !self.looks.as_ordered(resource.history, &runners)
        {
            for (i, runner) in runners.iter_mut().enumerate().take(self.n()) {
                let Runner { made, phase, .. } = world.families[attempt].runners[i];
                let there = world.families[attempt].job(number(i)).is_some();
                *runner = if there {
                    Seen::Known((made, phase))
                } else {
                    Seen::Absent
                };
            }
        }
        let left = (0..self.n()).filter(|i| {
            matches!(runners[*i], Seen::Known((made, Phase::Ended(_))) if made == family.runners[*i].made)
                && family.runners[*i].leftover
        });
        let leftovers = left.fold(0, |bits, i| bits | 1 << i);
        let stopper = program(found(Role::Stopper, false), family.stopper);
        let initializer = found(Role::Initializer, false)
            .map(|()| (family.initializer.stage, family.initializer.generation));
        let merged = recorded.is_merged();
        let ended = recorded.run.state.awaits_result().is_some();
        let created = state == StateName::Created;
        // Runners are told its address.
        let told = created && runners.iter().any(|runner| *runner != Seen::Absent);
        let aggregator = found(Role::Aggregator, merged && (ended || told)).map(|()| family.aggregator.stage);
        let unwatched = &world.unwatched[attempt];
        let there = |is: bool| if is { Seen::Known(()) } else { Seen::Absent };
        let missing = created && runners[..self.n()].contains(&Seen::Absent);
        let address = match aggregator {
            Seen::Known(_) if merged && missing => {
                let shown = family.job(Role::Aggregator);
                there(unwatched.service && shown == world.families[attempt].job(Role::Aggregator))
            }
            Seen::Known(_) | Seen::Absent | Seen::Unknown => Seen::Unknown,
        };
        let result = match aggregator {
            Seen::Unknown => Seen::Unknown,
            Seen::Known(_) if merged && ended => {
                // Its log is asked for, which no cache shows.
                let shown = family.job(Role::Aggregator);
                let told = world.families[attempt].aggregator.told;
                let told = told.filter(|_| shown == world.families[attempt].job(Role::Aggregator));
                told.map_or(Seen::Absent, Seen::Known)
            }
            Seen::Known(_) | Seen::Absent if merged && ended => Seen::Absent,
            Seen::Known(_) | Seen::Absent => Seen::Unknown,
        };
        let summary = match result {
            Seen::Known(_) => there(unwatched.summary),
            Seen::Absent | Seen::Unknown => Seen::Unknown,
        };
        let denied = unwatched.denied.filter(|(role, _)| {
            let shown = family.job(*role);
            let leaves = |uid: u8| operator.deleted[attempt][role.index()] >> uid & 1 == 1;
            shown.is_some() && shown == world.families[attempt].job(*role) && !shown.is_some_and(leaves)
        });
        let other = ATTEMPTS - 1 - attempt;
        let former = Role::ALL.into_iter().filter(|role| {
            operator.families[other].job(*role).is_some_and(|uid| {
                let leaving = *role == Role::Starter && operator.families[other].starter.leaving;
                !leaving && operator.deleted[other][role.index()] >> uid & 1 == 0
            })
        });
        Snapshot {
            history: resource.history,
            generation: resource.generation,
            observed: resource.observed,
            stop: resource.stop,
            rerun: resource.rerun,
            deleting: resource.deleting,
            refused: operator.refused,
            initializer,
            runners,
            leftovers,
            starter,
            stopper,
            aggregator,
            address,
            result,
            summary,
            denied,
            former: former.fold(0, |bits, role| bits | 1 << role.index()),
        }
    }

    /// Orders versions of a resource as `operator::memory` does.
    fn age(&self, resource: &Resource) -> (usize, usize, u8) {
        let recorded = self.looks.recorded(resource.history);
        let events = recorded.records.len();
        let attempt = if events == 0 { 0 } else { recorded.attempt() + 1 };
        (attempt, events, resource.version)
    }

    /// One round of the loop in `operator::reconcile`, up to the effects.
    fn looks(&self, world: &mut World, by: usize, answered: bool) -> Result<(), String> {
        let mut operator = world.operators[by];
        let Some(view) = operator.view else {
            return Ok(());
        };
        let mut resource = view;
        let snapshot = self.snapshot(world, &mut operator, &resource);
        let former = ATTEMPTS - 1 - self.looks.recorded(resource.history).attempt();
        let outcome: std::rc::Rc<Outcome> = self.looks.look(&snapshot)?;
        self.has_had_time(&snapshot, &outcome)?;
        operator.awake = false;
        operator.timer = false;
        if outcome.writes {
            let Some(truth) = world.resource.filter(|truth| truth.version == resource.version) else {
                operator.awake = true;
                world.operators[by] = operator;
                return Ok(());
            };
            let read = truth.version.into();
            resource = Resource {
                version: truth.version + 1,
                observed: outcome.observed,
                history: outcome.history,
                ..truth
            };
            if self.age(&resource) <= self.age(&truth) {
                return Err("what was written is not newer than what was read".to_owned());
            }
            world.resource = Some(resource);
            let fact = Fact::StatusWritten {
                by: small(by),
                read,
                got: resource.version.into(),
                generation: resource.generation.into(),
                rerun: resource.rerun.then(|| AGAIN.to_owned()),
                told: outcome.told.clone(),
            };
            self.tell(world, fact)?;
            self.has_result(outcome.history, &outcome.told)?;
            if !resource.deleting {
                self.is_kept(world, outcome.history, &outcome.told)?;
            }
            if !answered {
                world.left.lost -= 1;
                operator.awake = true;
                world.operators[by] = operator;
                return Ok(());
            }
            // Its memory has it at once, and its cache will tell it of it.
            operator.view = Some(resource);
            operator.awake = true;
        } else if !outcome.effects.is_empty() && self.configuration.reads_before_effects {
            match world.resource {
                Some(truth) if truth.version == resource.version => {}
                Some(truth) => {
                    operator.view = Some(truth);
                    operator.awake = true;
                    world.operators[by] = operator;
                    return Ok(());
                }
                None => {
                    world.operators[by] = operator;
                    return Ok(());
                }
            }
        }
        operator.awake |= outcome.due;
        operator.timer = outcome.timer;
        let services = world.unwatched[usize::from(outcome.attempt)].services;
        operator.task = Task {
            effects: outcome.effects,
            targets: outcome.targets,
            address: if snapshot.address == Seen::Known(()) {
                services
            } else {
                0
            },
            attempt: outcome.attempt,
            former: u8::try_from(former).unwrap(),
            version: resource.version,
            generation: resource.generation,
            refused_before: snapshot.refused,
            refused: Refused::Nothing,
            failed: false,
            again: outcome.again,
        };
        finish(&mut operator);
        world.operators[by] = operator;
        Ok(())
    }

    /// A merged run that was started ends with its result, or with what is told of why it has none.
    fn has_result(&self, history: HistoryId, told: &Told) -> Result<(), String> {
        let recorded = self.looks.recorded(history);
        let is_over = told.confirmed && recorded.is_merged() && recorded.state() == StateName::Finished;
        let asked = recorded.records.last().is_some_and(|record| {
            matches!(
                record.event,
                Event::ResultCollected { .. } | Event::CollectionFailed { .. } | Event::DeadlinePassed { .. }
            )
        });
        if is_over && !asked {
            return Err("a merged run ends and nobody was asked for its result".to_owned());
        }
        Ok(())
    }

    /// A run that has its result is Finished when its summary can be read, unless it says that it is not kept.
    fn is_kept(&self, world: &World, history: HistoryId, told: &Told) -> Result<(), String> {
        let recorded = self.looks.recorded(history);
        let last = recorded.records.last();
        let kept =
            last.is_some_and(|record| matches!(record.event, Event::ResultCollected { unkept: None, .. }));
        if told.confirmed && kept && !world.unwatched[recorded.attempt()].summary {
            return Err("a run is Finished, and its summary can't be read".to_owned());
        }
        Ok(())
    }

    /// What else is in the pod of a runner that has ended has time to end by itself.
    fn has_had_time(&self, snapshot: &Snapshot, outcome: &Outcome) -> Result<(), String> {
        let in_time = self.looks.aged(outcome.history) != outcome.history;
        let left = |i: &usize| snapshot.leftovers >> i & 1 == 1;
        let mut all = (0..self.n()).filter(left);
        let deleted = |i| {
            outcome
                .effects
                .iter()
                .any(|request| request == Request::Delete(number(i)))
        };
        if in_time && all.any(deleted) {
            return Err("a runner that has ended is deleted before its sidecar had time to end".to_owned());
        }
        Ok(())
    }

    /// What `operator::execute` does not make: it lacks what it needs.
    fn lacks(&self, world: &World, operator: &Operator, attempt: usize, role: Role) -> bool {
        let shown = &operator.families[attempt];
        let same =
            |role: Role| shown.job(role).is_some() && shown.job(role) == world.families[attempt].job(role);
        match role {
            Role::Runner(_) => self.configuration.spec.merged.is_some() && operator.task.address == 0,
            // That of an aggregator that is gone goes at once.
            Role::Service => !same(Role::Aggregator),
            // The documents are in the log of its pod.
            Role::Summary => {
                !same(Role::Aggregator) || world.families[attempt].aggregator.stage != Stage::Working
            }
            Role::Initializer | Role::Starter | Role::Stopper | Role::Aggregator => false,
        }
    }

    /// One effect, as `operator::execute` performs it.
    fn does(&self, world: &mut World, by: usize, request: Request, answer: Answer) -> Result<(), String> {
        let mut operator = world.operators[by];
        let task = operator.task;
        operator.task.effects.remove(request);
        self.tell(
            world,
            Fact::Acted {
                by: small(by),
                read: task.version.into(),
            },
        )?;
        let attempt = usize::from(task.attempt);
        match request {
            Request::Create(role) => {
                let foreign = self.configuration.foreign == Some(role) && attempt == 0;
                let there = world.has(attempt, role);
                operator.task.again |= !role.is_job();
                match answer {
                    Answer::Given | Answer::Lost if self.lacks(world, &operator, attempt, role) => {}
                    Answer::Refused => {
                        world.left.refusals -= 1;
                        operator.task.refused = Refused::ForNow;
                    }
                    Answer::Given | Answer::Lost if foreign => operator.task.refused = Refused::Foreign,
                    Answer::Given | Answer::Lost => {
                        if !there {
                            self.make(world, attempt, role, &task)?;
                        }
                        if answer == Answer::Lost {
                            world.left.lost -= 1;
                            operator.task.failed = true;
                        } else {
                            // The Service has the name of the Job, and the memory knows names.
                            let named = if role == Role::Service {
                                Role::Aggregator
                            } else {
                                role
                            };
                            let named = if named.is_job() { 1 << named.index() } else { 0 };
                            operator.made[attempt] |= named;
                            operator.gone[attempt] &= !named;
                        }
                    }
                }
            }
            Request::Delete(role) => {
                self.delete(world, &mut operator, attempt, role)?;
            }
            Request::DeleteFormer(role) => {
                self.delete(world, &mut operator, task.former.into(), role)?;
            }
            Request::DeleteResource => match world.resource {
                Some(truth) if truth.version == task.version => world.resource = None,
                Some(_) => operator.task.failed = true,
                None => {}
            },
        }
        finish(&mut operator);
        world.operators[by] = operator;
        Ok(())
    }

    fn make(&self, world: &mut World, attempt: usize, role: Role, task: &Task) -> Result<(), String> {
        let family = &mut world.families[attempt];
        let program = |made: u8| Program {
            made: made + 1,
            stage: Stage::Pending,
            targets: task.targets,
            ..Program::default()
        };
        match role {
            Role::Initializer => {
                family.initializer = Initializer {
                    made: family.initializer.made + 1,
                    stage: Stage::Pending,
                    generation: task.generation,
                };
            }
            Role::Starter => family.starter = program(family.starter.made),
            Role::Stopper => family.stopper = program(family.stopper.made),
            Role::Aggregator => {
                family.aggregator.made += 1;
                family.aggregator.stage = Stage::Pending;
                family.aggregator.told = None;
                self.judged(world, attempt, None)?;
            }
            Role::Service => {
                let unwatched = &mut world.unwatched[attempt];
                unwatched.services += 1;
                unwatched.service = true;
            }
            Role::Summary => world.unwatched[attempt].summary = true,
            Role::Runner(i) => {
                let runner = &mut family.runners[usize::from(i) - 1];
                runner.made += 1;
                runner.phase = Phase::Pending;
                runner.leftover = false;
                runner.told = task.address;
                let fact = Fact::RunnerMade {
                    id: id(attempt, usize::from(i) - 1),
                    segment: segment(i.into(), self.configuration.spec.runners.into()),
                };
                self.tell(world, fact)?;
            }
        }
        Ok(())
    }

    /// What is told of the thresholds over all runners.
    fn judged(&self, world: &mut World, attempt: usize, crossed: Option<u32>) -> Result<(), String> {
        if self.configuration.spec.merged.unwrap_or_default() == 0 {
            return Ok(());
        }
        let attempt = small(attempt + 1);
        self.tell(world, Fact::Judged { attempt, crossed })
    }

    /// A Job is deleted, if it is the one that the cache shows.
    fn delete(
        &self,
        world: &mut World,
        operator: &mut Operator,
        attempt: usize,
        role: Role,
    ) -> Result<(), String> {
        let shown = operator.families[attempt];
        let leaving = role == Role::Starter && shown.starter.leaving;
        let Some(uid) = shown.job(role).filter(|_| !leaving) else {
            return Ok(());
        };
        operator.deleted[attempt][role.index()] |= 1 << uid;
        if world.families[attempt].job(role) != Some(uid) {
            return Ok(());
        }
        let starter = &mut world.families[attempt].starter;
        if role == Role::Starter && starter.stage.is_alive() && attempt == usize::from(operator.task.attempt)
        {
            starter.leaving = true;
            return Ok(());
        }
        self.remove(world, attempt, role)
    }

    /// A Job is gone, and its pod with it.
    fn remove(&self, world: &mut World, attempt: usize, role: Role) -> Result<(), String> {
        let denied = &mut world.unwatched[attempt].denied;
        *denied = denied.filter(|(denied, _)| *denied != role);
        let family = &mut world.families[attempt];
        let gone = |program: Program| Program {
            made: program.made,
            ..Program::default()
        };
        match role {
            Role::Initializer => {
                family.initializer = Initializer {
                    made: family.initializer.made,
                    ..Initializer::default()
                };
            }
            Role::Starter => family.starter = gone(family.starter),
            Role::Stopper => family.stopper = gone(family.stopper),
            Role::Aggregator => {
                family.aggregator.stage = Stage::Absent;
                family.aggregator.told = None;
                // It owns the Service.
                world.unwatched[attempt] = Unwatched {
                    service: false,
                    heard: 0,
                    ..world.unwatched[attempt]
                };
            }
            Role::Service | Role::Summary => {}
            Role::Runner(i) => {
                let i = usize::from(i) - 1;
                if world.families[attempt].runners[i].phase.is_alive() {
                    self.ends(world, attempt, i, Exit::Lost)?;
                }
                world.families[attempt].runners[i].phase = Phase::Absent;
                world.families[attempt].runners[i].leftover = false;
                let id = id(attempt, i);
                self.tell(world, Fact::RunnerGone { id })?;
            }
        }
        Ok(())
    }

    fn ends(&self, world: &mut World, attempt: usize, i: usize, exit: Exit) -> Result<(), String> {
        let process = process(world, attempt, i);
        let heard = self.reached(world, attempt, world.families[attempt].runners[i].told);
        let runner = &mut world.families[attempt].runners[i];
        let was_alive = runner.phase.is_alive();
        if heard && runner.phase == Phase::Running {
            world.unwatched[attempt].heard |= 1 << i;
        }
        runner.phase = Phase::Ended(exit);
        runner.leftover = self.configuration.spec.sidecar && exit != Exit::Lost;
        if !was_alive {
            return Ok(());
        }
        let code = match exit {
            Exit::Code(code) => Some(code.into()),
            Exit::Lost => None,
        };
        let id = id(attempt, i);
        self.tell(world, Fact::Exited { id, process, code })
    }

    /// Whether an aggregator answers at this Service.
    fn reached(&self, world: &World, attempt: usize, told: u8) -> bool {
        let Unwatched {
            services, service, ..
        } = world.unwatched[attempt];
        service && told == services && world.families[attempt].aggregator.stage == Stage::Working
    }

    /// The aggregator tells the result.
    fn tells(&self, world: &mut World, attempt: usize, crossed: u8) -> Result<(), String> {
        let heard = world.unwatched[attempt].heard;
        let silent = self.configuration.spec.runners - count(heard);
        world.families[attempt].aggregator.told = Some((crossed, silent));
        // What is not heard may cross it, and can't take back what has crossed.
        let known = silent == 0 || crossed > 0;
        self.judged(world, attempt, known.then_some(crossed.into()))
    }

    /// Which runner's process answers where this target is.
    fn at_address(&self, world: &World, attempt: usize, i: usize, made: u8) -> Option<(usize, usize)> {
        let runner = world.families[attempt].runners[i];
        if runner.made == made && runner.phase.answers() {
            return Some((attempt, i));
        }
        let answers = |attempt: &usize| world.families[*attempt].runners[i].phase.answers();
        let now = (0..ATTEMPTS).rev().find(answers);
        now.filter(|_| self.configuration.reused)
            .map(|attempt| (attempt, i))
    }

    fn targets(program: Program) -> impl Iterator<Item = (usize, u8)> {
        let all = program.targets.into_iter().enumerate();
        all.filter(|(_, made)| *made > 0)
    }

    fn finds_runners(&self, world: &mut World, attempt: usize) {
        let starter = world.families[attempt].starter;
        let mut all = true;
        let mut confirmed = 0;
        for (i, made) in Self::targets(starter) {
            match self.at_address(world, attempt, i, made) {
                Some((run, j)) if world.families[run].runners[j].phase == Phase::Running => {
                    confirmed |= 1 << i
                }
                Some(_) => {}
                None => all = false,
            }
        }
        let starter = &mut world.families[attempt].starter;
        if all {
            starter.stage = Stage::Working;
        } else {
            starter.stage = Stage::Reported;
            starter.confirmed = confirmed;
        }
    }

    /// The next runner gets its order.
    fn releases(&self, world: &mut World, attempt: usize) -> Result<(), String> {
        let starter = world.families[attempt].starter;
        let next = Self::targets(starter).find(|(i, _)| starter.tried >> i & 1 == 0);
        let Some((i, made)) = next else {
            return Ok(());
        };
        if self.configuration.spec.merged.is_some() && !world.unwatched[attempt].answered {
            return Err("a runner is released before its aggregator has answered".to_owned());
        }
        let found = self.at_address(world, attempt, i, made);
        let starter = &mut world.families[attempt].starter;
        starter.tried |= 1 << i;
        if let Some((run, j)) = found {
            starter.confirmed |= 1 << i;
            if world.families[run].runners[j].phase == Phase::Ready {
                world.families[run].runners[j].phase = Phase::Running;
                let process = process(world, run, j);
                let id = id(run, j);
                self.tell(world, Fact::Released { id, process })?;
            }
        }
        Ok(())
    }

    fn stops(&self, world: &mut World, attempt: usize) -> Result<(), String> {
        let stopper = world.families[attempt].stopper;
        for (i, made) in Self::targets(stopper) {
            if let Some((run, j)) = self.at_address(world, attempt, i, made) {
                self.ends(world, run, j, Exit::Code(103))?;
            }
        }
        let stopper = &mut world.families[attempt].stopper;
        stopper.stage = Stage::Reported;
        stopper.confirmed = (1 << self.n()) - 1;
        Ok(())
    }

    fn answers(&self, world: &mut World, attempt: usize, i: usize) -> Result<(), String> {
        let unpaused = self.configuration.spec.unpaused;
        world.families[attempt].runners[i].phase = if unpaused { Phase::Running } else { Phase::Ready };
        let process = process(world, attempt, i);
        let id = id(attempt, i);
        let ready = Fact::Ready {
            id,
            process: process.clone(),
        };
        self.tell(world, ready)?;
        if unpaused {
            self.tell(world, Fact::Released { id, process })?;
        }
        Ok(())
    }

    fn tell(&self, world: &mut World, fact: Fact) -> Result<(), String> {
        world.monitor = self
            .looks
            .see(world.monitor, fact)
            .map_err(|broken| broken.to_string())?;
        Ok(())
    }

    fn clock_moves(&self, world: &mut World) {
        let aged = |resource: &mut Option<Resource>| {
            if let Some(resource) = resource {
                resource.history = self.looks.aged(resource.history);
            }
        };
        aged(&mut world.resource);
        for operator in &mut world.operators {
            aged(&mut operator.view);
            operator.awake |= operator.timer;
            operator.timer = false;
        }
    }

    fn edit(world: &mut World, change: impl FnOnce(&mut Resource)) {
        if let Some(resource) = &mut world.resource {
            resource.version += 1;
            change(resource);
        }
    }

    /// All that may happen to the Jobs of one run.
    fn of_family(&self, world: &World, attempt: usize, all: &mut Vec<Action>) {
        let family = &world.families[attempt];
        let harm = world.left.harm > 0;
        if family.initializer.stage == Stage::Pending {
            all.push(Action::ScriptIsInspected(attempt));
            if self.configuration.refuses {
                all.push(Action::ScriptIsRefused(attempt));
            }
        }
        for i in 0..self.n() {
            let Runner { made, phase, .. } = family.runners[i];
            match phase {
                Phase::Absent => {}
                Phase::Pending => {
                    let earlier = &family.runners[..i];
                    let waits = self.configuration.in_order
                        && made == 1
                        && earlier.iter().any(|runner| runner.phase == Phase::Pending);
                    if !waits {
                        all.push(Action::RunnerAnswers(attempt, i));
                    }
                    if harm {
                        all.push(Action::PodIsLost(attempt, i));
                    }
                }
                Phase::Running => {
                    let exits = self.configuration.exits.iter();
                    all.extend(exits.map(|code| Action::RunnerExits(attempt, i, *code)));
                    if harm {
                        all.push(Action::RunnerIsKilled(attempt, i));
                        all.push(Action::PodIsLost(attempt, i));
                    }
                }
                Phase::Ready if harm => {
                    all.push(Action::RunnerIsKilled(attempt, i));
                    all.push(Action::PodIsLost(attempt, i));
                }
                // The code of a Job that failed is in its pod.
                Phase::Ended(Exit::Code(1..)) if harm => all.push(Action::PodIsLost(attempt, i)),
                Phase::Ready | Phase::Ended(_) => {}
            }
            if family.runners[i].leftover {
                all.push(Action::SidecarEnds(attempt, i));
            }
            if harm && phase != Phase::Absent {
                all.push(Action::JobIsDeleted(attempt, number(i)));
            }
        }
        let starter = family.starter;
        match starter.stage {
            Stage::Pending => all.push(Action::StarterFindsRunners(attempt)),
            Stage::Working => {
                let done = Self::targets(starter).all(|(i, _)| starter.tried >> i & 1 == 1);
                all.push(if done {
                    Action::StarterReports(attempt)
                } else {
                    Action::StarterReleases(attempt)
                });
            }
            Stage::Absent | Stage::Reported | Stage::Failed => {}
        }
        if starter.leaving {
            all.push(Action::StarterLeaves(attempt));
        }
        if harm && starter.stage.is_alive() {
            all.push(Action::StarterIsKilled(attempt));
        }
        if harm && starter.stage != Stage::Absent {
            all.push(Action::JobIsDeleted(attempt, Role::Starter));
        }
        if family.stopper.stage.is_alive() {
            all.push(Action::StopperStops(attempt));
            if harm {
                all.push(Action::StopperIsKilled(attempt));
            }
        }
        if self.configuration.spec.merged.is_some() {
            self.of_merging(world, attempt, all);
        }
        self.of_denials(world, attempt, all);
    }

    /// Pods that are refused: of them nothing else can happen.
    fn of_denials(&self, world: &World, attempt: usize, all: &mut Vec<Action>) {
        let Some((denied, lasting)) = world.unwatched[attempt].denied else {
            let family = &world.families[attempt];
            let pending = |role: &Role| match role {
                Role::Initializer => family.initializer.stage == Stage::Pending,
                Role::Starter => family.starter.stage == Stage::Pending && !family.starter.leaving,
                Role::Stopper => family.stopper.stage == Stage::Pending,
                Role::Aggregator => family.aggregator.stage == Stage::Pending,
                Role::Runner(i) => family.runners[usize::from(*i) - 1].phase == Phase::Pending,
                Role::Service | Role::Summary => false,
            };
            let possible = Role::ALL.into_iter().filter(pending);
            if world.left.denials > 0 {
                all.extend(
                    possible.flat_map(|role| [false, true].map(|l| Action::PodIsDenied(attempt, role, l))),
                );
            }
            return;
        };
        all.retain(|action| in_pod(action) != Some((attempt, denied)));
        if !lasting {
            all.push(Action::PodIsAdmitted(attempt));
        }
        if denied == Role::Stopper {
            all.push(Action::StopperIsGivenUp(attempt));
        }
    }

    /// All that may happen to what merges.
    fn of_merging(&self, world: &World, attempt: usize, all: &mut Vec<Action>) {
        let Family {
            aggregator, runners, ..
        } = world.families[attempt];
        let unwatched = &world.unwatched[attempt];
        let harm = world.left.harm > 0;
        if aggregator.stage == Stage::Pending {
            all.push(Action::AggregatorAnswers(attempt));
        }
        if harm && aggregator.stage == Stage::Working {
            all.push(Action::AggregatorBeginsAgain(attempt));
        }
        if harm && aggregator.stage.is_alive() {
            all.push(Action::AggregatorFails(attempt));
        }
        if harm && unwatched.service {
            all.push(Action::ServiceIsDeleted(attempt));
        }
        // It tells the result when no runner is left that could bring something.
        let over = runners.iter().all(|runner| !runner.phase.is_alive());
        let made = runners.iter().any(|runner| runner.made > 0);
        if aggregator.stage == Stage::Working && aggregator.told.is_none() && over && made {
            let thresholds = self.configuration.spec.merged.unwrap_or_default();
            let most = if unwatched.heard == 0 { 0 } else { thresholds };
            all.extend((0..=most).map(|crossed| Action::AggregatorTells(attempt, crossed)));
        }
        if harm && world.families[attempt].job(Role::Aggregator).is_some() {
            all.push(Action::JobIsDeleted(attempt, Role::Aggregator));
        }
    }

    fn of_operator(&self, world: &World, by: usize, all: &mut Vec<Action>) {
        let operator = &world.operators[by];
        if operator.view != world.resource {
            all.push(Action::SeesResource(by));
        }
        if operator.families != world.families {
            all.push(Action::SeesJobs(by));
        }
        if operator.task.effects.is_empty() {
            if operator.view.is_some() {
                all.push(Action::Looks(by));
                if world.left.lost > 0 {
                    all.push(Action::LooksUnanswered(by));
                }
            }
        } else {
            for request in next_deeds(operator.task.effects) {
                all.push(Action::Does(by, request));
                if let Request::Create(_) = request {
                    if world.left.lost > 0 {
                        all.push(Action::DoesUnanswered(by, request));
                    }
                    if world.left.refusals > 0 {
                        all.push(Action::IsRefused(by, request));
                    }
                }
            }
        }
        if self.forgotten(world, by) != operator.made {
            all.push(Action::Forgets(by));
        }
        if world.left.crashes > 0 {
            all.push(Action::Crashes(by));
        }
    }

    /// What an operator still remembers when its memory has run out. A Job that is there is shown by then, unless
    /// the cache lags very much.
    fn forgotten(&self, world: &World, by: usize) -> [u8; ATTEMPTS] {
        let mut made = world.operators[by].made;
        if world.left.lags > 0 {
            return [0; ATTEMPTS];
        }
        for (family, made) in world.families.iter().zip(&mut made) {
            for role in Role::ALL {
                if family.job(role).is_none() {
                    *made &= !(1 << role.index());
                }
            }
        }
        made
    }

    /// Whether an operator forgets a Job that is there, and that its cache does not show yet.
    fn forgets_too_early(&self, world: &World, by: usize) -> bool {
        let kept = self.forgotten(world, by);
        (0..ATTEMPTS).any(|attempt| {
            let lost = world.operators[by].made[attempt] & !kept[attempt];
            let is_there = |role: Role| {
                let shown = world.operators[by].families[attempt].job(role);
                let there = world.families[attempt].job(role);
                lost >> role.index() & 1 == 1 && there.is_some() && shown != there
            };
            Role::ALL.into_iter().any(is_there)
        })
    }

    /// Whether another look of this operator, which sees all, changes nothing.
    fn is_quiet(&self, world: &World, by: usize) -> bool {
        let mut operator = world.operators[by];
        let fresh = operator.view == world.resource && operator.families == world.families;
        let Some(resource) = world.resource else {
            return fresh && operator.task.effects.is_empty();
        };
        let awake = operator.awake && self.configuration.wakes;
        if !fresh || awake || !operator.task.effects.is_empty() {
            return false;
        }
        let snapshot = self.snapshot(world, &mut operator, &resource);
        self.looks
            .look(&snapshot)
            .is_ok_and(|outcome| !outcome.writes && outcome.effects.is_empty())
    }
}

/// The pod in which this happens, of a family.
fn in_pod(action: &Action) -> Option<(usize, Role)> {
    match *action {
        Action::ScriptIsInspected(attempt) | Action::ScriptIsRefused(attempt) => {
            Some((attempt, Role::Initializer))
        }
        Action::RunnerAnswers(attempt, i)
        | Action::RunnerExits(attempt, i, _)
        | Action::RunnerIsKilled(attempt, i)
        | Action::PodIsLost(attempt, i)
        | Action::SidecarEnds(attempt, i) => Some((attempt, number(i))),
        Action::StarterFindsRunners(attempt)
        | Action::StarterReleases(attempt)
        | Action::StarterReports(attempt)
        | Action::StarterIsKilled(attempt) => Some((attempt, Role::Starter)),
        Action::StopperStops(attempt) | Action::StopperIsKilled(attempt) => Some((attempt, Role::Stopper)),
        Action::AggregatorAnswers(attempt)
        | Action::AggregatorBeginsAgain(attempt)
        | Action::AggregatorTells(attempt, _)
        | Action::AggregatorFails(attempt) => Some((attempt, Role::Aggregator)),
        Action::SeesResource(_)
        | Action::SeesJobs(_)
        | Action::Looks(_)
        | Action::LooksUnanswered(_)
        | Action::Does(..)
        | Action::DoesUnanswered(..)
        | Action::IsRefused(..)
        | Action::Forgets(_)
        | Action::Crashes(_)
        | Action::ClockMoves
        | Action::JobIsDeleted(..)
        | Action::StarterLeaves(_)
        | Action::ServiceIsDeleted(_)
        | Action::PodIsDenied(..)
        | Action::PodIsAdmitted(_)
        | Action::StopperIsGivenUp(_)
        | Action::PersonStops
        | Action::PersonOrdersRerun
        | Action::PersonEdits
        | Action::SomebodyTouches
        | Action::PersonDeletes
        | Action::PersonDeletesInForeground
        | Action::GarbageIsCollected
        | Action::ResourceGoes => None,
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Given,
    Lost,
    Refused,
}

/// Effects are performed in any order, but for some that only make more states: what is done to several runners is
/// done in the order of their numbers, and the initializer and the aggregator, on which nothing depends by then, are
/// deleted first.
fn next_deeds(effects: Effects) -> Vec<Request> {
    let mut all: Vec<Request> = effects.iter().collect();
    let moot = [
        Request::Delete(Role::Initializer),
        Request::Delete(Role::Aggregator),
    ];
    if let Some(first) = moot.into_iter().find(|request| all.contains(request)) {
        return vec![first];
    }
    let is_same = |a: &Request, b: &Request| {
        matches!(
            (a, b),
            (Request::Create(Role::Runner(_)), Request::Create(Role::Runner(_)))
                | (Request::Delete(Role::Runner(_)), Request::Delete(Role::Runner(_)))
                | (Request::DeleteFormer(_), Request::DeleteFormer(_))
        )
    };
    all.dedup_by(|later, first| is_same(later, first));
    all
}

/// The end of a round, when nothing is left to do.
fn finish(operator: &mut Operator) {
    let task = operator.task;
    if !task.effects.is_empty() {
        return;
    }
    if task.failed {
        operator.awake = true;
    } else {
        operator.refused = task.refused;
        let told = task.refused == Refused::Foreign && task.refused_before != task.refused;
        operator.awake |= told || task.refused == Refused::ForNow || task.again;
    }
    operator.task = Task::default();
}

fn ended(program: Program) -> Ended {
    let targets = program.targets.iter().filter(|made| **made > 0).count();
    match program.stage {
        Stage::Reported => (
            Stage::Reported,
            u8::try_from(targets).unwrap(),
            count(program.confirmed),
        ),
        Stage::Absent | Stage::Pending | Stage::Working => (Stage::Pending, 0, 0),
        Stage::Failed => (Stage::Failed, 0, 0),
    }
}

fn count(bits: u8) -> u8 {
    u8::try_from(bits.count_ones()).unwrap()
}

fn number(i: usize) -> Role {
    Role::Runner(u8::try_from(i + 1).unwrap())
}

fn small(i: usize) -> u32 {
    u32::try_from(i).unwrap()
}

fn id(attempt: usize, i: usize) -> RunnerId {
    RunnerId {
        attempt: small(attempt + 1),
        runner: small(i + 1),
    }
}

fn process(world: &World, attempt: usize, i: usize) -> String {
    format!(
        "{}.{}.{}",
        attempt + 1,
        i + 1,
        world.families[attempt].runners[i].made
    )
}

impl Model for Runs {
    type State = World;
    type Action = Action;

    fn initial(&self) -> World {
        let resource = Some(Resource {
            version: 1,
            generation: 1,
            ..Resource::default()
        });
        let operator = Operator {
            view: resource,
            awake: true,
            ..Operator::default()
        };
        let mut operators = [Operator::default(); 2];
        operators[..self.configuration.operators].fill(operator);
        World {
            resource,
            families: [Family::default(); ATTEMPTS],
            unwatched: [Unwatched::default(); ATTEMPTS],
            operators,
            left: self.configuration.budget,
            monitor: 0,
        }
    }

    fn actions(&self, world: &World) -> Vec<Action> {
        let mut all = Vec::new();
        for by in 0..self.configuration.operators {
            self.of_operator(world, by, &mut all);
        }
        for attempt in 0..ATTEMPTS {
            self.of_family(world, attempt, &mut all);
        }
        let left = &world.left;
        let collects = match &world.resource {
            Some(resource) => {
                // A pod that was told to end is given less time than any deadline.
                let leaving = world.families.iter().any(|family| family.starter.leaving);
                if !leaving && self.looks.aged(resource.history) != resource.history {
                    all.push(Action::ClockMoves);
                }
                if resource.deleting {
                    if world.is_empty() {
                        all.push(Action::ResourceGoes);
                    }
                } else {
                    if left.stop && !resource.stop {
                        all.push(Action::PersonStops);
                    }
                    if left.rerun {
                        all.push(Action::PersonOrdersRerun);
                    }
                    if left.edits > 0 {
                        all.push(Action::PersonEdits);
                    }
                    if left.touches > 0 {
                        all.push(Action::SomebodyTouches);
                    }
                    if left.delete {
                        all.push(Action::PersonDeletes);
                        all.push(Action::PersonDeletesInForeground);
                    }
                }
                resource.deleting
            }
            None => true,
        };
        if collects && !world.is_empty() {
            all.push(Action::GarbageIsCollected);
        }
        all
    }

    fn next(&self, world: &World, action: &Action) -> Result<World, String> {
        if let (Some(fault), Some(resource)) = (fault(action, &self.configuration), &world.resource) {
            happens(fault, self.looks.recorded(resource.history).state());
        }
        let mut next = *world;
        let world = &mut next;
        match *action {
            Action::SeesResource(by) => {
                let operator = &mut world.operators[by];
                operator.view = world.resource;
                operator.awake = world.resource.is_some();
                if world.resource.is_none() {
                    // Forgotten with the resource.
                    *operator = Operator {
                        families: operator.families,
                        task: operator.task,
                        ..Operator::default()
                    };
                }
            }
            Action::SeesJobs(by) => {
                let operator = &mut world.operators[by];
                operator.families = world.families;
                operator.awake = operator.view.is_some();
            }
            Action::Looks(by) => self.looks(world, by, true)?,
            Action::LooksUnanswered(by) => self.looks(world, by, false)?,
            Action::Does(by, request) => self.does(world, by, request, Answer::Given)?,
            Action::DoesUnanswered(by, request) => self.does(world, by, request, Answer::Lost)?,
            Action::IsRefused(by, request) => self.does(world, by, request, Answer::Refused)?,
            Action::Forgets(by) => {
                let made = self.forgotten(world, by);
                world.left.lags -= u8::from(self.forgets_too_early(world, by));
                world.operators[by].made = made;
            }
            Action::Crashes(by) => {
                world.left.crashes -= 1;
                // It begins with all that is true now.
                world.operators[by] = Operator {
                    view: world.resource,
                    families: world.families,
                    awake: world.resource.is_some(),
                    ..Operator::default()
                };
            }
            Action::ClockMoves => self.clock_moves(world),
            Action::ScriptIsInspected(attempt) => world.families[attempt].initializer.stage = Stage::Reported,
            Action::ScriptIsRefused(attempt) => world.families[attempt].initializer.stage = Stage::Failed,
            Action::RunnerAnswers(attempt, i) => self.answers(world, attempt, i)?,
            Action::RunnerExits(attempt, i, code) => self.ends(world, attempt, i, Exit::Code(code))?,
            Action::RunnerIsKilled(attempt, i) => {
                world.left.harm -= 1;
                self.ends(world, attempt, i, Exit::Code(137))?;
            }
            Action::PodIsLost(attempt, i) => {
                world.left.harm -= 1;
                self.ends(world, attempt, i, Exit::Lost)?;
            }
            Action::SidecarEnds(attempt, i) => world.families[attempt].runners[i].leftover = false,
            Action::JobIsDeleted(attempt, role) => {
                world.left.harm -= 1;
                self.remove(world, attempt, role)?;
            }
            Action::StarterFindsRunners(attempt) => self.finds_runners(world, attempt),
            Action::StarterReleases(attempt) => self.releases(world, attempt)?,
            Action::StarterReports(attempt) => world.families[attempt].starter.stage = Stage::Reported,
            Action::StarterIsKilled(attempt) => {
                world.left.harm -= 1;
                world.families[attempt].starter.stage = Stage::Failed;
            }
            Action::StarterLeaves(attempt) => self.remove(world, attempt, Role::Starter)?,
            Action::StopperStops(attempt) => self.stops(world, attempt)?,
            Action::StopperIsKilled(attempt) => {
                world.left.harm -= 1;
                world.families[attempt].stopper.stage = Stage::Failed;
            }
            Action::AggregatorAnswers(attempt) => {
                world.families[attempt].aggregator.stage = Stage::Working;
                world.unwatched[attempt].answered = true;
            }
            Action::AggregatorBeginsAgain(attempt) => {
                world.left.harm -= 1;
                world.families[attempt].aggregator.stage = Stage::Pending;
                world.families[attempt].aggregator.told = None;
                world.unwatched[attempt].heard = 0;
                self.judged(world, attempt, None)?;
            }
            Action::AggregatorFails(attempt) => {
                world.left.harm -= 1;
                world.families[attempt].aggregator.stage = Stage::Failed;
                world.unwatched[attempt].heard = 0;
            }
            Action::ServiceIsDeleted(attempt) => {
                world.left.harm -= 1;
                world.unwatched[attempt].service = false;
            }
            Action::AggregatorTells(attempt, crossed) => self.tells(world, attempt, crossed)?,
            Action::PodIsDenied(attempt, role, lasting) => {
                world.left.denials -= 1;
                world.unwatched[attempt].denied = Some((role, lasting));
                // A Job without a pod is looked at now and then.
                for operator in &mut world.operators {
                    operator.awake |= operator.view.is_some();
                }
            }
            Action::PodIsAdmitted(attempt) => world.unwatched[attempt].denied = None,
            Action::StopperIsGivenUp(attempt) => {
                world.families[attempt].stopper.stage = Stage::Failed;
                world.unwatched[attempt].denied = None;
            }
            Action::PersonStops => {
                world.left.stop = false;
                Self::edit(world, |resource| {
                    resource.generation += 1;
                    resource.stop = true;
                });
            }
            Action::PersonOrdersRerun => {
                world.left.rerun = false;
                Self::edit(world, |resource| {
                    resource.generation += 1;
                    resource.rerun = true;
                    resource.stop = false;
                });
            }
            Action::PersonEdits => {
                world.left.edits -= 1;
                Self::edit(world, |resource| resource.generation += 1);
            }
            Action::SomebodyTouches => {
                world.left.touches -= 1;
                Self::edit(world, |_| {});
            }
            Action::PersonDeletes => {
                world.left.delete = false;
                world.resource = None;
            }
            Action::PersonDeletesInForeground => {
                world.left.delete = false;
                Self::edit(world, |resource| resource.deleting = true);
            }
            Action::GarbageIsCollected => {
                for attempt in 0..ATTEMPTS {
                    for role in Role::ALL {
                        if world.families[attempt].job(role).is_some() {
                            self.remove(world, attempt, role)?;
                        }
                    }
                    world.unwatched[attempt].summary = false;
                }
            }
            Action::ResourceGoes => world.resource = None,
        }
        if !self.configuration.wakes {
            for operator in &mut world.operators {
                operator.awake = operator.view.is_some();
                operator.timer = false;
            }
        }
        if !self.configuration.lagging {
            let (resource, families) = (world.resource, world.families);
            for operator in &mut world.operators[..self.configuration.operators] {
                operator.awake |= operator.view != resource || operator.families != families;
                operator.view = resource;
                operator.families = families;
                operator.awake &= resource.is_some();
            }
        }
        Ok(next)
    }

    fn is_fair(&self, world: &World, action: &Action) -> bool {
        match action {
            Action::Looks(by) => world.operators[*by].awake,
            Action::SeesResource(_)
            | Action::SeesJobs(_)
            | Action::Does(..)
            | Action::ClockMoves
            | Action::ScriptIsInspected(_)
            | Action::RunnerAnswers(..)
            | Action::RunnerExits(_, _, 0)
            | Action::StarterFindsRunners(_)
            | Action::StarterReleases(_)
            | Action::StarterReports(_)
            | Action::StarterLeaves(_)
            | Action::StopperStops(_)
            | Action::StopperIsGivenUp(_)
            | Action::AggregatorAnswers(_)
            | Action::GarbageIsCollected
            | Action::ResourceGoes => true,
            Action::Forgets(by) => !self.forgets_too_early(world, *by),
            Action::LooksUnanswered(_)
            | Action::DoesUnanswered(..)
            | Action::IsRefused(..)
            | Action::Crashes(_)
            | Action::ScriptIsRefused(_)
            | Action::RunnerExits(..)
            | Action::RunnerIsKilled(..)
            | Action::PodIsLost(..)
            // It may go on for ever.
            | Action::SidecarEnds(..)
            | Action::JobIsDeleted(..)
            | Action::StarterIsKilled(_)
            | Action::StopperIsKilled(_)
            | Action::AggregatorBeginsAgain(_)
            | Action::AggregatorFails(_)
            | Action::ServiceIsDeleted(_)
            | Action::PodIsDenied(..)
            | Action::PodIsAdmitted(_)
            // It may hang, and so may handleSummary().
            | Action::AggregatorTells(..)
            | Action::PersonStops
            | Action::PersonOrdersRerun
            | Action::PersonEdits
            | Action::SomebodyTouches
            | Action::PersonDeletes
            | Action::PersonDeletesInForeground => false,
        }
    }

    /// Finished, or deleted and gone: nothing runs any more, and no operator has anything to do.
    fn is_settled(&self, world: &World) -> bool {
        let over = match &world.resource {
            Some(resource) => {
                self.looks.recorded(resource.history).state() == StateName::Finished
                    && !world.families.iter().any(Family::is_alive)
            }
            None => world.is_empty(),
        };
        over && (0..self.configuration.operators).all(|by| self.is_quiet(world, by))
    }

    fn describe(&self, world: &World) -> String {
        let mut text = String::new();
        let told = |resource: &Option<Resource>| match resource {
            Some(resource) => {
                let recorded = self.looks.recorded(resource.history);
                let events: Vec<&str> = recorded.records.iter().map(|r| r.event.name()).collect();
                format!(
                    "v{} {} [{}]{}{}",
                    resource.version,
                    recorded.state().as_str(),
                    events.join(" "),
                    if resource.stop { " stop" } else { "" },
                    if resource.rerun { " rerun" } else { "" }
                )
            }
            None => "gone".to_owned(),
        };
        let families = |families: &[Family; ATTEMPTS]| {
            let mut text = String::new();
            for (attempt, family) in families.iter().enumerate() {
                for role in Role::ALL {
                    if let Some(uid) = family.job(role) {
                        let what = match role {
                            Role::Initializer => format!("{:?}", family.initializer.stage),
                            Role::Starter if family.starter.leaving => "Leaving".to_owned(),
                            Role::Starter => format!("{:?}", family.starter.stage),
                            Role::Stopper => format!("{:?}", family.stopper.stage),
                            Role::Aggregator => {
                                format!("{:?} {:?}", family.aggregator.stage, family.aggregator.told)
                            }
                            Role::Service | Role::Summary => continue,
                            Role::Runner(i) => format!("{:?}", family.runners[usize::from(i) - 1].phase),
                        };
                        let _ = write!(text, "{}/{role:?}#{uid} {what}; ", attempt + 1);
                    }
                }
            }
            text
        };
        let _ = writeln!(text, "truth: {}", told(&world.resource));
        let _ = writeln!(text, "       {}", families(&world.families));
        for unwatched in world.unwatched {
            if unwatched != Unwatched::default() {
                let _ = writeln!(text, "       {unwatched:?}");
            }
        }
        for (by, operator) in world.operators[..self.configuration.operators].iter().enumerate() {
            let task = operator.task.effects;
            if operator.view == world.resource && operator.families == world.families && task.is_empty() {
                continue;
            }
            let _ = writeln!(
                text,
                "op {by}:  {}; {}to do: {task:?}",
                told(&operator.view),
                families(&operator.families)
            );
        }
        text
    }
}
