//! What a test that tries many things finds out only as it goes: a fault that happens to a run in some state. Each is
//! told once.

use crate::table::{Fault, covers};
use k6_operator::machine::StateName;
use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Says that this fault happens to a run that is in this state.
pub fn happens(fault: Fault, state: StateName) {
    static ASKED: OnceLock<bool> = OnceLock::new();
    static TOLD: Mutex<BTreeSet<(Option<String>, Fault, StateName)>> = Mutex::new(BTreeSet::new());
    if !ASKED.get_or_init(|| std::env::var_os("K6OP_FAULTS").is_some()) {
        return;
    }
    let test = std::thread::current().name().map(str::to_owned);
    let is_new = TOLD
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert((test, fault, state));
    if is_new {
        covers(fault, &[state]);
    }
}
