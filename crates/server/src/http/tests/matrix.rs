//! S1, S2, S3: the role matrix. Every operation of the table, asked by everybody there can be, about what is their own, somebody else's
//! and nobody's, of a real server on SQLite. The answers are committed (`matrix.txt`), and every cell is held against them; what must
//! hold for whole columns is said here besides, so that a wrong table cannot be committed unseen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};
use taskwright::identity::TokenRequest;
use taskwright::{Client, Job};
use taskwright_core::audit::Behalf;
use taskwright_core::generator::Definition;
use taskwright_core::throttle::Pace;
use taskwright_core::{
    Attachment, AttachmentName, Grants, JobId, Namespace, Owner, Permission, Principal, Role, Scopes,
    TokenId, UserName,
};
use taskwright_store::sqlite::{Options, SqliteStore};
use taskwright_store::{Rank, SharedStore};

use super::whole;
use crate::App;
use crate::config::{Config, Listen};
use crate::http::authenticate::{Principals, SESSION_COOKIE};
use crate::http::hosts::Hosts;
use crate::http::operation::{Access, Operation};
use crate::http::operations::table;
use crate::http::state::{Limits, Made};
use crate::http::{Running, Server};

/// Where the answers are committed.
const FILE: &str = "src/http/tests/matrix.txt";
/// A password, and the name of who has it.
const PASSWORD: &str = "correct horse battery";

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Anonymous,
    Expired,
    Revoked,
    /// A user without a role anywhere.
    Nobody,
    Viewer,
    Member,
    Admin,
    /// An admin of A whose token is held to looking at queues.
    Narrowed,
    AdminOfB,
    Superuser,
}

impl Who {
    const ALL: [Self; 10] = [
        Self::Anonymous,
        Self::Expired,
        Self::Revoked,
        Self::Nobody,
        Self::Viewer,
        Self::Member,
        Self::Admin,
        Self::Narrowed,
        Self::AdminOfB,
        Self::Superuser,
    ];
    const HEAD: [&str; 10] = [
        "anonym",
        "expired",
        "revoked",
        "nobody",
        "viewer",
        "member",
        "admin",
        "narrowed",
        "admin B",
        "superuser",
    ];

    /// Whether nobody is known by what they send.
    fn is_unknown(self) -> bool {
        self <= Self::Revoked
    }
}

/// Whose the thing is that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// Nothing in particular.
    Nothing,
    /// Somebody else's, of A.
    Others,
    /// What the caller submitted, in A.
    Own,
    /// What there is not.
    Missing,
}

impl Whose {
    const fn word(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Others => "others'",
            Self::Own => "own",
            Self::Missing => "missing",
        }
    }
}

/// What is sent to bring what they are.
#[derive(Clone)]
enum Brings {
    Nothing,
    Token(String),
    Cookie(String),
}

struct World {
    client: Client,
    running: Option<Running>,
    url: String,
    http: reqwest::Client,
    who: BTreeMap<Who, (Brings, Owner)>,
    /// How many names were made up.
    names: std::sync::atomic::AtomicU32,
    _directory: tempfile::TempDir,
}

fn a() -> Namespace {
    Namespace::new("a").unwrap()
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let env = taskwright::Env::system();
        let store = SqliteStore::open(&directory.path().join("s.db"), Options { now: env.now() }).unwrap();
        let store: SharedStore = Arc::new(store);
        let client = Client::new(Arc::clone(&store), env.clone());
        let server = Server::bind("127.0.0.1:0".parse::<Listen>().unwrap()).await.unwrap().unwrap();
        let url = server.url();
        // One is as good as another here: what the time of an answer tells is held elsewhere.
        let strangers = Pace { per_second: 100_000, burst: 100_000 };
        let limits = Limits { unknown_time: Duration::ZERO, strangers, ..Limits::default() };
        let local = crate::cli::local_actor();
        let running = server.run(Made {
            store,
            store_url: None,
            env,
            app: App::new().with_kinds(["mail".to_owned()]),
            config: Config::default(),
            limits,
            hosts: Hosts::of("127.0.0.1".parse().unwrap(), &[]),
            tls: None,
            authenticate: Box::new(Principals::new(client.identities(), Some(local))),
        });
        let mut world = Self {
            client,
            running: Some(running),
            url,
            http: crate::courier::client_of_this_machine(None).unwrap(),
            who: BTreeMap::new(),
            names: 0.into(),
            _directory: directory,
        };
        world.introduce().await;
        world
    }

    /// Makes everybody.
    async fn introduce(&mut self) {
        let local = Principal::local("maker".parse().unwrap());
        let identities = self.client.identities();
        let b = Namespace::new("b").unwrap();
        let plain = |name: &str, rank| TokenRequest::new(name.parse().unwrap(), rank);
        let narrowed = Scopes::only([Permission::QueuesView]);
        let requests = [
            (Who::Superuser, plain("root", Rank::Superuser)),
            (
                Who::Expired,
                TokenRequest { good_for: Some(Duration::ZERO), ..plain("old", Rank::In(a(), Role::Admin)) },
            ),
            (Who::Revoked, plain("gone", Rank::In(a(), Role::Admin))),
            (Who::Viewer, plain("viewer", Rank::In(a(), Role::Viewer))),
            (Who::Member, plain("member", Rank::In(a(), Role::Member))),
            (Who::Admin, plain("admin", Rank::In(a(), Role::Admin))),
            (Who::Narrowed, TokenRequest { scopes: narrowed, ..plain("narrow", Rank::In(a(), Role::Admin)) }),
            (Who::AdminOfB, plain("admin-b", Rank::In(b, Role::Admin))),
        ];
        for (who, request) in requests {
            let made = identities.create_token(&local, request).await.unwrap().unwrap();
            if who == Who::Revoked {
                identities.revoke_token(made.token.id).await.unwrap();
            }
            let name = taskwright_store::StoredToken {
                token: made.token,
                created_at: self.client.now(),
                used_at: None,
                revoked_at: None,
            };
            self.who.insert(who, (Brings::Token(made.secret.reveal()), name.principal().owner()));
        }
        let nobody = UserName::new("nobody").unwrap();
        assert!(identities.add_user(&local, nobody, PASSWORD, Grants::default()).await.unwrap());
        let session = identities.log_in("nobody", PASSWORD).await.unwrap().unwrap();
        let cookie = Brings::Cookie(format!("{SESSION_COOKIE}={}", session.secret.reveal()));
        self.who.insert(Who::Nobody, (cookie, Owner::new("nobody").unwrap()));
        self.who.insert(Who::Anonymous, (Brings::Nothing, Owner::new("anonymous").unwrap()));
        // Something to look at.
        let job = Job::new("mail").namespace("a").queue("thing");
        self.client.enqueue(job).await.unwrap();
        self.post("/api/v1/schedules?namespace=a", schedule()).await;
        self.post("/api/v1/webhooks?namespace=a", webhook()).await;
    }

    /// Asks as a superuser, for what has to go well.
    async fn post(&self, path: &str, body: Value) {
        let Brings::Token(token) = &self.who[&Who::Superuser].0 else { panic!("a token") };
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(token);
        let request = request.header("content-type", "application/json").body(body.to_string());
        let status = request.send().await.unwrap().status();
        assert!(status.is_success() || status == StatusCode::CONFLICT, "{path}: {status}");
    }

    /// A name that nothing has.
    fn name(&self) -> String {
        format!("n{}", self.names.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }

    /// A session of a user with the same rights as somebody, for what only users do and what ends their sessions. A token that is held
    /// to something has no such user.
    async fn session(&self, who: Who) -> Brings {
        let b = Namespace::new("b").unwrap();
        let grants = match who {
            Who::Nobody => Grants::default(),
            Who::Viewer => Grants::of(a(), Role::Viewer),
            Who::Member => Grants::of(a(), Role::Member),
            Who::Admin => Grants::of(a(), Role::Admin),
            Who::AdminOfB => Grants::of(b, Role::Admin),
            Who::Superuser => Grants::superuser(),
            Who::Anonymous | Who::Expired | Who::Revoked | Who::Narrowed => return self.who[&who].0.clone(),
        };
        let (identities, local) = (self.client.identities(), Principal::local("maker".parse().unwrap()));
        let name = UserName::new(&self.name()).unwrap();
        assert!(identities.add_user(&local, name.clone(), PASSWORD, grants).await.unwrap());
        let session = identities.log_in(name.as_str(), PASSWORD).await.unwrap().unwrap();
        Brings::Cookie(format!("{SESSION_COOKIE}={}", session.secret.reveal()))
    }

    /// A job of A whose state allows a change of this name, with something attached where that is asked for.
    async fn job(&self, owner: &Owner, verb: &str) -> JobId {
        let job = Job::new("mail").namespace("a").owner(owner.as_str());
        let job = match verb {
            "release" | "attach" | "attachment" | "attachments" => job.hold(),
            "run-now" | "awaken" => job.run_in(Duration::from_secs(3_600)),
            _ => job,
        };
        let id = self.client.enqueue(job).await.unwrap().id;
        if matches!(verb, "attachment" | "attachments") {
            let thing = Attachment::new(AttachmentName::new("thing").unwrap(), b"rows".to_vec()).unwrap();
            self.client.attach(id, thing).await.unwrap();
        }
        if matches!(verb, "retry" | "delete") {
            let now = self.client.now();
            let cancel = taskwright_store::Change::Cancel;
            self.client.store().change(now, vec![id], cancel, "maker".parse().unwrap(), None).await.unwrap();
        }
        id
    }

    /// A token of A, a user, a bulk: for what is gone once it was removed.
    async fn token(&self) -> TokenId {
        let local = Principal::local("maker".parse().unwrap());
        let request = TokenRequest::new(self.name().parse().unwrap(), Rank::In(a(), Role::Viewer));
        self.client.identities().create_token(&local, request).await.unwrap().unwrap().token.id
    }

    async fn bulk(&self, owner: &Owner) -> JobId {
        let params = json!({ "kind": "mail", "size": 3 });
        let bulk = taskwright::bulk::Bulk::new("count").params(&params).unwrap().namespace(a());
        let bulks = self.client.bulks(&taskwright::bulk::BulkSet::built_in());
        bulks.create(bulk.author(owner.clone())).await.unwrap()
    }

    /// The path, with something filled in that is as it has to be.
    async fn path(&self, operation: &Operation, who: Who, whose: Whose) -> String {
        let verb = operation.id.split('.').nth(1).unwrap_or_default();
        let noun = operation.id.split('.').next().unwrap_or_default();
        let others = Owner::new("somebody").unwrap();
        let owner = if whose == Whose::Own { self.who[&who].1.clone() } else { others };
        let missing = "01890000-0000-7000-8000-000000000000".to_owned();
        let id = match (noun, whose) {
            (_, Whose::Missing) => missing,
            _ if !operation.path.contains("{id}") => missing,
            ("tokens", _) => self.token().await.to_string(),
            ("bulk", _) => self.bulk(&owner).await.to_string(),
            _ => self.job(&owner, verb).await.to_string(),
        };
        let name = match (noun, whose) {
            (_, Whose::Missing) => "nothing",
            ("users", _) => "u",
            _ => "thing",
        };
        match operation.id {
            "schedules.remove" => self.post("/api/v1/schedules?namespace=a", schedule()).await,
            "webhooks.remove" => self.post("/api/v1/webhooks?namespace=a", webhook()).await,
            _ if noun == "generators" => self.generator().await,
            _ if noun == "users" && whose != Whose::Missing => self.user().await,
            _ => {}
        }
        let path = operation.path.replace("{id}", &id).replace("{name}", name);
        let path = path.replace("{queue}", name).replace("{namespace}", "a");
        let path = whole(path.replace("{what}", "completed"));
        let extra = if operation.id == "jobs.wait" { "timeout=1ms&" } else { "" };
        match operation.access.permission() {
            Some(_) => format!("{path}?{extra}namespace=a"),
            None => path,
        }
    }

    async fn generator(&self) {
        let mut definition = Definition::new("thing".parse().unwrap());
        definition.namespace = a();
        self.client.generators().register(&definition, Value::Null).await.unwrap();
    }

    async fn user(&self) {
        let local = Principal::local("maker".parse().unwrap());
        // It is added once and again: what a password costs is paid when it was removed.
        let name = UserName::new("u").unwrap();
        if self.client.identities().user(name.clone()).await.unwrap().is_none() {
            let behalf = Behalf::of(&local, self.client.now(), "users.add", "u");
            let identities = self.client.on_behalf_of(behalf).identities();
            identities.add_user(&local, name, PASSWORD, Grants::default()).await.unwrap();
        }
    }

    async fn ask(&self, operation: &Operation, who: Who, whose: Whose) -> StatusCode {
        let path = self.path(operation, who, whose).await;
        let mut request = self.http.request(operation.method.clone(), format!("{}{path}", self.url));
        let mut body = body(operation, &self.name());
        if operation.id.ends_with("-many") && operation.id != "jobs.enqueue-many" {
            let id = self.job(&Owner::new("somebody").unwrap(), "cancel").await;
            body.get_or_insert_with(|| json!({}))["ids"] = json!([id]);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        // What a user changes its password with is over then.
        let brings = match operation.id {
            "whoami.password" => self.session(who).await,
            _ => self.who[&who].0.clone(),
        };
        request = match brings {
            Brings::Nothing => request,
            Brings::Token(token) => request.bearer_auth(token),
            Brings::Cookie(cookie) => request.header("cookie", cookie),
        };
        request.send().await.unwrap().status()
    }
}

fn schedule() -> Value {
    let trigger = json!({ "type": "every", "period": "1h" });
    json!({ "name": "thing", "kind": "mail", "triggers": [{ "id": "t", "trigger": trigger }] })
}

fn webhook() -> Value {
    json!({ "name": "thing", "url": "https://example.invalid/", "topics": ["x"] })
}

/// A body that would do, so that only the permission decides; what is made has this name.
pub(super) fn body(operation: &Operation, new: &str) -> Option<Value> {
    Some(match operation.id {
        "jobs.enqueue" => json!({ "kind": "mail" }),
        "jobs.enqueue-many" => json!({ "jobs": [{ "kind": "mail" }] }),
        "jobs.delay" | "jobs.delay-many" => json!({ "in": "1h" }),
        "jobs.reprioritise" | "jobs.reprioritise-many" => json!({ "to": "high" }),
        "jobs.comment" => json!({ "text": "hello" }),
        "schedules.put" => schedule(),
        "webhooks.create" => json!({ "name": new, "url": "https://example.invalid/", "topics": ["x"] }),
        "webhooks.redeliver" => json!({ "events": [] }),
        "events.emit" => json!({ "topic": "x" }),
        "bulk.create" => json!({ "type": "count", "params": { "kind": "mail", "size": 1 } }),
        "workers.quiet" | "workers.stop" => json!({ "ids": [] }),
        "tokens.create" => json!({ "name": new, "role": "viewer" }),
        "gc.set" => json!({ "keep": "default" }),
        "users.create" => json!({ "name": "u2", "password": PASSWORD }),
        "users.grant" => json!({ "roles": { "a": "viewer" } }),
        "users.password" => json!({ "password": PASSWORD }),
        "namespaces.set-cancel-policy" => json!({ "policy": "owner" }),
        // Wrong on purpose: it is about who asks without having to.
        "sessions.login" => json!({ "name": "stranger", "password": PASSWORD }),
        "whoami.password" => json!({ "current": PASSWORD, "password": PASSWORD }),
        _ => return None,
    })
}

/// The lines of an operation: about nothing in particular, or about what is of others, one's own and missing.
fn whose(operation: &Operation) -> &'static [Whose] {
    let noun = operation.id.split('.').next().unwrap_or_default();
    match (operation.path.contains("{id}"), noun) {
        (true, "jobs" | "bulk") => &[Whose::Others, Whose::Own, Whose::Missing],
        (true, _) => &[Whose::Others, Whose::Missing],
        (false, _) if operation.path.contains("{name}") || operation.path.contains("{queue}") => {
            &[Whose::Others, Whose::Missing]
        }
        _ => &[Whose::Nothing],
    }
}

/// What has to hold whatever the table says.
fn check(operation: &Operation, whose: Whose, row: &BTreeMap<Who, u16>) {
    let at = |who| row[&who];
    let place = format!("{} {}", operation.id, whose.word());
    if operation.access == Access::Anyone {
        return;
    }
    for who in Who::ALL {
        let is_unknown = at(who) == 401;
        assert_eq!(is_unknown, who.is_unknown(), "{place}: {who:?} {}", at(who));
    }
    // Whoever may do everything gets there, or the line shows nothing of who may not.
    if whose != Whose::Missing {
        assert!((200..300).contains(&at(Who::Superuser)), "{place}: {}", at(Who::Superuser));
    }
    for who in Who::ALL {
        assert!(at(who) < 500, "{place}: {who:?} {}", at(who));
    }
    let Some(permission) = operation.access.permission() else { return };
    // Nobody gets anywhere in a namespace in which they have nothing, but to what they have submitted.
    let is_closed = |status: u16| matches!(status, 403 | 404);
    if whose != Whose::Own && !matches!(operation.id, "jobs.list" | "jobs.stream") {
        for who in [Who::AdminOfB, Who::Nobody] {
            assert!(is_closed(at(who)), "{place}: {who:?} {}", at(who));
        }
    }
    if permission != Permission::QueuesView {
        assert_eq!(at(Who::Narrowed), 403, "{place}");
    }
    if operation.is_mutation() {
        assert!(is_closed(at(Who::Viewer)), "{place}: {}", at(Who::Viewer));
    }
    if whose == Whose::Missing && operation.access.is_of_own() {
        for who in [Who::Viewer, Who::Member, Who::Admin, Who::Superuser] {
            assert!(is_closed(at(who)), "{place}: {who:?} {}", at(who));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_every_cell_of_the_role_matrix_is_as_committed() {
    let world = World::new().await;
    let mut text = format!("{:<34}{:<9}", "operation", "whose");
    Who::HEAD.iter().for_each(|head| write!(text, "{head:>10}").unwrap());
    text.push('\n');
    let mut cells = 0;
    // It ends the session that asks, which is wanted in all other lines.
    let (last, others): (Vec<_>, Vec<_>) =
        table().into_iter().partition(|operation| operation.id == "sessions.logout");
    assert_eq!(last.len(), 1);
    for operation in others.into_iter().chain(last) {
        let mut of_others: Option<BTreeMap<Who, u16>> = None;
        let order = whose(&operation);
        for whose in order {
            let mut row = BTreeMap::new();
            write!(text, "{:<34}{:<9}", operation.id, whose.word()).unwrap();
            for who in Who::ALL {
                let status = world.ask(&operation, who, *whose).await.as_u16();
                write!(text, "{status:>10}").unwrap();
                row.insert(who, status);
                cells += 1;
            }
            text.push('\n');
            check(&operation, *whose, &row);
            match (whose, &of_others) {
                (Whose::Others, _) => of_others = Some(row),
                // What is somebody else's is answered like what there is not.
                (Whose::Missing, Some(others)) => {
                    for who in [Who::Nobody, Who::AdminOfB] {
                        assert_eq!(row[&who], others[&who], "{}: {who:?}", operation.id);
                    }
                }
                _ => {}
            }
        }
    }
    if let Some(running) = world.running {
        running.close().await;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if std::env::var_os("TASKWRIGHT_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    for (line, expected) in text.lines().zip(committed.lines()) {
        assert_eq!(line, expected, "run this test with TASKWRIGHT_UPDATE_DOCS=1, and look at what changed");
    }
    assert_eq!(text.lines().count(), committed.lines().count());
    assert!(cells > 1_200, "{cells}");
}

#[test]
fn s2_no_route_is_without_a_permission_but_those_that_are_named() {
    let open: Vec<_> =
        table().into_iter().filter(|one| one.access == Access::Anyone).map(|one| one.id).collect();
    assert_eq!(open, ["sessions.login", "system.live", "system.ready"]);
    let known: Vec<_> =
        table().into_iter().filter(|one| one.access == Access::Known).map(|one| one.id).collect();
    assert_eq!(known, ["sessions.list", "sessions.logout", "whoami", "whoami.password", "system.openapi"]);
}
