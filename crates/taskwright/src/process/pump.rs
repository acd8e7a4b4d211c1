//! Moves bytes between the pipes of a command and the channels of the caller, in bounded memory.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::net::unix::pipe;

use super::Timing;
use super::child::Pipes;
use super::log::{LogBuffer, Stream};
use super::progress::ProgressMeter;
use super::run::Reports;

/// How much is read at once.
const READ_BYTES: usize = 32 * 1024;
/// How long the end of the output is waited for after everything that was known to write to it is gone.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// How long a receiver may take for one more chunk after the end of the command.
const DELIVERY_MAX: Duration = Duration::from_secs(5);
/// How long output is read after the end of the command, even if somebody we could not kill goes on writing.
const EPILOGUE_MAX_US: u64 = 10_000_000;

/// The pipes of one command and what is on its way through them.
pub(super) struct Pump<'a> {
    timing: &'a dyn Timing,
    reports: Reports,
    /// What is left to write.
    input: &'a [u8],
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
    progress: Option<pipe::Receiver>,
    log: LogBuffer,
    meter: ProgressMeter,
    space: Box<[u8]>,
    alarm: Option<Alarm>,
}

/// A sleep, kept until what it waits for changes: most steps do not change it.
struct Alarm {
    due_us: u64,
    sleep: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// What a step waited for.
enum Event {
    Stdin,
    Stdout,
    Stderr,
    Progress,
    Delivered,
    Alarm,
}

impl<'a> Pump<'a> {
    /// A pump for freshly made pipes. Needs a runtime.
    ///
    /// # Errors
    ///
    /// The runtime cannot watch another file.
    pub(super) fn new(
        pipes: Pipes,
        input: &'a [u8],
        log_bytes_max: usize,
        reports: Reports,
        timing: &'a dyn Timing,
    ) -> io::Result<Self> {
        let receiver = |end: OwnedFd| pipe::Receiver::from_owned_fd(end).map(Some);
        Ok(Self {
            timing,
            reports,
            input,
            stdin: pipes.stdin.map(pipe::Sender::from_owned_fd).transpose()?,
            stdout: receiver(pipes.stdout)?,
            stderr: receiver(pipes.stderr)?,
            progress: receiver(pipes.progress)?,
            log: LogBuffer::new(log_bytes_max),
            meter: ProgressMeter::default(),
            space: vec![0; READ_BYTES].into_boxed_slice(),
            alarm: None,
        })
    }

    /// Pumps until `future` is ready.
    pub(super) async fn during<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                value = &mut future => return value,
                () = self.step() => {}
            }
        }
    }

    /// Reads and delivers what is left after the end of the command; returns how many bytes were not
    /// delivered.
    ///
    /// The end of the output is not waited for long: a process that could not be killed may hold the pipe
    /// open.
    pub(super) async fn finish(mut self) -> u64 {
        self.stdin = None;
        let begun_us = self.timing.monotonic_us();
        let mut is_taken = true;
        while self.is_open() && self.timing.monotonic_us() - begun_us < EPILOGUE_MAX_US {
            let was_full = self.log.is_full();
            let patience = if was_full { DELIVERY_MAX } else { SILENCE_MAX };
            if !self.step_within(patience).await {
                is_taken = !was_full;
                break;
            }
        }
        (self.stdout, self.stderr, self.progress) = (None, None, None);
        self.meter.flush();
        self.deliver_progress(self.timing.monotonic_us());
        self.log.flush();
        while is_taken && self.log.due_us().is_some() {
            is_taken = self.step_within(DELIVERY_MAX).await;
        }
        self.log.discard();
        self.log.dropped()
    }

    fn is_open(&self) -> bool {
        self.stdout.is_some() || self.stderr.is_some() || self.progress.is_some()
    }

    /// One step, unless nothing happens for `patience`. Returns whether something did.
    async fn step_within(&mut self, patience: Duration) -> bool {
        let sleep = self.timing.sleep(patience);
        tokio::select! {
            biased;
            () = self.step() => true,
            () = sleep => false,
        }
    }

    /// Waits until one of the pipes, the receiver of the log or the clock is ready, and deals with it. May be
    /// dropped at any point without losing anything.
    async fn step(&mut self) {
        // Other tasks of this thread get their turn also when there is always something to read.
        tokio::task::coop::consume_budget().await;
        let now_us = self.timing.monotonic_us();
        self.deliver_progress(now_us);
        self.set_alarm(now_us);
        let is_log_due = self.log.due_us().is_some_and(|due_us| due_us <= now_us);
        let has_room = !self.log.is_full();
        let event = tokio::select! {
            () = writable(self.stdin.as_ref()) => Event::Stdin,
            () = readable(self.stdout.as_ref()), if has_room => Event::Stdout,
            () = readable(self.stderr.as_ref()), if has_room => Event::Stderr,
            () = readable(self.progress.as_ref()) => Event::Progress,
            permit = self.reports.log.reserve(), if is_log_due => {
                match (permit, self.log.pop()) {
                    (Ok(permit), Some(chunk)) => permit.send(chunk),
                    (_, chunk) => self.log.lose(chunk),
                }
                Event::Delivered
            }
            () = ring(self.alarm.as_mut()) => Event::Alarm,
        };
        match event {
            Event::Stdin => self.write_input(),
            Event::Stdout => self.read_output(Stream::Stdout),
            Event::Stderr => self.read_output(Stream::Stderr),
            Event::Progress => self.read_progress(),
            Event::Delivered => {}
            Event::Alarm => self.alarm = None,
        }
    }

    fn deliver_progress(&mut self, now_us: u64) {
        if self.meter.due_us().is_some_and(|due_us| due_us <= now_us) {
            let newest = self.meter.take(now_us);
            self.reports.progress.send_replace(newest);
        }
    }

    /// Sets the alarm to the next time when something is to be delivered that is not due yet.
    fn set_alarm(&mut self, now_us: u64) {
        let dues = [self.log.due_us(), self.meter.due_us()];
        let next_us = dues.into_iter().flatten().filter(|&due_us| due_us > now_us).min();
        if self.alarm.as_ref().map(|alarm| alarm.due_us) != next_us {
            self.alarm = next_us.map(|due_us| Alarm {
                due_us,
                sleep: self.timing.sleep(Duration::from_micros(due_us - now_us)),
            });
        }
    }

    fn write_input(&mut self) {
        let Some(pipe) = &self.stdin else { return };
        match pipe.try_write(self.input) {
            Ok(count) => self.input = &self.input[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // The command does not want to read it; that is its business.
            Err(_) => self.input = &[],
        }
        if self.input.is_empty() {
            // Closing the pipe is what tells the command that this was all.
            self.stdin = None;
        }
    }

    fn read_output(&mut self, stream: Stream) {
        let pipe = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        if let Some(bytes) = read(pipe, &mut self.space) {
            self.log.push(stream, bytes, self.timing.monotonic_us());
        }
    }

    fn read_progress(&mut self) {
        if let Some(bytes) = read(&mut self.progress, &mut self.space) {
            self.meter.push(bytes);
        }
    }
}

/// Reads what is there. Closes our end at the end of the file, and on errors, which a pipe has none of but
/// that.
fn read<'a>(pipe: &mut Option<pipe::Receiver>, space: &'a mut [u8]) -> Option<&'a [u8]> {
    match pipe.as_ref()?.try_read(space) {
        Ok(count) if count > 0 => Some(&space[..count]),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Ok(_) | Err(_) => {
            *pipe = None;
            None
        }
    }
}

/// Completes when there is something to read, or the end; never without a pipe.
async fn readable(pipe: Option<&pipe::Receiver>) {
    match pipe {
        // An error shows again in the reading.
        Some(pipe) => drop(pipe.readable().await),
        None => std::future::pending().await,
    }
}

/// Completes when the pipe takes more; never without a pipe.
async fn writable(pipe: Option<&pipe::Sender>) {
    match pipe {
        // An error shows again in the writing.
        Some(pipe) => drop(pipe.writable().await),
        None => std::future::pending().await,
    }
}

/// Completes when the alarm rings; never without one.
async fn ring(alarm: Option<&mut Alarm>) {
    match alarm {
        Some(alarm) => alarm.sleep.as_mut().await,
        None => std::future::pending().await,
    }
}
