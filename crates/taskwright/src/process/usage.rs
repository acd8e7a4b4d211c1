//! What an attempt used of the machine.

/// What a command and its descendants used.
///
/// Everything counts the command itself, the descendants it waited for, and the orphans that came back to
/// this process and were reaped here. What the kernel does not tell is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in user mode, in microseconds (`getrusage`: `ru_utime`).
    pub cpu_user_us: u64,
    /// Processor time in the kernel, in microseconds (`getrusage`: `ru_stime`).
    pub cpu_system_us: u64,
    /// The largest resident set that any *one* of the processes had, in bytes.
    ///
    /// The kernel counts a new process as if it had the resident set of the process that forked it (this one)
    /// until it runs its own program. A peak below that is therefore taken from samples of the running
    /// command, and may be a little too low.
    pub rss_peak_bytes: u64,
    /// Bytes that had to be fetched from storage (`/proc/PID/io`: `read_bytes`; 0 where that may not be
    /// read).
    pub read_bytes: u64,
    /// Bytes that were written towards storage (`/proc/PID/io`: `write_bytes`; 0 where that may not be read).
    pub written_bytes: u64,
    /// From the request to start the command to the end of its tree, in microseconds.
    pub wall_us: u64,
}

impl Usage {
    /// Adds what another process of the same attempt used; the wall time stays that of the attempt.
    pub(super) fn absorb(&mut self, other: &Self) {
        self.cpu_user_us += other.cpu_user_us;
        self.cpu_system_us += other.cpu_system_us;
        self.rss_peak_bytes = self.rss_peak_bytes.max(other.rss_peak_bytes);
        self.read_bytes += other.read_bytes;
        self.written_bytes += other.written_bytes;
    }
}
