//! A command hears every signal, whatever the process that started it ignores.

use taskwright::process::Command;

use crate::support::finish;

#[tokio::test]
async fn what_this_process_ignores_is_not_ignored_by_the_command() {
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1] {
        // SAFETY: ignoring a signal installs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let finished = finish(&Command::new("grep").args(["SigIgn:", "/proc/self/status"])).await;
    let mask = finished.lines()[0].trim_start_matches("SigIgn:").trim().to_owned();
    // The lower 31 bits are the signals that have names; the one after them belongs to the C library.
    assert_eq!(u64::from_str_radix(&mask, 16).unwrap() & 0x7fff_ffff, 0, "{mask}");
}
