//! Progress that a command reports, line by line, on a pipe of its own.
//!
//! Pure: bytes go in, the newest progress comes out when it is due.

use serde::Deserialize;

/// A longer line is skipped as a whole.
const LINE_BYTES_MAX: usize = 4096;
/// At most ten reports a second, in microseconds.
const PERIOD_US: u64 = 100_000;

/// How far a command says it is.
///
/// A command writes one line per report to the file descriptor that the environment variable
/// [`TASKWRIGHT_PROGRESS_FD`](super::PROGRESS_FD) names; it is 3. In a shell:
/// `echo 42/100 >&$TASKWRIGHT_PROGRESS_FD`. These lines are understood, all others are ignored:
///
/// | line | means |
/// |---|---|
/// | `42` | 42 done, of an unknown total |
/// | `42/100` | 42 of 100 |
/// | `42%` | 42 of 100 |
/// | `42/100 reading page 7` | the same, with a message; it may follow each of the forms above |
/// | `{"done": 42, "total": 100, "message": "reading page 7"}` | the same as JSON; `total` and `message` are optional |
///
/// The newest line wins; lines are delivered at most ten times a second.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Progress {
    /// How much is done; never more than `total`.
    pub done: u64,
    /// How much there is to do; `None` when the command does not know.
    #[serde(default)]
    pub total: Option<u64>,
    /// What the command is doing.
    #[serde(default)]
    pub message: Option<String>,
}

impl Progress {
    /// Reads one line; `None` when it is not one of the known forms.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(line);
        let text = text.trim();
        if text.starts_with('{') {
            return serde_json::from_str::<Self>(text).ok().map(Self::normal);
        }
        let (amount, message) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let (done, total) = if let Some(percent) = amount.strip_suffix('%') {
            // `12.5%` is 12 of 100.
            let whole = percent.split_once('.').map_or(percent, |(whole, _)| whole);
            (whole, Some(100))
        } else if let Some((done, total)) = amount.split_once('/') {
            (done, Some(total.parse().ok()?))
        } else {
            (amount, None)
        };
        Some(Self { done: done.parse().ok()?, total, message: Some(message.trim().to_owned()) }.normal())
    }

    /// Mends what cannot be: a total of nothing, more done than there is, an empty message.
    fn normal(self) -> Self {
        let total = self.total.filter(|&total| total > 0);
        Self {
            done: self.done.min(total.unwrap_or(u64::MAX)),
            total,
            message: self.message.filter(|message| !message.is_empty()),
        }
    }
}

/// Cuts the bytes of the pipe into lines and holds the newest progress until it is due.
#[derive(Debug, Default)]
pub(super) struct ProgressMeter {
    line: Vec<u8>,
    /// The line has become too long; what follows up to its end is skipped.
    skipping: bool,
    newest: Option<Progress>,
    /// Before this time nothing is delivered.
    not_before_us: u64,
}

impl ProgressMeter {
    /// Takes in what was read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (content, is_end) = match piece.split_last() {
                Some((b'\n', content)) => (content, true),
                _ => (piece, false),
            };
            if self.line.len() + content.len() > LINE_BYTES_MAX {
                self.line.clear();
                self.skipping = true;
            }
            if !self.skipping {
                self.line.extend_from_slice(content);
            }
            if is_end {
                self.end_line();
            }
        }
    }

    /// Takes the unfinished last line as a line, and makes the newest progress due, because no more comes.
    pub(super) fn flush(&mut self) {
        self.end_line();
        self.not_before_us = 0;
    }

    /// When there is something to deliver, if there is.
    pub(super) fn due_us(&self) -> Option<u64> {
        self.newest.as_ref().map(|_| self.not_before_us)
    }

    /// Takes the newest progress to deliver it at `now_us`.
    pub(super) fn take(&mut self, now_us: u64) -> Option<Progress> {
        let newest = self.newest.take()?;
        self.not_before_us = now_us + PERIOD_US;
        Some(newest)
    }

    fn end_line(&mut self) {
        if let Some(progress) = Progress::parse(&self.line).filter(|_| !self.skipping) {
            self.newest = Some(progress);
        }
        self.line.clear();
        self.skipping = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(done: u64, total: Option<u64>, message: &str) -> Option<Progress> {
        let message = (!message.is_empty()).then(|| message.to_owned());
        Some(Progress { done, total, message })
    }

    #[test]
    fn every_documented_form_is_read() {
        for (line, expected) in [
            ("42", progress(42, None, "")),
            ("42/100", progress(42, Some(100), "")),
            (" 42/100  reading  page 7 \r", progress(42, Some(100), "reading  page 7")),
            ("50% half", progress(50, Some(100), "half")),
            ("12.5%", progress(12, Some(100), "")),
            ("7 files", progress(7, None, "files")),
            (r#"{"done":1,"total":2,"message":"x"}"#, progress(1, Some(2), "x")),
            (r#"{"done":1}"#, progress(1, None, "")),
        ] {
            assert_eq!(Progress::parse(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn a_line_of_no_known_form_is_ignored() {
        for line in [
            "",
            "   ",
            "half",
            "-1",
            "4 2/",
            "1/x",
            "/",
            "%",
            "x%",
            "{}",
            "{\"done\":-1}",
            "{",
            "99999999999999999999",
        ] {
            let expected = if line == "4 2/" { progress(4, None, "2/") } else { None };
            assert_eq!(Progress::parse(line.as_bytes()), expected, "{line}");
        }
        assert_eq!(Progress::parse(b"\xff\xfe\0"), None);
    }

    #[test]
    fn what_cannot_be_is_mended() {
        assert_eq!(Progress::parse(b"7/5"), progress(5, Some(5), ""));
        assert_eq!(Progress::parse(b"200%"), progress(100, Some(100), ""));
        assert_eq!(Progress::parse(b"3/0"), progress(3, None, ""));
    }

    #[test]
    fn the_newest_line_wins_and_lines_may_arrive_in_pieces() {
        let mut meter = ProgressMeter::default();
        meter.push(b"1\n2\n3/");
        meter.push(b"4\nnonsense\n5");
        assert_eq!(meter.take(1_000), progress(3, Some(4), ""));
        meter.flush();
        assert_eq!(meter.take(1_000), progress(5, None, ""));
    }

    #[test]
    fn at_most_ten_reports_a_second_are_due() {
        let mut meter = ProgressMeter::default();
        meter.push(b"1\n");
        assert_eq!(meter.due_us(), Some(0));
        meter.take(5_000);
        assert_eq!(meter.due_us(), None);
        meter.push(b"2\n");
        assert_eq!(meter.due_us(), Some(105_000));
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_as_a_whole() {
        let mut meter = ProgressMeter::default();
        meter.push(b"7 ");
        for _ in 0..10 {
            meter.push(&[b'1'; 1000]);
        }
        meter.push(b"\n");
        assert_eq!(meter.due_us(), None);
        assert!(meter.line.capacity() <= 2 * LINE_BYTES_MAX);
        meter.push(b"8\n");
        assert_eq!(meter.take(0), progress(8, None, ""));
    }
}
