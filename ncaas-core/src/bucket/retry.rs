//! Retries while a bucket's server is unreachable, overloaded or failing: one policy for every request of a process.
//!
//! The SDK repeats a failed request with a growing pause; this module decides for how long. An outage is one event
//! however many requests it hits. So it has one clock and one line on stderr: after the patience has run out, every
//! further request fails at its first attempt, until one succeeds. A server that has never answered is given up early,
//! because its address may be wrong.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use aws_sdk_s3::config::interceptors::InterceptorContext;
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction, RetryConfig, RetryPartition, TokenBucket};
use aws_smithy_runtime_api::client::retries::classifiers::RetryClassifierPriority;
use clap::Args;

use crate::blocking::lock;
use crate::duration::{format_duration, parse_duration_or_zero};
use crate::failure::{Failure, Kind, Result};
use crate::tool::Tool;

/// How often an operation is attempted if no patience is set.
const MIN_TRIES: u32 = 3;
/// How long to retry while no server has answered yet and the user has set no patience.
const FIRST_CONTACT: Duration = Duration::from_secs(3);
/// An outage is reported when it lasts longer than this.
const QUIET: Duration = Duration::from_secs(2);
/// A failure that comes this long after the last one begins a new outage.
const CALM: Duration = Duration::from_secs(60);
/// The pauses between attempts: the first one, and the longest one. The SDK shortens each at random, by half on
/// average.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// The option `--patience`.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct PatienceArgs {
    /// Retry for this long while the bucket's server does not answer or fails: `30s`, `10m`, `0` [default: 5m]
    #[arg(long, value_name = "TIME", global = true, value_parser = parse_duration_or_zero)]
    patience: Option<Duration>,
}

impl PatienceArgs {
    /// Five minutes: a server that restarts is back by then.
    const DEFAULT: Duration = Duration::from_secs(300);

    /// Sets the policy of this process, before its first bucket is opened.
    pub fn apply(self, tool: Tool) {
        let patience = self.patience.unwrap_or(PatienceArgs::DEFAULT);
        state().policy = Some(Policy { tool, patience, is_explicit: self.patience.is_some() });
    }
}

#[derive(Debug, Clone, Copy)]
struct Policy {
    tool: Tool,
    patience: Duration,
    /// Whether the user set it.
    is_explicit: bool,
}

/// The state of the server, as this process knows it.
#[derive(Debug)]
struct RetryState {
    policy: Option<Policy>,
    has_answered: bool,
    outage: Option<Outage>,
}

#[derive(Debug, Clone, Copy)]
struct Outage {
    since: Instant,
    last_failure: Instant,
    failures: u64,
    is_reported: bool,
}

static STATE: Mutex<RetryState> = Mutex::new(RetryState { policy: None, has_answered: false, outage: None });

fn state() -> MutexGuard<'static, RetryState> {
    lock(&STATE)
}

impl RetryState {
    /// Records a failure that may be transient. Whether another attempt is worthwhile, and a line for the user.
    fn record_failure(&mut self, now: Instant, cause: &str) -> (bool, Option<String>) {
        let fresh = Outage { since: now, last_failure: now, failures: 0, is_reported: false };
        let mut outage = self.outage.filter(|outage| now - outage.last_failure < CALM).unwrap_or(fresh);
        outage.last_failure = now;
        outage.failures += 1;
        let lasts = now - outage.since;
        let Some(policy) = self.policy else {
            self.outage = Some(outage);
            return (true, None);
        };
        let is_early = !self.has_answered && !policy.is_explicit;
        let limit = if is_early { FIRST_CONTACT.min(policy.patience) } else { policy.patience };
        let is_worthwhile = lasts < limit;
        let is_report = is_worthwhile && !is_early && !outage.is_reported && lasts >= QUIET;
        outage.is_reported |= is_report;
        self.outage = Some(outage);
        let report = is_report.then(|| {
            format!(
                "{cause}; requests are retried for up to {} (`--patience`)",
                format_duration(policy.patience.as_secs_f64())
            )
        });
        (is_worthwhile, report)
    }

    /// Records an answer. A line for the user if it ends a reported outage.
    fn record_answer(&mut self, now: Instant) -> Option<String> {
        self.has_answered = true;
        let outage = self.outage.take().filter(|outage| outage.is_reported)?;
        let (lasted, failures) = (format_duration((now - outage.since).as_secs_f64()), outage.failures);
        Some(format!("the bucket's server answers again after {lasted}; {failures} failed requests were retried"))
    }

    /// The number of attempts that fill the patience, by the average pause.
    fn max_tries(&self) -> u32 {
        let patience = self.policy.map_or(Duration::ZERO, |policy| policy.patience);
        MIN_TRIES + u32::try_from(patience.as_secs() / (LONGEST_PAUSE.as_secs() / 2)).unwrap_or(u32::MAX / 2)
    }

    fn note(&self, line: Option<String>) {
        if let (Some(policy), Some(line)) = (self.policy, line) {
            policy.tool.note(&line);
        }
    }
}

/// How often the SDK may attempt a request, and with which pauses.
pub(super) fn retry_config() -> RetryConfig {
    let tries = state().max_tries();
    RetryConfig::standard().with_max_attempts(tries).with_initial_backoff(FIRST_PAUSE).with_max_backoff(LONGEST_PAUSE)
}

/// Retries without the SDK's own quota, which many concurrent requests use up within seconds.
pub(super) fn retry_partition() -> RetryPartition {
    RetryPartition::custom("ncaas").token_bucket(TokenBucket::unlimited()).build()
}

/// Ends the SDK's retries when the patience has run out.
#[derive(Debug)]
pub(super) struct PatienceClassifier;

impl ClassifyRetry for PatienceClassifier {
    fn classify_retry(&self, _: &InterceptorContext) -> RetryAction {
        RetryAction::NoActionIndicated
    }

    fn classify_retry_v2(&self, context: &InterceptorContext, previous: &RetryAction) -> RetryAction {
        let mut state = state();
        if !previous.should_retry() {
            if context.response().is_some() {
                let line = state.record_answer(Instant::now());
                state.note(line);
            }
            return previous.clone();
        }
        let cause = match context.response().map(|response| response.status().as_u16()) {
            Some(status) => format!("the bucket's server answers with status {status}"),
            None => "the bucket's server does not answer".to_owned(),
        };
        let (is_worthwhile, line) = state.record_failure(Instant::now(), &cause);
        state.note(line);
        if is_worthwhile { previous.clone() } else { RetryAction::RetryForbidden }
    }

    fn name(&self) -> &'static str {
        "patience"
    }

    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}

/// Retries of an operation that the SDK cannot repeat itself.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    failed: u32,
}

impl Retries {
    const PAUSE: Duration = Duration::from_millis(200);

    /// Waits before the next attempt. Returns the failure if no further attempt is worthwhile.
    pub(crate) async fn wait_after(&mut self, failure: Failure) -> Result<()> {
        self.failed += 1;
        if failure.kind != Kind::BucketUnreachable || !self.is_worthwhile() {
            return Err(failure);
        }
        let pause = Self::PAUSE.saturating_mul(1 << self.failed.min(5));
        tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
        Ok(())
    }

    /// Whether another attempt is worthwhile. The first ones always are; then the policy decides.
    fn is_worthwhile(&self) -> bool {
        let mut state = state();
        if self.failed < MIN_TRIES {
            return true;
        }
        let (is_worthwhile, line) = state
            .record_failure(Instant::now(), "the bucket's server closes connections before its answers are complete");
        state.note(line);
        state.policy.is_some() && is_worthwhile && self.failed < state.max_tries()
    }

    /// Restarts the count: the operation has made progress.
    pub(crate) fn reset(&mut self) {
        self.failed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_policy(patience: u64, is_explicit: bool) -> RetryState {
        let tool = Tool::named("ncaas-test");
        let policy = Policy { tool, patience: Duration::from_secs(patience), is_explicit };
        RetryState { policy: Some(policy), has_answered: false, outage: None }
    }

    #[test]
    fn an_outage_is_reported_once_and_given_up_when_the_patience_has_run_out() {
        let mut state = with_policy(60, false);
        let begun = Instant::now();
        assert_eq!(state.record_answer(begun), None);
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(state.record_failure(at(0), "down"), (true, None));
        let (is_worthwhile, line) = state.record_failure(at(3), "down");
        assert!(is_worthwhile);
        assert_eq!(line.as_deref(), Some("down; requests are retried for up to 1m 0s (`--patience`)"));
        assert_eq!(state.record_failure(at(59), "down"), (true, None));
        assert_eq!(state.record_failure(at(60), "down"), (false, None));
        let line = state.record_answer(at(70));
        assert!(line.is_some_and(|line| line.contains("; 4 failed requests were retried")));
        assert_eq!(state.record_failure(at(71), "down"), (true, None));
    }

    #[test]
    fn a_server_that_never_answered_is_given_up_early_unless_the_user_sets_the_patience() {
        let begun = Instant::now();
        for (is_explicit, expected) in [(false, false), (true, true)] {
            let mut state = with_policy(60, is_explicit);
            state.record_failure(begun, "down");
            assert_eq!(state.record_failure(begun + Duration::from_secs(4), "down").0, expected);
        }
    }

    #[test]
    fn a_failure_long_after_the_last_one_begins_a_new_outage() {
        let mut state = with_policy(60, false);
        let begun = Instant::now();
        state.record_answer(begun);
        state.record_failure(begun, "down");
        assert!(state.record_failure(begun + Duration::from_secs(3600), "down").0);
    }
}
