//! What an Event has told about a resource that is left alone, so that it is told again only when it may be gone.

use std::time::Duration;
use tokio::time::Instant;

/// How long an Event counts as there. The API server deletes it after an hour, unless it is set otherwise.
const TOLD_AGAIN: Duration = Duration::from_mins(30);

/// What was told last, and when.
#[derive(Debug, Default)]
pub struct Told(Option<(String, Instant)>);

impl Told {
    /// Whether this was told a short time ago.
    pub fn has(&self, note: &str) -> bool {
        self.0
            .as_ref()
            .is_some_and(|(told, at)| told == note && at.elapsed() < TOLD_AGAIN)
    }

    /// Remembers that this was told.
    pub fn tell(&mut self, note: String) {
        self.0 = Some((note, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::{TOLD_AGAIN, Told};
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_note_is_told_again_after_its_time_and_another_note_at_once() {
        let mut told = Told::default();
        assert!(!told.has("unknown state"));
        told.tell("unknown state".to_owned());
        assert!(told.has("unknown state"));
        assert!(!told.has("unknown event"));
        advance(TOLD_AGAIN).await;
        assert!(!told.has("unknown state"));
    }
}
