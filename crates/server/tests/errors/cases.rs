//! The cases, a line each: name, exit code, command; then files, commands before it, and input.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::disk::Disk;
use taskwright::store::sqlite::rusqlite::Connection;

/// The options that a file system is mounted with, and what befalls it before the command runs.
type OnDisk = (&'static str, fn(&Disk));

/// One error to provoke.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) exit: i32,
    pub(crate) args: String,
    pub(crate) files: Vec<(&'static str, String)>,
    pub(crate) setup: Vec<&'static str>,
    pub(crate) prepare: Option<fn(&Path)>,
    pub(crate) input: Vec<u8>,
    /// Whether standard output is a device without space.
    pub(crate) full: bool,
    /// The file system that it runs on, and what befalls that before.
    pub(crate) disk: Option<OnDisk>,
    /// The store, when it is in a database.
    pub(crate) store: Option<String>,
    /// Whether a user runs it who may read everything and write nothing.
    pub(crate) unprivileged: bool,
}

impl Case {
    pub(crate) fn new(name: &'static str, exit: i32, args: impl Into<String>) -> Self {
        let (files, setup, input) = (Vec::new(), Vec::new(), Vec::new());
        let (prepare, full, disk, store, unprivileged) = (None, false, None, None, false);
        Self { name, exit, args: args.into(), files, setup, prepare, input, full, disk, store, unprivileged }
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn on(mut self, store: impl Into<String>) -> Self {
        self.store = Some(store.into());
        self
    }

    fn file(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.files.push((name, text.into()));
        self
    }

    pub(crate) fn config(self, text: &str) -> Self {
        self.file("taskwright.toml", text)
    }

    /// A command to run before; `$ID` stands for the id that the one before it printed.
    pub(crate) fn after(mut self, args: &'static str) -> Self {
        self.setup.push(args);
        self
    }

    pub(crate) fn with_exit(mut self, exit: i32) -> Self {
        self.exit = exit;
        self
    }

    fn prepared(mut self, prepare: fn(&Path)) -> Self {
        self.prepare = Some(prepare);
        self
    }

    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    fn on_a_full_device(mut self) -> Self {
        self.full = true;
        self
    }

    fn on_disk(mut self, options: &'static str, trouble: fn(&Disk)) -> Self {
        self.disk = Some((options, trouble));
        self
    }

    fn by_a_reader(mut self) -> Self {
        self.unprivileged = true;
        self
    }

    /// The command for the golden file, which need not show a megabyte.
    pub(crate) fn shown(&self) -> String {
        const SHOWN_MAX: usize = 100;
        let args: String = self.args.chars().take(SHOWN_MAX).collect();
        let cut = if args.len() < self.args.len() { "..." } else { "" };
        format!("taskwright {args}{cut}")
    }
}

const UNKNOWN: &str = "01890000-0000-7000-8000-000000000000";

const STORE: &str = ".taskwright/taskwright.db";

/// All that need nothing but a directory.
pub(crate) fn all() -> Vec<Case> {
    [
        commands(),
        values(),
        kinds_and_arguments(),
        files_of_jobs(),
        configs(),
        tasks_of_configs(),
        sources_of_configs(),
        stores(),
        jobs(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Those that need a file system of their own.
pub(crate) fn on_disks() -> Vec<Case> {
    const SMALL: &str = "size=1m";
    let many = "{\"kind\": \"noop\"}\n".repeat(20_000);
    vec![
        Case::new("full disk, enqueue", 1, "enqueue exec -- ls")
            .after("enqueue exec -- ls")
            .on_disk(SMALL, Disk::fill),
        Case::new("full disk, import", 1, "enqueue --any-kind --from-file -")
            .input(many)
            .on_disk("size=2m", |_| ()),
        Case::new("full disk, up", 1, "up").after("enqueue exec -- ls").on_disk(SMALL, Disk::fill),
        Case::new("full disk, worker", 1, "worker --until-empty")
            .after("enqueue exec -- ls")
            .on_disk(SMALL, Disk::fill),
        Case::new("full disk, list", 1, "jobs list").after("enqueue exec -- ls").on_disk(SMALL, Disk::fill),
        Case::new("full disk, new store", 1, "migrate").on_disk(SMALL, Disk::fill),
        Case::new("read-only disk, enqueue", 1, "enqueue exec -- ls")
            .after("enqueue exec -- ls")
            .on_disk(SMALL, Disk::seal),
        Case::new("read-only disk, up", 1, "up").after("enqueue exec -- ls").on_disk(SMALL, Disk::seal),
        Case::new("read-only disk, list", 1, "jobs list")
            .after("enqueue exec -- ls")
            .on_disk(SMALL, Disk::seal),
        Case::new("read-only disk, new store", 1, "enqueue exec -- ls").on_disk(SMALL, Disk::seal),
        Case::new("no room for files, enqueue", 1, "enqueue exec -- ls")
            .after("enqueue exec -- ls")
            .on_disk("size=1m,nr_inodes=8", Disk::fill_with_files),
        Case::new("no room for files, new store", 1, "up")
            .on_disk("size=1m,nr_inodes=8", Disk::fill_with_files),
    ]
}

/// Commands of jobs that cannot be run; `$ERROR` is what the job says afterwards.
pub(crate) fn commands_of_jobs() -> Vec<Case> {
    let exec = |name, args: &str| Case::new(name, 0, format!("enqueue exec {args}"));
    vec![
        exec("missing command", "-- no-such-command"),
        exec("missing command by its path", "-- ./no-such-command"),
        exec("command that is not executable", "-- ./script").file("script", "#!/bin/sh\n"),
        exec("directory for a command", "-- /tmp"),
        exec("directory that is missing", "--cwd missing -- ls"),
        exec("directory that is a file", "--cwd script -- ls").file("script", "#!/bin/sh\n"),
        exec("script without an interpreter", "-- ./script")
            .file("script", "#!/no/such/shell\n")
            .prepared(executable),
        exec("file of another machine", "-- ./script").file("script", "\u{7f}ELF").prepared(executable),
    ]
}

fn executable(directory: &Path) {
    open_to(&directory.join("script"), 0o755);
}

/// Changes the rights of a file, if there is one.
pub(crate) fn open_to(path: &Path, mode: u32) {
    if path.exists() {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
}

fn commands() -> Vec<Case> {
    vec![
        Case::new("no command", 2, ""),
        Case::new("misspelt command", 2, "enqeue exec -- ls"),
        Case::new("unknown command", 2, "frobnicate"),
        Case::new("noun without a verb", 2, "jobs"),
        Case::new("misspelt verb", 2, "jobs lst"),
        Case::new("misspelt flag", 2, "jobs list --stat running"),
        Case::new("unknown flag", 2, "jobs list --frob"),
        Case::new("flag without its value", 2, "jobs list --state"),
        Case::new("quiet and verbose", 2, "-q -v jobs list"),
        Case::new("unknown colour mode", 2, "--color sometimes jobs list"),
        Case::new("unknown shell", 2, "completions tcsh"),
        Case::new("missing argument", 2, "jobs reprioritise"),
        Case::new("delay without a time", 2, format!("jobs delay {UNKNOWN}")),
        Case::new(
            "delay with two times",
            2,
            format!("jobs delay {UNKNOWN} --in 1h --until 2026-01-01T00:00:00Z"),
        ),
        Case::new("flag given twice", 2, "migrate --store sqlite:a.db --store sqlite:b.db"),
        Case::new("enqueue without a kind", 2, "enqueue"),
        Case::new("too many workers", 2, "up --workers 5000"),
        Case::new("no concurrency", 2, "worker --concurrency 0"),
        Case::new("unknown benchmark", 2, "bench everything"),
        Case::new("skip bad lines of nothing", 2, "enqueue exec --skip-bad"),
        Case::new("workers stop without ids", 2, "workers stop"),
    ]
}

fn values() -> Vec<Case> {
    vec![
        Case::new("misspelt state", 2, "jobs list --state complted"),
        Case::new("unknown state", 2, "jobs list --state zebra"),
        Case::new("bad job id", 2, "jobs show 42"),
        Case::new("bad worker id", 2, "workers quiet first"),
        Case::new("bad limit", 2, "jobs list --limit 0"),
        Case::new("bad time", 2, "jobs list --after yesterday"),
        Case::new("time without a zone", 2, "enqueue exec --at 2026-11-24T18:30:00 -- ls"),
        Case::new("bad duration", 2, "enqueue exec --in soon -- ls"),
        Case::new("negative duration", 2, "enqueue exec --in -5s -- ls"),
        Case::new("negative duration of a delay", 2, format!("jobs delay {UNKNOWN} --in -5s")),
        Case::new("time limit of nothing", 2, "enqueue exec --timeout 0s -- ls"),
        Case::new("duration over 100 years", 2, "enqueue exec --in 40000d -- ls"),
        Case::new("duration with a fraction", 2, "enqueue exec --in 1.2s -- ls"),
        Case::new("lease too short", 2, "up --lease 1s"),
        Case::new("in and at", 2, "enqueue exec --in 1h --at 2026-11-24T18:30:00Z -- ls"),
        Case::new("bad priority", 2, "enqueue exec --priority urgent -- ls"),
        Case::new("priority out of range", 2, "enqueue exec --priority 40000 -- ls"),
        Case::new("no attempts", 2, "enqueue exec --max-attempts 0 -- ls"),
        Case::new("bad back-off", 2, "enqueue exec --backoff cubic:1s -- ls"),
        Case::new("bad queue", 2, "enqueue exec --queue 'a b' -- ls"),
        Case::new("bad namespace", 2, "--namespace ../etc jobs list"),
        Case::new("empty owner", 2, "enqueue exec --owner '' -- ls"),
        Case::new("empty unique key", 2, "enqueue exec --unique '' -- ls"),
        Case::new("reason on two lines", 2, format!("jobs cancel {UNKNOWN} --reason 'a\nb'")),
        Case::new("after lies behind before", 2, "jobs list --after 1h --before 2h").after("migrate"),
        Case::new("delay into nonsense", 2, format!("jobs delay {UNKNOWN} --until later")),
    ]
}

fn kinds_and_arguments() -> Vec<Case> {
    let task = "[tasks.thumbnail]\ncommand = \"convert\"\nargs = [\"{file}\"]\n";
    let long = format!("enqueue a --any-kind --args '\"{}\"'", "x".repeat(100_000));
    let deep = format!("enqueue a --any-kind --args '{}{}'", "[".repeat(200), "]".repeat(200));
    vec![
        Case::new("unknown kind", 2, "enqueue email.welcome"),
        Case::new("misspelt kind", 2, "enqueue thumbnial").config(task),
        Case::new("bad kind", 2, "enqueue 'a b' --any-kind"),
        Case::new("kind too long", 2, format!("enqueue {} --any-kind", "k".repeat(129))),
        Case::new("arguments not JSON", 2, "enqueue a --any-kind --args '{\"a\": }'"),
        Case::new("arguments too deep", 2, deep),
        Case::new("arguments too large", 2, "enqueue a --any-kind --args -").input(vec![b'1'; (1 << 20) + 1]),
        Case::new("arguments not UTF-8", 2, "enqueue a --any-kind --args -").input(*b"\"\xff\""),
        Case::new("arguments with NUL", 2, "enqueue a --any-kind --args '\"\\u0000\"'"),
        Case::new("arguments from a missing file", 2, "enqueue a --any-kind --args @missing.json"),
        Case::new("arguments from a directory", 2, "enqueue a --any-kind --args @."),
        Case::new("arguments that lack a placeholder", 2, "enqueue thumbnail --args '{\"fil\": 1}'")
            .config(task),
        Case::new("no arguments for a placeholder", 2, "enqueue thumbnail").config(task),
        Case::new("exec without a command", 2, "enqueue exec"),
        Case::new("exec with arguments of another form", 2, "enqueue exec --args '{\"cmd\": \"ls\"}'"),
        Case::new("exec with a shell line", 2, "enqueue exec --args '{\"command\": \"ls -l\"}'"),
        Case::new("exec with arguments and a command", 2, "enqueue exec --args '{}' -- ls"),
        Case::new("command of another kind", 2, "enqueue a --any-kind -- ls"),
        Case::new("variable without a value", 2, "enqueue exec --env PATH -- ls"),
        Case::new("stdin not UTF-8", 2, "enqueue exec --stdin - -- cat").input(*b"\xff"),
        Case::new("key of a megabyte", 2, long.replace("--args '\"", "--unique '").replace("\"'", "'")),
    ]
}

fn files_of_jobs() -> Vec<Case> {
    let from = |name, text: &str| Case::new(name, 1, "enqueue --from-file a.ndjson").file("a.ndjson", text);
    let good = r#"{"kind": "exec", "args": {"command": ["ls"]}}"#;
    let long = format!(r#"{{"kind": "exec", "args": {{"command": ["{}"]}}}}"#, "x".repeat(2 << 20));
    vec![
        Case::new("missing file of jobs", 2, "enqueue --from-file missing.ndjson"),
        Case::new("directory of jobs", 2, "enqueue --from-file ."),
        Case::new("file and arguments", 2, "enqueue --from-file a.ndjson --args 1"),
        from("line not JSON, behind a good one", &format!("{good}\n{{\"kind\": \"exec\",, }}\n")),
        from("line that ends early", "{\"kind\": \"exec\""),
        from("line of a word", "hello"),
        from("line that names nothing", "nothing"),
        from("line with a name without quotes", "{queue: \"a\"}"),
        from("line with a comma too many", "{\"kind\": \"exec\",}"),
        from("line without a comma", "{\"kind\": \"exec\" \"queue\": \"a\"}"),
        from("line with a tab in a text", "{\"kind\": \"a\tb\"}"),
        from("line with two objects", "{\"kind\": \"exec\"} {\"kind\": \"exec\"}"),
        from(
            "line with a time limit of nothing",
            r#"{"kind": "exec", "args": {"command": ["ls"]}, "timeout": 0}"#,
        ),
        from("line that is a list", "[1, 2]"),
        from("misspelt field", r#"{"kind": "exec", "priorty": 5}"#),
        from("line without a kind", r#"{"args": {"command": ["ls"]}}"#),
        from("line of an unknown kind", r#"{"kind": "emial"}"#),
        from("line with a bad queue", r#"{"kind": "exec", "args": {"command": ["ls"]}, "queue": "a b"}"#),
        from(
            "line with a bad time",
            r#"{"kind": "exec", "args": {"command": ["ls"]}, "run_at": "tomorrow"}"#,
        ),
        from(
            "line with a priority out of range",
            r#"{"kind": "exec", "args": {"command": ["ls"]}, "priority": 99999}"#,
        ),
        from("line with no attempts", r#"{"kind": "exec", "args": {"command": ["ls"]}, "max_attempts": 0}"#),
        from("line without a command", r#"{"kind": "exec", "args": {"command": []}}"#),
        from("line with NUL", r#"{"kind": "exec", "args": {"command": ["\u0000"]}}"#),
        from("line too long", &long),
        Case::new("job ids that are none", 2, "jobs wait -").after("migrate").input("hello\n"),
    ]
}

fn configs() -> Vec<Case> {
    let check = |name, text: &str| Case::new(name, 2, "config check").config(text);
    vec![
        Case::new("no config to check", 2, "config check"),
        Case::new("missing config", 2, "--config other.toml jobs list"),
        Case::new("directory for a config", 2, "--config . jobs list"),
        Case::new("config not UTF-8", 2, "config check").prepared(|directory| {
            std::fs::write(directory.join("taskwright.toml"), b"a = \"\xff\"").unwrap();
        }),
        Case::new("config too large", 2, "config check").file("taskwright.toml", "#".repeat((1 << 20) + 1)),
        check("config not TOML", "[store\nurl = \"sqlite:a.db\"\n"),
        check("config with a key twice", "[workers]\nprocesses = 1\nprocesses = 2\n"),
        check("misspelt section", "[worker]\nprocesses = 2\n"),
        check("misspelt key", "[workers]\nproceses = 2\n"),
        check("unknown key", "[server]\ncolour = \"red\"\n"),
        check("text for a number", "[workers]\nprocesses = \"two\"\n"),
        check("number out of bounds", "[workers]\nconcurrency = 0\n"),
        check("number for a text", "[store]\nurl = 7\n"),
        check("value for a section", "workers = 3\n"),
        check("text for a list", "[workers]\nqueues = \"mail\"\n"),
        check("list with a number in it", "[workers]\nqueues = [\"mail\", 3]\n"),
        check("bad queue in a list", "[workers]\nqueues = [\"mail\", \"a b\"]\n"),
        check("config with a bad address", "[server]\nlisten = \"localhost\"\n"),
        check("config with a bad host", "[server]\nhosts = [\"https://x.org\"]\nstreams_max = 0\n"),
        check("config with half a certificate", "[server]\ntls_key = \"key.pem\"\n"),
        check("config with a bad level", "[log]\nlevel = \"loud\"\n"),
        check("config with a bad policy", "[workers]\non_shutdown = \"keep\"\n"),
        Case::new("certificate that is missing", 1, "serve --listen 127.0.0.1:0")
            .config("[server]\ntls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n"),
        Case::new("authority that is missing", 1, "jobs list --server https://127.0.0.1:1 --ca ca.pem"),
        Case::new("profiles without a home", 1, "profiles list"),
        Case::new("profile without a home", 2, "jobs list --profile work"),
        Case::new("profile with a bad name", 2, "profiles add 'a b' --server http://127.0.0.1:1"),
        Case::new("stall that is no time", 2, format!("jobs wait {UNKNOWN} --stall soon")),
        check("config with a bad store", "[store]\nurl = \"mysql://x\"\n"),
        check("config with a bad duration", "[workers]\ngrace = \"soon\"\n"),
        check("config with a bad retention", "[retention]\ncompleted = \"never\"\n"),
        check("generators", "[generators.a]\n"),
        check("settings of a queue", "[queues.mail]\nlimit = 3\n"),
        check("all at once", "[stor]\n[workers]\nprocesses = true\n[queues.mail]\nlimt = 1\n"),
        Case::new("command with a broken config", 2, "jobs list").config("[workers]\ngrace = 1.5\n"),
    ]
}

fn tasks_of_configs() -> Vec<Case> {
    let task = |name, text: &str| Case::new(name, 2, "config check").config(&format!("[tasks.a]\n{text}\n"));
    vec![
        task("task without a command", "timeout = \"1m\""),
        task("task with a shell line", "command = \"ls -l\""),
        task("task with an empty command", "command = \"\""),
        task("task with a misspelt key", "command = \"ls\"\ntimout = \"1m\""),
        task("task with a time limit of nothing", "command = \"ls\"\ntimeout = 0"),
        task("task with a bad variable", "command = \"ls\"\nenv = {\"A=B\" = \"c\"}"),
        task("task with a placeholder in a variable", "command = \"ls\"\nenv = {A = \"{file}\"}"),
        task("task with a placeholder in its command", "command = \"{program}\""),
        task("task with a placeholder in its directory", "command = \"ls\"\ncwd = \"/data/{user}\""),
        task("task with NUL in a variable", "command = \"ls\"\nenv = {A = \"\\u0000\"}"),
        task("task with NUL in an argument", "command = \"ls\"\nargs = [\"\\u0000\"]"),
        task("task with an open brace", "command = \"ls\"\nargs = [\"{file\"]"),
        task("task with a bad name in braces", "command = \"ls\"\nargs = [\"{a b}\"]"),
        task("task with a bad variable", "command = \"ls\"\nenv_pass = [\"A=B\"]"),
        task("task with a number for a variable", "command = \"ls\"\nenv = { A = 1 }"),
        task("task with a bad exit code", "command = \"ls\"\npermanent_exit_codes = [1, 300]"),
        task("task with a bad priority", "command = \"ls\"\npriority = \"urgent\""),
        task("task with a bad back-off", "command = \"ls\"\nbackoff = \"fixed\""),
        task("task with a log too large", "command = \"ls\"\nlog_bytes_max = 99999999"),
        Case::new("built-in task defined again", 2, "config check")
            .config("[tasks.exec]\ncommand = \"ls\"\n"),
        Case::new("task with a bad name", 2, "config check").config("[tasks.\"a b\"]\ncommand = \"ls\"\n"),
    ]
}

fn sources_of_configs() -> Vec<Case> {
    let source =
        |name, text: &str| Case::new(name, 2, "config check").config(&format!("[sources.a]\n{text}\n"));
    vec![
        source("source of nothing", "topic = \"a\""),
        source("source of two things", "path = \"inbox\"\nchannel = \"orders\""),
        source("source of files with a key for channels", "path = \"inbox\"\nurl = \"postgres://h/d\""),
        source("source with a bad glob", "path = \"inbox\"\nglob = \"[a\""),
        source("source with an unknown change", "path = \"inbox\"\non = \"deleted\""),
        source("source that scans all the time", "path = \"inbox\"\nrescan = \"10ms\""),
        source("source with a number for a flag", "path = \"inbox\"\nrecursive = 1"),
        source("channel with no name for a topic", "channel = \"new orders\""),
        source("channel without PostgreSQL", "channel = \"orders\""),
    ]
}

fn stores() -> Vec<Case> {
    vec![
        Case::new("bare path for a store", 2, "--store jobs.db jobs list"),
        Case::new("store without a path", 2, "--store sqlite: jobs list"),
        Case::new("empty store", 2, "--store '' jobs list"),
        Case::new("unknown kind of store", 2, "--store mysql://host/db jobs list"),
        Case::new("SQLite in memory", 2, "--store sqlite::memory: jobs list"),
        Case::new("store that does not exist", 1, "jobs list"),
        Case::new("directory for a store", 1, "--store sqlite:. migrate"),
        Case::new("store below a file", 1, "--store sqlite:a.txt/jobs.db migrate").file("a.txt", "hello"),
        Case::new("store where nothing can be made", 1, "--store sqlite:/proc/none/jobs.db migrate"),
        Case::new("store that is no database", 1, "--store sqlite:a.txt jobs list")
            .file("a.txt", "This is a letter and no database. ".repeat(100)),
        Case::new("store of a newer version", 1, "jobs list").after("migrate").prepared(|directory| {
            let conn = Connection::open(directory.join(STORE)).unwrap();
            conn.execute("INSERT INTO taskwright_migration VALUES (9999, 'later', 'x', 0, 9999)", [])
                .unwrap();
        }),
        Case::new("store of an edited migration", 1, "jobs list").after("migrate").prepared(|directory| {
            let conn = Connection::open(directory.join(STORE)).unwrap();
            conn.execute("UPDATE taskwright_migration SET checksum = 'x'", []).unwrap();
        }),
        Case::new("up at a bad address", 2, "up --listen localhost"),
        Case::new("serve at none", 2, "serve --listen none"),
        Case::new("serve in the clear", 2, "serve --listen 0.0.0.0:0"),
        Case::new("up over HTTP", 2, "up --server http://127.0.0.1:1"),
        Case::new("no server there", 1, "jobs list --server http://127.0.0.1:1"),
        Case::new("a server that is no URL", 2, "jobs list --server nonsense"),
        Case::new("a token for everybody to read", 2, "jobs list --server http://example.org --token t"),
        Case::new("second up on the same store", 1, "up").after("migrate").prepared(|directory| {
            let lock =
                std::fs::File::create(directory.join(".taskwright/taskwright.db-run/up.lock")).unwrap();
            std::io::Write::write_all(&mut &lock, b"4711").unwrap();
            rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
            // Held until the end of the tests, as the daemon that it stands for would hold it.
            std::mem::forget(lock);
        }),
        Case::new("store that was cut in the middle", 1, "jobs list").after("enqueue exec -- ls").prepared(
            |directory| {
                let store = std::fs::File::options().write(true).open(directory.join(STORE)).unwrap();
                store.set_len(store.metadata().unwrap().len() / 2).unwrap();
            },
        ),
        Case::new("store with garbage behind its header", 1, "jobs list")
            .after("enqueue exec -- ls")
            .prepared(|directory| {
                let mut bytes = std::fs::read(directory.join(STORE)).unwrap();
                bytes[100..].fill(b'x');
                std::fs::write(directory.join(STORE), bytes).unwrap();
            }),
        Case::new("store of a directory that may not be written", 1, "enqueue exec -- ls").by_a_reader(),
        Case::new("store that may not be written", 1, "enqueue exec -- ls")
            .after("enqueue exec -- ls")
            .prepared(open_to_readers)
            .by_a_reader(),
        Case::new("store that may not be looked for", 1, "jobs list")
            .after("enqueue exec -- ls")
            .prepared(|directory| open_to(&directory.join(".taskwright"), 0o000))
            .by_a_reader(),
        Case::new("check of a missing store", 1, "migrate --check"),
        Case::new("check of a file without a store", 1, "migrate --check").prepared(|directory| {
            std::fs::create_dir(directory.join(".taskwright")).unwrap();
            let conn = Connection::open(directory.join(STORE)).unwrap();
            conn.execute("CREATE TABLE other (a)", []).unwrap();
        }),
        Case::new("check of a newer store", 1, "migrate --check").after("migrate").prepared(|directory| {
            let conn = Connection::open(directory.join(STORE)).unwrap();
            conn.execute("INSERT INTO taskwright_migration VALUES (9999, 'later', 'x', 0, 9999)", [])
                .unwrap();
        }),
        Case::new("no space for the output", 1, "jobs list").after("enqueue exec -- ls").on_a_full_device(),
    ]
}

fn open_to_readers(directory: &Path) {
    open_to(&directory.join(STORE), 0o444);
    open_to(&directory.join(".taskwright"), 0o555);
}

fn jobs() -> Vec<Case> {
    vec![
        Case::new("cancel without a selector", 2, "jobs cancel").after("migrate"),
        Case::new("cancel of two namespaces alone", 2, "jobs cancel --namespace a --namespace b")
            .after("migrate"),
        Case::new("statistics of two namespaces", 2, "jobs stats --namespace a --namespace b")
            .after("migrate"),
        Case::new("a condition without a value", 2, "jobs list --args customer.id").after("migrate"),
        Case::new("a condition without a step", 2, "jobs list --args customer..id=42").after("migrate"),
        Case::new("an end before the start", 2, "jobs list --ended-after 1h --ended-before 2h")
            .after("migrate"),
        Case::new("show without a selector", 2, "jobs show").after("migrate"),
        Case::new("show an unknown job", 1, format!("jobs show {UNKNOWN}")).after("migrate"),
        Case::new("list an unknown job", 1, format!("jobs list {UNKNOWN}")).after("migrate"),
        Case::new("wait for an unknown job", 1, format!("jobs wait {UNKNOWN}")).after("migrate"),
        Case::new("watch an unknown job", 1, format!("jobs watch {UNKNOWN}")).after("migrate"),
        Case::new("logs of an unknown job", 1, format!("jobs logs {UNKNOWN}")).after("migrate"),
        Case::new("cancel an unknown job", 1, format!("jobs cancel {UNKNOWN}")).after("migrate"),
        Case::new("job of another namespace", 1, "--namespace other jobs show $ID")
            .after("enqueue exec -- ls"),
        Case::new("cancel a job of another namespace", 1, "--namespace other jobs cancel $ID")
            .after("enqueue exec -- ls"),
        Case::new("cancel many without being sure", 2, "jobs cancel --kind exec")
            .file("many.ndjson", "{\"kind\": \"exec\", \"args\": {\"command\": [\"ls\"]}}\n".repeat(21))
            .after("enqueue --from-file many.ndjson"),
        Case::new("purge many without being sure", 2, "queues purge default")
            .file("many.ndjson", "{\"kind\": \"exec\", \"args\": {\"command\": [\"ls\"]}}\n".repeat(21))
            .after("enqueue --from-file many.ndjson"),
        Case::new("unknown queue", 1, "queues show defualt").after("enqueue exec -- ls"),
        Case::new("purge an unknown queue", 1, "queues purge mail").after("migrate"),
        Case::new("unknown generator", 1, "generators show webhooks").after("migrate"),
        Case::new("dead letters of an unknown generator", 1, "generators dead webhooks").after("migrate"),
        Case::new("generators of another namespace", 1, "--namespace other generators pause webhooks")
            .after("migrate"),
        Case::new("generator without a store", 1, "generators poll webhooks"),
        Case::new("remove a collector", 2, "generators remove gc:completed").after("migrate"),
        Case::new("remove the generator of an endpoint", 2, "generators remove webhook:crm").after("migrate"),
        Case::new("remove the generator of a bulk", 2, "generators remove bulk:count:1").after("migrate"),
        Case::new("remove an unknown generator", 1, "generators remove webhooks --yes").after("migrate"),
        Case::new("remove a generator of the config file", 2, "generators remove scans --yes")
            .file(
                "taskwright.toml",
                "[generators.scans]\ntype = \"directory\"\npath = \"in\"\ncommand = [\"true\"]\n".to_owned(),
            )
            .after("migrate"),
        Case::new("bad name of a generator", 2, "generators poll 'a b'"),
        Case::new("name of a generator that is too long", 2, format!("generators poll {}", "x".repeat(119))),
        Case::new("unknown bulk", 1, format!("bulk show {UNKNOWN}")).after("migrate"),
        Case::new("cancel an unknown bulk", 1, format!("bulk cancel {UNKNOWN}")).after("migrate"),
        Case::new("bulk of nobody knows how many", 2, "bulk create exec"),
        Case::new("bulk of an unknown kind", 2, "bulk create exce --size 3"),
        Case::new("bulk of an unknown type", 1, "bulk create --type newsletter"),
        Case::new("bulk with a template that is no JSON", 2, "bulk create exec --size 1 --args {"),
        Case::new("bulk of a file that is not there", 1, "bulk create exec --lines nowhere.txt"),
        Case::new("bulk with an unknown policy", 2, "bulk create exec --size 1 --on-failure explode"),
        Case::new(
            "bulk with a share of nobody knows what",
            1,
            "bulk create exec --lines l.txt --on-failure 5%",
        )
        .file("l.txt", "1\n".to_owned()),
        Case::new("flood that nobody could stop", 2, "flood"),
        Case::new("flood of a store with other jobs", 2, "flood --count 1").after("enqueue exec -- ls"),
        Case::new("stop an unknown worker", 1, format!("workers stop {UNKNOWN}")).after("migrate"),
    ]
}
