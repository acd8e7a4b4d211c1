//! A limit on everything, in one place. Bytes are bytes of UTF-8; every limit is inclusive.

use std::time::Duration;

use crate::error::Error;
use crate::job::Args;

/// Arguments of one job, as stored: 1 MiB.
pub const ARGS_BYTES_MAX: usize = 1 << 20;
/// How deep the arguments may nest. The parser's own bound, so that no reader can be driven off its stack.
pub const ARGS_DEPTH_MAX: usize = 127;
/// Result of one job: 1 MiB.
pub const RESULT_BYTES_MAX: usize = 1 << 20;
/// Log of one attempt: 1 MiB; what comes after is counted and dropped, with a marker at the cut.
pub const LOG_BYTES_MAX: usize = 1 << 20;
/// Error text of one attempt: 16 KiB; longer ones are cut with a marker.
pub const ERROR_BYTES_MAX: usize = 16 << 10;
/// Kind, queue, namespace: 128 bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Owner, actor, reason, message of a progress report: 1,024 bytes.
pub const TEXT_BYTES_MAX: usize = 1_024;
/// A comment on a job: 4 KiB.
pub const COMMENT_BYTES_MAX: usize = 4 << 10;
/// Comments on one job: 1,000.
pub const COMMENTS_MAX: usize = 1_000;
/// Steps of one job: 1,000.
pub const STEPS_MAX: usize = 1_000;
/// What one step gave, as JSON: 1 MiB.
pub const STEP_BYTES_MAX: usize = 1 << 20;
/// One attachment of a job: 16 MiB.
pub const ATTACHMENT_BYTES_MAX: usize = 16 << 20;
/// Attachments of one job: 16.
pub const ATTACHMENTS_MAX: usize = 16;
/// All attachments of one job: 64 MiB.
pub const ATTACHMENTS_BYTES_MAX: u64 = 64 << 20;
/// All attachments of held jobs of one owner: 1 GiB.
pub const ATTACHMENTS_HELD_BYTES_MAX: u64 = 1 << 30;
/// How attachments are stored and read, a piece at a time: 256 KiB.
pub const ATTACHMENT_PIECE_BYTES: usize = 256 << 10;
/// A password has at least so many bytes: 10,
pub const PASSWORD_BYTES_MIN: usize = 10;
/// and at most so many: 1,024.
pub const PASSWORD_BYTES_MAX: usize = 1_024;
/// Services of one process: 100.
pub const SERVICES_MAX: usize = 100;
/// A process that has services tells of them at least this often: every 30 s.
pub const SERVICE_TOLD_EVERY: Duration = Duration::from_secs(30);
/// One that was not heard of for longer than this is taken for gone: 100 s.
pub const SERVICE_SILENT_AFTER: Duration = Duration::from_secs(100);
/// What was not heard of for so long is forgotten: a day.
pub const SERVICE_KEPT: Duration = Duration::from_secs(86_400);
/// What a listing of services shows, the last heard of first: 1,000.
pub const SERVICES_LISTED_MAX: usize = 1_000;
/// The last error of a service, as it is stored: 1,024 bytes.
pub const SERVICE_ERROR_BYTES_MAX: usize = 1_024;
/// How long a request that stored jobs is known by its key: 24 h.
pub const REQUEST_KEPT: Duration = Duration::from_secs(24 * 3_600);
/// Jobs that one call marks as consumed: 1,000.
pub const CONSUME_JOBS_MAX: usize = 1_000;
/// Unique key: 512 bytes.
pub const KEY_BYTES_MAX: usize = 512;
/// Jobs of one enqueue call that are committed together: 10,000. Iterators are cut into batches of this size or less.
pub const ENQUEUE_JOBS_MAX: usize = 10_000;
/// Jobs of one claim: 1,000.
pub const CLAIM_JOBS_MAX: usize = 1_000;
/// Rows of one page of a listing: 1,000.
pub const PAGE_ROWS_MAX: usize = 1_000;
/// Jobs whose arguments one page of a search looks into: 2,000.
pub const SEARCH_JOBS_MAX: usize = 2_000;
/// Bytes of arguments that one page of a search looks into, before those of the last job: 8 MiB.
pub const SEARCH_BYTES_MAX: usize = 8 << 20;
/// Conditions of one search in arguments: 8.
pub const SEARCH_CONDITIONS_MAX: usize = 8;
/// Steps of a path into arguments: 16.
pub const SEARCH_STEPS_MAX: usize = 16;
/// Namespaces that one listing may name: 100.
pub const NAMESPACES_MAX: usize = 100;
/// Executions that statistics are made of, at most: 100,000.
pub const SAMPLE_MAX: usize = 100_000;
/// Executions of one job unless it says `none`: 1,000,000.
pub const ATTEMPTS_MAX: u32 = 1_000_000;
/// The shortest snooze: one millisecond, so that no handler can spin by asking for nothing.
pub const SNOOZE_MIN: Duration = Duration::from_millis(1);
/// How often a job is snoozed unless its task says otherwise: 1,000 times. Each leaves a line in its timeline.
pub const SNOOZES_MAX: u32 = 1_000;
/// Jobs that one attempt may have made when it completes: 1,000.
pub const FOLLOW_UPS_MAX: usize = 1_000;
/// Bytes of the arguments of these, all together: 4 MiB.
pub const FOLLOW_UPS_BYTES_MAX: usize = 4 << 20;
/// Lost workers in a row after which a job is quarantined.
pub const LOST_IN_A_ROW_MAX: u32 = 3;
/// How long a held job may wait for its release before it is dropped: 1 h.
pub const HOLD_MAX: Duration = Duration::from_secs(3_600);
/// Triggers of one schedule: 16.
pub const TRIGGERS_MAX: usize = 16;
/// The shortest period of an `every` trigger: 100 ms. What has to happen more often is a service, not a schedule.
pub const EVERY_MIN: Duration = Duration::from_millis(100);
/// The longest period, delay and jitter of a schedule: 10 years of 366 days.
pub const SCHEDULE_SPAN_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);
/// How many missed occurrences the misfire policy `all` makes up for at most: 10,000.
pub const CATCH_UP_MAX: u32 = 10_000;
/// Bytes of one trigger's text, such as a cron expression: 1,024.
pub const TRIGGER_BYTES_MAX: usize = 1_024;
/// Conditions of one event filter: 32.
pub const CONDITIONS_MAX: usize = 32;
/// Schedules written by one call: 1,000.
pub const SCHEDULE_WRITES_MAX: usize = 1_000;
/// Events emitted by one call: 1,000.
pub const EMIT_EVENTS_MAX: usize = 1_000;
/// Bytes of an event's key: 1,024.
pub const EVENT_KEY_BYTES_MAX: usize = 1_024;
/// Files of an event source that are looked up, or written, by one call: 1,000. Each makes one event at most.
pub const SIGHTINGS_MAX: usize = EMIT_EVENTS_MAX;
/// The longest debounce of an event source, and the longest time between two scans: 1 day.
pub const SOURCE_SPAN_MAX: Duration = Duration::from_secs(86_400);
/// The shortest time between two scans of an event source: 1 s.
pub const RESCAN_MIN: Duration = Duration::from_secs(1);

/// Items of one generator that may be outstanding at a time: 10,000.
pub const GENERATOR_WINDOW_MAX: u32 = 10_000;
/// Items that one poll of a generator gives, and items that are settled at once: 1,000 each.
pub const GENERATOR_BATCH_MAX: usize = 1_000;
/// The state of a generator, as JSON: 256 KiB. It is rewritten with every commit.
pub const GENERATOR_STATE_BYTES_MAX: usize = 256 << 10;
/// Bytes of the parameters of a bulk, as JSON: 64 KiB. They are rewritten with every commit of its generator.
pub const BULK_PARAMS_BYTES_MAX: usize = 64 << 10;
/// Bytes of an item's key: 512.
pub const ITEM_KEY_BYTES_MAX: usize = 512;
/// How long who takes a generator has it for itself: 5 s, and so long again each time that it renews the lease. So it is taken by
/// another node soon after its own was killed. What it has not committed by the end, it cannot commit once somebody else has it.
pub const GENERATOR_LEASE: Duration = Duration::from_secs(5);
/// How often the lease of a generator is renewed while it is asked: every 1.5 s.
pub const GENERATOR_RENEW_EVERY: Duration = Duration::from_millis(1_500);
/// How long a generator is held at most, however often its lease is renewed: 30 s.
pub const GENERATOR_HOLD_MAX: Duration = Duration::from_secs(30);
/// How long one poll of a generator may take: 25 s, so that its commit comes before it is held no more.
pub const POLL_MAX: Duration = Duration::from_secs(25);
/// A generator that has been due for so long comes before those that make better items: 5 s.
pub const GENERATOR_OVERDUE: Duration = Duration::from_secs(5);
/// When a generator whose commit did not fit is asked anew: 100 ms later.
pub const GENERATOR_ANEW_AFTER: Duration = Duration::from_millis(100);
/// The longest idle back-off of a generator: 1 day.
pub const IDLE_MAX: Duration = Duration::from_secs(86_400);
/// Errors in a row after which a generator is paused, at most: 1,000.
pub const GENERATOR_ERRORS_MAX: u32 = 1_000;

/// Checks the key of an event: 1 to [`EVENT_KEY_BYTES_MAX`] bytes without control characters.
///
/// # Errors
///
/// When it is not so.
pub fn check_event_key(key: &str) -> Result<(), Error> {
    let why = if key.is_empty() {
        "it is empty".to_owned()
    } else if key.len() > EVENT_KEY_BYTES_MAX {
        format!("it has {} bytes, {EVENT_KEY_BYTES_MAX} are allowed", key.len())
    } else if let Some(at) = key.find(char::is_control) {
        format!("it has a control character at byte {at}")
    } else {
        return Ok(());
    };
    Err(Error::invalid("the key of the event", why, "use a short text such as `customer 7`, or leave it out"))
}

/// Checks a comment on a job: 1 to [`COMMENT_BYTES_MAX`] bytes without control characters other than the ends of lines and tabs.
///
/// # Errors
///
/// When it is not so.
pub fn check_comment(text: &str) -> Result<(), Error> {
    let is_bad = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    let why = if text.trim().is_empty() {
        "it is empty".to_owned()
    } else if text.len() > COMMENT_BYTES_MAX {
        format!("it has {} bytes, {COMMENT_BYTES_MAX} are allowed", text.len())
    } else if let Some(at) = text.find(is_bad) {
        format!("it has a control character at byte {at}")
    } else {
        return Ok(());
    };
    Err(Error::invalid(
        "the comment",
        why,
        "write a few lines of plain text; what is longer belongs into a file or a log",
    ))
}

/// Checks the length of a password; what is in it is nobody's business.
///
/// # Errors
///
/// When it is shorter than [`PASSWORD_BYTES_MIN`] or longer than [`PASSWORD_BYTES_MAX`].
pub fn check_password(password: &str) -> Result<(), Error> {
    let why = match password.len() {
        bytes if bytes < PASSWORD_BYTES_MIN => format!("it is shorter than {PASSWORD_BYTES_MIN} bytes"),
        bytes if bytes > PASSWORD_BYTES_MAX => format!("it is longer than {PASSWORD_BYTES_MAX} bytes"),
        _ => return Ok(()),
    };
    Err(Error::invalid("the password", why, "choose a few words that only you would put together"))
}

/// Checks what an event carries: filters look at its numbers, so that each has to fit into 64 bits of floating point.
///
/// # Errors
///
/// When one does not, as `1e400`.
pub fn check_event_payload(payload: &Args) -> Result<(), Error> {
    serde_json::from_str::<serde_json::Value>(payload.as_str()).map(drop).map_err(|error| {
        Error::invalid(
            "the payload of an event",
            format!("filters cannot read it: {error}"),
            "write numbers that do not fit into 64 bits of floating point as text",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_lines_of_text() {
        for good in ["x", "two\nlines\tand a tab", "ä"] {
            check_comment(good).unwrap();
        }
        for bad in ["", " \n", "\u{1b}[31mred", "a\0b", "a\rb", &"x".repeat(COMMENT_BYTES_MAX + 1)] {
            assert!(check_comment(bad).unwrap_err().is_invalid(), "{bad:?}");
        }
    }

    #[test]
    fn a_password_has_a_length_and_is_not_repeated_in_an_error() {
        check_password(&"x".repeat(PASSWORD_BYTES_MIN)).unwrap();
        for bad in ["hunter2".to_owned(), "y".repeat(PASSWORD_BYTES_MAX + 1)] {
            assert!(!check_password(&bad).unwrap_err().to_string().contains(&bad));
        }
    }

    #[test]
    fn a_payload_has_numbers_that_filters_can_compare() {
        let check = |json: &str| check_event_payload(&Args::from_json(json).unwrap());
        for good in ["null", "[1e308, -1e308, 1e-400]", r#""1e400""#] {
            check(good).unwrap();
        }
        for bad in ["1e400", "-1e309", r#"{"a": [{"b": 1e400}]}"#] {
            assert!(check(bad).unwrap_err().why().contains("out of range"), "{bad}");
        }
    }
}
