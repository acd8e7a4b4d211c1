//! Machines: network namespaces, each joined by a cable to the one in which the database server runs.
//!
//! Nothing outside of them is touched. Only root can make them; a test that cannot says so and passes.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{lives, signal};

/// Where `ip` keeps the namespaces that have names.
const NAMED: &str = "/run/netns";

/// How names of ours begin; the id of the process follows, so that what a killed test left is recognised.
const PREFIX: &str = "taskwright-test-";

/// Some machines, and the hub that they are joined to. All gone with the value, and everything that runs on them.
pub struct Network {
    hub: String,
    machines: Vec<Machine>,
}

/// One machine.
pub struct Machine {
    namespace: String,
    hub: String,
    /// The hub's end of the cable.
    port: String,
    /// The hub's address on it.
    pub server: String,
}

impl Network {
    /// Makes so many machines; `None` where nobody may, which is said.
    pub fn of(machines: usize) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: only root can make network namespaces; run this test as root");
            return None;
        }
        clear_away();
        let own = format!("{PREFIX}{}", std::process::id());
        let hub = format!("{own}-hub");
        if !succeeds(ip(&["netns", "add", &hub])) {
            eprintln!("SKIPPED: network namespaces cannot be made here (a container without CAP_SYS_ADMIN?)");
            return None;
        }
        // From here on, its end clears everything away.
        let mut network = Self { hub, machines: Vec::new() };
        must(ip(&["-n", &network.hub, "link", "set", "lo", "up"]));
        for n in 0..machines {
            let (namespace, port) = (format!("{own}-{n}"), format!("port{n}"));
            must(ip(&["netns", "add", &namespace]));
            let hub = network.hub.clone();
            network.machines.push(Machine { namespace, hub, port, server: format!("10.231.{n}.1") });
            network.machines[n].plug_in(&format!("10.231.{n}.2"));
        }
        Some(network)
    }

    pub fn machine(&self, n: usize) -> &Machine {
        &self.machines[n]
    }

    /// Does something in the hub: what it starts runs there.
    pub fn in_hub<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let hub = File::open(format!("{NAMED}/{}", self.hub)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // Of this thread alone, and of the processes that it starts.
                move_into_link_name_space(hub.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                act()
            });
            thread.join().unwrap()
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for machine in &self.machines {
            machine.pids().into_iter().for_each(|pid| signal(pid, "KILL"));
            let _ = succeeds(ip(&["netns", "del", &machine.namespace]));
        }
        let _ = succeeds(ip(&["netns", "del", &self.hub]));
    }
}

impl Machine {
    fn plug_in(&self, address: &str) {
        let (hub, machine, port) = (&*self.hub, &*self.namespace, &*self.port);
        let peer = ["peer", "name", "eth0", "netns", machine];
        must(ip(&["-n", hub, "link", "add", port, "type", "veth"]).args(peer));
        must(ip(&["-n", hub, "address", "add", &format!("{}/30", self.server), "dev", port]));
        must(ip(&["-n", hub, "link", "set", port, "up"]));
        must(ip(&["-n", machine, "address", "add", &format!("{address}/30"), "dev", "eth0"]));
        must(ip(&["-n", machine, "link", "set", "eth0", "up"]));
        must(ip(&["-n", machine, "link", "set", "lo", "up"]));
    }

    /// A command that starts a program there, in a session of its own, and ends: the program is nobody's child here.
    pub fn starter(&self) -> Command {
        let mut command = ip(&["netns", "exec", &self.namespace, "setsid", "--fork"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// The processes that run there.
    pub fn pids(&self) -> Vec<u32> {
        let output = ip(&["netns", "pids", &self.namespace]).output().unwrap();
        let pids = String::from_utf8(output.stdout).unwrap();
        pids.lines().filter_map(|pid| pid.trim().parse().ok()).collect()
    }

    /// Pulls the cable: nothing gets through any more, and nobody is told.
    pub fn cut(&self) {
        must(ip(&["-n", &self.hub, "link", "set", &self.port, "down"]));
    }

    /// Puts it in again.
    pub fn mend(&self) {
        must(ip(&["-n", &self.hub, "link", "set", &self.port, "up"]));
    }
}

/// Removes what tests left that were killed.
fn clear_away() {
    for entry in std::fs::read_dir(NAMED).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if maker.is_some_and(|maker| !lives(maker)) {
            let _ = succeeds(ip(&["netns", "del", &name]));
        }
    }
}

fn ip(args: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(args);
    command
}

fn succeeds(mut command: Command) -> bool {
    command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn must(mut command: impl std::borrow::BorrowMut<Command>) {
    let command = command.borrow_mut();
    let output = command.output().expect("`ip` is there (Debian: iproute2)");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}
