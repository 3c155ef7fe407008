//! What is true, and what each operator believes. All of it is small, and copied.

/// The most runners that are modelled.
pub const N: usize = 3;
/// The most runs of one resource.
pub const ATTEMPTS: usize = 2;

/// A history, by its number in the table of all that were seen.
pub type HistoryId = u32;
/// A monitor, likewise.
pub type MonitorId = u32;

/// How a process of k6 ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exit {
    Code(u8),
    /// Its pod is gone, and with it the code.
    Lost,
}

/// Where a runner's process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// There is no Job.
    #[default]
    Absent,
    /// The Job is there; its k6 does not answer yet.
    Pending,
    /// It answers and waits for its release.
    Ready,
    /// It was released, or held back by nobody.
    Running,
    Ended(Exit),
}

impl Phase {
    pub fn answers(self) -> bool {
        matches!(self, Self::Ready | Self::Running)
    }

    pub fn is_alive(self) -> bool {
        matches!(self, Self::Pending | Self::Ready | Self::Running)
    }
}

/// A runner's Job, under its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Runner {
    /// How many Jobs of this name were made: the UID of the present one, and of its pod.
    pub made: u8,
    pub phase: Phase,
    /// The number of the Service that it was told to send its numbers to, or 0.
    pub told: u8,
    /// Its k6 has ended, and a sidecar in its pod goes on.
    pub leftover: bool,
}

/// Where an initializer, a starter, a stopper or an aggregator is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    #[default]
    Absent,
    /// It has done nothing yet.
    Pending,
    /// A starter that found all runners ready, and releases one after the other; an aggregator that answers.
    Working,
    /// It ended with its answer.
    Reported,
    /// It ended without.
    Failed,
}

impl Stage {
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Pending | Self::Working)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Initializer {
    pub made: u8,
    pub stage: Stage,
    /// Of which generation of the spec.
    pub generation: u8,
}

/// A starter or stopper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Program {
    pub made: u8,
    pub stage: Stage,
    /// The pods that it is to reach: of each runner the number of its Job, or 0.
    pub targets: [u8; N],
    /// Those that it has tried, one bit each.
    pub tried: u8,
    /// Those that have confirmed.
    pub confirmed: u8,
    /// Deleted in the foreground: the Job goes when its pod has.
    pub leaving: bool,
}

/// What merges the numbers of the runners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Aggregator {
    pub made: u8,
    pub stage: Stage,
    /// It has told the result: how many thresholds are crossed, and how many runners were not heard.
    pub told: Option<(u8, u8)>,
}

/// What of a run no cache shows: it is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unwatched {
    /// How many Services were made, and whether the last is there.
    pub services: u8,
    pub service: bool,
    /// The runners whose numbers the aggregator has, one bit each.
    pub heard: u8,
    /// An aggregator has answered.
    pub answered: bool,
    /// The summary is kept.
    pub summary: bool,
    /// The Job whose pod is refused, and whether waiting changes nothing.
    pub denied: Option<(Role, bool)>,
}

/// The Jobs of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Family {
    pub initializer: Initializer,
    pub starter: Program,
    pub stopper: Program,
    pub aggregator: Aggregator,
    pub runners: [Runner; N],
}

/// Which Job of a family, or which other object of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Initializer,
    Starter,
    Stopper,
    Aggregator,
    /// By its number, from 1.
    Runner(u8),
    /// No Jobs.
    Service,
    Summary,
}

impl Role {
    /// How many Jobs there are, and how many objects.
    pub const COUNT: usize = 4 + N;
    const OBJECTS: usize = Self::COUNT + 2;

    /// The Jobs.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Initializer,
        Self::Starter,
        Self::Stopper,
        Self::Aggregator,
        Self::Runner(1),
        Self::Runner(2),
        Self::Runner(3),
    ];

    pub fn index(self) -> usize {
        match self {
            Self::Initializer => 0,
            Self::Starter => 1,
            Self::Stopper => 2,
            Self::Aggregator => 3,
            Self::Runner(i) => 3 + usize::from(i),
            Self::Service => Self::COUNT,
            Self::Summary => Self::COUNT + 1,
        }
    }

    /// Caches show it.
    pub fn is_job(self) -> bool {
        self.index() < Self::COUNT
    }
}

impl Family {
    /// The UID of the Job, if it is there.
    pub fn job(&self, role: Role) -> Option<u8> {
        let (made, there) = match role {
            Role::Initializer => (self.initializer.made, self.initializer.stage != Stage::Absent),
            Role::Starter => (self.starter.made, self.starter.stage != Stage::Absent),
            Role::Stopper => (self.stopper.made, self.stopper.stage != Stage::Absent),
            Role::Aggregator => (self.aggregator.made, self.aggregator.stage != Stage::Absent),
            Role::Service | Role::Summary => return None,
            Role::Runner(i) => {
                let runner = self.runners[usize::from(i) - 1];
                (runner.made, runner.phase != Phase::Absent)
            }
        };
        there.then_some(made)
    }

    pub fn is_empty(&self) -> bool {
        Role::ALL.into_iter().all(|role| self.job(role).is_none())
    }

    /// Whether something of it runs.
    pub fn is_alive(&self) -> bool {
        self.runners
            .iter()
            .any(|runner| runner.phase.is_alive() || runner.leftover)
            || self.starter.stage.is_alive()
            || self.stopper.stage.is_alive()
            || self.aggregator.stage.is_alive()
    }
}

/// A resource, in one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    pub version: u8,
    pub generation: u8,
    pub stop: bool,
    /// spec.rerun asks for another run.
    pub rerun: bool,
    pub deleting: bool,
    /// status.observedGeneration; 0 before there is a status.
    pub observed: u8,
    pub history: HistoryId,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refused {
    #[default]
    Nothing,
    Foreign,
    ForNow,
}

/// A set of the Jobs of one run, and of other things to do, one bit each.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Effects(pub u32);

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Request {
    Create(Role),
    Delete(Role),
    /// A Job of the other run.
    DeleteFormer(Role),
    DeleteResource,
}

impl Request {
    fn bit(self) -> usize {
        match self {
            Self::Create(role) => role.index(),
            Self::Delete(role) => Role::OBJECTS + role.index(),
            Self::DeleteFormer(role) => Role::OBJECTS + Role::COUNT + role.index(),
            Self::DeleteResource => Role::OBJECTS + 2 * Role::COUNT,
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        let roles = |request: fn(Role) -> Self| Role::ALL.into_iter().map(request);
        roles(Self::Create)
            .chain([Self::Create(Role::Service), Self::Create(Role::Summary)])
            .chain(roles(Self::Delete))
            .chain(roles(Self::DeleteFormer))
            .chain([Self::DeleteResource])
    }
}

impl Effects {
    pub fn insert(&mut self, request: Request) {
        self.0 |= 1 << request.bit();
    }

    pub fn remove(&mut self, request: Request) {
        self.0 &= !(1 << request.bit());
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Request> {
        Request::all().filter(move |request| self.0 >> request.bit() & 1 == 1)
    }
}

impl std::fmt::Debug for Effects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// What an operator is about to do, after what it wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Task {
    pub effects: Effects,
    /// For a starter or stopper.
    pub targets: [u8; N],
    /// The number of the Service, if it was looked for and found.
    pub address: u8,
    /// Index of the run, and of the other.
    pub attempt: u8,
    pub former: u8,
    /// The version and generation of the resource that it acts on.
    pub version: u8,
    pub generation: u8,
    /// What had been refused when it looked, and what is now.
    pub refused_before: Refused,
    pub refused: Refused,
    pub failed: bool,
    /// It looks again at once: another run has begun, more has happened in the state that was just written, or something
    /// was done that no cache shows.
    pub again: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operator {
    /// The newer of what its cache shows and what it wrote or read itself.
    pub view: Option<Resource>,
    /// What its caches show.
    pub families: [Family; ATTEMPTS],
    /// Its memory: Jobs that it made, that it deleted (by UID), and that the API server said not to be there.
    pub made: [u8; ATTEMPTS],
    pub gone: [u8; ATTEMPTS],
    pub deleted: [[u8; Role::COUNT]; ATTEMPTS],
    pub refused: Refused,
    pub task: Task,
    /// Something asks for a look: a change in its caches, a failure, a moment that has come.
    pub awake: bool,
    /// It will be woken when the clock has moved.
    pub timer: bool,
}

/// What may still happen that need not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Budget {
    pub stop: bool,
    pub rerun: bool,
    pub delete: bool,
    /// Edits of the spec that change only its generation.
    pub edits: u8,
    /// Writes of the resource that change neither: a label, the live view.
    pub touches: u8,
    pub crashes: u8,
    /// Runners killed, their pods or Jobs deleted, starters killed or deleted, stoppers killed; what merges killed,
    /// begun again or deleted.
    pub harm: u8,
    /// Objects refused for now.
    pub refusals: u8,
    /// Requests that took effect and whose answer was lost.
    pub lost: u8,
    /// Pods that are refused.
    pub denials: u8,
    /// Times that a cache lags longer than the operator remembers what it made.
    pub lags: u8,
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct World {
    /// None: deleted, and gone.
    pub resource: Option<Resource>,
    pub families: [Family; ATTEMPTS],
    pub unwatched: [Unwatched; ATTEMPTS],
    pub operators: [Operator; 2],
    pub left: Budget,
    pub monitor: MonitorId,
}

impl World {
    /// Whether an object of this run is there.
    pub fn has(&self, attempt: usize, role: Role) -> bool {
        match role {
            Role::Service => self.unwatched[attempt].service,
            Role::Summary => self.unwatched[attempt].summary,
            Role::Initializer | Role::Starter | Role::Stopper | Role::Aggregator | Role::Runner(_) => {
                self.families[attempt].job(role).is_some()
            }
        }
    }

    /// Nothing is there that the resource owns.
    pub fn is_empty(&self) -> bool {
        let kept = |unwatched: &Unwatched| unwatched.service || unwatched.summary;
        self.families.iter().all(Family::is_empty) && !self.unwatched.iter().any(kept)
    }
}
