//! The function `taskwright.enqueue`: from psql, from triggers, and with the checks that the library has.

use std::fmt::Debug;

use taskwright::{
    Args, Context, Env, JobId, Kind, MaxAttempts, Namespace, Owner, QueueName, Registry, State, TaskError,
    UniqueKey,
};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls};

use crate::support::Site;

pub(crate) async fn connected(site: &Site) -> (Client, impl Sized) {
    let (client, connection) = tokio_postgres::connect(&site.url(), NoTls).await.unwrap();
    (client, Env::system().spawn("connection", connection))
}

#[tokio::test]
async fn from_psql_a_committed_one_starts_and_one_that_was_rolled_back_never_ran() {
    let site = Site::new().await;
    let registry = Registry::new().handler("order", |ctx: Context| async move {
        Ok::<_, TaskError>(ctx.raw_args().as_str().to_owned())
    });
    let worker = site.worker(registry.unwrap());
    let one = |end: &str| -> JobId {
        let sql =
            format!(r#"BEGIN; SELECT taskwright.enqueue('order', '{{"user": 7}}', queue => 'mail'); {end};"#);
        site.database.sql(&sql).parse().unwrap()
    };
    let (gone, kept) = (one("ROLLBACK"), one("COMMIT"));
    let job = site.over(kept).await;
    assert_eq!((job.view.state, job.view.queue.as_str()), (State::Completed, "mail"));
    assert_eq!(job.args.as_str(), r#"{"user": 7}"#);
    assert_eq!(site.client.job(gone).await.unwrap(), None);
    assert_eq!(worker.stop().await.completed, 1);
}

#[tokio::test]
async fn a_job_without_arguments_has_an_empty_object() {
    let site = Site::new().await;
    let id = site.database.sql("SELECT taskwright.enqueue('order')").parse().unwrap();
    assert_eq!(site.client.job(id).await.unwrap().unwrap().args.as_str(), "{}");
}

#[tokio::test]
async fn a_trigger_makes_a_job_of_each_row() {
    let site = Site::new().await;
    site.database.sql(
        "CREATE TABLE shop_order (id bigint GENERATED ALWAYS AS IDENTITY, item text NOT NULL);
         CREATE FUNCTION order_was_made() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             PERFORM taskwright.enqueue('email.receipt', jsonb_build_object('order', NEW.id));
             RETURN NEW;
         END $$;
         CREATE TRIGGER receipt AFTER INSERT ON shop_order FOR EACH ROW EXECUTE FUNCTION order_was_made();
         INSERT INTO shop_order (item) VALUES ('a book'), ('a pen');
         BEGIN; INSERT INTO shop_order (item) VALUES ('nothing'); ROLLBACK;",
    );
    let registry = Registry::new().handler("email.receipt", |_| async { Ok(()) }).unwrap();
    let worker = taskwright::Worker::builder(site.store.clone(), registry, site.env.clone()).until_empty();
    assert_eq!(worker.run(std::future::pending()).await.unwrap().completed, 2);
}

#[tokio::test]
async fn what_is_refused_says_why_and_what_to_do() {
    let site = Site::new().await;
    let (client, _driver) = connected(&site).await;
    for (call, message, hint) in [
        ("'no spaces'", "the kind \"no spaces\" is not accepted", "letters, digits"),
        ("NULL", "the kind", "letters, digits"),
        ("'a', priority => 40000", "the priority \"40000\"", "from -32768 to 32767"),
        ("'a', max_attempts => 0", "the max_attempts \"0\"", "NULL for no limit"),
        ("'a', timeout => '-1 s'", "the timeout", "longer than nothing"),
        ("'a', timeout => '100000000 years'", "the timeout", "at most 1000 years"),
        ("'a', run_at => 'infinity'", "the run_at \"infinity\"", "9999-12-30"),
        ("'a', run_at => '-infinity'", "the run_at \"-infinity\"", "9999-12-30"),
        ("'a', run_at => '10000-01-01'", "the run_at", "9999-12-30"),
        ("'a', unique_while => 'never'", "the unique_while \"never\"", "waiting or active"),
        ("'a', held => NULL", "the held \"NULL\"", "true or false"),
        ("'a', at_most_once => NULL", "the at_most_once \"NULL\"", "true or false"),
        ("'a', owner => E'a\\nb'", "the owner", "printable"),
        ("'a', args => to_jsonb(repeat('x', 1048575))", "the args", "1 MiB"),
    ] {
        refused(&client, &format!("SELECT taskwright.enqueue({call})"), message, hint).await;
    }
    assert_eq!(site.database.sql("SELECT count(*) FROM taskwright.job"), "0");
}

/// A call that is refused, and says what and why.
pub(crate) async fn refused(client: &Client, call: &str, message: &str, hint: &str) {
    let error = client.execute(call, &[]).await.unwrap_err();
    let error = error.as_db_error().unwrap_or_else(|| panic!("{call}: {error}"));
    assert!(error.message().contains(message), "{call}: {}", error.message());
    assert!(error.hint().unwrap_or_default().contains(hint), "{call}: {:?}", error.hint());
    assert_eq!(error.code().code(), "22023", "{call}");
}

/// Whether the function takes each of the values where the library does.
pub(crate) async fn agree<T: ToSql + Sync + Debug>(
    client: &Client,
    call: &str,
    values: &[T],
    library: impl Fn(&T) -> bool,
) {
    let mut verdicts = [0, 0];
    for value in values {
        let stored = client.execute(&format!("SELECT taskwright.{call}"), &[value]).await;
        let accepts = library(value);
        assert_eq!(stored.is_ok(), accepts, "{call} with {value:?}: {stored:?}");
        verdicts[usize::from(accepts)] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > 0), "{call}: all the same");
}

#[tokio::test]
async fn the_function_and_the_library_accept_the_same() {
    let site = Site::new().await;
    let (client, _driver) = connected(&site).await;
    let long = |bytes: usize| "x".repeat(bytes);
    let names: Vec<String> =
        ["", "a", "9", "email.welcome", "billing:invoice/pdf-v2_x", "-rf", "../etc", "a b", "a\nb"]
            .into_iter()
            .chain([
                "a\n",
                "\na",
                "naïve",
                "<script>",
                "';DROP",
                "=cmd()",
                "\u{202e}a",
                "é",
                "_a",
                ".a",
                "A.",
                "\u{ff21}",
            ])
            .map(str::to_owned)
            .chain([long(128), long(129)])
            .collect();
    agree(&client, "enqueue($1)", &names, |text| Kind::new(text).is_ok()).await;
    agree(&client, "enqueue('a', queue => $1)", &names, |text| QueueName::new(text).is_ok()).await;
    agree(&client, "enqueue('a', namespace => $1)", &names, |text| Namespace::new(text).is_ok()).await;

    let owners: Vec<String> =
        ["", "Zoë <zoe@example.org>", "a\u{1b}[31m", "a\nb", "\u{202e}evil", "\u{7f}", "\u{85}"]
            .into_iter()
            .chain(["\u{200e}", "\u{2066}x", "\u{2069}", "\u{200b}", "🦀", " "])
            .map(str::to_owned)
            .chain([long(1_024), long(1_025), "é".repeat(512), "é".repeat(513)])
            .collect();
    agree(&client, "enqueue('a', owner => $1)", &owners, |text| Owner::new(text).is_ok()).await;

    let keys: Vec<String> =
        vec![String::new(), "a\nb".to_owned(), long(512), long(513), "é".repeat(256), "é".repeat(257)];
    agree(&client, "enqueue('a', unique_key => $1)", &keys, |text| UniqueKey::new(text).is_ok()).await;

    let attempts = [-1, 0, 1, 1_000_000, 1_000_001];
    let limited =
        |number: &i32| u32::try_from(*number).is_ok_and(|number| MaxAttempts::limited(number).is_ok());
    agree(&client, "enqueue('a', max_attempts => $1)", &attempts, limited).await;
}

#[tokio::test]
async fn the_function_and_the_library_accept_the_same_arguments() {
    let site = Site::new().await;
    let (client, _driver) = connected(&site).await;
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let objects = |depth: usize| r#"{"a":"#.repeat(depth) + "1" + &"}".repeat(depth);
    let mut args: Vec<String> =
        ["null", "1", "1e400", "\"\"", "{}", r#"{"a": [1, 2.50, "x"]}"#, "", "{", "{} {}", "nul"]
            .into_iter()
            .chain([
                "'a'",
                "NaN",
                r#""\u0000""#,
                r#"{"\u0000": 1}"#,
                r#"["\\u0000", "\u0001"]"#,
                r#""\ud83d\ude00""#,
            ])
            .chain([r#""\ud83d""#, r#""\ude00""#, r#""\ud83d\ud83d""#])
            .map(str::to_owned)
            .chain([nested(127), nested(128), objects(127), objects(128), nested(5_000)])
            .collect();
    // Brackets that do not nest: in strings, behind quotes, beside each other.
    args.push(format!(r#"["{}", "\"{}", "\\", {}[]]"#, "[".repeat(200), "{".repeat(200), "[],".repeat(200)));
    args.push(format!(r#"["\\", "{}", {}]"#, "]".repeat(200), nested(126)));
    args.push(format!(r#"["\\", "{}", {}]"#, "]".repeat(200), nested(127)));
    // As text, because the driver would want JSON of its own.
    agree(&client, "enqueue('a', args => $1::text::jsonb)", &args, |json| {
        Args::from_json(json.as_bytes()).is_ok()
    })
    .await;
}

#[tokio::test]
async fn an_id_that_was_made_here_is_one_of_version_7_and_of_now() {
    let site = Site::new().await;
    let before = site.env.now();
    let id = site.database.sql("SELECT taskwright.enqueue('a')");
    assert_eq!((id.as_bytes()[14], "89ab".contains(char::from(id.as_bytes()[19]))), (b'7', true), "{id}");
    let millis = u64::from_str_radix(&id.replace('-', "")[..12], 16).unwrap();
    let made = taskwright::Timestamp::from_micros(i64::try_from(millis * 1_000).unwrap());
    assert!(made.plus(std::time::Duration::from_secs(1)) > before, "{made} {before}");
    assert!(made < site.env.now().plus(std::time::Duration::from_secs(1)));
}
