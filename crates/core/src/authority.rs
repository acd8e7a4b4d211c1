//! By whose rights something goes on that makes jobs by itself: a schedule that a principal registered, a bulk that one created.
//!
//! The right to do so was asked for when it was made, and is [asked for again](may_go_on) whenever it makes jobs: somebody who left
//! must not be able to leave something behind that works on. What the local user made is nobody's to take away, and has no
//! authority.
//!
//! # Example
//!
//! ```
//! use taskwright_core::authority::Authority;
//!
//! let ci = Authority::Token { name: "ci".parse()?, namespace: Some("billing".parse()?) };
//! assert_eq!(ci.to_string(), "token:ci@billing");
//! assert_eq!(Authority::read(&ci.actor()), Some(ci));
//! # Ok::<(), taskwright_core::Error>(())
//! ```

use std::fmt;

use crate::bulk;
use crate::name::{Actor, GeneratorName, Namespace, Owner, QueueName, TokenName, UserName};
use crate::permission::{CancelPolicy, Permission, Principal, PrincipalKind, Right, may, right};

/// The task that runs any command, which is a right of its own: see [`Permission::CommandsRun`].
pub const COMMAND_KIND: &str = "exec";

/// The task that is nothing but load, which only operators make: see [`Permission::ReservedUse`].
pub const FLOOD_KIND: &str = "flood";

/// What the names of principals that are tokens begin with.
const TOKEN_PREFIX: &str = "token:";

/// A principal whose rights can be taken away.
///
/// A token is meant by its name and not by its secret: one that replaces it under the same name, in the same namespace, is the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Authority {
    /// A person with a password.
    User(UserName),
    /// A program with a token.
    Token {
        /// What it is called.
        name: TokenName,
        /// Where; `None` for a superuser's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<Namespace>,
    },
}

impl Authority {
    /// Whoever this is; `None` for the local user.
    pub fn of(principal: &Principal) -> Option<Self> {
        match principal.kind {
            PrincipalKind::Local => None,
            PrincipalKind::User | PrincipalKind::Token => Self::read(&principal.name),
        }
    }

    /// Reads what a principal is called; `None` when no user and no token is called so.
    pub fn read(name: &Actor) -> Option<Self> {
        let Some(token) = name.as_str().strip_prefix(TOKEN_PREFIX) else {
            return name.as_str().parse().ok().map(Self::User);
        };
        // Neither of the two has an @ in it.
        let (name, namespace) = match token.split_once('@') {
            Some((name, namespace)) => (name, Some(namespace.parse().ok()?)),
            None => (token, None),
        };
        Some(Self::Token { name: name.parse().ok()?, namespace })
    }

    /// What it is called, in timelines and as the owner of what it submits: that of a user is the user's, a token's is
    /// `token:NAME@NAMESPACE` (without `@NAMESPACE` for a superuser's), so that no two are the same.
    pub fn actor(&self) -> Actor {
        // Two names of 128 bytes, and a few.
        Actor::new(&self.to_string()).expect("names are printable and short")
    }

    /// As the owner of what it submits.
    pub fn owner(&self) -> Owner {
        Owner::new(&self.to_string()).expect("names are printable and short")
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => name.fmt(f),
            Self::Token { name, namespace: Some(namespace) } => {
                write!(f, "{TOKEN_PREFIX}{name}@{namespace}")
            }
            Self::Token { name, namespace: None } => write!(f, "{TOKEN_PREFIX}{name}"),
        }
    }
}

/// Something that makes jobs by itself, as far as it matters who may have it done.
#[derive(Clone, Copy, Debug)]
pub struct Making<'a> {
    /// What is needed to have such a thing: the same as when it was made.
    pub permission: Permission,
    /// Where.
    pub namespace: &'a Namespace,
    /// Whose its jobs are.
    pub owner: Option<&'a Owner>,
    /// Which task they are of, as far as that is known.
    pub kind: Option<&'a str>,
}

/// Whether something that an authority made may make jobs now. `principal` is what the authority is by now; `None` when it is gone,
/// revoked, expired or disabled.
pub fn may_go_on(principal: Option<&Principal>, making: Making<'_>) -> bool {
    let Making { permission, namespace, owner, kind } = making;
    principal.is_some_and(|principal| {
        may(principal, permission, Some(namespace), owner, CancelPolicy::Owner)
            && kind.is_none_or(|kind| may_run(principal, kind))
    })
}

/// The permission that jobs of a kind need besides that to store jobs; `None` for all but those that Taskwright keeps for itself.
pub fn needed_of_kind(kind: &str) -> Option<Permission> {
    match kind {
        COMMAND_KIND => Some(Permission::CommandsRun),
        FLOOD_KIND | bulk::KIND => Some(Permission::ReservedUse),
        _ => None,
    }
}

/// The permission that storing into a queue needs besides; `None` for all but those of bulks and generators, whose jobs Taskwright
/// makes itself and counts.
pub fn needed_in_queue(queue: &QueueName) -> Option<Permission> {
    let is_reserved = queue.as_str() == bulk::QUEUE || GeneratorName::of_queue(queue).is_some();
    is_reserved.then_some(Permission::ReservedUse)
}

/// Whether a principal has a permission that is needed besides; what needs none may be done by anybody.
pub fn has(principal: &Principal, needed: Option<Permission>) -> bool {
    needed.is_none_or(|needed| right(principal, needed, None, CancelPolicy::Owner) == Right::All)
}

/// Whether a principal may have jobs of a task, as far as that is a right of its own.
pub fn may_run(principal: &Principal, kind: &str) -> bool {
    has(principal, needed_of_kind(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permission::{Grants, Role, Scopes};

    fn user(name: &str, grants: Grants) -> Principal {
        let name = Actor::new(name).unwrap();
        Principal { name, kind: PrincipalKind::User, grants, scopes: Scopes::all() }
    }

    #[test]
    fn an_authority_is_read_from_what_the_principal_is_called() {
        for (text, json) in [
            ("alice", r#"{"user":"alice"}"#),
            ("token:ci", r#"{"token":{"name":"ci"}}"#),
            ("token:ci@a/b:c", r#"{"token":{"name":"ci","namespace":"a/b:c"}}"#),
        ] {
            let read = Authority::read(&Actor::new(text).unwrap()).unwrap();
            assert_eq!(read.to_string(), text);
            assert_eq!(serde_json::to_string(&read).unwrap(), json);
            assert_eq!(serde_json::from_str::<Authority>(json).unwrap(), read);
        }
        for text in ["system", "worker 1", "token:", "token:ci@", "token:ci@a@b", "deadline:x"] {
            assert_eq!(Authority::read(&Actor::new(text).unwrap()), None, "{text}");
        }
        let local = Principal::local(Actor::new("alice").unwrap());
        assert_eq!(Authority::of(&local), None, "a name is not enough: anybody at the machine may choose it");
    }

    #[test]
    fn what_taskwright_keeps_for_itself_is_for_superusers() {
        let member = user("alice", Grants::of(Namespace::default(), Role::Admin));
        let root = user("alice", Grants::superuser());
        let narrow = Principal { scopes: Scopes::only([Permission::JobsEnqueue]), ..root.clone() };
        for kind in [COMMAND_KIND, FLOOD_KIND, bulk::KIND] {
            assert!(may_run(&root, kind) && !may_run(&member, kind) && !may_run(&narrow, kind), "{kind}");
        }
        assert!(may_run(&member, "report") && may_run(&member, "flood.report"));
        let may_queue = |who, queue| has(who, needed_in_queue(&QueueName::new(queue).unwrap()));
        for queue in ["bulk", "generator:x", "generator:bulk:count:01890000-0000-7000-8000-000000000000"] {
            assert!(may_queue(&root, queue) && !may_queue(&member, queue) && !may_queue(&narrow, queue));
        }
        for queue in ["default", "bulky", "generator", "generators", "flood"] {
            assert!(may_queue(&member, queue), "{queue}");
        }
    }

    #[test]
    fn what_somebody_made_goes_on_as_long_as_they_might_make_it_now() {
        let namespace = Namespace::default();
        let owner = Owner::new("alice").unwrap();
        let goes_on = |principal: Option<&Principal>, permission, kind| {
            let owner = Some(&owner);
            may_go_on(principal, Making { permission, namespace: &namespace, owner, kind })
        };
        let (bulk, schedule) = (Permission::BulkChange, Permission::SchedulesChange);
        let member = user("alice", Grants::of(namespace.clone(), Role::Member));
        assert!(goes_on(Some(&member), bulk, Some("report")));
        assert!(!goes_on(Some(&member), schedule, Some("report")), "an admin once, a member now");
        assert!(!goes_on(Some(&member), bulk, Some(COMMAND_KIND)), "a superuser once");
        assert!(!goes_on(None, bulk, Some("report")), "gone");

        let elsewhere = user("alice", Grants::of(Namespace::new("other").unwrap(), Role::Admin));
        assert!(!goes_on(Some(&elsewhere), bulk, None));
        let root = user("alice", Grants::superuser());
        assert!(goes_on(Some(&root), schedule, Some(COMMAND_KIND)));
        let held = Principal { scopes: Scopes::only([schedule]), ..root };
        assert!(goes_on(Some(&held), schedule, Some("report")));
        assert!(!goes_on(Some(&held), schedule, Some(COMMAND_KIND)), "its token is held to less");
    }
}
