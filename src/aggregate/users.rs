//! The virtual users of a process, as k6 has them at the end of its part of the test. Pure.

use super::source::State;
use std::collections::{BTreeMap, BTreeSet};

/// That a runner's part has ended is seen so late at most, in ms: `linger` looks each 250.
const SEEN_LATE: u64 = 500;
/// That a part has begun is seen in its virtual users so late at most, in ms: k6 counts them each second, and exports
/// as often.
const BEGUN: u64 = 3_000;

/// The virtual users of a process while its part of the test ran, by series. A k6 that is paused says that it has
/// none, and so does one that lingers: one that is neither says so only if it is true of its test.
#[derive(Clone, Debug, Default)]
pub(super) struct Users {
    pub(super) counted: BTreeMap<usize, State>,
    /// What was counted before they came to none, and when that came.
    before: BTreeMap<usize, (Option<State>, u64)>,
    /// Those that had none when the test had surely begun.
    idle: BTreeSet<usize>,
    pub(super) started: Option<u64>,
    over: bool,
}

impl Users {
    pub(super) fn count(&mut self, series: usize, state: &State, now: u64) {
        let State::Gauge { value, since, .. } = state else {
            return;
        };
        let (value, since) = (*value, *since);
        if value != 0.0 {
            self.before.remove(&series);
        } else if self.over {
            return;
        } else {
            if self
                .started
                .is_some_and(|started| now >= started.saturating_add(BEGUN))
            {
                self.idle.insert(series);
            }
            let some = |state: &State| matches!(state, State::Gauge { value, .. } if *value != 0.0);
            if self.counted.get(&series).is_none_or(some) {
                self.before
                    .insert(series, (self.counted.get(&series).cloned(), now));
            }
        }
        let (mut least, mut most) = (value, value);
        if let Some(State::Gauge { min, max, .. }) = self.counted.get(&series) {
            // Those that it had none of while it was paused are not of the test.
            if *max != 0.0 || self.idle.contains(&series) {
                (least, most) = (min.min(value), max.max(value));
            }
        }
        let state = State::Gauge {
            value,
            min: least,
            max: most,
            since,
        };
        self.counted.insert(series, state);
    }

    pub(super) fn over(&mut self, ended: u64) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        for (series, (before, came)) in std::mem::take(&mut self.before) {
            if came.saturating_add(SEEN_LATE) <= ended {
                continue;
            }
            match before {
                Some(state) => drop(self.counted.insert(series, state)),
                None => drop(self.counted.remove(&series)),
            }
        }
    }
}
