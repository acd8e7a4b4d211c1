//! What a caller may do: the permissions that operations name, and who asks.

use std::collections::{BTreeMap, BTreeSet};

use taskwright_core::{Actor, Namespace};

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What somebody may do. Each operation names one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Permission {
            $($(#[$doc])* $name,)*
        }

        impl Permission {
            /// All of them.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// The word for it.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

permissions! {
    /// See jobs, their arguments, results and logs.
    JobsView = "jobs.view",
    /// Store new jobs.
    JobsEnqueue = "jobs.enqueue",
    /// Cancel jobs.
    JobsCancel = "jobs.cancel",
    /// Retry, run at once, delay, reprioritise, release, free and delete jobs: whoever may do so has handlers execute.
    JobsChange = "jobs.change",
    /// See queues.
    QueuesView = "queues.view",
    /// Pause, resume and purge queues.
    QueuesChange = "queues.change",
    /// See schedules and what they fired.
    SchedulesView = "schedules.view",
    /// Register, pause, resume and remove schedules.
    SchedulesChange = "schedules.change",
    /// Fire schedules by hand.
    SchedulesFire = "schedules.fire",
    /// See events.
    EventsView = "events.view",
    /// Emit events.
    EventsEmit = "events.emit",
    /// See generators.
    GeneratorsView = "generators.view",
    /// Pause, resume and notify generators.
    GeneratorsChange = "generators.change",
    /// See endpoints of webhooks and what was delivered.
    WebhooksView = "webhooks.view",
    /// Add, enable, disable and remove endpoints, and deliver again.
    WebhooksChange = "webhooks.change",
    /// See workers.
    WorkersView = "workers.view",
    /// Quiet and stop workers.
    WorkersChange = "workers.change",
    /// See bulk jobs.
    BulkView = "bulk.view",
    /// Create, pause, resume, cancel and retry bulk jobs.
    BulkChange = "bulk.change",
    /// See how executions went.
    StatsView = "stats.view",
    /// See which namespaces there are.
    NamespacesView = "namespaces.view",
    /// See metrics and what the server is.
    SystemView = "system.view",
}

/// Who asks, and what they may do.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    actor: Actor,
    grants: Grants,
}

#[derive(Clone, Debug)]
enum Grants {
    /// Everything, everywhere.
    Everything,
    /// These in these namespaces, and nothing elsewhere.
    In(BTreeMap<Namespace, BTreeSet<Permission>>),
}

impl Caller {
    /// Somebody who may do everything, everywhere.
    pub(crate) fn superuser(actor: Actor) -> Self {
        Self { actor, grants: Grants::Everything }
    }

    /// Somebody who may do these things in these namespaces.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "until there are tokens, the only caller is the local user")
    )]
    pub(crate) fn restricted(
        actor: Actor,
        grants: impl IntoIterator<Item = (Namespace, Vec<Permission>)>,
    ) -> Self {
        let grants = grants.into_iter().map(|(namespace, these)| (namespace, these.into_iter().collect()));
        Self { actor, grants: Grants::In(grants.collect()) }
    }

    /// Who it is, for timelines.
    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Whether they may do that in a namespace.
    pub(crate) fn may(&self, permission: Permission, namespace: &Namespace) -> bool {
        match &self.grants {
            Grants::Everything => true,
            Grants::In(grants) => grants.get(namespace).is_some_and(|these| these.contains(&permission)),
        }
    }

    /// Whether they may do that in every namespace.
    pub(crate) fn may_everywhere(&self, _permission: Permission) -> bool {
        matches!(self.grants, Grants::Everything)
    }

    /// The namespace that is meant when they name none: the first in which they may do that.
    pub(crate) fn home(&self, permission: Permission) -> Option<&Namespace> {
        match &self.grants {
            Grants::Everything => None,
            Grants::In(grants) => {
                grants.iter().find(|(_, these)| these.contains(&permission)).map(|(namespace, _)| namespace)
            }
        }
    }
}
