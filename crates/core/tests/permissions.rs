//! What holds for every permission, role, owner and policy, whatever they are.

use proptest::prelude::*;
use taskwright_core::permission::{Scope, may, may_grant, right};
use taskwright_core::{
    Actor, CancelPolicy, Grants, Namespace, Owner, Permission, Principal, PrincipalKind, Right, Role, Scopes,
};

fn namespaces() -> impl Strategy<Value = Namespace> {
    prop::sample::select(vec!["a", "b", "c"]).prop_map(|name| Namespace::new(name).unwrap())
}

fn roles() -> impl Strategy<Value = Role> {
    prop::sample::select(Role::ALL.to_vec())
}

fn permissions() -> impl Strategy<Value = Permission> {
    prop::sample::select(Permission::ALL.to_vec())
}

fn policies() -> impl Strategy<Value = CancelPolicy> {
    prop::sample::select(CancelPolicy::ALL.to_vec())
}

fn grants() -> impl Strategy<Value = Grants> {
    let roles = prop::collection::btree_map(namespaces(), roles(), 0..3);
    (prop::bool::weighted(0.1), roles).prop_map(|(superuser, roles)| Grants { superuser, roles })
}

fn scopes() -> impl Strategy<Value = Scopes> {
    prop_oneof![Just(Scopes::all()), prop::collection::vec(permissions(), 0..8).prop_map(Scopes::only),]
}

fn owners() -> impl Strategy<Value = Option<Owner>> {
    let names = prop::sample::select(vec!["alice", "bob", "token:alice@a", "Alice"]);
    prop::option::of(names.prop_map(|name| Owner::new(name).unwrap()))
}

fn principal(grants: Grants, scopes: Scopes) -> Principal {
    Principal { name: Actor::new("alice").unwrap(), kind: PrincipalKind::User, grants, scopes }
}

proptest! {
    #[test]
    fn a_scope_never_widens(
        grants in grants(), scopes in scopes(), permission in permissions(), policy in policies(),
        namespace in prop::option::of(namespaces()),
    ) {
        let narrow = right(&principal(grants.clone(), scopes.clone()), permission, namespace.as_ref(), policy);
        let wide = right(&principal(grants, Scopes::all()), permission, namespace.as_ref(), policy);
        prop_assert!(narrow <= wide);
        prop_assert!(scopes.include(permission) || narrow == Right::None);
    }

    #[test]
    fn what_one_has_elsewhere_counts_for_nothing_here(
        grants in grants(), namespace in namespaces(), permission in permissions(), owner in owners(),
        policy in policies(),
    ) {
        prop_assume!(!grants.superuser);
        // Those that are about no namespace go by the best role anywhere, and are no part of this.
        prop_assume!(permission.scope() != Scope::Anywhere);
        let only_here = Grants {
            superuser: false,
            roles: grants.roles.clone().into_iter().filter(|(name, _)| *name == namespace).collect(),
        };
        let decide = |grants: Grants| {
            may(&principal(grants, Scopes::all()), permission, Some(&namespace), owner.as_ref(), policy)
        };
        prop_assert_eq!(decide(grants), decide(only_here));
    }

    #[test]
    fn more_grants_never_take_a_right(
        grants in grants(), namespace in namespaces(), role in roles(), permission in permissions(),
        policy in policies(), at in prop::option::of(namespaces()),
    ) {
        let mut more = grants.clone();
        let best = more.roles.get(&namespace).copied().max(Some(role)).unwrap();
        more.roles.insert(namespace, best);
        let right = |grants| right(&principal(grants, Scopes::all()), permission, at.as_ref(), policy);
        let (before, after) = (right(grants), right(more.clone()));
        prop_assert!(before <= after);
        let everything = right(Grants { superuser: true, ..more });
        prop_assert!(after <= everything);
    }

    #[test]
    fn own_is_what_bears_exactly_ones_name(
        grants in grants(), namespace in namespaces(), permission in permissions(), owner in owners(),
        policy in policies(),
    ) {
        let principal = principal(grants, Scopes::all());
        let may = may(&principal, permission, Some(&namespace), owner.as_ref(), policy);
        let expected = match right(&principal, permission, Some(&namespace), policy) {
            Right::All => true,
            Right::Own => owner.as_ref().is_some_and(|owner| owner.as_str() == "alice"),
            Right::None => false,
        };
        prop_assert_eq!(may, expected);
        prop_assert!(!principal.grants.superuser || may, "a superuser may do everything");
    }

    #[test]
    fn a_stricter_policy_leaves_fewer_who_may_cancel_and_changes_nothing_else(
        grants in grants(), namespace in namespaces(), permission in permissions(),
    ) {
        let principal = principal(grants, Scopes::all());
        let rights = CancelPolicy::ALL.map(|policy| right(&principal, permission, Some(&namespace), policy));
        prop_assert!(rights[0] >= rights[1] && rights[1] >= rights[2]);
        prop_assert!(permission == Permission::JobsCancel || (rights[0] == rights[1] && rights[1] == rights[2]));
    }

    #[test]
    fn scopes_are_kept_as_they_are(scopes in scopes()) {
        prop_assert_eq!(Scopes::from_text(scopes.to_text().as_deref()), scopes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn whatever_is_granted_may_do_no_more_than_whoever_granted_it(
        ours in grants(), our_scopes in scopes(), theirs in grants(), their_scopes in scopes(),
        permission in permissions(), at in prop::option::of(namespaces()), policy in policies(),
    ) {
        let giver = principal(ours, our_scopes);
        // Of these, one in ten or so may be granted.
        if !may_grant(&giver, &theirs, &their_scopes) {
            return Ok(());
        }
        let taker = principal(theirs, their_scopes);
        let right = |who: &Principal| right(who, permission, at.as_ref(), policy);
        prop_assert!(right(&taker) <= right(&giver));
    }
}
