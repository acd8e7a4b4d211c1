//! Fault 63: a command that the kernel kills for its memory says so, instead of "exit code 137".
//!
//! Needs a memory group that this user may make (in a container or as root); without one there is nothing to
//! test.

use std::path::PathBuf;

use taskwright::process::{Command, Exit};

use crate::support::{finish, sh};

const LIMIT_BYTES: u64 = 40 * 1024 * 1024;

/// A memory group with a limit, removed at the end.
struct Group {
    mount: PathBuf,
    path: PathBuf,
}

impl Group {
    fn make() -> Option<Self> {
        let versions = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        versions.iter().find_map(|(mount, limit)| {
            let mount = PathBuf::from(mount);
            let path = mount.join(format!("taskwright-test-{}", std::process::id()));
            std::fs::create_dir(&path).ok()?;
            let group = Self { mount, path };
            std::fs::write(group.path.join(limit), LIMIT_BYTES.to_string()).ok()?;
            // Where there is swap, the limit would only move the memory there.
            let _ = std::fs::write(group.path.join("memory.swap.max"), "0");
            // This process joins it, like a worker in a container that has a limit.
            std::fs::write(group.path.join("cgroup.procs"), "0").ok()?;
            Some(group)
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::write(self.mount.join("cgroup.procs"), "0");
        let _ = std::fs::remove_dir(&self.path);
    }
}

#[tokio::test]
async fn a_command_that_reaches_the_memory_limit_says_out_of_memory_and_the_worker_lives() {
    let Some(_group) = Group::make() else {
        eprintln!("not tested: no memory group can be made here");
        return;
    };
    let copy = ["if=/dev/zero", "of=/dev/null", "bs=100M", "count=1", "status=none"];
    let below_a_shell = sh(&format!("dd {}; exit $?", copy.join(" ")));
    for command in [Command::new("dd").args(copy), below_a_shell] {
        let exit = finish(&command).await.output.exit;
        assert_eq!(exit, Exit::OutOfMemory { limit_bytes: Some(LIMIT_BYTES) }, "{command:?}");
        assert_eq!(exit.to_string(), "killed: out of memory (limit 40 MiB)");
    }
}
