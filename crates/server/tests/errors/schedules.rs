//! What is wrong with schedules and events.

use super::cases::Case;

const TICK: &str = "schedules add tick --every 10s -- date";

pub(crate) fn cases() -> Vec<Case> {
    flags().into_iter().chain(names()).chain(configs()).collect()
}

/// NU-X5: what makes no schedule is refused at registration, and says where the fault is.
fn flags() -> Vec<Case> {
    let add = |name, flags: &str| Case::new(name, 2, format!("schedules add a {flags} -- date"));
    let next = |name, flags: &str| Case::new(name, 2, format!("schedules next {flags}"));
    vec![
        add("schedule without a trigger", ""),
        add("cron hour out of range", "--cron '0 25 * * *'"),
        add("cron with too few fields", "--cron '0 8 * *'"),
        add("cron day of a short month", "--cron '0 0 30 2 *'"),
        add("cron of a name that there is not", "--cron '0 0 * * MO'"),
        add("unknown alias", "--cron @fortnightly"),
        add("unknown time zone", "--daily 08:00 --timezone Europe/Berlni"),
        add("impossible date", "--at 2026-02-30T08:00"),
        add("time of day that there is not", "--monthly '31 24:00'"),
        add("period too short", "--every 10ms"),
        add("bad condition on an event", "--event 'order.paid where total >> 100'"),
        add("star within a part of a topic", "--event order.pa*"),
        add("unknown misfire policy", "--every 1m --misfire twice"),
        add("unknown overlap policy", "--every 1m --overlap wait"),
        add(
            "window that ends before it starts",
            "--every 1m --start 2027-01-01T00:00 --end 2026-01-01T00:00",
        ),
        add("coalescing without an event", "--every 1m --coalesce"),
        add("command and arguments", "--every 1m --args '{}'"),
        Case::new("unknown placeholder", 2, "schedules add a --every 1m -- echo '{dew}'"),
        Case::new(
            "placeholder of an event that never comes",
            2,
            "schedules add a --every 1m -- echo '{event.topic}'",
        ),
        Case::new("schedule without a task", 2, "schedules add a --every 1m"),
        Case::new("schedule of an unknown task", 2, "schedules add a --every 1m --task emial"),
        Case::new("command for another task", 2, "schedules add a --every 1m --task b --any-kind -- date"),
        Case::new("exec on a schedule without a command", 2, "schedules add a --every 1m --task exec"),
        Case::new("bad name of a schedule", 2, "schedules add 'a b' --every 1m -- date"),
        next("expression that cannot be read", "--cron '61 * * * *'"),
        next("expression and a schedule", "a --cron '0 8 * * *'"),
        next("neither expression nor schedule", ""),
        next("time that cannot be read", "--every 1m --from yesterday"),
        Case::new("bad topic", 2, "events emit 'a b'"),
        Case::new("topic of ends of jobs", 2, "events emit job.completed --payload '{}'"),
        Case::new("payload not JSON", 2, "events emit a --payload '{'"),
        Case::new("number too large for filters", 2, "events emit a --payload '[1e400]'"),
        Case::new("bad id of an event", 2, "events emit a --id 42"),
    ]
}

fn names() -> Vec<Case> {
    let on_tick = |name, args: &str| Case::new(name, 1, args).after(TICK);
    vec![
        on_tick("unknown schedule", "schedules show report"),
        on_tick("misspelt schedule", "schedules pause tik"),
        on_tick("schedule of another namespace", "--namespace other schedules remove tick"),
        on_tick("schedule that is only in the file", "schedules pause nightly")
            .config("[schedules.nightly]\ntask = \"a\"\ndaily = \"02:00\"\n"),
        Case::new("schedule without a store", 1, "schedules show tick"),
        on_tick("time for a firing that there is not", "schedules fire tick --at 2026-13-01T00:00")
            .with_exit(2),
    ]
}

fn configs() -> Vec<Case> {
    let check =
        |name, text: &str| Case::new(name, 2, "config check").config(&format!("[schedules.nightly]\n{text}"));
    vec![
        check("config with a bad expression", "task = \"a\"\ncron = [\"0 2 * * *\", \"0 2 32 * *\"]\n"),
        check(
            "config with an unknown time zone",
            "task = \"a\"\ndaily = \"02:00\"\ntimezone = \"Mars/Base\"\n",
        ),
        check("config with an impossible date", "task = \"a\"\nat = \"2026-02-30T02:00\"\n"),
        check("config with a misspelt key", "task = \"a\"\ncorn = \"0 2 * * *\"\n"),
        check("config without a trigger", "task = \"a\"\n"),
        check("config without a task", "every = \"1h\"\n"),
        check(
            "config with a bad event",
            "task = \"a\"\nevent = { topic = \"a\", where = { n = { above = 1 } } }\n",
        ),
        check(
            "config with an empty window",
            "task = \"a\"\nevery = \"1h\"\nend = \"2026-01-01T00:00\"\nstart = \"2026-01-02T00:00\"\n",
        ),
        check(
            "config with arguments that lack something",
            "task = \"t\"\nevery = \"1h\"\n[tasks.t]\ncommand = \"echo\"\nargs = [\"{name}\"]\n",
        ),
        check("config with arguments not JSON", "task = \"a\"\nevery = \"1h\"\nargs = \"{due}\"\n"),
    ]
}
