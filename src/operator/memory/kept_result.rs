//! The result of a run whose documents were kept a short time ago, which saves reading it again.

use super::expectations::CACHE_LAG;
use crate::protocol::outcome::Outcome;
use tokio::time::Instant;

/// The result that was kept last.
#[derive(Debug, Default)]
pub struct KeptResult(Option<Kept>);

#[derive(Debug)]
struct Kept {
    at: Instant,
    attempt: u32,
    outcome: Outcome,
}

impl KeptResult {
    /// Remembers this result: its documents are kept.
    pub fn keep(&mut self, attempt: u32, outcome: Outcome) {
        self.0 = Some(Kept {
            at: Instant::now(),
            attempt,
            outcome,
        });
    }

    /// The result whose documents were kept a short time ago.
    pub fn fresh(&self, attempt: u32) -> Option<Outcome> {
        let kept = self.0.as_ref().filter(|kept| kept.attempt == attempt)?;
        (kept.at.elapsed() < CACHE_LAG).then(|| kept.outcome.clone())
    }
}
