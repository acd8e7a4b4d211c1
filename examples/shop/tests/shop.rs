//! The shop on a virtual clock: hours pass in no time, and no port is opened.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use shop::{Confirm, Invoice, Line, NewOrder, Outbox, Shop, app, router};
use taskwright::store::sqlite::{Options, SqliteStore, rusqlite};
use taskwright::testing::{Kit, Sim, perform, simulate};
use taskwright::{State, assert_enqueued, refute_enqueued};
use tower::ServiceExt;

const HOUR: Duration = Duration::from_secs(3_600);

fn order() -> NewOrder {
    let line = |item: &str, cents, count| Line { item: item.to_owned(), cents, count };
    NewOrder {
        customer: "ann@example.org".to_owned(),
        lines: vec![line("a book", 1_999, 2), line("a pen", 150, 1)],
    }
}

/// The shop in a directory, with its jobs in the same file.
async fn open(sim: &Sim, directory: &Path) -> (Shop, Kit) {
    let store = SqliteStore::open(&directory.join("shop.db"), Options::default()).unwrap();
    let shop = Shop::open(directory).unwrap();
    let kit = Kit::of(app(shop.clone(), "127.0.0.1:0")).store(Arc::new(store)).start(sim).await.unwrap();
    (shop, kit)
}

/// The texts of the mails, sorted.
fn mails(directory: &Path) -> Vec<String> {
    let Ok(files) = fs::read_dir(directory.join("outbox")) else { return Vec::new() };
    let mut mails: Vec<String> =
        files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    mails.sort();
    mails
}

async fn ask(shop: &Shop, kit: &Kit, request: Request<Body>) -> (StatusCode, Value) {
    let answer = router(shop.clone(), kit.client().clone()).oneshot(request).await.unwrap();
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn post(order: &Value) -> Request<Body> {
    let request = Request::post("/orders").header("content-type", "application/json");
    request.body(Body::from(order.to_string())).unwrap()
}

#[test]
fn an_order_is_confirmed_by_one_mail_and_its_invoice_follows() {
    let directory = tempfile::tempdir().unwrap();
    simulate(1, async |sim| {
        let (shop, kit) = open(&sim, directory.path()).await;
        let (status, placed) = ask(&shop, &kit, post(&json!(order()))).await;
        assert_eq!((status, &placed["order"]), (StatusCode::CREATED, &json!(1)));
        assert_enqueued!(kit.client(), Confirm { order: 1 });
        let now = sim.env().now();
        assert_eq!(
            shop.taken(now, now.plus(Duration::from_secs(1))).unwrap(),
            (1, 4_148),
            "by the clock of the test"
        );

        let show = || Request::get("/orders/1").body(Body::empty()).unwrap();
        assert_eq!(ask(&shop, &kit, show()).await.1["confirmation"], "available");
        let confirmed = kit.run_next().await.unwrap().unwrap();
        assert_eq!(confirmed.view.state, State::Completed, "{:?}", confirmed.view.error);
        assert_eq!(ask(&shop, &kit, show()).await.1["confirmation"], "completed");
        assert_eq!(
            mails(directory.path()),
            ["To: ann@example.org\r\nSubject: Your order\r\n\r\nThank you for your order 1: 41.48 EUR.\r\n"]
        );
        let invoices = directory.path().join("invoices");
        assert_enqueued!(kit.client(), Invoice { number: 1, order: order(), directory: invoices });
    });
}

#[test]
fn an_order_that_is_rolled_back_leaves_no_job_and_a_bad_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    simulate(1, async |sim| {
        let (shop, kit) = open(&sim, directory.path()).await;
        let lines =
            |count: u64| json!({"customer": "a", "lines": [{"item": "x", "cents": 1_000, "count": count}]});
        for bad in [json!({"customer": "a", "lines": []}), lines(0), lines(u64::MAX)] {
            assert_eq!(ask(&shop, &kit, post(&bad)).await.0, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
        }
        // Something goes wrong between the job and the commit.
        let other = rusqlite::Connection::open(shop.database()).unwrap();
        let no = "CREATE TRIGGER no BEFORE UPDATE ON shop_order BEGIN SELECT RAISE(ABORT, 'no'); END";
        other.execute_batch(no).unwrap();
        assert_eq!(ask(&shop, &kit, post(&json!(order()))).await.0, StatusCode::INTERNAL_SERVER_ERROR);
        let now = sim.env().now();
        assert_eq!(shop.taken(now.minus(HOUR), now.plus(HOUR)).unwrap(), (0, 0));
        refute_enqueued!(kit.client(), "order.confirm");
    });
}

#[test]
fn a_mail_that_cannot_be_sent_is_tried_again_and_sent_once() {
    let directory = tempfile::tempdir().unwrap();
    simulate(1, async |sim| {
        let (shop, kit) = open(&sim, directory.path()).await;
        // A file is in the way of the directory.
        fs::write(directory.path().join("outbox"), "").unwrap();
        shop.place(kit.client(), sim.env().now(), order()).unwrap();
        let first = kit.run_next().await.unwrap().unwrap();
        assert_eq!(first.view.state, State::Retryable);
        fs::remove_file(directory.path().join("outbox")).unwrap();
        sim.advance(Duration::from_secs(15)).await;
        assert_eq!(kit.run_next().await.unwrap().unwrap().view.state, State::Completed);
        assert_eq!(mails(directory.path()).len(), 1);
    });
}

#[test]
fn an_order_that_is_not_there_is_not_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    simulate(1, async |sim| {
        let shop = Shop::open(directory.path()).unwrap();
        let outbox = Outbox::in_directory(&directory.path().join("outbox"));
        let performed = perform(Confirm { order: 99 }).state(shop).state(outbox).run(&sim).await;
        assert_eq!(
            (performed.job.view.state, performed.error()),
            (State::Failed, Some("there is no order 99"))
        );
        assert!(performed.follow_ups.is_empty());
    });
}

#[test]
fn the_office_hears_each_night_what_was_ordered() {
    let directory = tempfile::tempdir().unwrap();
    simulate(1, async |sim| {
        let (shop, kit) = open(&sim, directory.path()).await;
        // Registers the schedule; it is midnight.
        kit.drain().await.unwrap();
        for _ in 0..3 {
            shop.place(kit.client(), sim.env().now(), order()).unwrap();
        }
        let ids: Vec<_> = (1..=3).map(|number| shop.order(number).unwrap().unwrap().job).collect();
        for id in ids {
            kit.client().cancel(id, taskwright::Actor::system(), None).await.unwrap();
        }
        sim.advance(3 * HOUR).await;
        assert_eq!(kit.drain().await.unwrap().completed, 1);
        let mails = mails(directory.path());
        assert!(
            mails[0].contains("office@shop.example") && mails[0].contains("3 orders, 124.44 EUR"),
            "{mails:?}"
        );
        // What was before that night is not told twice.
        sim.advance(24 * HOUR).await;
        assert_eq!(kit.drain().await.unwrap().completed, 1);
        assert!(self::mails(directory.path()).iter().any(|mail| mail.contains("0 orders, 0.00 EUR")));
    });
}

#[test]
fn a_report_that_is_late_tells_of_its_night_and_the_next_one_of_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    simulate(1, async |sim| {
        let (shop, kit) = open(&sim, directory.path()).await;
        kit.drain().await.unwrap();
        // The file of the mails is in the way of everything that is sent.
        fs::write(directory.path().join("outbox"), "").unwrap();
        let place = async || {
            let placed = shop.place(kit.client(), sim.env().now(), order()).unwrap();
            kit.client().cancel(placed.job, taskwright::Actor::system(), None).await.unwrap();
        };
        place().await;
        sim.advance(3 * HOUR + HOUR / 2).await;
        // Half an hour after the report was due, which nobody has looked at so far.
        place().await;
        place().await;
        sim.advance(HOUR / 2).await;
        assert_eq!(kit.drain().await.unwrap().completed, 0);
        fs::remove_file(directory.path().join("outbox")).unwrap();
        let reports = || {
            let mut mails = mails(directory.path());
            mails.retain(|mail| mail.contains("office@shop.example"));
            mails.join("\n")
        };
        sim.advance(HOUR / 2).await;
        kit.drain().await.unwrap();
        assert!(reports().contains("\r\n1 orders, "), "{}", reports());
        sim.advance(23 * HOUR).await;
        kit.drain().await.unwrap();
        assert!(
            reports().contains("\r\n2 orders, "),
            "none is told twice, and none is missing: {}",
            reports()
        );
    });
}
