//! Where output goes: data to standard output, messages to standard error, colours only where they are seen.
//!
//! Verbs write through `Output` and never print themselves; so a test can read what they said, and a closed pipe
//! ends every verb in the same quiet way.

use std::io::{BufRead, BufWriter, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Report, in_words};

mod table;

pub(crate) use table::{Column, Table};

/// The three streams of a run, and what is known about the terminal behind them.
pub struct Io {
    /// Standard input.
    pub input: Box<dyn BufRead + Send>,
    /// Standard output.
    pub out: Box<dyn Write + Send>,
    /// Standard error.
    pub err: Box<dyn Write + Send>,
    /// What is behind them.
    pub terminal: Terminal,
}

/// What is behind the streams.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terminal {
    /// Whether somebody types standard input.
    pub input: bool,
    /// Whether somebody sees standard output.
    pub out: bool,
    /// Whether somebody sees standard error.
    pub err: bool,
    /// How wide it is, in characters.
    pub width: Option<u16>,
}

impl Io {
    /// The streams of this process.
    pub fn of_process() -> Self {
        use std::io::IsTerminal;
        let terminal = Terminal {
            input: std::io::stdin().is_terminal(),
            out: std::io::stdout().is_terminal(),
            err: std::io::stderr().is_terminal(),
            width: comfy_table::Table::new().width(),
        };
        Self {
            input: Box::new(std::io::BufReader::new(std::io::stdin())),
            out: Box::new(std::io::stdout()),
            err: Box::new(std::io::stderr()),
            terminal,
        }
    }
}

/// When colours are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How the person wants to be told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// Machine-readable output.
    pub json: bool,
    /// No messages but errors.
    pub quiet: bool,
    /// More messages.
    pub verbose: bool,
    /// Colours.
    pub color: ColorChoice,
}

impl Manner {
    /// The flags that have another process talk in the same way.
    pub(crate) fn arguments(self) -> impl Iterator<Item = &'static str> {
        [(self.json, "--json"), (self.quiet, "--quiet"), (self.verbose, "--verbose")]
            .into_iter()
            .filter_map(|(wanted, flag)| wanted.then_some(flag))
    }
}

/// The writing side of a run.
pub(crate) struct Output {
    out: Mutex<BufWriter<Box<dyn Write + Send>>>,
    err: Mutex<Box<dyn Write + Send>>,
    terminal: Terminal,
    manner: Manner,
}

/// A colour or weight, by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// As it is.
    Plain,
    /// A heading.
    Strong,
    /// Less important.
    Faint,
    /// Went well.
    Good,
    /// Went wrong.
    Bad,
    /// Wants attention.
    Warn,
    /// Is under way.
    Busy,
}

impl Output {
    /// Takes over the writing streams.
    pub(crate) fn new(
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
        terminal: Terminal,
        manner: Manner,
    ) -> Self {
        Self { out: Mutex::new(BufWriter::new(out)), err: Mutex::new(err), terminal, manner }
    }

    /// How the person wants to be talked to.
    pub(crate) fn manner(&self) -> Manner {
        self.manner
    }

    /// Whether messages may have colours.
    pub(crate) fn colours_messages(&self) -> bool {
        self.terminal.err && !self.manner.json && self.manner.color != ColorChoice::Never
    }

    /// Whether the person asked for JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.manner.json
    }

    /// Whether somebody sees standard output, and it is not JSON.
    pub(crate) fn is_seen(&self) -> bool {
        self.terminal.out && !self.manner.json
    }

    /// Whether bars may be drawn on standard error.
    pub(crate) fn may_draw(&self) -> bool {
        self.terminal.err && !self.manner.quiet
    }

    /// Whether there is somebody who can answer a question.
    pub(crate) fn can_ask(&self) -> bool {
        self.terminal.input && self.terminal.err
    }

    /// Puts a question, and leaves the cursor behind it.
    pub(crate) fn question(&self, text: &str) {
        let mut err = self.err.lock().unwrap_or_else(PoisonError::into_inner);
        // If the question cannot be delivered, no answer comes, which is a no.
        let _ = write!(err, "{text}").and_then(|()| err.flush());
    }

    /// Writes one line of data.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Result<(), Error> {
        writeln!(self.out(), "{}", text.as_ref()).map_err(write_error)
    }

    /// Writes bytes of data as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Error> {
        self.out().write_all(bytes).map_err(write_error)
    }

    /// Writes one value as one line of JSON.
    pub(crate) fn json(&self, value: &impl serde::Serialize) -> Result<(), Error> {
        let text = serde_json::to_string(value).map_err(|error| {
            Error::operational(
                "writing JSON",
                error.to_string(),
                "this is a bug in taskwright: please report it with this message",
            )
        })?;
        self.line(text)
    }

    /// Writes a table of data, fitted to the terminal if there is one.
    pub(crate) fn table(&self, table: &mut Table) -> Result<(), Error> {
        let width = if self.terminal.out { self.terminal.width } else { None };
        self.bytes(table.render(width, self.colors_out()).as_bytes())
    }

    /// Hands what was written to its reader.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        self.out().flush().map_err(write_error)
    }

    /// Tells the person something besides the data; not when they asked for quiet.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        if !self.manner.quiet {
            self.say(text.as_ref());
        }
    }

    /// Tells the person something that only the curious want to know.
    pub(crate) fn detail(&self, text: impl AsRef<str>) {
        if self.manner.verbose {
            self.say(text.as_ref());
        }
    }

    /// Tells the person what went wrong.
    pub(crate) fn error(&self, error: &Error) {
        if error.is_silent() {
            return;
        }
        for report in error.reports() {
            self.report("error", report);
        }
    }

    /// Tells the person one thing that went wrong, or nearly.
    pub(crate) fn report(&self, severity: &str, report: &Report) {
        if self.manner.json {
            let mut object = serde_json::json!({ severity: report });
            if self.manner.verbose && !report.sources.is_empty() {
                object[severity]["sources"] = report.sources.as_slice().into();
            }
            return self.say(&object.to_string());
        }
        let paint = if severity == "error" { Paint::Bad } else { Paint::Warn };
        let severity = painted(&format!("{severity}:"), paint, self.colors_err());
        self.say(&format!("{severity} {}", crate::text::lines(&report.to_string())));
        if self.manner.verbose {
            for source in &report.sources {
                self.say(&format!("  source: {}", crate::text::one_line(source)));
            }
        }
    }

    /// The text in a colour, where colours are seen.
    pub(crate) fn paint(&self, text: &str, paint: Paint) -> String {
        painted(text, paint, self.colors_out())
    }

    fn say(&self, text: &str) {
        if self.terminal.out {
            // On a terminal both streams are one: what was said first is to be seen first. An error here comes again
            // with the next data.
            let _ = self.out().flush();
        }
        let mut err = self.err.lock().unwrap_or_else(PoisonError::into_inner);
        // A message that cannot be delivered has nobody to be reported to.
        let _ = writeln!(err, "{text}").and_then(|()| err.flush());
    }

    fn out(&self) -> MutexGuard<'_, BufWriter<Box<dyn Write + Send>>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn colors_out(&self) -> bool {
        !self.manner.json && self.colors(self.terminal.out)
    }

    fn colors_err(&self) -> bool {
        self.colors(self.terminal.err)
    }

    fn colors(&self, seen: bool) -> bool {
        match self.manner.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            // https://no-color.org: present and not empty.
            ColorChoice::Auto => seen && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }
}

impl Paint {
    const fn ansi(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Faint => "2",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Warn => "33",
            Self::Busy => "36",
        }
    }
}

fn painted(text: &str, paint: Paint, colors: bool) -> String {
    if colors && paint != Paint::Plain {
        format!("\u{1b}[{}m{text}\u{1b}[0m", paint.ansi())
    } else {
        text.to_owned()
    }
}

fn write_error(error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return Error::reader_gone();
    }
    Error::operational("writing the output", in_words(&error), "check where standard output goes to")
}
