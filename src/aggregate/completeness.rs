//! Which runners' numbers are incomplete, and why, during the test and at its end. Pure.

use super::judge::Gap;
use super::moment::Moment;
use super::session::{SILENT, Session};
use super::store::of;
use crate::protocol::heartbeat::Phase;
use std::time::Duration;

/// How long a running runner may export nothing before its numbers count as incomplete. It exports each second, but a
/// slow export delays the next.
const STALE: Duration = Duration::from_secs(20);

impl Session {
    /// Why the numbers of runners are incomplete, by runner: as it is now, or as it stays if nothing more arrives.
    pub fn gaps(&self, now: Moment) -> Vec<(u32, Gap)> {
        self.gaps_of(now, self.concluded.is_some())
    }

    fn gaps_of(&self, now: Moment, at_end: bool) -> Vec<(u32, Gap)> {
        let mut gaps = Vec::new();
        for number in 1..=self.expected {
            gaps.extend(self.gap_of(number, now, at_end).map(|gap| (number, gap)));
            let refused = of(&self.refused, Some(number)).map(|(_, error)| {
                if error.is_taken() {
                    Gap::BeyondLimit(error.to_string())
                } else {
                    Gap::Refused(error.to_string())
                }
            });
            gaps.extend(refused.map(|gap| (number, gap)));
            let sent = of(self.store.senders(), Some(number));
            let overflown = sent.filter(|(_, sent)| sent.is_overflown()).count() > 0;
            gaps.extend(overflown.then_some((number, Gap::Overflow)));
        }
        gaps
    }

    /// Why the exports of a runner have not arrived, or may not have.
    fn gap_of(&self, number: u32, now: Moment, at_end: bool) -> Option<Gap> {
        let came = of(self.store.senders(), Some(number))
            .map(|(_, sent)| sent.came)
            .max();
        let is_stale = came.is_some_and(|came| now.since(came.max(self.began)) >= STALE);
        let Some((sender, runner)) = self.process_of(number) else {
            return match came {
                None => Some(Gap::NeverSent),
                Some(_) => (at_end || is_stale).then_some(Gap::Silent),
            };
        };
        if runner.ended.is_none() {
            let is_silent = is_stale || now.since(runner.heard.max(self.began)) >= SILENT;
            return match came {
                _ if at_end => Some(Gap::Silent),
                None => Some(Gap::NeverSent),
                Some(_) => is_silent.then_some(Gap::Silent),
            };
        }
        // The last export of the runner may still arrive.
        let is_awaited = runner.phase == Some(Phase::Ended) && runner.discrepancies.is_none();
        if is_awaited && !at_end && now.since(runner.heard.max(self.began)) < SILENT {
            return None;
        }
        let discrepancies = || self.discrepancies_of(number, runner);
        let discrepancies = runner.discrepancies.clone().unwrap_or_else(discrepancies);
        if !discrepancies.is_empty() {
            return Some(Gap::Behind(discrepancies));
        }
        (!(self.has_told(sender) && runner.let_go)).then_some(Gap::Untold)
    }

    /// Describes which metrics have series that k6's exporter has joined.
    fn overflow(&self) -> String {
        const NAMED: usize = 2;
        let metrics: Vec<&str> = self.store.overflown().collect();
        let named: Vec<&str> = metrics.iter().take(NAMED).copied().collect();
        let more = match metrics.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!(
            "a runner had more series of {}{more} than are kept apart: give requests a `name` tag, or drop tags with \
             options.systemTags (submetrics, checks and requests lack samples)",
            named.join(", ")
        )
    }

    /// What is missing in the numbers, in words, if nothing more arrives.
    pub fn incomplete(&self) -> Vec<String> {
        self.describe(self.began, true)
    }

    /// What is missing in the numbers now, in words. During a test, more will arrive.
    pub fn incomplete_now(&self, now: Moment) -> Vec<String> {
        self.describe(now, self.concluded.is_some())
    }

    fn describe(&self, now: Moment, at_end: bool) -> Vec<String> {
        let mut why: Vec<String> = Vec::new();
        let mut overflown = false;
        // The first export comes a second after the start, and many runners start one after the other.
        let is_early = !at_end && now.since(self.started.unwrap_or(now)) < SILENT;
        for (runner, gap) in self.gaps_of(now, at_end) {
            overflown |= gap == Gap::Overflow;
            if !(is_early && gap == Gap::NeverSent) {
                why.extend(gap.describe(runner, at_end));
            }
        }
        let torn_down = self.runners.values().find_map(|runner| runner.torn_down.as_ref());
        match torn_down {
            Some((error, _)) if !error.is_empty() => why.push(format!("teardown() failed: {error}")),
            None if self.once && at_end => why.push("teardown() did not run".to_owned()),
            Some(_) | None => {}
        }
        for (sender, sent) in self.store.senders() {
            for (metric, count) in sent.unknown() {
                why.push(format!(
                    "runner {} had more series of {metric} than it keeps apart: of {count} values nobody knows \
                     whether they were zero, and they are not counted",
                    sender.runner
                ));
            }
        }
        if overflown {
            why.push(self.overflow());
        }
        why
    }
}
