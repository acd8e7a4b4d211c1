//! Fault 65: a gigabyte of output costs the worker neither memory nor log space, and the command is not
//! blocked.

use taskwright::process::{Command, Exit};

use crate::support::finish;

const MIB: u64 = 1024 * 1024;

fn own_peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn a_gigabyte_of_output_is_cut_at_the_limit_and_says_so() {
    finish(&Command::new("true")).await;
    let before = own_peak_bytes();
    let finished = finish(&Command::new("head").args(["-c", "1073741824", "/dev/zero"])).await;
    let grown = own_peak_bytes() - before;
    assert!(grown < 32 * MIB, "the peak grew by {grown} bytes");
    assert_eq!(finished.output.exit, Exit::Code(0));
    assert_eq!(finished.output.log_dropped, 1023 * MIB);
    let (kept, marker) = finished.stdout.split_at(MIB as usize);
    assert!(kept.iter().all(|&byte| byte == 0));
    assert_eq!(marker, b"\n[log truncated: the limit of 1 MiB was reached]\n");
}
