//! The end of a test: which runner calls the script's handleSummary() with the merged data, and when the result is
//! published. Pure: time is a parameter, and all times are of one clock.
//!
//! One runner calls it, since the script is in the runners' containers. It is asked to and fetches the merged data.
//! From then on no other runner is asked, whatever becomes of the first, since a handleSummary() may do things that
//! must not be done twice. Every wait has a limit.

use super::handle_summary::Handled;
use super::moment::Moment;
use super::session::Session;
use super::store::Sender;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a runner may take to fetch the data after it is asked to. It sends a heartbeat each second.
pub const CLAIM_LIMIT: Duration = Duration::from_secs(10);

/// How long the runner that has the data may take. Its k6 ends and is started again, and then handleSummary() may
/// take as long as the script allows, by default 2 minutes.
/// <https://github.com/grafana/k6/blob/v2.2.0/internal/cmd/config.go>
pub const HANDLING_LIMIT: Duration = Duration::from_secs(270);

/// The number of ended runners that are kept while others go on, so that one is left at the end.
const KEPT: usize = 2;

/// How long an aggregator waits that has not heard of a runner. The pods of the runners may be starting.
const NEVER_HEARD: Duration = Duration::from_secs(60);

/// What a runner does next that has ended and whose data has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The runner waits.
    Wait,
    /// The runner fetches the merged data and calls handleSummary().
    Sum,
    /// The runner ends.
    End,
    /// The last runner ends, and reports crossed thresholds by its exit code.
    EndLast,
}

/// The stage of the end.
#[derive(Clone, Debug, Default, PartialEq)]
enum Stage {
    /// No runner has been asked.
    #[default]
    Open,
    /// This runner was asked at this time.
    Asked(Sender, Moment),
    /// This runner has had the data since this time.
    Claimed(Sender, Moment),
    /// Everything that will arrive has arrived.
    Done(Option<Sender>, Handled),
}

/// Which runner has the data. It is kept on disk, so that a restarted aggregator asks no other runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The number of the runner.
    pub runner: u32,
    /// The process of the runner.
    pub process: String,
    /// The result of handleSummary(), once it is known.
    #[serde(default)]
    pub handled: Option<Handled>,
}

/// The end of a test.
#[derive(Clone, Debug, Default)]
pub struct Closing {
    stage: Stage,
    passed_over: BTreeSet<Sender>,
    /// The times at which the result was published.
    told: Vec<Moment>,
    /// How often a result was withdrawn.
    withdrawn: u32,
}

/// How long after the first time the result is published again. A node keeps only the end of a log, so the operator may
/// have missed it.
const TOLD_AGAIN: [Duration; 3] = [
    Duration::from_secs(15),
    Duration::from_secs(45),
    Duration::from_secs(105),
];

impl Closing {
    /// Continues from a claim that was kept.
    pub fn restored(claim: Claim, now: Moment) -> Self {
        let Claim {
            runner,
            process,
            handled,
        } = claim;
        let sender = Sender { runner, process };
        let stage = match handled {
            Some(handled) => Stage::Done(Some(sender), handled),
            None => Stage::Claimed(sender, now),
        };
        Self {
            stage,
            ..Self::default()
        }
    }

    /// The claim to keep, once a runner has the data.
    pub fn claim_taken(&self) -> Option<Claim> {
        let claim = |sender: &Sender, handled| Claim {
            runner: sender.runner,
            process: sender.process.clone(),
            handled,
        };
        match &self.stage {
            Stage::Open | Stage::Asked(..) | Stage::Done(None, _) => None,
            Stage::Claimed(sender, _) => Some(claim(sender, None)),
            Stage::Done(Some(sender), handled) => Some(claim(sender, Some(handled.clone()))),
        }
    }

    /// What a runner does next that has ended and whose data has arrived.
    pub fn turn(&mut self, sender: &Sender, session: &Session, now: Moment) -> Turn {
        let settled = session.is_settled(now);
        let present = session.present(now);
        let kept: BTreeSet<&Sender> = present
            .iter()
            .filter(|present| !self.passed_over.contains(present))
            .take(KEPT)
            .collect();
        match &self.stage {
            Stage::Open | Stage::Asked(..) if !kept.contains(sender) => Turn::End,
            Stage::Open | Stage::Asked(..) if !settled => Turn::Wait,
            Stage::Open => {
                if kept.first() == Some(&sender) {
                    self.stage = Stage::Asked(sender.clone(), now);
                    Turn::Sum
                } else {
                    Turn::Wait
                }
            }
            Stage::Asked(asked, _) if asked == sender => Turn::Sum,
            Stage::Asked(..) => Turn::Wait,
            Stage::Claimed(claimed, _) if claimed == sender => Turn::Wait,
            Stage::Claimed(..) => Turn::End,
            Stage::Done(Some(chosen), _) if chosen == sender => {
                if !self.told.is_empty() {
                    Turn::EndLast
                } else {
                    Turn::Wait
                }
            }
            Stage::Done(..) => Turn::End,
        }
    }

    /// Gives the data to a runner. True if it may have it: the asked runner, or the one that has it already.
    pub fn claim(&mut self, sender: &Sender, now: Moment) -> bool {
        match &self.stage {
            Stage::Asked(asked, _) if asked == sender => {
                self.stage = Stage::Claimed(sender.clone(), now);
                true
            }
            Stage::Claimed(claimed, _) => claimed == sender,
            Stage::Open | Stage::Asked(..) | Stage::Done(..) => false,
        }
    }

    /// Takes the result of handleSummary(). True if the runner is the one that was asked.
    pub fn handled(&mut self, sender: &Sender, handled: Handled) -> bool {
        match &self.stage {
            // A runner without a handleSummary() does not fetch the data.
            Stage::Asked(chosen, _) | Stage::Claimed(chosen, _) if chosen == sender => {
                self.stage = Stage::Done(Some(sender.clone()), handled);
                true
            }
            // The runner repeats the result, since the answer was lost.
            Stage::Done(Some(done), _) => done == sender,
            Stage::Open | Stage::Asked(..) | Stage::Claimed(..) | Stage::Done(None, _) => false,
        }
    }

    /// Checks the limits of what is waited for. True once everything that will arrive has arrived.
    pub fn tick(&mut self, session: &Session, now: Moment) -> bool {
        let is_silent = |sender: &Sender| session.is_lost(sender, now);
        match &self.stage {
            Stage::Done(..) => return true,
            Stage::Claimed(sender, at) => {
                let late = now.since(*at) >= HANDLING_LIMIT;
                if late || is_silent(sender) {
                    let why = format!(
                        "runner {} called handleSummary(), and {}",
                        sender.runner,
                        if late {
                            "has not ended it in time"
                        } else {
                            "was lost before it had told what came of it"
                        }
                    );
                    self.stage = Stage::Done(Some(sender.clone()), Handled::failed(why));
                }
            }
            Stage::Asked(sender, at) => {
                if now.since(*at) >= CLAIM_LIMIT || is_silent(sender) {
                    self.passed_over.insert(sender.clone());
                    self.stage = Stage::Open;
                }
            }
            Stage::Open => {}
        }
        let heard = session.started().is_some() || now.since(session.began) >= NEVER_HEARD;
        if self.stage == Stage::Open && heard && session.is_settled(now) {
            let left = session.present(now);
            if left.iter().all(|sender| self.passed_over.contains(sender)) {
                let why = "no runner was left to call handleSummary()";
                let error = session.handles().then(|| why.to_owned());
                self.stage = Stage::Done(
                    None,
                    Handled {
                        error,
                        ..Handled::default()
                    },
                );
            }
        }
        matches!(self.stage, Stage::Done(..))
    }

    /// The result of handleSummary(), once everything has arrived.
    pub fn outcome(&self) -> Option<&Handled> {
        match &self.stage {
            Stage::Done(_, handled) => Some(handled),
            Stage::Open | Stage::Asked(..) | Stage::Claimed(..) => None,
        }
    }

    /// Whether the result is to be published now.
    pub fn is_due(&self, now: Moment) -> bool {
        match (self.told.first(), self.told.len().checked_sub(1)) {
            (Some(first), Some(again)) => {
                let after = TOLD_AGAIN.get(again);
                after.is_some_and(|after| now.since(*first) >= *after)
            }
            (None, _) | (_, None) => true,
        }
    }

    /// Records that the result was published. The last runner may end.
    pub fn tell(&mut self, now: Moment) {
        self.told.push(now);
    }

    /// How often a result was withdrawn, published or not.
    pub fn withdrawn(&self) -> u32 {
        self.withdrawn
    }

    /// Whether the result has been published.
    pub fn is_told(&self) -> bool {
        !self.told.is_empty()
    }

    /// Reopens the end, since a runner that counted as lost goes on. A handleSummary() that was called is not called
    /// again.
    pub fn reopen(&mut self) {
        self.told.clear();
        self.withdrawn = self.withdrawn.saturating_add(1);
        if matches!(self.stage, Stage::Asked(..) | Stage::Done(None, _)) {
            self.stage = Stage::Open;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::session::SILENT;
    use crate::protocol::heartbeat::{Heartbeat, Phase};

    fn sender(runner: u32) -> Sender {
        Sender {
            runner,
            process: format!("pod-{runner}"),
        }
    }

    fn word(phase: Phase) -> Heartbeat {
        Heartbeat {
            phase,
            started_ago: Some(Duration::from_secs(5)),
            ended_ago: (phase >= Phase::Ended).then_some(Duration::ZERO),
            own: None,
            kinds: std::collections::BTreeMap::new(),
            rates: None,
            let_go: false,
            torn_down: None,
            exit_code: None,
            aborted: false,
            handles: true,
        }
    }

    /// A session whose runners have all reported their end at `now`.
    fn ended(runners: u32, now: Moment) -> Session {
        let mut session = Session::new(runners, false, Vec::new());
        for runner in 1..=runners {
            session.hear(&sender(runner), word(Phase::Ended), now);
        }
        session
    }

    fn hear(session: &mut Session, runner: u32, now: Moment) {
        session.hear(&sender(runner), word(Phase::Ended), now);
    }

    const fn at(millis: u64) -> Moment {
        Moment::after_origin(Duration::from_millis(millis))
    }

    /// A time at which the last export is not awaited any longer.
    const IN: Moment = at(16_000);

    fn all_in(runners: u32) -> Session {
        let mut session = ended(runners, at(0));
        (1..=runners).for_each(|runner| hear(&mut session, runner, IN));
        session
    }

    #[test]
    fn lowest_runner_is_asked_and_the_others_end_once_it_has_the_data() {
        let (session, mut closing) = (all_in(4), Closing::default());
        let turns =
            |closing: &mut Closing, now| [1, 2, 3, 4].map(|i| closing.turn(&sender(i), &session, now));
        assert_eq!(
            turns(&mut closing, IN),
            [Turn::Sum, Turn::Wait, Turn::End, Turn::End]
        );
        assert!(!closing.claim(&sender(2), IN));
        assert!(closing.claim(&sender(1), IN));
        assert_eq!(
            turns(&mut closing, IN),
            [Turn::Wait, Turn::End, Turn::End, Turn::End]
        );
        assert!(!closing.tick(&session, IN));
        assert!(!closing.handled(&sender(2), Handled::default()));
        assert!(closing.handled(&sender(1), Handled::default()));
        assert!(closing.tick(&session, IN) && closing.is_due(IN));
        // The runner ends once the result is published, and not before.
        assert_eq!(turns(&mut closing, IN)[0], Turn::Wait);
        closing.tell(IN);
        assert_eq!(turns(&mut closing, IN)[0], Turn::EndLast);
    }

    #[test]
    fn runner_that_does_not_fetch_the_data_is_passed_over() {
        let (mut session, mut closing) = (all_in(2), Closing::default());
        assert_eq!(closing.turn(&sender(1), &session, IN), Turn::Sum);
        let late = IN + CLAIM_LIMIT;
        (1..=2).for_each(|runner| hear(&mut session, runner, late));
        assert!(!closing.tick(&session, late));
        assert_eq!(closing.turn(&sender(1), &session, late), Turn::End);
        assert_eq!(closing.turn(&sender(2), &session, late), Turn::Sum);
        assert!(!closing.claim(&sender(1), late) && closing.claim(&sender(2), late));
    }

    #[test]
    fn nobody_is_asked_again_once_the_data_was_taken() {
        let (mut session, mut closing) = (all_in(2), Closing::default());
        closing.turn(&sender(1), &session, IN);
        assert!(closing.claim(&sender(1), IN));
        // Its answer was lost.
        assert!(closing.claim(&sender(1), IN + Duration::from_millis(1)));
        let claim = closing.claim_taken().unwrap();
        let lost = IN + SILENT;
        hear(&mut session, 2, lost);
        let mut again = Closing::restored(claim, lost);
        for closing in [&mut closing, &mut again] {
            assert!(closing.tick(&session, lost));
            let error = closing.outcome().unwrap().error.clone().unwrap();
            assert!(
                error.contains("runner 1 called handleSummary(), and was lost"),
                "{error}"
            );
            assert_eq!(closing.turn(&sender(2), &session, lost), Turn::End);
        }
        // The result of handleSummary() is kept as well.
        let claim = closing.claim_taken().unwrap();
        assert!(Closing::restored(claim, lost).tick(&session, lost));
    }

    #[test]
    fn handle_summary_that_does_not_end_is_given_up() {
        let (mut session, mut closing) = (all_in(1), Closing::default());
        closing.turn(&sender(1), &session, IN);
        assert!(closing.claim(&sender(1), IN));
        for second in 0..HANDLING_LIMIT.as_secs() {
            let now = IN + Duration::from_secs(second);
            hear(&mut session, 1, now);
            assert!(!closing.tick(&session, now));
        }
        hear(&mut session, 1, IN + HANDLING_LIMIT);
        assert!(closing.tick(&session, IN + HANDLING_LIMIT));
    }

    #[test]
    fn two_of_those_that_have_ended_are_kept_while_another_goes_on() {
        let mut session = Session::new(4, false, Vec::new());
        let mut closing = Closing::default();
        session.hear(&sender(4), word(Phase::Running), at(0));
        for i in [1, 2, 3] {
            session.hear(&sender(i), word(Phase::Ended), at(0));
        }
        session.hear(&sender(4), word(Phase::Running), IN);
        for i in [1, 2, 3] {
            hear(&mut session, i, IN);
        }
        let turns = [1, 2, 3].map(|i| closing.turn(&sender(i), &session, IN));
        assert_eq!(turns, [Turn::Wait, Turn::Wait, Turn::End]);
        assert!(!closing.tick(&session, IN));
    }

    #[test]
    fn result_of_runners_that_are_all_lost_is_told_and_taken_back_if_one_comes_back() {
        let mut session = Session::new(2, false, Vec::new());
        let mut closing = Closing::default();
        (1..=2).for_each(|i| drop(session.hear(&sender(i), word(Phase::Running), at(1_000))));
        let silent = at(1_000) + SILENT;
        assert!(!closing.tick(&session, silent.saturating_sub(Duration::from_millis(1))));
        assert!(closing.tick(&session, silent));
        let error = closing.outcome().unwrap().error.as_deref();
        assert_eq!(error, Some("no runner was left to call handleSummary()"));
        closing.tell(silent);
        closing.reopen();
        let later = silent + Duration::from_millis(1);
        session.hear(&sender(1), word(Phase::Running), later);
        assert!(!closing.tick(&session, later) && !closing.is_told());
    }

    #[test]
    fn aggregator_of_which_no_runner_has_heard_waits_longer() {
        let (session, mut closing) = (Session::new(2, false, Vec::new()), Closing::default());
        let late = at(0) + NEVER_HEARD;
        assert!(!closing.tick(&session, late.saturating_sub(Duration::from_millis(1))));
        assert!(closing.tick(&session, late));
        // No runner has reported that there is a handleSummary().
        assert_eq!(closing.outcome().unwrap().error, None);
    }

    #[test]
    fn result_is_told_again_a_few_times() {
        let (session, mut closing) = (Session::new(1, false, Vec::new()), Closing::default());
        let mut told = Vec::new();
        for now in (0..600_000).step_by(500).map(at) {
            if closing.tick(&session, now) && closing.is_due(now) {
                closing.tell(now);
                told.push(now.since(at(0) + NEVER_HEARD).as_millis());
            }
        }
        assert_eq!(told, [0, 15_000, 45_000, 105_000]);
    }
}
