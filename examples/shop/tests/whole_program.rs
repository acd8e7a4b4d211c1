//! The program itself, as its README says: `up` serves, an order comes in, and mail, invoice and webhook follow.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// How long anything may take.
const SOON: Duration = Duration::from_secs(60);

#[allow(clippy::disallowed_methods, reason = "a real program takes real time")]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < SOON, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Killed if the test fails.
struct Up(Child);

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(address: &str, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn files(directory: &Path, ending: &str) -> Vec<Vec<u8>> {
    let Ok(files) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = files.map(|file| file.unwrap().path());
    paths
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

#[test]
fn an_order_over_http_ends_with_a_mail_an_invoice_and_a_webhook() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    let hook = format!(
        "[webhooks.erp]\nurl = \"http://{}/hook\"\ntopics = [\"job.completed\"]\nallow_private = true\n",
        receiver.local_addr().unwrap()
    );
    std::fs::write(directory.path().join("taskwright.toml"), hook).unwrap();
    // Free at this moment, which is all that can be asked for.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let program = env!("CARGO_BIN_EXE_shop");
    let mut up = Command::new(program);
    up.args(["up", "--workers", "1", "--listen", "none"])
        .current_dir(directory.path())
        .env("SHOP_ADDRESS", &address);
    let mut up = Up(up.spawn().unwrap());

    let body = r#"{"customer": "ann@example.org", "lines": [{"item": "a book", "cents": 1999, "count": 2}]}"#;
    let request = format!(
        "POST /orders HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = None;
    until("the shop to open", || {
        answer = ask(&address, &request);
        answer.is_some()
    });
    let answer = answer.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201") && answer.contains(r#""order":1"#), "{answer}");

    let (outbox, invoices) = (directory.path().join("outbox"), directory.path().join("invoices"));
    until("the invoice", || files(&invoices, "1.pdf").len() == 1);
    let pdf = files(&invoices, "1.pdf").remove(0);
    assert!(pdf.starts_with(b"%PDF-") && pdf.ends_with(b"%%EOF"), "{}", String::from_utf8_lossy(&pdf));
    let mails = files(&outbox, ".eml");
    assert!(String::from_utf8_lossy(&mails[0]).contains("39.98 EUR") && mails.len() == 1);

    // What completes is told: the confirmation, or the invoice.
    let (mut told, _) = receiver.accept().unwrap();
    told.set_read_timeout(Some(SOON)).unwrap();
    let mut start = [0; 4_096];
    let read = told.read(&mut start).unwrap();
    let start = String::from_utf8_lossy(&start[..read]).to_lowercase();
    assert!(start.starts_with("post /hook") && start.contains("webhook-signature"), "{start}");

    // The verbs are there, too.
    let mut list = Command::new(program);
    let list =
        list.args(["jobs", "list", "--state", "completed"]).current_dir(directory.path()).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains("order.confirm") && list.contains("invoice.make"), "{list}");

    let pid = up.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(up.0.wait().unwrap().success(), "it ends in good order");
}
