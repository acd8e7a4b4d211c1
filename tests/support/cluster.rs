//! A private PostgreSQL for tests, shared by all test processes of one target directory, and a fresh database per test.
//!
//! Only the standard library and PostgreSQL's own programs are used, so that the tests of any crate can include it:
//!
//! ```text
//! #[path = "../../../tests/support/cluster.rs"]
//! mod cluster;
//! ```
//!
//! The first process that needs the server makes it (`initdb`) in the system's directory for temporary files, with a
//! socket there and, unless asked for, no TCP. In that directory three lock files, which the kernel releases however a process ends, say
//! who does what:
//!
//! | file | held | by |
//! |---|---|---|
//! | `start.lock` | while the server is looked at, started or stopped | whoever does |
//! | `users.lock` | shared | every process that uses the server |
//! | `watchdog.lock` | | the watchdog, a shell that stops the server and removes it once nobody has used it for a while |
//!
//! What a crash left behind is recognised, as no server answers there, and replaced.
//!
//! The environment variable `TASKWRIGHT_TEST_SERVER_PROGRAMS` names the directory of another server's programs (`initdb`,
//! `pg_ctl`, `postgres`), for tests of another version; `psql` stays the one that is installed.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// What a test that finds no PostgreSQL says.
const MISSING: &str = "these tests need PostgreSQL 14 or newer (initdb, pg_ctl, psql), and none was found by \
                       `pg_config --bindir`, in /usr/lib/postgresql/*/bin or on the PATH; \
                       install it (Debian: apt-get install postgresql postgresql-client)";

/// Members of this role log in by password (SCRAM); everybody else is trusted.
pub const PASSWORD_GROUP: &str = "needs_password";

const PROGRAMS: [&str; 4] = ["initdb", "pg_ctl", "pg_isready", "psql"];

/// Names the directory of the server's programs, if they are not to be the installed ones.
const SERVER_PROGRAMS: &str = "TASKWRIGHT_TEST_SERVER_PROGRAMS";

const PORT: u16 = 5432;

/// Which server: those that differ do not share one.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Flavour {
    /// Whether commits reach the disk. A test that cuts the power needs it; every other is faster without.
    pub fsync: bool,
    /// After how long without users it is stopped.
    pub idle_seconds_max: u32,
    /// Whether it listens on TCP, on all addresses: for a network namespace with nobody else in it.
    pub tcp: bool,
    /// Tells apart what is otherwise the same.
    pub purpose: &'static str,
}

impl Flavour {
    /// For ordinary tests.
    pub const FAST: Self = Self { fsync: false, idle_seconds_max: 60, tcp: false, purpose: "" };
    /// For tests of durability.
    pub const DURABLE: Self = Self { fsync: true, ..Self::FAST };
}

/// A running server. It stays for as long as the value lives, at least.
pub struct Cluster {
    place: Place,
    /// Held shared.
    _users: File,
}

impl Cluster {
    /// The server of ordinary tests, started on first use.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(Flavour::FAST))
    }

    /// Starts the server, unless it runs.
    pub fn start(flavour: Flavour) -> Self {
        let place = Place::of(flavour);
        place.make();
        let _start = place.locked("start.lock");
        let users = place.open("users.lock");
        users.lock_shared().unwrap();
        // First, so that a start that fails half-way is cleared away, too.
        place.watch(flavour);
        if !place.is_there() {
            place.discard();
            place.initialise(flavour);
            place.launch();
        }
        Self { place, _users: users }
    }

    /// A database with nothing in it.
    pub fn database(&self) -> Database<'_> {
        self.database_like("template1")
    }

    /// A copy of a database to which nobody is connected.
    pub fn database_like(&self, template: &str) -> Database<'_> {
        self.database_by(&format!("TEMPLATE {template}"))
    }

    /// A database made by `CREATE DATABASE name OPTIONS`.
    pub fn database_by(&self, options: &str) -> Database<'_> {
        let name = format!("test_{:016x}", RandomState::new().hash_one(std::process::id()));
        self.sql("postgres", &format!("CREATE DATABASE {name} {options}"));
        Database { cluster: self, name }
    }

    /// The database of that name to be copied by [`database_like`](Self::database_like), prepared by the first who asks
    /// for it. It may outlive this run of the tests: the name must tell what was prepared, by a checksum for instance.
    /// `prepare` gets the URL, and leaves no connection open.
    pub fn template(&self, name: &str, prepare: impl FnOnce(&str)) {
        let _making = self.place.locked("template.lock");
        if !self.sql("postgres", &format!("SELECT 1 FROM pg_database WHERE datname = '{name}'")).is_empty() {
            return;
        }
        // Renamed when it is ready, so that half of one is never taken for all of it.
        let unready = format!("{name}_unready");
        self.sql("postgres", &format!("DROP DATABASE IF EXISTS {unready} WITH (FORCE)"));
        self.sql("postgres", &format!("CREATE DATABASE {unready}"));
        prepare(&self.url("postgres", &unready));
        self.sql("postgres", &format!("ALTER DATABASE {unready} RENAME TO {name}"));
    }

    /// The socket that it listens on.
    pub fn socket(&self) -> PathBuf {
        self.place.run().join(format!(".s.PGSQL.{PORT}"))
    }

    /// The directory of PostgreSQL's programs for clients.
    pub fn programs(&self) -> &Path {
        &self.place.programs
    }

    /// Whether it answers.
    pub fn answers(&self) -> bool {
        self.place.answers()
    }

    /// Ends it: `fast` breaks every connection, `immediate` is as a crash. For servers with a purpose of their own.
    pub fn stop(&self, mode: &str) {
        must(
            self.place.as_server("pg_ctl").arg("-D").arg(self.place.data()).args(["-w", "-m", mode, "stop"]),
        );
    }

    /// Starts it again.
    pub fn start_again(&self) {
        self.place.start_server();
    }

    /// What is kept of it on the disk.
    pub fn directory(&self) -> &Path {
        &self.place.directory
    }

    fn url(&self, user: &str, database: &str) -> String {
        let run = self.place.run();
        let host = run.to_str().unwrap().replace('%', "%25").replace('/', "%2F");
        format!("postgres://{user}@{host}:{PORT}/{database}")
    }

    /// Runs SQL as the superuser, by psql; the rows, one a line, columns separated by `|`.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut psql = self.place.program("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database]);
        psql.arg("-h").arg(self.place.run()).args(["-p", &PORT.to_string(), "-f", "-"]);
        let mut child =
            psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Few enough bytes for the pipe, or psql reads them while it answers.
        child.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "psql: {errors}\n{sql}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

/// A database of one test, dropped with the value, and its roles with it.
pub struct Database<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl Database<'_> {
    /// The URL for the superuser.
    pub fn url(&self) -> String {
        self.cluster.url("postgres", &self.name)
    }

    /// The URL for a role of this database.
    pub fn url_of(&self, role: &str) -> String {
        self.cluster.url(role, &self.name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs SQL in it as the superuser; the rows, one a line, columns separated by `|`.
    pub fn sql(&self, sql: &str) -> String {
        self.cluster.sql(&self.name, sql)
    }

    /// Makes a role that may log in, of this database alone; its name.
    pub fn role(&self, purpose: &str, options: &str) -> String {
        let role = format!("{}_{purpose}", self.name);
        self.sql(&format!("CREATE ROLE {role} LOGIN {options}"));
        role
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.cluster.sql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", self.name));
            let roles = format!("SELECT rolname FROM pg_roles WHERE rolname LIKE '{}\\_%'", self.name);
            for role in self.cluster.sql("postgres", &roles).lines() {
                self.cluster.sql("postgres", &format!("DROP ROLE {role}"));
            }
        }));
        // A test that has failed already says enough; a second panic would end the process without it.
        assert!(dropped.is_ok() || std::thread::panicking(), "the database {} cannot be dropped", self.name);
    }
}

/// Where a server is kept and how its programs are run.
struct Place {
    directory: PathBuf,
    programs: PathBuf,
    /// Those that make and run the server.
    server_programs: PathBuf,
    /// The user that runs the server, when we are root: PostgreSQL refuses to run as root.
    server_user: Option<(u32, u32)>,
}

impl Place {
    fn of(flavour: Flavour) -> Self {
        let programs = find_programs().expect(MISSING);
        let server_programs =
            std::env::var_os(SERVER_PROGRAMS).map_or_else(|| programs.clone(), PathBuf::from);
        let is_there = server_programs.is_absolute() && server_programs.join("pg_ctl").is_file();
        assert!(is_there, "{SERVER_PROGRAMS} must name a directory with pg_ctl, by its absolute path");
        // /proc/self belongs to whom the process runs as.
        let user = fs::metadata("/proc/self").unwrap().uid();
        let server_user = (user == 0).then(unprivileged_user);
        let test = std::env::current_exe().unwrap();
        // target/PROFILE/deps/TEST: the processes of one target directory share a server.
        let target = test.ancestors().nth(3).unwrap_or(&test);
        let mut hasher = DefaultHasher::new();
        (target, &server_programs, flavour).hash(&mut hasher);
        let name = format!("taskwright-pg-{user}-{:016x}", hasher.finish());
        let directory = fs::canonicalize(std::env::temp_dir()).unwrap().join(name);
        Self { directory, programs, server_programs, server_user }
    }

    /// What belongs to the server, and is removed with it.
    fn run(&self) -> PathBuf {
        self.directory.join("run")
    }

    fn data(&self) -> PathBuf {
        self.run().join("data")
    }

    /// Makes the directory. Its name can be guessed, so that it must not be somebody else's.
    fn make(&self) {
        match DirBuilder::new().mode(0o755).create(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                panic!("{}: {error}", self.directory.display())
            }
            _ => {}
        }
        let found = fs::symlink_metadata(&self.directory).unwrap();
        let ours = found.is_dir() && found.uid() == fs::metadata("/proc/self").unwrap().uid();
        assert!(ours, "{} belongs to somebody else; remove it", self.directory.display());
    }

    fn open(&self, name: &str) -> File {
        let path = self.directory.join(name);
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).unwrap()
    }

    fn locked(&self, name: &str) -> File {
        let file = self.open(name);
        file.lock().unwrap();
        file
    }

    fn answers(&self) -> bool {
        self.answers_within(3)
    }

    /// Where nobody listens the answer is known at once.
    fn answers_within(&self, seconds: u32) -> bool {
        let mut ready = self.program("pg_isready");
        ready.arg("-q").arg("-h").arg(self.run()).args(["-p", &PORT.to_string(), "-t", &seconds.to_string()]);
        ready.status().unwrap().success()
    }

    /// Whether there is a server. One that others use is not taken for a dead one because it is slow, or takes no connection, at the
    /// moment.
    fn is_there(&self) -> bool {
        const LOOKS: u32 = 60;
        for _ in 0..LOOKS {
            if self.answers_within(60) {
                return true;
            }
            if !self.is_alive() {
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(250));
        }
        false
    }

    /// Removes what a crash left behind.
    fn discard(&self) {
        if self.is_alive() {
            let _ = self
                .as_server("pg_ctl")
                .arg("-D")
                .arg(self.data())
                .args(["-m", "immediate", "stop"])
                .output();
        }
        match fs::remove_dir_all(self.run()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                panic!("{}: {error}", self.run().display())
            }
            _ => {}
        }
    }

    /// Whether the server's process lives, though it does not answer. Its id may be another process's by now, which is
    /// then left alone: a server's working directory is that of its data.
    fn is_alive(&self) -> bool {
        let Ok(file) = fs::read_to_string(self.data().join("postmaster.pid")) else { return false };
        let id = file.lines().next().unwrap_or_default();
        fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|directory| directory == self.data())
    }

    fn initialise(&self, flavour: Flavour) {
        for directory in [self.run(), self.data()] {
            DirBuilder::new().mode(0o700).create(&directory).unwrap();
            if let Some((user, group)) = self.server_user {
                chown(&directory, Some(user), Some(group)).unwrap();
            }
        }
        let mut initdb = self.as_server("initdb");
        initdb.arg("-D").arg(self.data()).args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]);
        must(initdb.arg("--no-sync"));
        let switch = if flavour.fsync { "on" } else { "off" };
        let addresses = if flavour.tcp { "*" } else { "" };
        let settings = format!(
            "listen_addresses = '{addresses}'\n\
             unix_socket_directories = '{}'\n\
             port = {PORT}\n\
             max_connections = 200\n\
             fsync = {switch}\n\
             full_page_writes = {switch}\n\
             deadlock_timeout = 100ms\n\
             timezone = 'Asia/Kathmandu'\n",
            self.run().display(),
        );
        append(&self.data().join("postgresql.conf"), &settings);
        let rules = self.data().join("pg_hba.conf");
        let trust = fs::read_to_string(&rules).unwrap();
        fs::write(&rules, format!("local all +{PASSWORD_GROUP} scram-sha-256\n{trust}")).unwrap();
        if flavour.tcp {
            append(&rules, "host all all samenet trust\n");
        }
    }

    fn start_server(&self) {
        let log = self.run().join("log");
        let mut start = self.as_server("pg_ctl");
        start.arg("-D").arg(self.data()).arg("-l").arg(&log).args(["-w", "-t", "60", "start"]);
        let started = start.output().unwrap();
        let told = fs::read_to_string(&log).unwrap_or_default();
        assert!(started.status.success(), "the server does not start: {told}");
    }

    fn launch(&self) {
        self.start_server();
        let mut psql = self.program("psql");
        psql.args(["-X", "-q", "-U", "postgres", "-p", &PORT.to_string()]).arg("-h").arg(self.run());
        must(psql.args(["-d", "postgres", "-c", &format!("CREATE ROLE {PASSWORD_GROUP} NOLOGIN")]));
    }

    /// Sees to it that a watchdog is there. It is in a process group of its own, as the runner ends that of a test.
    #[allow(clippy::zombie_processes, reason = "the watchdog outlives whoever starts it")]
    fn watch(&self, flavour: Flavour) {
        if self.open("watchdog.lock").try_lock().is_err() {
            return;
        }
        let mut sh = Command::new("sh");
        sh.arg("-c").arg(WATCHDOG).arg("watchdog").arg(&self.directory).arg(&self.server_programs);
        sh.arg(flavour.idle_seconds_max.to_string()).args(self.to_server_user());
        sh.current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        let mut watchdog = sh.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(watchdog.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "watching\n", "the watchdog needs `flock` (Debian: util-linux)");
    }

    /// A program of PostgreSQL's, run as ourselves and without settings from outside.
    fn program(&self, name: &str) -> Command {
        clean(Command::new(self.programs.join(name)))
    }

    /// A program of the server, run as its user.
    fn as_server(&self, name: &str) -> Command {
        let mut words = self.to_server_user();
        words.push(self.server_programs.join(name).into_os_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        clean(command)
    }

    /// The words before a command that is to run as the user of the server.
    fn to_server_user(&self) -> Vec<OsString> {
        let Some((user, group)) = self.server_user else { return Vec::new() };
        let words =
            ["setpriv", "--reuid", &user.to_string(), "--regid", &group.to_string(), "--clear-groups"];
        words.map(OsString::from).to_vec()
    }
}

/// Directory, programs, seconds, and the words that make it the user of the server. It looks at nothing but the locks.
const WATCHDOG: &str = r#"
directory=$1 programs=$2 seconds=$3; shift 3
trap '' HUP
exec 9>"$directory/watchdog.lock"
flock -n 9 || exit 1
echo watching
exec >/dev/null
idle=0
while sleep 1 9>&-; do
    if flock -n "$directory/users.lock" true; then idle=$((idle + 1)); else idle=0; fi
    [ "$idle" -ge "$seconds" ] || continue
    exec 8>"$directory/start.lock"
    flock 8
    if flock -n "$directory/users.lock" true; then
        data=$directory/run/data
        read -r server <"$data/postmaster.pid" || server=none
        # The id may be another process's by now.
        if [ "$(readlink "/proc/$server/cwd")" = "$data" ]; then
            "$@" "$programs/pg_ctl" -D "$data" -m immediate stop 8>&- 9>&-
        fi
        rm -rf "$directory/run"
        # Before start.lock, so that whoever starts next finds no watchdog that is about to leave.
        exec 9>&-
        exit 0
    fi
    exec 8>&-
    idle=0
done
"#;

fn clean(mut command: Command) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("LC_ALL", "C").current_dir("/");
    command
}

fn must(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// The directory of PostgreSQL's programs.
fn find_programs() -> Option<PathBuf> {
    let told = Command::new("pg_config").arg("--bindir").output().ok();
    let told = told.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end()));
    let mut installed: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path()).collect())
        .unwrap_or_default();
    let number =
        |path: &PathBuf| path.file_name().and_then(OsStr::to_str).and_then(|name| name.parse::<u32>().ok());
    // The newest first.
    installed.sort_by_key(|path| std::cmp::Reverse(number(path)));
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&on_path).collect();
    let mut places =
        told.into_iter().chain(installed.into_iter().map(|path| path.join("bin"))).chain(on_path);
    places.find(|place| place.is_absolute() && PROGRAMS.iter().all(|program| place.join(program).is_file()))
}

/// User and group of `postgres`, or else of `nobody`.
fn unprivileged_user() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let of = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    of("postgres")
        .or_else(|| of("nobody"))
        .expect("PostgreSQL does not run as root, and no other user was found")
}
