//! What a test that tries many things finds out only as it goes: a fault that happens to a run in some state. Each is
//! told once.

use crate::table::{Fault, covers};
use k6_operator::machine::StateName;
use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Says that this fault happens to a run that is in this state.
pub fn happens(fault: Fault, state: StateName) {
    static ASKED: OnceLock<bool> = OnceLock::new();
    static TOLD: Mutex<BTreeSet<(String, Fault, StateName)>> = Mutex::new(BTreeSet::new());
    if !ASKED.get_or_init(|| std::env::var_os("K6OP_FAULTS").is_some()) {
        return;
    }
    // Threads of a sweep have no name: what is drawn at random, as many as there is time for, is not told, or the
    // table would be another each time.
    let Some(test) = std::thread::current().name().map(str::to_owned) else {
        return;
    };
    let is_new = TOLD
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert((test, fault, state));
    if is_new {
        covers(fault, &[state]);
    }
}
