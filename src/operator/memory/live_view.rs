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
    /// The reading of this attempt that is younger than [`LIVE_INTERVAL`]; None if it is time for another.
    pub fn fresh(&self, attempt: u32) -> Option<Option<Outcome>> {
        let reading = self.0.as_ref().filter(|reading| reading.attempt == attempt)?;
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
        assert_eq!(live.fresh(2), None);
        advance(LIVE_INTERVAL).await;
        assert_eq!(live.fresh(1), None);
    }
}
