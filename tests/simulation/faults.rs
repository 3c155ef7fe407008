//! What goes wrong, as a list that can be read.

use super::api::Verb;
use super::scenario::{Operators, Scenario};
use super::store::Table;
use k6_operator::machine::StateName;
use std::fmt;

/// When something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At this time, in ms.
    At(u64),
    /// So many ms after the test is told to be in this state for the first time.
    In(usize, StateName, u64),
}

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRequest {
    /// The operator is killed before the request has any effect.
    CrashBefore,
    /// The operator is killed when it has had its effect, before the reply.
    CrashAfter,
    /// It never arrives: an error of the connection, or silence.
    RequestLost { silent: bool },
    /// It has its effect, and the reply never arrives.
    ReplyLost { silent: bool },
    /// It arrives so many ms late, when the operator may have given it up.
    Late(u64),
    /// It is answered with this code, without any effect.
    Answered(u16),
}

/// What happens to the watches of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnWatch {
    /// They show nothing new for so many ms.
    Held(u64),
    /// The same, and then only the last state of each object.
    Coalesced(u64),
    /// For so many ms everything is told twice.
    Doubled(u64),
    /// They end.
    Cut,
    /// They go silent without ending.
    Silent,
    /// They are told that their version is not known any more.
    Gone,
}

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Initializer,
    Runner(u32),
    Starter,
    Stopper,
    Aggregator,
    /// At which the aggregator is reached.
    Service,
    Script,
}

/// Why a pod can't be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// A LimitRange that it does not fit.
    Ratio,
    /// A ResourceQuota that is full.
    Quota,
}

/// What happens to a pod, whenever there is one of this part: until so many ms after the beginning, or for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPod {
    Unschedulable(Option<u64>),
    /// It is not created: its Job's controller is told why, and tries again.
    Denied(Denial, Option<u64>),
    ImagePull(Option<u64>),
    /// Its port refuses connections.
    Refuses(Option<u64>),
    /// Its port takes connections and does not answer.
    Hangs(Option<u64>),
    /// It answers 500.
    Broken(Option<u64>),
    /// A starter is killed when it has released so many.
    KilledAfter(u32),
    /// No confirmation reaches a starter.
    Unheard,
    /// Another container of it goes on after its own, until the pod is deleted.
    Sidecar,
}

/// What happens to a pod that is there at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    OutOfMemory,
    Evicted,
    NodeLost,
}

/// What a person, or another program, does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByHand {
    Stop,
    Rerun,
    Suspend(bool),
    /// Another number of runners, while that may be changed.
    Edit(u32),
    /// Deletes the resource, foreground or background.
    Delete {
        foreground: bool,
    },
    /// Deletes it and makes it again under the same name after so many ms.
    Recreate(u64),
    DeleteJob(Part),
    /// Takes its labels from it.
    Unlabel(Part),
    DeletePod(Part),
    DeleteScript,
    /// Deletes the Secrets of runs. A run that an older operator has begun has none.
    DeleteTokens,
    /// Makes an object of the name of a part, and removes it after so many ms, or never.
    Squat(Part, Option<u64>),
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Of the n-th write of an operator, counted over its restarts.
    Write {
        operator: usize,
        nth: u64,
        what: OnRequest,
    },
    /// Of its n-th request that changes nothing.
    Read {
        operator: usize,
        nth: u64,
        what: OnRequest,
    },
    /// Of any request at this time or later; the first that fits.
    Request {
        operator: usize,
        when: u64,
        verb: Option<Verb>,
        what: OnRequest,
    },
    /// All requests of an operator fail for a while.
    Outage {
        operator: usize,
        from: u64,
        until: u64,
        what: OnRequest,
    },
    Watch {
        operator: usize,
        table: Table,
        when: When,
        what: OnWatch,
    },
    /// What changed until then is forgotten: watches that come later have to list anew.
    Compacted {
        when: When,
    },
    Crash {
        operator: usize,
        when: When,
    },
    /// The operator is stopped for so many ms, as a virtual machine is that is moved.
    Freeze {
        operator: usize,
        when: When,
        ms: u64,
    },
    /// Its clock jumps by so many ms.
    Clock {
        operator: usize,
        when: When,
        ms: i64,
    },
    Pod {
        test: usize,
        part: Part,
        what: OnPod,
    },
    Injection {
        test: usize,
        part: Part,
        when: When,
        what: Injection,
    },
    Hand {
        test: usize,
        when: When,
        what: ByHand,
    },
    /// The making of objects is refused with 403, for so many ms, or for ever.
    Refused {
        table: Table,
        when: When,
        ms: Option<u64>,
    },
}

impl Fault {
    /// Whether a run has to come to the same end without it.
    pub fn is_benign(&self) -> bool {
        match self {
            Self::Write { .. }
            | Self::Read { .. }
            | Self::Request { .. }
            | Self::Outage { .. }
            | Self::Compacted { .. }
            | Self::Crash { .. } => true,
            // A client finds out after 65 s, when deadlines of 60 s have passed.
            Self::Watch { what, .. } => *what != OnWatch::Silent,
            Self::Freeze { ms, .. } => *ms < 20_000,
            Self::Clock { .. }
            | Self::Pod { .. }
            | Self::Injection { .. }
            | Self::Hand { .. }
            | Self::Refused { .. } => false,
        }
    }
}

/// All that goes wrong in one simulation.
#[derive(Clone, Debug, Default)]
pub struct Plan(pub Vec<Fault>);

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            writeln!(f, "nothing goes wrong")?;
        }
        for (index, fault) in self.0.iter().enumerate() {
            writeln!(f, "{index}: {fault:?}")?;
        }
        Ok(())
    }
}

impl Plan {
    /// Draws what goes wrong in a scenario.
    pub fn draw(rng: &mut fastrand::Rng, scenario: &Scenario) -> Self {
        let count = match rng.u8(..8) {
            0 => 1,
            1..=4 => rng.usize(1..=3),
            _ => rng.usize(2..=7),
        };
        // A third of all plans has only faults that change no end, so that the ends can be compared.
        let benign = rng.u8(..3) == 0;
        let faults = (0..count).map(|_| {
            if benign || rng.u8(..5) < 2 {
                of_the_operator(rng, scenario)
            } else {
                of_the_world(rng, scenario)
            }
        });
        Self(faults.collect())
    }
}

fn when(rng: &mut fastrand::Rng, scenario: &Scenario) -> When {
    if rng.u8(..3) == 0 {
        return When::At(rng.u64(0..60_000));
    }
    let state = StateName::ALL[rng.usize(..StateName::ALL.len())];
    let later = if rng.bool() {
        rng.u64(0..50)
    } else {
        rng.u64(0..6_000)
    };
    When::In(rng.usize(..scenario.tests.len()), state, later)
}

fn on_request(rng: &mut fastrand::Rng) -> OnRequest {
    match rng.u8(..8) {
        0 => OnRequest::CrashBefore,
        1 => OnRequest::CrashAfter,
        2 => OnRequest::RequestLost { silent: rng.bool() },
        3 | 4 => OnRequest::ReplyLost { silent: rng.bool() },
        5 => OnRequest::Late(rng.u64(100..25_000)),
        _ => OnRequest::Answered([409, 429, 500, 503][rng.usize(..4)]),
    }
}

fn of_the_operator(rng: &mut fastrand::Rng, scenario: &Scenario) -> Fault {
    let operator = match scenario.operators {
        Operators::One => 0,
        Operators::Two | Operators::Leased => rng.usize(..2),
    };
    let table = [
        Table::K6s,
        Table::TestRuns,
        Table::Jobs,
        Table::Jobs,
        Table::Pods,
        Table::Pods,
    ];
    let table = table[rng.usize(..table.len())];
    match rng.u8(..16) {
        0..=3 => Fault::Write {
            operator,
            nth: rng.u64(1..30),
            what: on_request(rng),
        },
        4 => Fault::Read {
            operator,
            nth: rng.u64(1..30),
            what: on_request(rng),
        },
        5 => Fault::Request {
            operator,
            when: rng.u64(0..40_000),
            verb: [
                None,
                Some(Verb::Get),
                Some(Verb::List),
                Some(Verb::Watch),
                Some(Verb::Log),
            ][rng.usize(..5)],
            what: on_request(rng),
        },
        6 => {
            let from = rng.u64(0..30_000);
            let what = on_request(rng);
            let what = match what {
                // A restart in a loop is no outage of the API server.
                OnRequest::CrashBefore | OnRequest::CrashAfter => OnRequest::RequestLost { silent: false },
                OnRequest::RequestLost { .. }
                | OnRequest::ReplyLost { .. }
                | OnRequest::Late(_)
                | OnRequest::Answered(_) => what,
            };
            Fault::Outage {
                operator,
                from,
                until: from + rng.u64(100..10_000),
                what,
            }
        }
        7..=11 => Fault::Watch {
            operator,
            table,
            when: when(rng, scenario),
            what: match rng.u8(..8) {
                0..=2 => OnWatch::Held(rng.u64(50..15_000)),
                3 => OnWatch::Coalesced(rng.u64(50..15_000)),
                4 => OnWatch::Doubled(rng.u64(50..15_000)),
                5 => OnWatch::Cut,
                6 => OnWatch::Silent,
                _ => OnWatch::Gone,
            },
        },
        12 => Fault::Compacted {
            when: when(rng, scenario),
        },
        13 | 14 => Fault::Crash {
            operator,
            when: when(rng, scenario),
        },
        _ => Fault::Freeze {
            operator,
            when: when(rng, scenario),
            ms: rng.u64(100..19_000),
        },
    }
}

fn part(rng: &mut fastrand::Rng, runners: u32) -> Part {
    match rng.u8(..10) {
        0 => Part::Initializer,
        1 | 2 => Part::Starter,
        3 => Part::Stopper,
        4 => Part::Aggregator,
        5 => [Part::Aggregator, Part::Service][rng.usize(..2)],
        _ => Part::Runner(rng.u32(1..=runners)),
    }
}

fn of_the_world(rng: &mut fastrand::Rng, scenario: &Scenario) -> Fault {
    let test = rng.usize(..scenario.tests.len());
    let runners = scenario.tests.get(test).map_or(1, |test| test.runners);
    let part = part(rng, runners);
    let when = when(rng, scenario);
    let awhile = |rng: &mut fastrand::Rng| (rng.u8(..4) != 0).then(|| rng.u64(100..40_000));
    match rng.u8(..20) {
        0..=4 => Fault::Pod {
            test,
            part,
            what: match rng.u8(..9) {
                8 => OnPod::Sidecar,
                6 => {
                    let denial = if rng.bool() { Denial::Ratio } else { Denial::Quota };
                    OnPod::Denied(denial, awhile(rng))
                }
                0 => OnPod::Unschedulable(awhile(rng)),
                1 => OnPod::ImagePull(awhile(rng)),
                2 => OnPod::Refuses(awhile(rng)),
                3 => OnPod::Hangs(awhile(rng)),
                4 => OnPod::Broken(awhile(rng)),
                5 => OnPod::Unheard,
                _ => OnPod::KilledAfter(rng.u32(0..=runners)),
            },
        },
        5..=8 => Fault::Injection {
            test,
            part,
            when,
            what: [Injection::OutOfMemory, Injection::Evicted, Injection::NodeLost][rng.usize(..3)],
        },
        9..=16 => Fault::Hand {
            test,
            when,
            what: match rng.u8(..16) {
                0 | 1 => ByHand::Stop,
                2 => ByHand::Rerun,
                3 => ByHand::Suspend(rng.bool()),
                4 => ByHand::Edit(rng.u32(1..=4)),
                5 | 6 => ByHand::Delete {
                    foreground: rng.bool(),
                },
                7 | 8 => ByHand::Recreate(rng.u64(1..10_000)),
                9 | 10 => ByHand::DeleteJob(part),
                11 | 12 => ByHand::DeletePod(part),
                13 => ByHand::DeleteScript,
                _ => ByHand::Squat(part, awhile(rng)),
            },
        },
        17 => Fault::Refused {
            table: [Table::Jobs, Table::ConfigMaps, Table::Services][rng.usize(..3)],
            when,
            ms: awhile(rng),
        },
        18 => Fault::Freeze {
            operator: 0,
            when,
            ms: rng.u64(1_000..90_000),
        },
        _ => Fault::Clock {
            operator: 0,
            when,
            ms: rng.i64(-30_000..30_000),
        },
    }
}
