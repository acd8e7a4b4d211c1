//! What one attempt may use of the machine, and how it is told that it has used more.
//!
//! The limits hold for child processes, which can be measured and killed one by one. A handler in the worker's own process
//! shares its memory and its CPU time with every other one there; only its time limit can be kept.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::Error;
use crate::size::Bytes;

/// The largest niceness: whoever has it gets what nobody else wants.
pub const NICE_MAX: u8 = 19;

/// What a child process and its descendants, together, may use, and how they stand back behind others. The default
/// limits nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Limits {
    /// Resident memory of the whole tree of processes, in bytes.
    pub max_rss: Option<u64>,
    /// CPU time of the whole tree, user and system together.
    pub max_cpu_time: Option<Duration>,
    /// The niceness that it runs with at least, 0 to [`NICE_MAX`].
    pub nice: Option<u8>,
    /// How it stands back at the disk.
    pub ionice: Option<IoNice>,
}

impl Limits {
    /// Nothing is limited.
    pub const NONE: Self = Self { max_rss: None, max_cpu_time: None, nice: None, ionice: None };

    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether somebody must look at the tree while it runs.
    pub fn needs_watch(&self) -> bool {
        self.max_rss.is_some() || self.max_cpu_time.is_some()
    }

    /// The limit that the tree has passed, if any. Memory first: it harms others.
    pub fn passed(&self, used: Used) -> Option<Passed> {
        let memory = self.max_rss.filter(|limit| used.rss_bytes > *limit);
        if let Some(limit_bytes) = memory {
            return Some(Passed::Memory { limit_bytes, seen_bytes: used.rss_bytes });
        }
        let limit = self.max_cpu_time.filter(|limit| used.cpu > *limit)?;
        Some(Passed::CpuTime { limit, seen: used.cpu })
    }
}

/// What a tree of processes uses at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Its resident memory.
    pub rss_bytes: u64,
    /// Its CPU time so far.
    pub cpu: Duration,
}

/// A limit that was passed, with what was seen. `Display` is the error of the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// The memory.
    Memory {
        /// What was allowed.
        limit_bytes: u64,
        /// What was there.
        seen_bytes: u64,
    },
    /// The CPU time.
    CpuTime {
        /// What was allowed.
        limit: Duration,
        /// What was used.
        seen: Duration,
    },
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { limit_bytes, seen_bytes } => {
                write!(f, "out of memory (limit {}, used {})", Bytes(*limit_bytes), Bytes(*seen_bytes))
            }
            Self::CpuTime { limit, seen } => {
                write!(f, "CPU time limit ({}) exceeded (used {})", Seconds(*limit), Seconds(*seen))
            }
        }
    }
}

/// `10 s`, `0.5 s`, `10.2 s`: seconds to the tenth, which is finer than anybody looks.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.as_secs(), self.0.subsec_millis()) {
            (seconds, 0) => write!(f, "{seconds} s"),
            (0, millis @ 1..100) => write!(f, "{millis} ms"),
            (seconds, millis) => write!(f, "{seconds}.{} s", millis / 100),
        }
    }
}

/// How a process stands back at the disk, where its scheduler knows classes (`ioprio_set(2)`).
///
/// # Example
///
/// ```
/// use taskwright_core::resource::IoNice;
///
/// assert_eq!("best-effort:7".parse::<IoNice>()?, IoNice::BestEffort(7));
/// assert_eq!(IoNice::Idle.to_string(), "idle");
/// # Ok::<(), taskwright_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoNice {
    /// One of the many, from 0 (first) to 7 (last).
    BestEffort(u8),
    /// Only when nobody else wants the disk.
    Idle,
}

/// The last of the levels among the many.
const LEVEL_MAX: u8 = 7;
/// The level of whoever says nothing.
const LEVEL_DEFAULT: u8 = 4;

impl fmt::Display for IoNice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BestEffort(level) => write!(f, "best-effort:{level}"),
            Self::Idle => f.write_str("idle"),
        }
    }
}

impl serde::Serialize for IoNice {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for IoNice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let level = |text: &str| text.parse().ok().filter(|level| *level <= LEVEL_MAX).map(Self::BestEffort);
        let parsed = match text.split_once(':') {
            None if text == "idle" => Some(Self::Idle),
            None if text == "best-effort" => Some(Self::BestEffort(LEVEL_DEFAULT)),
            Some(("best-effort", text)) => level(text),
            _ => None,
        };
        parsed.ok_or_else(|| {
            Error::invalid(
                format!("the class {:?} of disk access", crate::name::shown(text)),
                "it is neither idle nor best-effort with a level from 0 to 7 (real time needs privileges)",
                "write idle, best-effort or best-effort:7",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        max_rss: Some(512 << 20),
        max_cpu_time: Some(Duration::from_secs(10)),
        nice: None,
        ionice: None,
    };

    fn used(rss_mib: u64, cpu_ms: u64) -> Used {
        Used { rss_bytes: rss_mib << 20, cpu: Duration::from_millis(cpu_ms) }
    }

    #[test]
    fn a_limit_is_passed_by_more_than_it_not_by_all_of_it() {
        assert_eq!(LIMITS.passed(used(512, 10_000)), None);
        assert_eq!(
            LIMITS.passed(used(600, 11_000)).unwrap().to_string(),
            "out of memory (limit 512 MiB, used 600 MiB)"
        );
        assert_eq!(
            LIMITS.passed(used(1, 10_250)).unwrap().to_string(),
            "CPU time limit (10 s) exceeded (used 10.2 s)"
        );
        assert_eq!(Limits::default().passed(used(1 << 20, 1 << 30)), None);
    }

    #[test]
    fn the_classes_of_disk_access_read_and_print_back() {
        for (text, class) in [
            ("idle", IoNice::Idle),
            ("best-effort:0", IoNice::BestEffort(0)),
            ("best-effort:7", IoNice::BestEffort(7)),
        ] {
            assert_eq!(text.parse::<IoNice>().unwrap(), class);
            assert_eq!(class.to_string(), text);
        }
        assert_eq!("best-effort".parse::<IoNice>().unwrap(), IoNice::BestEffort(4));
        for text in ["", "realtime", "realtime:0", "best-effort:8", "idle:1", "best-effort:"] {
            assert!(text.parse::<IoNice>().unwrap_err().is_invalid(), "{text}");
        }
    }
}
