//! `jobs show` of one job and `jobs wait` exit by the state: 0 completed, 4 failed, 8 not over, 16 stopped.

use taskwright::State;
use taskwright_server::Exit;

use crate::cli::Cli;

const ENDS: [(State, Exit); 6] = [
    (State::Completed, Exit::Ok),
    (State::Failed, Exit::Failed),
    (State::Cancelled, Exit::Stopped),
    (State::Running, Exit::Unfinished),
    (State::Retryable, Exit::Unfinished),
    (State::Available, Exit::Unfinished),
];

#[test]
fn show_of_one_job_exits_by_its_state() {
    let cli = Cli::new();
    for (state, exit) in ENDS {
        let id = cli.job_in(state);
        let ran = cli.run(&format!("jobs show {id}"));
        assert_eq!(ran.exit, exit, "{state}: {}{}", ran.out, ran.err);
        assert!(ran.out.contains(state.as_str()), "{}", ran.out);
    }
}

#[test]
fn show_of_several_jobs_exits_0() {
    let cli = Cli::new();
    let (a, b) = (cli.job_in(State::Failed), cli.job_in(State::Completed));
    assert_eq!(cli.run(&format!("jobs show {a} {b}")).exit, Exit::Ok);
}

#[test]
fn wait_exits_by_the_state_and_gives_up_when_the_time_is_up() {
    let cli = Cli::new();
    for (state, exit) in ENDS {
        let id = cli.job_in(state);
        let ran = cli.run(&format!("jobs wait {id} --timeout 0s"));
        assert_eq!(ran.exit, exit, "{state}: {}{}", ran.out, ran.err);
    }
}

#[test]
fn wait_for_several_jobs_exits_by_the_worst() {
    let cli = Cli::new();
    // The one that is not over comes last, because a claim takes the oldest.
    let [done, cancelled, failed, open] =
        [State::Completed, State::Cancelled, State::Failed, State::Available]
            .map(|state| cli.job_in(state).to_string());
    let ids = [done, open, cancelled, failed];
    for (count, exit) in [(1, Exit::Ok), (2, Exit::Unfinished), (3, Exit::Stopped), (4, Exit::Failed)] {
        let ran = cli.run(&format!("jobs wait {} --timeout 0s", ids[..count].join(" ")));
        assert_eq!(ran.exit, exit, "{}", ran.out);
    }
}

#[test]
fn wait_takes_the_ids_that_enqueue_printed() {
    let mut cli = Cli::new();
    let ids = [cli.job_in(State::Completed), cli.job_in(State::Completed)];
    cli.input(format!("{}\n\n{}\n", ids[0], ids[1]));
    let ran = cli.run("jobs wait -");
    assert_eq!((ran.exit, ran.out.lines().count()), (Exit::Ok, 2), "{}", ran.err);
}

#[test]
fn an_unknown_job_is_an_operational_error_and_the_known_ones_are_told() {
    let cli = Cli::new();
    let id = cli.job_in(State::Completed);
    let ran = cli.run(&format!("jobs wait {id} 01890000-0000-7000-8000-000000000000"));
    assert_eq!(ran.exit, Exit::Operational);
    assert!(ran.out.contains(&id.to_string()) && ran.err.contains("01890000"), "{}{}", ran.out, ran.err);
}
