//! `jobs logs`: what a job wrote, byte for byte; on a terminal without what a terminal would obey.

use std::time::Duration;

use clap::{Args, ValueEnum};
use taskwright_core::JobId;
use taskwright_store::{LogChunk, LogStream};

use crate::answer::job::Piece;
use crate::cli::{Context, select};
use crate::error::{Error, Exit};
use crate::text;

/// Prints logs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs logs ID
  taskwright jobs logs ID --follow
  taskwright jobs logs ID --attempt 2 --stream stderr > errors.txt

A pipe gets the bytes as the job wrote them. With --json each piece is an
object; bytes that are not UTF-8 are replaced in its `text`, and come as
numbers in `bytes`.")]
pub(super) struct Logs {
    /// The job
    id: JobId,
    /// Go on until the job is over
    #[arg(long, short)]
    follow: bool,
    /// Only what this attempt wrote
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// Only stdout, stderr, or log (of a handler)
    #[arg(long, value_name = "STREAM", hide_possible_values = true)]
    stream: Option<StreamArg>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StreamArg {
    Stdout,
    Stderr,
    Log,
}

/// Pieces of one request.
const CHUNKS: usize = 200;
/// Between two looks at a job that is followed.
const PAUSE: Duration = Duration::from_millis(200);

impl Logs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let store = context.store().await?;
        let mut printer = Printer::default();
        let mut from = 0;
        loop {
            // The state is read before the log: what was written before the end is then seen.
            let job = store.job(self.id).await?;
            let ours =
                job.filter(|job| context.namespace.as_ref().is_none_or(|ours| *ours == job.view.namespace));
            let Some(job) = ours else { return Err(select::unknown(&[self.id])) };
            loop {
                let chunks = store.logs(self.id, from, CHUNKS).await?;
                let Some(last) = chunks.last() else { break };
                from = last.number + 1;
                for chunk in chunks.iter().filter(|chunk| self.wants(chunk)) {
                    printer.print(context, chunk)?;
                }
                context.output.flush()?;
            }
            if !self.follow || job.view.state.is_terminal() {
                break;
            }
            context.env.sleep(PAUSE).await;
        }
        printer.finish(context)?;
        if from == 0 {
            context.output.note("the job has written nothing");
        }
        Ok(Exit::Ok)
    }

    fn wants(&self, chunk: &LogChunk) -> bool {
        let stream = match self.stream {
            None => true,
            Some(StreamArg::Stdout) => chunk.stream == LogStream::Stdout,
            Some(StreamArg::Stderr) => chunk.stream == LogStream::Stderr,
            Some(StreamArg::Log) => chunk.stream == LogStream::Log,
        };
        stream && self.attempt.is_none_or(|attempt| attempt == chunk.attempt)
    }
}

/// Prints pieces, and keeps the start of a character whose end comes with the next piece.
#[derive(Default)]
struct Printer {
    kept: Vec<u8>,
    ends_open: bool,
}

impl Printer {
    fn print(&mut self, context: &Context, chunk: &LogChunk) -> Result<(), Error> {
        let output = &context.output;
        if output.is_json() {
            return output.json(&Piece::from(chunk.clone()));
        }
        if !output.is_seen() {
            return output.bytes(&chunk.bytes);
        }
        self.kept.extend_from_slice(&chunk.bytes);
        let whole = whole_characters(&self.kept);
        let safe = text::lines(&String::from_utf8_lossy(&self.kept[..whole]).replace("\r\n", "\n"));
        self.kept.drain(..whole);
        if !safe.is_empty() {
            self.ends_open = !safe.ends_with('\n');
        }
        output.bytes(safe.as_bytes())
    }

    /// On a terminal the prompt must not stand behind the last line.
    fn finish(self, context: &Context) -> Result<(), Error> {
        let rest = String::from_utf8_lossy(&self.kept);
        context.output.bytes(rest.as_bytes())?;
        if self.ends_open || !rest.is_empty() {
            context.output.line("")?;
        }
        context.output.flush()
    }
}

/// How many bytes there are before a character that is not complete.
fn whole_characters(bytes: &[u8]) -> usize {
    const CHARACTER_BYTES_MAX: usize = 4;
    let tail = bytes.len().saturating_sub(CHARACTER_BYTES_MAX - 1);
    for at in (tail..bytes.len()).rev() {
        let needed = match bytes[at] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => 1,
        };
        return if at + needed > bytes.len() { at } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_not_torn_apart_by_the_end_of_a_piece() {
        for (bytes, whole) in [
            (&b"abc"[..], 3),
            ("ä".as_bytes(), 2),
            (&"aä".as_bytes()[..2], 1),
            (&"a😀".as_bytes()[..4], 1),
            (&[0xff, 0xff], 2),
            (&[0x80, 0x80, 0x80, 0x80], 4),
            (&[], 0),
        ] {
            assert_eq!(whole_characters(bytes), whole, "{bytes:?}");
        }
    }
}
