//! What can go wrong, and which test lets it happen in which state: each test tells it by [`covers`], and the
//! table of faults is made of that.

#![allow(dead_code)]

use k6_operator::machine::StateName;
use std::fmt;
use std::fs::File;
use std::io::Write;

/// What can go wrong, or is done to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    OperatorKilled,
    OperatorFrozen,
    LeaderKilled,
    ApiServerRestarted,
    ReplyLost,
    RequestRefused,
    ApiServerFailing,
    StaleView,
    RunnerPodDeleted,
    RunnerJobDeleted,
    StarterDeleted,
    ConfigMapDeleted,
    ResourceDeleted,
    NamespaceDeleted,
    ForeignObject,
    RunnerNeverReady,
    RunnerOomKilled,
    NodeLost,
    NetworkCut,
    StarterKilledHalfway,
    StopOrdered,
    DeadlinePassed,
    ClockJump,
}

impl Fault {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 23] = [
        Self::OperatorKilled,
        Self::OperatorFrozen,
        Self::LeaderKilled,
        Self::ApiServerRestarted,
        Self::ReplyLost,
        Self::RequestRefused,
        Self::ApiServerFailing,
        Self::StaleView,
        Self::RunnerPodDeleted,
        Self::RunnerJobDeleted,
        Self::StarterDeleted,
        Self::ConfigMapDeleted,
        Self::ResourceDeleted,
        Self::NamespaceDeleted,
        Self::ForeignObject,
        Self::RunnerNeverReady,
        Self::RunnerOomKilled,
        Self::NodeLost,
        Self::NetworkCut,
        Self::StarterKilledHalfway,
        Self::StopOrdered,
        Self::DeadlinePassed,
        Self::ClockJump,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OperatorKilled => "operator killed",
            Self::OperatorFrozen => "operator frozen",
            Self::LeaderKilled => "leader killed",
            Self::ApiServerRestarted => "API server restarted",
            Self::ReplyLost => "reply lost",
            Self::RequestRefused => "request refused (quota, admission)",
            Self::ApiServerFailing => "API server failing (429, 5xx, timeout)",
            Self::StaleView => "stale view",
            Self::RunnerPodDeleted => "runner pod deleted",
            Self::RunnerJobDeleted => "runner Job deleted",
            Self::StarterDeleted => "starter deleted",
            Self::ConfigMapDeleted => "ConfigMap deleted",
            Self::ResourceDeleted => "resource deleted",
            Self::NamespaceDeleted => "namespace deleted",
            Self::ForeignObject => "foreign object of the same name",
            Self::RunnerNeverReady => "runner never ready (image, unschedulable)",
            Self::RunnerOomKilled => "runner OOM-killed",
            Self::NodeLost => "node lost",
            Self::NetworkCut => "network cut",
            Self::StarterKilledHalfway => "starter killed half-way",
            Self::StopOrdered => "stop ordered",
            Self::DeadlinePassed => "deadline passed",
            Self::ClockJump => "clock jump",
        })
    }
}

/// Says that the test that calls this lets the fault happen to a run in these states. Adds to the file that
/// `K6OP_FAULTS` names lines of fault, state, depth and test, with tabs between; the depth is the name of the
/// test's binary: model, simulation or cluster.
pub fn covers(fault: Fault, states: &[StateName]) {
    let Some(path) = std::env::var_os("K6OP_FAULTS") else {
        return;
    };
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    let depth = env!("CARGO_CRATE_NAME");
    let lines: String = states
        .iter()
        .map(|state| format!("{fault}\t{}\t{depth}\t{test}\n", state.as_str()))
        .collect();
    let mut file = File::options().append(true).create(true).open(path).unwrap();
    file.write_all(lines.as_bytes()).unwrap();
}
