//! Limits how often the live view is written into a status.

use std::time::Duration;
use tokio::time::Instant;

/// The least time between two writes of the live view.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long a change of the live view is held back: most often an event follows at once, and one write has both.
const SETTLING: Duration = Duration::from_secs(1);

/// When the status was last written, and since when it is outdated.
#[derive(Debug, Default)]
pub struct StatusThrottle {
    written: Option<Instant>,
    changed: Option<Instant>,
}

impl StatusThrottle {
    /// Remembers that the status was written.
    pub fn written(&mut self) {
        self.written = Some(Instant::now());
        self.changed = None;
    }

    /// The live view differs from the status. Returns the pause before it is written; zero if it is time.
    pub fn pause(&mut self) -> Duration {
        let changed = *self.changed.get_or_insert_with(Instant::now);
        let settling = SETTLING.saturating_sub(changed.elapsed());
        let interval = self
            .written
            .map_or(Duration::ZERO, |at| INTERVAL.saturating_sub(at.elapsed()));
        settling.max(interval)
    }
}

#[cfg(test)]
mod tests {
    use super::{INTERVAL, SETTLING, StatusThrottle};
    use std::time::Duration;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn live_view_is_written_when_it_has_settled_and_not_too_often() {
        let mut throttle = StatusThrottle::default();
        assert_eq!(throttle.pause(), SETTLING);
        advance(SETTLING).await;
        assert_eq!(throttle.pause(), Duration::ZERO);
        throttle.written();
        assert_eq!(throttle.pause(), INTERVAL);
        advance(INTERVAL).await;
        assert_eq!(throttle.pause(), Duration::ZERO);
    }
}
