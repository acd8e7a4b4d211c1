//! A program's file is replaced while it runs, as every deployment does: its children go on with the program that it is.

use std::os::unix::fs::PermissionsExt;

use taskwright::{App, TaskError, task};

use crate::support::{run_as_program, site};

#[task("greet", process, max_attempts = 1)]
async fn greet(name: String) -> Result<String, TaskError> {
    let called = std::env::args().next().unwrap_or_default();
    Ok(format!("hello {name}, says {}", called.rsplit('/').next().unwrap_or_default()))
}

#[tokio::test]
#[ignore = "a program, which the other test starts"]
async fn program() {
    let Some(site) = site() else { return };
    let app = App::new().store("memory:").task::<Greet>();
    app.serve_attempt().await.unwrap();
    let client = app.client().await.unwrap();
    let greeted = async |name: &str| client.enqueue(Greet { name: name.to_owned() }).await?.output().await;
    let told = async {
        let file = site.join("program");
        assert_eq!(greeted("Ada").await?, "hello Ada, says program");
        let other = site.join("other");
        std::fs::write(&other, "#!/bin/sh\nexit 9\n").unwrap();
        std::fs::set_permissions(&other, PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::rename(&other, &file).unwrap();
        assert_eq!(greeted("Grace").await?, "hello Grace, says program", "another program has its name");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(greeted("Mary").await?, "hello Mary, says program", "no program has its name");
        Ok::<_, taskwright::Error>(())
    };
    app.run_while(told).await.unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_worker_whose_file_was_replaced_or_removed_starts_itself() {
    let tests = std::env::current_exe().unwrap();
    // Beside it, so that the file can have two names.
    let site = tempfile::tempdir_in(tests.parent().unwrap()).unwrap();
    let temp = tempfile::tempdir().unwrap();
    let file = site.path().join("program");
    std::fs::hard_link(&tests, &file).unwrap();
    run_as_program(&file, concat!(module_path!(), "::program"), site.path(), temp.path());
}
