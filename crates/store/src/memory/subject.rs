//! Looks at what somebody's call is about, before it and after it. See [`subject`](crate::subject).

use super::world::World;
use crate::query::JobView;
use crate::subject::{
    Looks, Subject, of_generator, of_jobs, of_policy, of_queue, of_schedule, of_token, of_user,
};

impl World {
    /// What the things are that a call is about.
    pub(super) fn look(&self, about: &Subject) -> Looks {
        match about {
            Subject::Jobs(ids, _) => {
                let keys = ids.iter().filter_map(|id| self.keys.get(id));
                let views: Vec<JobView> =
                    keys.map(|key| self.jobs[key].view(self.running.get(key))).collect();
                of_jobs(ids, &views)
            }
            Subject::Queue(namespace, name) => {
                let paused = self.queues.get(&(namespace.clone(), name.clone())).copied();
                vec![Some(of_queue(namespace, name, paused.unwrap_or(false)))]
            }
            Subject::Schedules(which) => {
                which.iter().map(|which| self.schedules.which(which).map(of_schedule)).collect()
            }
            Subject::Generators(which) => which
                .iter()
                .map(|which| {
                    let stored = self.generators.which(which)?;
                    Some(of_generator(stored, self.webhooks.endpoint(stored.key)))
                })
                .collect(),
            Subject::Token(id) => vec![self.identities.token(*id).map(of_token)],
            Subject::User(name) => vec![self.identities.user(name).map(of_user)],
            Subject::Policy(namespace) => {
                vec![Some(of_policy(namespace, self.identities.policy(namespace)))]
            }
        }
    }
}
