//! The HTTP API of the real binary: where it listens, what it does, and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use crate::support::{Site, lines_of, now, signal};

/// A running `up` or `serve` that listens.
struct Served {
    child: Child,
    lines: Receiver<String>,
    address: String,
}

impl Served {
    fn start<const N: usize>(site: &Site, args: [&str; N]) -> Self {
        Self::start_at(site, args, "127.0.0.1:0", Stdio::null())
    }

    fn start_at<const N: usize>(site: &Site, args: [&str; N], listen: &str, out: Stdio) -> Self {
        let mut command = site.taskwright(args);
        command.env_remove("TASKWRIGHT_LISTEN").args(["--listen", listen]);
        let mut child = command.stderr(Stdio::piped()).stdout(out).spawn().unwrap();
        let lines = lines_of(child.stderr.take().unwrap());
        let mut address = None;
        loop {
            let line = lines.recv_timeout(Duration::from_secs(30)).unwrap();
            if let Some((_, found)) = line.split_once("http://") {
                address = Some(found.to_owned());
            }
            if line.contains("Ctrl-C stops it") {
                break;
            }
        }
        Self { child, lines, address: address.unwrap() }
    }

    /// Asks, and gives status and body.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        ask(&self.address, method, path, body).unwrap()
    }

    fn stop(mut self) -> (std::process::ExitStatus, Vec<String>) {
        signal(self.child.id(), "TERM");
        let status = self.child.wait().unwrap();
        (status, std::mem::replace(&mut self.lines, std::sync::mpsc::channel().1).into_iter().collect())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(address: &str, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
    ask_as("", address, method, path, body)
}

/// The same with a line more in the head.
fn ask_as(line: &str, address: &str, method: &str, path: &str, body: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{line}Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok((status, body.to_owned()))
}

fn id_of(stored: &str) -> String {
    let from = stored.find("\"id\":\"").unwrap() + 6;
    stored[from..from + 36].to_owned()
}

#[test]
fn a_job_that_is_stored_over_http_runs_and_is_waited_for() {
    let site = Site::new();
    let up = Served::start(&site, ["up", "--workers", "1"]);
    let (status, stored) =
        up.ask("POST", "/api/v1/jobs", r#"{"kind":"exec","args":{"command":["echo","hello"]}}"#);
    assert_eq!(status, 201, "{stored}");
    let id = id_of(&stored);
    let (status, job) = up.ask("GET", &format!("/api/v1/jobs/{id}/wait?timeout=30s"), "");
    assert_eq!((status, job.contains("\"state\":\"completed\"")), (200, true), "{job}");
    assert!(up.ask("GET", &format!("/api/v1/jobs/{id}/logs"), "").1.contains("hello\\n"));
    assert!(up.ask("GET", "/metrics", "").1.contains("taskwright_workers{state=\"alive\"} 1"));
    // The same with the command line, on another machine for all it knows.
    let url = format!("http://{}", up.address);
    let elsewhere = tempfile::tempdir().unwrap();
    let mut show = site.taskwright(["jobs", "wait", &id, "--server", &url]);
    let shown = show.current_dir(elsewhere.path()).output().unwrap();
    assert!(shown.status.success(), "{shown:?}");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("completed"));
    let (status, _) = up.stop();
    assert!(status.success());
}

#[test]
fn stopping_refuses_what_is_new_and_finishes_what_runs_and_what_waits_is_told() {
    let site = Site::new();
    let mut up = Served::start(&site, ["up", "--workers", "1", "--grace", "20s"]);
    let script = "echo begun > begun; while [ ! -e go ]; do sleep 0.02; done; echo over";
    let args = serde_json::json!({ "kind": "exec", "args": { "command": ["sh", "-c", script], "cwd": site.path() } });
    let (_, stored) = up.ask("POST", "/api/v1/jobs", &args.to_string());
    let id = id_of(&stored);
    site.wait_until("the job to run", Duration::from_secs(20), || site.path().join("begun").exists());
    let address = up.address.clone();
    let path = format!("/api/v1/jobs/{id}/wait?timeout=60s");
    let waiting = std::thread::spawn(move || ask(&address, "GET", &path, ""));
    let mut following = TcpStream::connect(&up.address).unwrap();
    write!(following, "GET /api/v1/jobs/{id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut following = BufReader::new(following).lines();
    assert!(following.any(|line| line.unwrap() == "event: job"));

    signal(up.child.id(), "TERM");
    // Whoever follows is told, and what would change something is refused while the job goes on.
    assert!(following.any(|line| line.is_ok_and(|line| line.contains("the server is being stopped"))));
    let (status, problem) = up.ask("POST", "/api/v1/jobs", r#"{"kind":"exec","args":{"command":["true"]}}"#);
    assert_eq!((status, problem.contains("urn:taskwright:problem:shutting-down")), (503, true), "{problem}");
    let (status, job) = waiting.join().unwrap().unwrap();
    assert_eq!((status, job.contains("\"state\":\"running\"")), (200, true), "{job}");
    assert_eq!(up.ask("GET", "/readyz", "").0, 503);
    assert_eq!(up.ask("GET", "/healthz", "").0, 200);
    std::fs::write(site.path().join("go"), "").unwrap();
    assert!(up.child.wait().unwrap().success());
    assert_eq!(site.job(id.parse().unwrap()).view.state, taskwright::State::Completed);
    assert!(ask(&up.address, "GET", "/healthz", "").is_err());
}

/// S17: nothing is open to others, from the first moment on.
#[test]
fn others_are_let_in_with_a_token_that_the_first_start_prints_once() {
    let site = Site::new();
    let mut served = Served::start_at(&site, ["serve", "--allow-clear-text"], "0.0.0.0:0", Stdio::piped());
    let address = served.address.replace("0.0.0.0", "127.0.0.1");
    let token = lines_of(served.child.stdout.take().unwrap()).recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(token.starts_with("tw_"), "{token}");
    let (status, problem) = ask(&address, "GET", "/api/v1/jobs", "").unwrap();
    assert_eq!(
        (status, problem.contains("urn:taskwright:problem:unauthenticated")),
        (401, true),
        "{problem}"
    );
    assert_eq!(ask(&address, "GET", "/healthz", "").unwrap().0, 200);
    let line = format!("Authorization: Bearer {token}\r\n");
    let (status, who) = ask_as(&line, &address, "GET", "/api/v1/whoami", "").unwrap();
    assert_eq!((status, who.contains("\"name\":\"token:bootstrap\"")), (200, true), "{who}");
    assert!(served.stop().0.success());
    // The second start finds somebody, and prints nothing; at the machine's own address it asks, too.
    let mut again = Served::start_at(&site, ["serve", "--allow-clear-text"], "0.0.0.0:0", Stdio::piped());
    let mut out = again.child.stdout.take().unwrap();
    assert!(again.stop().0.success());
    let mut printed = String::new();
    out.read_to_string(&mut printed).unwrap();
    assert_eq!(printed, "");
    let own = Served::start(&site, ["serve"]);
    assert_eq!(own.ask("GET", "/api/v1/jobs", "").0, 401);
}

/// S17: where others reach it, nothing crosses the network in the clear unless somebody has said so.
#[test]
fn clear_text_beyond_this_machine_is_refused_by_each_way_and_leaves_nothing_behind() {
    let site = Site::new();
    let ask = |words: &[&str], address: &str| {
        let mut command = site.taskwright([]);
        let output = command.args(words).env("TASKWRIGHT_LISTEN", address).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap(), output.stdout)
    };
    for verb in ["serve", "up"] {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let (code, words, out) = ask(&[verb], address);
            assert_eq!(code, Some(2), "{verb} {address}: {words}");
            assert!(words.contains("without TLS") && words.contains("--allow-clear-text"), "{words}");
            assert!(out.is_empty(), "no first token is made, and none printed");
        }
    }
    assert!(!site.ask(async |store| store.has_principals().await.unwrap()));
    std::fs::write(site.path().join("taskwright.toml"), "[server]\nlisten = \"0.0.0.0:0\"\n").unwrap();
    // What a server that runs was told by a flag, doctor cannot know: it says so, and finds no fault in it.
    let diagnosis = |address: &str, allowed: &str| {
        let mut command = site.taskwright(["doctor", "--json"]);
        command.env("TASKWRIGHT_LISTEN", address).env("TASKWRIGHT_ALLOW_CLEAR_TEXT", allowed);
        let told = String::from_utf8(command.output().unwrap().stdout).unwrap();
        told.lines().find(|line| line.contains("\"server\"")).map(str::to_owned)
    };
    let found = diagnosis("", "").unwrap();
    assert!(
        found.contains("0.0.0.0:0 is not listened at without TLS") && found.contains("\"ok\":true"),
        "{found}"
    );
    let found = diagnosis("[::]:0", "yes").unwrap();
    assert!(found.contains("[::]:0 without TLS, as TASKWRIGHT_ALLOW_CLEAR_TEXT says"), "{found}");
    assert_eq!(diagnosis("127.0.0.1:0", ""), None, "the variable goes before the file");
    // A variable allows it as the flag does, and one that is set to nothing says nothing.
    for (said, allowed) in [("true", true), ("", false), ("no", false)] {
        let mut command = site.taskwright(["serve"]);
        command.env("TASKWRIGHT_LISTEN", "0.0.0.0:0").env("TASKWRIGHT_ALLOW_CLEAR_TEXT", said);
        if allowed {
            assert!(site.start_until(&mut command, "serves http://").stop().success());
        } else {
            assert_eq!(command.output().unwrap().status.code(), Some(2), "{said:?}");
        }
    }
    // The config file may say so, too.
    let allowed = "[server]\nlisten = \"0.0.0.0:0\"\nallow_clear_text = true\n";
    std::fs::write(site.path().join("taskwright.toml"), allowed).unwrap();
    let served = Served::start_at(&site, ["serve"], "0.0.0.0:0", Stdio::null());
    assert!(served.stop().0.success());
}

/// With `--server` the command line manages principals, and reads what was executed, as on the store.
#[test]
fn principals_are_managed_over_http() {
    let site = Site::new();
    let up = Served::start(&site, ["up", "--workers", "1"]);
    let url = format!("http://{}", up.address);
    let elsewhere = tempfile::tempdir().unwrap();
    let run = |token: &str, words: &[&str]| {
        let mut command = site.taskwright(["--server", &url]);
        command.args(words).current_dir(elsewhere.path()).env("TASKWRIGHT_TOKEN", token);
        if token.is_empty() {
            command.env_remove("TASKWRIGHT_TOKEN");
        }
        let done = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (done.status.code().unwrap_or(-1), text(&done.stdout), text(&done.stderr))
    };
    let (code, root, told) = run("", &["tokens", "create", "root", "--superuser"]);
    assert_eq!((code, root.starts_with("tw_")), (0, true), "{told}");
    let (code, _, told) = run("", &["jobs", "list"]);
    assert_eq!((code == 0, told.contains("no token")), (false, true), "{told}");
    let (code, member, told) = run(&root, &["tokens", "create", "ci", "--role", "member"]);
    assert_eq!(code, 0, "{told}");
    let (code, _, told) = run(&member, &["enqueue", "exec", "--", "true"]);
    assert_eq!((code == 0, told.contains("commands.run")), (false, true), "{told}");
    let (code, id, told) = run(&root, &["enqueue", "exec", "--", "true"]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(run(&root, &["jobs", "wait", &id]).0, 0);
    assert_eq!(run(&member, &["jobs", "comment", &id, "well done"]).0, 0);
    assert!(run(&member, &["jobs", "show", &id]).1.contains("well done"));
    let (code, history, told) = run(&member, &["jobs", "history", "--json"]);
    assert_eq!((code, history.contains(&id)), (0, true), "{told}");
    let (code, stats, told) = run(&member, &["jobs", "stats", "--json"]);
    assert_eq!((code, stats.contains("\"exec\"")), (0, true), "{told} {stats}");
    assert_eq!(run(&member, &["jobs", "top", "--json"]).0, 0);
    let (code, listed, told) = run(&root, &["tokens", "list", "--json"]);
    assert_eq!((code, listed.contains("\"ci\"")), (0, true), "{told}");
    let (code, _, told) = run(&member, &["tokens", "list"]);
    assert_eq!((code == 0, told.contains("tokens.manage")), (false, true), "{told}");
    assert_eq!(run(&root, &["tokens", "revoke", "ci"]).0, 0);
    assert_ne!(run(&member, &["jobs", "list"]).0, 0);
    let (code, listed, told) = run(&root, &["audit", "list", "--json"]);
    assert_eq!((code, listed.contains("\"tokens.revoke\"")), (0, true), "{told}");
    assert_eq!(run(&root, &["audit", "verify"]).0, 0);
    assert_eq!(run(&root, &["users", "list"]).0, 0);
    // The last superuser stays.
    let (code, _, told) = run(&root, &["tokens", "revoke", "root", "--superuser"]);
    assert_eq!((code == 0, told.contains("superuser")), (false, true), "{told}");
    assert!(up.stop().0.success());
}

#[test]
fn serve_stores_jobs_and_runs_none_and_ends_at_once() {
    let site = Site::new();
    let serve = Served::start(&site, ["serve"]);
    let (status, stored) =
        serve.ask("POST", "/api/v1/jobs", r#"{"kind":"exec","args":{"command":["true"]}}"#);
    assert_eq!(status, 201);
    let (_, job) = serve.ask("GET", &format!("/api/v1/jobs/{}/wait?timeout=0s", id_of(&stored)), "");
    assert!(job.contains("\"state\":\"available\""), "{job}");
    // A connection with nothing to say holds up nothing.
    let _idle = TcpStream::connect(&serve.address).unwrap();
    let began = now();
    let (status, _) = serve.stop();
    assert!(status.success());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn a_port_that_is_taken_is_refused_with_what_to_do() {
    let site = Site::new();
    let serve = Served::start(&site, ["serve"]);
    let other = Site::new();
    for verb in ["up", "serve"] {
        let output = other.taskwright([verb, "--listen", &serve.address]).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(err.contains("listens there already") && err.contains("--listen none"), "{err}");
    }
}

#[test]
fn bench_measures_the_api_and_leaves_nothing() {
    let site = Site::new();
    let words =
        "http --jobs 60 --clients 4 --backlog 250 --streams 3 --idle 5 --rate 50 --flood 2 --rounds 1 --json";
    let mut command = site.taskwright(["bench"]);
    let output = command.args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let flood = said.lines().find(|line| line.contains("http.flood")).unwrap();
    let flood: serde_json::Value = serde_json::from_str(flood).unwrap();
    assert!(flood["read"]["p99_us"].as_u64().unwrap() > 0, "{flood}");
    assert!(flood["answered_per_second"].as_f64().unwrap() > 0.0, "{flood}");
    assert_measured(&said);
    let left = std::fs::read_dir(site.path().join(".taskwright")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| !name.starts_with("bench")), "{left:?}");
}

/// What `bench http` printed has everything in it, and nobody was left out.
pub(crate) fn assert_measured(said: &str) {
    let lines: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |bench: &str| lines.iter().filter(|line| line["bench"] == bench).collect::<Vec<_>>();
    assert!(of("http")[0]["percent_of_store"]["median"].as_f64().unwrap() > 0.0, "{said}");
    let pages = of("http.pages");
    assert_eq!(pages.len(), 12, "{said}");
    assert!(pages.iter().all(|page| page["first"]["p99_us"].as_u64().unwrap() > 0), "{said}");
    let load = of("http.load")[0];
    assert!(load["read"]["p99_us"].as_u64().unwrap() > 0, "{said}");
    assert_eq!(load["idle_still"], 5, "{said}");
    let emitted = load["emitted"].as_u64().unwrap();
    assert!(emitted > 0 && load["heard"].as_u64() == Some(3 * emitted), "{said}");
}
