//! Fault 10: a command that cannot be started says what is wrong and what to do, each cause in its own way.

use std::path::Path;

use taskwright::process::{Command, SpawnError};

use crate::support::{finish, sh, try_finish};

/// A directory with files made by another process, so that no fork of ours holds one of them open for
/// writing.
async fn with_files(script: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut make = sh(script);
    make.cwd = Some(directory.path().to_owned());
    assert!(finish(&make).await.output.exit.is_success());
    directory
}

fn at(directory: &Path, name: &str) -> Command {
    Command::new(directory.join(name))
}

async fn refused(command: &Command) -> SpawnError {
    let error = try_finish(command).await.expect_err("this cannot be started");
    let message = error.to_string();
    assert!(!message.contains("os error"), "{message}");
    error
}

#[tokio::test]
async fn a_missing_program_is_named_with_how_many_places_were_searched() {
    let mut command = Command::new("no-such-tool");
    command.env.insert("PATH".into(), "/nowhere:/usr/bin".into());
    let error = refused(&command).await;
    assert!(matches!(error, SpawnError::NotFound { .. }));
    assert_eq!(
        error.to_string(),
        "command not found: no-such-tool (looked in 2 directories of PATH); install it, or give its full path"
    );
}

#[tokio::test]
async fn a_missing_path_and_an_empty_name_are_not_found() {
    assert!(refused(&Command::new("/no/such/tool")).await.to_string().contains("looked for /no/such/tool"));
    assert!(matches!(refused(&Command::new("")).await, SpawnError::NotFound { .. }));
}

#[tokio::test]
async fn a_file_without_the_executable_bit_is_told_from_a_missing_one() {
    let directory = with_files("echo > tool").await;
    let error = refused(&at(directory.path(), "tool")).await;
    assert!(matches!(error, SpawnError::NotExecutable { .. }));
    assert!(
        error.to_string().contains("permission denied") && error.to_string().contains("chmod +x"),
        "{error}"
    );
    let error = refused(&Command::new(directory.path())).await;
    assert!(error.to_string().contains("it is a directory"), "{error}");
}

#[tokio::test]
async fn a_program_of_another_architecture_is_not_given_to_a_shell() {
    // The head of an ELF file for AArch64, and a text file without a first line that names an interpreter.
    let directory = with_files(
        "printf '\\177ELF\\2\\1\\1\\0\\0\\0\\0\\0\\0\\0\\0\\0\\2\\0\\267\\0\\1\\0\\0\\0' > foreign
         echo 'echo pwned' > script; chmod +x foreign script",
    )
    .await;
    for name in ["foreign", "script"] {
        let error = refused(&at(directory.path(), name)).await;
        assert!(matches!(error, SpawnError::WrongFormat { .. }), "{name}: {error:?}");
        assert!(error.to_string().contains("another architecture"), "{error}");
    }
}

#[tokio::test]
async fn a_script_whose_interpreter_is_missing_says_so() {
    let directory = with_files("echo '#!/no/such/interpreter' > script; chmod +x script").await;
    let error = refused(&at(directory.path(), "script")).await;
    assert!(matches!(error, SpawnError::NoInterpreter { .. }), "{error:?}");
}

#[tokio::test]
async fn a_bad_directory_is_told_from_a_bad_program() {
    let directory = with_files("echo > file").await;
    for (cwd, why) in
        [(directory.path().join("none"), "does not exist"), (directory.path().join("file"), "not a dir")]
    {
        let mut command = Command::new("true");
        command.cwd = Some(cwd);
        let error = refused(&command).await;
        assert!(matches!(error, SpawnError::BadDirectory { .. }));
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn arguments_that_are_too_long_are_named_with_their_length() {
    let error = refused(&Command::new("true").args(["x".repeat(300_000)])).await;
    assert!(matches!(error, SpawnError::ArgsTooLong { bytes, .. } if bytes > 300_000), "{error:?}");
}

#[tokio::test]
async fn text_that_no_program_can_get_is_refused_by_name() {
    let error = refused(&Command::new("true").args(["a", "b\0c"])).await;
    assert!(
        error.to_string().starts_with("cannot pass argument 2 to a program: it holds a NUL byte"),
        "{error}"
    );
    let mut command = Command::new("true");
    command.env.insert("A=B".into(), "c".into());
    assert!(refused(&command).await.to_string().contains("the variable A=B"));
}
