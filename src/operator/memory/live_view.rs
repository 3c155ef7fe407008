//! The last reading of what a run measures.

use crate::protocol::outcome::Outcome;
use std::time::Duration;
use tokio::time::Instant;

/// The least time between two readings.
pub const LIVE_INTERVAL: Duration = Duration::from_secs(10);

/// The last reading.
#[derive(Debug, Default)]
pub struct LiveView(Option<Reading>);

#[derive(Debug)]
struct Reading {
    at: Instant,
    attempt: u32,
    outcome: Option<Outcome>,
}

impl LiveView {
    /// The reading of this attempt that is younger than [`LIVE_INTERVAL`]; None if it is time for another. The first
    /// is read after this time too, as a test that has just begun has no numbers.
    pub fn fresh(&mut self, attempt: u32) -> Option<Option<Outcome>> {
        if self.0.as_ref().is_none_or(|reading| reading.attempt != attempt) {
            self.read(attempt, None);
        }
        let reading = self.0.as_ref()?;
        (reading.at.elapsed() < LIVE_INTERVAL).then(|| reading.outcome.clone())
    }

    /// Remembers what was read, or that it could not be.
    pub fn read(&mut self, attempt: u32, outcome: Option<Outcome>) {
        self.0 = Some(Reading {
            at: Instant::now(),
            attempt,
            outcome,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{LIVE_INTERVAL, LiveView};
    use crate::protocol::outcome::Outcome;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn reading_of_one_run_is_not_that_of_the_next_and_grows_old() {
        let mut live = LiveView::default();
        live.read(1, Some(Outcome::default()));
        assert_eq!(live.fresh(1), Some(Some(Outcome::default())));
        advance(LIVE_INTERVAL).await;
        assert_eq!(live.fresh(1), None);
        assert_eq!(live.fresh(2), Some(None));
        advance(LIVE_INTERVAL).await;
        assert_eq!(live.fresh(2), None);
    }
}
