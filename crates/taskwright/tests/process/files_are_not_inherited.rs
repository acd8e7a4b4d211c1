//! S22. S22: a command gets its three streams and the progress pipe, whatever this process has open.

use taskwright::process::Stop;

use crate::support::{sh, stop_when_ready};

#[tokio::test]
async fn a_command_has_four_files_even_if_ours_would_be_inherited() {
    let null = std::fs::File::open("/dev/null").unwrap();
    // Without close-on-exec, like a file that this process has inherited itself.
    let leaky = rustix::io::dup(&null).unwrap();
    let mut seen = Vec::new();
    let command = sh("echo $$; echo ready; exec sleep 1000");
    stop_when_ready(&command, Stop::Cancelled, |lines| {
        let files = std::fs::read_dir(format!("/proc/{}/fd", lines[0])).unwrap();
        seen = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        seen.sort_unstable();
        assert_eq!(seen, ["0", "1", "2", "3"]);
    })
    .await;
    assert_eq!(seen.len(), 4);
    drop(leaky);
}
