//! Namespaces are listed, and it is said who may cancel jobs in one.

use taskwright_server::Exit;

use crate::cli::Cli;

#[test]
fn a_namespace_is_there_as_soon_as_something_is_in_it() {
    let cli = Cli::new();
    let ran = cli.run("namespaces list");
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, ""));
    assert!(ran.err.contains("no namespaces"), "{}", ran.err);
    cli.job("probe");
    cli.run("--namespace shop enqueue mail --any-kind");
    cli.run("--namespace attic schedules add tick --every 1h --task mail --any-kind");
    assert_eq!(cli.run("namespaces list").out, "attic\ndefault\nshop\n");
    assert_eq!(cli.run("namespaces list --json --namespace shop").out, "{\"name\":\"shop\"}\n");
}

#[test]
fn who_may_cancel_is_shown_and_set_and_told_in_the_audit() {
    let cli = Cli::new();
    cli.job("probe");
    let shown = cli.run("namespaces show shop default");
    assert_eq!(
        shown.out,
        "shop  jobs are cancelled by owner (whoever submitted them, and admins)\n\
         default  jobs are cancelled by owner (whoever submitted them, and admins)\n"
    );
    assert_eq!(cli.run("namespaces set shop --cancel admin --actor alice").exit, Exit::Ok);
    // Once more changes nothing, and leaves no entry.
    cli.run("namespaces set shop --cancel admin --actor alice");
    assert_eq!(cli.run("namespaces show shop --json").out, "{\"name\":\"shop\",\"cancel\":\"admin\"}\n");
    let told = cli.run("audit list --namespace shop --action namespaces.* --json").out;
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("\"who\":\"alice\"") && told.contains("\"object\":\"admin\""), "{told}");
    for wrong in [
        "namespaces set shop",
        "namespaces set --cancel admin",
        "namespaces set shop --cancel me",
        "namespaces show",
    ] {
        assert_eq!(cli.run(wrong).exit, Exit::Usage, "{wrong}");
    }
}
