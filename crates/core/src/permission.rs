//! Who may do what: the one permission table, and the decision that reads it.
//!
//! A [`Principal`] is whoever acts. It has a [`Role`] in each of some namespaces, or is superuser, which is everywhere and
//! everything. [`right`] looks its role up in the [table]; [`may`] says whether that is enough for one object. Nothing
//! else decides: the HTTP API, bulk jobs and schedules ask here, and the guide is generated from here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use crate::error::Error;
use crate::name::{Actor, Namespace, Owner, shown};

macro_rules! permissions {
    ($($name:ident $text:literal $scope:ident [$submitter:ident $viewer:ident $member:ident $admin:ident] $doc:literal;)*) => {
        /// Something that may be done, or not.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Permission {
            $(#[doc = $doc] $name,)*
        }

        impl Permission {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name: a noun and a verb, such as `jobs.cancel`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it allows, in words.
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$name => $doc,)* }
            }

            /// What it is about.
            pub const fn scope(self) -> Scope {
                match self { $(Self::$name => Scope::$scope,)* }
            }

            /// The rights of who has no role there, of a viewer, a member and an admin.
            const fn row(self) -> [Right; 4] {
                match self { $(Self::$name => [Right::$submitter, Right::$viewer, Right::$member, Right::$admin],)* }
            }
        }
    };
}

// The columns: whoever has no role in the namespace, a viewer, a member, an admin. `Own` is what one has submitted oneself. A
// superuser may do everything.
permissions! {
    JobsView "jobs.view" Namespaced [Own All All All] "List jobs and read all about them, their arguments and results included";
    JobsLogs "jobs.logs" Namespaced [Own All All All] "Read what jobs wrote";
    JobsEnqueue "jobs.enqueue" Namespaced [None None All All] "Store jobs";
    JobsRelease "jobs.release" Namespaced [None None Own All] "Release held jobs";
    CommandsRun "commands.run" System [None None None None] "Store jobs of the task `exec`, which run any command, and schedules and bulks of them";
    ReservedUse "reserved.use" System [None None None None] "Store jobs of the kinds `flood` and `bulk`, and into the queues of bulks and generators";
    JobsComment "jobs.comment" Namespaced [None None All All] "Comment on jobs";
    JobsCancel "jobs.cancel" Namespaced [None None Own All] "Cancel jobs (see the cancel policy below)";
    JobsChange "jobs.change" Namespaced [None None Own All] "Retry, run now, delay, reprioritise and free jobs";
    JobsDelete "jobs.delete" Namespaced [None None None All] "Remove jobs that are over, with their history";
    TasksView "tasks.view" Anywhere [None All All All] "See which tasks are known, and how their jobs are run";
    QueuesView "queues.view" Namespaced [None All All All] "Look at queues";
    QueuesChange "queues.change" Namespaced [None None None All] "Pause, resume and purge queues";
    SchedulesView "schedules.view" Namespaced [None All All All] "Look at schedules";
    SchedulesChange "schedules.change" Namespaced [None None None All] "Add, change, pause, resume and remove schedules";
    SchedulesFire "schedules.fire" Namespaced [None None All All] "Fire schedules out of turn";
    EventsView "events.view" Namespaced [None All All All] "Look at events and their sources";
    EventsEmit "events.emit" Namespaced [None None All All] "Emit events";
    GeneratorsView "generators.view" Namespaced [None All All All] "Look at generators";
    GeneratorsChange "generators.change" Namespaced [None None None All] "Pause, resume, poll and remove generators";
    WebhooksView "webhooks.view" Namespaced [None All All All] "Look at webhooks and what was delivered";
    WebhooksChange "webhooks.change" Namespaced [None None None All] "Add, change, test and remove webhooks";
    BulkView "bulk.view" Namespaced [Own All All All] "Look at bulk jobs";
    BulkChange "bulk.change" Namespaced [None None Own All] "Create bulk jobs, pause, resume and cancel them";
    StatsView "stats.view" Namespaced [None All All All] "Read how executions went";
    TokensManage "tokens.manage" Namespaced [None None None All] "Create, list and revoke tokens, never with more rights than one has";
    AuditView "audit.view" Namespaced [None None None All] "Read the audit of the namespace";
    NamespacesView "namespaces.view" Anywhere [None All All All] "List namespaces: those in which one has a role";
    WorkersView "workers.view" Anywhere [None All All All] "Look at workers";
    ServicesView "services.view" Anywhere [None All All All] "Look at services";
    WorkersChange "workers.change" System [None None None None] "Quiet and stop workers";
    NamespacesChange "namespaces.change" System [None None None None] "Set who may cancel jobs in a namespace";
    UsersManage "users.manage" System [None None None None] "Add, list, change and remove users";
    SystemView "system.view" System [None None None None] "Read metrics, health in detail, and the audit of everything";
    SystemChange "system.change" System [None None None None] "Run collectors, and set how long things are kept";
}

/// What a permission is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Something of one namespace: the role there counts.
    Namespaced,
    /// Something that belongs to no namespace: the best role that one has anywhere counts.
    Anywhere,
    /// The whole installation: superusers only.
    System,
}

/// How much of a sort of objects one may do something to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// None of them.
    None,
    /// Those that one has submitted oneself.
    Own,
    /// All of them.
    All,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Permission {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.iter().copied().find(|one| one.as_str() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|one| one.as_str()).collect();
            Error::unknown(
                format!("the permission {:?}", shown(text)),
                "there is none of this name",
                format!("use one of {}", names.join(", ")),
            )
        })
    }
}

/// What a principal is in a namespace. Each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Role {
    /// Looks.
    Viewer,
    /// Looks and submits, and steers what it has submitted.
    Member,
    /// Does everything in the namespace.
    Admin,
}

impl Role {
    /// All of them, the weakest first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Member, Self::Admin];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Member => "member",
            Self::Admin => "admin",
        }
    }

    /// The number that stands for it in a store.
    pub const fn code(self) -> u8 {
        match self {
            Self::Viewer => 1,
            Self::Member => 2,
            Self::Admin => 3,
        }
    }

    /// The role that a number stands for.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.code() == code)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            Error::unknown(
                format!("the role {:?}", shown(text)),
                "there is none of this name",
                "use viewer, member or admin",
            )
        })
    }
}

/// What a principal was given: everything, or a role in each of some namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Grants {
    /// Whether it may do everything everywhere.
    #[serde(default)]
    pub superuser: bool,
    /// What it is in which namespace.
    #[serde(default)]
    pub roles: BTreeMap<Namespace, Role>,
}

impl Grants {
    /// Everything everywhere.
    pub fn superuser() -> Self {
        Self { superuser: true, roles: BTreeMap::new() }
    }

    /// A role in one namespace.
    pub fn of(namespace: Namespace, role: Role) -> Self {
        Self { superuser: false, roles: BTreeMap::from([(namespace, role)]) }
    }

    /// What it is in a namespace.
    pub fn role(&self, namespace: &Namespace) -> Option<Role> {
        if self.superuser { Some(Role::Admin) } else { self.roles.get(namespace).copied() }
    }

    /// The best role that it has anywhere.
    pub fn best(&self) -> Option<Role> {
        if self.superuser { Some(Role::Admin) } else { self.roles.values().copied().max() }
    }
}

/// To what a token is held, whatever its role would allow: some permissions, or all (`None`). It only narrows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(Option<BTreeSet<Permission>>);

impl Scopes {
    /// No narrowing.
    pub fn all() -> Self {
        Self(None)
    }

    /// Only these.
    pub fn only(permissions: impl IntoIterator<Item = Permission>) -> Self {
        Self(Some(permissions.into_iter().collect()))
    }

    /// Reads names of permissions, and `NOUN.*` for all of a noun; nothing is no narrowing.
    ///
    /// # Errors
    ///
    /// When there is no such permission.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let mut found = BTreeSet::new();
        for text in texts {
            let before = found.len();
            if let Some(noun) = text.strip_suffix("*").filter(|noun| noun.ends_with('.')) {
                found.extend(Permission::ALL.iter().filter(|one| one.as_str().starts_with(noun)));
            }
            if found.len() == before {
                found.insert(text.parse()?);
            }
        }
        Ok(Self((!found.is_empty()).then_some(found)))
    }

    /// Whether a permission is among these. Whoever may make jobs may see which tasks there are: what is not said about a job comes from
    /// there.
    pub fn include(&self, permission: Permission) -> bool {
        use Permission as P;
        let Some(some) = &self.0 else { return true };
        let makes_jobs =
            || [P::JobsEnqueue, P::BulkChange, P::SchedulesChange].iter().any(|one| some.contains(one));
        some.contains(&permission) || permission == P::TasksView && makes_jobs()
    }

    /// Whether all that others include is among these.
    pub fn cover(&self, others: &Self) -> bool {
        match (&self.0, &others.0) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ours), Some(theirs)) => theirs.is_subset(ours),
        }
    }

    /// The names of the permissions; `None` is no narrowing.
    pub fn names(&self) -> Option<Vec<&'static str>> {
        self.0.as_ref().map(|some| some.iter().map(|one| one.as_str()).collect())
    }

    /// As a store keeps it: names with blanks between them; `None` is no narrowing.
    pub fn to_text(&self) -> Option<String> {
        self.names().map(|names| names.join(" "))
    }

    /// Reads what [`to_text`](Self::to_text) gives. Names that are not known, as a newer program may have written, allow nothing.
    pub fn from_text(text: Option<&str>) -> Self {
        Self(text.map(|text| text.split_whitespace().filter_map(|name| name.parse().ok()).collect()))
    }
}

impl serde::Serialize for Scopes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.names().serialize(serializer)
    }
}

/// What sort of principal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum PrincipalKind {
    /// A person with a password.
    User,
    /// A program with a token.
    Token,
    /// Whoever has the store itself at hand: the command line on the store, or a server on loopback without principals.
    Local,
}

impl PrincipalKind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Token => "token",
            Self::Local => "local",
        }
    }
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// What it is called, in timelines and as the owner of what it submits: see [`Authority::actor`](crate::Authority::actor).
    pub name: Actor,
    /// What sort it is.
    pub kind: PrincipalKind,
    /// What it was given.
    pub grants: Grants,
    /// To what it is held.
    pub scopes: Scopes,
}

impl Principal {
    /// Whoever has the store at hand: superuser, because there is nothing to keep from it.
    pub fn local(name: Actor) -> Self {
        Self { name, kind: PrincipalKind::Local, grants: Grants::superuser(), scopes: Scopes::all() }
    }

    /// As the owner of what it submits.
    pub fn owner(&self) -> Owner {
        Owner::new(self.name.as_str()).expect("an actor and an owner are held to the same form")
    }
}

/// Who may cancel jobs in a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum CancelPolicy {
    /// Whoever submitted the job, and admins. The default.
    #[default]
    Owner,
    /// Admins.
    Admin,
    /// Only superusers.
    Superuser,
}

impl CancelPolicy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Owner, Self::Admin, Self::Superuser];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Superuser => "superuser",
        }
    }

    /// The number that stands for it in a store.
    pub const fn code(self) -> u8 {
        match self {
            Self::Owner => 1,
            Self::Admin => 2,
            Self::Superuser => 3,
        }
    }

    /// The policy that a number stands for; the strictest, when none does.
    pub fn from_code(code: u8) -> Self {
        Self::ALL.into_iter().find(|policy| policy.code() == code).unwrap_or(Self::Superuser)
    }
}

impl fmt::Display for CancelPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for CancelPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == text).ok_or_else(|| {
            Error::unknown(
                format!("the cancel policy {:?}", shown(text)),
                "there is none of this name",
                "use owner, admin or superuser",
            )
        })
    }
}

/// How many objects of a namespace a principal may do this to: none, its own, or all. What belongs to no namespace is asked for with
/// `None`; so is something of all namespaces at once, which only superusers get.
///
/// For lists: [`Right::Own`] means that those which somebody else submitted are left out.
pub fn right(
    principal: &Principal,
    permission: Permission,
    namespace: Option<&Namespace>,
    policy: CancelPolicy,
) -> Right {
    if !principal.scopes.include(permission) {
        return Right::None;
    }
    if principal.grants.superuser {
        return Right::All;
    }
    let role = match (permission.scope(), namespace) {
        (Scope::System, _) | (Scope::Namespaced, None) => return Right::None,
        (Scope::Namespaced, Some(namespace)) => principal.grants.role(namespace),
        (Scope::Anywhere, _) => principal.grants.best(),
    };
    let [none, viewer, member, admin] = permission.row();
    let by_role = match role {
        None => none,
        Some(Role::Viewer) => viewer,
        Some(Role::Member) => member,
        Some(Role::Admin) => admin,
    };
    match (permission, policy) {
        (Permission::JobsCancel, CancelPolicy::Superuser) => Right::None,
        (Permission::JobsCancel, CancelPolicy::Admin) if by_role == Right::Own => Right::None,
        _ => by_role,
    }
}

/// Whether a principal may do this to an object, or to what is not there yet, in a namespace. `owner` is who submitted the object,
/// if somebody did.
pub fn may(
    principal: &Principal,
    permission: Permission,
    namespace: Option<&Namespace>,
    owner: Option<&Owner>,
    policy: CancelPolicy,
) -> bool {
    match right(principal, permission, namespace, policy) {
        Right::All => true,
        Right::Own => owner.is_some_and(|owner| owner.as_str() == principal.name.as_str()),
        Right::None => false,
    }
}

/// Which objects of all namespaces a principal sees, for listings that name no namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// All of these namespaces.
    pub namespaces: Vec<Namespace>,
    /// Elsewhere, what this one has submitted; `None` is nothing.
    pub own: Option<Owner>,
}

impl Sight {
    /// Whether an object of this namespace and owner is among them.
    pub fn includes(&self, namespace: &Namespace, owner: Option<&Owner>) -> bool {
        self.namespaces.contains(namespace) || (self.own.is_some() && self.own.as_ref() == owner)
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty() && self.own.is_none()
    }
}

/// All objects that a principal may do this to, whatever their namespace; `None` is every one there is. Cancel policies are those of
/// each namespace, and are to be asked for each object besides.
pub fn sight(principal: &Principal, permission: Permission) -> Option<Sight> {
    let of = |namespace: Option<&Namespace>| right(principal, permission, namespace, CancelPolicy::Owner);
    if principal.grants.superuser && of(None) == Right::All {
        return None;
    }
    let rights = || principal.grants.roles.keys().map(|namespace| (namespace, of(Some(namespace))));
    let namespaces =
        rights().filter(|(_, right)| *right == Right::All).map(|(namespace, _)| namespace.clone());
    let [without_role, ..] = permission.row();
    let is_own_anywhere = without_role == Right::Own || rights().any(|(_, right)| right == Right::Own);
    let own = (is_own_anywhere && principal.scopes.include(permission)).then(|| principal.owner());
    Some(Sight { namespaces: namespaces.collect(), own })
}

/// Whether a principal may give these rights to another: nobody gives more than it has.
pub fn may_grant(principal: &Principal, grants: &Grants, scopes: &Scopes) -> bool {
    if !principal.scopes.include(Permission::TokensManage) || !principal.scopes.cover(scopes) {
        return false;
    }
    if principal.grants.superuser {
        return true;
    }
    let has = |(namespace, role): (&Namespace, &Role)| {
        let ours = principal.grants.role(namespace);
        right(principal, Permission::TokensManage, Some(namespace), CancelPolicy::Owner) == Right::All
            && ours.is_some_and(|ours| ours >= *role)
    };
    !grants.superuser && !grants.roles.is_empty() && grants.roles.iter().all(has)
}

/// The permission table, in Markdown, as the guide has it.
pub fn table() -> String {
    let mut text = String::from(
        "| permission | what | no role | viewer | member | admin | superuser |\n|---|---|---|---|---|---|---|\n",
    );
    for permission in Permission::ALL {
        // Writing to a String cannot fail.
        let _ = write!(text, "| `{permission}` | {} |", permission.describe());
        for right in permission.row() {
            text.push_str(match right {
                Right::None => " – |",
                Right::Own => " own |",
                Right::All => " yes |",
            });
        }
        text.push_str(" yes |\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str) -> Namespace {
        Namespace::new(name).unwrap()
    }

    fn principal(grants: Grants) -> Principal {
        let name = Actor::new("alice").unwrap();
        Principal { name, kind: PrincipalKind::User, grants, scopes: Scopes::all() }
    }

    #[test]
    fn each_name_is_read_back_and_no_two_are_the_same() {
        let names: BTreeSet<&str> = Permission::ALL.iter().map(|one| one.as_str()).collect();
        assert_eq!(names.len(), Permission::ALL.len());
        for permission in Permission::ALL {
            assert_eq!(permission.as_str().parse(), Ok(*permission));
        }
        assert!("jobs.fly".parse::<Permission>().unwrap_err().fix().contains("jobs.view"));
        for role in Role::ALL {
            assert_eq!((role.as_str().parse(), Role::from_code(role.code())), (Ok(role), Some(role)));
        }
        for policy in CancelPolicy::ALL {
            assert_eq!(
                (policy.as_str().parse(), CancelPolicy::from_code(policy.code())),
                (Ok(policy), policy)
            );
        }
        assert_eq!(CancelPolicy::from_code(77), CancelPolicy::Superuser);
    }

    #[test]
    fn a_stronger_role_may_do_what_a_weaker_one_may() {
        for permission in Permission::ALL {
            assert!(permission.row().is_sorted(), "{permission}");
        }
    }

    #[test]
    fn who_submitted_a_job_sees_it_and_may_cancel_it_only_while_it_is_a_member() {
        let (a, ours, theirs) = (namespace("a"), Owner::new("alice").unwrap(), Owner::new("bob").unwrap());
        let may = |role: Option<Role>, permission, owner: &Owner| {
            let grants = role.map_or_else(Grants::default, |role| Grants::of(namespace("a"), role));
            super::may(&principal(grants), permission, Some(&a), Some(owner), CancelPolicy::Owner)
        };
        assert!(may(None, Permission::JobsView, &ours) && !may(None, Permission::JobsView, &theirs));
        assert!(may(Some(Role::Viewer), Permission::JobsView, &theirs));
        assert!(!may(None, Permission::JobsCancel, &ours));
        assert!(!may(Some(Role::Viewer), Permission::JobsCancel, &ours));
        assert!(may(Some(Role::Member), Permission::JobsCancel, &ours));
        assert!(!may(Some(Role::Member), Permission::JobsCancel, &theirs));
        assert!(may(Some(Role::Admin), Permission::JobsCancel, &theirs));
    }

    #[test]
    fn a_cancel_policy_leaves_it_to_fewer() {
        let (a, ours) = (namespace("a"), Owner::new("alice").unwrap());
        let may = |grants: Grants, policy| {
            super::may(&principal(grants), Permission::JobsCancel, Some(&a), Some(&ours), policy)
        };
        let grants = [
            Grants::of(namespace("a"), Role::Member),
            Grants::of(namespace("a"), Role::Admin),
            Grants::superuser(),
        ];
        for (policy, expected) in [
            (CancelPolicy::Owner, [true, true, true]),
            (CancelPolicy::Admin, [false, true, true]),
            (CancelPolicy::Superuser, [false, false, true]),
        ] {
            assert_eq!(grants.clone().map(|grants| may(grants, policy)), expected, "{policy}");
        }
    }

    #[test]
    fn a_role_counts_in_its_own_namespace_and_for_no_more() {
        let admin = principal(Grants::of(namespace("a"), Role::Admin));
        let right = |permission, namespace| super::right(&admin, permission, namespace, CancelPolicy::Owner);
        let (a, b) = (namespace("a"), namespace("b"));
        assert_eq!(right(Permission::QueuesChange, Some(&a)), Right::All);
        assert_eq!(right(Permission::QueuesChange, Some(&b)), Right::None);
        assert_eq!(right(Permission::QueuesChange, None), Right::None, "of all namespaces at once");
        assert_eq!(right(Permission::WorkersView, None), Right::All);
        assert_eq!(right(Permission::WorkersChange, Some(&a)), Right::None);
        assert_eq!(right(Permission::UsersManage, Some(&a)), Right::None);
    }

    #[test]
    fn a_sight_is_what_may_be_seen_of_each() {
        let (a, b) = (namespace("a"), namespace("b"));
        let (ours, theirs) = (Owner::new("alice").unwrap(), Owner::new("bob").unwrap());
        let everybody = [
            Grants::default(),
            Grants::of(a.clone(), Role::Viewer),
            Grants::of(a.clone(), Role::Member),
            Grants::of(a.clone(), Role::Admin),
            Grants::superuser(),
        ];
        for grants in everybody {
            for scopes in [Scopes::all(), Scopes::only([Permission::JobsView]), Scopes::only([])] {
                let who = Principal { scopes, ..principal(grants.clone()) };
                for permission in Permission::ALL.iter().filter(|one| one.scope() == Scope::Namespaced) {
                    let sight = sight(&who, *permission);
                    for namespace in [&a, &b] {
                        for owner in [None, Some(&ours), Some(&theirs)] {
                            let may = may(&who, *permission, Some(namespace), owner, CancelPolicy::Owner);
                            let seen = sight.as_ref().is_none_or(|sight| sight.includes(namespace, owner));
                            // What one submitted where one lost the role since is seen; whether it may be changed is asked again.
                            assert!(seen || !may, "{who:?} {permission} {namespace} {owner:?}");
                            let is_exact =
                                permission.row()[0] != Right::None || permission.row()[2] != Right::Own;
                            assert!(!is_exact || seen == may, "{who:?} {permission} {namespace} {owner:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn scopes_are_read_by_name_and_by_noun() {
        let scopes = Scopes::parse(["jobs.view", "queues.*"]).unwrap();
        assert_eq!(scopes.names().unwrap(), ["jobs.view", "queues.view", "queues.change"]);
        assert_eq!(Scopes::from_text(scopes.to_text().as_deref()), scopes);
        assert_eq!(Scopes::parse([]).unwrap(), Scopes::all());
        assert!(Scopes::parse(["cows.*"]).is_err() && Scopes::parse(["*"]).is_err());
        let unknown = Scopes::from_text(Some("moon.view"));
        assert!(Permission::ALL.iter().all(|one| !unknown.include(*one)), "unknown names allow nothing");
    }

    #[test]
    fn nobody_grants_more_than_it_has() {
        let (a, b) = (namespace("a"), namespace("b"));
        let admin = principal(Grants::of(a.clone(), Role::Admin));
        let all = Scopes::all();
        assert!(may_grant(&admin, &Grants::of(a.clone(), Role::Admin), &all));
        assert!(may_grant(
            &admin,
            &Grants::of(a.clone(), Role::Viewer),
            &Scopes::only([Permission::JobsView])
        ));
        assert!(!may_grant(&admin, &Grants::of(b, Role::Viewer), &all));
        assert!(!may_grant(&admin, &Grants::superuser(), &all));
        assert!(!may_grant(&admin, &Grants::default(), &all));
        assert!(!may_grant(
            &principal(Grants::of(a.clone(), Role::Member)),
            &Grants::of(a.clone(), Role::Viewer),
            &all
        ));
        let narrow =
            Principal { scopes: Scopes::only([Permission::TokensManage]), ..principal(Grants::superuser()) };
        assert!(
            !may_grant(&narrow, &Grants::of(a.clone(), Role::Viewer), &all),
            "a token must not widen itself"
        );
        assert!(may_grant(&narrow, &Grants::of(a, Role::Viewer), &Scopes::only([Permission::TokensManage])));
        assert!(may_grant(&principal(Grants::superuser()), &Grants::superuser(), &all));
    }
}
