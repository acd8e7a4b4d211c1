//! `flood` makes its load where nobody else has jobs, however many of its own hide them.

use taskwright_server::Exit;

use crate::cli::Cli;

#[test]
fn other_jobs_are_seen_behind_any_number_of_its_own() {
    let cli = Cli::new();
    assert_eq!(cli.run("flood --count 60").exit, Exit::Ok);
    assert_eq!(cli.run("flood --count 1").exit, Exit::Ok, "its own are nobody else's");
    cli.job("probe");
    assert_eq!(cli.run("flood --count 60 --yes").exit, Exit::Ok);
    let ran = cli.run("flood --count 1");
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.err.contains("jobs of other kinds, such as probe"), "{}", ran.err);
}
