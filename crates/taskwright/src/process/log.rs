//! Output on its way from the pipes to the channel: batched, ordered, and cut at a limit.
//!
//! Pure: the pump tells what came and when, and asks what is due.

use std::collections::VecDeque;

use taskwright_core::size::Bytes;

/// A chunk grows up to this size before the next one is begun.
const CHUNK_BYTES_MAX: usize = 32 * 1024;
/// With this much waiting for a slow receiver the pipes are not read, so that the command waits and not the
/// memory.
const QUEUE_BYTES_MAX: usize = 4 * CHUNK_BYTES_MAX;
const QUEUE_CHUNKS_MAX: usize = 256;
/// How long output may wait for more, in microseconds.
const BATCH_US: u64 = 100_000;

/// Which of its two outputs a command wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of output, as it was written: any bytes, cut anywhere, also inside a line or a character.
///
/// Chunks come in the order of reading, which for two streams that are written at the same time is close to
/// the order of writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// Where it was written to.
    pub stream: Stream,
    /// What was written; at most 32 KiB, never empty.
    pub bytes: Vec<u8>,
}

/// The output that was read and not yet delivered.
#[derive(Debug)]
pub(super) struct LogBuffer {
    queue: VecDeque<LogChunk>,
    queued_bytes: usize,
    /// When the queue is to be delivered; `None` while it is empty.
    due_us: Option<u64>,
    bytes_max: usize,
    bytes_left: usize,
    dropped: u64,
    /// The last byte kept of each stream, to know whether the marker begins a line of its own.
    last: [Option<u8>; 2],
}

impl LogBuffer {
    /// A buffer that lets `bytes_max` bytes through, both streams together.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            queued_bytes: 0,
            due_us: None,
            bytes_max,
            bytes_left: bytes_max,
            dropped: 0,
            last: [None; 2],
        }
    }

    /// Takes in what was read at `now_us`; what is above the limit is counted and forgotten.
    pub(super) fn push(&mut self, stream: Stream, bytes: &[u8], now_us: u64) {
        let (kept, cut) = bytes.split_at(bytes.len().min(self.bytes_left));
        self.bytes_left -= kept.len();
        self.append(stream, kept, now_us);
        if !cut.is_empty() {
            if self.dropped == 0 {
                self.mark(stream, now_us);
            }
            self.dropped += cut.len() as u64;
        }
    }

    /// Whether reading must pause until something was delivered.
    pub(super) fn is_full(&self) -> bool {
        self.queued_bytes >= QUEUE_BYTES_MAX || self.queue.len() >= QUEUE_CHUNKS_MAX
    }

    /// When the next delivery is due, if there is anything to deliver. It may be in the past.
    pub(super) fn due_us(&self) -> Option<u64> {
        self.due_us
    }

    /// Makes everything due, because no more comes.
    pub(super) fn flush(&mut self) {
        self.due_us = self.due_us.map(|_| 0);
    }

    /// Takes the next chunk to deliver.
    pub(super) fn pop(&mut self) -> Option<LogChunk> {
        let chunk = self.queue.pop_front()?;
        self.queued_bytes -= chunk.bytes.len();
        if self.queue.is_empty() {
            self.due_us = None;
        }
        Some(chunk)
    }

    /// Counts a chunk that nobody took, and gives up on the rest.
    pub(super) fn lose(&mut self, chunk: Option<LogChunk>) {
        self.dropped += chunk.map_or(0, |chunk| chunk.bytes.len() as u64);
        self.discard();
    }

    /// Gives up on everything that waits: nobody takes it.
    pub(super) fn discard(&mut self) {
        self.dropped += self.queued_bytes as u64;
        self.queue.clear();
        self.queued_bytes = 0;
        self.due_us = None;
    }

    /// How many bytes were not delivered.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn append(&mut self, stream: Stream, mut bytes: &[u8], now_us: u64) {
        let Some(&last) = bytes.last() else { return };
        self.last[stream as usize] = Some(last);
        self.queued_bytes += bytes.len();
        while !bytes.is_empty() {
            let space = match self.queue.back_mut() {
                Some(chunk) if chunk.stream == stream && chunk.bytes.len() < CHUNK_BYTES_MAX => {
                    &mut chunk.bytes
                }
                _ => {
                    self.queue.push_back(LogChunk { stream, bytes: Vec::new() });
                    continue;
                }
            };
            let (fits, rest) = bytes.split_at(bytes.len().min(CHUNK_BYTES_MAX - space.len()));
            space.extend_from_slice(fits);
            bytes = rest;
        }
        let due_us = if self.queued_bytes >= CHUNK_BYTES_MAX { now_us } else { now_us + BATCH_US };
        self.due_us = Some(self.due_us.map_or(due_us, |earlier| earlier.min(due_us)));
    }

    /// Says in the stream itself where it was cut. The marker does not count against the limit.
    fn mark(&mut self, stream: Stream, now_us: u64) {
        let begins_line = matches!(self.last[stream as usize], None | Some(b'\n'));
        let newline = if begins_line { "" } else { "\n" };
        let limit = Bytes(self.bytes_max as u64);
        let marker = format!("{newline}[log truncated: the limit of {limit} was reached]\n");
        self.append(stream, marker.as_bytes(), now_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(buffer: &mut LogBuffer) -> Vec<LogChunk> {
        std::iter::from_fn(|| buffer.pop()).collect()
    }

    fn text(buffer: &mut LogBuffer) -> String {
        drained(buffer).into_iter().map(|chunk| String::from_utf8(chunk.bytes).unwrap()).collect()
    }

    #[test]
    fn small_writes_wait_for_each_other_and_travel_together() {
        let mut buffer = LogBuffer::new(100);
        buffer.push(Stream::Stdout, b"a", 5);
        buffer.push(Stream::Stdout, b"b", 60_000);
        assert_eq!(buffer.due_us(), Some(100_005));
        assert_eq!(drained(&mut buffer), [LogChunk { stream: Stream::Stdout, bytes: b"ab".to_vec() }]);
        assert_eq!(buffer.due_us(), None);
    }

    #[test]
    fn much_output_is_due_at_once_and_in_bounded_chunks() {
        let mut buffer = LogBuffer::new(usize::MAX);
        buffer.push(Stream::Stdout, &[b'x'; 70_000], 5);
        assert_eq!(buffer.due_us(), Some(5));
        let lengths: Vec<usize> = drained(&mut buffer).iter().map(|chunk| chunk.bytes.len()).collect();
        assert_eq!(lengths, [32_768, 32_768, 4_464]);
    }

    #[test]
    fn the_order_between_the_streams_is_kept() {
        let mut buffer = LogBuffer::new(100);
        for (stream, bytes) in [(Stream::Stdout, b"1"), (Stream::Stderr, b"2"), (Stream::Stdout, b"3")] {
            buffer.push(stream, bytes, 0);
        }
        assert_eq!(text(&mut buffer), "123");
    }

    #[test]
    fn one_marker_on_a_line_of_its_own_says_where_the_output_was_cut() {
        let mut buffer = LogBuffer::new(4);
        buffer.push(Stream::Stdout, b"ab", 0);
        buffer.push(Stream::Stdout, b"cdef", 0);
        buffer.push(Stream::Stderr, b"ghi", 0);
        assert_eq!(text(&mut buffer), "abcd\n[log truncated: the limit of 4 bytes was reached]\n");
        assert_eq!(buffer.dropped(), 5);
    }

    #[test]
    fn output_of_exactly_the_limit_is_whole() {
        let mut buffer = LogBuffer::new(4);
        buffer.push(Stream::Stdout, b"abc\n", 0);
        assert_eq!((text(&mut buffer).as_str(), buffer.dropped()), ("abc\n", 0));
    }

    #[test]
    fn a_receiver_that_does_not_take_the_output_stops_the_reading() {
        let mut buffer = LogBuffer::new(usize::MAX);
        let mut pushed = 0;
        while !buffer.is_full() {
            buffer.push(Stream::Stdout, &[0; 4096], 0);
            pushed += 4096;
        }
        assert_eq!(pushed, QUEUE_BYTES_MAX);
        buffer.discard();
        assert_eq!((buffer.is_full(), buffer.dropped()), (false, QUEUE_BYTES_MAX as u64));
    }
}
