//! Limits how often the live view is written into a status.

use std::time::Duration;
use tokio::time::Instant;

/// The least time from any other write until the live view is written.
const FIRST: Duration = Duration::from_secs(5);

/// The least time between two writes of nothing but the live view.
const INTERVAL: Duration = Duration::from_secs(10);

/// How long a change of the live view is held back: most often an event follows at once, and one write has both.
const SETTLING: Duration = Duration::from_secs(1);

/// When the status was last written, and since when it is outdated.
#[derive(Debug, Default)]
pub struct StatusThrottle {
    /// The moment from which on the live view may be written.
    next: Option<Instant>,
    changed: Option<Instant>,
    /// Whether the write that comes now is of nothing but the live view.
    only_live: bool,
}

impl StatusThrottle {
    /// Remembers that the status was written.
    pub fn written(&mut self) {
        let pause = if self.only_live { INTERVAL } else { FIRST };
        self.next = Some(Instant::now() + pause);
        self.changed = None;
        self.only_live = false;
    }

    /// The live view differs from the status. Returns the pause before it is written; zero if it is time.
    pub fn pause(&mut self) -> Duration {
        let now = Instant::now();
        let settled = *self.changed.get_or_insert(now) + SETTLING;
        let pause = self.next.map_or(settled, |next| next.max(settled)) - now;
        self.only_live = pause.is_zero();
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRST, INTERVAL, SETTLING, StatusThrottle};
    use std::time::Duration;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn live_view_is_written_when_it_has_settled_and_not_too_often() {
        let mut throttle = StatusThrottle::default();
        assert_eq!(throttle.pause(), SETTLING);
        // An event.
        throttle.written();
        assert_eq!(throttle.pause(), FIRST);
        advance(FIRST).await;
        for _ in 0..2 {
            assert_eq!(throttle.pause(), Duration::ZERO);
            throttle.written();
            assert_eq!(throttle.pause(), INTERVAL);
            advance(INTERVAL).await;
        }
        // An event again.
        throttle.written();
        assert_eq!(throttle.pause(), FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn live_view_that_changes_late_settles_first() {
        let mut throttle = StatusThrottle::default();
        throttle.written();
        advance(FIRST * 2).await;
        assert_eq!(throttle.pause(), SETTLING);
    }
}
