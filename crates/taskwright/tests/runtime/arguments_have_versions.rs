//! Arguments change their form from one release to the next, and jobs of both wait in one store.

use serde_json::{Value, json};
use taskwright::{Args, Job, Registry, State, TaskError, task};

use crate::support::{seconds, world};

/// Version 1 had `name`, version 2 `first` and `last`, version 3 has them in one list.
#[task("greet", version = 3, upgrade = upgrade_greet)]
async fn greet(names: Vec<String>) -> Result<String, TaskError> {
    Ok(names.join(" "))
}

fn upgrade_greet(from: u32, args: Value) -> Result<Value, TaskError> {
    match from {
        1 => {
            let name = args["name"].as_str().ok_or_else(|| TaskError::permanent("there is no name"))?;
            let (first, last) = name.split_once(' ').unwrap_or((name, ""));
            Ok(json!({"first": first, "last": last}))
        }
        _ => Ok(json!({"names": [args["first"], args["last"]]})),
    }
}

/// The program of the release before.
mod before {
    use super::*;

    #[task("greet", version = 2, upgrade = super::upgrade_greet)]
    pub(super) async fn greet(first: String, last: String) -> Result<String, TaskError> {
        Ok(format!("{first} {last}"))
    }
}

#[test]
fn arguments_of_every_earlier_version_are_upgraded_step_by_step() {
    world(async |world| {
        let worker = world.start(world.worker(Registry::new().register::<Greet>().unwrap()));
        let second = before::Greet { first: "Grace".to_owned(), last: "Hopper".to_owned() };
        let first = Job::new("greet").args(&json!({"name": "Ada Lovelace"})).unwrap();
        let third = Greet { names: vec!["Mary".to_owned()] };
        let args = Job::of(&third).into_new(&world.sim.env()).unwrap().args;
        assert_eq!(args.parse::<Value>().unwrap(), json!({"names": ["Mary"], "$version": 3}));

        assert_eq!(
            world.client.enqueue(first).await.unwrap().result::<String>().await.unwrap(),
            "Ada Lovelace"
        );
        assert_eq!(world.client.enqueue(second).await.unwrap().output().await.unwrap(), "Grace Hopper");
        assert_eq!(world.client.enqueue(third).await.unwrap().output().await.unwrap(), "Mary");
        worker.stop().await;
    });
}

#[test]
fn arguments_of_a_newer_version_wait_for_a_program_that_knows_them() {
    world(async |world| {
        let old = world.start(world.worker(Registry::new().register::<before::Greet>().unwrap()));
        let job = world.client.enqueue(Greet { names: vec!["Mary".to_owned()] }).await.unwrap();
        world.sim.advance(seconds(45)).await;
        let waiting = job.job().await.unwrap();
        assert_eq!((waiting.view.state, waiting.view.attempt), (State::Scheduled, 0), "no attempt is spent");
        old.stop().await;
        let log = world.client.logs(job.id, 0, 10).await.unwrap();
        let log = String::from_utf8_lossy(&log[0].bytes).into_owned();
        assert!(log.contains("version 3") && log.contains("up to 2"), "{log}");

        let new = world.start(world.worker(Registry::new().register::<Greet>().unwrap()));
        assert_eq!(job.output().await.unwrap(), "Mary");
        new.stop().await;
    });
}

/// The program of before there were versions.
mod first {
    use super::*;

    #[task("greet")]
    pub(super) async fn greet(name: String) -> Result<String, TaskError> {
        Ok(name)
    }
}

#[test]
fn a_program_of_before_there_were_versions_leaves_newer_arguments_to_others() {
    world(async |world| {
        let old = world.start(world.worker(Registry::new().register::<first::Greet>().unwrap()));
        let second = before::Greet { first: "Grace".to_owned(), last: "Hopper".to_owned() };
        let second = world.client.enqueue(second).await.unwrap();
        // What it could read as its own, and means something else by now.
        let fits = Args::from_json(r#"{"$version": 2, "name": "x", "first": "Ada", "last": "L."}"#).unwrap();
        let fits = world.client.enqueue(Job::new("greet").raw_args(fits)).await.unwrap();
        world.sim.advance(seconds(45)).await;
        for job in [second.id, fits.id] {
            let waiting = world.client.job(job).await.unwrap().unwrap();
            assert_eq!(
                (waiting.view.state, waiting.view.attempt),
                (State::Scheduled, 0),
                "no attempt is spent"
            );
            let log = world.client.logs(job, 0, 10).await.unwrap();
            let log = String::from_utf8_lossy(&log[0].bytes).into_owned();
            assert!(log.contains("version 2") && log.contains("up to 1"), "{log}");
        }
        // Its own are run, also where somebody wrote the version that they have, or the word stands elsewhere.
        for args in
            [r#"{"name": "Ada"}"#, r#"{"$version": 1, "name": "Ada"}"#, r#"{"name": "Ada", "a": "$version"}"#]
        {
            let job = Job::new("greet").raw_args(Args::from_json(args).unwrap());
            let job = world.client.enqueue(job).await.unwrap();
            assert_eq!(job.result::<String>().await.unwrap(), "Ada", "{args}");
        }
        old.stop().await;

        let new = world.start(world.worker(Registry::new().register::<before::Greet>().unwrap()));
        assert_eq!(second.output().await.unwrap(), "Grace Hopper");
        assert_eq!(fits.result::<String>().await.unwrap(), "Ada L.");
        new.stop().await;
    });
}

#[test]
fn no_argument_has_the_name_of_the_version() {
    #[task("odd")]
    async fn odd(#[serde(rename = "$version")] version: String) {
        drop(version);
    }
    world(async |world| {
        let job = Job::of(&Odd { version: "$version".to_owned() });
        let refused = world.client.enqueue(job).await.unwrap_err();
        assert!(refused.to_string().contains("under which a version is stored"), "{refused}");
    });
}

#[test]
fn arguments_that_cannot_be_upgraded_fail_the_job_and_say_why() {
    world(async |world| {
        let worker = world.start(world.worker(Registry::new().register::<Greet>().unwrap()));
        for (args, why) in [
            (r#"{"nme": "Ada"}"#, "there is no name"),
            (r#"{"$version": 3, "names": 7}"#, "the arguments do not fit the task: invalid type"),
            (r#"{"$version": "new"}"#, "the arguments say \"new\" where their version stands"),
            (r#"{"$version": 0}"#, "the arguments say 0 where"),
        ] {
            let job = Job::new("greet").raw_args(Args::from_json(args).unwrap());
            let over = world.over(world.enqueue(job).await).await;
            let error = over.view.error.unwrap();
            assert!(over.view.state == State::Failed && error.contains(why), "{args}: {error}");
        }
        worker.stop().await;
    });
}
