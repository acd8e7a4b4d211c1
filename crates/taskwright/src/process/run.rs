//! One execution of a command, from the start to the last reaped orphan.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::child::{Child, EndWatch};
use super::command::Command;
use super::error::SpawnError;
use super::exit::{Output, Stop};
use super::host::Host;
use super::log::LogChunk;
use super::progress::Progress;
use super::pump::Pump;

/// How many chunks of output may wait in the channel: with 32 KiB each, half a mebibyte.
const LOG_CHUNKS_MAX: usize = 16;
/// The first look at the memory of a command comes after this; each later one after twice the time.
const SAMPLE_FIRST: Duration = Duration::from_millis(10);
const SAMPLE_PERIOD_MAX: Duration = Duration::from_secs(2);
/// The same for a command whose use is limited: what it takes in between is what it may get above its limit.
const WATCH_PERIOD_MAX: Duration = Duration::from_millis(100);
/// How often such a look is at every process of the machine, which costs some milliseconds.
const THOROUGH_EVERY: u32 = 10;

/// Where the output and the progress of a command go. Dropped when it has ended, which closes both channels.
#[derive(Debug)]
pub struct Reports {
    /// The output, in order. While it is full, the command waits in its writes.
    pub log: mpsc::Sender<LogChunk>,
    /// The newest progress; `None` until there is one.
    pub progress: watch::Sender<Option<Progress>>,
}

impl Reports {
    /// Both channels, with room for a bounded number of chunks.
    pub fn channels() -> (Self, mpsc::Receiver<LogChunk>, watch::Receiver<Option<Progress>>) {
        let (log, chunks) = mpsc::channel(LOG_CHUNKS_MAX);
        let (progress, newest) = watch::channel(None);
        (Self { log, progress }, chunks, newest)
    }
}

/// Runs a command and waits until its whole tree is gone.
///
/// Somebody must take the output from [`Reports`] meanwhile (or drop the receiver): a command whose output
/// nobody takes waits for ever. When `stop` completes, or the timeout of the command is over, or it has used more CPU
/// time than it may, every process of the tree gets TERM, and after the grace period KILL. When it has taken more memory
/// than it may, it gets KILL at once. When the command ends by itself, what it left running is killed at once.
///
/// The result says how the command ended; whether that is a success is for the caller to say. Dropping the
/// future kills the tree at once.
///
/// # Errors
///
/// The command could not be started; nothing ran.
pub async fn run(
    command: &Command,
    host: &Host,
    reports: Reports,
    stop: impl Future<Output = Stop>,
) -> Result<Output, SpawnError> {
    let timing = host.timing();
    let started_us = timing.monotonic_us();
    let (mut child, pipes) = host.start(command).await?;
    let unwatchable = |error| SpawnError::from_shortage(error, &command.program.to_string_lossy());
    let mut end = child.watch_end().map_err(unwatchable)?;
    let pump = Pump::new(pipes, &command.stdin, command.log_bytes_max, reports, timing);
    let mut pump = pump.map_err(unwatchable)?;

    let stopped = pump.during(ended_or_stopped(&mut child, &mut end, command, host, stop)).await;
    if stopped.is_some_and(|stop| !stop.is_urgent()) {
        let in_grace = async {
            tokio::select! {
                () = child.terminate(&mut end, timing) => {}
                () = timing.sleep(command.grace) => {}
            }
        };
        pump.during(in_grace).await;
    }
    let is_killed_by_us = child.is_running();
    pump.during(child.kill(&mut end, timing)).await;
    let end = child.settle(is_killed_by_us).await;
    let wall_us = timing.monotonic_us() - started_us;
    let log_dropped = pump.finish().await;
    Ok(Output { exit: end.exit, stopped, usage: end.usage, wall_us, log_dropped, survivors: end.survivors })
}

/// Waits for what comes first: the end of the command (`None`), the stop signal, the timeout, or that a limit is passed.
async fn ended_or_stopped(
    child: &mut Child,
    end: &mut EndWatch,
    command: &Command,
    host: &Host,
    stop: impl Future<Output = Stop>,
) -> Option<Stop> {
    let timing = host.timing();
    let mut stop = pin!(stop);
    let mut timeout = pin!(async {
        match command.timeout {
            Some(timeout) => timing.sleep(timeout).await,
            None => std::future::pending().await,
        }
    });
    let limits = command.limits;
    let pause_max = if limits.needs_watch() { WATCH_PERIOD_MAX } else { SAMPLE_PERIOD_MAX };
    let mut pause = SAMPLE_FIRST;
    let mut looks = 0;
    loop {
        tokio::select! {
            biased;
            () = end.ended() => return None,
            reason = &mut stop => return Some(reason),
            () = &mut timeout => return Some(Stop::Timeout),
            () = timing.sleep(pause) => {
                child.sample_memory();
                looks += 1;
                let is_thorough = looks % THOROUGH_EVERY == 0;
                if pause == SAMPLE_PERIOD_MAX || is_thorough {
                    // A command may leave one dead orphan after the other for days.
                    host.reap_orphans();
                }
                if limits.needs_watch()
                    && let Some(passed) = limits.passed(child.measure(is_thorough, limits.max_rss).await)
                {
                    return Some(Stop::Limit(passed));
                }
                pause = pause_max.min(2 * pause);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Timing;
    use super::*;

    #[test]
    fn a_run_may_move_between_the_threads_of_a_runtime() {
        struct NoTime;
        impl Timing for NoTime {
            fn monotonic_us(&self) -> u64 {
                0
            }
            fn sleep(&self, _: Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
                Box::pin(std::future::pending())
            }
        }
        fn assert_send(_: &impl Send) {}
        let (command, host) = (Command::new("true"), Host::new(Arc::new(NoTime)));
        // Compiling it is the test.
        assert_send(&run(&command, &host, Reports::channels().0, std::future::pending()));
    }
}
