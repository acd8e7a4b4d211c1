//! What the server refuses is told by what it means: wait, make room, correct the settings.

use taskwright_store::Error;
use taskwright_store::postgres::{Connections, Settings};

use crate::cluster::{Cluster, Database};

async fn open(database: &Database<'_>) -> Connections {
    Connections::open(Settings::parse(&database.url()).unwrap()).await.unwrap()
}

/// The error of running this in a transaction.
async fn refusal(connections: &Connections, sql: &str) -> Error {
    let mut connection = connections.get().await.unwrap();
    let tx = connection.begin().await.unwrap();
    told(tx.run(sql).await.unwrap_err())
}

/// Checks that it says something of use.
fn told(error: Error) -> Error {
    assert!(!error.fix().is_empty() && !error.why().is_empty());
    assert!(!error.fix().contains("bug"), "{error}: {}", error.fix());
    assert!(!error.fix().contains("is tried again"), "whoever reads it may have to: {}", error.fix());
    error
}

/// The SQL that fails with this code.
fn raise(code: &str) -> String {
    format!("DO $$ BEGIN RAISE EXCEPTION 'as asked' USING ERRCODE = '{code}'; END $$")
}

#[tokio::test]
async fn every_class_of_code_has_its_meaning() {
    let database = Cluster::shared().database();
    let connections = open(&database).await;
    for code in
        ["40001", "40P01", "55P03", "57014", "53300", "53400", "08006", "57P01", "57P02", "57P03", "25P03"]
    {
        let error = refusal(&connections, &raise(code)).await;
        assert!(error.is_busy() && error.is_transient(), "{code}: {error}");
    }
    for code in ["53100", "53200"] {
        assert!(refusal(&connections, &raise(code)).await.is_full(), "{code}");
    }
    for code in ["25006", "42501"] {
        assert!(refusal(&connections, &raise(code)).await.is_read_only(), "{code}");
    }
    for code in ["28000", "28P01", "3D000"] {
        let error = refusal(&connections, &raise(code)).await;
        assert!(!error.is_transient(), "{code}: {error}");
    }
    for code in ["XX001", "XX002"] {
        assert!(refusal(&connections, &raise(code)).await.is_damaged(), "{code}");
    }
    for code in ["3F000", "42P01"] {
        assert!(refusal(&connections, &raise(code)).await.is_version(), "{code}");
    }
    assert!(refusal(&connections, &raise("58030")).await.is_transient());
}

#[tokio::test]
async fn what_nobody_expected_is_reported_in_the_servers_words() {
    let database = Cluster::shared().database();
    let connections = open(&database).await;
    let mut connection = connections.get().await.unwrap();
    let error = connection.begin().await.unwrap().run("SELECT 1 / 0").await.unwrap_err();
    assert!(error.to_string().contains("division by zero") && error.to_string().contains("22012"), "{error}");
    assert!(error.fix().contains("bug"));
}

#[tokio::test]
async fn what_fails_whenever_it_is_tried_is_not_tried_for_ever() {
    let database = Cluster::shared().database();
    let connections = open(&database).await;
    for code in ["22021", "22P05", "23505", "23514", "54000"] {
        let mut connection = connections.get().await.unwrap();
        let error = connection.begin().await.unwrap().run(&raise(code)).await.unwrap_err();
        assert!(!error.is_transient() && error.fix().contains("bug"), "{code}: {error}");
    }
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_busy() {
    let database = Cluster::shared().database();
    let connections = open(&database).await;
    let error = refusal(&connections, "SET LOCAL statement_timeout = 1; SELECT pg_sleep(60)").await;
    assert!(error.is_busy(), "{error}");
}

#[tokio::test]
async fn a_lock_that_others_hold_is_busy() {
    let database = Cluster::shared().database();
    database.sql("CREATE TABLE public.t (n int)");
    let connections = open(&database).await;
    let mut holder = connections.get().await.unwrap();
    let held = holder.begin().await.unwrap();
    held.run("LOCK TABLE public.t").await.unwrap();
    assert!(refusal(&connections, "LOCK TABLE public.t NOWAIT").await.is_busy());
    let waited = "SET LOCAL lock_timeout = 1; LOCK TABLE public.t";
    assert!(refusal(&connections, waited).await.is_busy());
}

#[tokio::test]
async fn a_deadlock_is_busy_for_one_of_the_two() {
    let database = Cluster::shared().database();
    database.sql("CREATE TABLE public.a (n int); CREATE TABLE public.b (n int)");
    let connections = open(&database).await;
    let (mut one, mut two) = (connections.get().await.unwrap(), connections.get().await.unwrap());
    let (one, two) = (one.begin().await.unwrap(), two.begin().await.unwrap());
    one.run("LOCK TABLE public.a").await.unwrap();
    two.run("LOCK TABLE public.b").await.unwrap();
    // The one that the server chooses gives way only when its transaction ends.
    let first = async move { one.run("LOCK TABLE public.b").await };
    let second = async move { two.run("LOCK TABLE public.a").await };
    let (first, second) = tokio::join!(first, second);
    let errors: Vec<Error> = [first, second].into_iter().filter_map(Result::err).collect();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].is_busy(), "{}", errors[0]);
}

#[tokio::test]
async fn transactions_that_cannot_be_put_in_order_are_busy() {
    let database = Cluster::shared().database();
    database.sql("CREATE TABLE public.t (n int); INSERT INTO public.t VALUES (1)");
    let connections = open(&database).await;
    let (mut one, mut two) = (connections.get().await.unwrap(), connections.get().await.unwrap());
    let (one, two) = (one.begin().await.unwrap(), two.begin().await.unwrap());
    for tx in [&one, &two] {
        tx.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT * FROM public.t").await.unwrap();
    }
    one.run("UPDATE public.t SET n = 2").await.unwrap();
    one.commit().await.unwrap();
    assert!(told(two.run("UPDATE public.t SET n = 3").await.unwrap_err()).is_busy());
}

#[tokio::test]
async fn a_connection_that_was_ended_is_busy_and_replaced() {
    let database = Cluster::shared().database();
    let connections = open(&database).await;
    let error = refusal(&connections, "SELECT pg_terminate_backend(pg_backend_pid())").await;
    assert!(error.is_busy(), "{error}");
    let mut connection = connections.get().await.unwrap();
    connection.begin().await.unwrap().run("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn a_write_where_none_is_allowed_is_read_only() {
    let database = Cluster::shared().database();
    let connections = open(&database).await;
    let error = refusal(&connections, "SET TRANSACTION READ ONLY; CREATE TABLE public.t (n int)").await;
    assert!(error.is_read_only(), "{error}");
}
