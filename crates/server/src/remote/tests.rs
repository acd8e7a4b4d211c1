//! A verb over HTTP does and says what it does and says on a store.

use std::io::Write;
use std::sync::{Arc, Mutex};

use taskwright::Env;
use taskwright_store::Store;
use taskwright_store::memory::MemoryStore;
use tokio::sync::oneshot;

use crate::config::{Config, Listen};
use crate::http::{Limits, Server};
use crate::output::Terminal;
use crate::{App, Exit, Io};

/// A store in memory, and a server on it.
struct Site {
    store: MemoryStore,
    url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Site {
    fn new() -> Self {
        Self::with(Config::default())
    }

    /// One whose server has this config file.
    fn with(config: Config) -> Self {
        Self::start(config, false)
    }

    /// One whose server asks everybody who they are; and a superuser's token.
    fn guarded() -> (Self, String) {
        let site = Self::start(Config::default(), true);
        let token = site.on_store(&["tokens", "create", "root", "--superuser"]).out.trim().to_owned();
        (site, token)
    }

    fn start(config: Config, is_guarded: bool) -> Self {
        let store = MemoryStore::new();
        let served = store.handle();
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let server = Server::bind("127.0.0.1:0".parse::<Listen>().unwrap()).await.unwrap().unwrap();
                tell.send(server.url()).unwrap();
                let user = match is_guarded {
                    true => crate::http::tests::principals_of(&served),
                    false => crate::http::tests::local_user(&crate::cli::local_actor()),
                };
                let mut made = crate::http::tests::made(&served, &Env::system(), user, Limits::default());
                made.config = config;
                let running = server.run(made);
                // Dropping the other end is as good as saying so.
                let _ = stopped.await;
                running.close().await;
            });
        });
        Self { store, url: told.recv().unwrap(), stop: Some(stop), thread: Some(thread) }
    }

    /// Has a job run to its end, and rolls that up.
    fn end_one(&self) {
        use taskwright_store::RollUpStore as _;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let worked = runtime.block_on(async {
            crate::http::tests::run_one(&self.store, "probe").await;
            self.store.roll_up(1_000).await.unwrap()
        });
        assert!(worked.executions > 0);
    }

    /// Leaves two event sources behind, of which one has trouble.
    fn watch_files(&self) {
        use taskwright_core::{Namespace, Timestamp};
        use taskwright_store::{SourceNote, SourcePlace, SourceStore as _};
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for (name, namespace, host) in [("drop", "default", "here"), ("mail", "other", "")] {
                let (name, namespace) = (name.parse().unwrap(), Namespace::new(namespace).unwrap());
                let place =
                    SourcePlace { namespace, name, host: host.to_owned(), path: "/var/drop".to_owned() };
                let now = Timestamp::from_micros(1_790_000_000_000_000);
                let key = self.store.open_source(now, place).await.unwrap();
                let error = (!host.is_empty()).then(|| "no such directory".to_owned());
                let mode = "poll".to_owned();
                let note = SourceNote { mode, scanned_at: Some(now), files: 7, error };
                assert!(self.store.note_source(now, key, note).await.unwrap());
            }
        });
    }

    /// Runs a command on the store itself.
    fn on_store(&self, words: &[&str]) -> Ran {
        let store: Arc<dyn Store> = Arc::new(self.store.handle());
        run(words, Some(store))
    }

    /// Runs a command over HTTP.
    fn over_http(&self, words: &[&str]) -> Ran {
        let words: Vec<&str> = ["--server", &self.url].iter().chain(words).copied().collect();
        run(&words, None)
    }

    /// The same as whoever has this token.
    fn as_whom(&self, token: &str, words: &str) -> Ran {
        self.over_http(&["--token", token].into_iter().chain(words.split(' ')).collect::<Vec<_>>())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// What a command left behind.
#[derive(Clone, Debug, PartialEq)]
struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn run(words: &[&str], store: Option<Arc<dyn Store>>) -> Ran {
    let (out, err) = (Shared::default(), Shared::default());
    let io = Io {
        input: Box::new(std::io::empty()),
        out: Box::new(out.clone()),
        err: Box::new(err.clone()),
        terminal: Terminal::default(),
    };
    let exit =
        crate::cli::run(App::new(), std::iter::once("taskwright").chain(words.iter().copied()), io, store);
    Ran { exit, out: out.text(), err: err.text() }
}

/// The ids in a text, in their order, once each.
fn ids(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for word in text.split(|c: char| !(c.is_ascii_hexdigit() || c == '-')) {
        if word.len() == 36 && word.matches('-').count() == 4 && !found.iter().any(|known| known == word) {
            found.push(word.to_owned());
        }
    }
    found
}

/// Text without what is another in each run: ids are numbered as they come, and times are gone.
fn plain(ran: &Ran, known: &mut Vec<String>) -> Ran {
    let mut clean = |text: &str| {
        for id in ids(text) {
            if !known.contains(&id) {
                known.push(id);
            }
        }
        let mut text = text.to_owned();
        for (number, id) in known.iter().enumerate() {
            text = text.replace(id, &format!("<{number}>"));
        }
        // Times have a digit, a colon and a digit; dates, two dashes: the digits of each word that has one go.
        let timeless = |word: &str| match word.contains(':') && word.contains("20") {
            true => word.chars().filter(|c| !c.is_ascii_digit()).collect(),
            false => word.to_owned(),
        };
        text.split_inclusive([' ', ',', '\n', '}']).map(timeless).collect::<String>()
    };
    Ran { exit: ran.exit, out: clean(&ran.out), err: clean(&ran.err) }
}

/// What is typed, one after the other; `$N` is the N-th id that was printed so far.
const SCRIPT: &[&str] = &[
    "enqueue mail --any-kind --args {\"a\":1.50} --queue outbox --priority high --owner alice",
    "enqueue mail --any-kind --in 2h --max-attempts none --backoff fixed:5s --timeout 90s --unique k --json",
    "enqueue mail --any-kind --unique k",
    "enqueue report --any-kind --hold --at-most-once",
    "enqueue exec -- echo hello",
    "queues pause outbox other",
    "queues pause outbox --json",
    "queues resume other",
    "queues resume other --json",
    "jobs delay $0 --in 1h",
    "jobs run-now $0 --json",
    "jobs run-now $0",
    "jobs reprioritise $0 --to realtime",
    "jobs release $2 --reason because",
    "jobs cancel $1 01890000-0000-7000-8000-000000000000",
    "jobs cancel --kind report --yes --json",
    "jobs cancel --kind nothing --yes",
    "jobs retry $2",
    "jobs awaken $2",
    "jobs free $2",
    "jobs delete $0",
    "jobs cancel $0 --json",
    "jobs delete $0 --json",
    "jobs show $0",
    "jobs cancel",
    "events emit order.paid --payload {\"order\":7} --key 7",
    "events emit order.paid --json",
    "queues purge outbox --yes",
    "queues purge default --yes --json",
    "queues show nothing",
    "workers stop 01890000-0000-7000-8000-000000000000",
    "workers list",
    "services list",
    "schedules add tick --every 1h --task mail --any-kind",
    "schedules add tick --every 2h --task mail --any-kind --json",
    "schedules add tick --every 2h --task mail --any-kind",
    "schedules list --json",
    "schedules fire tick --at 2026-01-05T07:00:00Z",
    "schedules fire tick --at 2026-01-05T07:00:00Z --json",
    "schedules fire nothing",
    "schedules history tick --json",
    "schedules pause tick nothing",
    "schedules pause tick --json",
    "schedules show tick --json",
    "schedules resume tick",
    "schedules remove tick nothing",
    "schedules list",
    "generators list",
    "generators pause nothing",
    "bulk create mail --size 3 --any-kind --on-failure 5%",
    "bulk list --json",
    "bulk pause $4 --reason later",
    "bulk pause $4 --json",
    "bulk resume $4",
    "bulk cancel $4 --reason enough",
    "bulk show $4 --json",
    "bulk retry $4 --yes",
    "bulk show 01890000-0000-7000-8000-000000000000",
    "webhooks add billing https://example.org/hook --topic order.* --json --secret-file SECRET",
    "webhooks add billing https://example.org/hook",
    "webhooks list --json",
    "webhooks disable billing nothing --reason moving",
    "webhooks disable billing --drop --json",
    "webhooks show billing --json",
    "webhooks enable billing",
    "webhooks enable billing --json",
    "webhooks redeliver billing --after 1h",
    "webhooks deliveries billing",
    "webhooks rotate nothing",
    "webhooks remove billing nothing",
    "webhooks show billing",
    "gc set completed failed --keep 3d",
    "gc set hours --keep 1h",
    "gc set failed --forever --json",
    "gc set completed --default",
    "gc run cancelled --dry-run --json",
    "gc set cancelled --keep 0s",
    "gc run cancelled --dry-run",
    "gc run cancelled completed --json",
    "gc run cancelled",
    "gc list",
    "gc show cancelled --json",
    "generators pause gc:cancelled",
    "gc run cancelled",
    "namespaces set shop --cancel admin",
    "namespaces set shop shop2 --cancel superuser --json",
    "namespaces show shop default",
    "namespaces show shop --json",
    "namespaces list",
    "flood --count 7 --rate 1000 --yes --quiet",
    "flood",
    "sources list",
];

#[test]
fn what_is_changed_over_http_is_told_in_the_same_words() {
    let (here, there) = (Site::new(), Site::new());
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
    let (mut known_here, mut known_there) = (Vec::new(), Vec::new());
    let (mut typed_here, mut typed_there) = (Vec::<String>::new(), Vec::<String>::new());
    for line in SCRIPT {
        let words = |typed: &[String]| -> Vec<String> {
            let fill = |word: &str| match word.strip_prefix('$').and_then(|n| n.parse::<usize>().ok()) {
                Some(number) => typed[number].clone(),
                None => word.to_owned(),
            };
            line.split(' ')
                .map(|word| if word == "SECRET" { secret.to_str().unwrap().to_owned() } else { fill(word) })
                .collect()
        };
        let (mine, yours) = (words(&typed_here), words(&typed_there));
        let on_store = here.on_store(&mine.iter().map(String::as_str).collect::<Vec<_>>());
        let over_http = there.over_http(&yours.iter().map(String::as_str).collect::<Vec<_>>());
        let (over_http_, on_store_) =
            (plain(&over_http, &mut known_there), plain(&on_store, &mut known_here));
        assert_eq!(ageless(&over_http_), ageless(&on_store_), "{line}");
        if line.starts_with("enqueue") || line.starts_with("bulk create") {
            for (typed, ran) in [(&mut typed_here, &on_store), (&mut typed_there, &over_http)] {
                let new = ids(&ran.out).into_iter().filter(|id| !typed.contains(id)).collect::<Vec<_>>();
                typed.extend(new);
            }
        }
    }
    // And nothing else was done than here.
    let all = ["jobs", "list", "--oldest-first"];
    let (on_store, of_server) = (here.on_store(&all), there.on_store(&all));
    assert!(on_store.out.lines().count() > 2);
    assert_eq!(ageless(&plain(&of_server, &mut known_there)), ageless(&plain(&on_store, &mut known_here)));
}

/// Text without how long ago something was, which is another at each look.
fn ageless(ran: &Ran) -> Ran {
    let is_unit = |word: &str| matches!(word, "us" | "ms" | "s" | "min" | "h" | "d");
    let is_number = |word: &str| {
        let word = word.trim_start_matches('(');
        !word.is_empty() && word.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    let line = |line: &str| {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        for at in (1..words.len()).rev() {
            if is_unit(words[at].trim_end_matches([',', ':'])) && is_number(words[at - 1]) {
                words[at - 1] = "AGE";
                words.remove(at);
            }
        }
        words.join(" ").replace("(now)", "AGE ago)").replace(" now", " AGE ago")
    };
    let clean = |text: &str| text.lines().map(line).collect::<Vec<_>>().join("\n");
    Ran { exit: ran.exit, out: clean(&ran.out), err: clean(&ran.err) }
}

/// What looks, on a store that has something to see.
const LOOKS: &[&str] = &[
    "jobs list",
    "jobs list --json",
    "jobs list --json --oldest-first --limit 2",
    "jobs list --kind MA* --state available,held --owner al*",
    "jobs list --no-owner --json",
    "jobs list --namespace other",
    "jobs list --namespace other --namespace default --json",
    "jobs list --cancel-requested no --json",
    "jobs list --host h* --json",
    "jobs list --args n=* --args *=1 --json",
    "jobs list --ended-after 30d --claimed-before 0s --json",
    "jobs list --ended-before 1h --claimed-after 2h --json",
    "jobs list --last-worker 01890000-0000-7000-8000-000000000000 --json",
    "jobs list --min-priority bulk --json",
    "jobs show --kind mail",
    "jobs show --kind mail --json",
    "jobs show $0 --json",
    "jobs show $0 --namespace other",
    "jobs logs $0",
    "jobs logs $0 --json",
    "jobs wait $0 --timeout 0s",
    "jobs wait 01890000-0000-7000-8000-000000000000",
    "jobs watch $0 01890000-0000-7000-8000-000000000000 --timeout 0s",
    "queues list",
    "queues list --json",
    "queues show outbox --json",
    "events list",
    "events list --json",
    "events list --topic order.paid -n 1",
    "workers list --all --json",
    "services list --json",
    "schedules list",
    "schedules list --json",
    "schedules show tick",
    "schedules show tick --json",
    "schedules next tick -n 3 --json",
    "schedules next tick --from 2099-01-01T00:00:00Z",
    "schedules history tick",
    "schedules history tick --json -n 1",
    "schedules show nothing",
    "generators list --json",
    "generators show bulk:count:$1 --json",
    "generators dead bulk:count:$1",
    "bulk list",
    "bulk list --json",
    "bulk show $1",
    "bulk show $1 --json",
    "webhooks list",
    "webhooks list --json",
    "webhooks show billing",
    "webhooks show billing --json",
    "webhooks show nothing",
    "webhooks deliveries billing --json",
    "stats",
    "stats --by queue --since 2h",
    "stats --by kind --every hour --json",
    "stats --kind nothing",
    "stats --namespace other --json",
    "gc list",
    "gc list --json",
    "gc show completed hours",
    "gc show completed --json",
    "gc run completed --dry-run",
    "sources list",
    "sources list --json",
    "sources list --namespace other --json",
    "namespaces list",
    "namespaces list --json",
    "namespaces list --namespace other",
    "namespaces show default --json",
    "whoami --json",
];

#[test]
fn what_is_looked_at_over_http_looks_the_same() {
    let site = Site::new();
    for line in SCRIPT.iter().take(6).chain(&["events emit order.paid", "events emit order.sent --json"]) {
        site.on_store(&line.split(' ').collect::<Vec<_>>());
    }
    site.on_store(&["queues", "pause", "outbox"]);
    for line in [
        "schedules add tick --every 1h --task mail --any-kind",
        "schedules fire tick --at 2026-01-05T07:00:00Z",
        "schedules fire tick --at 2026-01-06T07:00:00Z",
        "schedules pause tick",
        "webhooks add billing https://example.org/hook --topic order.*",
        "webhooks disable billing --reason moving",
        "schedules add daily --cron 0/5_*_*_*_* --timezone Europe/Berlin --task mail --any-kind",
    ] {
        let words: Vec<String> = line.split(' ').map(|word| word.replace('_', " ")).collect();
        let ran = site.on_store(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    }
    let queue = site.on_store(&["jobs", "cancel", "--kind", "exec", "--yes"]);
    assert_eq!(queue.exit, Exit::Ok);
    site.end_one();
    site.watch_files();
    let bulk = site.on_store(&["bulk", "create", "mail", "--size", "3", "--any-kind"]).out;
    let id = ids(&site.on_store(&["jobs", "list", "--oldest-first"]).out).remove(0);
    let mut seen = 0;
    for line in LOOKS {
        let words: Vec<&str> = line.split(' ').collect();
        let words: Vec<String> =
            words.iter().map(|word| word.replace("$0", &id).replace("$1", bulk.trim())).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (on_store, over_http) = (site.on_store(&words), site.over_http(&words));
        assert_eq!(ageless(&over_http), ageless(&on_store), "{line}");
        seen += on_store.out.len();
    }
    assert!(seen > 5_000, "{seen}");
}

#[test]
fn many_jobs_of_a_file_are_stored_over_http() {
    let site = Site::new();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jobs.ndjson");
    let line = |n: usize| format!("{{\"kind\": \"mail\", \"args\": {n}}}\n");
    std::fs::write(&file, (0..2_500).map(line).collect::<String>()).unwrap();
    let ran = site.over_http(&["enqueue", "--from-file", file.to_str().unwrap(), "--any-kind"]);
    assert_eq!((ran.exit, ids(&ran.out).len()), (Exit::Ok, 2_500), "{}", ran.err);
    let listed = site.over_http(&["jobs", "list", "--json"]);
    assert_eq!(listed.out.lines().count(), 2_500);
}

#[test]
fn what_needs_the_store_itself_is_refused_and_a_server_that_is_not_there_is_told() {
    let site = Site::new();
    for verb in ["up", "serve", "worker", "migrate", "bench drain"] {
        let ran = site.over_http(&verb.split(' ').collect::<Vec<_>>());
        assert_eq!(ran.exit, Exit::Usage, "{verb}: {}", ran.err);
        assert!(ran.err.contains("needs the store itself"), "{verb}: {}", ran.err);
    }
    let url = site.url.clone();
    drop(site);
    let ran = run(&["--server", &url, "jobs", "list"], None);
    assert_eq!(ran.exit, Exit::Operational);
    assert!(ran.err.contains("cannot be reached: connection refused"), "{}", ran.err);
    for (server, why) in [
        ("nonsense", "it is no URL"),
        ("ftp://localhost", "neither http:// nor https://"),
        ("http://me:secret@localhost", "holds a name or a password"),
        ("http://localhost/path", "has a path or a query"),
    ] {
        let ran = run(&["--server", server, "jobs", "list"], None);
        assert_eq!(ran.exit, Exit::Usage, "{server}");
        assert!(ran.err.contains(why) && !ran.err.contains("secret"), "{server}: {}", ran.err);
    }
    let open = run(&["--server", "http://example.org", "--token", "t", "jobs", "list"], None);
    assert!(open.err.contains("for everybody to read"), "{}", open.err);
}

#[test]
fn jobs_are_stored_by_the_tasks_of_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("taskwright.toml");
    let text = "[tasks.mail]\ncommand = \"true\"\nqueue = \"outbox\"\npriority = \"high\"\nmax_attempts = 2\nbackoff = \"fixed:5s\"\ntimeout = \"90s\"\n";
    std::fs::write(&file, text).unwrap();
    let site = Site::with(Config::load(&file).unwrap());
    let lines = directory.path().join("jobs.ndjson");
    std::fs::write(&lines, "{\"kind\": \"mail\"}\n{\"kind\": \"mail\", \"queue\": \"mine\"}\n").unwrap();
    let settings = |id: &str| {
        let shown: serde_json::Value =
            serde_json::from_str(&site.over_http(&["jobs", "show", id, "--json"]).out).unwrap();
        let of = |field: &str| shown[field].to_string();
        ["queue", "priority", "max_attempts", "backoff", "timeout_us"].map(of)
    };
    let of_task = ["\"outbox\"", "1500", "\"2\"", "\"fixed:5000000us\"", "90000000"];
    let stored = site.over_http(&["enqueue", "mail"]);
    assert_eq!(stored.exit, Exit::Ok, "{}", stored.err);
    assert_eq!(settings(stored.out.trim()), of_task);
    // What is said goes before it, on a line and in a file.
    let said = site.over_http(&["enqueue", "mail", "--queue", "mine", "--max-attempts", "7"]);
    assert_eq!(settings(said.out.trim())[..3], ["\"mine\"", "1500", "\"7\""]);
    let from_file = ids(&site.over_http(&["enqueue", "--from-file", lines.to_str().unwrap()]).out);
    assert_eq!(settings(&from_file[0]), of_task);
    assert_eq!(settings(&from_file[1])[..2], ["\"mine\"", "1500"]);
    // And of a schedule, which the API fills in itself, too.
    let added =
        site.over_http(&["schedules", "add", "s", "--every", "1h", "--task", "mail", "--queue", "default"]);
    assert_eq!(added.exit, Exit::Ok, "{}", added.err);
    let fired = site.over_http(&["schedules", "fire", "s", "--json"]);
    let fired = ids(&fired.out);
    assert_eq!(settings(&fired[0])[..3], ["\"default\"", "1500", "\"2\""], "the queue was said");
    // Nor do the items of a bulk get more than jobs do, unless that is said; the API fills it in itself, too.
    for (said, most) in [(None, "2"), (Some("4"), "4")] {
        let mut words = vec!["bulk", "create", "mail", "--size", "3"];
        words.extend(said.into_iter().flat_map(|most| ["--max-attempts", most]));
        let made = site.over_http(&words);
        assert_eq!(made.exit, Exit::Ok, "{}", made.err);
        let shown = site.over_http(&["jobs", "show", made.out.trim(), "--json"]);
        assert!(shown.out.contains(&format!("\"max_attempts\":{most}")), "{}", shown.out);
    }
    let asked = serde_json::json!({ "type": "count", "params": { "kind": "mail", "size": 3 } });
    let made: Option<serde_json::Value> =
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let server = super::Remote::new(&site.url, None, None).unwrap();
            let none = &super::NOTHING;
            server.ask(::http::Method::POST, "/api/v1/bulk", None, none, Some(&asked), &[]).await.unwrap()
        });
    let shown = site.over_http(&["jobs", "show", made.unwrap()["id"].as_str().unwrap(), "--json"]);
    assert!(shown.out.contains("\"max_attempts\":2"), "{}", shown.out);
    for words in [vec!["enqueue", "mial"], vec!["bulk", "create", "mial", "--size", "3"]] {
        let refused = site.over_http(&words);
        assert_eq!(refused.exit, Exit::Usage, "{}", refused.err);
        assert!(
            refused.err.contains("knows no such task") && refused.err.contains("write `mail`"),
            "{}",
            refused.err
        );
    }
    assert_eq!(site.over_http(&["enqueue", "mial", "--any-kind"]).exit, Exit::Ok);
}

#[test]
fn a_server_and_a_store_are_not_named_together() {
    let site = Site::new();
    let ran = site.over_http(&["--store", "sqlite:x.db", "jobs", "list"]);
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.err.contains("--store together with --server"), "{}", ran.err);
}

#[test]
fn an_error_over_http_names_what_is_wrong() {
    let (site, root) = Site::guarded();
    let nobody = site.over_http(&["queues", "list"]);
    assert_eq!(nobody.exit, Exit::Operational, "{}", nobody.err);
    assert!(nobody.err.contains("it wants to know who asks, and there is no token"), "{}", nobody.err);
    let wrong = site.as_whom("tw_nonsense", "queues list");
    assert_eq!(wrong.exit, Exit::Operational, "{}", wrong.err);
    assert!(
        wrong.err.contains("error: the token\n") && wrong.err.contains("does not know it"),
        "{}",
        wrong.err
    );
    // What a token is held to is what a verb needs, and no more.
    let added = site.as_whom(&root, "webhooks add billing https://example.org/hook --topic order.*");
    assert_eq!(added.exit, Exit::Ok, "{}", added.err);
    let held = site.as_whom(&root, "tokens create hooks --role viewer --scope webhooks.view").out;
    for words in ["webhooks list", "webhooks show billing --json", "webhooks deliveries billing"] {
        let ran = site.as_whom(held.trim(), words);
        assert_eq!(ran.exit, Exit::Ok, "{words}: {}", ran.err);
    }
    let unknown = site.as_whom(held.trim(), "webhooks deliveries nothing");
    assert!(unknown.err.contains("there is no such webhook"), "{}", unknown.err);
    let refused = site.as_whom(held.trim(), "generators list");
    assert!(refused.err.contains("generators.view"), "{}", refused.err);
    // Whoever is asked may be a store or a server.
    let missing = site.as_whom(&root, "jobs show 01890000-0000-7000-8000-000000000000");
    assert!(
        !missing.err.contains("--store") && missing.err.contains("which store or server"),
        "{}",
        missing.err
    );
    // A way is named as it was said.
    let refused = site.as_whom(&root, "migrate");
    assert!(refused.err.contains("--server") && refused.err.contains("TASKWRIGHT_SERVER"), "{}", refused.err);
}

#[test]
fn a_server_tells_who_asks_and_lets_nobody_do_more_than_they_may() {
    let (site, root) = Site::guarded();
    let member = site.as_whom(&root, "tokens create ci --namespace shop --role member --expires 3d").out;
    let member = member.trim();
    let who = site.as_whom(member, "whoami");
    assert_eq!(who.exit, Exit::Ok, "{}", who.err);
    let first: Vec<&str> = who.out.lines().take(3).collect();
    assert_eq!(first, ["token:ci@shop", "kind     token", "roles    member of shop"]);
    assert!(who.out.contains("expires  20") && who.out.contains(&site.url), "{}", who.out);
    let boss = site.as_whom(&root, "whoami --json");
    assert!(
        boss.out.contains("\"superuser\":true") && boss.out.contains("\"expires_at\":null"),
        "{}",
        boss.out
    );
    assert_eq!(site.as_whom(member, "namespaces list").out, "shop\n");
    for (words, permission) in [
        ("namespaces set shop --cancel owner", "namespaces.change"),
        ("namespaces show elsewhere", "namespaces.view"),
        ("gc list", "system.view"),
        ("gc run completed --dry-run", "system.view"),
        ("gc run completed", "system.change"),
        ("gc set completed --forever", "system.change"),
        ("flood --count 1 --yes", "reserved.use"),
    ] {
        let refused = site.as_whom(member, words);
        assert_ne!(refused.exit, Exit::Ok, "{words}");
        assert!(refused.err.contains(permission), "{words}: {}", refused.err);
    }
    // Who may cancel is no secret from whoever is there.
    let shown = site.as_whom(member, "namespaces show shop");
    assert_eq!(shown.exit, Exit::Ok, "{}", shown.err);
    let set = site.as_whom(&root, "namespaces set shop --cancel admin");
    assert_eq!(set.out, "shop  jobs are cancelled by admin (admins)\n", "{}", set.err);
    let id = site.as_whom(member, "enqueue mail --any-kind").out;
    let refused = site.as_whom(member, &format!("jobs cancel {}", id.trim()));
    assert!(
        refused.out.contains("skipped") && refused.out.contains("you may not do that"),
        "{}",
        refused.out
    );
    assert!(site.as_whom(member, "jobs list --json").out.contains("\"state\":\"available\""));
}

#[test]
fn doctor_looks_at_the_way_to_the_server_and_then_at_what_the_server_finds() {
    let site = Site::new();
    site.on_store(&["enqueue", "mail", "--any-kind"]);
    site.on_store(&["queues", "pause", "outbox"]);
    site.watch_files();
    let (on_store, over_http) = (site.on_store(&["doctor"]), site.over_http(&["doctor"]));
    assert_eq!((on_store.exit, over_http.exit), (Exit::Operational, Exit::Operational));
    let names = |ran: &Ran| -> Vec<String> {
        let of = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
        ran.out.lines().filter(|line| !line.starts_with(' ')).filter_map(of).collect()
    };
    let ours = ["reach", "tls", "ready", "token", "version", "process", "access", "config"];
    assert_eq!(names(&over_http)[..ours.len()], ours, "{}", over_http.out);
    assert_eq!(names(&over_http)[ours.len()..], names(&on_store), "{}", over_http.out);
    // What is wrong, and what mends it, is told alike.
    let wrong = |ran: &Ran| -> Vec<String> {
        ran.out
            .lines()
            .filter(|line| line.starts_with("!!") || line.contains("fix:"))
            .map(str::to_owned)
            .collect()
    };
    assert!(wrong(&on_store).len() >= 6, "{}", on_store.out);
    // The server of these tests knows the kind, and so it is no trouble there.
    let of_store: Vec<String> = wrong(&on_store).into_iter().filter(|line| !line.contains("kinds")).collect();
    for line in &of_store {
        let is_there = over_http.out.contains(line.as_str());
        assert!(is_there || line.contains("start that program"), "{line}\n{}", over_http.out);
    }
    assert!(wrong(&over_http).iter().any(|line| line.contains("paused: outbox")), "{}", over_http.out);

    let (guarded, root) = Site::guarded();
    let soon = guarded.as_whom(&root, "tokens create soon --role viewer --expires 1h").out;
    let told = guarded.as_whom(soon.trim(), "doctor");
    assert_eq!(told.exit, Exit::Operational);
    assert!(
        told.out.contains("it expires in") && told.out.contains("needs the permission system.view"),
        "{}",
        told.out
    );
    let told = guarded.as_whom(&root, "doctor --json");
    assert_eq!(told.exit, Exit::Ok, "{}{}", told.out, told.err);
    assert!(told.out.lines().count() > 12, "{}", told.out);
    let told = guarded.over_http(&["doctor"]);
    assert!(told.exit == Exit::Operational && told.out.contains("there is no token"), "{}", told.out);

    let url = site.url.clone();
    drop(site);
    let gone = run(&["--server", &url, "doctor"], None);
    assert_eq!(gone.exit, Exit::Operational);
    assert!(gone.out.starts_with("!!  reach") && gone.out.contains("cannot be reached"), "{}", gone.out);
}
