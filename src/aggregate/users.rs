//! The virtual users of a process, as k6 counts them at the end of its part of the test. Pure.

use super::moment::Moment;
use super::sink::Sink;
use super::source::State;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How late the end of a part is noticed at most. `linger` looks every 250 ms.
const SEEN_LATE: Duration = Duration::from_millis(500);
/// How late the begin of a part shows in the number of virtual users at most. k6 counts and exports them each second.
const BEGUN: Duration = Duration::from_secs(3);

/// The virtual users of a process during its part of the test, by series. A k6 that is paused or lingers exports 0.
/// Only a 0 in between is true of the test.
#[derive(Clone, Debug, Default)]
pub(super) struct Users {
    pub(super) counted: BTreeMap<usize, State>,
    /// The last state before the number fell to 0, and when that 0 arrived.
    before: BTreeMap<usize, (Option<State>, Moment)>,
    /// The series that were 0 when the test had surely begun.
    idle: BTreeSet<usize>,
    pub(super) started: Option<Moment>,
    over: bool,
}

impl Users {
    pub(super) fn count(&mut self, series: usize, state: &State, now: Moment) {
        let State::Sink(Sink::Gauge { value, since, .. }) = state else {
            return;
        };
        let (value, since) = (*value, *since);
        if value != 0.0 {
            self.before.remove(&series);
        } else if self.over {
            return;
        } else {
            if self.started.is_some_and(|started| now >= started + BEGUN) {
                self.idle.insert(series);
            }
            let some =
                |state: &State| matches!(state, State::Sink(Sink::Gauge { value, .. }) if *value != 0.0);
            if self.counted.get(&series).is_none_or(some) {
                self.before
                    .insert(series, (self.counted.get(&series).cloned(), now));
            }
        }
        let (mut least, mut most) = (value, value);
        if let Some(State::Sink(Sink::Gauge { min, max, .. })) = self.counted.get(&series) {
            // A 0 from the time in which k6 was paused does not count for the test.
            if *max != 0.0 || self.idle.contains(&series) {
                (least, most) = (min.min(value), max.max(value));
            }
        }
        let sink = Sink::Gauge {
            value,
            min: least,
            max: most,
            since,
            summed: true,
        };
        self.counted.insert(series, State::Sink(sink));
    }

    pub(super) fn over(&mut self, ended: Moment) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        for (series, (before, came)) in std::mem::take(&mut self.before) {
            if came + SEEN_LATE <= ended {
                continue;
            }
            match before {
                Some(state) => drop(self.counted.insert(series, state)),
                None => drop(self.counted.remove(&series)),
            }
        }
    }
}
