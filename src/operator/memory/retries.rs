//! What could not be read, written or created, and how often in a row.

use crate::machine::Refusal;

/// Counts of failures that are retried.
#[derive(Debug, Default)]
pub struct Retries {
    /// Whether something could not be read at this look.
    unread: bool,
    /// In how many looks in a row something could not be read.
    unreads: u32,
    /// What the API server last refused.
    refused: Option<Refusal>,
    refusals: u32,
    /// Why the last reconcile failed, and how many in a row have.
    failure: Option<String>,
    failures: u32,
    /// Why the status is refused, and how often in a row.
    unwritten: Option<(String, u32)>,
}

impl Retries {
    /// Remembers that something could not be read at this look.
    pub fn unread(&mut self) {
        self.unread = true;
    }

    /// Ends a look. Returns in how many looks in a row something could not be read; None if all was read at this one.
    pub fn end_look(&mut self) -> Option<u32> {
        let unread = std::mem::take(&mut self.unread);
        self.unreads = if unread { self.unreads.saturating_add(1) } else { 0 };
        unread.then_some(self.unreads)
    }

    /// What the API server last refused, or the error if it has failed more than once in a row.
    pub fn refused(&self) -> Option<Refusal> {
        let failure = self.failure.clone().filter(|_| self.failures > 1);
        self.refused.clone().or(failure.map(Refusal::Failed))
    }

    /// Remembers what the API server refused, if anything, and returns how often in a row it has. After a failure it
    /// may not have been asked: its last refusal stays then.
    pub fn set_refused(&mut self, refused: Option<Refusal>, failed: bool) -> u32 {
        match refused {
            Some(_) => self.refusals = self.refusals.saturating_add(1),
            None if failed => return self.refusals,
            None => self.refusals = 0,
        }
        self.refused = refused;
        self.refusals
    }

    /// Counts a failure. Returns how often in a row the reconcile has failed.
    pub fn failed(&mut self, why: String) -> u32 {
        self.failures = self.failures.saturating_add(1);
        self.failure = Some(why);
        self.failures
    }

    /// Ends a row of failures.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.failure = None;
    }

    /// Counts that the status is refused for this reason. Returns whether that was published already, and how often in
    /// a row the status was refused.
    pub fn unwritten(&mut self, why: &str) -> (bool, u32) {
        let (before, times) = self.unwritten.take().unwrap_or_default();
        let times = times.saturating_add(1);
        self.unwritten = Some((why.to_owned(), times));
        (before == why, times)
    }

    /// Remembers that the status was written.
    pub fn written(&mut self) {
        self.unwritten = None;
    }
}

#[cfg(test)]
mod tests {
    use super::Retries;
    use crate::machine::Refusal;

    #[test]
    fn refused_status_is_published_once_for_each_reason_until_one_is_written() {
        let mut retries = Retries::default();
        assert_eq!(retries.unwritten("too large"), (false, 1));
        assert_eq!(retries.unwritten("too large"), (true, 2));
        assert_eq!(retries.unwritten("denied"), (false, 3));
        retries.written();
        assert_eq!(retries.unwritten("denied"), (false, 1));
    }

    #[test]
    fn second_failure_in_a_row_is_a_refusal_until_one_succeeds() {
        let mut retries = Retries::default();
        assert_eq!(retries.failed("no".to_owned()), 1);
        assert_eq!(retries.refused(), None);
        assert_eq!(retries.failed("no".to_owned()), 2);
        assert_eq!(retries.refused(), Some(Refusal::Failed("no".to_owned())));
        retries.set_refused(Some(Refusal::ForNow("quota".to_owned())), true);
        assert_eq!(retries.refused(), Some(Refusal::ForNow("quota".to_owned())));
        // A failure says nothing about the quota.
        assert_eq!(retries.set_refused(None, true), 1);
        assert_eq!(retries.refused(), Some(Refusal::ForNow("quota".to_owned())));
        assert_eq!(retries.set_refused(None, false), 0);
        retries.succeeded();
        assert_eq!(retries.refused(), None);
    }
}
