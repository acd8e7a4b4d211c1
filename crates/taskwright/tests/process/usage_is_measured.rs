//! What an attempt used of processor, memory and time is told.

use taskwright::process::Command;

use crate::support::{finish, sh};

const MIB: u64 = 1024 * 1024;

#[tokio::test]
async fn processor_time_is_counted() {
    let output = finish(&sh("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")).await.output;
    assert!(output.usage.cpu_user_us >= 20_000, "{output:?}");
    assert!(output.wall_us + 50_000 >= output.usage.cpu_user_us, "{output:?}");
}

#[tokio::test]
async fn processor_time_of_descendants_is_counted() {
    let usage =
        finish(&sh("sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; true")).await.output.usage;
    assert!(usage.cpu_user_us >= 20_000, "{usage:?}");
}

#[tokio::test]
async fn the_peak_of_the_memory_is_that_of_the_command() {
    let copy = ["if=/dev/zero", "of=/dev/null", "bs=64M", "count=1", "status=none"];
    let usage = finish(&Command::new("dd").args(copy)).await.output.usage;
    assert!((64 * MIB..80 * MIB).contains(&usage.rss_peak_bytes), "{usage:?}");
}

#[tokio::test]
async fn our_own_memory_is_not_blamed_on_a_small_command() {
    // The kernel starts a new process with the peak of the one that forked it.
    let large = std::hint::black_box(vec![1_u8; 100 << 20]);
    let usage = finish(&Command::new("sleep").args(["0.1"])).await.output.usage;
    drop(large);
    assert!(usage.rss_peak_bytes > 0 && usage.rss_peak_bytes < 16 * MIB, "{usage:?}");
}

#[tokio::test]
async fn written_bytes_are_counted_where_the_kernel_counts_them() {
    // A build directory may lie on a file system in memory; /var/tmp rarely does. Elsewhere 0 is the right
    // answer.
    let file = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
    let target = format!("of={}", file.path().display());
    let copy = ["if=/dev/zero", target.as_str(), "bs=1M", "count=4", "conv=fsync", "status=none"];
    let usage = finish(&Command::new("dd").args(copy)).await.output.usage;
    assert!(usage.written_bytes == 0 || usage.written_bytes >= 4 * MIB, "{usage:?}");
}

#[tokio::test]
async fn bytes_that_an_orphan_wrote_are_counted() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let script = "(sh -c 'dd if=/dev/zero of=data bs=1M count=4 conv=fsync status=none; : > done' &)
                  until [ -e done ]; do sleep 0.01; done";
    let mut command = sh(script);
    command.cwd = Some(directory.path().to_owned());
    let usage = finish(&command).await.output.usage;
    assert!(usage.written_bytes == 0 || usage.written_bytes >= 4 * MIB, "{usage:?}");
}
