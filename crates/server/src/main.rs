//! The binary.

/// What requests and jobs allocate is freed by other threads than those that asked for it, which is where the allocator of glibc waits
/// for locks (docs/design/0002-dependencies.md).
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    taskwright_server::main(taskwright_server::App::new())
}
