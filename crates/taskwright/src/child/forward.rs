//! Output and progress of a process on their way to the job's log.

use taskwright_store::LogStream;
use tokio::sync::{mpsc, watch};

use crate::context::Context;
use crate::process::{LogChunk, Progress, Stream};

/// Passes output and progress on while the command runs; gives the last line of its standard error.
pub async fn forward(
    ctx: &Context,
    mut chunks: mpsc::Receiver<LogChunk>,
    mut progress: watch::Receiver<Option<Progress>>,
) -> String {
    let mut last_words = LastLine::default();
    let mut progress_open = true;
    loop {
        tokio::select! {
            chunk = chunks.recv() => {
                let Some(chunk) = chunk else { return last_words.finish() };
                let stream = match chunk.stream {
                    Stream::Stdout => LogStream::Stdout,
                    Stream::Stderr => {
                        last_words.add(&chunk.bytes);
                        LogStream::Stderr
                    }
                };
                ctx.log_bytes(stream, chunk.bytes);
            }
            changed = progress.changed(), if progress_open => {
                progress_open = changed.is_ok();
                if let Some(newest) = progress.borrow_and_update().as_ref() {
                    ctx.progress(newest.done, newest.total, newest.message.as_deref());
                }
            }
        }
    }
}

/// Keeps the last line with anything in it.
#[derive(Default)]
struct LastLine {
    line: Vec<u8>,
    last: Vec<u8>,
}

impl LastLine {
    const BYTES_MAX: usize = 500;

    fn add(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = Self::BYTES_MAX.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.iter().any(|byte| !byte.is_ascii_whitespace()) {
            self.last = line;
        }
    }

    fn finish(mut self) -> String {
        self.end_line();
        let text = String::from_utf8_lossy(&self.last);
        text.trim().chars().filter(|c| !c.is_control()).collect()
    }
}
