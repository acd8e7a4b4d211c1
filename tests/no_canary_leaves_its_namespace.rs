//! S4: what is in one namespace is in no answer, stream, log and measure of another, whoever asks for it there and in whatever way the
//! document of the API knows: of a real server with real tokens, on SQLite and on PostgreSQL.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::support::{Site, Up};

/// What stands in everything of the namespace `theirs`, and what it is called.
const CANARY: &str = "canary-7f3a";
const NAME: &str = "named-91c4";
const SOON: Duration = Duration::from_secs(30);

/// What a task of the operator says and does: its words are those of its job.
const TASKS: &str = r#"
[tasks."mail.send"]
command = "sh"
args = ["-c", "echo \"$1\"; env; exit $2", "sh", "{words}", "{code}"]
max_attempts = 1
"#;

#[test]
fn nothing_of_another_namespace_is_told_on_sqlite() {
    check(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn nothing_of_another_namespace_is_told_on_postgresql() {
    check(&Site::on_postgres());
}

/// A server, and who asks it.
struct Server {
    up: Up,
    address: String,
}

impl Server {
    fn start(site: &Site) -> Self {
        std::fs::write(site.path().join("taskwright.toml"), TASKS).unwrap();
        let mut command = site.taskwright(["up", "--workers", "1", "--concurrency", "4"]);
        let up = site.start_until(command.env("TASKWRIGHT_LISTEN", "127.0.0.1:0"), "http     http://");
        let address =
            up.last_line().split_whitespace().last().unwrap().trim_start_matches("http://").to_owned();
        up.wait_for_line("Ctrl-C stops it");
        Self { up, address }
    }

    fn ask(&self, who: &str, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
        let body = body.map(Value::to_string).unwrap_or_default();
        Caller::new(&self.address, false).bearing(who).ask(method, path, &body).unwrap()
    }

    /// Has something made or done that can be.
    fn good(&self, who: &str, method: &str, path: &str, body: &Value) -> Value {
        let (status, text) = self.ask(who, method, path, Some(body));
        assert!((200..300).contains(&status), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Begins to listen; what is heard until the connection ends or the stream is dropped.
    fn listen(&self, who: &str, path: &str) -> Stream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {who}\r\n\r\n", self.address);
        stream.write_all(head.as_bytes()).unwrap();
        let heard = Arc::new(Mutex::new(String::new()));
        let (mut reading, hears) = (stream.try_clone().unwrap(), Arc::clone(&heard));
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(count @ 1..) = reading.read(&mut bytes) {
                hears.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Stream { stream, heard }
    }
}

struct Stream {
    stream: TcpStream,
    heard: Arc<Mutex<String>>,
}

impl Stream {
    fn text(&self) -> String {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

fn check(site: &Site) {
    site.run(["migrate"]);
    let root = site.run(["tokens", "create", "root", "--superuser"]).trim().to_owned();
    let token = |name: &str, namespace: &str, role: &str| {
        site.run(["tokens", "create", name, "--namespace", namespace, "--role", role]).trim().to_owned()
    };
    let them = token("them", "theirs", "admin");
    let us =
        [token("us", "ours", "admin"), token("member", "ours", "member"), token("looks", "ours", "viewer")];
    let server = Server::start(site);
    let paths = [
        "/api/v1/events/stream?topic=**",
        "/api/v1/jobs/stream",
        "/api/v1/jobs/stream?kind=*&namespace=theirs",
    ];
    let streams: Vec<Stream> = us.iter().flat_map(|who| paths.map(|path| server.listen(who, path))).collect();
    let theirs = server.listen(&them, paths[0]);
    let listening = || streams.iter().chain([&theirs]).all(|stream| stream.text().contains("\r\n\r\n"));
    site.wait_until("everybody to listen", SOON, listening);

    let ids = furnish(site, &server, &them);
    let own = own_job(site, &server, &us[0]);
    let asked = ask_for_everything(&server, &root, &us, &ids);
    assert!(asked > 800, "{asked}");

    // What is heard: one's own, and by those to whom the rest belongs that.
    server.good(&us[0], "POST", "/api/v1/events", &json!({ "topic": "ours" }));
    let heard = |stream: &Stream, what: &str| stream.text().contains(what);
    site.wait_until("one's own to be heard", SOON, || {
        heard(&theirs, CANARY)
            && streams.chunks(paths.len()).all(|of_one| heard(&of_one[0], "ours") && heard(&of_one[1], &own))
    });
    for stream in &streams {
        let text = stream.text();
        assert!(!text.contains(CANARY) && !text.contains(NAME), "{text}");
    }
    // What one's own job could see beside theirs, and what it wrote.
    let log = server.ask(&us[2], "GET", &format!("/api/v1/jobs/{own}/logs"), None).1;
    assert!(log.contains("TASKWRIGHT_JOB_ID") && !log.contains(CANARY) && !log.contains(NAME), "{log}");
    // All of theirs is as it was.
    let held = server.ask(&them, "GET", &format!("/api/v1/jobs/{}", ids[0]), None).1;
    assert!(held.contains("\"state\":\"held\"") && held.contains(CANARY), "{held}");
    drop((streams, theirs));
    assert!(server.up.stop().success());
}

/// A job of ours that has ended.
fn own_job(site: &Site, server: &Server, us: &str) -> String {
    let args = json!({ "words": "ours", "code": "0" });
    let job = server.good(us, "POST", "/api/v1/jobs", &json!({ "kind": "mail.send", "args": args }));
    wait_for_end(site, server, us, &job)
}

fn wait_for_end(site: &Site, server: &Server, who: &str, job: &Value) -> String {
    let id = job["id"].as_str().unwrap().to_owned();
    let is_over = || {
        let (_, text) = server.ask(who, "GET", &format!("/api/v1/jobs/{id}"), None);
        text.contains("\"state\":\"completed\"") || text.contains("\"state\":\"failed\"")
    };
    site.wait_until("a job to end", SOON, is_over);
    id
}

/// A job that is held with a file and a comment, one that completed and one that failed, a schedule, a webhook, an event, a bulk and a
/// token, all of `theirs` and with the canary; the ids of the jobs, the event and the bulk.
fn furnish(site: &Site, server: &Server, them: &str) -> Vec<String> {
    let job = |hold: bool, code: &str| {
        let args = json!({ "words": CANARY, "code": code });
        let body = json!({ "kind": "mail.send", "args": args, "hold": hold });
        server.good(them, "POST", "/api/v1/jobs", &body)
    };
    let held = job(true, "0")["id"].as_str().unwrap().to_owned();
    std::fs::write(site.path().join(NAME), CANARY).unwrap();
    site.run(["jobs", "attach", &held, NAME]);
    server.good(them, "POST", &format!("/api/v1/jobs/{held}/comments"), &json!({ "text": CANARY }));
    let mut ids = vec![held];
    for code in ["0", "1"] {
        ids.push(wait_for_end(site, server, them, &job(false, code)));
    }
    let trigger = json!({ "type": "every", "period": "1h" });
    let schedule = json!({
        "name": NAME, "kind": "mail.send", "args": { "words": CANARY, "code": "0" }, "queue": CANARY,
        "triggers": [{ "id": "t", "trigger": trigger }],
    });
    server.good(them, "POST", "/api/v1/schedules", &schedule);
    let hook = json!({ "name": NAME, "url": "https://example.org/", "topics": [CANARY] });
    server.good(them, "POST", "/api/v1/webhooks", &hook);
    let event = json!({ "topic": CANARY, "payload": CANARY });
    ids.push(server.good(them, "POST", "/api/v1/events", &event)["id"].as_str().unwrap().to_owned());
    let params = json!({ "kind": "mail.send", "size": 2, "args": { "words": CANARY, "code": "0" } });
    let bulk = server.good(them, "POST", "/api/v1/bulk", &json!({ "type": "count", "params": params }));
    ids.push(wait_for_end(site, server, them, &bulk));
    server.good(them, "POST", "/api/v1/tokens", &json!({ "name": NAME, "role": "viewer" }));
    ids
}

/// Every operation of the document, with everything that is theirs; how many requests that were.
fn ask_for_everything(server: &Server, root: &str, us: &[String], ids: &[String]) -> usize {
    let document: Value =
        serde_json::from_str(&server.ask(root, "GET", "/api/v1/openapi.json", None).1).unwrap();
    let mut operations: Vec<(String, String)> = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let of_path =
            methods.as_object().unwrap().keys().map(|method| (method.to_ascii_uppercase(), path.clone()));
        operations.extend(of_path.filter(|(_, path)| !path.ends_with("/stream")));
    }
    // What is looked at comes first: who has named something in a change finds that name in the audit.
    operations.sort_by_key(|(method, _)| method != "GET");
    let mut asked = 0;
    for (method, path) in &operations {
        let of: &[String] = if path.contains("{id}") { ids } else { &ids[..1] };
        for id in of {
            let path =
                path.replace("{id}", id).replace("{namespace}", "theirs").replace("{what}", "completed");
            let path = ["{queue}", "{name}"].iter().fold(path, |path, place| path.replace(place, NAME));
            assert!(!path.contains('{'), "{path}: fill in what is open");
            for who in us {
                let many = json!({ "ids": [id] });
                for body in [None, Some(&many)].into_iter().take(if method == "GET" { 1 } else { 2 }) {
                    let (_, text) = server.ask(who, method, &path, body);
                    // What the caller has said may come back: it tells nothing new.
                    let others = ids.iter().filter(|of| *of != id).map(String::as_str);
                    let name = (!path.contains(NAME)).then_some(NAME);
                    for secret in others.chain([CANARY]).chain(name) {
                        assert!(!text.contains(secret), "{method} {path}: {secret} is in {text}");
                    }
                    asked += 1;
                }
            }
        }
    }
    asked
}
