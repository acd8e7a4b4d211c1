//! What went wrong, for the person in front of the terminal: what, why, and what to do; and the exit code.
//!
//! Every error that leaves the binary passes through here, so that no message is a debug dump, a bare number of the
//! operating system, or a dead end.

use std::fmt;
use std::io;

pub(crate) use taskwright_core::error::in_words;

/// How the program ends; scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done; for `jobs wait` and `jobs show` of one job: it completed.
    Ok,
    /// 1: something did not work.
    Operational,
    /// 2: the command or the config file makes no sense.
    Usage,
    /// 4: the job failed.
    Failed,
    /// 8: the job is not over.
    Unfinished,
    /// 16: the job was cancelled or dropped.
    Stopped,
    /// 32: a worker process has run for long enough and wants to be replaced. Only its parent sees it.
    Recycled,
    /// 128 and the number of the signal that ended the program before it could end in good order.
    Signal(i32),
}

impl Exit {
    /// The number that the process ends with.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Operational => 1,
            Self::Usage => 2,
            Self::Failed => 4,
            Self::Unfinished => 8,
            Self::Stopped => 16,
            Self::Recycled => 32,
            Self::Signal(number) => 128_u8.saturating_add(number.unsigned_abs() as u8 & 0x7f),
        }
    }
}

/// One or more things that went wrong, and the exit code they lead to.
#[derive(Clone, Debug)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    exit: Exit,
    reports: Vec<Report>,
    /// Whether nobody is left to read the output; then there is nothing to say.
    silent: bool,
}

/// One thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// What could not be done, or to what.
    pub what: String,
    /// The place in a file that it is about.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Why not.
    pub why: String,
    /// What to do about it.
    pub fix: String,
    /// What lies behind it, in the words of the engine or the system: for `--verbose`.
    #[serde(skip)]
    pub sources: Vec<String>,
}

/// A place in a file, with the line to look at.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Place {
    /// The file, as it was named.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// How many characters it is about.
    #[serde(skip)]
    pub width: usize,
    /// How many characters of the line come before `text`, for a line that is too long to be shown whole.
    #[serde(skip)]
    pub offset: usize,
    /// The text of the line, or a part of it.
    #[serde(skip)]
    pub text: String,
}

impl Error {
    /// The command makes no sense as it was given.
    pub fn usage(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::of(Exit::Usage, Report::new(what, why, fix))
    }

    /// The command is sound and could not be carried out.
    pub fn operational(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::of(Exit::Operational, Report::new(what, why, fix))
    }

    /// Several things at once.
    pub fn several(exit: Exit, reports: Vec<Report>) -> Self {
        debug_assert!(!reports.is_empty(), "an error must say something");
        Self(Box::new(Inner { exit, reports, silent: false }))
    }

    fn of(exit: Exit, report: Report) -> Self {
        Self::several(exit, vec![report])
    }

    /// The reader of our output went away (`| head`): no error of anybody's.
    pub(crate) fn reader_gone() -> Self {
        let report = Report::new("writing the output", "its reader is gone", "nothing has to be done");
        Self(Box::new(Inner { exit: Exit::Ok, reports: vec![report], silent: true }))
    }

    /// A file that could not be read or written.
    pub(crate) fn file(doing: &str, path: &str, error: &io::Error) -> Self {
        Self::operational(
            format!("{doing} {path}"),
            in_words(error),
            "check the path and the rights of this user",
        )
        .with_source(error)
    }

    /// The same error with everything that lies behind it.
    fn with_sources_of(mut self, error: &dyn std::error::Error) -> Self {
        if let Some(source) = error.source() {
            self = self.with_source(source);
        }
        self
    }

    fn with_source(mut self, source: &dyn std::error::Error) -> Self {
        let chain = std::iter::successors(Some(source), |source| source.source());
        let sources: Vec<String> = chain.map(ToString::to_string).collect();
        self.0.reports.iter_mut().for_each(|report| report.sources.clone_from(&sources));
        self
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.0.exit
    }

    /// What went wrong, in order.
    pub fn reports(&self) -> &[Report] {
        &self.0.reports
    }

    /// Whether there is nothing to say, because nobody is left to read.
    pub fn is_silent(&self) -> bool {
        self.0.silent
    }

    /// The same error with other advice.
    pub(crate) fn with_fix(mut self, fix: impl Into<String>) -> Self {
        let fix = fix.into();
        self.0.reports.iter_mut().for_each(|report| report.fix.clone_from(&fix));
        self
    }

    /// The same error with its subject named more closely.
    pub(crate) fn about(mut self, subject: &str) -> Self {
        for report in &mut self.0.reports {
            report.what = format!("{subject}: {}", report.what);
        }
        self
    }

    /// The same error with another exit code.
    pub(crate) fn with_exit(mut self, exit: Exit) -> Self {
        self.0.exit = exit;
        self
    }
}

impl Report {
    /// A report without a place.
    pub fn new(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), place: None, why: why.into(), fix: fix.into(), sources: Vec::new() }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(place) = &self.place else {
            return write!(f, "{}\n  why: {}\n  fix: {}", self.what, self.why, self.fix);
        };
        writeln!(f, "{}:{}:{}: {}", place.file, place.line, place.column, self.what)?;
        let margin = place.line.to_string().len() + 2;
        writeln!(f, "{:>margin$} | {}", place.line, place.text)?;
        let caret = format!(
            "{}{}",
            " ".repeat(place.column.saturating_sub(1 + place.offset)),
            "^".repeat(place.width.max(1))
        );
        writeln!(f, "{:>margin$} | {caret}", "")?;
        write!(f, "  why: {}\n  fix: {}", self.why, self.fix)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, report) in self.0.reports.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{report}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// A rule of the domain that a flag or a file did not keep.
impl From<taskwright_core::Error> for Error {
    fn from(error: taskwright_core::Error) -> Self {
        Self::usage(error.what(), error.why(), error.fix())
    }
}

/// Something the store could not do.
impl From<taskwright_store::Error> for Error {
    fn from(error: taskwright_store::Error) -> Self {
        Self::operational(error.what(), error.why(), error.fix()).with_sources_of(&error)
    }
}

/// Something the runtime could not do.
impl From<taskwright::Error> for Error {
    fn from(error: taskwright::Error) -> Self {
        Self::operational(error.what(), error.why(), error.fix()).with_sources_of(&error)
    }
}

/// The candidate that somebody who wrote `word` most likely meant.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LIKENESS_MIN: f64 = 0.8;
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_three_lines_and_a_placed_one_shows_the_line() {
        let mut report = Report::new("unknown key `comand`", "it is not known", "write `command`");
        assert_eq!(
            report.to_string(),
            "unknown key `comand`\n  why: it is not known\n  fix: write `command`"
        );
        let text = "comand = 1".to_owned();
        report.place =
            Some(Place { file: "a.toml".to_owned(), line: 12, column: 1, width: 6, offset: 0, text });
        assert!(
            report
                .to_string()
                .starts_with("a.toml:12:1: unknown key `comand`\n  12 | comand = 1\n     | ^^^^^^\n  why:")
        );
    }

    #[test]
    fn an_error_of_the_system_is_told_without_its_number() {
        assert_eq!(in_words(&io::Error::from_raw_os_error(2)), "it does not exist");
        assert_eq!(in_words(&io::Error::from_raw_os_error(98)), "address already in use");
    }

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        assert_eq!(nearest("complted", ["completed", "cancelled"]), Some("completed"));
        assert_eq!(nearest("zebra", ["completed", "cancelled"]), None);
    }
}
