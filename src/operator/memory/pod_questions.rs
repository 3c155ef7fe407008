//! Why a Job has no pod. Only the Events of the Job say so, and they are read seldom.

use crate::machine::{Part, PodRefusal, Rule};
use std::time::Duration;
use tokio::time::Instant;

/// How long a Job may be without a pod before its Events are read: the Job controller creates a pod within
/// milliseconds.
const GRACE: Duration = Duration::from_secs(2);

/// Pauses between two readings of its Events: for the first few, and for those after.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(15));

/// The number of readings with the shorter pause.
const FIRST: u32 = 6;

/// The Job without a pod, and what is known of it.
#[derive(Debug, Default)]
pub struct PodQuestions {
    podless: Option<Podless>,
    /// The refusal that was published last.
    published: Option<(Part, Rule)>,
}

#[derive(Debug)]
struct Podless {
    /// metadata.uid of the Job.
    job: String,
    /// When its Events are to be read.
    due: Instant,
    asked: u32,
    found: Option<PodRefusal>,
}

/// What is known of a Job that has no pod.
#[derive(Debug, PartialEq, Eq)]
pub enum Why {
    /// Its Events are to be read now; this is what they said before.
    Ask(Option<PodRefusal>),
    /// They were read a short time ago, or it is too early, and this is known.
    Known(Option<PodRefusal>),
}

impl PodQuestions {
    /// Remembers a Job without a pod. Returns whether its Events are to be read, or what they said.
    pub fn podless(&mut self, job_uid: &str) -> Why {
        let now = Instant::now();
        let known = self.podless.take().filter(|podless| podless.job == job_uid);
        let podless = self.podless.insert(known.unwrap_or_else(|| Podless {
            job: job_uid.to_owned(),
            due: now + GRACE,
            asked: 0,
            found: None,
        }));
        if now < podless.due {
            return Why::Known(podless.found.clone());
        }
        let (first, later) = INTERVAL;
        podless.asked = podless.asked.saturating_add(1);
        podless.due = now + if podless.asked < FIRST { first } else { later };
        Why::Ask(podless.found.clone())
    }

    /// Remembers what the Events of the Job without a pod said.
    pub fn answered(&mut self, found: Option<PodRefusal>) {
        if let Some(podless) = &mut self.podless {
            podless.found = found;
        }
    }

    /// Remembers that every Job that is waited for has its pod.
    pub fn has_pods(&mut self) {
        *self = Self::default();
    }

    /// How long until the Events of a Job without a pod are to be read.
    pub fn pause(&self) -> Option<Duration> {
        let podless = self.podless.as_ref()?;
        Some(podless.due.saturating_duration_since(Instant::now()))
    }

    /// Remembers that this refusal is published in an Event. Returns whether it was before.
    pub fn is_published(&mut self, refusal: &PodRefusal) -> bool {
        let published = Some((refusal.part, refusal.rule));
        std::mem::replace(&mut self.published, published) == published
    }
}

#[cfg(test)]
mod tests {
    use super::{GRACE, INTERVAL, PodQuestions, Why};
    use crate::machine::{Part, PodRefusal};
    use jiff::SignedDuration;
    use std::time::Duration;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn job_without_a_pod_is_asked_why_after_a_while_and_then_now_and_then() {
        let mut questions = PodQuestions::default();
        assert_eq!(questions.pause(), None);
        assert_eq!(questions.podless("job"), Why::Known(None));
        assert_eq!(questions.pause(), Some(GRACE));
        advance(GRACE).await;
        assert_eq!(questions.podless("job"), Why::Ask(None));
        let refusal = PodRefusal::from_event(Part::Starter, "no", SignedDuration::ZERO);
        questions.answered(Some(refusal.clone()));
        assert_eq!(questions.podless("job"), Why::Known(Some(refusal.clone())));
        let published = [questions.is_published(&refusal), questions.is_published(&refusal)];
        assert_eq!(published, [false, true]);
        let mut asked = 0;
        for _ in 0..3600 {
            advance(Duration::from_secs(1)).await;
            asked += u32::from(questions.podless("job") == Why::Ask(Some(refusal.clone())));
        }
        assert!(asked <= 3600 / 15 + 6, "{asked} requests in an hour");
        // Nothing is known of another Job.
        assert_eq!(questions.podless("other"), Why::Known(None));
        questions.has_pods();
        assert_eq!(questions.pause(), None);
        assert!(INTERVAL.0 < INTERVAL.1);
    }
}
