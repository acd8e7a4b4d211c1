//! Who asks, and of what their request may be. What somebody may do stands in the one permission table,
//! [`taskwright_core::permission`]; here it is only looked up.

use taskwright::identity;
use taskwright_core::limit::NAMESPACES_MAX;
use taskwright_core::permission::{self, Scope, Sight};
use taskwright_core::{
    Actor, CancelPolicy, Namespace, Owner, Permission, Principal, PrincipalKind, Right, Timestamp, TokenId,
};

use super::operation::Access;
use super::problem::Problem;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    principal: Principal,
    /// With which token; `None` with a session, and for the local user.
    token: Option<TokenId>,
    /// From when on they are nobody any more.
    expires_at: Option<Timestamp>,
}

impl Caller {
    /// Whoever has this machine at hand: superuser.
    pub(crate) fn local(actor: Actor) -> Self {
        Self::of(Principal::local(actor))
    }

    /// A principal, without a token.
    pub(crate) fn of(principal: Principal) -> Self {
        Self { principal, token: None, expires_at: None }
    }

    /// As which principal.
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// With which token.
    pub(crate) fn token(&self) -> Option<TokenId> {
        self.token
    }

    /// From when on they are nobody any more; `None` is never.
    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// Who it is, for timelines.
    pub(crate) fn actor(&self) -> &Actor {
        &self.principal.name
    }

    /// Whose what they submit is; `None` when that is as they say.
    pub(crate) fn owner(&self) -> Option<Owner> {
        (self.principal.kind != PrincipalKind::Local).then(|| self.principal.owner())
    }

    /// Whether nothing is to be kept from them.
    pub(crate) fn is_superuser(&self) -> bool {
        self.principal.grants.superuser
    }

    /// To how much of a namespace they may do that; with `None`, of everything there is. Cancel policies are left out.
    pub(crate) fn right(&self, permission: Permission, namespace: Option<&Namespace>) -> Right {
        permission::right(&self.principal, permission, namespace, CancelPolicy::Owner)
    }

    /// Whether they may do that to an object, as far as it is not for a cancel policy to say.
    pub(crate) fn may(&self, permission: Permission, namespace: &Namespace, owner: Option<&Owner>) -> bool {
        permission::may(&self.principal, permission, Some(namespace), owner, CancelPolicy::Owner)
    }

    /// Whether they may do that everywhere.
    pub(crate) fn may_everywhere(&self, permission: Permission) -> bool {
        self.is_superuser() && self.right(permission, None) == Right::All
    }
}

impl From<identity::Caller> for Caller {
    fn from(caller: identity::Caller) -> Self {
        let identity::Caller { principal, token, expires_at } = caller;
        Self { principal, token, expires_at }
    }
}

/// Of what a request may be: found out before anything of it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Everything in all namespaces.
    Everywhere,
    /// This namespace: all of it, or, where the operation says so, what is their own of it.
    In(Namespace),
    /// These namespaces, of each the same: only where the operation takes several.
    Among(Vec<Namespace>),
    /// All that they may see, of whatever namespace: only where an operation is about what is one's own.
    Seen(Sight),
}

impl Reach {
    /// Whether something of this namespace can be meant.
    pub(crate) fn includes(&self, namespace: &Namespace) -> bool {
        match self {
            Self::In(ours) => ours == namespace,
            Self::Among(ours) => ours.contains(namespace),
            Self::Everywhere | Self::Seen(_) => true,
        }
    }
}

/// Whether the caller may ask for this at all, and of what: with the namespace that they name, if they name one.
///
/// # Errors
///
/// When they may not; whether there is such a namespace makes no difference. And when they would have to say which of theirs.
pub(crate) fn admit(caller: &Caller, access: Access, named: Option<Namespace>) -> Result<Reach, Problem> {
    let reach = |named: Option<Namespace>| named.map_or(Reach::Everywhere, Reach::In);
    let Some(permission) = access.permission() else { return Ok(reach(named)) };
    let refused = || Problem::forbidden(permission.as_str());
    match (permission.scope(), named) {
        (Scope::System, named) => match caller.right(permission, None) {
            Right::All => Ok(reach(named)),
            Right::None | Right::Own => Err(refused()),
        },
        (Scope::Anywhere, _) if caller.right(permission, None) != Right::All => Err(refused()),
        (Scope::Anywhere, Some(named)) => match caller.principal.grants.role(&named) {
            Some(_) => Ok(Reach::In(named)),
            None => Err(refused()),
        },
        (Scope::Anywhere, None) if caller.is_superuser() => Ok(Reach::Everywhere),
        (Scope::Anywhere, None) => {
            let namespaces = caller.principal.grants.roles.keys().cloned().collect();
            Ok(Reach::Seen(Sight { namespaces, own: None }))
        }
        (Scope::Namespaced, Some(named)) => match caller.right(permission, Some(&named)) {
            Right::All => Ok(Reach::In(named)),
            Right::Own if access.is_of_own() => Ok(Reach::In(named)),
            Right::Own | Right::None => Err(refused()),
        },
        (Scope::Namespaced, None) => unnamed(caller, access, permission),
    }
}

/// The same for an operation that takes several namespaces: whoever may not ask for one of them may not ask for any.
///
/// # Errors
///
/// As for [`admit`], and when there are too many.
pub(crate) fn admit_several(
    caller: &Caller,
    access: Access,
    named: Vec<Namespace>,
) -> Result<Reach, Problem> {
    if named.len() > NAMESPACES_MAX {
        let why = format!("{} are named, {NAMESPACES_MAX} are allowed", named.len());
        return Err(Problem::invalid("the namespaces", why, "ask for some at a time"));
    }
    match <[Namespace; 1]>::try_from(named) {
        Ok([one]) => admit(caller, access, Some(one)),
        Err(named) if named.is_empty() => admit(caller, access, None),
        Err(named) => {
            for one in &named {
                admit(caller, access, Some(one.clone()))?;
            }
            Ok(Reach::Among(named))
        }
    }
}

/// What is meant by somebody who names no namespace.
fn unnamed(caller: &Caller, access: Access, permission: Permission) -> Result<Reach, Problem> {
    let Some(sight) = permission::sight(&caller.principal, permission) else { return Ok(Reach::Everywhere) };
    // Whoever has a role in one namespace alone means that one.
    let roles = &caller.principal.grants.roles;
    let home = roles.keys().next().filter(|_| roles.len() == 1);
    let right = home.map_or(Right::None, |home| caller.right(permission, Some(home)));
    match (right, home) {
        (Right::All, Some(home)) => return Ok(Reach::In(home.clone())),
        (Right::Own, Some(home)) if access.is_of_own() => return Ok(Reach::In(home.clone())),
        _ => {}
    }
    if access.is_of_own() && !sight.is_empty() {
        return Ok(Reach::Seen(sight));
    }
    match &sight.namespaces[..] {
        [] => Err(Problem::forbidden(permission.as_str())),
        [only] => Ok(Reach::In(only.clone())),
        several => {
            let names: Vec<&str> = several.iter().map(Namespace::as_str).collect();
            Err(Problem::invalid(
                "the namespace",
                format!(
                    "it is not said which one is meant, and you may do that in several: {}",
                    names.join(", ")
                ),
                "name one as the parameter `namespace`",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use taskwright_core::{Grants, Role, Scopes};

    use super::*;

    fn namespace(name: &str) -> Namespace {
        Namespace::new(name).unwrap()
    }

    /// A user with these roles.
    fn user(roles: &[(&str, Role)]) -> Caller {
        let roles = roles.iter().map(|(name, role)| (namespace(name), *role)).collect();
        let grants = Grants { superuser: false, roles };
        let name = Actor::new("alice").unwrap();
        Caller::of(Principal { name, kind: PrincipalKind::User, grants, scopes: Scopes::all() })
    }

    fn root() -> Caller {
        Caller::of(Principal { grants: Grants::superuser(), ..user(&[]).principal })
    }

    fn reach(caller: &Caller, access: Access, named: Option<&str>) -> Result<Reach, u16> {
        admit(caller, access, named.map(namespace)).map_err(|problem| problem.sort().status().as_u16())
    }

    #[test]
    fn whoever_has_one_namespace_means_that_and_whoever_has_several_names_one() {
        let queues = Access::Needs(Permission::QueuesView);
        let (one, two) = (user(&[("a", Role::Viewer)]), user(&[("a", Role::Viewer), ("b", Role::Admin)]));
        assert_eq!(reach(&one, queues, None), Ok(Reach::In(namespace("a"))));
        assert_eq!(reach(&two, queues, None), Err(422));
        assert_eq!(reach(&two, queues, Some("b")), Ok(Reach::In(namespace("b"))));
        assert_eq!((reach(&two, queues, Some("c")), reach(&user(&[]), queues, None)), (Err(403), Err(403)));
        assert_eq!(reach(&root(), queues, None), Ok(Reach::Everywhere));
        // Where only one of them will do, that is meant.
        let change = Access::Needs(Permission::QueuesChange);
        assert_eq!(reach(&two, change, None), Ok(Reach::In(namespace("b"))));
    }

    #[test]
    fn of_several_namespaces_each_has_to_be_allowed() {
        let queues = Access::Needs(Permission::QueuesView);
        let two = user(&[("a", Role::Viewer), ("b", Role::Admin)]);
        let several = |names: &[&str]| {
            let named = names.iter().map(|name| namespace(name)).collect();
            admit_several(&two, queues, named).map_err(|problem| problem.sort().status().as_u16())
        };
        assert_eq!(several(&["a", "b"]), Ok(Reach::Among(vec![namespace("a"), namespace("b")])));
        assert_eq!(several(&["b"]), Ok(Reach::In(namespace("b"))));
        assert_eq!((several(&["a", "c"]), several(&[])), (Err(403), Err(422)));
        let many = vec!["a"; NAMESPACES_MAX + 1];
        assert_eq!(several(&many), Err(422));
    }

    #[test]
    fn of_jobs_everybody_means_all_that_they_see() {
        let jobs = Access::NeedsOwn(Permission::JobsView);
        let own = Some(Owner::new("alice").unwrap());
        let several = user(&[("a", Role::Viewer), ("b", Role::Admin)]);
        let namespaces = vec![namespace("a"), namespace("b")];
        assert_eq!(reach(&several, jobs, None), Ok(Reach::Seen(Sight { namespaces, own: own.clone() })));
        let nobody = Sight { namespaces: Vec::new(), own };
        assert_eq!(reach(&user(&[]), jobs, None), Ok(Reach::Seen(nobody)));
        assert_eq!(reach(&user(&[]), jobs, Some("a")), Ok(Reach::In(namespace("a"))));
        assert_eq!(
            reach(&user(&[("a", Role::Viewer)]), Access::NeedsOwn(Permission::JobsCancel), None),
            Err(403)
        );
    }

    #[test]
    fn what_belongs_to_no_namespace_is_for_who_has_a_role_or_for_superusers() {
        let (workers, users) =
            (Access::Needs(Permission::WorkersView), Access::Needs(Permission::UsersManage));
        let viewer = user(&[("a", Role::Viewer)]);
        let seen = Sight { namespaces: vec![namespace("a")], own: None };
        assert_eq!(reach(&viewer, workers, None), Ok(Reach::Seen(seen)));
        assert_eq!(reach(&viewer, workers, Some("b")), Err(403));
        assert_eq!(reach(&user(&[]), workers, None), Err(403));
        assert_eq!(reach(&user(&[("a", Role::Admin)]), users, None), Err(403));
        assert_eq!(reach(&root(), users, None), Ok(Reach::Everywhere));
    }
}
