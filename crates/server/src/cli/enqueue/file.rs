//! Many jobs from a file of JSON lines, read as a stream: memory does not grow with the file.
//!
//! The client makes batches of the lines, and parses the next while the store writes one. The ids of a batch are
//! printed when the store has acknowledged it, and not before.

use std::borrow::Cow;
use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;
use serde_json::value::RawValue;
use taskwright_core::audit::Behalf;
use taskwright_core::limit::ARGS_BYTES_MAX;
use taskwright_core::time::parse_time_limit;
use taskwright_core::{Args as JobArgs, Delivery, Namespace, NewJob, Owner, Principal, QueueName, UniqueKey};
use taskwright_store::Enqueued;

use super::{Defaults, Enqueue};
use crate::cli::Context;
use crate::error::{Error, Exit, Place, Report, in_words, nearest};
use crate::text;

/// Jobs that are stored together: with fewer, the flushes to the disk would take longer than the parsing.
const BATCH_JOBS: usize = 4_000;
/// The longest line: the largest arguments, and room for the rest.
const LINE_BYTES_MAX: usize = ARGS_BYTES_MAX + (64 << 10);

/// One line, in texts: what is wrong with one is told by its own parser, and with its field.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
    id: Option<Cow<'a, str>>,
    namespace: Option<Cow<'a, str>>,
    owner: Option<Cow<'a, str>>,
    queue: Option<Cow<'a, str>>,
    priority: Option<Text>,
    run_at: Option<Cow<'a, str>>,
    held: Option<bool>,
    max_attempts: Option<Text>,
    backoff: Option<Cow<'a, str>>,
    timeout: Option<Text>,
    unique: Option<Cow<'a, str>>,
    delivery: Option<Delivery>,
}

const FIELDS: [&str; 14] = [
    "kind",
    "args",
    "id",
    "namespace",
    "owner",
    "queue",
    "priority",
    "run_at",
    "held",
    "max_attempts",
    "backoff",
    "timeout",
    "unique",
    "delivery",
];

/// A text, or a number that is read as one.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text or a whole number")]
enum Text {
    Number(i64),
    Text(String),
}

/// What is wrong with a line, and with which field of it.
type Wrong = (&'static str, Error);

pub(super) async fn run(context: &Context, verb: &Enqueue, path: &str) -> Result<Exit, Error> {
    let (source, bytes) = open(context, path)?;
    let bar = bar(context, bytes);
    let stopped = Cell::new(false);
    let mut lines = Lines {
        context,
        source,
        line: Vec::new(),
        number: 0,
        defaults: verb.defaults(context)?,
        kind: verb.kind.clone(),
        name: if path == "-" { "standard input" } else { path },
        skip_bad: verb.skip_bad,
        bar: &bar,
        bad: 0,
        wrong: None,
        stopped: &stopped,
    };
    let mut import =
        Import { context, bar: &bar, stored: 0, existing: 0, unprinted: None, stopped: &stopped };
    let done = import.all(&mut lines).await;
    bar.finish_and_clear();
    let noted = import.note().await;
    let exit = import.end(done, &lines)?;
    noted.map(|()| exit)
}

/// What has been stored, and the ids of which have been printed.
struct Import<'c> {
    context: &'c Context,
    bar: &'c ProgressBar,
    stored: usize,
    existing: usize,
    /// Why the ids of stored jobs could not be printed.
    unprinted: Option<Error>,
    stopped: &'c Cell<bool>,
}

impl Import<'_> {
    /// Stores the jobs of the lines up to the first that is wrong.
    async fn all(&mut self, lines: &mut Lines<'_>) -> Result<(), Error> {
        // First, so that a file which is wrong from the start leaves no store behind.
        if let Some(first) = lines.next() {
            let client = self.context.client_or_new().await?.batch_jobs(BATCH_JOBS);
            let jobs = std::iter::once(first).chain(lines.by_ref());
            client.enqueue_each(jobs, |batch| self.batch(batch)).await.map_err(|error| {
                let fix = format!("{}; then go on behind the last id that was printed", error.fix());
                Error::from(error)
                    .with_fix(fix)
                    .about(&format!("after {} stored", text::count(self.stored, "job")))
            })?;
        }
        lines.wrong.take().map_or(Ok(()), Err)
    }

    /// Puts the import down in the audit: one entry, whatever the number of jobs, which go in by a way that has no room for entries. A
    /// server does that itself.
    async fn note(&self) -> Result<(), Error> {
        let new = self.stored - self.existing;
        if new == 0 || self.context.server().is_some() {
            return Ok(());
        }
        let (now, principal) = (self.context.env.now(), Principal::local(crate::cli::local_actor()));
        let mut behalf = Behalf::of(&principal, now, "jobs.enqueue", "jobs of a file");
        behalf.namespace = self.context.namespace.clone();
        let entry = behalf.entry(format!("stored {}", text::count(new, "job")));
        Ok(self.context.client().await?.audit().note(entry).await?)
    }

    /// Counts a batch that the store has acknowledged, and prints its ids.
    fn batch(&mut self, answers: &[Enqueued]) {
        self.stored += answers.len();
        self.existing += answers.iter().filter(|answer| answer.existing).count();
        if self.unprinted.is_none()
            && let Err(error) = self.bar.suspend(|| self.print(answers))
        {
            self.unprinted = Some(error);
            self.stopped.set(true);
        }
    }

    fn print(&self, answers: &[Enqueued]) -> Result<(), Error> {
        answers.iter().try_for_each(|answer| super::print_id(self.context, answer))?;
        self.context.output.flush()
    }

    fn end(self, done: Result<(), Error>, lines: &Lines<'_>) -> Result<Exit, Error> {
        if self.unprinted.as_ref().is_some_and(Error::is_silent) {
            return Err(self.reader_gone());
        }
        self.tell(lines.bad);
        if let Some(error) = self.unprinted {
            return Err(error);
        }
        done?;
        Ok(if lines.bad > 0 { Exit::Operational } else { Exit::Ok })
    }

    fn tell(&self, bad: usize) {
        let mut parts = vec![format!("{} stored", text::count(self.stored - self.existing, "job"))];
        if self.existing > 0 {
            parts.push(format!("{} there already", self.existing));
        }
        if bad > 0 {
            parts.push(format!("{} skipped", text::count(bad, "bad line")));
        }
        self.context.output.note(parts.join(", "));
    }

    fn reader_gone(&self) -> Error {
        Error::operational(
            format!("printing the ids of {}, which are stored", text::count(self.stored, "job")),
            "the reader of the output is gone",
            "write the ids to a file; lines that have an \"id\" of their own can be imported again and are stored once",
        )
    }
}

/// The jobs of the lines, up to the first that is wrong.
struct Lines<'c> {
    context: &'c Context,
    source: Box<dyn BufRead + 'c>,
    line: Vec<u8>,
    number: usize,
    defaults: Defaults<'c>,
    kind: Option<String>,
    name: &'c str,
    skip_bad: bool,
    bar: &'c ProgressBar,
    /// Lines that were skipped.
    bad: usize,
    /// Why the lines end before the file does.
    wrong: Option<Error>,
    /// Set from outside, when no more is wanted.
    stopped: &'c Cell<bool>,
}

impl Iterator for Lines<'_> {
    type Item = NewJob;

    fn next(&mut self) -> Option<NewJob> {
        while self.wrong.is_none() && !self.stopped.get() {
            match self.read() {
                Ok(0) => return None,
                Ok(length) => self.bar.inc(length as u64),
                Err(error) => {
                    self.wrong = Some(error);
                    return None;
                }
            }
            if self.line.trim_ascii().is_empty() {
                continue;
            }
            // Taken, because the job borrows from it while the rest of `self` is asked about kinds.
            let line = std::mem::take(&mut self.line);
            let job = self.job(&line);
            self.line = line;
            match job {
                Ok(job) => return Some(job),
                Err(report) if self.skip_bad => {
                    self.bad += 1;
                    self.bar.suspend(|| self.context.output.report("warning", &report));
                    self.wrong = self.skip_rest().err();
                }
                Err(report) => self.wrong = Some(Error::several(Exit::Operational, vec![*report])),
            }
        }
        None
    }
}

impl Lines<'_> {
    /// Reads the next line, and gives how long it is; 0 at the end.
    fn read(&mut self) -> Result<usize, Error> {
        self.number += 1;
        self.line.clear();
        let length = self.source.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut self.line);
        length.map_err(|error| Error::file("reading", self.name, &error))
    }

    /// Goes to the end of a line that was too long to be read whole.
    fn skip_rest(&mut self) -> Result<(), Error> {
        let mut ended = self.line.ends_with(b"\n") || self.line.len() <= LINE_BYTES_MAX;
        while !ended {
            self.line.clear();
            let length = self.source.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut self.line);
            let length = length.map_err(|error| Error::file("reading", self.name, &error))?;
            ended = length == 0 || self.line.ends_with(b"\n");
        }
        Ok(())
    }

    fn job(&mut self, bytes: &[u8]) -> Result<NewJob, Box<Report>> {
        if bytes.len() > LINE_BYTES_MAX {
            let error = Error::usage(
                "this line is too long",
                format!("{LINE_BYTES_MAX} bytes are allowed"),
                "store the large part elsewhere and pass a reference to it",
            );
            return Err(self.report(bytes, (1, 1), &error));
        }
        let line: Line<'_> = serde_json::from_slice(bytes).map_err(|error| {
            let text = error.to_string();
            let key = unknown_key(&text).and_then(|key| place_of(bytes, key));
            let place = key.unwrap_or((error.column().max(1), 1));
            self.report(bytes, place, &explain(&error, bytes))
        })?;
        self.build(line)
            .map_err(|(field, error)| self.report(bytes, place_of(bytes, field).unwrap_or((1, 1)), &error))
    }

    fn build(&mut self, line: Line<'_>) -> Result<NewJob, Wrong> {
        let kind = line.kind.as_deref().or(self.kind.as_deref()).ok_or_else(|| ("kind", no_kind()))?;
        let kind = self.defaults.kind(kind).map_err(|error| ("kind", error))?;
        let args = line.args.map_or(Ok(JobArgs::default()), |args| JobArgs::from_json(args.get()));
        let args = args.map_err(|error| ("args", error.into()))?;
        let mut job = self.defaults.job(kind, args).map_err(|error| ("args", error))?;
        replace(&mut job.id, "id", line.id, str::parse)?;
        replace(&mut job.namespace, "namespace", line.namespace, Namespace::new)?;
        replace(&mut job.owner, "owner", line.owner, |text| Owner::new(text).map(Some))?;
        replace(&mut job.queue, "queue", line.queue, QueueName::new)?;
        replace(&mut job.priority, "priority", line.priority.map(Text::into_text), str::parse)?;
        replace(&mut job.run_at, "run_at", line.run_at, |text| text.parse().map(Some))?;
        replace(&mut job.max_attempts, "max_attempts", line.max_attempts.map(Text::into_text), str::parse)?;
        replace(&mut job.backoff, "backoff", line.backoff, |text| text.parse().map(Some))?;
        let timeout = line.timeout.map(Text::into_text);
        replace(&mut job.timeout, "timeout", timeout, |text| parse_time_limit(text).map(Some))?;
        replace(&mut job.unique, "unique", line.unique, |text| UniqueKey::new(text).map(Some))?;
        job.held = line.held.unwrap_or(job.held);
        job.delivery = line.delivery.unwrap_or(job.delivery);
        Ok(job)
    }

    fn report(&self, line: &[u8], (column, width): (usize, usize), error: &Error) -> Box<Report> {
        const BEFORE: usize = 40;
        const SHOWN: usize = 100;
        // A window of the line around the column: a line may have a megabyte.
        let line = String::from_utf8_lossy(line.trim_ascii_end());
        let before = column.saturating_sub(1).saturating_sub(BEFORE);
        let before = if before < SHOWN - BEFORE { 0 } else { before };
        let window: String = line.chars().skip(before).take(SHOWN).collect();
        let first = &error.reports()[0];
        let place = Place {
            file: self.name.to_owned(),
            line: self.number,
            column,
            offset: before,
            width,
            text: text::one_line(&window),
        };
        Box::new(Report { place: Some(place), ..first.clone() })
    }
}

impl Text {
    fn into_text(self) -> Cow<'static, str> {
        match self {
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Text(text) => Cow::Owned(text),
        }
    }
}

/// Puts what a field says in the place of the default, if the line has the field.
fn replace<T>(
    value: &mut T,
    field: &'static str,
    given: Option<Cow<'_, str>>,
    parse: impl Fn(&str) -> Result<T, taskwright_core::Error>,
) -> Result<(), Wrong> {
    if let Some(text) = given {
        *value = parse(&text).map_err(|error| (field, error.into()))?;
    }
    Ok(())
}

fn no_kind() -> Error {
    Error::usage(
        "this line has no kind",
        "neither it nor the command says which task is to run",
        r#"add "kind": "NAME", or name the kind on the command line"#,
    )
}

fn open<'c>(context: &'c Context, path: &str) -> Result<(Box<dyn BufRead + 'c>, Option<u64>), Error> {
    if path == "-" {
        return Ok((Box::new(StandardInput { context, left: Vec::new(), at: 0 }), None));
    }
    let refuse = |error: std::io::Error| {
        let what = format!("the file {path}");
        Error::usage(what, in_words(&error), "check the path after --from-file; `-` is standard input")
    };
    let file = File::open(path).map_err(refuse)?;
    let facts = file.metadata().map_err(refuse)?;
    if facts.is_dir() {
        return Err(refuse(std::io::ErrorKind::IsADirectory.into()));
    }
    context.output.detail(format!("reading {path}, {}", text::bytes(facts.len())));
    let bytes = facts.is_file().then_some(facts.len());
    Ok((Box::new(BufReader::with_capacity(1 << 20, file)), bytes))
}

/// A bar over the bytes of the file, or over what was read when its length is not known.
fn bar(context: &Context, bytes: Option<u64>) -> ProgressBar {
    let target =
        if context.output.may_draw() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(bytes, target);
    let form = match bytes {
        Some(_) => "{wide_bar} {percent}% of {total_bytes} {bytes_per_sec} eta {eta}",
        None => "{spinner} {bytes} read {bytes_per_sec}",
    };
    bar.set_style(ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// What the parser says, in our form.
fn explain(error: &serde_json::Error, line: &[u8]) -> Error {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    if let Some(key) = unknown_key(text) {
        let fix = match nearest(key, FIELDS) {
            Some(meant) => format!("write `{meant}`, if that is what you meant"),
            None => format!("remove it, or use one of {}", FIELDS.join(", ")),
        };
        return Error::usage(format!("unknown field `{key}`"), "a line has no such field", fix);
    }
    let fix = r#"write one JSON object a line, like {"kind": "report", "args": {"day": 7}}"#;
    if error.is_syntax() || error.is_eof() {
        return Error::usage("this line is not JSON", in_plain_words(text), fix);
    }
    if !line.trim_ascii_start().starts_with(b"{") {
        return Error::usage("this line does not describe a job", "it is not a JSON object", fix);
    }
    Error::usage("this line does not describe a job", text, fix)
}

/// What the parser says about the form, for people who do not know the parser.
fn in_plain_words(text: &str) -> &str {
    match text {
        "expected ident" => "a word in it is neither true, false nor null; texts stand in double quotes",
        "expected value" => "a value is missing in it, or is of no form that JSON knows",
        "key must be a string" => "the name of a field does not stand in double quotes",
        "trailing comma" => "a comma in it has nothing behind it",
        "trailing characters" => "something follows behind its end",
        "expected `:`" => "the name of a field has no `:` behind it",
        "expected `,` or `}`" => "a field has neither `,` nor `}` behind it",
        "expected `,` or `]`" => "an element of a list has neither `,` nor `]` behind it",
        "invalid number" => "a number in it is not written as JSON writes numbers",
        "number out of range" => "a number in it is too large",
        "invalid escape" => "a backslash in a text has nothing behind it that JSON knows",
        "invalid unicode code point" => "it is not UTF-8",
        "recursion limit exceeded" => "lists and objects stand too deep in each other",
        _ if text.starts_with("EOF while parsing") => "it ends in the middle",
        _ if text.starts_with("control character") => {
            "a text in it holds a control character as it is, for instance a tab, which is written \\t"
        }
        _ if text.contains("hex escape") => "a \\u in a text has no character behind it",
        _ => text,
    }
}

fn unknown_key(text: &str) -> Option<&str> {
    text.strip_prefix("unknown field `")?.split('`').next()
}

/// Where the key stands in the line: column and width.
fn place_of(line: &[u8], key: &str) -> Option<(usize, usize)> {
    let line = String::from_utf8_lossy(line);
    let at = line.find(&format!("\"{key}\""))?;
    Some((line[..at].chars().count() + 1, key.chars().count() + 2))
}

/// Standard input in pieces, so that its lock is free in between: it may not be held while the store works.
struct StandardInput<'c> {
    context: &'c Context,
    left: Vec<u8>,
    at: usize,
}

impl std::io::Read for StandardInput<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let piece = self.fill_buf()?;
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for StandardInput<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.at == self.left.len() {
            self.left.clear();
            self.at = 0;
            let left = &mut self.left;
            self.context.with_input(|input| {
                let piece = input.fill_buf()?;
                left.extend_from_slice(piece);
                let length = piece.len();
                input.consume(length);
                Ok::<_, std::io::Error>(())
            })?;
        }
        Ok(&self.left[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}
