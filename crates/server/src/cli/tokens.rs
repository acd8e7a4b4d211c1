//! `tokens`: what programs prove who they are with.

use std::time::Duration;

use clap::{Args, Subcommand};
use taskwright::identity::{Identities, TokenRequest};
use taskwright_core::audit::Behalf;
use taskwright_core::{Actor, Namespace, Principal, Role, Scopes, Timestamp, TokenId, TokenName};
use taskwright_store::{Kept, Rank, StoredToken};

use super::{Context, context, value};
use crate::answer::principal::{TokenListed, TokenMade, TokenState};
use crate::error::{Error, Exit};
use crate::http::NewToken;
use crate::output::{Column, Paint, Table};
use crate::text;

/// Tokens of a page.
const PAGE: usize = 500;

/// Looks after API tokens.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright tokens create ci --role member
  taskwright tokens list
  taskwright tokens revoke ci

A token is shown once, when it is made; the store keeps its SHA-256. What each
role may do is a table in the guide, on the page `Identities`.")]
pub(super) struct Tokens {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a token, and print it this once
    Create(Create),
    /// List tokens, the newest first
    List(List),
    /// Make tokens good for nothing, for ever
    Revoke(Revoke),
}

/// Makes a token.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright tokens create ci --role member
  taskwright tokens create dashboard --namespace shop --role viewer
  taskwright tokens create deploy --role admin --scope 'queues.*' --expires 90d
  taskwright tokens create root --superuser

The token is alone on standard output. --scope narrows what the role allows,
to a permission such as jobs.view or to all of a noun; it may be repeated.")]
struct Create {
    /// What it is called: unique in its namespace
    name: TokenName,
    #[command(flatten)]
    rank: RankFlags,
    /// Only for this: a permission, or NOUN.*
    #[arg(long = "scope", value_name = "PERMISSION")]
    scopes: Vec<String>,
    /// Good for so long [default: for ever]
    #[arg(long, value_name = "D", value_parser = value::duration)]
    expires: Option<Duration>,
    /// Who makes it [default: the user]
    #[arg(long, value_name = "NAME")]
    actor: Option<Actor>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct RankFlags {
    /// viewer, member or admin, in the namespace
    #[arg(long)]
    role: Option<Role>,
    /// Everything, everywhere
    #[arg(long)]
    superuser: bool,
}

/// Lists tokens.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright tokens list
  taskwright tokens list --all --json
  taskwright tokens list --namespace shop

Nobody can see the tokens themselves any more. `used` is right to a minute.")]
struct List {
    /// Also those that were revoked or have expired
    #[arg(long)]
    all: bool,
}

/// Revokes tokens.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright tokens revoke ci
  taskwright tokens revoke ci --namespace shop
  taskwright tokens revoke ID

It holds at once. A token that is to be replaced: create the new one under
another name, hand it out, and revoke the old one.")]
struct Revoke {
    /// Names in the namespace, or ids
    #[arg(required = true, value_name = "NAME|ID")]
    tokens: Vec<String>,
    /// Those of superusers, which belong to no namespace
    #[arg(long, conflicts_with = "namespace")]
    superuser: bool,
    /// Who does it [default: the user]
    #[arg(long, value_name = "NAME")]
    actor: Option<Actor>,
}

const COLUMNS: [Column; 7] = [
    Column::new("name", 0).cut_to(32),
    Column::new("state", 0),
    Column::new("role", 0),
    Column::new("begins with", 2),
    Column::new("used", 1),
    Column::new("expires", 3),
    Column::new("made by", 4).cut(),
];

impl Tokens {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        match self.verb {
            Verb::Create(verb) => verb.run(context).await,
            Verb::List(verb) => verb.run(context).await,
            Verb::Revoke(verb) => verb.run(context).await,
        }
    }
}

/// The principals of the store, for a change that is told in the audit.
pub(super) async fn acting(
    context: &Context,
    actor: Option<&Actor>,
    action: &str,
    object: &str,
    namespace: Option<Namespace>,
) -> Result<(Principal, Identities), Error> {
    let principal = Principal::local(context::actor(actor));
    let mut behalf = Behalf::of(&principal, context.env.now(), action, object);
    behalf.namespace = namespace;
    // Principals may come before the first job does.
    let client = context.client_or_new().await?.on_behalf_of(behalf);
    Ok((principal, client.identities()))
}

impl Create {
    async fn run(self, context: &Context) -> Result<Exit, Error> {
        let rank = match self.rank.role {
            Some(role) => Rank::In(context.namespace_or_default(), role),
            None => Rank::Superuser,
        };
        if rank == Rank::Superuser && context.namespace.is_some() {
            return Err(Error::usage(
                "--superuser with --namespace",
                "a superuser is one everywhere",
                "leave one of them out, or pass --role",
            ));
        }
        let scopes = Scopes::parse(self.scopes.iter().map(String::as_str))?;
        if let Some(server) = context.server() {
            let request = NewToken {
                name: self.name.clone(),
                role: rank.role(),
                superuser: rank == Rank::Superuser,
                scopes: self.scopes.clone(),
                expires: self.expires.map(|span| format!("{}us", span.as_micros())),
            };
            let path = "/api/v1/tokens";
            let made = server.create(path, rank.namespace(), &request).await?;
            return self.tell(context, &made);
        }
        let namespace = rank.namespace().cloned();
        let (by, identities) =
            acting(context, self.actor.as_ref(), "tokens.create", self.name.as_str(), namespace).await?;
        let request =
            TokenRequest { scopes, good_for: self.expires, ..TokenRequest::new(self.name.clone(), rank) };
        let Some(made) = identities.create_token(&by, request).await? else {
            return Err(Error::operational(
                format!("the token {}", self.name),
                "there is one of this name already",
                "choose another name, or revoke that one with `taskwright tokens revoke NAME`",
            ));
        };
        self.tell(context, &TokenMade::of(made, context.env.now()))
    }

    fn tell(&self, context: &Context, made: &TokenMade) -> Result<Exit, Error> {
        if context.output.is_json() {
            context.output.json(made)?;
        } else {
            context.output.line(&made.token)?;
            context.output.note("keep it in a safe place: it is shown this once");
        }
        Ok(Exit::Ok)
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<Exit, Error> {
        let now = context.env.now();
        let wanted = |stored: &StoredToken| {
            (self.all || stored.is_good(now))
                && context.namespace.as_ref().is_none_or(|ours| stored.token.rank.namespace() == Some(ours))
        };
        let tokens = all(context, wanted).await?;
        let mut table = Table::new(&COLUMNS);
        for stored in &tokens {
            if context.output.is_json() {
                context.output.json(&TokenListed::of(stored, now))?;
                continue;
            }
            let token = &stored.token;
            let plain = |text: String| (text, Paint::Plain);
            let state = TokenState::of(stored, now);
            let name = match token.rank.namespace() {
                Some(namespace) if *namespace != Namespace::default() => {
                    format!("{namespace}/{}", token.name)
                }
                _ => token.name.to_string(),
            };
            let mut role = token.rank.role().map_or("superuser", Role::as_str).to_owned();
            if token.scopes != Scopes::all() {
                role.push_str(", narrowed");
            }
            let at = |at: Option<Timestamp>, none: &str| {
                at.map_or_else(|| none.to_owned(), |at| text::relative(at, now))
            };
            table.row(vec![
                plain(name),
                (state.as_str().to_owned(), paint(state)),
                plain(role),
                (format!("{}…", token.hint), Paint::Faint),
                plain(at(stored.used_at, "never")),
                plain(at(token.expires_at, "never")),
                plain(text::one_line(token.created_by.as_str())),
            ]);
        }
        if !table.is_empty() {
            context.output.table(&mut table)?;
        }
        if tokens.is_empty() {
            context.output.note("no tokens: make one with `taskwright tokens create NAME --role ROLE`");
        }
        Ok(Exit::Ok)
    }
}

impl Revoke {
    async fn run(self, context: &Context) -> Result<Exit, Error> {
        let tokens = all(context, |stored| stored.revoked_at.is_none()).await?;
        // All or none: an unknown name is told before anything is revoked.
        let mut chosen = Vec::with_capacity(self.tokens.len());
        for text in &self.tokens {
            chosen.push(self.find(context, &tokens, text)?);
        }
        for stored in chosen {
            let (id, name) = (stored.token.id, &stored.token.name);
            let namespace = stored.token.rank.namespace().cloned();
            let (_, identities) =
                acting(context, self.actor.as_ref(), "tokens.revoke", name.as_str(), namespace).await?;
            match identities.revoke_token(id).await? {
                Kept::Done | Kept::Already => {}
                Kept::Unknown => return Err(unknown(name.as_str())),
                Kept::LastSuperuser => return Err(last_superuser(format!("the token {name}"))),
            }
            if context.output.is_json() {
                context.output.json(&serde_json::json!({ "id": id, "name": name, "revoked": true }))?;
            } else {
                context.output.line(format!("{name}  revoked"))?;
            }
            context.output.flush()?;
        }
        Ok(Exit::Ok)
    }

    fn find<'t>(
        &self,
        context: &Context,
        tokens: &'t [StoredToken],
        text: &str,
    ) -> Result<&'t StoredToken, Error> {
        let namespace = (!self.superuser).then(|| context.namespace_or_default());
        let id: Option<TokenId> = text.parse().ok();
        let is_meant = |stored: &&StoredToken| match id {
            Some(id) => stored.token.id == id,
            None => stored.token.name.as_str() == text && stored.token.rank.namespace() == namespace.as_ref(),
        };
        tokens.iter().find(is_meant).ok_or_else(|| unknown(text))
    }
}

/// All tokens that are such, the newest first.
async fn all(context: &Context, such: impl Fn(&StoredToken) -> bool) -> Result<Vec<StoredToken>, Error> {
    let identities = context.client().await?.identities();
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = identities.tokens(before, PAGE).await?;
        before = page.last().map(|stored| stored.token.id);
        let is_end = page.len() < PAGE;
        found.extend(page.into_iter().filter(|stored| such(stored)));
        if is_end {
            return Ok(found);
        }
    }
}

fn unknown(name: &str) -> Error {
    Error::operational(
        format!("the token {:?}", taskwright_core::name::shown(name)),
        "there is none of this name or id in the namespace that is not revoked",
        "see them with `taskwright tokens list --all`; pass --namespace, or --superuser for one of a superuser",
    )
}

/// The error for whoever would leave nobody who may do everything.
pub(super) fn last_superuser(what: String) -> Error {
    Error::operational(
        what,
        "nobody would be superuser any more",
        "make another one first, with `taskwright tokens create NAME --superuser`",
    )
}

/// The colour of how a token is.
const fn paint(state: TokenState) -> Paint {
    match state {
        TokenState::Good => Paint::Good,
        TokenState::Expired => Paint::Warn,
        TokenState::Revoked => Paint::Bad,
    }
}
