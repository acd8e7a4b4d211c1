//! `users`: people who log in with a password.

use std::io::Read as _;

use clap::{Args, Subcommand};
use taskwright::identity::Identities;
use taskwright_core::limit::PASSWORD_BYTES_MAX;
use taskwright_core::{Actor, Grants, Namespace, Principal, Role, UserName};
use taskwright_store::{Kept, StoredUser};

use super::Context;
use super::tokens::{acting, last_superuser};
use crate::answer::principal::{Changed, UserListed};
use crate::error::{Error, Exit};
use crate::http::{NewPassword, NewUser};
use crate::output::{Column, Paint, Table};
use crate::remote::segment;
use crate::text;

/// Users of a page.
const PAGE: usize = 500;

/// Looks after users.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright users add alice --role admin
  taskwright users grant alice --namespace shop --role viewer
  taskwright users list

A password is asked for, or read from standard input; it is never an argument,
which everybody on the machine could read. What each role may do is a table in
the guide, on the page `Identities`.")]
pub(super) struct Users {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add a user
    Add(Add),
    /// List users
    List(List),
    /// Remove users, with their sessions; their jobs stay
    Remove(Remove),
    /// Set a password, and end all sessions
    Password(Password),
    /// Give a user a role in the namespace, or take it
    Grant(Grant),
    /// Let a user log in no more, and end its sessions
    Disable(Disable),
    /// Let a user log in again
    Enable(Enable),
}

/// Adds a user.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright users add alice --role member
  taskwright users add bob --superuser

Of a file or a pipe the first line is the password: at least 10 characters.")]
struct Add {
    /// What it is called
    name: UserName,
    /// viewer, member or admin, in the namespace
    #[arg(long, conflicts_with = "superuser")]
    role: Option<Role>,
    /// Everything, everywhere
    #[arg(long)]
    superuser: bool,
    #[command(flatten)]
    by: By,
}

/// Lists users.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright users list
  taskwright users list --json")]
struct List {}

/// Removes users.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright users remove alice

Whoever is added under the same name later owns the jobs of the first.")]
struct Remove {
    #[command(flatten)]
    named: Named,
}

/// Sets a password.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright users password alice

Of a file or a pipe the first line is the password. All sessions of the user
end.")]
struct Password {
    /// The user
    name: UserName,
    #[command(flatten)]
    by: By,
}

/// Gives a role.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright users grant alice --role admin
  taskwright users grant alice --namespace shop --none
  taskwright users grant alice --superuser

It holds at once, for sessions that are open, too. --role and --none are about
the namespace, and leave those of other namespaces; of a superuser they make an
ordinary user.")]
struct Grant {
    /// The user
    name: UserName,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    by: By,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// viewer, member or admin, in the namespace
    #[arg(long, value_name = "R")]
    role: Option<Role>,
    /// No role in the namespace
    #[arg(long)]
    none: bool,
    /// Everything, everywhere
    #[arg(long)]
    superuser: bool,
}

/// Lets users log in no more.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright users disable alice")]
struct Disable {
    #[command(flatten)]
    named: Named,
}

/// Lets users log in again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright users enable alice")]
struct Enable {
    #[command(flatten)]
    named: Named,
}

#[derive(Debug, Args)]
struct Named {
    /// The users
    #[arg(required = true, value_name = "NAME")]
    names: Vec<UserName>,
    #[command(flatten)]
    by: By,
}

#[derive(Debug, Args)]
struct By {
    /// Who does it [default: the user who is logged in]
    #[arg(long, value_name = "NAME")]
    actor: Option<Actor>,
}

impl By {
    async fn acting(
        &self,
        context: &Context,
        action: &str,
        name: &UserName,
        namespace: Option<Namespace>,
    ) -> Result<(Principal, Identities), Error> {
        acting(context, self.actor.as_ref(), action, name.as_str(), namespace).await
    }
}

const COLUMNS: [Column; 4] = [
    Column::new("name", 0).cut_to(32),
    Column::new("state", 0),
    Column::new("roles", 0).cut(),
    Column::new("changed", 1),
];

impl Users {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        match self.verb {
            Verb::Add(verb) => verb.run(context).await,
            Verb::List(verb) => verb.run(context).await,
            Verb::Remove(verb) => verb.run(context).await,
            Verb::Password(verb) => verb.run(context).await,
            Verb::Grant(verb) => verb.run(context).await,
            Verb::Disable(verb) => set_disabled(context, verb.named, true).await,
            Verb::Enable(verb) => set_disabled(context, verb.named, false).await,
        }
    }
}

impl Add {
    async fn run(self, context: &Context) -> Result<Exit, Error> {
        let grants = match self.role {
            _ if self.superuser => Grants::superuser(),
            Some(role) => Grants::of(context.namespace_or_default(), role),
            None => Grants::default(),
        };
        let namespace = self.role.map(|_| context.namespace_or_default());
        let password = read_password(context, &self.name)?;
        if let Some(server) = context.server() {
            let Grants { superuser, roles } = grants.clone();
            let request = NewUser { name: self.name.clone(), password, superuser, roles };
            let _: UserListed = server.create("/api/v1/users", None, &request).await?;
            return tell_added(context, &self.name, &grants);
        }
        let (by, identities) = self.by.acting(context, "users.add", &self.name, namespace).await?;
        if !identities.add_user(&by, self.name.clone(), &password, grants.clone()).await? {
            return Err(Error::operational(
                format!("the user {}", self.name),
                "there is one of this name already",
                "choose another name; `taskwright users password` and `users grant` change that one",
            ));
        }
        tell_added(context, &self.name, &grants)
    }
}

fn tell_added(context: &Context, name: &UserName, grants: &Grants) -> Result<Exit, Error> {
    if *grants == Grants::default() {
        context.output.note("it may do nothing yet: give it a role with `taskwright users grant`");
    }
    tell(context, name, "added")
}

impl List {
    async fn run(self, context: &Context) -> Result<Exit, Error> {
        let identities = context.client().await?.identities();
        let now = context.env.now();
        let mut table = Table::new(&COLUMNS);
        let (mut count, mut after) = (0, None);
        loop {
            let page = identities.users(after, PAGE).await?;
            after = page.last().map(|stored| stored.user.name.clone());
            let is_end = page.len() < PAGE;
            for stored in page.iter().filter(|stored| is_of(stored, context.namespace.as_ref())) {
                count += 1;
                if context.output.is_json() {
                    context.output.json(&UserListed::of(stored))?;
                    continue;
                }
                let (state, paint) =
                    if stored.disabled { ("disabled", Paint::Warn) } else { ("on", Paint::Good) };
                table.row(vec![
                    (stored.user.name.to_string(), Paint::Plain),
                    (state.to_owned(), paint),
                    (roles(&stored.user.grants), Paint::Plain),
                    (text::relative(stored.changed_at, now), Paint::Faint),
                ]);
            }
            if is_end {
                break;
            }
        }
        if !table.is_empty() {
            context.output.table(&mut table)?;
        }
        if count == 0 {
            context.output.note("no users: add one with `taskwright users add NAME --role ROLE`");
        }
        Ok(Exit::Ok)
    }
}

/// Whether a user may do anything in a namespace, if one was asked for.
fn is_of(stored: &StoredUser, namespace: Option<&Namespace>) -> bool {
    namespace.is_none_or(|namespace| stored.user.grants.role(namespace).is_some())
}

fn roles(grants: &Grants) -> String {
    if grants.superuser {
        return "superuser".to_owned();
    }
    let told: Vec<String> =
        grants.roles.iter().map(|(namespace, role)| format!("{role} of {namespace}")).collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

impl Remove {
    async fn run(self, context: &Context) -> Result<Exit, Error> {
        for name in &self.named.names {
            let (_, identities) = self.named.by.acting(context, "users.remove", name, None).await?;
            kept(name, identities.remove_user(name.clone()).await?)?;
            tell(context, name, "removed")?;
        }
        Ok(Exit::Ok)
    }
}

impl Password {
    async fn run(self, context: &Context) -> Result<Exit, Error> {
        let (by, identities) = self.by.acting(context, "users.password", &self.name, None).await?;
        if identities.user(self.name.clone()).await?.is_none() {
            return Err(unknown(&self.name));
        }
        let password = read_password(context, &self.name)?;
        if let Some(server) = context.server() {
            let path = format!("/api/v1/users/{}/password", segment(self.name.as_str()));
            let _: Changed = server.create(&path, None, &NewPassword { password }).await?;
            return tell(context, &self.name, "has another password, and no session");
        }
        kept(&self.name, identities.set_password(&by, self.name.clone(), &password).await?)?;
        tell(context, &self.name, "has another password, and no session")
    }
}

impl Grant {
    async fn run(self, context: &Context) -> Result<Exit, Error> {
        let namespace = context.namespace_or_default();
        if self.what.superuser && context.namespace.is_some() {
            return Err(Error::usage(
                "--superuser with --namespace",
                "a superuser is one everywhere",
                "leave one of them out, or pass --role",
            ));
        }
        let within = (!self.what.superuser).then(|| namespace.clone());
        let (by, identities) = self.by.acting(context, "users.grant", &self.name, within).await?;
        let stored = identities.user(self.name.clone()).await?.ok_or_else(|| unknown(&self.name))?;
        let mut grants = Grants { superuser: self.what.superuser, ..stored.user.grants };
        if let Some(role) = self.what.role {
            grants.roles.insert(namespace, role);
        } else if self.what.none {
            grants.roles.remove(&namespace);
        }
        kept(&self.name, identities.set_grants(&by, self.name.clone(), grants.clone()).await?)?;
        tell(context, &self.name, &roles(&grants))
    }
}

async fn set_disabled(context: &Context, named: Named, disabled: bool) -> Result<Exit, Error> {
    let (action, told) = if disabled { ("users.disable", "disabled") } else { ("users.enable", "enabled") };
    for name in &named.names {
        let (by, identities) = named.by.acting(context, action, name, None).await?;
        kept(name, identities.set_disabled(&by, name.clone(), disabled).await?)?;
        tell(context, name, told)?;
    }
    Ok(Exit::Ok)
}

fn kept(name: &UserName, kept: Kept) -> Result<(), Error> {
    match kept {
        Kept::Done | Kept::Already => Ok(()),
        Kept::Unknown => Err(unknown(name)),
        Kept::LastSuperuser => Err(last_superuser(format!("the user {name}"))),
    }
}

fn unknown(name: &UserName) -> Error {
    Error::operational(
        format!("the user {name}"),
        "there is none of this name",
        "see them with `taskwright users list`, or add it with `taskwright users add`",
    )
}

fn tell(context: &Context, name: &UserName, what: &str) -> Result<Exit, Error> {
    if context.output.is_json() {
        context.output.json(&serde_json::json!({ "name": name, "done": what }))?;
    } else {
        context.output.line(format!("{name}  {what}"))?;
    }
    context.output.flush()?;
    Ok(Exit::Ok)
}

/// Asks whoever is there for a password, twice, without showing it; or takes the first line of standard input.
fn read_password(context: &Context, name: &UserName) -> Result<String, Error> {
    let password = if context.output.can_ask() { prompt(name)? } else { first_line(context)? };
    taskwright_core::limit::check_password(&password)?;
    Ok(password)
}

fn prompt(name: &UserName) -> Result<String, Error> {
    let ask = |question: String| {
        rpassword::prompt_password(question).map_err(|error| Error::file("reading", "the password", &error))
    };
    let password = ask(format!("password of {name}: "))?;
    if ask("once more: ".to_owned())? == password {
        return Ok(password);
    }
    Err(Error::usage("the password", "the two are not the same", "type it again"))
}

fn first_line(context: &Context) -> Result<String, Error> {
    let mut line = String::new();
    // One byte more than a password may have, and the end of the line, so that a longer one is noticed.
    let most = PASSWORD_BYTES_MAX as u64 + 3;
    let read = context.with_input(|input| std::io::BufRead::read_line(&mut input.take(most), &mut line));
    read.map_err(|error| Error::file("reading", "the password", &error))?;
    let end = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(end);
    Ok(line)
}
