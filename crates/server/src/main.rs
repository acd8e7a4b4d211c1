//! The binary.

fn main() -> std::process::ExitCode {
    taskwright_server::main(taskwright_server::App::new())
}
