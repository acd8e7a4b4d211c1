//! Steps of jobs.

use taskwright_core::{JobId, Verdict, WorkerId};

use super::MemoryStore;
use super::world::World;
use crate::Reply;
use crate::step::{NewStep, StepStore, StepView, check};

impl StepStore for MemoryStore {
    fn keep_steps(&self, worker: WorkerId, steps: Vec<NewStep>) -> Reply<'_, Vec<Verdict>> {
        self.act(move |world| {
            check(&steps)?;
            Ok(steps.into_iter().map(|step| world.keep_step(worker, step)).collect())
        })
    }

    fn steps(&self, job: JobId) -> Reply<'_, Vec<StepView>> {
        self.ask(|world| {
            Ok(world.keys.get(&job).map(|key| world.jobs[key].steps.clone()).unwrap_or_default())
        })
    }
}

impl World {
    fn keep_step(&mut self, worker: WorkerId, step: NewStep) -> Verdict {
        let NewStep { key, attempt, at, name, result } = step;
        if self.fenced(key, worker, attempt).is_none() {
            return Verdict::Stale;
        }
        self.update(key, |job| {
            job.steps.retain(|kept| kept.name != name);
            job.steps.push(StepView { name, attempt, at, result });
        });
        Verdict::Accepted
    }
}
